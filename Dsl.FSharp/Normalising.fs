/// What stands behind the layers that bring features to mean 0 and variance 1.
module internal Functional.Normalising

open Functional.Composition
open Functional.Layer

let private parameter shape initialiser =
    Leaf
        {
            Shape = shape
            Fans = { In = 1; Out = 1 }
            Initialiser = initialiser
            IsTrained = true
            Regularisers = []
        }

let private gainAndBias affine shape =
    Node
        [
            if affine then
                "gain", parameter shape Init.ones
                "bias", parameter shape Init.zeros
        ]

let private taken layer parameters : (Tensor | null) * (Tensor | null) =
    match parameters with
    | Node [ _, Leaf gain; _, Leaf bias ] -> gain, bias
    | Node [] -> null, null
    | _ ->
        invalidArg
            (nameof parameters)
            $"{layer}: parameters must be a gain and a bias; got another tree. Make them with Layer.init."

let private channels layer (input: Shape) =
    if input.Rank = 0 then
        raise (ShapeException $"{layer} expects channels, got a scalar for each example; reshape it")

    Shape.Of [ input[0] ]

let layer place axes epsilon affine =
    let parameters (input: Shape) =
        if input.Rank < axes then
            raise (
                ShapeException
                    $"layerNorm expects at least {axes} axes for each example, got {text input}; normalise fewer"
            )

        gainAndBias affine (Shape.Of(input.Sizes.Slice(input.Rank - axes)))

    ofParameters "layerNorm" place parameters (fun parameters x ->
        let gain, bias = taken "layerNorm" parameters
        x.LayerNorm(gain, bias, axes, epsilon))

let rms place epsilon =
    let parameters (input: Shape) =
        if input.Rank = 0 then
            raise (ShapeException "rmsNorm expects a feature axis, got a scalar for each example; reshape it")

        Node [ "gain", parameter (Shape.Of [ input[-1] ]) Init.ones ]

    ofParameters "rmsNorm" place parameters (fun parameters x ->
        match parameters with
        | Node [ _, Leaf gain ] -> x.RmsNorm(gain, epsilon)
        | _ ->
            invalidArg
                (nameof parameters)
                "rmsNorm: parameters must be a gain; got another tree. Make them with Layer.init.")

let group name place groups epsilon affine =
    ofParameters name place (channels name >> gainAndBias affine) (fun parameters x ->
        let gain, bias = taken name parameters
        x.GroupNorm(groups x.Shape[1], gain, bias, epsilon))

let batch place momentum epsilon affine =
    let running shape initialiser =
        Leaf
            {
                Shape = shape
                Fans = { In = 1; Out = 1 }
                Initialiser = initialiser
                IsTrained = false
                Regularisers = []
            }

    let state input =
        let shape = channels "batchNorm" input
        Node [ "mean", running shape Init.zeros; "variance", running shape Init.ones ]

    let apply (residual: Tensor | null) activation mode parameters state (x: Tensor) =
        let gain, bias = taken "batchNorm" parameters

        match mode, state with
        | Infer, Node [ _, Leaf mean; _, Leaf variance ] ->
            let y = x.BatchNormInference(mean, variance, gain, bias, epsilon)

            let sum =
                match residual with
                | null -> y
                | residual -> y + residual

            activate activation sum, state
        | Train _, Node [ _, Leaf mean; _, Leaf variance ] ->
            // One value is its own mean: there is no variance to learn from.
            if x.Count <= int64 x.Shape[1] then
                raise (
                    ShapeException
                        $"batchNorm: training needs more than one value for each channel; got a batch {text x.Shape}. Train on batches of two or more."
                )

            let fused = activation = Activation.Relu

            let struct (y, batchMean, batchVariance) =
                x.BatchNorm(gain, bias, epsilon, fused, residual)

            let n = float x.Count / float (max 1 x.Shape[1])

            let moved (old: Tensor) (batch: Tensor) =
                Leaf(old * (1.0 - momentum) + Diff.StopGradient batch * momentum)

            (if fused then y else activate activation y),
            Node
                [
                    "mean", moved mean batchMean
                    // The sample's variance estimates the population's without bias.
                    "variance", moved variance (batchVariance * (n / (n - 1.0)))
                ]
        | _ ->
            invalidArg
                (nameof state)
                "batchNorm: the state must be a mean and a variance; got another tree. Make it with Layer.init."

    { ofFunction "batchNorm" place id with
        Parameters = channels "batchNorm" >> gainAndBias affine
        State = state
        Apply = apply null Activation.None
        WithActivation = Some(apply null)
        WithResidual = Some(fun residual -> apply residual)
        Scale =
            Some(fun parameters state ->
                match state with
                | Node [ _, Leaf mean; _, Leaf variance ] ->
                    let gain, bias = taken "batchNorm" parameters
                    let factor = (variance + epsilon).Rsqrt()

                    let factor =
                        match gain with
                        | null -> factor
                        | gain -> factor * gain

                    let term = -(mean * factor)

                    factor,
                    (match bias with
                     | null -> term
                     | bias -> term + bias)
                | _ ->
                    invalidArg
                        (nameof state)
                        "batchNorm: the state must be a mean and a variance; got another tree. Make it with Layer.init.")
    }
