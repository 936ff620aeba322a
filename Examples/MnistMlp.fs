/// Fully connected networks on MNIST.
module Functional.Examples.MnistMlp

open Functional
open type Functional.Layers

/// How one of the networks is trained.
type private Recipe =
    {
        Network: unit -> Layer
        /// Training, validation and test data, as bytes, to what the network sees.
        Prepare: Dataset -> Dataset -> Dataset * Dataset option * Dataset
        Optimiser: Optimiser
        BatchSize: int
        Details: (string * Detail) list
    }

let private shape = [ 28; 28 ]

let private showPredictions (run: Run) (test: Dataset) =
    let x, y = test |> Dataset.truncate 8 |> Dataset.batch 8 |> Seq.head
    let predicted = run.Predict(x).ArgMax(-1).ToArray<int64>()

    let line (classes: int64[]) =
        classes |> Array.map string |> String.concat " "

    printfn $"the first test digits are  {line (y.ToArray<int64>())}"
    printfn $"the network reads          {line predicted}"

let private train recipe (settings: Settings) =
    // The network comes first: a mistake in it is told before any data is read.
    let network = recipe.Network()
    printfn $"{network}\n"
    let digits = MnistData.load settings.Data

    let part n data =
        if settings.Small then Dataset.truncate n data else data

    let training, validation, test =
        recipe.Prepare
            (Dataset.ofBytes shape digits.TrainImages digits.TrainLabels |> part 6_000)
            (Dataset.ofBytes shape digits.TestImages digits.TestLabels |> part 1_000)

    let passes =
        settings.Epochs |> Option.defaultValue (if settings.Small then 2 else 10)

    let options =
        epochs passes
        >> batchSize recipe.BatchSize
        >> report [ accuracy ]
        >> Option.foldBack validate validation

    let key = Key.OfSeed settings.Seed
    let run = Train.fit recipe.Optimiser Loss.crossEntropy options network training key
    let loss, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run test
    showPredictions run test

    {
        Data = digits.Source
        Details =
            recipe.Details
            @ [
                "batchSize", Number(float recipe.BatchSize)
                "epochs", Number(float passes)
                "examples", Number(float training.Count)
            ]
        Epochs = run.Epochs
        Test = metrics @ [ "loss", loss ]
        Steps = run.Steps
        StepSeconds = run.StepSeconds
        Ending = run.Ending
    }

let private sgd =
    {
        Network =
            fun () ->
                let dense units =
                    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

                input shape >=> flatten () >=> dense 512 >=> relu >=> dense 10
        Prepare =
            fun training test ->
                let prepare = Dataset.scale (1.0 / 255.0) 0.0 >> Dataset.normalise 0.1307 0.3081
                prepare training, None, prepare test
        Optimiser = Optim.sgd 0.01
        BatchSize = 64
        Details =
            [
                "optimiser", Text "sgd"
                "rate", Number 0.01
                "layers", Sizes [ 784; 512; 10 ]
            ]
    }

let private adam =
    {
        Network = fun () -> input shape >=> flatten () >=> dense 128 >=> relu >=> dense 10
        Prepare =
            fun training test ->
                let prepare = Dataset.scale (1.0 / 255.0) 0.0

                let training, validation =
                    prepare training |> Dataset.splitAt (training.Count * 9 / 10)

                training, Some validation, prepare test
        Optimiser = Optim.adam 1e-3
        BatchSize = 32
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 1e-3
                "layers", Sizes [ 784; 128; 10 ]
            ]
    }

let private deep =
    {
        Network =
            fun () ->
                input shape
                >=> flatten ()
                >=> dense 64
                >=> relu
                >=> dense 64
                >=> relu
                >=> dense 10
        Prepare =
            fun training test ->
                let training, test = Dataset.standardise (training, test)
                training, None, test
        Optimiser = Optim.adam 1e-3
        BatchSize = 32
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 1e-3
                "layers", Sizes [ 784; 64; 64; 10 ]
            ]
    }

let experiments =
    [
        {
            Name = "mnist-sgd"
            About = "784-512-10 on MNIST with plain gradient descent"
            Run = train sgd
        }
        {
            Name = "mnist-adam"
            About = "784-128-10 on MNIST with Adam and a validation set"
            Run = train adam
        }
        {
            Name = "mnist-deep"
            About = "784-64-64-10 on standardised MNIST with Adam"
            Run = train deep
        }
    ]
