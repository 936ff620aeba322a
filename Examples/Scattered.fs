/// A fully convolutional network that finds and names digits scattered over canvases of any size (after Long, Shelhamer and Darrell, 2015).
module Functional.Examples.Scattered

open System
open Functional
open type Functional.Layers

/// Ten digits and the background, the last class.
let private classes = 11

/// Canvases of digits that do not overlap, with the class of every pixel: those of a digit where it is brighter than a half.
let private canvases (images: byte[]) (labels: byte[]) height width digits count (key: Key) =
    let pixels = Array.zeroCreate<float32>(count * height * width)
    let truth = Array.create (count * height * width) (int64 (classes - 1))

    for canvas in 0 .. count - 1 do
        let random = key.Fold(canvas).Uniform(Shape.Of [ 12 * digits; 3 ]).ToDoubles()
        let taken = ResizeArray()

        for attempt in 0 .. 12 * digits - 1 do
            let draw i limit =
                min (limit - 1) (int (random[3 * attempt + i] * float limit))

            let top, left = draw 0 (height - 27), draw 1 (width - 27)

            let free =
                taken |> Seq.forall (fun (t, l) -> abs (t - top) >= 24 || abs (l - left) >= 24)

            if taken.Count < digits && free then
                taken.Add((top, left))
                let image = draw 2 labels.Length

                for row in 0..27 do
                    for column in 0..27 do
                        let value = images[(image * 28 + row) * 28 + column]

                        if value > 0uy then
                            let at = (canvas * height + top + row) * width + left + column
                            pixels[at] <- max pixels[at] (float32 value / 255f)

                            if value > 127uy then
                                truth[at] <- int64 labels[image]

    Tensor.From(pixels, [| count; 1; height; width |]), Tensor.From(truth, [| count; height; width |])

/// No layer knows how large the canvas is. What is seen from afar is brought back to full size, beside the canvas itself.
let private network () =
    let conv channels =
        conv (channels, kernel = 3, pad = Same) >=> batchNorm () >=> relu

    let far =
        conv 16
        >=> maxPool 2
        >=> conv 32
        >=> maxPool 2
        >=> conv 64
        >=> maxPool 2
        >=> conv 96
        >=> conv 96
        >=> convTransposed (48, kernel = 8, stride = 8)
        >=> relu

    concat [ far; named "near" (conv 16) ]
    >=> conv 32
    >=> Layers.conv (classes, kernel = 1)

let private show (x: Tensor) (predicted: int64[]) =
    let height, width = x.Shape[2], x.Shape[3]

    for row in 0..3 .. height - 1 do
        let line =
            String(
                [|
                    for column in 0 .. width - 1 ->
                        match predicted[row * width + column] with
                        | 10L -> ' '
                        | digit -> char (int '0' + int digit)
                |]
            )

        printfn "%s" (line.TrimEnd())

let private train (settings: Settings) =
    let body = network ()
    let digits = MnistData.load settings.Data
    let key = Key.OfSeed settings.Seed

    let trainer =
        Trainer(Optim.adam 2e-3, Loss.crossEntropy, body, key.Fold "network", [], Shape.Of [ 1; 64; 64 ])

    let steps =
        if settings.Small then
            30
        else
            900 * defaultArg settings.Epochs 1

    let batch step =
        canvases digits.TrainImages digits.TrainLabels 64 64 4 16 (key.Fold("canvas").Fold(step + 1))

    let sitting = Stepwise.train settings trainer steps 5 batch
    let parameters = trainer.Parameters, trainer.State

    let measure height width count digitsEach =
        let counted = Tally [ Metric.meanIoU classes ]

        for part in 0 .. (if settings.Small then 2 else 25) - 1 do
            let x, y =
                canvases
                    digits.TestImages
                    digits.TestLabels
                    height
                    width
                    digitsEach
                    count
                    (key.Fold($"test {height}").Fold part)

            Memory.Tidy(
                Action(fun () ->
                    let scores = Layer.predict body parameters x
                    counted.Add(scores, y)

                    if part = 0 then
                        show x (scores.ArgMax(1).ToArray<int64>()))
            )

        let _, iou = counted.Values.Head
        printfn $"mean IoU at {height} x {width}: {iou:F4}\n"
        iou

    let small = measure 64 64 20 4
    let large = measure 96 128 20 10

    {
        Data = $"scattered {digits.Source}"
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 2e-3
                "channels", Sizes [ 16; 32; 64; 96; 96; 48 ]
                "batchSize", Number 16.0
                "steps", Number(float steps)
            ]
        Epochs = []
        Test = [ "iou", small; "iouLarge", large ]
        Steps = sitting.Steps
        StepSeconds = sitting.Seconds
        Ending = sitting.Ending
    }

let experiments =
    [
        {
            Name = "fcn"
            About = "a fully convolutional network finds digits on canvases of any size"
            Network = fun () -> input [ 1; 64; 64 ] >=> network ()
            Run = train
        }
    ]
