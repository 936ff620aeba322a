/// Networks that reproduce MNIST through a narrow middle: an autoencoder and a variational one.
module Functional.Examples.Autoencoders

open System
open Functional
open Functional.Examples.Classifier
open type Functional.Layers

let private load (settings: Settings) =
    let digits = MnistData.load settings.Data

    let prepare images labels =
        Dataset.ofBytes [ 784 ] images labels
        |> part settings
        |> Dataset.scale (1.0 / 255.0) 0.0
        |> Dataset.map (fun x _ -> x, x)

    digits.Source, prepare digits.TrainImages digits.TrainLabels, prepare digits.TestImages digits.TestLabels

/// How one of the networks is trained: its targets are its inputs.
type private Recipe =
    {
        Network: unit -> Layer
        Loss: Tensor -> Tensor -> Tensor
        /// What the loss of the test images is called.
        Measure: string
        Epochs: int
        Show: Layer -> Tree<Tensor> * Tree<Tensor> -> Tensor -> unit
        Details: (string * Detail) list
    }

let private train recipe (settings: Settings) =
    let network = recipe.Network()
    let source, training, test = load settings
    let key = Key.OfSeed settings.Seed
    let size = 128

    let passes =
        settings.Epochs
        |> Option.defaultValue (if settings.Small then 2 else recipe.Epochs)

    let run =
        Train.fit (Optim.adam 1e-3) recipe.Loss (epochs passes >> batchSize size >> settings.Plan) network training key

    let parameters = run.Parameters, run.State

    // As in training: what is drawn at random is drawn here, too.
    let measured =
        test
        |> Dataset.batch 250
        |> Seq.mapi (fun i (x, _) ->
            let mutable sum = 0.0

            Memory.Tidy(
                Action(fun () ->
                    let mode = Mode.Train(key.Fold("test").Fold i)
                    let y, _ = Layer.apply mode network (fst parameters) (snd parameters) x
                    sum <- float x.Shape[0] * (recipe.Loss y x).ToDouble())
            )

            sum)
        |> Seq.sum
        |> fun sum -> sum / float test.Count

    let x, _ = test |> Dataset.truncate 5 |> Dataset.batch 5 |> Seq.head
    recipe.Show network parameters x

    {
        Data = source
        Details =
            recipe.Details
            @ [
                "optimiser", Text "adam"
                "rate", Number 1e-3
                "batchSize", Number(float size)
                "epochs", Number(float passes)
            ]
        Epochs = run.Epochs
        Test = [ recipe.Measure, measured ]
        Steps = run.Steps
        StepSeconds = run.StepSeconds
        Ending = run.Ending
    }

let private dense units =
    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

let private pictures (x: Tensor) =
    let values = x.ToDoubles()
    [ for i in 0 .. x.Shape[0] - 1 -> values[i * 784 .. i * 784 + 783] ]

let private plain =
    {
        Network =
            fun () ->
                input [ 784 ]
                >=> dense 128
                >=> relu
                >=> dense 32
                >=> relu
                >=> dense 128
                >=> relu
                >=> dense 784
        Loss = Loss.bceWithLogits
        Measure = "bce"
        Epochs = 3
        Show =
            fun network parameters x ->
                let again = (Layer.predict network parameters x).Sigmoid()
                printfn "%s" (Picture.sideBySide 28 28 (pictures x))
                printfn "%s" (Picture.sideBySide 28 28 (pictures again))
        Details = [ "layers", Sizes [ 784; 128; 32; 128; 784 ] ]
    }

// ---- variational (Kingma and Welling, 2014) ----

let private latent = 16

/// A draw from the normal distribution of the mean and log-variance that come in; in inference its mean.
let private sample =
    { lambda ("sample", id) with
        IsRandom = true
        Apply =
            fun mode _ state x ->
                let parts = x.Split([| latent; latent |], 1)
                let mean, logVariance = parts[0], parts[1]

                match mode with
                | Train key -> mean + (logVariance * 0.5).Exp() * key.Normal(mean.Shape), state
                | Infer -> mean, state
    }

let private decoder () = dense 400 >=> relu >=> dense 784

/// The negative evidence lower bound in nats: the pixels' cross-entropy plus the divergence of the code from N(0, 1). Pixels, means and log-variances
/// come side by side.
let private negativeElbo (y: Tensor) (x: Tensor) =
    let logits, mean = y.Slice(1, 0, 784), y.Slice(1, 784, 784 + latent)
    let logVariance = y.Slice(1, 784 + latent, 784 + 2 * latent)
    let pixels = Loss.bceWithLogits logits x * 784.0

    let divergence =
        (mean.Square() + logVariance.Exp() - logVariance - 1.0).Sum(1).Mean() * 0.5

    pixels + divergence

/// The trained decoder on its own: its parameters are those under its name.
let private decoding (parameters: Tree<Tensor>) (z: Tensor) =
    let decoder = decoder ()

    let trained =
        Tree.named parameters
        |> List.filter (fun (path, _) -> path.Contains ".decoder.")
        |> List.map snd
        |> Array.ofList

    let tree, state = Layer.initFor (Shape.Of [ latent ]) (Key.OfSeed 0L) decoder
    (Layer.predict decoder (Tree.rebuild tree trained, state) z).Sigmoid()

let private variational =
    {
        Network =
            fun () ->
                input [ 784 ]
                >=> dense 400
                >=> relu
                >=> dense (2 * latent)
                >=> concat [ sample >=> named "decoder" (decoder ()); lambda ("code", id) ]
        Loss = negativeElbo
        Measure = "negativeElbo"
        Epochs = 5
        Show =
            fun network parameters x ->
                let decode = decoding (fst parameters)
                printfn "drawn from N(0, 1):"

                printfn
                    "%s"
                    (Picture.sideBySide 28 28 (pictures (decode (Key.OfSeed(1L).Normal(Shape.Of [ 5; latent ])))))

                let codes = (Layer.predict network parameters x).Slice(1, 784, 784 + latent)
                let first, last = codes.Slice(0, 0, 1), codes.Slice(0, 1, 2)

                let between = [| for i in 0..4 -> first + (last - first) * (float i / 4.0) |]

                printfn "from one test image to another:"
                printfn "%s" (Picture.sideBySide 28 28 (pictures (decode (Tensor.Concat(0, between)))))
        Details = [ "layers", Sizes [ 784; 400; 32; 400; 784 ]; "latent", Number(float latent) ]
    }

let experiments =
    [
        {
            Name = "autoencoder"
            About = "784-128-32-128-784 reproduces MNIST"
            Network = plain.Network
            Run = train plain
        }
        {
            Name = "vae"
            About = "a variational autoencoder with 16 latent numbers on MNIST"
            Network = variational.Network
            Run = train variational
        }
    ]
