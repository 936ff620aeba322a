namespace Functional

open MathNet.Numerics.Distributions
open Functional.Autodiff

/// A change of a batch of inputs and targets at random: a pure function of the key.
type Augmentation = Key -> Tensor -> Tensor -> Tensor * Tensor

/// Data augmentation: `augment (Augment.chain [ Augment.flip 0.5; Augment.crop 4 ])` is a word of a training plan, and
/// `Augment.flip 0.5 key images targets` a changed batch.
module Augment =
    let private images name (x: Tensor) =
        if x.Rank <> 4 || not (x.DType.IsFloat()) then
            raise (
                ShapeException
                    $"{name}: images must be float[N, C, H, W]; got {x.DType.Text()}{x.Shape}. Reshape or cast them."
            )

    let private notNegative name what (n: int) =
        if n < 0 then
            invalidArg what $"{name}: {what} must not be negative; got {n}. Give 0 or more."

    /// A change of the inputs alone.
    let inputs (change: Key -> Tensor -> Tensor) : Augmentation = fun key x y -> change key x, y

    /// One augmentation after the other, each with a key of its own.
    let chain (parts: Augmentation list) : Augmentation =
        fun key x y ->
            parts
            |> List.indexed
            |> List.fold (fun (x, y) (i, change) -> change (key.Fold i) x y) (x, y)

    /// Each image [N; C; H; W] mirrored left to right with a probability.
    let flip (probability: float) : Augmentation =
        if not (probability >= 0.0 && probability <= 1.0) then
            invalidArg
                (nameof probability)
                $"flip: the probability must lie in 0 … 1; got {probability}. Give the share of images to mirror."

        inputs (fun key x ->
            images "flip" x

            let mirrored = key.Bernoulli(Shape.Of [ x.Shape[0] ], probability).Cast DType.Int64

            x.MoveImages(Tensor.Stack(1, mirrored * 0, mirrored * (x.Shape[3] - 1), mirrored)))

    /// Each image moved by up to so many pixels in both directions, zeros coming in.
    let private moved (key: Key) (most: int) (x: Tensor) =
        let n = x.Shape[0]
        let places = key.Integers(Shape.Of [ n; 2 ], int64 -most, int64 most + 1L)
        x.MoveImages(Tensor.Concat(1, places, Tensor.Zeros(Shape.Of [ n; 1 ], DType.Int64)))

    /// Each image [N; C; H; W] with so many zeros around it, cut back to its size at a place of its own.
    let crop (padding: int) : Augmentation =
        notNegative "crop" (nameof padding) padding

        inputs (fun key x ->
            images "crop" x
            moved key padding x)

    /// Each image [N; C; H; W] moved by up to so many pixels in both directions; its edge is repeated where nothing is left to see.
    let shift (most: int) : Augmentation =
        notNegative "shift" (nameof most) most

        let widened axis (x: Tensor) =
            let size = x.Shape[axis]

            let edge at =
                let sizes = x.Shape.ToArray()
                sizes[axis] <- most
                x.Slice(axis, at, at + 1).Expand sizes

            Tensor.Concat(axis, edge 0, x, edge (size - 1))

        inputs (fun key x ->
            images "shift" x

            if most = 0 || x.Count = 0L then
                x
            else
                let height, width = x.Shape[2], x.Shape[3]
                let wide = x |> widened 3 |> widened 2 |> moved key most
                wide.Slice(2, most, most + height).Slice(3, most, most + width))

    /// Inputs of any shape with normally distributed noise added.
    let noise (deviation: float) : Augmentation =
        if not (deviation >= 0.0) then
            invalidArg (nameof deviation) $"noise: the deviation must not be negative; got {deviation}. Give 0 or more."

        inputs (fun key x -> x + key.Normal(x.Shape, 0.0, deviation, x.DType))

    /// Class numbers [n] as rows of probabilities [n; classes], which may then be mixed.
    let oneHot (classes: int) : Augmentation =
        fun _ x y -> x, y.OneHot(classes, x.DType)

    /// λ·a + (1 − λ)·b of each example a and another one b, inputs and targets alike, with one λ of the Beta(α, α) distribution for the batch
    /// (Zhang, Cissé, Dauphin and Lopez-Paz, mixup, 2018). Class numbers cannot be mixed: let `oneHot` come first.
    let mixup (alpha: float) : Augmentation =
        if not (alpha > 0.0 && alpha < infinity) then
            invalidArg (nameof alpha) $"mixup: alpha must be positive; got {alpha}. Give about 0.2, or leave mixup out."

        fun key x y ->
            if not (y.DType.IsFloat()) then
                raise (
                    ShapeException
                        $"mixup: targets must be probabilities or other floats; got {y.DType.Text()}{y.Shape}. Put Augment.oneHot before it."
                )

            if x.Rank = 0 || y.Rank = 0 || x.Shape[0] <> y.Shape[0] then
                raise (
                    ShapeException
                        $"mixup: every input needs a target; got inputs {x.Shape} and targets {y.Shape}. Give as many of both."
                )

            let share =
                key.Fold("share").Uniform(Shape.Scalar, dtype = DType.Float64).ToDouble()

            let own = Beta.InvCDF(alpha, alpha, share)
            let other = key.Fold("others").Permutation x.Shape[0]

            let mix (values: Tensor) =
                own * values + (1.0 - own) * values.Take other

            mix x, mix y
