/// What stands behind the layers that let the steps of a sequence [steps; features] see each other.
module internal Functional.Attending

open System
open Functional.Composition
open Functional.Layer

let private sequence layer (input: Shape) =
    if input.Rank <> 2 then
        raise (
            ShapeException
                $"{layer} expects steps and features, got {text input}; put reshape [steps; features] before it"
        )

    if input[0] = 0 then
        raise (ShapeException $"{layer} expects at least one step, got {text input}; give sequences that are not empty")

    input[0], input[1]

let private parameter fans sizes initialiser =
    Leaf
        {
            Shape = Shape.Of(sizes: int list)
            Fans = fans
            Initialiser = initialiser
            IsTrained = true
            Regularisers = []
        }

/// Tokens are whole numbers, whatever they come as.
let private tokens (x: Tensor) =
    if x.DType.IsFloat() then x.Cast DType.Int64 else x

let embedding place count size weights =
    let table = parameter { In = size; Out = count } [ count; size ] weights

    ofParameters "embedding" place (fun _ -> Node [ "weight", table ]) (fun parameters x ->
        match parameters with
        | Node [ _, Leaf weight ] ->
            if x.IsMeta then
                Tensor.Meta(weight.DType, Shape.Of(Seq.append x.Shape [ size ]))
            else
                Tensor.Embedding(weight, tokens x)
        | _ ->
            invalidArg
                (nameof parameters)
                "embedding: parameters must be a weight; got another tree. Make them with Layer.init.")

let positions place weights =
    ofParameters
        "positions"
        place
        (fun input ->
            let steps, features = sequence "positions" input

            Node
                [
                    "weight", parameter { In = features; Out = features } [ steps; features ] weights
                ])
        (fun parameters x ->
            match parameters with
            | Node [ _, Leaf weight ] ->
                if x.Shape[1] > weight.Shape[0] then
                    raise (
                        ShapeException
                            $"positions knows {weight.Shape[0]} steps, got {x.Shape[1]}; make the network for longer sequences"
                    )

                x + weight.Slice(0, 0, x.Shape[1])
            | _ ->
                invalidArg
                    (nameof parameters)
                    "positions: parameters must be a weight; got another tree. Make them with Layer.init.")

/// sin and cos of the step at wavelengths from 2π to 10000·2π.
let wave steps features =
    let values =
        Array.init (steps * features) (fun i ->
            let step, feature = i / features, i % features
            let angle = float step / Math.Pow(10000.0, float (feature / 2 * 2) / float features)
            float32 (if feature % 2 = 0 then sin angle else cos angle))

    Tensor.From(values, [| steps; features |])

let sinusoidal place =
    ofFunction "sinusoidal" place (fun x ->
        sequence "sinusoidal" (Shape.Of(x.Shape.Sizes.Slice 1)) |> ignore

        if x.IsMeta then
            x
        else
            x + (wave x.Shape[1] x.Shape[2]).Cast x.DType)

/// Features must divide into heads.
let private divided layer heads features =
    if heads < 1 || features % heads <> 0 then
        raise (ShapeException $"{layer} divides its features into {heads} heads, got {features}; correct the heads")

let private projection weights inputs outputs =
    parameter { In = inputs; Out = outputs } [ inputs; outputs ] weights

let private bias size =
    parameter { In = size; Out = size } [ size ] Init.zeros

/// A mask of keys [batch; keys] or of queries and keys [batch; queries; keys] for all heads.
let private forHeads layer (x: Tensor) mask : Tensor | null =
    match mask with
    | None -> null
    | Some(mask: Tensor) ->
        match mask.Rank, Recurrent.perExample x (Some mask) with
        | 2, NonNull mask -> mask.Unsqueeze(1).Unsqueeze 1
        | 3, NonNull mask -> mask.Unsqueeze 1
        | _ ->
            raise (
                ShapeException
                    $"{layer}: the mask must be [batch; keys] or [batch; queries; keys]; got {mask.Shape}. Reshape it."
            )

/// Values weighted by how well keys match queries, in training with some of the weights dropped.
let private attend mode rate causal mask observe (q: Tensor) (k: Tensor) (v: Tensor) =
    match mode, observe with
    | Train key, _ when rate > 0.0 ->
        let weights = Tensor.AttentionWeights(q, k, mask, causal)
        Option.iter (fun observe -> observe weights) observe
        weights.Dropout(rate, key).Matmul v
    | _, Some observe ->
        let weights = Tensor.AttentionWeights(q, k, mask, causal)
        observe weights
        weights.Matmul v
    | _ -> Tensor.Attention(q, k, v, mask, causal)

