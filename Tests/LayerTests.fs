/// Layers: what is declared is what is applied, names and keys stay where they are, shapes are refused at composition.
module Functional.Tests.LayerTests

open System
open Expecto
open FsCheck.FSharp
open Functional
open type Functional.Layers

let private key = Key.OfSeed 7L

/// Layers that keep one feature axis, drawn by number.
let private vectorLayers: (int -> Layer) list =
    [
        (fun n -> dense (1 + n % 5))
        (fun n -> dense (1 + n % 4, bias = false, weights = Init.heNormal))
        (fun _ -> tanh)
        (fun _ -> sigmoid)
        (fun _ -> gelu)
        (fun _ -> silu)
        (fun _ -> softplus)
        (fun _ -> softmax)
        (fun n -> residual (dense 3 >=> tanh >=> lambda ($"mean{n}", fun x -> x.Mean([| 1 |], true))))
        (fun n -> concat [ dense (1 + n % 3); tanh ])
        (fun n -> named $"block{n}" (dense (2 + n % 3) >=> sigmoid >=> dense 3))
        (fun _ -> add [ tanh; sigmoid ])
        (fun n -> repeat 2 (dense (1 + n % 3) >=> tanh))
        (fun n -> branch ([ dense 2; dense 2 ], List.reduce (fun a b -> a * b)))
        (fun n -> frozen (dense (1 + n % 3)))
    ]

/// Adding the mean of a row back needs no equal shape, so `residual` fits behind any width.
let private network (choices: int list) =
    let layers =
        choices
        |> List.mapi (fun i choice -> vectorLayers[abs choice % vectorLayers.Length](i + abs choice))

    input [ 2; 2 ] :: flatten () :: layers |> List.reduce (>=>)

let private compositions =
    Gen.choose (0, 1000) |> Gen.listOf |> Gen.map (List.truncate 6) |> Arb.fromGen

/// A network that composes; combinators that need equal shapes may refuse a draw.
let private tryNetwork choices =
    try
        Some(network choices)
    with :? ShapeException ->
        None

let private asFloat64 = Tree.map (fun (t: Tensor) -> t.Cast DType.Float64)

let private examples (n: int) =
    key.Fold(99).Normal(Shape.Of [ n; 2; 2 ], dtype = DType.Float64)

