/// Normalisation to mean 0 and variance 1, from the textbook's formulas.
module Functional.Tests.NormalisationReference

open Functional.Tests.Plain

let private parameter (a: Attributes) (x: Plain[]) name =
    let before = [ "gain"; "bias" ] |> List.takeWhile ((<>) name) |> List.filter a.Flag

    if a.Flag name then
        Some x[1 + before.Length].Values
    else
        None

let private factor (parameter: float[] option) i =
    parameter |> Option.map (Array.get >> (|>) i) |> Option.defaultValue 1.0

let private term (parameter: float[] option) i =
    parameter |> Option.map (Array.get >> (|>) i) |> Option.defaultValue 0.0

let private meanOf values =
    sum values / float (Array.length values)

let private rows centred (a: Attributes) (x: Plain[]) =
    let shape = x[0].Shape
    let n = Array.last shape
    let gain = parameter a x "gain"
    let bias = if centred then parameter a x "bias" else None

    let statistics =
        x[0].Values
        |> Array.chunkBySize n
        |> Array.map (fun row ->
            let mean = if centred then meanOf row else 0.0
            let variance = meanOf (row |> Array.map (fun v -> (v - mean) ** 2.0))
            mean, 1.0 / sqrt (variance + a.Number "epsilon"))

    let y =
        x[0].Values
        |> Array.mapi (fun i v ->
            let mean, scale = statistics[i / n]
            (v - mean) * scale * factor gain (i % n) + term bias (i % n))

    let outer = shape[.. shape.Length - 2]

    [|
        { x[0] with Values = y }
        {
            Shape = outer
            Values = Array.map snd statistics
        }
        if centred then
            {
                Shape = outer
                Values = Array.map fst statistics
            }
    |]

let private channels (a: Attributes) (x: Plain[]) =
    let shape = x[0].Shape
    let gain, bias = parameter a x "gain", parameter a x "bias"

    let members =
        Array.init shape[1] (fun c -> indices shape |> Array.filter (fun index -> index[1] = c) |> Array.map (at x[0]))

    let means = members |> Array.map meanOf

    let variances =
        Array.map2 (fun mean values -> meanOf (values |> Array.map (fun v -> (v - mean) ** 2.0))) means members

    let relu = if a.Flag "relu" then max 0.0 else id

    let residual =
        if a.Flag "residual" then
            at (Array.last x)
        else
            fun _ -> 0.0

    let y =
        make shape (fun index ->
            let c = index[1]

            (at x[0] index - means[c]) / sqrt (variances[c] + a.Number "epsilon")
            * factor gain c
            + term bias c
            + residual index
            |> relu)

    let statistic values =
        {
            Shape = [| shape[1] |]
            Values = values
        }

    [| y; statistic means; statistic variances |]

let private groups (a: Attributes) (x: Plain[]) =
    let shape = x[0].Shape
    let count = a.Int "groups"
    let wide = shape[1] / count
    let gain, bias = parameter a x "gain", parameter a x "bias"

    let statistics =
        indices shape
        |> Array.groupBy (fun index -> index[0], index[1] / wide)
        |> Array.map (fun (group, places) ->
            let values = places |> Array.map (at x[0])
            let mean = meanOf values
            let variance = meanOf (values |> Array.map (fun v -> (v - mean) ** 2.0))
            group, (mean, 1.0 / sqrt (variance + a.Number "epsilon")))
        |> Map

    let statistic f =
        make [| shape[0]; count |] (fun index -> f statistics[(index[0], index[1])])

    [|
        make shape (fun index ->
            let c = index[1]
            let mean, scale = statistics[(index[0], c / wide)]
            (at x[0] index - mean) * scale * factor gain c + term bias c)
        statistic snd
        statistic fst
    |]

let all: Map<string, Attributes -> Plain[] -> Plain[]> =
    Map
        [
            "layerNorm", rows true
            "rmsNorm", rows false
            "batchNorm", channels
            "groupNorm", groups
        ]
