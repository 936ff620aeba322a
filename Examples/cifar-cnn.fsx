// The network of PyTorch's CIFAR-10 tutorial: two convolutions and three dense layers.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/cifar-cnn.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DataFolder.fs"

open Functional
open Functional.Examples
open Functional.Files
open type Functional.Layers

// Weights and biases begin as they do there.
let start = Init.fanInUniform

let net =
    input [ 3; 32; 32 ]
    >=> conv (6, kernel = 5, weights = start, biases = start)
    >=> relu
    >=> maxPool 2
    >=> conv (16, kernel = 5, weights = start, biases = start)
    >=> relu
    >=> maxPool 2
    >=> flatten ()
    >=> dense (120, weights = start, biases = start)
    >=> relu
    >=> dense (84, weights = start, biases = start)
    >=> relu
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

let run =
    Train.fit
        (Optim.adam 1e-3)
        Loss.crossEntropy
        (epochs (if small then 2 else 10)
         >> batchSize 64
         >> average 0.997
         >> report [ accuracy ])
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
