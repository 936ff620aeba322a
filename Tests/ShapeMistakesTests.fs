/// Mistakes planted one at a time in the networks of the examples: each is refused when the layers are composed, in a message that names
/// the layer that refuses, the one before it, and where both were written.
module Functional.Tests.ShapeMistakesTests

open System.Text.RegularExpressions
open Expecto
open Functional
open Functional.Examples
open type Functional.Layers

// ---- changing a network ----

/// Layers by the names that the network's table shows: conv, relu, conv2 …
let private named (parts: Layer list) =
    (Map.empty, parts)
    ||> List.mapFold (fun seen part ->
        let n = 1 + (Map.tryFind part.Name seen |> Option.defaultValue 0)
        ((if n = 1 then part.Name else $"{part.Name}{n}"), part), Map.add part.Name n seen)
    |> fst

let private change name (f: Layer -> Layer list) (parts: Layer list) =
    let parts = named parts

    if not (List.exists (fun (other, _) -> other = name) parts) then
        failtest $"the network has no layer '{name}', only {parts |> List.map fst}"

    parts
    |> List.collect (fun (other, part) -> if other = name then f part else [ part ])

let private without name = change name (fun _ -> [])

let private instead name (layer: Layer) = change name (fun _ -> [ layer ])

let private before name (layer: Layer) =
    change name (fun part -> [ layer; part ])

let private after name (layer: Layer) =
    change name (fun part -> [ part; layer ])

/// The change in one of the branches that `concat` joins.
let private inBranch i edit =
    change "concat" (fun joined ->
        let branches =
            joined.Parts
            |> List.mapi (fun j branch ->
                if i = j then
                    List.reduce (>=>) (edit branch.Parts)
                else
                    branch)

        [ concat branches ])

// ---- the mistakes ----

