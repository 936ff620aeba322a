namespace Functional

/// How classes count in a cross-entropy: by weights [classes], without one class, with smoothed targets (1 − s)·target + s/classes.
type Classes =
    {
        Weights: Tensor option
        Ignore: int option
        Smoothing: float
    }

    /// All classes alike.
    static member Alike =
        {
            Weights = None
            Ignore = None
            Smoothing = 0.0
        }

/// Losses: prediction → target → the mean over the batch. Where both are numbers their shapes must agree exactly: a loss of [32, 1] and [32] would
/// otherwise compare every prediction with every target.
module Loss =
    let private alike name (prediction: Tensor) (target: Tensor) =
        if prediction.Shape <> target.Shape then
            raise (
                ShapeException
                    $"{name}: prediction and target must have the same shape; got {prediction.Shape} and {target.Shape}. Reshape one of them."
            )

    let private pairwise name f (prediction: Tensor) (target: Tensor) : Tensor =
        alike name prediction target
        f prediction target

    let private mean (loss: Tensor -> Tensor -> Tensor) (prediction: Tensor) (target: Tensor) : Tensor =
        (loss prediction target).Mean()

    /// Scores [n, classes, …] as rows of scores, and their classes or probabilities as rows.
    let private rows name (scores: Tensor) (target: Tensor) =
        if scores.Rank < 2 then
            raise (
                ShapeException
                    $"{name}: scores need a batch axis and a class axis; got {scores.Shape}. Reshape them to [examples; classes]."
            )

        let classes = scores.Shape[1]

        let byRow (x: Tensor) =
            if x.Rank = 2 then
                x
            else
                let axes = [| 0; yield! [ 2 .. x.Rank - 1 ]; 1 |]

                x.Permute(axes).Reshape(-1, classes)

        if target.DType.IsFloat() then
            alike name scores target
            byRow scores, byRow target
        else
            let expected = Shape.Of(Seq.append [ scores.Shape[0] ] (Seq.skip 2 scores.Shape))

            if target.Shape <> expected then
                raise (
                    ShapeException
                        $"{name}: one class per row of scores is needed; got scores {scores.Shape} and classes {target.Shape}. Give classes of shape {expected}, or probabilities of the scores' shape."
                )

            byRow scores, target.Flatten()

    /// The losses one by one, for other sums than the mean: of each element, or of each row of scores.
    module Each =
        /// (p − t)²
        let mse = pairwise "mse" (fun p t -> (p - t).Square())

        /// |p − t|
        let l1 = pairwise "l1" (fun p t -> (p - t).Abs())

        /// d²/2 for |d| = |p − t| up to δ, and δ(|d| − δ/2) beyond (Huber, 1964).
        let huber (delta: float) (prediction: Tensor) (target: Tensor) : Tensor =
            if not (delta > 0.0) then
                invalidArg
                    (nameof delta)
                    $"huber: delta must be positive; got {delta}. Use l1 for a loss without a bend."

            pairwise
                "huber"
                (fun p t ->
                    let d = p - t
                    // Clamped, not |d|: this keeps the curvature 1 at d = 0, where |d| has none.
                    let near = d.Clamp(-delta, delta)
                    near * (d - 0.5 * near))
                prediction
                target

        /// −t ln σ(x) − (1 − t) ln(1 − σ(x)), from the scores x: stable at any size.
        let bceWithLogits =
            // −ln σ(x) = softplus(−x). Neither term cancels the other, and every derivative is right at 0, where scores often start.
            let softplus (x: Tensor) = x.Softplus(threshold = infinity)
            pairwise "bceWithLogits" (fun x t -> t * softplus -x + (1.0 - t) * softplus x)

        /// The same with the positive targets' part times a weight, which broadcasts: rare ones may count more.
        let bceWithLogitsWeighted (positive: Tensor) =
            let softplus (x: Tensor) = x.Softplus(threshold = infinity)
            pairwise "bceWithLogits" (fun x t -> positive * t * softplus -x + (1.0 - t) * softplus x)

        /// −t ln p − (1 − t) ln(1 − p) of probabilities p, with logarithms of at least −100.
        let binaryCrossEntropy =
            pairwise "binaryCrossEntropy" (fun p t ->
                let log (x: Tensor) = x.Log().Maximum -100.0
                -(t * log p + (1.0 - t) * log (1.0 - p)))

        /// t (ln t − p) for logarithms of probabilities p; t = 0 adds nothing.
        let klDivergence =
            pairwise "klDivergence" (fun p t ->
                let positive = t.Greater 0.0
                t * (Tensor.Where(positive, Tensor.Where(positive, t, 1.0).Log(), 0.0) - p))

        /// eᵗ (t − p) where the target, too, is given by logarithms.
        let klDivergenceOfLogs = pairwise "klDivergence" (fun p t -> t.Exp() * (t - p))

        /// max(0, 1 − t·p) for targets −1 and 1.
        let hinge = pairwise "hinge" (fun p t -> (1.0 - t * p).Relu())

        /// −Σ wᶜ·qᶜ·logProbabilityᶜ of each row, and the weight wᶜ of its class by which a mean divides: 0 of a class that is ignored.
        let weighted (classes: Classes) (logProbabilities: Tensor) (target: Tensor) : Tensor * Tensor =
            let logProbabilities, target = rows "crossEntropy" logProbabilities target
            let count, dtype = logProbabilities.Shape[1], logProbabilities.DType

            let weights =
                match classes.Weights with
                | Some weights when weights.Shape <> Shape.Of [ count ] ->
                    raise (
                        ShapeException
                            $"crossEntropy: one weight per class is needed; got {weights.Shape} for {count} classes. Correct the weights."
                    )
                | Some weights -> weights
                | None -> Tensor.Ones(Shape.Of [ count ], dtype)

            let smooth (q: Tensor) =
                if classes.Smoothing = 0.0 then
                    q
                else
                    q * (1.0 - classes.Smoothing) + classes.Smoothing / float count

            if target.DType.IsFloat() then
                -(smooth target * weights * logProbabilities).Sum(1), Tensor.Ones(Shape.Of [ target.Shape[0] ], dtype)
            else
                let counts =
                    match classes.Ignore with
                    | Some ignored -> target.NotEqual(float ignored)
                    | None -> target.Equal target

                // An ignored class may lie outside the classes; its row counts nothing whatever stands there.
                let known = Tensor.Where(counts, target, target * 0)
                let counted = counts.Cast dtype
                let oneHot = known.OneHot(count, dtype)

                -(smooth oneHot * weights * logProbabilities).Sum(1) * counted, weights.Take(known, 0) * counted

    /// Cross-entropy of scores [n, classes, …] with weighted or ignored classes; the mean divides by the weights that count.
    let crossEntropyOf (classes: Classes) (scores: Tensor) (target: Tensor) : Tensor =
        let losses, weights = Each.weighted classes (scores.LogSoftmax 1) target
        losses.Sum() / weights.Sum()

    /// The same of logarithms of probabilities.
    let negativeLogLikelihoodOf (classes: Classes) (logProbabilities: Tensor) (target: Tensor) : Tensor =
        let losses, weights = Each.weighted classes logProbabilities target
        losses.Sum() / weights.Sum()

    /// −ln softmax(scores)[class] with smoothed targets: (1 − s)·target + s/classes (Szegedy et al., 2016).
    let crossEntropySmoothed (smoothing: float) (scores: Tensor) (target: Tensor) : Tensor =
        let scores, target = rows "crossEntropy" scores target
        Tensor.CrossEntropy(scores, target, smoothing)

    /// −ln softmax(scores)[class], for integer classes [n] or probabilities (one-hot rows) of the scores' shape [n, classes].
    let crossEntropy (scores: Tensor) (target: Tensor) : Tensor =
        if scores.Rank = 2 && target.Rank = 1 && not (target.DType.IsFloat()) then
            Tensor.CrossEntropy(scores, target)
        else
            crossEntropySmoothed 0.0 scores target

    /// −logProbabilities[class], for scores that went through a logarithmic softmax.
    let negativeLogLikelihood (logProbabilities: Tensor) (classes: Tensor) : Tensor =
        let logProbabilities, classes =
            rows "negativeLogLikelihood" logProbabilities classes

        if classes.DType.IsFloat() then
            -(classes * logProbabilities).Sum(1).Mean()
        else
            -(logProbabilities.Gather(classes.Unsqueeze 1, 1)).Mean()

    /// (p − t)²
    let mse = mean Each.mse

    /// |p − t|
    let l1 = mean Each.l1

    /// d²/2 for |d| = |p − t| up to δ, and δ(|d| − δ/2) beyond (Huber, 1964).
    let huber (delta: float) = mean (Each.huber delta)

    /// The Huber loss divided by δ: |p − t| − δ/2 far away, d²/2δ nearby; δ = 0 is |p − t|.
    let smoothL1 (delta: float) (prediction: Tensor) (target: Tensor) : Tensor =
        if delta = 0.0 then
            l1 prediction target
        else
            huber delta prediction target / delta

    /// −t ln σ(x) − (1 − t) ln(1 − σ(x)), from the scores x: stable at any size.
    let bceWithLogits = mean Each.bceWithLogits

    /// −t ln p − (1 − t) ln(1 − p) of probabilities p, with logarithms of at least −100.
    let binaryCrossEntropy = mean Each.binaryCrossEntropy

    /// t (ln t − p) for logarithms of probabilities p, summed and divided by the batch; t = 0 adds nothing.
    let klDivergence (logProbabilities: Tensor) (target: Tensor) : Tensor =
        if target.Rank = 0 then
            raise (
                ShapeException
                    $"klDivergence: probabilities need a batch axis; got {target.Shape}. Reshape them to [examples; classes]."
            )

        (Each.klDivergence logProbabilities target).Sum()
        / float (max 1 logProbabilities.Shape[0])

    /// max(0, 1 − t·p) for targets −1 and 1.
    let hinge = mean Each.hinge
