/// Convolutional networks on CIFAR-10.
module Functional.Examples.CifarNetworks

open System
open System.IO
open Functional
open Functional.Examples.Classifier
open Functional.Files
open type Functional.Layers

let private shape = [ 3; 32; 32 ]

let private classes =
    [
        "airplane"
        "automobile"
        "bird"
        "cat"
        "deer"
        "dog"
        "frog"
        "horse"
        "ship"
        "truck"
    ]

/// The training batches that are there – there may be fewer than the original five – and the test batch, pixels in −1 … 1.
let private load (settings: Settings) =
    let folder = DataFolder.find settings.Data "cifar-10" "test_batch.bin"

    let batches =
        [
            for i in 1..5 do
                yield! Option.toList (DataFolder.tryFile folder $"data_batch_{i}.bin")
        ]
        |> List.map (fun path -> Cifar.Read path)

    if batches.IsEmpty then
        raise (DataFormatException(folder, "the folder must hold data_batch_1.bin, plain or .gz", "none of the five"))

    let prepare (images: byte[]) labels =
        Dataset.ofBytes shape images labels
        |> part settings
        |> Dataset.scale (2.0 / 255.0) -1.0

    let test = Cifar.Read(DataFolder.file folder "test_batch.bin")

    {
        Source = "cifar-10"
        Training = prepare (batches |> List.map _.Images |> Array.concat) (batches |> List.map _.Labels |> Array.concat)
        Validation = None
        Test = prepare test.Images test.Labels
    }

/// The network of PyTorch's CIFAR-10 tutorial. It begins to learn its images by heart; the average of its parameters over about the last epoch is steadier.
let private tutorial =
    {
        Network =
            fun () ->
                let conv channels =
                    conv (channels, kernel = 5, weights = Init.fanInUniform, biases = Init.fanInUniform)

                let dense units =
                    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

                input shape
                >=> conv 6
                >=> relu
                >=> maxPool 2
                >=> conv 16
                >=> relu
                >=> maxPool 2
                >=> flatten ()
                >=> dense 120
                >=> relu
                >=> dense 84
                >=> relu
                >=> dense 10
        Load = load
        Optimiser = fun _ -> Optim.adam 1e-3
        Augment = None
        Average = Some 0.997
        BatchSize = 64
        Epochs = 10
        Classes = classes
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 1e-3
                "average", Number 0.997
                "channels", Sizes [ 6; 16 ]
                "layers", Sizes [ 400; 120; 84; 10 ]
            ]
    }

/// Four convolutions with batch normalisation, after Simonyan and Zisserman (2015).
let private vgg =
    {
        Network =
            fun () ->
                let conv channels =
                    conv (channels, kernel = 3, pad = 1, weights = Init.fanInUniform, biases = Init.fanInUniform)
                    >=> batchNorm ()
                    >=> relu

                let dense units =
                    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

                input shape
                >=> conv 32
                >=> conv 32
                >=> maxPool 2
                >=> conv 64
                >=> conv 64
                >=> maxPool 2
                >=> flatten ()
                >=> dropout 0.25
                >=> dense 256
                >=> relu
                >=> dropout 0.5
                >=> dense 10
        Load = load
        Optimiser = fun _ -> Optim.adam 1e-3
        Augment = None
        Average = None
        BatchSize = 64
        Epochs = 5
        Classes = classes
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 1e-3
                "channels", Sizes [ 32; 32; 64; 64 ]
                "layers", Sizes [ 4096; 256; 10 ]
                "dropout", Text "0.25, 0.5"
            ]
    }

/// The same network on images that are mirrored and moved, its rate in one cycle.
let private augmentedVgg =
    { vgg with
        Optimiser = fun steps -> Optim.adam (Schedule.oneCycle (3e-3, steps))
        Augment = Some(Augment.chain [ Augment.flip 0.5; Augment.crop 4 ])
        Epochs = 10
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 3e-3
                "schedule", Text "one cycle"
                "augmentation", Text "flip 0.5, crop 4"
                "channels", Sizes [ 32; 32; 64; 64 ]
                "layers", Sizes [ 4096; 256; 10 ]
                "dropout", Text "0.25, 0.5"
            ]
    }

/// The experiments that `--augment` changes.
let augmentable = [ "cifar-vgg" ]

let experiments =
    [
        {
            Name = "cifar-cnn"
            About = "two convolutions on CIFAR-10 with Adam"
            Network = tutorial.Network
            Run = train tutorial
        }
        {
            Name = "cifar-vgg"
            About = "four convolutions with batch normalisation on CIFAR-10"
            Network = vgg.Network
            Run =
                fun settings ->
                    let recipe = if settings.Augment then augmentedVgg else vgg
                    train recipe settings
        }
    ]
