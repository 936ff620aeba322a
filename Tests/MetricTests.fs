/// Metrics: they agree with naive counting, keep their ranges, forget the order of examples, and say of batches what they say of the whole.
module Functional.Tests.MetricTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open Functional
open type Functional.Layers

/// Scores of classes that tie now and then, and the true classes.
type private Sample =
    {
        Classes: int
        Scores: float[][]
        Truth: int64[]
    }

    member sample.Tensor =
        Tensor.From(Array.concat sample.Scores, [| sample.Scores.Length; sample.Classes |])

    member sample.Targets = Tensor.From sample.Truth

    /// The first of the largest scores.
    member sample.Predicted =
        sample.Scores
        |> Array.map (fun row -> Array.IndexOf(row, Array.max row) |> int64)

    member sample.Reordered(order: int[]) =
        { sample with
            Scores = order |> Array.map (Array.get sample.Scores)
            Truth = order |> Array.map (Array.get sample.Truth)
        }

let private samples =
    gen {
        let! n = Gen.choose (1, 40)
        let! classes = Gen.choose (1, 6)
        let score = Gen.choose (-4, 4) |> Gen.map (fun s -> float s / 2.0)
        let! scores = Gen.arrayOfLength n (Gen.arrayOfLength classes score)
        let! truth = Gen.arrayOfLength n (Gen.choose (0, classes - 1) |> Gen.map int64)

        return
            {
                Classes = classes
                Scores = scores
                Truth = truth
            }
    }

/// Numbers with an offset that would spoil differences of squares, and estimates of them.
let private estimates =
    gen {
        let! n = Gen.choose (2, 40)
        let! offset = Gen.elements [ 0.0; -3.0; 1e6 ]
        let value = Gen.choose (-1000, 1000) |> Gen.map (fun v -> float v / 100.0)
        let! truth = Gen.arrayOfLength n value
        let! errors = Gen.arrayOfLength n value
        let truth = truth |> Array.map ((+) offset)
        return Array.map2 (fun t e -> t + 0.3 * e) truth errors, truth
    }

