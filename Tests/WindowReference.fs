/// Operations on windows that slide over images, one element at a time.
module Functional.Tests.WindowReference

open Functional.Tests.Plain

/// How windows of the given sizes slide over spatial axes of the given sizes.
type Windows =
    {
        Input: int[]
        Kernel: int[]
        Stride: int[]
        Dilation: int[]
        Before: int[]
        Output: int[]
    }

let windows (a: Attributes) (input: int[]) (kernel: int[]) =
    let each name =
        match a.Ints name with
        | [| one |] -> Array.replicate input.Length one
        | several -> several

    let stride, dilation = each "stride", each "dilation"
    let extent = Array.map2 (fun k d -> (k - 1) * d + 1) kernel dilation

    let before, output =
        if a.Text "padding" = "same" then
            let output = Array.map2 (fun n s -> (n + s - 1) / s) input stride

            let zeros =
                Array.init input.Length (fun i -> max 0 ((output[i] - 1) * stride[i] + extent[i] - input[i]))

            zeros |> Array.map (fun z -> z / 2), output
        else
            let before = each "padding"
            let after = if a.Has "paddingAfter" then each "paddingAfter" else before

            before, Array.init input.Length (fun i -> (input[i] + before[i] + after[i] - extent[i]) / stride[i] + 1)

    {
        Input = input
        Kernel = kernel
        Stride = stride
        Dilation = dilation
        Before = before
        Output = output
    }

/// The input elements under the window of an output, each with its tap.
let under (w: Windows) (output: int[]) =
    [|
        for tap in indices w.Kernel do
            let at =
                Array.init output.Length (fun i -> output[i] * w.Stride[i] - w.Before[i] + tap[i] * w.Dilation[i])

            if Array.forall2 (fun i n -> i >= 0 && i < n) at w.Input then
                tap, at
    |]

/// Every product that a convolution adds up: image, output channel and position, weight and input element.
let private products (w: Windows) groups batch inputs outputs =
    [|
        for n in 0 .. batch - 1 do
            for o in 0 .. outputs - 1 do
                let group = o / (outputs / groups)

                for position in indices w.Output do
                    for tap, at in under w position do
                        for c in 0 .. inputs - 1 do
                            Array.append [| n; o |] position,
                            Array.append [| o; c |] tap,
                            Array.append [| n; group * inputs + c |] at
    |]

let private add (x: Plain) (index: int[]) value =
    let flat = Array.fold2 (fun flat size i -> flat * size + i) 0 x.Shape index
    x.Values[flat] <- x.Values[flat] + value

let private groups (a: Attributes) =
    if a.Has "groups" then a.Int "groups" else 1

let private zeros shape = make shape (fun _ -> 0.0)

let private activations =
    Map
        [
            "None", id
            "Relu", max 0.0
            "Tanh", tanh
            "Sigmoid", (fun x -> 1.0 / (1.0 + exp -x))
        ]

let private convolution (a: Attributes) (x: Plain[]) =
    let image, weight = x[0], x[1]
    let w = windows a image.Shape[2..] weight.Shape[2..]
    let y = zeros (Array.append [| image.Shape[0]; weight.Shape[0] |] w.Output)

    for output, parameter, input in products w (groups a) image.Shape[0] weight.Shape[1] weight.Shape[0] do
        add y output (at image input * at weight parameter)

    let activation = activations[a.Text "activation"]

    [|
        make y.Shape (fun index -> activation (at y index + (if x.Length > 2 then x[2].Values[index[1]] else 0.0)))
    |]

let private transposed (a: Attributes) (x: Plain[]) =
    let y, weight = x[0], x[1]
    let w = windows a (a.Ints "spatial") weight.Shape[2..]

    let image =
        zeros (Array.append [| y.Shape[0]; weight.Shape[1] * groups a |] w.Input)

    for output, parameter, input in products w (groups a) y.Shape[0] weight.Shape[1] weight.Shape[0] do
        add image input (at y output * at weight parameter)

    [| image |]

