/// A network that tells spam from other text messages.
module Functional.Examples.Spam

open System
open System.Collections.Generic
open System.IO
open Functional
open Functional.Files
open type Functional.Layers

/// Words that are kept of a message, and words that are known; 0 stands for nothing and 1 for an unknown word.
let private length, private known = 40, 4000

let private load (settings: Settings) =
    let folder = DataFolder.find settings.Data "sms-spam" "SMSSpamCollection"
    let path = DataFolder.file folder "SMSSpamCollection"

    [|
        for line in File.ReadLines path do
            match line.Split('\t', 2) with
            | [| "spam"; text |] -> text, 1L
            | [| "ham"; text |] -> text, 0L
            | _ ->
                raise (DataFormatException(path, "a line must be 'ham' or 'spam', a tab and the message", $"'{line}'"))
    |]

/// Words in lower case; a digit counts as '0', so that all numbers of a length are one word; marks that matter are words of their own.
let private words (text: string) =
    let found = ResizeArray()
    let word = Text.StringBuilder()

    let finish () =
        if word.Length > 0 then
            found.Add(word.ToString())
            word.Clear() |> ignore

    for c in text.ToLowerInvariant() do
        if Char.IsDigit c then
            word.Append '0' |> ignore
        elif Char.IsLetter c then
            word.Append c |> ignore
        else
            finish ()

            if "!?£$&*/:".Contains c then
                found.Add(string c)

    finish ()
    found.ToArray()

let private network () =
    input [ length ]
    >=> embedding (known, 32, weights = Init.normal 0.1)
    >=> lambda ("mean", fun x -> x.Mean 1)
    >=> dropout 0.3
    >=> dense 32
    >=> relu
    >=> dense 2

let private train (settings: Settings) =
    let network = network ()
    let messages = load settings
    let key = Key.OfSeed settings.Seed

    let order =
        key.Fold("split").Permutation(messages.Length).ToArray<int64>() |> Array.map int

    let rows = messages.Length * 4 / 5
    let training, test = order[.. rows - 1], order[rows..]
    let tokens = messages |> Array.map (fst >> words)

    // What is known comes from the training messages alone.
    let vocabulary = Dictionary<string, int64>()

    training
    |> Seq.collect (fun row -> tokens[row])
    |> Seq.countBy id
    |> Seq.sortBy (fun (word, count) -> -count, word)
    |> Seq.truncate (known - 2)
    |> Seq.iteri (fun i (word, _) -> vocabulary[word] <- int64 (i + 2))

    let number word =
        match vocabulary.TryGetValue word with
        | true, n -> n
        | _ -> 1L

    let dataset rows =
        let x =
            rows
            |> Array.collect (fun row ->
                let numbers = tokens[row] |> Array.truncate length |> Array.map number
                Array.append numbers (Array.zeroCreate (length - numbers.Length)))

        let y = rows |> Array.map (fun row -> snd messages[row])
        Dataset.ofTensors (Tensor.From(x, [| rows.Length; length |])) (Tensor.From y)

    let passes =
        settings.Epochs |> Option.defaultValue (if settings.Small then 2 else 15)

    let options = epochs passes >> batchSize 32 >> report [ accuracy ] >> settings.Plan

    let run =
        Train.fit (Optim.adam 2e-3) Loss.crossEntropy options network (dataset training) key

    let x, y = dataset test |> Dataset.batch test.Length |> Seq.head
    let scores = run.Predict x
    let found = Metrics.confusion 2 scores y
    printfn "%s\n" (found.Table [ "ham"; "spam" ])

    for i, verdict in scores.Slice(0, 0, 5).ArgMax(1).ToArray<int64>() |> Array.indexed do
        let text, _ = messages[test[i]]
        let verdict = if verdict = 1L then "spam" else "ham "
        printfn $"{verdict}  {text.Substring(0, min 70 text.Length)}"

    {
        Data = "sms-spam"
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 2e-3
                "words", Number(float known)
                "embedding", Number 32.0
                "batchSize", Number 32.0
                "epochs", Number(float passes)
                "examples", Number(float training.Length)
            ]
        Epochs = run.Epochs
        Test = [ "precision", found.Precision 1; "recall", found.Recall 1; "f1", found.F1 1 ]
        Steps = run.Steps
        StepSeconds = run.StepSeconds
        Ending = run.Ending
    }

let experiments =
    [
        {
            Name = "spam"
            About = "tells spam from other text messages"
            Network = network
            Run = train
        }
    ]
