/// Networks that translate written dates into ISO dates: an encoder reads, a decoder looks back at it and writes.
module Functional.Examples.Translate

open System
open System.Diagnostics
open Functional
open type Functional.Layers

/// Characters that are read and written.
let private length, private written = WrittenDates.longest, 10

/// What is written; the last stands for the beginning.
let private digits = "0123456789-^"

/// Weights of attention, as they pass: [batch; heads; written; read].
type private Observer = (Tensor -> unit) option

/// How one of the networks is made and trained.
type private Recipe =
    {
        Name: string
        Network: Observer -> Layer
        Rate: float
        Steps: int
    }

/// The text that is read and what is written so far, in one row: an encoder of the one for a decoder of the other. Both get a mask of the
/// characters that are there.
let private translator (encoder: Tensor -> Layer) (decoder: Tensor -> Tensor -> Layer) =
    let source = lambda ("source", fun x -> x.Slice(1, 0, length))
    let target = lambda ("target", fun x -> x.Slice(1, length, length + written))

    input [ length + written ]
    >=> remember (
        source,
        fun text ->
            let mask = text.NotEqual 0.0

            remember (
                source >=> encoder mask,
                fun memory ->
                    target
                    >=> decoder memory mask
                    >=> eachStep (dense (digits.Length - 1, weights = Init.fanInUniform))
            )
    )

let private gated observe =
    translator (fun _ -> embedding (WrittenDates.letters.Length, 32) >=> bidirectional (gru 64)) (fun memory mask ->
        embedding (digits.Length, 32)
        >=> gru (128, state = memory.Select(1, -1))
        >=> concat ([ lambda ("states", id); crossAttention (memory, 1, mask, ?observe = observe) ], axis = -1))

let private transformer observe =
    translator
        (fun mask ->
            embedding (WrittenDates.letters.Length, 64)
            >=> positions (weights = Init.normal 1.0)
            >=> repeat 2 (transformerBlock (4, 128, mask = mask))
            >=> layerNorm ())
        (fun memory mask ->
            let block () =
                transformerDecoderBlock (memory, 4, 128, memoryMask = mask, ?observe = observe)

            embedding (digits.Length, 64)
            >=> positions (weights = Init.normal 1.0)
            >=> block ()
            >=> block ()
            >=> layerNorm ())

let private recipes =
    [
        {
            Name = "gru"
            Network = gated
            Rate = 3e-3
            Steps = 1500
        }
        {
            Name = "transformer"
            Network = transformer
            Rate = 2e-3
            Steps = 2000
        }
    ]

// ---- dates as numbers ----

let private numbers (alphabet: string) (text: string) =
    text |> Seq.map (fun c -> int64 (alphabet.IndexOf c)) |> Array.ofSeq

let private read (text: string) =
    numbers WrittenDates.letters (text.PadRight(length, WrittenDates.letters[0]))

/// What the decoder is given of the dates so far: one character later, after the beginning.
let private rows (texts: string[]) (soFar: string[]) =
    let row text (answer: string) =
        Array.append (read text) (numbers digits (("^" + answer).PadRight(written, '0').Substring(0, written)))

    Tensor.From(Array.collect id (Array.map2 row texts soFar), [| texts.Length; length + written |])

let private targets (answers: string[]) =
    Tensor.From(answers |> Array.collect (numbers digits), [| answers.Length; written |])

/// Character by character, always the likeliest.
let private translate network parameters (texts: string[]) : string[] =
    texts
    |> Array.chunkBySize 250
    |> Array.collect (fun texts ->
        let mutable answers = Array.create texts.Length ""

        for i in 0 .. written - 1 do
            Memory.Tidy(
                Action(fun () ->
                    let scores: Tensor = Layer.predict network parameters (rows texts answers)
                    let next = scores.Select(1, i).ArgMax(-1).ToArray<int64>()
                    answers <- Array.map2 (fun answer c -> answer + string digits[int c]) answers next)
            )

        answers)

/// How much each character that is written takes from each that is read, by the head that takes most: the same parameters in a network
/// that shows its weights.
let private drawMap recipe parameters text answer =
    let weights: float[] = Array.zeroCreate (written * length)

    let observe (seen: Tensor) =
        seen.Max(1).ToDoubles()
        |> Array.iteri (fun i weight -> weights[i] <- max weights[i] weight)

    Layer.predict (recipe.Network(Some observe)) parameters (rows [| text |] [| answer |])
    |> ignore

    let shades = " ·░▒▓█"
    printfn $"\nwhere the {recipe.Name} looks as it writes\n\n   {text}"

    for i in 0 .. written - 1 do
        let line =
            String.init text.Length (fun j ->
                let shade = weights[i * length + j] * float shades.Length
                string shades[min (shades.Length - 1) (int shade)])

        printfn $" {answer[i]} {line}"

