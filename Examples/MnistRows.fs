/// Recurrent networks that read MNIST row by row.
module Functional.Examples.MnistRows

open Functional
open Functional.Examples.Classifier
open type Functional.Layers

let private load (settings: Settings) =
    let digits = MnistData.load settings.Data

    let prepare images labels =
        Dataset.ofBytes [ 28; 28 ] images labels
        |> part settings
        |> Dataset.scale (1.0 / 255.0) 0.0

    {
        Source = digits.Source
        Training = prepare digits.TrainImages digits.TrainLabels
        Validation = None
        Test = prepare digits.TestImages digits.TestLabels
    }

let private recipe name (layer: unit -> Layer) =
    {
        Network =
            fun () ->
                input [ 28; 28 ]
                >=> layer ()
                >=> lastState ()
                >=> dense (10, weights = Init.fanInUniform, biases = Init.fanInUniform)
        Load = load
        Optimiser = fun _ -> Optim.adam 1e-3
        Augment = None
        Average = None
        BatchSize = 64
        Epochs = 2
        Classes = []
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 1e-3
                "cell", Text name
                "units", Number 128.0
            ]
    }

let experiments =
    // Without gates the recurrent weights alone keep what was seen: glorotUniform's largest eigenvalue is near 1, fanInUniform's about a half.
    [
        for name, about, layer in
            [
                "lstm", "a long short-term memory reads MNIST row by row", (fun () -> lstm 128)
                "gru", "a gated recurrent unit reads MNIST row by row", (fun () -> gru 128)
                "rnn",
                "a simple recurrent network reads MNIST row by row",
                (fun () -> rnn (128, weights = Init.glorotUniform))
            ] ->
            {
                Name = $"mnist-{name}"
                About = about
                Network = (recipe name layer).Network
                Run = train (recipe name layer)
            }
    ]
