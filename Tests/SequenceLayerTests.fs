/// Layers on sequences: recurrences with states, attention with masks, encoders and decoders.
module Functional.Tests.SequenceLayerTests

open System
open Expecto
open Functional
open Functional.Tests.LayerTests
open type Functional.Layers

let private key = Key.OfSeed 7L

/// A sequence with other values from one step to another.
let private changedAt (from: int) (until: int) (x: Tensor) =
    let steps = x.Shape[1]
    Tensor.Concat(1, x.Slice(1, 0, from), x.Slice(1, from, until) * -2.0 + 1.0, x.Slice(1, until, steps))

[<Tests>]
let tests =
    testList
        "layers on sequences"
        [
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
                        "shape error at 'dense' (SequenceLayerTests.fs:"
                        "it receives [2; 6] from 'crossAttention' (SequenceLayerTests.fs:"
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
        ]
