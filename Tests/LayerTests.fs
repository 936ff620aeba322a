/// Layers: what is declared is what is applied, names and keys stay where they are, shapes are refused at composition.
module Functional.Tests.LayerTests

open System
open System.Reflection
open Expecto
open FsCheck.FSharp
open Functional
open Functional.Fluent
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
        (fun n -> withRegulariser "weight" (Regulariser.l2 0.1) (dense (1 + n % 3)))
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

let internal asFloat64 = Tree.map (fun (t: Tensor) -> t.Cast DType.Float64)

let private examples (n: int) =
    key.Fold(99).Normal(Shape.Of [ n; 2; 2 ], dtype = DType.Float64)

/// Two sequences one after the other in one input: a memory and the steps that read it.
let internal reading (memorySteps: int) (decoder: Tensor -> Layer) =
    remember (
        lambda ("memory", fun x -> x.Slice(1, 0, memorySteps)),
        fun memory ->
            lambda ("steps", fun x -> x.Slice(1, memorySteps, x.Shape[1]))
            >=> decoder memory
    )

let internal maskOf (rows: bool list list) =
    Tensor.From(rows |> List.concat |> Array.ofList, [| rows.Length; rows.Head.Length |])

let internal refusal f =
    try
        f ()
        ""
    with :? ShapeException as error ->
        error.Message

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
                check "pad" [ 2; 4; 5 ] [ 2; 6; 7 ] (pad 1)
                check "pad, uneven" [ 2; 4 ] [ 2; 7 ] (pad (Padding.Of(1, 2), value = 3.0))
                check "upsample" [ 2; 3; 4 ] [ 2; 6; 8 ] (upsample 2)

                check
                    "upsample, linear"
                    [ 2; 3; 4 ]
                    [ 2; 9; 8 ]
                    (upsample (PerAxis.op_Implicit [| 3; 2 |], linear = true))

                check "spatialDropout" [ 2; 4; 4 ] [ 2; 4; 4 ] (conv (2, kernel = 1) >=> spatialDropout 0.3)
                check "stochasticDepth" [ 4 ] [ 4 ] (residual (dense 4 >=> stochasticDepth 0.3))
                check "batchNorm" [ 2; 4; 4 ] [ 2; 4; 4 ] (batchNorm ())
                check "batchNorm >=> relu" [ 2; 4; 4 ] [ 2; 4; 4 ] (batchNorm () >=> relu)
                check "layerNorm" [ 5; 6 ] [ 5; 6 ] (layerNorm ())
                check "layerNorm over two axes" [ 5; 6 ] [ 5; 6 ] (layerNorm (axes = 2))
                check "rmsNorm" [ 5; 6 ] [ 5; 6 ] (rmsNorm ())
                check "groupNorm" [ 4; 3; 3 ] [ 4; 3; 3 ] (groupNorm 2)
                check "instanceNorm" [ 4; 3; 3 ] [ 4; 3; 3 ] (instanceNorm ())
                check "rnn" [ 5; 3 ] [ 5; 4 ] (rnn 4)
                check "lstm" [ 5; 3 ] [ 5; 4 ] (lstm 4)

                check
                    "recurrent"
                    [ 5; 3 ]
                    [ 5; 4 ]
                    (recurrent (4, dropout 0.2 >=> dense 6 >=> batchNorm () >=> dense 4))

                check "gru, both ways" [ 5; 3 ] [ 5; 8 ] (bidirectional (gru 4))
                check "lstm, two of them" [ 5; 3 ] [ 4 ] (repeat 2 (lstm 4) >=> lastState ())
                check "multiHeadAttention" [ 5; 6 ] [ 5; 6 ] (multiHeadAttention (3, causal = true, dropout = 0.1))
                check "positions" [ 5; 6 ] [ 5; 6 ] (positions ())
                check "sinusoidal" [ 5; 6 ] [ 5; 6 ] (sinusoidal ())
                check "eachStep" [ 5; 6 ] [ 5; 2 ] (eachStep (dense 2) >=> relu)
                check "transformerBlock" [ 5; 6 ] [ 5; 6 ] (transformerBlock (2, 8, dropout = 0.1))
                check "transformerBlock, norm last" [ 5; 6 ] [ 5; 6 ] (transformerBlock (2, 8, postNorm = true))
                check "rnn from a state" [ 5; 3 ] [ 5; 4 ] (rnn (4, state = Tensor.Ones(Shape.Of [ 4 ])))
                check "gru from states" [ 5; 3 ] [ 5; 4 ] (gru (4, state = Tensor.Ones(Shape.Of [ 3; 4 ])))
                check "lstm with cells" [ 5; 3 ] [ 5; 8 ] (lstm (4, cell = Tensor.Ones(Shape.Of [ 4 ]), cells = true))

                let mask = maskOf (List.replicate 3 [ true; true; false ])

                check
                    "crossAttention"
                    [ 5; 6 ]
                    [ 2; 6 ]
                    (reading 3 (fun memory -> crossAttention (memory, 3, mask = mask, dropout = 0.1)))

                for postNorm in [ false; true ] do
                    check
                        $"transformerDecoderBlock, norm last: {postNorm}"
                        [ 5; 6 ]
                        [ 2; 6 ]
                        (reading 3 (fun memory ->
                            transformerDecoderBlock (
                                memory,
                                2,
                                8,
                                memoryMask = mask,
                                postNorm = postNorm,
                                dropout = 0.1
                            ))))

            testCase "running statistics move by the momentum, with the unbiased variance" (fun () ->
                let network = input [ 1; 2 ] >=> batchNorm (momentum = 0.25)
                let parameters, state = Layer.init key network
                let x = Tensor.From([| 1.0f; 3.0f; 5.0f; 7.0f |], [| 2; 1; 2 |])
                let _, state = Layer.apply (Mode.Train key) network parameters state x
                let values = Tree.leaves state |> Array.map _.ToDouble()
                Expect.floatClose Accuracy.medium values[0] (0.25 * 4.0) "mean"
                Expect.floatClose Accuracy.medium values[1] (0.75 + 0.25 * 20.0 / 3.0) "variance")

            testPropertyWithConfig
                { FsCheckConfig.defaultConfig with
                    maxTest = Laws.Law.countOr 60
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
                    maxTest = Laws.Law.countOr 40
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

            testCase
                "a sum and an activation in a batch norm's epilogue give what they give as layers of their own"
                (fun () ->
                    let body =
                        conv (3, 3, pad = Same) >=> batchNorm () >=> relu >=> conv (2, 3, pad = Same)

                    let skip = lambda ("skip", id)
                    let normed = body >=> batchNorm ()

                    let added branches = branches, add branches

                    for branches, sum in
                        [
                            added [ normed; skip ]
                            added [ body; named "short" (conv (2, 1) >=> batchNorm ()) ]
                            added [ normed; conv (2, 1) >=> batchNorm () ]
                            [ skip; batchNorm () ], residual (batchNorm ())
                        ] do
                        for activation in [ relu; tanh; lambda ("none", id) ] do
                            let apartSum = branch (branches, List.reduce (fun a b -> a + b))

                            let value sum between =
                                let net = input [ 2; 5; 4 ] >=> named "block" sum
                                let net = (if between then net >=> lambda ("apart", id) else net) >=> activation
                                let parameters, state = Layer.init key net
                                let x = key.Fold(8).Normal(Shape.Of [ 3; 2; 5; 4 ])
                                let g = key.Fold(9).Normal(Shape.Of [ 3; 2; 5; 4 ])

                                let loss (parameters, x) =
                                    let y, state = Layer.apply (Mode.Train key) net parameters state x
                                    (y * g).Sum(), (y, state)

                                let _, (y, state), (gradient, dx) = valueAndGradAux loss (parameters, x)

                                [ "y", y; "dx", dx; yield! Tree.named state; yield! Tree.named gradient ]

                            let together, apart = value sum false, value apartSum true
                            Expect.equal (List.map fst together) (List.map fst apart) "the same paths"

                            for (what, a), (_, b) in List.zip together apart do
                                let off = (a - b).Abs().Max().ToDouble()
                                Expect.isLessThan off (1e-5 * (1.0 + b.Abs().Max().ToDouble())) what)

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

            testCase "channels and examples are dropped whole" (fun () ->
                let dropped shape layer =
                    let net = input shape >=> layer
                    let parameters, state = Layer.init key net
                    let x = Tensor.Ones(Shape.Of(200 :: shape))
                    let y, _ = Layer.apply (Mode.Train key) net parameters state x
                    let kept, _ = Layer.apply Mode.Infer net parameters state x
                    Expect.equal (kept.ToDoubles()) (x.ToDoubles()) "inference keeps everything"
                    y

                let channels = (dropped [ 2; 3; 4 ] (spatialDropout 0.25)).Reshape(400, 12)
                let examples = (dropped [ 6 ] (stochasticDepth 0.25)).Reshape(200, 6)

                for what, parts in [ "channels", channels; "examples", examples ] do
                    let low, high = (parts.Min 1).ToDoubles(), (parts.Max 1).ToDoubles()
                    Expect.equal low high $"one draw for all of each of the {what}"
                    let zeros = low |> Array.filter ((=) 0.0) |> Array.length
                    let share = float zeros / float low.Length
                    Expect.isTrue (share > 0.15 && share < 0.35) $"a quarter of the {what} is dropped; got {share}"

                    for value in low do
                        Expect.isTrue (value = 0.0 || abs (value - 4.0 / 3.0) < 1e-6) $"{value} of the {what}")

            testCase "upsampling repeats, or goes straight from centre to centre" (fun () ->
                let made layer =
                    let net = input [ 1; 3 ] >=> layer
                    let x = Tensor.From([| 0.0f; 4.0f; 2.0f |], [| 1; 1; 3 |])
                    (Layer.predict net (Layer.init key net) x).ToDoubles()

                Expect.equal (made (upsample 2)) [| 0.0; 0.0; 4.0; 4.0; 2.0; 2.0 |] "repeated"
                Expect.equal (made (upsample (2, linear = true))) [| 0.0; 1.0; 3.0; 3.5; 2.5; 2.0 |] "interpolated")

            testPropertyWithConfig
                { FsCheckConfig.defaultConfig with
                    maxTest = Laws.Law.countOr 20
                }
                "in inference a batch norm goes into the convolution before it, and nothing else changes"
                (fun (seed: int) ->
                    let key = Key.OfSeed(int64 seed)

                    for image in [ [ 3; 9 ]; [ 3; 6; 5 ]; [ 3; 4; 3; 5 ] ] do
                        for parts in
                            [
                                [ conv (4, 3, pad = Same); batchNorm () ]
                                [ conv (4, 3, pad = Same); batchNorm (); relu ]
                                [ conv (4, 3, pad = Same, bias = false); batchNorm (affine = false); tanh ]
                                [ conv (4, 3, pad = Same); batchNorm (); gelu; conv (2, 1); batchNorm () ]
                            ] do
                            let network = List.reduce (>=>) parts

                            let drawn fold low high =
                                Tree.map (fun (t: Tensor) ->
                                    (key.Fold(fold: int).Fold(int t.Count)).Uniform(t.Shape, low, high))

                            let parameters, state = Layer.initFor (Shape.Of image) key network
                            let parameters, state = drawn 1 -1.0 1.0 parameters, drawn 2 0.3 2.0 state
                            let x = (key.Fold 3).Normal(Shape.Of(2 :: image))
                            let together, _ = Layer.apply Mode.Infer network parameters state x

                            let apart =
                                match parameters, state with
                                | Node ps, Node ss ->
                                    (x, List.zip3 parts ps ss)
                                    ||> List.fold (fun x (part, (_, p), (_, s)) ->
                                        Layer.apply Mode.Infer part p s x |> fst)
                                | _ -> failtest "a chain's parameters are a tree"

                            let off = (together - apart).Abs().Max().ToDouble()
                            Expect.isLessThan off (1e-4 * (1.0 + apart.Abs().Max().ToDouble())) $"seed {seed}, {image}")

            testCase "training a batch norm on a single value is refused" (fun () ->
                let net = input [ 3 ] >=> batchNorm ()
                let parameters, state = Layer.init key net

                let one, image = Tensor.Ones(Shape.Of [ 1; 3 ]), key.Normal(Shape.Of [ 1; 3; 2 ])

                let text =
                    try
                        Layer.apply (Mode.Train key) net parameters state one |> ignore
                        ""
                    with :? ShapeException as error ->
                        error.Message

                Expect.stringContains text "more than one value for each channel" "the message"
                Expect.equal (Layer.predict net (parameters, state) one).Shape one.Shape "inference takes one example"
                let wide = input [ 3; 2 ] >=> batchNorm ()
                let y, _ = Layer.apply (Mode.Train key) wide parameters state image
                Expect.equal y.Shape image.Shape "one example with two places has a variance")

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

                let lines = table.Split Environment.NewLine
                Expect.equal lines.Length 7 $"a line each, a heading and the sums; got\n{table}"

                let row i =
                    lines[i].Split("  ", StringSplitOptions.RemoveEmptyEntries ||| StringSplitOptions.TrimEntries)
                    |> List.ofArray

                Expect.equal (row 0) [ "layer"; "output"; "parameters"; "memory"; "flop"; "line" ] "the heading"
                Expect.equal (row 2) [ "encoder"; "[4]"; "36"; "16 B"; "64" ] "the block"
                Expect.equal (List.take 5 (row 3)) [ "encoder.dense"; "[4]"; "36"; "16 B"; "64" ] "a layer in it"
                Expect.stringContains lines[3] "LayerTests.fs:" "its line"

                Expect.equal
                    lines[6]
                    "46 parameters (184 B); each example 72 B of outputs, 80 flop"
                    "the sums: 8 + 4 + 4 + 2 elements")

            testCase "flop are those of the products" (fun () ->
                let check name (shape: int list) expected (layer: Layer) =
                    let net = input shape >=> layer
                    Expect.equal (Layer.flop net (Shape.Of shape)) expected name

                check "dense" [ 7 ] (2L * 7L * 5L) (dense 5 >=> relu)
                check "dense on steps" [ 3; 7 ] (2L * 3L * 7L * 5L) (eachStep (dense 5))
                check "conv" [ 2; 6; 5 ] (2L * 4L * 3L * 4L * 2L * 9L) (conv (4, kernel = 3) >=> tanh)

                check
                    "conv, depthwise"
                    [ 4; 6; 5 ]
                    (2L * 4L * 6L * 5L * 9L)
                    (conv (4, kernel = 3, pad = Same, groups = 4))

                check
                    "convTransposed"
                    [ 3; 4; 5 ]
                    (2L * 4L * 5L * 3L * 2L * 4L)
                    (convTransposed (2, kernel = 2, stride = 2))

                for gates, layer in [ 1L, rnn 5; 4L, lstm 5; 3L, gru 5 ] do
                    check layer.Name [ 6; 3 ] (2L * 6L * gates * 5L * (3L + 5L)) layer

                check "both ways" [ 6; 3 ] (2L * 2L * 6L * 3L * 5L * (3L + 5L)) (bidirectional (gru 5))

                // Projections to queries, keys, values and back; scores and what they weigh.
                let attention = 4L * 2L * 6L * 8L * 8L + 2L * 2L * 6L * 6L * 8L
                check "attention" [ 6; 8 ] attention (multiHeadAttention (2, causal = true))
                check "transformer" [ 6; 8 ] (attention + 2L * 2L * 6L * 8L * 16L) (transformerBlock (2, 16))
                let table = Tensor.Ones(Shape.Of [ 4; 6 ])
                check "a function of a user" [ 4 ] (2L * 4L * 6L) (lambda ("product", fun x -> x.Matmul table)))

            testCase "a block within blocks is gone through once for each level" (fun () ->
                let seen = ref 0

                let probe =
                    lambda (
                        "probe",
                        fun x ->
                            seen.Value <- seen.Value + 1
                            x
                    )

                let rec within depth =
                    if depth = 0 then
                        probe >=> dense 4
                    else
                        residual (named "block" (within (depth - 1) >=> tanh))

                let net = input [ 4 ] >=> within 12 >=> dense 2
                string net |> ignore
                Layer.init key net |> ignore
                Expect.isLessThan seen.Value 40 "not twice as often with each level")
        ]