[<Tests>]
let tests =
    testList
        "layers"
        [
            testPropertyWithConfig
                { FsCheckConfig.defaultConfig with
                    maxTest = 60
                }
                "what is declared is what is made and what comes out"
                (Prop.forAll compositions (fun choices ->
                    match tryNetwork choices with
                    | None -> ()
                    | Some net ->
                        let shape = Shape.Of [ 2; 2 ]
                        let parameters, state = Layer.init key net
                        let declared = net.Parameters shape |> Tree.map _.Shape

                        Expect.equal (Tree.map (fun (t: Tensor) -> t.Shape) parameters) declared "parameters' shapes"

                        let y = Layer.predict net (parameters, state) ((examples 3).Cast DType.Float32)

                        Expect.equal
                            y.Shape
                            (Shape.Of(Seq.append [ 3 ] (Layer.outputShape net shape)))
                            "the inferred shape is the real one"))

            testPropertyWithConfig
                { FsCheckConfig.defaultConfig with
                    maxTest = 40
                }
                "the gradient of a composed network agrees with differences"
                (Prop.forAll compositions (fun choices ->
                    match tryNetwork (0 :: choices) with
                    | None -> ()
                    | Some net ->
                        Memory.Tidy(
                            Action(fun () ->
                                let parameters, state = Layer.init key net
                                let parameters = asFloat64 parameters
                                let x = examples 3

                                let loss leaves =
                                    let y, _ =
                                        Layer.apply
                                            Mode.Infer
                                            net
                                            (Tree.rebuild parameters leaves)
                                            (asFloat64 state)
                                            x

                                    (y * y).Sum()

                                let leaves = Tree.leaves parameters
                                let struct (_, gradients) = Diff.ValueAndGrad(Func<_, _> loss, leaves)

                                let direction =
                                    leaves
                                    |> Array.mapi (fun i leaf ->
                                        key.Fold(i).Normal(leaf.Shape, dtype = DType.Float64))

                                let along =
                                    Array.map2
                                        (fun (g: Tensor) (d: Tensor) -> (g * d).Sum().ToDouble())
                                        gradients
                                        direction
                                    |> Array.sum

                                let difference h =
                                    let at (h: float) =
                                        (Array.map2 (fun (p: Tensor) (d: Tensor) -> p + h * d) leaves direction
                                         |> loss)
                                            .ToDouble()

                                    (at h - at -h) / (2.0 * h)

                                let expected, error = Laws.Numbers.extrapolate difference

                                Expect.isLessThan
                                    (abs (along - expected))
                                    (10.0 * error + 1e-8 * max 1.0 (abs expected))
                                    $"gradient {along}, differences {expected}")
                        )))

            testProperty "an activation in the epilogue gives what it gives as a layer of its own" (fun (n: int) ->
                let n = 1 + abs n % 40

                for activation in [ relu; tanh; sigmoid ] do
                    let fused = input [ n ] >=> dense n >=> activation
                    let plain = input [ n ] >=> dense n >=> lambda ("apart", id) >=> activation
                    let x = key.Fold(n).Normal(Shape.Of [ 5; n ])

                    let value (net: Layer) =
                        let y = Layer.predict net (Layer.init key net) x
                        y.ToDoubles()

                    for a, b in Array.zip (value fused) (value plain) do
                        Expect.isLessThan (abs (a - b)) 2e-6 "the same to rounding")

            testCase "names and draws do not depend on what stands beside" (fun () ->
                let small = input [ 4 ] >=> dense 3 >=> dense 2
                let large = input [ 4 ] >=> dense 3 >=> tanh >=> dropout 0.1 >=> dense 2
                let values net = Layer.init key net |> fst |> Tree.named

                for (name, a), (other, b) in List.zip (values small) (values large) do
                    Expect.equal other name "the same path"
                    Expect.equal (b.ToDoubles()) (a.ToDoubles()) $"{name} is drawn with its own key")

            testCase "dropout drops by the key in training and does nothing in inference" (fun () ->
                let net = input [ 1000 ] >=> dropout 0.25
                let x = Tensor.Ones(Shape.Of [ 1; 1000 ])
                let parameters, state = Layer.init key net

                let dropped seed =
                    let y, _ = Layer.apply (Mode.Train(Key.OfSeed seed)) net parameters state x

                    y.ToDoubles()

                Expect.equal (dropped 1L) (dropped 1L) "the same key, the same draw"
                Expect.notEqual (dropped 1L) (dropped 2L) "another key, another draw"

                let zeros = dropped 1L |> Array.filter ((=) 0.0) |> Array.length
                Expect.isTrue (zeros > 180 && zeros < 320) $"a quarter is dropped; got {zeros} of 1000"

                Expect.equal
                    (Layer.predict net (parameters, state) x |> _.ToDoubles())
                    (x.ToDoubles())
                    "inference keeps everything")

            testCase "a shape mistake names both layers, both lines and a way out" (fun () ->
                let text =
                    try
                        input [ 16; 14; 14 ] >=> tanh >=> dense 10 |> ignore
                        ""
                    with :? ShapeException as error ->
                        error.Message

                for part in
                    [
                        "shape error at 'dense' (LayerTests.fs:"
                        "it receives [16; 14; 14] from 'tanh'"
                        "dense expects one feature axis, got 3; put flatten () before it"
                    ] do
                    Expect.stringContains text part "the message"

                Expect.throwsT<ShapeException> (fun () -> dense 0 |> ignore) "no units"

                Expect.throwsT<ShapeException>
                    (fun () -> input [ 4 ] >=> residual (dense 3) |> ignore)
                    "a residual of another shape")

            testCase "a network of unknown input is checked when it is made" (fun () ->
                let net = dense 3 >=> relu
                Expect.throwsT<InvalidOperationException> (fun () -> Layer.init key net |> ignore) "no input"

                Expect.throwsT<ShapeException>
                    (fun () -> Layer.initFor (Shape.Of [ 2; 2 ]) key net |> ignore)
                    "two axes"

                let parameters, _ = Layer.initFor (Shape.Of [ 4 ]) key net
                Expect.equal (Tree.find "dense.weight" parameters).Shape (Shape.Of [ 4; 3 ]) "the weight")

            testCase "a tap sees what passes" (fun () ->
                let seen = ref 0.0
                let net = input [ 2 ] >=> tap (fun x -> seen.Value <- x.Sum().ToDouble()) >=> tanh

                Layer.predict net (Layer.init key net) (Tensor.Ones(Shape.Of [ 3; 2 ]))
                |> ignore

                Expect.equal seen.Value 6.0 "the sum of its input")

            testCase "the table shows every layer and the count of parameters" (fun () ->
                let net = input [ 8 ] >=> named "encoder" (dense 4 >=> relu) >=> dense 2
                let table = string net

                for part in [ "encoder"; "dense"; "[4]"; "36"; "LayerTests.fs"; "46 parameters" ] do
                    Expect.stringContains table part "the table")
        ]
