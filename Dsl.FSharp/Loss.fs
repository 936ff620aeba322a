namespace Functional

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
        (f prediction target: Tensor).Mean()

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
    let mse = pairwise "mse" (fun p t -> (p - t).Square())

    /// |p − t|
    let l1 = pairwise "l1" (fun p t -> (p - t).Abs())

    /// d²/2 where |d| = |p − t| is at most δ > 0, else δ(|d| − δ/2) (Huber, 1964).
    let huber (delta: float) (prediction: Tensor) (target: Tensor) : Tensor =
        if not (delta > 0.0) then
            invalidArg (nameof delta) $"huber: delta must be positive; got {delta}. Use l1 for a loss without a bend."

        pairwise
            "huber"
            (fun p t ->
                let d = p - t
                // Clamped, not |d|: this keeps the curvature 1 at d = 0, where |d| has none.
                let near = d.Clamp(-delta, delta)
                near * (d - 0.5 * near))
            prediction
            target

    /// The Huber loss divided by δ: |p − t| − δ/2 far away, d²/2δ nearby; δ = 0 is |p − t|.
    let smoothL1 (delta: float) (prediction: Tensor) (target: Tensor) : Tensor =
        if delta = 0.0 then
            l1 prediction target
        else
            huber delta prediction target / delta

    /// −t ln σ(x) − (1 − t) ln(1 − σ(x)), from the scores x: stable at any size.
    let bceWithLogits =
        // −ln σ(x) = softplus(−x). Neither term cancels the other, and every derivative is right at 0, where scores often start.
        let softplus (x: Tensor) = x.Softplus(threshold = infinity)
        pairwise "bceWithLogits" (fun x t -> t * softplus -x + (1.0 - t) * softplus x)

    /// −t ln p − (1 − t) ln(1 − p) of probabilities p, with logarithms of at least −100.
    let binaryCrossEntropy =
        pairwise "binaryCrossEntropy" (fun p t ->
            let log (x: Tensor) = x.Log().Maximum -100.0
            -(t * log p + (1.0 - t) * log (1.0 - p)))

    /// t (ln t − p) for logarithms of probabilities p, summed and divided by the batch; t = 0 adds nothing.
    let klDivergence (logProbabilities: Tensor) (target: Tensor) : Tensor =
        alike "klDivergence" logProbabilities target

        if target.Rank = 0 then
            raise (
                ShapeException
                    $"klDivergence: probabilities need a batch axis; got {target.Shape}. Reshape them to [examples; classes]."
            )

        let positive = target.Greater 0.0

        let logarithm =
            Tensor.Where(positive, Tensor.Where(positive, target, 1.0).Log(), 0.0)

        (target * (logarithm - logProbabilities)).Sum()
        / float (max 1 logProbabilities.Shape[0])

    /// max(0, 1 − t·p) for targets −1 and 1.
    let hinge = pairwise "hinge" (fun p t -> (1.0 - t * p).Relu())