let private holds gen (check: 'a -> unit) = Prop.forAll (Arb.fromGen gen) check

let private close what (expected: float) (actual: float) =
    if not (Double.IsNaN expected && Double.IsNaN actual) then
        Expect.isLessThan
            (abs (expected - actual))
            (1e-9 * max 1.0 (abs expected))
            $"{what}: {actual}, expected {expected}"

/// The metrics of classes, made for so many of them.
let private ofClasses count =
    [
        Metric.accuracy
        Metric.topK 1
        Metric.topK ((count + 1) / 2)
        Metric.precision count
        Metric.recall count
        Metric.f1 count
        Metric.meanIoU count
        Metric.perplexity
    ]

let private ofNumbers = [ Metric.rmse; Metric.meanAbsoluteError; Metric.r2 ]

/// What a metric says of two parts, counted one after the other.
let private inParts (metric: Metric) (parts: (Tensor * Tensor) list) =
    let tally = Tally [ metric ]
    parts |> List.iter tally.Add
    snd tally.Values.Head

let private share (condition: bool[]) =
    condition |> Array.averageBy (fun holds -> if holds then 1.0 else 0.0)

let private ratio above below =
    if below = 0 then 0.0 else float above / float below

[<Tests>]
let tests =
    testList
        "metrics"
        [
            testProperty
                "accuracy and top-k are what counting gives"
                (holds samples (fun sample ->
                    Metrics.accuracy sample.Tensor sample.Targets
                    |> close "accuracy" (share (Array.map2 (=) sample.Predicted sample.Truth))

                    for k in 1 .. sample.Classes do
                        let hit (row: float[]) (truth: int64) =
                            // A stable sort keeps the first of equals first.
                            Array.indexed row
                            |> List.ofArray
                            |> List.sortBy (fun (_, score) -> -score)
                            |> List.truncate k
                            |> List.exists (fun (c, _) -> int64 c = truth)

                        Metrics.topK k sample.Tensor sample.Targets
                        |> close $"top {k}" (share (Array.map2 hit sample.Scores sample.Truth))))

            testProperty
                "the confusion matrix and what follows from it are what counting gives"
                (holds samples (fun sample ->
                    let matrix = Metrics.confusion sample.Classes sample.Tensor sample.Targets
                    let pairs = Array.zip sample.Truth sample.Predicted

                    let count condition =
                        pairs |> Array.filter condition |> Array.length

                    Expect.equal matrix.Total (int64 pairs.Length) "all examples"

                    let ofClass =
                        [
                            for c in 0 .. sample.Classes - 1 do
                                let own = int64 c
                                let hits = count ((=) (own, own))
                                let predicted = count (fun (_, p) -> p = own)
                                let truth = count (fun (t, _) -> t = own)

                                if predicted + truth = 0 then
                                    Expect.isTrue
                                        (Double.IsNaN(matrix.F1 c))
                                        "nothing is said of a class that is nowhere"
                                else
                                    let precision, recall = ratio hits predicted, ratio hits truth

                                    let f1 =
                                        if hits = 0 then
                                            0.0
                                        else
                                            2.0 * precision * recall / (precision + recall)

                                    let iou = ratio hits (predicted + truth - hits)
                                    close "precision" precision (matrix.Precision c)
                                    close "recall" recall (matrix.Recall c)
                                    close "f1" f1 (matrix.F1 c)
                                    close "iou" iou (matrix.IoU c)
                                    [ precision; recall; f1; iou ]
                        ]
                        |> List.transpose
                        |> List.map List.average

                    close "accuracy" (share (Array.map (fun (t, p) -> t = p) pairs)) matrix.Accuracy

                    for metric, expected in
                        List.zip [ Metrics.precision; Metrics.recall; Metrics.f1; Metrics.meanIoU ] ofClass do
                        close "mean over classes" expected (metric sample.Classes sample.Tensor sample.Targets)))

            testProperty
                "errors of numbers are what their formulas give"
                (holds estimates (fun (prediction, truth) ->
                    let p, t = Tensor.From prediction, Tensor.From truth
                    let errors = Array.map2 (-) prediction truth
                    let squares = errors |> Array.sumBy (fun e -> e * e)
                    let mean = Array.average truth
                    let spread = truth |> Array.sumBy (fun t -> (t - mean) ** 2.0)
                    close "rmse" (sqrt (squares / float truth.Length)) (Metrics.rmse p t)
                    close "mean absolute error" (errors |> Array.averageBy abs) (Metrics.meanAbsoluteError p t)

                    if spread > 0.0 then
                        // The spread itself is known to so many digits of the offset.
                        let r2 = Metrics.r2 p t
                        let expected = 1.0 - squares / spread
                        Expect.isLessThan (abs (r2 - expected)) (1e-6 * max 1.0 (abs expected)) $"r2: {r2}"

                    close "r2 of the mean" (if spread > 0.0 then 0.0 else nan) (Metrics.r2 (t * 0.0 + mean) t)
                    close "r2 of the truth" (if spread > 0.0 then 1.0 else nan) (Metrics.r2 t t)))

            testProperty
                "perplexity is the exponential of the cross-entropy, and the number of classes where nothing is known"
                (holds samples (fun sample ->
                    let loss = (Loss.crossEntropy sample.Tensor sample.Targets).ToDouble()
                    close "perplexity" (exp loss) (Metrics.perplexity sample.Tensor sample.Targets)

                    Metrics.perplexity (sample.Tensor * 0.0) sample.Targets
                    |> close "of equal scores" (float sample.Classes)))

            testProperty
                "shares lie in 0 … 1, perplexity is at least 1"
                (holds samples (fun sample ->
                    for metric in ofClasses sample.Classes do
                        let value = metric.Measure sample.Tensor sample.Targets

                        if metric.Name = "perplexity" then
                            Expect.isGreaterThan value (1.0 - 1e-9) metric.Name
                        else
                            Expect.isTrue (value >= 0.0 && value <= 1.0) $"{metric.Name} is {value}"))

            testProperty
                "the order of the examples does not matter, nor do parts"
                (holds (Gen.zip samples estimates) (fun (sample, (prediction, truth)) ->
                    let check metrics n (take: int[] -> Tensor * Tensor) =
                        let order = Random(n).GetItems([| 0 .. n - 1 |], n / 2)
                        // The whole in another order, then in two parts.
                        let shuffled = Array.append order [| 0 .. n - 1 |]

                        for metric: Metric in metrics do
                            let whole = take shuffled ||> metric.Measure
                            close $"{metric.Name} reversed" whole (take (Array.rev shuffled) ||> metric.Measure)

                            if order.Length > 0 then
                                inParts metric [ take order; take [| 0 .. n - 1 |] ]
                                |> fun value ->
                                    Expect.isLessThan
                                        (abs (value - whole))
                                        (1e-6 * max 1.0 (abs whole))
                                        $"{metric.Name} in parts is {value}, of the whole {whole}"

                    check (ofClasses sample.Classes) sample.Truth.Length (fun order ->
                        let sample = sample.Reordered order
                        sample.Tensor, sample.Targets)

                    if Array.distinct truth |> Array.length > 1 then
                        check ofNumbers truth.Length (fun order ->
                            let pick (values: float[]) =
                                Tensor.From(order |> Array.map (Array.get values))

                            pick prediction, pick truth)))

            testProperty
                "classes by number, by scores, as probabilities and at positions say the same"
                (holds samples (fun sample ->
                    let scores, truth = sample.Tensor, sample.Targets
                    let numbers = Tensor.From sample.Predicted
                    let n, classes = sample.Truth.Length, sample.Classes
                    let oneHot = truth.OneHot classes

                    // Positions [1; classes; n] instead of examples [n; classes].
                    let spatial = scores.T.Unsqueeze 0

                    for metric in ofClasses classes do
                        let expected = metric.Measure scores truth
                        close "positions" expected (metric.Measure spatial (truth.Reshape(1, n)))

                        if metric.Name <> "perplexity" then
                            close "one-hot" expected (metric.Measure scores oneHot)

                            if not (metric.Name.StartsWith "top") then
                                close "numbers" expected (metric.Measure numbers truth)

                                close
                                    "int32"
                                    expected
                                    (metric.Measure (numbers.Cast DType.Int32) (truth.Cast DType.Int32))))

            testProperty
                "matrices of parts add up"
                (holds (Gen.two samples) (fun (a, b) ->
                    let classes = max a.Classes b.Classes

                    let matrix (p: int64[]) (t: int64[]) =
                        Metrics.confusion classes (Tensor.From p) (Tensor.From t)

                    Expect.equal
                        (matrix a.Predicted a.Truth + matrix b.Predicted b.Truth)
                        (matrix (Array.append a.Predicted b.Predicted) (Array.append a.Truth b.Truth))
                        "the sum"))

            testCase "the confusion matrix prints as a table" (fun () ->
                let matrix =
                    Metrics.confusion 2 (Tensor.integers [ 0; 1; 1; 1 ]) (Tensor.integers [ 0; 0; 1; 1 ])

                Expect.equal
                    (matrix.Table [ "ham"; "spam" ])
                    (String.concat
                        Environment.NewLine
                        [
                            "             ham   spam  recall"
                            "ham            1      1   0.500"
                            "spam           0      2   1.000"
                            "precision  1.000  0.667"
                        ])
                    "rows are true classes"

                Expect.stringContains (string matrix) "0.667" "as text")

            testCase "NaN scores are no hit" (fun () ->
                let scores = Tensor.From([| nan; nan; nan |], [| 1; 3 |])
                Expect.equal (Metrics.topK 2 scores (Tensor.integers [ 0 ])) 0.0 "top 2")

            testCase "several metrics at once, of the whole data and not the mean of batches" (fun () ->
                let key = Key.ofSeed 4
                let x = Tensor.normal [ 70; 3 ] key
                let y = x.Sum([| 1 |], keepAxes = true) + Tensor.normal [ 70; 1 ] (key.Fold 1)
                let data = Dataset.ofTensors x y
                let metrics = [ Metric.rmse; Metric.r2; Metric.meanAbsoluteError ]
                let reported = ResizeArray()

                let run =
                    Train.fit
                        (Optim.sgd 0.0)
                        Loss.mse
                        (epochs 1
                         >> batchSize 32
                         >> report metrics
                         >> validate data
                         >> observe reported.Add
                         >> show Progress.silent)
                        (input [ 3 ] >=> dense 1)
                        data
                        key

                let whole =
                    metrics
                    |> List.map (fun metric -> metric.Name, metric.Measure (run.Predict x) y)

                let _, evaluated = Train.evaluate Loss.mse metrics run data

                for values in [ run.Epochs.Head.Metrics; run.Epochs.Head.ValidationMetrics; evaluated ] do
                    Expect.equal (List.map fst values) (List.map fst whole) "names"

                    for (name, value), (_, expected) in List.zip values whole do
                        Expect.isLessThan (abs (value - expected)) 1e-5 $"{name} is {value}, expected {expected}")

            let refused what (parts: string list) (f: unit -> unit) =
                testCase $"refused: {what}" (fun () ->
                    let message =
                        try
                            f ()
                            ""
                        with :? ArgumentException as error ->
                            error.Message

                    for part in parts do
                        Expect.stringContains message part what)

            let scores = Tensor.zeros [ 4; 3 ]
            let three = Tensor.integers [ 0; 1; 2 ]

            refused
                "as many classes as predictions"
                [ "accuracy: one class per prediction"; "[4, 3]"; "[3]" ]
                (fun () -> Metrics.accuracy scores three |> ignore)

            refused "a class outside" [ "confusion: classes must lie in 0 … 1"; "class 2"; "place 2" ] (fun () ->
                Metrics.confusion 2 three three |> ignore)

            refused "a negative class" [ "top2: classes must lie in 0 … 2"; "-1" ] (fun () ->
                Metrics.topK 2 scores (Tensor.integers [ 0; 1; -1; 2 ]) |> ignore)

            refused "more than there are" [ "topK: k must lie in 1 … 3"; "got 4" ] (fun () ->
                Metrics.topK 4 scores (Tensor.integers [ 0; 1; 2; 0 ]) |> ignore)

            refused "numbers instead of scores" [ "top2: scores of every class"; "[3]" ] (fun () ->
                Metrics.topK 2 three three |> ignore)

            refused "a broadcast" [ "rmse: prediction and target must have the same shape"; "[4, 1]"; "[4]" ] (fun () ->
                Metrics.rmse (Tensor.zeros [ 4; 1 ]) (Tensor.zeros [ 4 ]) |> ignore)

            refused "nothing" [ "r2: at least one example"; "[0]" ] (fun () ->
                Metrics.r2 (Tensor.zeros [ 0 ]) (Tensor.zeros [ 0 ]) |> ignore)

            refused "matrices of other classes" [ "confusion: matrices of as many classes"; "3 and 4" ] (fun () ->
                Metrics.confusion 3 three three + Metrics.confusion 4 three three |> ignore)

            refused "a name for every class" [ "confusion: every class needs a name"; "1 names for 3" ] (fun () ->
                (Metrics.confusion 3 three three).Table [ "a" ] |> ignore)
        ]
