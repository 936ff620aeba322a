// Four convolutions with batch normalisation on CIFAR-10, after Simonyan and Zisserman (2015).
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/cifar-vgg.fsx [--small] [--augment]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DataFolder.fs"

open Functional
open Functional.Examples
open Functional.Files
open type Functional.Layers

let start = Init.fanInUniform

/// Two convolutions that keep the size, then half of it.
let block channels =
    repeat
        2
        (conv (channels, kernel = 3, pad = 1, weights = start, biases = start)
         >=> batchNorm ()
         >=> relu)
    >=> maxPool 2

let net =
    input [ 3; 32; 32 ]
    >=> block 32
    >=> block 64
    >=> flatten ()
    >=> dropout 0.25
    >=> dense (256, weights = start, biases = start)
    >=> relu
    >=> dropout 0.5
    >=> dense (10, weights = start, biases = start)

printfn "%O\n" net

// With --small a short run on little data, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

let folder = DataFolder.find None "cifar-10" "test_batch.bin"

/// The images of some files, pixels in −1 … 1.
let load names =
    let parts = names |> List.choose (DataFolder.tryFile folder) |> List.map Cifar.Read

    let images, labels =
        parts |> List.map (fun part -> part.Images, part.Labels) |> List.unzip

    let all = Dataset.ofBytes [ 3; 32; 32 ] (Array.concat images) (Array.concat labels)

    all
    |> Dataset.truncate (if small then all.Count / 10 else all.Count)
    |> Dataset.scale (2.0 / 255.0) -1.0

let train, test =
    load [ for i in 1..5 -> $"data_batch_{i}.bin" ], load [ "test_batch.bin" ]

// With --augment the images are mirrored and moved, and the rate goes through one cycle.
let passes, rate, change =
    if fsi.CommandLineArgs |> Array.contains "--augment" then
        let passes = if small then 2 else 10
        let rate = Schedule.oneCycle (3e-3, passes * ((train.Count + 63) / 64))
        passes, rate, Augment.chain [ Augment.flip 0.5; Augment.crop 4 ]
    else
        (if small then 2 else 5), Schedule.constant 1e-3, Augment.chain []

let run =
    Train.fit
        (Optim.adam rate)
        Loss.crossEntropy
        (epochs passes >> batchSize 64 >> augment change >> report [ accuracy ])
        net
        train
        (Key.OfSeed 1L)

let _, metrics =
    Train.evaluate Loss.crossEntropy [ accuracy; Metric.topK 3 ] run test

printfn "on test data: %A" metrics

// What the network makes of the first images.
let classes =
    "airplane automobile bird cat deer dog frog horse ship truck".Split ' '

let names (numbers: Tensor) =
    numbers.ToArray<int64>()
    |> Array.map (fun c -> classes[int c])
    |> String.concat " "

let x, y = test |> Dataset.batch 8 |> Seq.head
printfn "the first are      %s" (names y)
printfn "the network reads  %s" (names (run.Predict(x).ArgMax -1))
