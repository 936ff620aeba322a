// An encoder reads dates as people write them; a decoder with attention looks back at it and writes ISO dates.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/translate.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "WrittenDates.fs"

open System
open Functional
open Functional.Examples
open type Functional.Layers

// With --small a short run, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

/// Characters that are read and written, and which; the last one stands for the beginning.
let length, written = WrittenDates.longest, 10
let letters, digits = WrittenDates.letters, "0123456789-^"

/// The last weights of attention: [batch; heads; written; read].
let mutable weights = Tensor.Zeros(Shape.Of [ 1; 1; written; length ])

let encoder (_: Tensor) =
    embedding (letters.Length, 32) >=> bidirectional (gru 64)

let decoder (memory: Tensor) mask =
    embedding (digits.Length, 32)
    >=> gru (128, state = memory.Select(1, -1))
    >=> concat (
        [
            lambda ("states", id)
            crossAttention (memory, 1, mask, observe = fun w -> weights <- w)
        ],
        axis = -1
    )

/// The text and what is written so far come in one row.
let net =
    let source = lambda ("source", fun x -> x.Slice(1, 0, length))
    let target = lambda ("target", fun x -> x.Slice(1, length, length + written))

    let translate mask =
        remember (source >=> encoder mask, fun memory -> target >=> decoder memory mask >=> eachStep (dense 11))

    input [ length + written ]
    >=> remember (source, fun text -> translate (text.NotEqual 0.0))

printfn "%O\n" net

let numbers (alphabet: string) (text: string) =
    [| for c in text -> int64 (alphabet.IndexOf c) |]

/// Texts, each with its date so far, which the decoder gets one character later.
let rows (dates: (string * string)[]) =
    let row (text: string, date) =
        let soFar = ("^" + date).PadRight(written, '0').Substring(0, written)
        Array.append (numbers letters (text.PadRight(length, '_'))) (numbers digits soFar)

    Tensor.From(Array.collect row dates, [| dates.Length; length + written |])

// Days that are asked for are never trained on; those that are, are written in several ways.
let key = Key.OfSeed 1L
let days = key.Permutation(WrittenDates.days).ToArray<int64>() |> Array.map int
let asked, training = days |> Array.splitAt (if small then 200 else 2000)

let train =
    let days = Array.replicate 4 (if small then training[..999] else training)
    let dates = WrittenDates.pairs (key.Fold "ways") (Array.concat days)
    let answers = dates |> Array.collect (snd >> numbers digits)
    Dataset.ofTensors (rows dates) (Tensor.From(answers, [| dates.Length; written |]))

let loss (scores: Tensor) (target: Tensor) = Tensor.CrossEntropy(scores, target)
let rate = Schedule.cosine 2e-3 (train.Count / 64)
let run = Train.fit (Optim.adam rate) loss (epochs 1 >> batchSize 64) net train key

/// Character by character, always the likeliest.
let translate (texts: string[]) =
    (Array.create texts.Length "", [ 0 .. written - 1 ])
    ||> List.fold (fun dates i ->
        let scores = run.Predict(rows (Array.zip texts dates)).Select(1, i)
        Array.map2 (fun date c -> date + string digits[int c]) dates (scores.ArgMax(-1).ToArray<int64>()))

let texts, dates = WrittenDates.pairs (key.Fold "asked") asked |> Array.unzip

let right = Array.map2 (=) dates (translate texts) |> Array.filter id
printfn "exact match: %d of %d" right.Length dates.Length

// Where the network looks as it writes.
let longest = texts |> Array.maxBy _.Length
let answer = Array.head (translate [| longest |])
let looks = weights.Max(1).ToDoubles() |> Array.chunkBySize length
printfn "  %s" longest

for c, row in Seq.zip answer looks do
    printfn "%c %s" c (row |> Array.map (fun w -> " ·░▒▓█"[min 5 (int (6.0 * w))]) |> String)
