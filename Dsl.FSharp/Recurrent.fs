/// What stands behind the layers that walk through sequences [steps; features].
module internal Functional.Recurrent

open Functional.Composition
open Functional.Layer

/// x, the weights of inputs and states, their biases → all states.
type Run = Tensor -> Tensor -> Tensor -> Tensor -> Tensor -> Tensor

/// What a layer was given for each example: numbers of one example [units] serve all of them. Where x is only a shape this is one, too,
/// so that a value for a whole batch does not disagree with the one example that shapes are inferred for.
let perExample (x: Tensor) (given: Tensor option) : Tensor | null =
    match given with
    | None -> null
    | Some given when given.Rank = 1 -> given.Expand(x.Shape[0], given.Shape[0])
    | Some given when x.IsMeta && given.Rank > 1 ->
        Tensor.Meta(given.DType, Shape.Of(Seq.append [ x.Shape[0] ] (Seq.skip 1 given.Shape)))
    | Some given -> given

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
                    Regularisers = []
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

/// One layer for every step: h′ = cell [x; h] from h = 0, with the same parameters.
let overTime place units (cell: Layer) =
    if units < 1 then
        raise (ShapeException $"recurrent: at least one unit is needed; got {units}. Give a positive number.")

    let seen (input: Shape) =
        let both = Shape.Of [ sequence "recurrent" input + units ]
        let made = outputShape cell both

        if made <> Shape.Of [ units ] then
            raise (
                ShapeException
                    $"recurrent needs a cell that makes a state of {units} units from {text both}, got {text made}; correct the cell's last layer"
            )

        both

    let apply (mode: Mode) parameters state (x: Tensor) =
        let step (h: Tensor, state) i =
            let mode =
                match mode with
                | Train key when cell.IsRandom -> Train(key.Fold(i: int))
                | mode -> mode

            cell.Apply mode parameters state (Tensor.Concat(1, x.Select(1, i), h))

        let states, (_, state) =
            ((Tensor.Zeros(Shape.Of [ x.Shape[0]; units ], x.DType), state), [ 0 .. x.Shape[1] - 1 ])
            ||> List.mapFold (fun last i ->
                let h, state = step last i
                h, (h, state))

        Tensor.Stack(1, List.toArray states), state

    { ofFunction "recurrent" place id with
        IsRandom = cell.IsRandom
        Parameters = seen >> cell.Parameters
        State = seen >> cell.State
        Apply = apply
    }
