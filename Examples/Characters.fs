/// Networks that continue a text character by character: tiny Shakespeare.
module Functional.Examples.Characters

open System
open System.IO
open System.Text
open Functional
open Functional.Files
open type Functional.Layers

/// A text as numbers: its alphabet in order, training and validation part.
type private Corpus =
    {
        Alphabet: char[]
        Training: int64[]
        Validation: int64[]
    }

let private load (settings: Settings) =
    let folder = DataFolder.find settings.Data "tinyshakespeare" "input.txt"
    let path = DataFolder.file folder "input.txt"

    let text =
        try
            UTF8Encoding(false, true).GetString(File.ReadAllBytes path)
        with :? DecoderFallbackException as error ->
            raise (DataFormatException(path, "the text must be UTF-8", error.Message))

    let text =
        if settings.Small then
            text.Substring(0, min text.Length 100_000)
        else
            text

    if text.Length < 1000 then
        raise (DataFormatException(path, "the text must have at least 1000 characters", $"{text.Length}"))

    let alphabet = text |> Seq.distinct |> Seq.sort |> Array.ofSeq

    let numbers =
        text
        |> Seq.map (fun c -> int64 (Array.BinarySearch(alphabet, c)))
        |> Array.ofSeq

    let split = numbers.Length * 9 / 10

    {
        Alphabet = alphabet
        Training = numbers[.. split - 1]
        Validation = numbers[split..]
    }

/// How one of the networks is trained.
type private Recipe =
    {
        Network: int -> Layer
        Optimiser: Optimiser
        BatchSize: int
        Length: int
        Steps: int
        Details: (string * Detail) list
    }

let private loss (scores: Tensor) (target: Tensor) = Tensor.CrossEntropy(scores, target)

/// Windows of the text from the given places, and the same one character on.
let private windows (text: int64[]) length (starts: int[]) =
    let rows shift =
        Tensor.From(
            starts |> Array.collect (fun start -> Array.sub text (start + shift) length),
            [| starts.Length; length |]
        )

    rows 0, rows 1

/// Continues a text: the next character is drawn from what the network expects.
let private write network parameters (corpus: Corpus) length count (key: Key) =
    let text = StringBuilder()
    let mutable context = [| int64 (max 0 (Array.IndexOf(corpus.Alphabet, '\n'))) |]

    for i in 1..count do
        // A network of a fixed length sees the context at its beginning; what follows it is not looked at.
        let padded =
            Array.append context (Array.zeroCreate (max 0 (length - context.Length)))

        let scores: Tensor =
            Layer.predict network parameters (Tensor.From(padded, [| 1; length |]))

        let probabilities = scores.Select(1, context.Length - 1).Softmax(-1).ToDoubles()

        let drawn = key.Fold(i).Uniform(Shape.Of [ 1 ]).ToDoubles()[0]
        let mutable next = 0
        let mutable sum = probabilities[0]

        while next < probabilities.Length - 1 && sum < drawn do
            next <- next + 1
            sum <- sum + probabilities[next]

        text.Append corpus.Alphabet[next] |> ignore
        let longer = Array.append context [| int64 next |]

        context <-
            if longer.Length > length then
                longer[longer.Length - length ..]
            else
                longer

    text.ToString()

let private train recipe (settings: Settings) =
    let corpus = load settings
    let network = recipe.Network corpus.Alphabet.Length
    let key = Key.OfSeed settings.Seed
    let length = recipe.Length

    let steps =
        if settings.Small then
            50
        else
            recipe.Steps * defaultArg settings.Epochs 1

    let trainer =
        Trainer(recipe.Optimiser, loss, network, key.Fold "network", [], Shape.Of [ length ])

    let order = key.Fold "order"

    let batch step =
        let starts =
            order
                .Fold(step + 1)
                .Integers(Shape.Of [ recipe.BatchSize ], 0L, int64 (corpus.Training.Length - length - 1))
                .ToArray<int64>()
            |> Array.map int

        windows corpus.Training length starts

    let sitting = Stepwise.train settings trainer steps 4 batch
    let parameters = trainer.Parameters, trainer.State

    // Window after window of the validation text: from each character but a window's last, the next.
    let starts = [| 0..length .. corpus.Validation.Length - length - 1 |]
    let known (t: Tensor) = t.Slice(1, 0, length - 1)

    let nats =
        starts
        |> Array.chunkBySize 64
        |> Array.sumBy (fun starts ->
            let x, y = windows corpus.Validation length starts
            let mutable sum = 0.0

            Memory.Tidy(
                Action(fun () ->
                    let scores = Layer.predict network parameters x
                    sum <- float starts.Length * (loss (known scores) (known y)).ToDouble())
            )

            sum)
        |> fun sum -> sum / float starts.Length

    let count = if settings.Small then 40 else 400
    let text = write network parameters corpus length count (key.Fold "text")
    printfn $"\n{text}\n"

    {
        Data = "tiny shakespeare"
        Details =
            recipe.Details
            @ [
                "batchSize", Number(float recipe.BatchSize)
                "length", Number(float length)
                "steps", Number(float steps)
            ]
        Epochs = []
        Test = [ "nats", nats ]
        Steps = sitting.Steps
        StepSeconds = sitting.Seconds
        Ending = sitting.Ending
    }

let private longShortTerm =
    {
        Network =
            fun characters ->
                input [ 64 ]
                >=> embedding (characters, 64)
                >=> lstm 128
                >=> eachStep (dense (characters, weights = Init.fanInUniform, biases = Init.fanInUniform))
        Optimiser = Optim.adam 2e-3
        BatchSize = 32
        Length = 64
        Steps = 2000
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 2e-3
                "embedding", Number 64.0
                "units", Number 128.0
            ]
    }

let private transformer =
    {
        Network =
            fun characters ->
                input [ 64 ]
                >=> embedding (characters, 128)
                >=> positions (weights = Init.normal 1.0)
                >=> repeat 2 (transformerBlock (4, 512, causal = true))
                >=> layerNorm ()
                >=> eachStep (dense (characters, weights = Init.fanInUniform, biases = Init.fanInUniform))
        Optimiser = Optim.chain [ Clip.globalNorm 1.0; Optim.adamW (1e-3, decay = 0.01) ]
        BatchSize = 16
        Length = 64
        Steps = 2000
        Details =
            [
                "optimiser", Text "adamW"
                "rate", Number 1e-3
                "decay", Number 0.01
                "clip", Number 1.0
                "layers", Number 2.0
                "features", Number 128.0
                "heads", Number 4.0
                "width", Number 512.0
            ]
    }

let experiments =
    [
        {
            Name = "char-lstm"
            About = "an LSTM continues Shakespeare character by character"
            Network = fun () -> longShortTerm.Network 65
            Run = train longShortTerm
        }
        {
            Name = "char-transformer"
            About = "a transformer continues Shakespeare character by character"
            Network = fun () -> transformer.Network 65
            Run = train transformer
        }
    ]
