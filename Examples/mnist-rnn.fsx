// A simple recurrent network reads MNIST row by row: an image of 28 rows is a sequence of 28 steps.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/mnist-rnn.fsx [--small]
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

// Recurrent weights whose largest eigenvalue is near 1 keep what 28 steps saw: smaller ones forget it, and learn 2 % less.
let net =
    input [ 28; 28 ]
    >=> rnn (128, weights = Init.glorotUniform)
    >=> lastState ()
    >=> dense (10, weights = Init.fanInUniform, biases = Init.fanInUniform)

printfn "%O\n" net

// With --small a short run on little data, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

let digits = MnistData.load None

let prepare images labels =
    let all = Dataset.ofBytes [ 28; 28 ] images labels
    all |> Dataset.truncate (if small then all.Count / 10 else all.Count)

let scaled = Dataset.scale (1.0 / 255.0) 0.0
let train = prepare digits.TrainImages digits.TrainLabels |> scaled
let test = prepare digits.TestImages digits.TestLabels |> scaled

let run =
    Train.fit
        (Optim.adam 1e-3)
        Loss.crossEntropy
        (epochs 2 >> batchSize 64 >> report [ accuracy ])
        net
        train
        (Key.OfSeed 1L)

let _, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run test
printfn "on test data: %A" metrics

// What the network makes of the first digits, and how sure it is.
let x, y = test |> Dataset.batch 5 |> Seq.head
let probabilities = run.Predict(x).Softmax(-1)
printfn "digits %O\nread as %O\nwith probability %O" y (probabilities.ArgMax -1) (probabilities.Max -1)