/// Example, what is wrong with its network, the change that makes it so, the layer that refuses, and the one it receives from.
let private mistakes =
    [
        "mnist-sgd", "an image is no vector", without "flatten", "dense", "input"
        "mnist-sgd", "a vector is no image", before "dense" (conv (8, kernel = 3)), "conv", "flatten"
        "mnist-adam", "too few elements", instead "flatten" (reshape [ 783 ]), "reshape", "input"
        "mnist-adam", "a vector is no sequence", before "dense2" (lstm 16), "lstm", "relu"
        "mnist-deep", "a vector has nothing to pool", before "dense2" (maxPool 2), "maxPool", "relu"
        "mnist-deep", "the inner layer is narrower", instead "dense2" (residual (dense 32)), "residual", "relu"

        "mnist-lstm", "all states are no vector", without "lastState", "dense", "lstm"
        "mnist-lstm", "a flat image has no steps", before "lstm" (flatten ()), "lstm", "flatten"
        "mnist-lstm", "the last state again", after "lastState" (lastState ()), "lastState", "lastState"
        "mnist-gru", "an axis too many", before "gru" (reshape [ 1; 28; 28 ]), "gru", "reshape"
        "mnist-gru", "features divide among heads", after "gru" (multiHeadAttention 3), "multiHeadAttention", "gru"
        "mnist-rnn", "a cell that wants vectors", instead "rnn" (bidirectional (dense 128)), "dense", "input"
        "mnist-rnn", "positions of a vector", before "dense" (positions ()), "positions", "lastState"

        "cifar-cnn", "a map is no vector", without "flatten", "dense", "maxPool"
        "cifar-cnn", "flat too early", before "conv2" (flatten ()), "conv", "flatten"
        "cifar-cnn", "a kernel beyond the image", instead "conv" (conv (6, kernel = 33)), "conv", "input"
        "cifar-cnn", "a window beyond the map", instead "maxPool" (maxPool 29), "maxPool", "relu"
        "cifar-cnn", "six channels, four groups", instead "conv2" (conv (16, kernel = 5, groups = 4)), "conv", "maxPool"
        "cifar-cnn", "pooled away", before "flatten" (maxPool 6), "maxPool", "maxPool"
        "cifar-cnn", "images that are flat", before "conv" (reshape [ 3072 ]), "conv", "reshape"

        "cifar-vgg", "32 channels, five groups", instead "batchNorm" (groupNorm 5), "groupNorm", "conv"
        "cifar-vgg", "flat behind a global mean", instead "maxPool" (globalAveragePool ()), "conv", "globalAveragePool"
        "cifar-vgg", "a smaller map to add", instead "conv2" (residual (conv (32, kernel = 3))), "residual", "relu"
        "cifar-vgg",
        "more channels to add",
        instead "conv3" (residual (conv (64, kernel = 3, pad = 1))),
        "residual",
        "maxPool"
        "cifar-vgg", "nothing between is flat", without "flatten", "dense", "dropout"
        "cifar-vgg", "a sequence is wanted", instead "maxPool2" (gru 32), "gru", "relu"

        "char-lstm", "numbers without vectors", without "embedding", "lstm", "input"
        "char-lstm", "vectors of vectors", after "embedding" (embedding (9, 8)), "lstm", "embedding"
        "char-lstm", "one vector is wanted", instead "eachStep" (dense 65), "dense", "lstm"
        "char-lstm", "no step is left", before "eachStep" (lastState ()), "eachStep", "lastState"

        "char-transformer", "positions of numbers", without "embedding", "positions", "input"
        "char-transformer",
        "features divide among heads",
        instead "transformerBlock" (transformerBlock (5, 512)),
        "multiHeadAttention",
        "layerNorm"
        "char-transformer",
        "attention without steps",
        before "transformerBlock2" (lastState ()),
        "multiHeadAttention",
        "layerNorm"
        "char-transformer",
        "three axes of two",
        instead "layerNorm" (layerNorm (axes = 3)),
        "layerNorm",
        "transformerBlock"
        "char-transformer", "one vector is wanted", instead "eachStep" (dense 65), "dense", "layerNorm"

        "autoencoder", "a code of two axes", before "dense2" (reshape [ 4; 32 ]), "dense", "reshape"
        "autoencoder", "an image of other size", after "dense4" (reshape [ 28; 27 ]), "reshape", "dense"
        "autoencoder", "a wide skip", instead "dense3" (add [ dense 128; tanh ]), "add", "relu"

        "vae", "a mean without variance", instead "dense2" (dense 16), "sample", "dense"
        "vae", "a code beside an image", inBranch 0 (after "decoder" (reshape [ 28; 28 ])), "concat", "dense"
        "vae", "a decoder of images", inBranch 0 (before "decoder" (reshape [ 4; 4 ])), "dense", "reshape"

        "fcn", "never made large again", inBranch 0 (without "convTransposed"), "concat", "input"
        "fcn",
        "made half as large",
        inBranch 0 (instead "convTransposed" (convTransposed (48, kernel = 4, stride = 4))),
        "concat",
        "input"
        "fcn", "edges lost on one side", inBranch 1 (instead "conv" (conv (16, kernel = 3))), "concat", "input"
        "fcn", "a window beyond the map", inBranch 0 (instead "maxPool3" (maxPool 17)), "maxPool", "relu"
        "fcn", "flat before the end", before "conv2" (flatten ()), "conv", "flatten"

        "california", "a row is no sequence", before "dense" (lstm 8), "lstm", "input"
        "california", "half of the features", before "dense2" (reshape [ 32 ]), "reshape", "relu"

        "spam", "words without vectors", without "embedding", "dense", "dropout"
        "spam", "a vector for each word", without "mean", "dense", "dropout"
        "spam", "a mean of a mean", before "dense2" (lastState ()), "lastState", "relu"

        "translate", "a text in two rows", before "remember" (reshape [ 2; 21 ]), "source", "reshape"
        "translate-gru", "vectors of vectors", before "remember" (embedding (3, 4)), "gru", "embedding"
        "translate-transformer", "no room to write", before "remember" (dense 40), "target", "dense"

        "airline", "all states are no vector", without "lastState", "dense", "gru"
        "airline", "months without features", before "gru" (flatten ()), "gru", "flatten"
        "airline", "an axis too many", before "gru" (embedding (9, 4)), "gru", "embedding"
    ]

let private network name =
    match
        Program.experiments
        |> List.tryFind (fun (experiment: Experiment) -> experiment.Name = name)
    with
    | Some experiment -> experiment.Network().Parts
    | None -> failtest $"there is no example '{name}'"

/// 'layer' (File.fs:12)
let private placed = @"'(\w+)' \(\w+\.fs:\d+\)"

/// The layer that refuses, and the one it receives from; a layer that does not know its line comes after one that does.
let private message =
    Regex $@"^shape error at {placed}\n  it receives \[[\d; ]*\] from (?:{placed}|'(\w+)' after {placed})\n  (.+)$"

[<Tests>]
let tests =
    testList
        "shape mistakes"
        [
            testCase "every example's network composes from its parts" (fun () ->
                for experiment in Program.experiments do
                    experiment.Network().Parts |> List.reduce (>=>) |> ignore<Layer>)

            for example, what, plant, refuses, from in mistakes do
                testCase $"{example}: {what}" (fun () ->
                    let text =
                        try
                            network example |> plant |> List.reduce (>=>) |> ignore
                            failtest "the mistake was not refused"
                        with :? ShapeException as error ->
                            error.Message

                    let found = message.Match(text.Replace("\r\n", "\n"))
                    Expect.isTrue found.Success $"the message names both layers and their lines; got\n{text}"
                    Expect.equal found.Groups[1].Value refuses $"the layer that refuses; got\n{text}"

                    Expect.equal
                        (found.Groups[2].Value + found.Groups[3].Value)
                        from
                        $"the layer that it receives from; got\n{text}"

                    Expect.stringContains found.Groups[5].Value ";" "what is needed, and what to do")
        ]
