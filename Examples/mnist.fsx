// The same as `mnist-adam`, as a script. Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/mnist.fsx
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

let net = input [ 28; 28 ] >=> flatten () >=> dense 128 >=> relu >=> dense 10

printfn "%O\n" net

let digits = MnistData.load None

let prepare images labels =
    Dataset.ofBytes [ 28; 28 ] images labels |> Dataset.scale (1.0 / 255.0) 0.0

let train, valid =
    prepare digits.TrainImages digits.TrainLabels |> Dataset.splitAt 54_000

let test = prepare digits.TestImages digits.TestLabels

let run =
    Train.fit
        (Optim.adam 1e-3)
        Loss.crossEntropy
        (epochs 5 >> report [ accuracy ] >> validate valid)
        net
        train
        (Key.OfSeed 1L)

let _, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run test
printfn "on test data: %A" metrics

// What the network makes of the first digits, and how sure it is.
let x, y = test |> Dataset.batch 5 |> Seq.head
let probabilities = run.Predict(x).Softmax(-1)
printfn "digits %O\nread as %O\nwith probability %O" y (probabilities.ArgMax -1) (probabilities.Max -1)
