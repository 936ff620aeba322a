// 784-512-10 on MNIST with plain gradient descent.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/mnist-sgd.fsx [--small]
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

let layer units =
    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

let net = input [ 28; 28 ] >=> flatten () >=> layer 512 >=> relu >=> layer 10

printfn "%O\n" net

// With --small a short run on little data, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

let digits = MnistData.load None

let prepare images labels =
    let all = Dataset.ofBytes [ 28; 28 ] images labels
    all |> Dataset.truncate (if small then all.Count / 10 else all.Count)

// Bytes to 0 … 1, then to mean 0 and deviation 1 of all pixels.
let normalised = Dataset.scale (1.0 / 255.0) 0.0 >> Dataset.normalise 0.1307 0.3081

let train = prepare digits.TrainImages digits.TrainLabels |> normalised
let test = prepare digits.TestImages digits.TestLabels |> normalised

let run =
    Train.fit
        (Optim.sgd 0.01)
        Loss.crossEntropy
        (epochs (if small then 2 else 10) >> batchSize 64 >> report [ accuracy ])
        net
        train
        (Key.OfSeed 1L)

let _, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run test
printfn "on test data: %A" metrics

// What the network makes of the first digits, and how sure it is.
let x, y = test |> Dataset.batch 5 |> Seq.head
let probabilities = run.Predict(x).Softmax(-1)
printfn "digits %O\nread as %O\nwith probability %O" y (probabilities.ArgMax -1) (probabilities.Max -1)
