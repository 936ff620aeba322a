// Spam told from other text messages: the mean of word vectors and two dense layers.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/spam.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DataFolder.fs"

open System
open System.IO
open System.Text.RegularExpressions
open Functional
open Functional.Examples
open type Functional.Layers

// With --small a short run, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

/// Words that are kept of a message, and words that are known; 0 stands for nothing and 1 for an unknown word.
let length, known = 40, 4000

let net =
    input [ length ]
    >=> embedding (known, 32, weights = Init.normal 0.1)
    >=> lambda ("mean", fun x -> x.Mean 1)
    >=> dropout 0.3
    >=> dense 32
    >=> relu
    >=> dense 2

printfn "%O\n" net

let folder = DataFolder.find None "sms-spam" "SMSSpamCollection"

/// Messages and whether they are spam, in random order.
let messages =
    let lines = File.ReadAllLines(DataFolder.file folder "SMSSpamCollection")
    let order = (Key.OfSeed 1L).Permutation(lines.Length).ToArray<int64>()

    order
    |> Array.map (fun i ->
        let parts = lines[int i].Split('\t', 2)
        parts[1], (if parts[0] = "spam" then 1L else 0L))

/// Words in lower case; a digit counts as 0, so that all numbers of a length are one word; marks that matter are words.
let words (text: string) =
    let text = Regex.Replace(text.ToLowerInvariant(), @"\d", "0")
    [| for found in Regex.Matches(text, @"[\p{L}0]+|[!?£$&*/:]") -> found.Value |]

let training, testing = messages |> Array.splitAt (messages.Length * 4 / 5)

// What is known comes from the training messages alone.
let vocabulary =
    training
    |> Seq.collect (fst >> words)
    |> Seq.countBy id
    |> Seq.sortBy (fun (word, count) -> -count, word)
    |> Seq.truncate (known - 2)
    |> Seq.mapi (fun i (word, _) -> word, int64 (i + 2))
    |> Map.ofSeq

let dataset (messages: (string * int64)[]) =
    let number word =
        Map.tryFind word vocabulary |> Option.defaultValue 1L

    let row text =
        let numbers = words text |> Array.truncate length |> Array.map number
        Array.append numbers (Array.zeroCreate (length - numbers.Length))

    let x = messages |> Array.collect (fst >> row)
    Dataset.ofTensors (Tensor.From(x, [| messages.Length; length |])) (Tensor.From(Array.map snd messages))

let run =
    Train.fit
        (Optim.adam 2e-3)
        Loss.crossEntropy
        (epochs (if small then 2 else 15) >> report [ accuracy ])
        net
        (dataset training)
        (Key.OfSeed 1L)

let x, y = dataset testing |> Dataset.batch testing.Length |> Seq.head
let predicted = run.Predict(x).ArgMax -1
let found = Metrics.confusion 2 predicted y
printfn "of spam: precision %.3f, recall %.3f, F1 %.3f" (found.Precision 1) (found.Recall 1) (found.F1 1)

for (text, _), verdict in Array.zip testing (predicted.ToArray<int64>()) |> Array.truncate 5 do
    printfn "%s  %s" (if verdict = 1L then "spam" else "ham ") (text.Substring(0, min 70 text.Length))