let multiHeadAttention place heads causal mask rate weights =
    let name = "multiHeadAttention"

    let parameters (input: Shape) =
        let _, features = sequence name input
        divided name heads features

        Node
            [
                "inputWeight", projection weights features (3 * features)
                "inputBias", bias (3 * features)
                "outputWeight", projection weights features features
                "outputBias", bias features
            ]

    let apply mode parameters state (x: Tensor) =
        match parameters with
        | Node [ _, Leaf inputWeight; _, Leaf inputBias; _, Leaf outputWeight; _, Leaf outputBias ] ->
            let all = Tensor.Linear(x, inputWeight, inputBias)
            let mask = forHeads name x mask

            let seen =
                match mode with
                | Train _ when rate > 0.0 ->
                    let part i =
                        all.Slice(2, i * x.Shape[2], (i + 1) * x.Shape[2]).SplitHeads heads

                    (attend mode rate causal mask None (part 0) (part 1) (part 2)).MergeHeads()
                | _ -> Tensor.SelfAttention(all, heads, mask, causal)

            Tensor.Linear(seen, outputWeight, outputBias), state
        | _ ->
            invalidArg
                (nameof parameters)
                "multiHeadAttention: parameters must be two weights and two biases; got another tree. Make them with Layer.init."

    { ofFunction name place id with
        IsRandom = rate > 0.0
        Parameters = parameters
        Apply = apply
    }

/// Queries from the input, keys and values from a memory.
let crossAttention place (memory: Tensor) heads mask rate observe weights =
    let name = "crossAttention"

    if memory.Rank <> 3 then
        raise (
            ShapeException
                $"{name}: the memory must be [batch; steps; features]; got {memory.Shape}. Give a sequence for each example."
        )

    let parameters (input: Shape) =
        let _, features = sequence name input
        divided name heads features

        Node
            [
                "queryWeight", projection weights features features
                "queryBias", bias features
                "memoryWeight", projection weights memory.Shape[2] (2 * features)
                "memoryBias", bias (2 * features)
                "outputWeight", projection weights features features
                "outputBias", bias features
            ]

    let apply mode parameters state (x: Tensor) =
        match parameters, Recurrent.perExample x (Some memory) with
        | Node [ _, Leaf queryWeight
                 _, Leaf queryBias
                 _, Leaf memoryWeight
                 _, Leaf memoryBias
                 _, Leaf outputWeight
                 _, Leaf outputBias ],
          NonNull memory ->
            if memory.Shape[0] <> x.Shape[0] then
                raise (
                    ShapeException
                        $"{name}: the memory must have as many examples as the batch; got {memory.Shape[0]} and {x.Shape[0]}. Make it from the same batch."
                )

            let query = Tensor.Linear(x, queryWeight, queryBias)
            let all = Tensor.Linear(memory, memoryWeight, memoryBias)
            let features = x.Shape[2]

            let part i =
                all.Slice(2, i * features, (i + 1) * features).SplitHeads heads

            // Shapes are inferred without anything to show.
            let observe = if x.IsMeta then None else observe

            let seen =
                attend mode rate false (forHeads name x mask) observe (query.SplitHeads heads) (part 0) (part 1)

            Tensor.Linear(seen.MergeHeads(), outputWeight, outputBias), state
        | _ ->
            invalidArg
                (nameof parameters)
                "crossAttention: parameters must be three weights and three biases; got another tree. Make them with Layer.init."

    { ofFunction name place id with
        IsRandom = rate > 0.0
        Parameters = parameters
        Apply = apply
    }

/// A layer on every step for itself.
let eachStep place (layer: Layer) =
    let step (input: Shape) =
        if input.Rank < 2 then
            raise (
                ShapeException
                    $"eachStep expects steps and features, got {text input}; put reshape [steps; features] before it"
            )

        Shape.Of(input.Sizes.Slice 1)

    let rowsOf (apply: Apply) mode parameters state (x: Tensor) =
        let steps = x.Shape[1]
        let rows = x.Reshape(Array.append [| -1 |] (x.Shape.ToArray()[2..]))
        let y, state = apply mode parameters state rows
        y.Reshape(Array.append [| x.Shape[0]; steps |] (y.Shape.ToArray()[1..])), state

    { ofFunction "eachStep" place id with
        IsRandom = layer.IsRandom
        Parameters = step >> layer.Parameters
        State = step >> layer.State
        Apply = rowsOf layer.Apply
        WithActivation =
            layer.WithActivation
            |> Option.map (fun withActivation activation -> rowsOf (withActivation activation))
    }
