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
            let mirrored = key.Bernoulli(Shape.Of [ x.Shape[0]; 1; 1; 1 ], probability)
            Tensor.Where(mirrored, x.Flip 3, x))

    /// From each image of a wider batch the part that a whole number of pixels, drawn between 0 and 2·margin, is away from the upper left corner.
    let private cut (key: Key) margin height width (wide: Tensor) =
        let n, channels = wide.Shape[0], wide.Shape[1]

        let corners =
            key.Integers(Shape.Of [ n; 2 ], 0L, int64 (2 * margin + 1)).ToArray<int64>()

        if n = 0 then
            wide.Slice([| 0; 0; 0; 0 |], [| 0; channels; height; width |])
        else
            // One view per image, and one pass that copies them all.
            Tensor.Concat(
                0,
                Array.init n (fun i ->
                    let top, left = int corners[2 * i], int corners[2 * i + 1]
                    wide.Slice([| i; 0; top; left |], [| i + 1; channels; top + height; left + width |]))
            )

    /// Each image [N; C; H; W] with so many zeros around it, cut back to its size at a place of its own.
    let crop (padding: int) : Augmentation =
        notNegative "crop" (nameof padding) padding

        inputs (fun key x ->
            images "crop" x
            let around = [| 0; 0; padding; padding |]
            x.Pad(around, around) |> cut key padding x.Shape[2] x.Shape[3])

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
                x |> widened 3 |> widened 2 |> cut key most x.Shape[2] x.Shape[3])

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
