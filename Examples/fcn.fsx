// A fully convolutional network finds and names digits on canvases of any size (after Long, Shelhamer and Darrell, 2015).
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/fcn.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DrawnDigits.fs"
#load "DataFolder.fs"
#load "Mnist.fs"

open Functional
open Functional.Examples
open type Functional.Layers

// With --small a short run, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

/// Ten digits and the background.
let classes = 11

let block channels =
    conv (channels, kernel = 3, pad = Same) >=> batchNorm () >=> relu

/// What is seen from afar, brought back to full size. No layer knows how large the canvas is.
let far =
    block 16
    >=> maxPool 2
    >=> block 32
    >=> maxPool 2
    >=> block 64
    >=> maxPool 2
    >=> block 96
    >=> block 96
    >=> convTransposed (48, kernel = 8, stride = 8)
    >=> relu

let net =
    concat [ far; named "near" (block 16) ]
    >=> block 32
    >=> conv (classes, kernel = 1)

printfn "%O\n" (input [ 1; 64; 64 ] >=> net)

let digits = MnistData.load None

/// Canvases of digits that hardly overlap, with the class of every pixel: those of a digit where it is brighter than a half.
let canvases (images: byte[], labels: byte[]) (height, width) most count (key: Key) =
    let pixels = Array.zeroCreate<float32>(count * height * width)
    let truth = Array.create pixels.Length (int64 (classes - 1))

    for canvas in 0 .. count - 1 do
        let draws = key.Fold(canvas).Uniform(Shape.Of [ 12 * most; 3 ]).ToDoubles()
        let mutable taken = []

        for draw in Array.chunkBySize 3 draws do
            let pick i limit = int (draw[i] * float limit)

            let top, left, image =
                pick 0 (height - 27), pick 1 (width - 27), pick 2 labels.Length

            let isFree =
                taken |> List.forall (fun (t, l) -> abs (t - top) >= 24 || abs (l - left) >= 24)

            if taken.Length < most && isFree then
                taken <- (top, left) :: taken

                for i in 0..783 do
                    let value = images[784 * image + i]
                    let at = (canvas * height + top + i / 28) * width + left + i % 28
                    pixels[at] <- max pixels[at] (float32 value / 255f)

                    if value > 127uy then
                        truth[at] <- int64 labels[image]

    Tensor.From(pixels, [| count; 1; height; width |]), Tensor.From(truth, [| count; height; width |])

let key = Key.OfSeed 1L

let trainer =
    Trainer(Optim.adam 2e-3, Loss.crossEntropy, net, key, [], Shape.Of [ 1; 64; 64 ])

let steps = if small then 12 else 900

for step in 1..steps do
    let loss =
        trainer.Step(canvases (digits.TrainImages, digits.TrainLabels) (64, 64) 4 16 (key.Fold("canvas").Fold step))

    if step % (steps / 6) = 0 then
        printfn "step %d/%d   loss %.4f" step steps loss

for size, most in [ (64, 64), 4; (96, 128), 10 ] do
    let x, y =
        canvases (digits.TestImages, digits.TestLabels) size most (if small then 4 else 100) (key.Fold "test")

    let scores = Layer.predict net (trainer.Parameters, trainer.State) x
    printfn "mean IoU at %A: %.3f" size ((Metric.meanIoU classes).Measure scores y)
