namespace Functional

open System
open Functional.Autodiff

/// How often examples of each class were taken for each class. Matrices of batches add up.
///
/// A class that is never predicted has precision 0, and one that never occurs has recall 0. A class that is neither says nothing: its values are NaN,
/// and means over classes leave it out.
type Confusion =
    {
        /// Rows are the true classes, columns the predicted ones.
        Counts: int64[,]
    }

    static member (+)(a: Confusion, b: Confusion) =
        if a.Classes <> b.Classes then
            invalidArg
                (nameof b)
                $"confusion: matrices of as many classes add up; got {a.Classes} and {b.Classes}. Count both with the same classes."

        {
            Counts = Array2D.init a.Classes a.Classes (fun t p -> a.Counts[t, p] + b.Counts[t, p])
        }

    /// The number of classes.
    member matrix.Classes = matrix.Counts.GetLength 0

    /// The number of examples.
    member matrix.Total = matrix.Counts |> Seq.cast<int64> |> Seq.sum

    /// Examples of a class.
    member matrix.Truth(c: int) =
        Seq.init matrix.Classes (fun p -> matrix.Counts[c, p]) |> Seq.sum

    /// Examples taken for a class.
    member matrix.Predicted(c: int) =
        Seq.init matrix.Classes (fun t -> matrix.Counts[t, c]) |> Seq.sum

    member private matrix.Share(c, all: int64) =
        if matrix.Truth c + matrix.Predicted c = 0L then nan
        elif all = 0L then 0.0
        else float matrix.Counts[c, c] / float all

    /// The share of examples taken for what they are.
    member matrix.Accuracy =
        float (Seq.init matrix.Classes (fun c -> matrix.Counts[c, c]) |> Seq.sum)
        / float matrix.Total

    /// Of the examples taken for a class, the share that belongs to it.
    member matrix.Precision(c: int) = matrix.Share(c, matrix.Predicted c)

    /// Of the examples of a class, the share taken for it.
    member matrix.Recall(c: int) = matrix.Share(c, matrix.Truth c)

    /// 2·precision·recall / (precision + recall) of a class.
    member matrix.F1(c: int) =
        2.0 * float matrix.Counts[c, c] / float (matrix.Truth c + matrix.Predicted c)

    /// Intersection over union: examples that are of a class and taken for it, of those that are either.
    member matrix.IoU(c: int) =
        matrix.Share(c, matrix.Truth c + matrix.Predicted c - matrix.Counts[c, c])

    /// The mean over the classes of what is said of each.
    member matrix.Mean(ofClass: int -> float) =
        let values =
            [ 0 .. matrix.Classes - 1 ]
            |> List.map ofClass
            |> List.filter (Double.IsNaN >> not)

        if values.IsEmpty then nan else List.average values

    member matrix.MacroPrecision = matrix.Mean matrix.Precision
    member matrix.MacroRecall = matrix.Mean matrix.Recall
    member matrix.MacroF1 = matrix.Mean matrix.F1
    member matrix.MeanIoU = matrix.Mean matrix.IoU

    /// A table: a row for each true class, a column for each predicted one, then its recall.
    member matrix.Table(names: string list) =
        if names.Length <> matrix.Classes then
            invalidArg
                (nameof names)
                $"confusion: every class needs a name; got {names.Length} names for {matrix.Classes} classes. Give one each."

        let cells =
            [
                "" :: names @ [ "recall" ]
                for t, name in List.indexed names do
                    [
                        name
                        for p in 0 .. matrix.Classes - 1 do
                            string matrix.Counts[t, p]
                        matrix.Recall(t).ToString "F3"
                    ]
                [
                    "precision"
                    for p in 0 .. matrix.Classes - 1 do
                        matrix.Precision(p).ToString "F3"
                    ""
                ]
            ]

        let widths =
            cells
            |> List.transpose
            |> List.map (fun column -> column |> List.map _.Length |> List.max)

        cells
        |> List.map (fun row ->
            (List.zip row widths
             |> List.mapi (fun i (cell, width) -> if i = 0 then cell.PadRight width else cell.PadLeft width)
             |> String.concat "  ")
                .TrimEnd())
        |> String.concat Environment.NewLine

    override matrix.ToString() =
        matrix.Table(List.init matrix.Classes string)

