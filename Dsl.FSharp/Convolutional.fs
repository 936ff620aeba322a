/// What stands behind the layers that slide windows over images [channels; spatial…].
module internal Functional.Convolutional

open Functional.Composition
open Functional.Layer

let private image layer (input: Shape) =
    if input.Rank < 2 || input.Rank > 4 then
        raise (
            ShapeException
                $"{layer} expects channels and one to three spatial axes, got {text input}; put reshape [channels; height; width] before it"
        )

    input[0], input.Rank - 1

let private parameter fans shape initialiser =
    Leaf
        {
            Shape = shape
            Fans = fans
            Initialiser = initialiser
            IsTrained = true
            Regularisers = []
        }

let private withBias bias weight biases =
    Node
        [
            "weight", weight
            if bias then
                "bias", biases
        ]

/// The weight and, where there is one, the bias.
let private taken layer parameters : Tensor * (Tensor | null) =
    match parameters with
    | Node [ _, Leaf weight; _, Leaf bias ] -> weight, bias
    | Node [ _, Leaf weight ] -> weight, null
    | _ ->
        invalidArg
            (nameof parameters)
            $"{layer}: parameters must be a weight and a bias; got another tree. Make them with Layer.init."

let private positive layer what (n: int) =
    if n < 1 then
        raise (ShapeException $"{layer}: at least one {what} is needed; got {n}. Give a positive number.")

let private over (kernel: PerAxis) axes = kernel.Sizes axes

let private product = Array.fold (*) 1

let conv place channels (kernel: PerAxis) (window: Window) bias weights biases =
    positive "conv" "channel" channels

    let parameters (input: Shape) =
        let inputs, axes = image "conv" input
        let kernel = over kernel axes

        if inputs % window.Groups <> 0 || channels % window.Groups <> 0 then
            raise (
                ShapeException
                    $"conv divides its channels into {window.Groups} groups, got {inputs} channels and makes {channels}; correct the groups"
            )

        let fans =
            {
                In = inputs / window.Groups * product kernel
                Out = channels / window.Groups * product kernel
            }

        withBias
            bias
            (parameter fans (Shape.Of(Array.append [| channels; inputs / window.Groups |] kernel)) weights)
            (parameter fans (Shape.Of [ channels ]) biases)

    let apply activation parameters (x: Tensor) =
        let weight, bias = taken "conv" parameters
        Tensor.Convolution(x, weight, bias, window, activation)

    { ofParameters "conv" place parameters (apply Activation.None) with
        WithActivation = Some(fun activation _ parameters state x -> apply activation parameters x, state)
        WithScale =
            Some(fun (factor, term) activation parameters x ->
                let weight, bias = taken "conv" parameters
                let perOutput = Array.append [| -1 |] (Array.create (weight.Rank - 1) 1)

                let term =
                    match bias with
                    | null -> term
                    | bias -> term + bias * factor

                Tensor.Convolution(x, weight * factor.Reshape perOutput, term, window, activation))
    }

let convTransposed place channels (kernel: PerAxis) (window: Window) (extra: PerAxis) bias weights biases =
    positive "convTransposed" "channel" channels

    let parameters (input: Shape) =
        let inputs, axes = image "convTransposed" input
        let kernel = over kernel axes

        if inputs % window.Groups <> 0 || channels % window.Groups <> 0 then
            raise (
                ShapeException
                    $"convTransposed divides its channels into {window.Groups} groups, got {inputs} channels and makes {channels}; correct the groups"
            )

        let fans =
            {
                In = inputs / window.Groups * product kernel
                Out = channels / window.Groups * product kernel
            }

        withBias
            bias
            (parameter fans (Shape.Of(Array.append [| inputs; channels / window.Groups |] kernel)) weights)
            (parameter fans (Shape.Of [ channels ]) biases)

    let apply parameters (x: Tensor) =
        let weight, bias = taken "convTransposed" parameters
        Tensor.ConvolutionTransposed(x, weight, bias, window, extra)

    ofParameters "convTransposed" place parameters apply

/// A layer that pools windows; it needs an image.
let pool name place (f: Tensor -> Tensor) =
    ofFunction name place (fun x ->
        image name (Shape.Of(x.Shape.Sizes.Slice 1)) |> ignore
        f x)

/// The spatial axes of a batch.
let spatialAxes (x: Tensor) = [| 2 .. x.Rank - 1 |]

// ---- other sizes ----

let pad place (size: Padding) value =
    ofFunction "pad" place (fun x ->
        let _, axes = image "pad" (Shape.Of(x.Shape.Sizes.Slice 1))

        if size.IsSame then
            raise (ShapeException "pad has no windows for which Same would be known; give the widths")

        let struct (before, after) = size.Zeros("pad", axes)
        x.Pad(Array.append [| 0; 0 |] before, Array.append [| 0; 0 |] after, value))

let upsample place (factor: PerAxis) linear =
    ofFunction "upsample" place (fun x ->
        let _, axes = image "upsample" (Shape.Of(x.Shape.Sizes.Slice 1))
        let factors = factor.Of("upsample", "factor", axes, 1, 1)
        let sizes = factors |> Array.mapi (fun i n -> x.Shape[i + 2] * n)

        x.Resize(
            sizes,
            (if linear then
                 Interpolation.Linear
             else
                 Interpolation.Nearest)
        ))