let private weightGradient (a: Attributes) (x: Plain[]) =
    let image, y = x[0], x[1]
    let w = windows a image.Shape[2..] (a.Ints "kernel")

    let weight =
        zeros (Array.append [| y.Shape[1]; image.Shape[1] / groups a |] w.Kernel)

    for output, parameter, input in products w (groups a) image.Shape[0] weight.Shape[1] weight.Shape[0] do
        add weight parameter (at image input * at y output)

    [| weight |]

// ---- pooling ----

/// The windows of every axis: for each output the input elements, and how many a mean counts.
let private pools (a: Attributes) (spatial: int[]) =
    let each name =
        match a.Ints name with
        | [| one |] -> Array.replicate spatial.Length one
        | several -> several

    if a.Has "size" then
        Array.map2
            (fun n size ->
                [|
                    for o in 0 .. size - 1 do
                        let elements = [| o * n / size .. ((o + 1) * n + size - 1) / size - 1 |]
                        elements, elements.Length
                |])
            spatial
            (each "size")
    else
        let kernel = each "kernel"
        let w = windows a spatial kernel

        Array.init spatial.Length (fun i ->
            [|
                for o in 0 .. w.Output[i] - 1 do
                    let elements =
                        [|
                            for t in 0 .. kernel[i] - 1 do
                                let at = o * w.Stride[i] - w.Before[i] + t * w.Dilation[i]

                                if at >= 0 && at < spatial[i] then
                                    at
                        |]

                    elements,
                    (if a.Has "countPadding" && a.Flag "countPadding" then
                         kernel[i]
                     else
                         elements.Length)
            |])

let rec private product (lists: int[][]) =
    match lists with
    | [||] -> [| [||] |]
    | _ ->
        [|
            for first in lists[0] do
                for rest in product lists[1..] do
                    Array.append [| first |] rest
        |]

/// Every output's index with the indices of its window and the number that a mean divides by.
let private overWindows a (image: int[]) (f: int[] -> int[][] -> float -> unit) =
    let axes = pools a image[2..]

    for index in indices (Array.append image[..1] (axes |> Array.map Array.length)) do
        let chosen = Array.map2 (fun (axis: _[]) o -> axis[o]) axes index[2..]

        let inside = product (Array.map fst chosen) |> Array.map (Array.append index[..1])

        f index inside (chosen |> Array.map snd |> Array.fold (*) 1 |> float)

let private pooledShape a (image: int[]) =
    Array.append image[..1] (pools a image[2..] |> Array.map Array.length)

let private maxPool (a: Attributes) (x: Plain[]) =
    let values, places =
        zeros (pooledShape a x[0].Shape), zeros (pooledShape a x[0].Shape)

    overWindows a x[0].Shape (fun index inside _ ->
        let largest = inside |> Array.maxBy (at x[0])
        add values index (at x[0] largest)

        add
            places
            index
            (Array.fold2 (fun flat size i -> flat * size + i) 0 x[0].Shape[2..] largest[2..]
             |> float))

    [| values; places |]

let private averagePool (a: Attributes) (x: Plain[]) =
    let y = zeros (pooledShape a x[0].Shape)

    overWindows a x[0].Shape (fun index inside count -> add y index ((inside |> Array.sumBy (at x[0])) / count))

    [| y |]

let private averageUnpool (a: Attributes) (x: Plain[]) =
    let image = zeros (Array.append x[0].Shape[..1] (a.Ints "spatial"))

    overWindows a image.Shape (fun index inside count ->
        for element in inside do
            add image element (at x[0] index / count))

    [| image |]

let all: Map<string, Attributes -> Plain[] -> Plain[]> =
    Map
        [
            "convolution", convolution
            "convolutionTransposed", transposed
            "convolutionWeight", weightGradient
            "maxPool", maxPool
            "adaptiveMaxPool", maxPool
            "averagePool", averagePool
            "adaptiveAveragePool", averagePool
            "averageUnpool", averageUnpool
            "adaptiveAverageUnpool", averageUnpool
        ]
