// A transformer that sees only what came before continues Shakespeare character by character.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/char-transformer.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DataFolder.fs"

open System
open System.IO
open Functional
open Functional.Examples
open type Functional.Layers

// With --small a short run on little data, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

let text =
    File.ReadAllText(DataFolder.file (DataFolder.find None "tinyshakespeare" "input.txt") "input.txt")

let alphabet = text |> Seq.distinct |> Seq.sort |> Array.ofSeq

let numbers =
    text
    |> Seq.map (fun c -> int64 (Array.BinarySearch(alphabet, c)))
    |> Array.ofSeq

let training, validation = numbers |> Array.splitAt (numbers.Length * 9 / 10)

/// Characters that the network sees at a time.
let length = 64

let net =
    input [ length ]
    >=> embedding (alphabet.Length, 128)
    >=> positions (weights = Init.normal 1.0)
    >=> repeat 2 (transformerBlock (4, 512, causal = true))
    >=> layerNorm ()
    >=> eachStep (dense (alphabet.Length, weights = Init.fanInUniform, biases = Init.fanInUniform))

printfn "%O\n" net

/// Windows of a text, and the same one character on: from each character, the next.
let windows (text: int64[]) (starts: int[]) =
    let rows shift =
        let values =
            starts |> Array.collect (fun start -> Array.sub text (start + shift) length)

        Tensor.From(values, [| starts.Length; length |])

    Dataset.ofTensors (rows 0) (rows 1)

let steps, batch = (if small then 40 else 2000), 16
let key = Key.OfSeed 1L

let train =
    key.Integers(Shape.Of [ steps * batch ], 0L, int64 (training.Length - length)).ToArray<int64>()
    |> Array.map int
    |> windows training

let test =
    [|
        0..length .. (if small then 64 * length else validation.Length) - length - 1
    |]
    |> windows validation

let loss (scores: Tensor) (target: Tensor) = Tensor.CrossEntropy(scores, target)

let run =
    Train.fit
        (Optim.chain [ Clip.globalNorm 1.0; Optim.adamW (1e-3, decay = 0.01) ])
        loss
        (epochs 1 >> batchSize batch)
        net
        train
        key

printfn "validation: %.3f nats per character\n" (Train.evaluate loss [] run test |> fst)

/// The next character, drawn from what the network expects after a context.
let next (context: int64[]) i =
    let padded = Array.append context (Array.zeroCreate (length - context.Length))
    let scores = run.Predict(Tensor.From(padded, [| 1; length |]))
    let probabilities = scores.Select(1, context.Length - 1).Softmax(-1).ToDoubles()
    let drawn = key.Fold("text").Fold(i: int).Uniform(Shape.Of [ 1 ]).ToDoubles()[0]
    let sums = probabilities |> Array.scan (+) 0.0 |> Array.tail
    min (sums |> Array.filter (fun sum -> sum < drawn) |> Array.length) (alphabet.Length - 1)

let mutable context = [| int64 (Array.IndexOf(alphabet, '\n')) |]

for i in 1 .. (if small then 40 else 400) do
    let c = next context i
    printf "%c" alphabet[c]
    let longer = Array.append context [| int64 c |]
    context <- longer[max 0 (longer.Length - length) ..]

printfn ""
