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

let private asFloat64 = Tree.map (fun (t: Tensor) -> t.Cast DType.Float64)

let private examples (n: int) =
    key.Fold(99).Normal(Shape.Of [ n; 2; 2 ], dtype = DType.Float64)

/// Two sequences one after the other in one input: a memory and the steps that read it.
let private reading (memorySteps: int) (decoder: Tensor -> Layer) =
    remember (
        lambda ("memory", fun x -> x.Slice(1, 0, memorySteps)),
        fun memory ->
            lambda ("steps", fun x -> x.Slice(1, memorySteps, x.Shape[1]))
            >=> decoder memory
    )

/// A sequence with other values from one step to another.
let private changedAt (from: int) (until: int) (x: Tensor) =
    let steps = x.Shape[1]
    Tensor.Concat(1, x.Slice(1, 0, from), x.Slice(1, from, until) * -2.0 + 1.0, x.Slice(1, until, steps))

let private maskOf (rows: bool list list) =
    Tensor.From(rows |> List.concat |> Array.ofList, [| rows.Length; rows.Head.Length |])

let private refusal f =
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

            testCase "a recurrence in two parts, the second from the state of the first, is the whole" (fun () ->
                let x = key.Fold(4).Normal(Shape.Of [ 2; 7; 3 ])

                let check name (whole: Layer) (continued: Tensor -> Layer) =
                    let parameters = Layer.initFor (Shape.Of [ 7; 3 ]) key whole
                    let expected = Layer.predict whole parameters x
                    let last = (Layer.predict whole parameters (x.Slice(1, 0, 3))).Select(1, -1)
                    let rest = Layer.predict (continued last) parameters (x.Slice(1, 3, 7))

                    for a, b in Array.zip (rest.ToDoubles()) ((expected.Slice(1, 3, 7)).ToDoubles()) do
                        Expect.isLessThan (abs (a - b)) 1e-6 name

                check "rnn" (rnn 4) (fun last -> rnn (4, state = last))
                check "gru" (gru 4) (fun last -> gru (4, state = last))

                check "lstm" (lstm (4, cells = true)) (fun last ->
                    lstm (4, state = last.Slice(1, 0, 4), cell = last.Slice(1, 4, 8), cells = true)))

            testCase "a first state for all examples is that state for each" (fun () ->
                let x = key.Fold(5).Normal(Shape.Of [ 2; 3; 3 ])
                let one = key.Fold(6).Normal(Shape.Of [ 4 ])
                let each = Tensor.Stack(0, one, one)

                let value state =
                    let net = input [ 3; 3 ] >=> lstm (4, state = state, cell = state)
                    (Layer.predict net (Layer.init key net) x).ToDoubles()

                Expect.equal (value one) (value each) "the states"
                Expect.notEqual (value one) (value (one * 0.0)) "the first state matters"

                let wrong =
                    refusal (fun () -> input [ 3; 3 ] >=> gru (4, state = Tensor.Zeros(Shape.Of [ 2; 5 ])) |> ignore)

                Expect.stringContains wrong "the first state must be" "a state of another size")

            testCase "cross-attention is what its formula says" (fun () ->
                let heads, steps, memorySteps, features, memoryFeatures = 2, 3, 4, 6, 5
                let memory = key.Fold(1).Normal(Shape.Of [ 2; memorySteps; memoryFeatures ])
                let x = key.Fold(2).Normal(Shape.Of [ 2; steps; features ])

                let visible = [ [ true; true; false; true ]; [ false; true; true; true ] ]
                let seen = ref (Tensor.Zeros(Shape.Of [ 1 ]))

                let layer =
                    crossAttention (
                        memory,
                        heads,
                        mask = maskOf visible,
                        observe = fun weights -> seen.Value <- weights
                    )

                let parameters =
                    Layer.initFor (Shape.Of [ steps; features ]) key layer
                    |> fst
                    |> Tree.mapPath (fun path t -> key.Fold(path: string).Normal(t.Shape))

                let actual = Layer.predict layer (parameters, Tree.empty) x

                let matrix (t: Tensor) =
                    let values = t.ToDoubles()
                    Array2D.init t.Shape[0] t.Shape[1] (fun i j -> values[i * t.Shape[1] + j])

                let linear name (rows: float[,]) =
                    let w = matrix (Tree.find $"{name}Weight" parameters)
                    let b = (Tree.find $"{name}Bias" parameters).ToDoubles()

                    Array2D.init (Array2D.length1 rows) (Array2D.length2 w) (fun i j ->
                        b[j] + Seq.sum (Seq.init (Array2D.length1 w) (fun k -> rows[i, k] * w[k, j])))

                for n in 0..1 do
                    let queries = linear "query" (matrix (x.Select(0, n)))
                    let both = linear "memory" (matrix (memory.Select(0, n)))
                    let size = features / heads

                    let weights head i =
                        let scores =
                            Array.init memorySteps (fun j ->
                                if visible[n][j] then
                                    let product =
                                        Seq.sum (
                                            Seq.init size (fun d ->
                                                queries[i, head * size + d] * both[j, head * size + d])
                                        )

                                    exp (product / sqrt (float size))
                                else
                                    0.0)

                        scores |> Array.map (fun score -> score / Array.sum scores)

                    let mixed =
                        Array2D.init steps features (fun i j ->
                            weights (j / size) i
                            |> Seq.mapi (fun k weight -> weight * both[k, features + j])
                            |> Seq.sum)

                    let expected = linear "output" mixed
                    let actual = matrix (actual.Select(0, n))

                    for i in 0 .. steps - 1 do
                        for j in 0 .. features - 1 do
                            Expect.isLessThan (abs (actual[i, j] - expected[i, j])) 1e-4 $"element {n}, {i}, {j}"

                        for head in 0 .. heads - 1 do
                            let shown = seen.Value.Select(0, n).Select(0, head).Select(0, i).ToDoubles()

                            for a, b in Array.zip shown (weights head i) do
                                Expect.isLessThan (abs (a - b)) 1e-5 $"weight of head {head}, step {i}")

            testCase "a decoder sees its own past and all of the memory that no mask hides" (fun () ->
                let mask = maskOf [ [ true; true; false; true ] ]
                let x = key.Fold(3).Normal(Shape.Of [ 1; 9; 6 ])

                for postNorm in [ false; true ] do
                    let network =
                        input [ 9; 6 ]
                        >=> reading 4 (fun memory ->
                            let block () =
                                transformerDecoderBlock (memory, 2, 8, memoryMask = mask, postNorm = postNorm)

                            block () >=> block ())

                    let parameters = Layer.init key network

                    let step i (t: Tensor) =
                        (Layer.predict network parameters t).Select(1, i).ToDoubles()

                    Expect.equal (step 2 (changedAt 7 9 x)) (step 2 x) "it does not look ahead"
                    Expect.notEqual (step 2 (changedAt 4 5 x)) (step 2 x) "it looks back"
                    Expect.notEqual (step 2 (changedAt 3 4 x)) (step 2 x) "it sees the memory"
                    Expect.equal (step 2 (changedAt 2 3 x)) (step 2 x) "it does not see what is hidden")

            testCase "a mask hides steps from self-attention" (fun () ->
                let mask = maskOf [ [ true; true; false; true ] ]
                let net = input [ 4; 6 ] >=> transformerBlock (2, 8, mask = mask)
                let parameters = Layer.init key net
                let x = key.Fold(3).Normal(Shape.Of [ 1; 4; 6 ])

                let step i t =
                    (Layer.predict net parameters t).Select(1, i).ToDoubles()

                Expect.equal (step 0 (changedAt 2 3 x)) (step 0 x) "the hidden step"
                Expect.notEqual (step 0 (changedAt 3 4 x)) (step 0 x) "a step that is not")

            testCase "the gradient of an encoder and decoder agrees with differences" (fun () ->
                let network =
                    remember (
                        lambda ("memory", fun x -> x.Slice(1, 0, 3)) >=> gru 4,
                        fun memory ->
                            lambda ("steps", fun x -> x.Slice(1, 3, 5))
                            >=> eachStep (dense 4)
                            >=> gru (4, state = memory.Select(1, -1))
                            >=> transformerDecoderBlock (memory, 2, 3, activation = tanh)
                    )

                let parameters, state = Layer.initFor (Shape.Of [ 5; 2 ]) key network
                let parameters = asFloat64 parameters
                let x = key.Fold(8).Normal(Shape.Of [ 2; 5; 2 ], dtype = DType.Float64)

                let loss leaves =
                    let y, _ = Layer.apply Mode.Infer network (Tree.rebuild parameters leaves) state x

                    (y * y.Sin()).Sum()

                let leaves = Tree.leaves parameters
                let struct (_, gradients) = Diff.ValueAndGrad(Func<_, _> loss, leaves)

                for i in 0 .. leaves.Length - 1 do
                    let direction = key.Fold(i).Normal(leaves[i].Shape, dtype = DType.Float64)

                    let at (h: float) =
                        (loss (
                            leaves
                            |> Array.mapi (fun j leaf -> if i = j then leaf + h * direction else leaf)
                        ))
                            .ToDouble()

                    let expected, error = Laws.Numbers.extrapolate (fun h -> (at h - at -h) / (2.0 * h))

                    let along = (gradients[i] * direction).Sum().ToDouble()

                    Expect.isLessThan
                        (abs (along - expected))
                        (10.0 * error + 1e-8 * max 1.0 (abs expected))
                        $"parameter {i}: gradient {along}, differences {expected}")

            testCase "an encoder and a decoder stand in the table and under names of their own" (fun () ->
                let net =
                    input [ 5; 6 ]
                    >=> remember (
                        lambda ("source", fun x -> x.Slice(1, 0, 3)) >=> gru 4,
                        fun memory -> dropout 0.5 >=> crossAttention (memory, 2) >=> tanh
                    )

                let table = string net

                for part in
                    [
                        "remember"
                        "encoder"
                        "gru"
                        "[3; 4]"
                        "decoder"
                        "crossAttention"
                        "[5; 6]"
                    ] do
                    Expect.stringContains table part "the table"

                let names = Layer.init key net |> fst |> Tree.named |> List.map fst
                Expect.contains names "remember.encoder.gru.hiddenWeight" "the encoder's weight"
                Expect.contains names "remember.decoder.crossAttention.queryWeight" "the decoder's weight")

            testCase "what attention cannot take is refused in a sentence" (fun () ->
                let composed layer =
                    refusal (fun () -> input [ 5; 6 ] >=> layer |> ignore)

                let memory = Tensor.Zeros(Shape.Of [ 2; 3; 6 ])

                let wrong =
                    composed (reading 3 (fun memory -> gru 6 >=> crossAttention (memory, 2) >=> dense 3))

                for part in
                    [
                        "shape error at 'dense' (LayerTests.fs:"
                        "it receives [2; 6] from 'crossAttention' (LayerTests.fs:"
                    ] do
                    Expect.stringContains wrong part "a mistake in a decoder"

                Expect.stringContains
                    (composed (reading 3 (fun memory -> crossAttention (memory, 4))))
                    "crossAttention divides its features into 4 heads, got 6"
                    "heads"

                Expect.stringContains
                    (refusal (fun () -> crossAttention (memory.Select(1, 0), 2) |> ignore))
                    "the memory must be [batch; steps; features]"
                    "a memory of one step"

                Expect.stringContains
                    (composed (crossAttention (memory, 2, mask = Tensor.Ones(Shape.Of [ 3 ]))))
                    "the mask must be [batch; keys]"
                    "a mask of one axis"

                Expect.stringContains
                    (composed (multiHeadAttention (2, mask = maskOf [ [ true; false ] ])))
                    "the mask must broadcast"
                    "a mask of other steps"

                let net = input [ 5; 6 ] >=> crossAttention (memory, 2)

                Expect.stringContains
                    (refusal (fun () ->
                        Layer.predict net (Layer.init key net) (Tensor.Zeros(Shape.Of [ 4; 5; 6 ]))
                        |> ignore))
                    "as many examples as the batch; got 2 and 4"
                    "another batch")

            testCase "running statistics move by the momentum, with the unbiased variance" (fun () ->
                let network = input [ 1; 2 ] >=> batchNorm (momentum = 0.25)
                let parameters, state = Layer.init key network
                let x = Tensor.From([| 1.0f; 3.0f; 5.0f; 7.0f |], [| 2; 1; 2 |])
                let _, state = Layer.apply (Mode.Train key) network parameters state x
                let values = Tree.leaves state |> Array.map _.ToDouble()
                Expect.floatClose Accuracy.medium values[0] (0.25 * 4.0) "mean"
                Expect.floatClose Accuracy.medium values[1] (0.75 + 0.25 * 20.0 / 3.0) "variance")

            testCase "a cell of one's own over time is Elman's network" (fun () ->
                let x = key.Fold(1).Normal(Shape.Of [ 2; 5; 3 ])
                let net = input [ 5; 3 ] >=> recurrent (4, dense 4 >=> tanh)
                let parameters, state = Layer.init key net
                let weight = Tree.find "recurrent.dense.weight" parameters
                let none = Tensor.Zeros(Shape.Of [ 4 ])
                let expected = Tensor.Rnn(x, weight.Slice(0, 0, 3), weight.Slice(0, 3), none, none)
                let actual = Layer.predict net (parameters, state) x

                for a, b in Array.zip (actual.ToDoubles()) (expected.ToDoubles()) do
                    Expect.isLessThan (abs (a - b)) 1e-6 "the states"

                let text =
                    try
                        input [ 5; 3 ] >=> recurrent (4, dense 5) |> ignore
                        ""
                    with :? ShapeException as error ->
                        error.Message

                Expect.stringContains text "a state of 4 units from [7], got [5]" "a cell that makes another state")

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

            testCase "a sequence without steps is refused by every layer on sequences" (fun () ->
                for layer in
                    [
                        rnn 2
                        lstm 2
                        gru 2
                        bidirectional (gru 2)
                        lastState ()
                        positions ()
                        sinusoidal ()
                        multiHeadAttention 1
                        transformerBlock (1, 4)
                    ] do
                    let text =
                        try
                            input [ 0; 3 ] >=> layer |> ignore
                            ""
                        with :? ShapeException as error ->
                            error.Message

                    Expect.stringContains text "at least one step" $"the message of {layer.Name}")

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

            testCase "what C# says makes the same network" (fun () ->
                let fluent =
                    Network
                        .Input([| 2; 8; 8 |])
                        .Conv(4, 3, pad = 1)
                        .BatchNorm()
                        .Relu()
                        .Residual(fun inner -> inner.Conv(4, 3, pad = Padding.Same))
                        .MaxPool(2)
                        .Concat(
                            [|
                                Func<_, _>(fun (branch: Layer) -> branch.Conv(3, 1))
                                Func<_, _>(fun (branch: Layer) -> branch.Tanh())
                            |]
                        )
                        .Flatten()
                        .Dense(5, weights = Weights.HeNormal)

                let functional =
                    input [ 2; 8; 8 ]
                    >=> conv (4, kernel = 3, pad = 1)
                    >=> batchNorm ()
                    >=> relu
                    >=> residual (conv (4, kernel = 3, pad = Same))
                    >=> maxPool 2
                    >=> concat [ conv (3, kernel = 1); tanh ]
                    >=> flatten ()
                    >=> dense (5, weights = Init.heNormal)

                let values net =
                    let parameters, state = Layer.init key net

                    Tree.named parameters @ Tree.named state
                    |> List.map (fun (name, value) -> name, value.ToDoubles())

                Expect.equal (values fluent) (values functional) "paths and first values"
                let x = key.Fold(5).Normal(Shape.Of [ 3; 2; 8; 8 ])

                Expect.equal
                    ((Layer.predict fluent (Layer.init key fluent) x).ToDoubles())
                    ((Layer.predict functional (Layer.init key functional) x).ToDoubles())
                    "outputs"

                Expect.stringContains (string fluent) "LayerTests.fs:" "the line where it was written")

            testCase "every layer is there for C#, with every argument, and the other way round" (fun () ->
                // Names as in F#, each with the names of its arguments. What C# calls network is what comes before a layer.
                let layers (methods: MethodInfo seq) =
                    methods
                    |> Seq.filter (fun method -> method.ReturnType = typeof<Layer>)
                    |> Seq.map (fun method ->
                        let name = method.Name.Replace("get_", "")

                        string (Char.ToLowerInvariant name[0]) + name.Substring 1,
                        method.GetParameters()
                        |> Seq.map _.Name
                        |> Seq.filter ((<>) "network")
                        |> Seq.sort
                        |> List.ofSeq)
                    |> Seq.sort
                    |> List.ofSeq

                let inFSharp = layers (typeof<Layers>.GetMethods())

                let inCSharp =
                    typeof<Layers>.Assembly.GetExportedTypes()
                    |> Seq.filter (fun kind -> kind.Namespace = typeof<Network>.Namespace)
                    |> Seq.collect _.GetMethods()
                    // What >=> is in F#.
                    |> Seq.filter (fun method -> method.Name <> "Then")
                    |> layers

                Expect.isGreaterThan inFSharp.Length 50 "there are many"
                Expect.equal (List.except inCSharp inFSharp) [] "in F# alone"
                Expect.equal (List.except inFSharp inCSharp) [] "in C# alone")

            testCase "C# says sequences, memories and blocks" (fun () ->
                let noise = Tensor.Ones(Shape.Of [ 8 ])

                let fluent =
                    Network
                        .Input([| 5 |])
                        .Embedding(7, 8)
                        .Positions()
                        .Sinusoidal()
                        .Remember(
                            (fun encoder -> encoder.Bidirectional(fun layer -> layer.Gru 4).Gru(8, state = noise)),
                            fun memory decoder ->
                                decoder
                                    .Lstm(8, cells = true)
                                    .EachStep(fun step -> step.Dense 8)
                                    .CrossAttention(memory, 2)
                                    .TransformerDecoderBlock(memory, 2, 6, postNorm = true, activation = _.Silu())
                        )
                        .Repeat(2, fun block -> block.TransformerBlock(2, 6, causal = true).RmsNorm())
                        .WithRegulariser(
                            "*weight",
                            Regularisers.L2 0.1,
                            fun block -> block.Recurrent(3, _.Dense(3).Mish())
                        )
                        .Frozen(_.MultiHeadAttention(1))
                        .Branch(
                            [|
                                Func<_, _>(fun (b: Layer) -> b.Rnn 2)
                                Func<_, _>(fun (b: Layer) -> b.Rnn 2)
                            |],
                            fun y -> y[0] - y[1]
                        )
                        .Add(
                            [|
                                Func<_, _>(fun (b: Layer) -> b.LeakyRelu())
                                Func<_, _>(fun (b: Layer) -> b.Elu())
                            |]
                        )
                        .LastState()

                let functional =
                    input [ 5 ]
                    >=> embedding (7, 8)
                    >=> positions ()
                    >=> sinusoidal ()
                    >=> remember (
                        bidirectional (gru 4) >=> gru (8, state = noise),
                        fun memory ->
                            lstm (8, cells = true)
                            >=> eachStep (dense 8)
                            >=> crossAttention (memory, 2)
                            >=> transformerDecoderBlock (memory, 2, 6, postNorm = true, activation = silu)
                    )
                    >=> repeat 2 (transformerBlock (2, 6, causal = true) >=> rmsNorm ())
                    >=> withRegulariser "*weight" (Regulariser.l2 0.1) (recurrent (3, dense 3 >=> mish))
                    >=> frozen (multiHeadAttention 1)
                    >=> branch ([ rnn 2; rnn 2 ], (fun y -> y[0] - y[1]))
                    >=> add [ leakyRelu (); elu ]
                    >=> lastState ()

                let values net =
                    let parameters, state = Layer.init key net
                    let x = key.Integers(Shape.Of [ 3; 5 ], 0L, 7L)

                    Tree.named parameters |> List.map fst, (Layer.predict net (parameters, state) x).ToDoubles()

                Expect.equal (values fluent) (values functional) "paths and outputs"

                let declared net =
                    (net: Layer).Parameters(Shape.Of [ 5 ])
                    |> Tree.leaves
                    |> Array.map (fun parameter -> parameter.IsTrained, parameter.Regularisers.Length)

                Expect.equal (declared fluent) (declared functional) "what is frozen, what is penalised"

                let images =
                    Network
                        .Input([| 4; 6; 6 |])
                        .ConvTransposed(4, 3, groups = 2, bias = false)
                        .GroupNorm(2)
                        .InstanceNorm(affine = true)
                        .SpatialDropout(0.1)
                        .StochasticDepth(0.1)
                        .Pad(1, value = 0.5)
                        .Upsample(2, linear = true)
                        .AdaptiveAveragePool(3)
                        .AdaptiveMaxPool(2)
                        .GlobalMaxPool()
                        .LogSoftmax()

                let same =
                    input [ 4; 6; 6 ]
                    >=> convTransposed (4, 3, groups = 2, bias = false)
                    >=> groupNorm 2
                    >=> instanceNorm (affine = true)
                    >=> spatialDropout 0.1
                    >=> stochasticDepth 0.1
                    >=> pad (1, value = 0.5)
                    >=> upsample (2, linear = true)
                    >=> adaptiveAveragePool 3
                    >=> adaptiveMaxPool 2
                    >=> globalMaxPool ()
                    >=> logSoftmax

                let output net =
                    (Layer.predict net (Layer.init key net) (key.Normal(Shape.Of [ 2; 4; 6; 6 ]))).ToDoubles()

                Expect.equal (output images) (output same) "images")

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
