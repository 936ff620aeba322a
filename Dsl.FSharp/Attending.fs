/// What stands behind the layers that let the steps of a sequence [steps; features] see each other.
module internal Functional.Attending

open System
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

let multiHeadAttention place heads causal rate weights =
    let parameters (input: Shape) =
        let _, features = sequence "multiHeadAttention" input

        if heads < 1 || features % heads <> 0 then
            raise (
                ShapeException
                    $"multiHeadAttention divides its features into {heads} heads, got {features}; correct the heads"
            )

        let projection outputs =
            parameter { In = features; Out = outputs } [ features; outputs ] weights

        let bias size =
            parameter { In = size; Out = size } [ size ] Init.zeros

        Node
            [
                "inputWeight", projection (3 * features)
                "inputBias", bias (3 * features)
                "outputWeight", projection features
                "outputBias", bias features
            ]

    let apply mode parameters state (x: Tensor) =
        match parameters with
        | Node [ _, Leaf inputWeight; _, Leaf inputBias; _, Leaf outputWeight; _, Leaf outputBias ] ->
            let all = Tensor.Linear(x, inputWeight, inputBias)
            let features = x.Shape[2]

            let part i =
                all.Slice(2, i * features, (i + 1) * features).SplitHeads heads

            let seen =
                match mode with
                | Train key when rate > 0.0 ->
                    Tensor.AttentionWeights(part 0, part 1, null, causal).Dropout(rate, key).Matmul(part 2)
                | _ -> Tensor.Attention(part 0, part 1, part 2, null, causal)

            Tensor.Linear(seen.MergeHeads(), outputWeight, outputBias), state
        | _ ->
            invalidArg
                (nameof parameters)
                "multiHeadAttention: parameters must be two weights and two biases; got another tree. Make them with Layer.init."

    { ofFunction "multiHeadAttention" place id with
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
