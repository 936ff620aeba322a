// A variational autoencoder with 16 latent numbers on MNIST (Kingma and Welling, 2014).
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/vae.fsx [--small]
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

let latent = 16

let layer units =
    dense (units, weights = Init.fanInUniform, biases = Init.fanInUniform)

/// A draw from the normal distribution of the mean and log-variance that come in; in inference its mean.
let sample =
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

let decoder = layer 400 >=> relu >=> layer 784

/// Pixels, then the code's mean and log-variance.
let net =
    input [ 784 ]
    >=> layer 400
    >=> relu
    >=> layer (2 * latent)
    >=> concat [ sample >=> named "decoder" decoder; lambda ("code", id) ]

printfn "%O\n" net

/// The negative evidence lower bound in nats: the pixels' cross-entropy plus the divergence of the code from N(0, 1).
let negativeElbo (y: Tensor) (x: Tensor) =
    let parts = y.Split([| 784; latent; latent |], 1)
    let mean, logVariance = parts[1], parts[2]

    let divergence =
        (mean.Square() + logVariance.Exp() - logVariance - 1.0).Sum(1).Mean() * 0.5

    784.0 * Loss.bceWithLogits parts[0] x + divergence

let digits = MnistData.load None

let train =
    let all = Dataset.ofBytes [ 784 ] digits.TrainImages digits.TrainLabels

    all
    |> Dataset.truncate (if small then all.Count / 10 else all.Count)
    |> Dataset.scale (1.0 / 255.0) 0.0
    |> Dataset.map (fun x _ -> x, x)

let run =
    Train.fit
        (Optim.adam 1e-3)
        negativeElbo
        (epochs (if small then 2 else 5) >> batchSize 128)
        net
        train
        (Key.OfSeed 1L)

/// The trained decoder on its own: its parameters are those under its name.
let decode (z: Tensor) =
    let tree, state = Layer.initFor (Shape.Of [ latent ]) (Key.OfSeed 0L) decoder

    let trained =
        [|
            for path, value in Tree.named run.Parameters do
                if path.Contains ".decoder." then
                    value
        |]

    (Layer.predict decoder (Tree.rebuild tree trained, state) z).Sigmoid()

let show (images: Tensor) =
    let values = images.ToDoubles() |> Array.chunkBySize 784 |> List.ofArray
    printfn "%s" (Picture.sideBySide 28 28 values)

printfn "drawn from N(0, 1):"
show (decode (Key.OfSeed(1L).Normal(Shape.Of [ 5; latent ])))
