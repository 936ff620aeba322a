// 784-128-32-128-784 reproduces MNIST: what a digit is, in 32 numbers.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/autoencoder.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DrawnDigits.fs"
#load "DataFolder.fs"
#load "Mnist.fs"
#load "Picture.fs"

open Functional
open Functional.Examples
open type Functional.Layers

// With --small a short run on little data, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

let layer units =
    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

let net =
    input [ 784 ]
    >=> layer 128
    >=> relu
    >=> layer 32
    >=> relu
    >=> layer 128
    >=> relu
    >=> layer 784

printfn "%O\n" net

let digits = MnistData.load None

/// Images as inputs and as targets.
let prepare images labels =
    let all = Dataset.ofBytes [ 784 ] images labels

    all
    |> Dataset.truncate (if small then all.Count / 10 else all.Count)
    |> Dataset.scale (1.0 / 255.0) 0.0
    |> Dataset.map (fun x _ -> x, x)

let train, test =
    prepare digits.TrainImages digits.TrainLabels, prepare digits.TestImages digits.TestLabels

let run =
    Train.fit
        (Optim.adam 1e-3)
        Loss.bceWithLogits
        (epochs (if small then 2 else 3) >> batchSize 128)
        net
        train
        (Key.OfSeed 1L)

let loss, _ = Train.evaluate Loss.bceWithLogits [] run test
printfn "on test data: cross-entropy per pixel %.4f" loss

let show (images: Tensor) =
    let values = images.ToDoubles() |> Array.chunkBySize 784 |> List.ofArray
    printfn "%s" (Picture.sideBySide 28 28 values)

let x, _ = test |> Dataset.batch 5 |> Seq.head
show x
show (run.Predict(x).Sigmoid())
