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
            testCase "layers on images and sequences infer their shapes and learn" (fun () ->
                let check name (shape: int list) (expected: int list) (layer: Layer) =
                    let network = input shape >=> layer
                    let output = Layer.outputShape network (Shape.Of shape)
                    Expect.equal (List.ofSeq output) expected $"shape of {name}"
                    let parameters, state = Layer.init key network
                    let x = key.Fold(1).Normal(Shape.Of(3 :: shape))

                    for mode in [ Mode.Train key; Mode.Infer ] do
                        let y, newState = Layer.apply mode network parameters state x
                        Expect.equal (List.ofSeq y.Shape) (3 :: expected) $"shape of {name} applied"

                        Expect.equal
                            (Tree.named newState |> List.map fst)
                            (Tree.named state |> List.map fst)
                            $"state of {name}"

                    let leaves = Tree.leaves parameters

                    if leaves.Length > 0 then
                        let loss (leaves: Tensor[]) =
                            let y, _ =
                                Layer.apply (Mode.Train key) network (Tree.rebuild parameters leaves) state x

                            (y * y.Exp()).Sum()

                        let struct (_, gradients) = Diff.ValueAndGrad(loss, leaves)

                        for i in 0 .. leaves.Length - 1 do
                            Expect.equal gradients[i].Shape leaves[i].Shape $"gradient of {name}"
                            Expect.isTrue (Double.IsFinite(gradients[i].Abs().Sum().ToDouble())) $"gradient of {name}"

                check "conv" [ 2; 9; 7 ] [ 4; 5; 4 ] (conv (4, kernel = 3, stride = 2, pad = 1))
                check "conv, same" [ 2; 9; 7 ] [ 4; 9; 7 ] (conv (4, kernel = 4, pad = Same))
                check "conv, one axis" [ 2; 9 ] [ 4; 7 ] (conv (4, kernel = 3))
                check "conv, three axes" [ 2; 4; 5; 6 ] [ 3; 3; 4; 5 ] (conv (3, kernel = 2))
                check "conv, depthwise" [ 4; 6; 6 ] [ 4; 6; 6 ] (conv (4, kernel = 3, pad = 1, groups = 4))
                check "conv >=> relu" [ 2; 5; 5 ] [ 3; 3; 3 ] (conv (3, kernel = 3) >=> relu)
                check "convTransposed" [ 3; 4; 4 ] [ 2; 8; 8 ] (convTransposed (2, kernel = 2, stride = 2))
                check "maxPool" [ 2; 7; 8 ] [ 2; 3; 4 ] (maxPool 2)
                check "averagePool" [ 2; 7; 8 ] [ 2; 4; 4 ] (averagePool (3, stride = 2, pad = 1))
                check "adaptiveAveragePool" [ 2; 7; 8 ] [ 2; 3; 3 ] (adaptiveAveragePool 3)
                check "adaptiveMaxPool" [ 2; 7; 8 ] [ 2; 2; 2 ] (adaptiveMaxPool 2)
                check "globalAveragePool" [ 2; 7; 8 ] [ 2 ] (globalAveragePool ())
                check "globalMaxPool" [ 2; 7; 8 ] [ 2 ] (globalMaxPool ())
                check "batchNorm" [ 2; 4; 4 ] [ 2; 4; 4 ] (batchNorm ())
                check "batchNorm >=> relu" [ 2; 4; 4 ] [ 2; 4; 4 ] (batchNorm () >=> relu)
                check "layerNorm" [ 5; 6 ] [ 5; 6 ] (layerNorm ())
                check "layerNorm over two axes" [ 5; 6 ] [ 5; 6 ] (layerNorm (axes = 2))
                check "rmsNorm" [ 5; 6 ] [ 5; 6 ] (rmsNorm ())
                check "groupNorm" [ 4; 3; 3 ] [ 4; 3; 3 ] (groupNorm 2)
                check "instanceNorm" [ 4; 3; 3 ] [ 4; 3; 3 ] (instanceNorm ())
                check "rnn" [ 5; 3 ] [ 5; 4 ] (rnn 4)
                check "lstm" [ 5; 3 ] [ 5; 4 ] (lstm 4)
                check "gru, both ways" [ 5; 3 ] [ 5; 8 ] (bidirectional (gru 4))
                check "lstm, two of them" [ 5; 3 ] [ 4 ] (repeat 2 (lstm 4) >=> lastState ())
                check "multiHeadAttention" [ 5; 6 ] [ 5; 6 ] (multiHeadAttention (3, causal = true, dropout = 0.1))
                check "positions" [ 5; 6 ] [ 5; 6 ] (positions ())
                check "sinusoidal" [ 5; 6 ] [ 5; 6 ] (sinusoidal ())
                check "eachStep" [ 5; 6 ] [ 5; 2 ] (eachStep (dense 2) >=> relu)
                check "transformerBlock" [ 5; 6 ] [ 5; 6 ] (transformerBlock (2, 8, dropout = 0.1))
                check "transformerBlock, norm last" [ 5; 6 ] [ 5; 6 ] (transformerBlock (2, 8, postNorm = true)))

            testCase "running statistics move by the momentum, with the unbiased variance" (fun () ->
                let network = input [ 1; 2 ] >=> batchNorm (momentum = 0.25)
                let parameters, state = Layer.init key network
                let x = Tensor.From([| 1.0f; 3.0f; 5.0f; 7.0f |], [| 2; 1; 2 |])
                let _, state = Layer.apply (Mode.Train key) network parameters state x
                let values = Tree.leaves state |> Array.map _.ToDouble()
                Expect.floatClose Accuracy.medium values[0] (0.25 * 4.0) "mean"
                Expect.floatClose Accuracy.medium values[1] (0.75 + 0.25 * 20.0 / 3.0) "variance")

            testCase "a causal block does not look ahead" (fun () ->
                let network = input [ 6; 4 ] >=> transformerBlock (2, 8, causal = true)

                let parameters = Layer.init key network
                let x = key.Fold(3).Normal(Shape.Of [ 1; 6; 4 ])
                let changed = Tensor.Concat(1, x.Slice(1, 0, 4), x.Slice(1, 4, 6) * 3.0)

                let first (t: Tensor) =
                    (Layer.predict network parameters t).Slice(1, 0, 4).ToDoubles()

                Expect.equal (first changed) (first x) "the first four steps")

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
