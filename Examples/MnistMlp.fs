/// Fully connected networks on MNIST.
module Functional.Examples.MnistMlp

open Functional
open Functional.Examples.Classifier
open type Functional.Layers

let private shape = [ 28; 28 ]

/// The digits as bytes, prepared: training and test data to training, validation and test data.
let private digits prepare (settings: Settings) =
    let digits = MnistData.load settings.Data

    let training, validation, test =
        prepare
            (Dataset.ofBytes shape digits.TrainImages digits.TrainLabels |> part settings)
            (Dataset.ofBytes shape digits.TestImages digits.TestLabels |> part settings)

    {
        Source = digits.Source
        Training = training
        Validation = validation
        Test = test
    }

let private sgd =
    {
        Network =
            fun () ->
                let dense units =
                    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

                input shape >=> flatten () >=> dense 512 >=> relu >=> dense 10
        Load =
            digits (fun training test ->
                let prepare = Dataset.scale (1.0 / 255.0) 0.0 >> Dataset.normalise 0.1307 0.3081
                prepare training, None, prepare test)
        Optimiser = fun _ -> Optim.sgd 0.01
        Augment = None
        Average = None
        BatchSize = 64
        Epochs = 10
        Classes = []
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
        Load =
            digits (fun training test ->
                let prepare = Dataset.scale (1.0 / 255.0) 0.0

                let training, validation =
                    prepare training |> Dataset.splitAt (training.Count * 9 / 10)

                training, Some validation, prepare test)
        Optimiser = fun _ -> Optim.adam 1e-3
        Augment = None
        Average = None
        BatchSize = 32
        Epochs = 10
        Classes = []
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
        Load =
            digits (fun training test ->
                let training, test = Dataset.standardise (training, test)
                training, None, test)
        Optimiser = fun _ -> Optim.adam 1e-3
        Augment = None
        Average = None
        BatchSize = 32
        Epochs = 10
        Classes = []
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
            Network = sgd.Network
            Run = train sgd
        }
        {
            Name = "mnist-adam"
            About = "784-128-10 on MNIST with Adam and a validation set"
            Network = adam.Network
            Run = train adam
        }
        {
            Name = "mnist-deep"
            About = "784-64-64-10 on standardised MNIST with Adam"
            Network = deep.Network
            Run = train deep
        }
    ]
