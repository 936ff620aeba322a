/// What stands behind the layers that walk through sequences [steps; features].
module internal Functional.Recurrent

open Functional.Layer

/// x, the weights of inputs and states, their biases → all states.
type Run = Tensor -> Tensor -> Tensor -> Tensor -> Tensor -> Tensor

let private sequence layer (input: Shape) =
    if input.Rank <> 2 then
        raise (
            ShapeException
                $"{layer} expects steps and features, got {text input}; put reshape [steps; features] before it"
        )

    if input[0] = 0 then
        raise (ShapeException $"{layer} expects at least one step, got {text input}; give sequences that are not empty")

    input[1]

let recurrent name place gates units weights (run: Run) =
    if units < 1 then
        raise (ShapeException $"{name}: at least one unit is needed; got {units}. Give a positive number.")

    let parameters (input: Shape) =
        let features = sequence name input

        // Every parameter in ±1/√units, as is the custom.
        let parameter shape =
            Leaf
                {
                    Shape = Shape.Of(shape: int list)
                    Fans = { In = units; Out = units }
                    Initialiser = weights
                    IsTrained = true
                }

        Node
            [
                "inputWeight", parameter [ features; gates * units ]
                "hiddenWeight", parameter [ units; gates * units ]
                "inputBias", parameter [ gates * units ]
                "hiddenBias", parameter [ gates * units ]
            ]

    ofParameters name place parameters (fun parameters x ->
        match parameters with
        | Node [ _, Leaf wx; _, Leaf wh; _, Leaf bx; _, Leaf bh ] -> run x wx wh bx bh
        | _ ->
            invalidArg
                (nameof parameters)
                $"{name}: parameters must be two weights and two biases; got another tree. Make them with Layer.init.")

let lastState place =
    ofFunction "lastState" place (fun x ->
        sequence "lastState" (Shape.Of(x.Shape.Sizes.Slice 1)) |> ignore
        x.Select(1, -1))

let bidirectional place (layer: Layer) =
    let flip = ofFunction "flip" None (fun x -> x.Flip 1)

    branch
        "bidirectional"
        place
        (fun results -> Tensor.Concat(-1, List.toArray results))
        [ layer; named "reversed" (flip >=> layer >=> flip) ]