/// A number that describes how well predictions meet their targets. It is made of what each batch adds, so that its value over many batches is that
/// of all examples at once: the root of a mean is not the mean of roots.
type Metric =
    {
        Name: string
        /// What one batch of predictions and targets says: sums such as hits and examples.
        Batch: Tensor -> Tensor -> float[]
        /// What two sets of examples say together.
        Join: float[] -> float[] -> float[]
        /// The metric of what all examples say.
        Value: float[] -> float
    }

    /// The metric of these examples alone.
    member metric.Measure (prediction: Tensor) (target: Tensor) =
        metric.Value(metric.Batch prediction target)

/// Metrics of training and evaluation: `report [ accuracy; Metric.topK 5 ]`. Predictions of classes are scores [n; classes; …], the class with the
/// largest score counting, or class numbers [n; …]; targets are class numbers or, of the scores' shape, probabilities.
module Metric =
    let private isNumber (x: Tensor) = not (x.DType.IsFloat())

    let private someExamples name (x: Tensor) =
        if x.Count = 0L then
            invalidArg
                "prediction"
                $"{name}: at least one example is needed; got a prediction of shape {x.Shape}. Give more data."

    /// Scores or probabilities [n; classes; …] as the numbers of the largest, in row-major order; class numbers as they are.
    let private classes name (x: Tensor) =
        if isNumber x then
            x.Cast(DType.Int64).ToArray<int64>()
        elif x.Rank < 2 then
            raise (
                ShapeException
                    $"{name}: scores need a batch axis and a class axis; got {x.Shape}. Give scores [examples; classes], or class numbers as integers."
            )
        else
            x.ArgMax(1).ToArray<int64>()

    /// The numbers of predicted and of true classes, example by example.
    let private classPairs name (prediction: Tensor) (target: Tensor) =
        someExamples name prediction

        /// What is left once the class axis is gone.
        let examples (x: Tensor) =
            if isNumber x || x.Rank < 2 then
                x.Shape
            else
                Shape.Of(Seq.append [ x.Shape[0] ] (Seq.skip 2 x.Shape))

        let predicted, truth = classes name prediction, classes name target

        if examples prediction <> examples target then
            raise (
                ShapeException
                    $"{name}: one class per prediction is needed; got predictions {prediction.Shape} and targets {target.Shape}. Give class numbers of shape {examples prediction}."
            )

        predicted, truth

    let private differences name (prediction: Tensor) (target: Tensor) =
        someExamples name prediction

        if prediction.Shape <> target.Shape then
            raise (
                ShapeException
                    $"{name}: prediction and target must have the same shape; got {prediction.Shape} and {target.Shape}. Reshape one of them."
            )

        prediction.Cast DType.Float64 - target.Cast DType.Float64

    /// A metric of sums over the examples.
    let ofSums name (sums: Tensor -> Tensor -> float[]) (value: float[] -> float) =
        {
            Name = name
            Batch = sums
            Join = Array.map2 (+)
            Value = value
        }

    /// A metric that is a mean over the examples: batches count by their size.
    let ofMean name (mean: Tensor -> Tensor -> float) =
        ofSums
            name
            (fun prediction target ->
                let n = if target.Rank = 0 then 1.0 else float target.Shape[0]
                [| n * mean prediction target; n |])
            (fun sums -> sums[0] / sums[1])

    /// How often each of so many classes was taken for each.
    let confusion (count: int) (prediction: Tensor) (target: Tensor) : Confusion =
        if count < 1 then
            invalidArg (nameof count) $"confusion: at least one class is needed; got {count}. Give their number."

        let predicted, truth = classPairs "confusion" prediction target
        let counts = Array2D.zeroCreate<int64> count count

        for i in 0 .. truth.Length - 1 do
            let t, p = truth[i], predicted[i]

            if uint64 t >= uint64 count || uint64 p >= uint64 count then
                invalidArg
                    (nameof target)
                    $"confusion: classes must lie in 0 … {count - 1}; got class {t} predicted as {p} at place {i}. Correct the classes or their number."

            counts[int t, int p] <- counts[int t, int p] + 1L

        { Counts = counts }

    /// A metric of the confusion matrix of so many classes: `Metric.ofConfusion "f1" 2 (fun matrix -> matrix.F1 1)`.
    let ofConfusion name (count: int) (value: Confusion -> float) =
        ofSums
            name
            (fun prediction target ->
                (confusion count prediction target).Counts
                |> Seq.cast<int64>
                |> Seq.map float
                |> Array.ofSeq)
            (fun sums ->
                value
                    {
                        Counts = Array2D.init count count (fun t p -> int64 sums[t * count + p])
                    })

    /// The share of examples whose class is the predicted one.
    let accuracy =
        ofSums
            "accuracy"
            (fun prediction target ->
                let predicted, truth = classPairs "accuracy" prediction target
                let mutable right = 0

                for i in 0 .. truth.Length - 1 do
                    if predicted[i] = truth[i] then
                        right <- right + 1

                [| float right; float truth.Length |])
            (fun sums -> sums[0] / sums[1])

    /// The share of examples whose class is among the k with the largest scores [n; classes; …]; of equal scores the first counts.
    let topK (k: int) =
        let name = $"top{k}"

        ofSums
            name
            (fun scores target ->
                if isNumber scores || scores.Rank < 2 then
                    raise (
                        ShapeException
                            $"{name}: scores of every class are needed; got {scores.DType.Text()}{scores.Shape}. Give scores [examples; classes]."
                    )

                let count = scores.Shape[1]

                if k < 1 || k > count then
                    invalidArg
                        (nameof k)
                        $"topK: k must lie in 1 … {count}, the number of classes; got {k}. Correct it."

                let _, truth = classPairs name scores target

                let rows =
                    if scores.Rank = 2 then
                        scores.ToDoubles()
                    else
                        scores.Permute([| 0; yield! [ 2 .. scores.Rank - 1 ]; 1 |]).ToDoubles()

                let mutable hits = 0

                for i in 0 .. truth.Length - 1 do
                    let c = int truth[i]

                    if uint c >= uint count then
                        invalidArg
                            (nameof target)
                            $"{name}: classes must lie in 0 … {count - 1}; got {truth[i]} at place {i}. Correct the classes."

                    let own = rows[i * count + c]
                    let mutable ahead = 0

                    for j in 0 .. count - 1 do
                        let other = rows[i * count + j]

                        // Said in this way, a NaN is ahead of everything: such scores are no hit.
                        if not (other < own || (other = own && j >= c)) then
                            ahead <- ahead + 1

                    if ahead < k then
                        hits <- hits + 1

                [| float hits; float truth.Length |])
            (fun sums -> sums[0] / sums[1])

    /// Precision, averaged over so many classes.
    let precision count =
        ofConfusion "precision" count _.MacroPrecision

    /// Recall, averaged over so many classes.
    let recall count =
        ofConfusion "recall" count _.MacroRecall

    /// F1, averaged over so many classes.
    let f1 count = ofConfusion "f1" count _.MacroF1

    /// Intersection over union, averaged over so many classes.
    let meanIoU count = ofConfusion "iou" count _.MeanIoU

    /// The exponential of the mean cross-entropy of scores [n; classes; …]: among how many equally likely classes the network still hesitates.
    let perplexity =
        ofSums
            "perplexity"
            (fun scores target ->
                someExamples "perplexity" scores
                let rows = scores.Count / int64 scores.Shape[min 1 (scores.Rank - 1)]
                let mean = (Loss.crossEntropy scores target).ToDouble()
                [| float rows * mean; float rows |])
            (fun sums -> exp (sums[0] / sums[1]))

    /// √ of the mean of (p − t)²
    let rmse =
        ofSums
            "rmse"
            (fun prediction target ->
                let d = differences "rmse" prediction target
                [| d.Square().Sum().ToDouble(); float d.Count |])
            (fun sums -> sqrt (sums[0] / sums[1]))

    /// The mean of |p − t|
    let meanAbsoluteError =
        ofSums
            "mean absolute error"
            (fun prediction target ->
                let d = differences "mean absolute error" prediction target
                [| d.Abs().Sum().ToDouble(); float d.Count |])
            (fun sums -> sums[0] / sums[1])

    /// R² = 1 − Σ(p − t)² / Σ(t − t̄)² over all elements: 1 is perfect, 0 no better than the mean t̄. Where the targets do not vary, it is NaN.
    let r2 =
        {
            Name = "r2"
            Batch =
                fun prediction target ->
                    let d = differences "r2" prediction target
                    let target = target.Cast DType.Float64
                    let mean = target.Mean()

                    [|
                        d.Square().Sum().ToDouble()
                        float d.Count
                        mean.ToDouble()
                        (target - mean).Square().Sum().ToDouble()
                    |]
            Join =
                // Means and spreads of two sets are joined without the difference of large squares (Chan, Golub and LeVeque, 1983).
                fun a b ->
                    let n = a[1] + b[1]
                    let apart = b[2] - a[2]

                    [|
                        a[0] + b[0]
                        n
                        a[2] + apart * b[1] / n
                        a[3] + b[3] + apart * apart * a[1] * b[1] / n
                    |]
            Value = fun sums -> if sums[3] = 0.0 then nan else 1.0 - sums[0] / sums[3]
        }

