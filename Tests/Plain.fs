/// Arrays of numbers in row-major order, handled one element at a time: what naive references are written with.
module Functional.Tests.Plain

open System
open System.Globalization
open System.Text.RegularExpressions

/// An array of numbers; booleans are 0 and 1.
type Plain = { Shape: int[]; Values: float[] }

/// The attributes of an example, read from the text that describes them.
type Attributes(text: string) =
    let pairs =
        [
            for m in Regex.Matches(text, @"(\w+)\s*=\s*(\[[^\]]*\]|[^,]*)") ->
                m.Groups[1].Value, m.Groups[2].Value.Trim()
        ]
        |> Map

    let number (s: string) =
        Double.Parse(s, CultureInfo.InvariantCulture)

    member _.Text name = pairs[name]
    member _.Has name = pairs |> Map.containsKey name
    member _.Number name = number pairs[name]
    member _.Int name = int pairs[name]
    member _.Flag name = pairs[name] = "true"

    /// None where nothing is given.
    member _.Maybe name =
        match pairs[name] with
        | ""
        | "none"
        | "all" -> None
        | s -> Some(number s)

    member _.Ints name =
        Regex.Matches(pairs[name], @"-?\d+")
        |> Seq.map (fun m -> int m.Value)
        |> Array.ofSeq

let count shape = Array.fold (*) 1 shape

/// All indices of a shape, the last axis fastest.
let indices (shape: int[]) =
    Array.init (count shape) (fun flat ->
        let index = Array.zeroCreate shape.Length
        let mutable rest = flat

        for axis in shape.Length - 1 .. -1 .. 0 do
            index[axis] <- rest % shape[axis]
            rest <- rest / shape[axis]

        index)

let at (x: Plain) (index: int[]) =
    x.Values[Array.fold2 (fun flat size i -> flat * size + i) 0 x.Shape index]

let make shape f =
    {
        Shape = shape
        Values = indices shape |> Array.map f
    }

let axisOf (shape: int[]) axis =
    if axis < 0 then axis + shape.Length else axis

let axesOf (shape: int[]) (axes: int[]) =
    match axes with
    | [||] -> set [ 0 .. shape.Length - 1 ]
    | _ -> axes |> Array.map (axisOf shape) |> set

let replace axis value index =
    index |> Array.mapi (fun i v -> if i = axis then value else v)

/// Carries along what each addition drops (Neumaier): the reference must be more exact than what it judges.
let sum (values: float[]) =
    let mutable total, dropped = 0.0, 0.0

    for v in values do
        let next = total + v

        dropped <-
            dropped
            + (if abs total >= abs v then
                   (total - next) + v
               else
                   (v - next) + total)

        total <- next

    total + dropped