// ---- training ----

type private Trained =
    {
        ExactMatch: float
        Steps: int
        Seconds: float
    }

let private loss (scores: Tensor) (target: Tensor) = Tensor.CrossEntropy(scores, target)

let private trainOne (settings: Settings) training (test: (string * string)[]) recipe =
    let network = recipe.Network None
    let key = (Key.OfSeed settings.Seed).Fold recipe.Name

    let steps =
        if settings.Small then
            40
        else
            recipe.Steps * defaultArg settings.Epochs 1

    let rate =
        Schedule.warmUp (steps / 20) (Schedule.cosine recipe.Rate (steps - steps / 20))

    let optimiser =
        Optim.chain [ Clip.globalNorm 1.0; Optim.adamW (rate, decay = 0.01) ]

    let trainer =
        Trainer(optimiser, loss, network, key.Fold "network", [], Shape.Of [ length + written ])

    let watch = Stopwatch.StartNew()
    let mutable total = 0.0
    let part = max 1 (steps / 8)

    for step in 1..steps do
        Memory.Tidy(
            Action(fun () ->
                let key = key.Fold("batch").Fold(step: int)

                let texts, answers =
                    key.Integers(Shape.Of [ 64 ], 0L, int64 (Array.length training)).ToArray<int64>()
                    |> Array.map (fun i -> training[int i])
                    |> WrittenDates.pairs (key.Fold "ways")
                    |> Array.unzip

                total <- total + trainer.Step(rows texts answers, targets answers))
        )

        if step % part = 0 then
            printfn
                $"{recipe.Name}   step {step}/{steps}   loss {total / float part:F4}   {watch.Elapsed.TotalSeconds:F1} s"

            total <- 0.0

    let seconds = watch.Elapsed.TotalSeconds
    let parameters = trainer.Parameters, trainer.State
    let texts, answers = Array.unzip test
    let found = translate network parameters texts

    let right =
        Array.map2 (fun (a: string) b -> if a = b then 1.0 else 0.0) found answers

    let shown = Seq.maxBy (fun i -> texts[i].Length) [ 0..7 ]
    drawMap recipe parameters texts[shown] found[shown]
    printfn ""

    for i in 0..7 do
        let verdict =
            if found[i] = answers[i] then
                ""
            else
                $"   but it is {answers[i]}"

        printfn $"{texts[i].PadRight length}  {found[i]}{verdict}"

    printfn ""

    {
        ExactMatch = Array.average right
        Steps = steps
        Seconds = seconds
    }

let private train recipes (settings: Settings) =
    // The first network's table is there already.
    for recipe in List.tail recipes do
        printfn $"{recipe.Network None}\n"

    let key = Key.OfSeed settings.Seed

    let days =
        key.Fold("days").Permutation(WrittenDates.days).ToArray<int64>()
        |> Array.map int

    // Days that are asked for are never trained on, however they are written.
    let asked, training = Array.splitAt (if settings.Small then 200 else 2000) days
    let test = WrittenDates.pairs (key.Fold "ways") asked
    let trained = recipes |> List.map (trainOne settings training test)

    {
        Data = "written dates"
        Details =
            [
                "optimiser", Text "adamW"
                "decay", Number 0.01
                "clip", Number 1.0
                "batchSize", Number 64.0
                for recipe, result in List.zip recipes trained do
                    $"{recipe.Name}Rate", Number recipe.Rate
                    $"{recipe.Name}Steps", Number(float result.Steps)
            ]
        Epochs = []
        Test =
            [
                for recipe, result in List.zip recipes trained do
                    $"{recipe.Name}ExactMatch", result.ExactMatch
                // Of several networks the worst counts.
                "exactMatch", trained |> List.map _.ExactMatch |> List.min
            ]
        Steps = trained |> List.sumBy _.Steps
        StepSeconds = trained |> List.sumBy _.Seconds
        Ending = Finished
    }

let experiments =
    let experiment name about recipes =
        {
            Name = name
            About = about
            Network = fun () -> (List.head recipes).Network None
            Run = train recipes
        }

    experiment "translate" "encoders and decoders, a GRU's and a transformer's, read written dates" recipes
    :: [
        for recipe in recipes -> experiment $"translate-{recipe.Name}" $"the {recipe.Name} of these alone" [ recipe ]
    ]