/// Several metrics as batch follows batch.
[<Sealed>]
type Tally(metrics: Metric list) =
    let metrics = Array.ofList metrics
    let sums: float[] option[] = Array.create metrics.Length None

    /// Counts a batch.
    member _.Add(prediction: Tensor, target: Tensor) =
        for i in 0 .. metrics.Length - 1 do
            let batch = metrics[i].Batch prediction target

            sums[i] <-
                match sums[i] with
                | None -> Some batch
                | Some before -> Some(metrics[i].Join before batch)

    /// What the batches say so far, metric by metric; None before the first.
    member internal _.Sums
        with get () = Array.copy sums
        and set (values: float[] option[]) = Array.blit values 0 sums 0 sums.Length

    /// Forgets all batches.
    member _.Clear() = Array.fill sums 0 sums.Length None

    /// The metrics of all examples so far, by name; NaN before the first.
    member _.Values =
        [
            for i in 0 .. metrics.Length - 1 do
                metrics[i].Name,
                match sums[i] with
                | None -> nan
                | Some sums -> metrics[i].Value sums
        ]

/// Metrics as functions of predictions and targets: `Metrics.rmse prediction target`. Predictions of classes are scores [n; classes; …], the class with
/// the largest score counting, or class numbers [n; …]; targets are class numbers or, of the scores' shape, probabilities.
module Metrics =
    /// The share of examples whose class is the predicted one.
    let accuracy prediction target =
        Metric.accuracy.Measure prediction target

    /// The share of examples whose class is among the k with the largest scores; of equal scores the first counts.
    let topK k scores target = (Metric.topK k).Measure scores target

    /// How often each of so many classes was taken for each.
    let confusion classes prediction target =
        Metric.confusion classes prediction target

    /// Precision, averaged over so many classes; for one class use the confusion matrix.
    let precision classes prediction target =
        (Metric.precision classes).Measure prediction target

    /// Recall, averaged over so many classes; for one class use the confusion matrix.
    let recall classes prediction target =
        (Metric.recall classes).Measure prediction target

    /// F1, averaged over so many classes; for one class use the confusion matrix.
    let f1 classes prediction target =
        (Metric.f1 classes).Measure prediction target

    /// Intersection over union, averaged over so many classes.
    let meanIoU classes prediction target =
        (Metric.meanIoU classes).Measure prediction target

    /// The exponential of the mean cross-entropy of scores.
    let perplexity scores target = Metric.perplexity.Measure scores target

    /// √ of the mean of (p − t)²
    let rmse prediction target = Metric.rmse.Measure prediction target

    /// The mean of |p − t|
    let meanAbsoluteError prediction target =
        Metric.meanAbsoluteError.Measure prediction target

    /// 1 − Σ(p − t)² / Σ(t − t̄)² over all elements; NaN where the targets do not vary.
    let r2 prediction target = Metric.r2.Measure prediction target
