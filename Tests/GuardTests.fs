/// Kernels stay within their buffers: every operation runs with each tensor and each buffer of its kernels against an unmapped page, at its end and at its
/// start, and must give the bits it always gives. A step outside kills the process, so a child process does the work.
module Functional.Tests.GuardTests

#nowarn "9"

open System
open Expecto
open FSharp.NativeInterop
open Functional
open Functional.Autodiff
open Functional.Ops
open Functional.Tests.Laws
open Functional.Tests.Laws.Numbers

/// What is computed, from inputs that are made anew in each kind of memory.
type private Case =
    {
        Text: string
        Compute: unit -> Tensor[]
    }

/// An operation and its derivative.
let private applied text op (inputs: unit -> Tensor[]) =
    {
        Text = text
        Compute =
            fun () ->
                let y, g = Values.everything op (inputs ()) (Draw(17UL, 4))
                Array.append y g
    }

let private results case =
    let values = ref [||]

    Memory.Tidy(Action(fun () -> values.Value <- case.Compute() |> Array.map (fun t -> t.ToDoubles())))

    values.Value

/// Fails where borders change a bit, and does not come back where a kernel oversteps one.
let private check case =
    let usual = results case

    for side in [ Fence.AtItsEnd; Fence.AtItsStart ] do
        let fenced =
            try
                Fence.within side (fun () -> results case)
            with error ->
                failwith $"%s{case.Text}, border %A{side}: %s{error.Message}"

        Array.iteri2 (fun i -> unchanged $"{case.Text}, border %A{side}, result {i}") usual fenced

// ---- what runs ----

/// As drawn, views included, and with the last axis cut or continued to lengths around the vectors' width.
let private drawn (op: Op) =
    seq {
        for seed in 1UL .. 3UL do
            let sample () =
                Drawn.draw op { Seed = seed; Size = 2 * int seed }

            let attributes = (sample ()).Attributes

            applied $"{op.Name}({attributes}), seed {seed}" (sample ()).Op (fun () -> (sample ()).Inputs)

            if seed < 3UL then
                for dtype in [ DType.Float32; DType.Float64 ] do
                    for length in Values.lengths do
                        let stretched () =
                            Values.stretched (sample ()) dtype length

                        if (stretched ()).IsSome then
                            applied
                                $"{op.Name}({attributes}), seed {seed}, {dtype}, length {length}"
                                (sample ()).Op
                                (fun () -> (stretched ()).Value)
    }

let private dtypes = [ DType.Float32; DType.Float64 ]

let private uniform (dtype: DType) (seed: int) (sizes: int list) =
    (Key.OfSeed 3L).Fold(seed).Uniform(Shape.Of sizes, -1.0, 1.0).Cast dtype

/// Matrix products in all four ways in which the operands may lie.
let private productsOf sizes =
    seq {
        for m, n, k in sizes do
            for dtype in dtypes do
                for way in [ "NN"; "TN"; "NT"; "TT" ] do
                    let operand seed rows columns transposed =
                        if transposed then
                            (uniform dtype seed [ columns; rows ]).T
                        else
                            uniform dtype seed [ rows; columns ]

                    applied $"matmul {way} {m}x{n}x{k} {dtype}" Products.Matmul (fun () ->
                        [| operand 1 m k (way[0] = 'T'); operand 2 k n (way[1] = 'T') |])
    }

/// Every kind of tile.
let private products =
    productsOf
        [
            for m in [ 1; 5; 6; 7; 13; 14; 15; 29 ] do
                for n in [ 1; 7; 8; 9; 15; 16; 17; 31; 33; 50 ] do
                    m, n, 1 + (m * n) % 19
            for m in 1..9 do
                for n in [ 47; 97; 193; 385; 401 ] do
                    m, n, 1 + (m * n) % 7
            // Dot products of every tile, and results that are turned.
            for n in 1..7 do
                29, n, 90 + n
                n, 29, 97 - n
                131, n, 40
                n, 131, 40
            3, 4, 0
            64, 10, 512
            10, 64, 300
            127, 333, 109
            // rows enough for slabs of k
            29, 33, 1100
            117, 33, 300
        ]

/// Too large for the caches: both operands are packed, the second time in two groups of columns and two slabs of k.
let private packedProducts = productsOf [ 517, 523, 541; 117, 1101, 1050 ]

/// Images of the widths that choose between ways of cutting them into tiles.
let private convolutions =
    seq {
        for width in [ 1; 2; 4; 7; 8; 9; 15; 16; 17; 28; 32; 33; 65 ] do
            for kernel, stride, pad, dilation, groups in
                [
                    3, 1, 1, 1, 1
                    1, 1, 0, 1, 1
                    5, 2, 2, 1, 1
                    3, 1, 2, 2, 2
                    2, 3, 0, 1, 6
                    3, 1, 1, 1, 6
                ] do
                if width + 2 * pad > dilation * (kernel - 1) then
                    for dtype in dtypes do
                        let window =
                            Window(
                                Stride = PerAxis.op_Implicit (stride: int),
                                Padding = Padding.op_Implicit (pad: int),
                                Dilation = PerAxis.op_Implicit (dilation: int),
                                Groups = groups
                            )

                        applied
                            $"convolution of width {width} {dtype}, kernel {kernel}, {window}"
                            (Convolutions.Convolve(window, Activation.Tanh))
                            (fun () ->
                                [|
                                    uniform dtype 1 [ 2; 6; 5; width ]
                                    uniform dtype 2 [ 18; 6 / groups; kernel; kernel ]
                                    uniform dtype 3 [ 18 ]
                                |])
    }

/// Enough channels for minimal filtering.
let private filtered =
    seq {
        for inputs, outputs, height, width, pad in [ 32, 32, 8, 8, 1; 33, 47, 9, 12, 1; 40, 32, 30, 21, 0 ] do
            for dtype in dtypes do
                applied
                    $"convolution 2x{inputs}x{height}x{width} {dtype} to {outputs}, pad {pad}"
                    (Convolutions.Convolve(Window(Padding = Padding.op_Implicit (pad: int)), Activation.Relu))
                    (fun () ->
                        [|
                            uniform dtype 1 [ 2; inputs; height; width ]
                            uniform dtype 2 [ outputs; inputs; 3; 3 ]
                            uniform dtype 3 [ outputs ]
                        |])
    }

/// Enough channels for vectors of them, among them images that are read where they lie.
let private inChannels =
    seq {
        for inputs, outputs, height, width, kernel, stride, pad in
            [
                24, 31, 9, 15, 5, 2, 2
                70, 31, 7, 9, 1, 1, 0
                66, 24, 9, 13, 1, 2, 0
                17, 31, 8, 30, 3, 1, 0
            ] do
            for dtype in dtypes do
                let window =
                    Window(Stride = PerAxis.op_Implicit (stride: int), Padding = Padding.op_Implicit (pad: int))

                applied
                    $"convolution 2x{inputs}x{height}x{width} {dtype} to {outputs}, kernel {kernel}, {window}"
                    (Convolutions.Convolve(window, Activation.Relu))
                    (fun () ->
                        [|
                            uniform dtype 1 [ 2; inputs; height; width ]
                            uniform dtype 2 [ outputs; inputs; kernel; kernel ]
                            uniform dtype 3 [ outputs ]
                        |])
    }

let private pools =
    seq {
        for width in [ 2; 5; 15; 16; 17; 31; 32; 33; 40 ] do
            for dtype in dtypes do
                for kernel, stride, pad in [ 2, 2, 0; 3, 2, 1; 3, 1, 1; 2, 1, 0; 4, 3, 2 ] do
                    if width + 2 * pad >= kernel then
                        let size = PerAxis.op_Implicit (kernel: int)

                        let window =
                            Window(Stride = PerAxis.op_Implicit (stride: int), Padding = Padding.op_Implicit (pad: int))

                        for op in [ Pooling.MaxOver(size, window); Pooling.AverageOver(size, window, true) ] do
                            applied $"{op.Name} of width {width} {dtype}, kernel {kernel}, {window}" op (fun () ->
                                [| uniform dtype 1 [ 2; 2; 5; width ] |])
    }

/// Lengths for every way of computing a transform, of fewer rows than a vector has lanes and of more.
let private transforms =
    seq {
        for n in [ 1; 2; 15; 16; 17; 60; 127; 131; 1000; 1009; 2100; 2187; 2503; 4096 ] do
            for rows in [ 1; 19 ] do
                for dtype in dtypes do
                    applied $"rfft of {rows} x {n} {dtype}" Fourier.RealFft (fun () ->
                        [| uniform dtype 1 [ rows; n ] |])
    }

/// Queries and keys around the blocks' sizes.
let private attentions =
    seq {
        for queries, keys, size in [ 1, 1, 1; 5, 7, 3; 17, 43, 16; 43, 17, 33; 85, 257, 32; 130, 300, 65 ] do
            for dtype in dtypes do
                for causal in [ false; true ] do
                    {
                        Text = $"attention of {queries} to {keys} by {size} {dtype}, causal = {causal}"
                        Compute =
                            fun () ->
                                let inputs =
                                    [| queries; keys; keys |]
                                    |> Array.mapi (fun i n -> uniform dtype i [ 1; 2; n; size ])

                                let attend (x: Tensor[]) =
                                    [| Tensor.Attention(x[0], x[1], x[2], causal = causal) |]

                                let struct (y, pull) = Diff.Vjp(Func<Tensor[], Tensor[]> attend, inputs)

                                Array.append y (pull.Invoke [| uniform dtype 9 [ 1; 2; queries; size ] |])
                    }
    }

/// Rows of several lengths in every order of axes: tiles are transposed in registers.
let private copies =
    seq {
        for rows in [ 1; 3; 8; 15; 16; 17; 33 ] do
            for columns in Values.lengths do
                for dtype in [ DType.Float32; DType.Float64; DType.Int32; DType.Bool ] do
                    for axes in [ [| 1; 0; 2 |]; [| 2; 1; 0 |]; [| 0; 2; 1 |]; [| 2; 0; 1 |] ] do
                        {
                            Text = $"copy of {rows}x{columns}x2 {dtype} by axes %A{axes}"
                            Compute =
                                fun () ->
                                    let x =
                                        (uniform DType.Float64 1 [ rows; columns; 2 ] * 100.0).Cast(dtype).Permute axes

                                    let y = Tensor.Allocate(x.DType, x.Shape)
                                    VectorSpace.CopyInto(x, y)
                                    [| y |]
                        }
    }

let private draws =
    seq {
        for n in Values.lengths do
            for dtype in dtypes do
                {
                    Text = $"draws of {n} {dtype}"
                    Compute =
                        fun () ->
                            let key, shape = Key.OfSeed 5L, Shape.Of [ n ]

                            [|
                                key.Normal(shape, 0.0, 1.0, dtype)
                                key.Uniform(shape, 0.0, 1.0, dtype)
                                key.Integers(shape, 0L, 10L)
                                key.Bernoulli shape
                                key.Permutation n
                            |]
                }
    }

/// Every optimiser, three parameters at once.
let private updates =
    seq {
        for n in Values.lengths do
            for dtype in dtypes do
                let group (seed: int) : Tensor[] =
                    [|
                        for length in [ n; 3; 17 ] -> (uniform dtype (seed + length) [ length ]).Square()
                    |]

                let step (text: string) (f: Tensor[] -> Tensor[] -> Tensor[][] -> unit) =
                    {
                        Text = $"{text} of {n} {dtype}"
                        Compute =
                            fun () ->
                                let p, g, moments = group 1, group 2, Array.init 3 (fun i -> group (3 + i))
                                f p g moments
                                Array.concat [ p; Array.concat moments ]
                    }

                step "sgd" (fun p g _ -> Steps.Sgd(p, g, 0.1, 0.01))
                step "momentum" (fun p g m -> Steps.Momentum(p, g, m[0], 0.1, 0.9, 0.0, true, 0.01))

                step "rmsProp" (fun p g m -> Steps.RmsProp(p, g, m[0], m[1], m[2], 0.1, 0.9, 1e-8, 0.9, 0.01))

                step "adam" (fun p g m -> Steps.Adam(p, g, m[0], m[1], m[2], 0.1, 1.0, 0.9, 0.999, 1e-8, 0.01, 0.999))
    }

let private groups: (string * seq<Case>) list =
    [
        for op in Registry.All do
            yield op.Name, drawn op
        yield "products of many sizes", products
        yield "large products", packedProducts
        yield "convolutions of many widths", convolutions
        yield "convolutions by minimal filtering", filtered
        yield "convolutions in vectors of channels", inChannels
        yield "pools of many widths", pools
        yield "transforms of many lengths", transforms
        yield "attention of many lengths", attentions
        yield "copies in other orders", copies
        yield "random draws", draws
        yield "optimisers' steps", updates
    ]

// ---- the child ----

/// relu whose kernel reads one element too many.
let private overstepping (offset: int) =
    let relu = Registry.Named "relu"

    let kernel =
        Kernel(fun x y ->
            let source = x[0].Pointer<float>()
            let target = y[0].Pointer<float>()
            let n = int x[0].Count

            for i in 0 .. n - 1 do
                NativePtr.set target i (max 0.0 (NativePtr.get source i))

            let outside = NativePtr.get source (if offset < 0 then -1 else n)

            // Poison shows in the result.
            NativePtr.set target 0 (NativePtr.get target 0 + 0.0 * outside))

    Op(
        Name = "overstepping",
        Shape = relu.Shape,
        Forward = Forward.Into kernel,
        Vjp = relu.Vjp,
        Sample = relu.Sample,
        Reads = relu.Reads
    )

let private say (line: string) =
    Console.Out.WriteLine line
    Console.Out.Flush()

let private checkGroup (name: string, cases) =
    say $"running {name}"

    try
        Seq.iter check cases
    with error ->
        say $"wrong {name}: {error.Message.ReplaceLineEndings(string ' ')}"

let private deliberate offset =
    check (applied "overstepping" (overstepping offset) (fun () -> [| uniform DType.Float64 1 [ 17 ] |]))

    say "survived"
    0

/// `guard`: everything; `guard after NAME`: what follows; `guard before` and `guard behind`: a kernel that reads outside of its buffer there.
let run (arguments: string[]) =
    match List.ofArray arguments with
    | [ "before" ] -> deliberate -1
    | [ "behind" ] -> deliberate 1
    | rest ->
        match rest with
        | [ "after"; name ] -> groups |> List.skipWhile (fun (n, _) -> n <> name) |> List.tail
        | _ -> groups
        |> List.iter checkGroup

        say "done"
        0

// ---- the parent ----

let private child arguments = Child.run ("guard" :: arguments)

/// Goes on behind a group that killed the child, so that one mistake hides no other.
let rec private failures arguments =
    let code, lines, errors = child arguments

    let wrong = lines |> List.filter (fun line -> line.StartsWith "wrong ")

    if List.contains "done" lines then
        wrong
    else
        match lines |> List.tryFindBack (fun line -> line.StartsWith "running ") with
        | Some last ->
            let name = last.Substring 8

            let trace =
                errors.Split '\n'
                |> Seq.filter (fun line -> line.TrimStart().StartsWith "at ")
                |> Seq.truncate 4
                |> Seq.map _.Trim()
                |> String.concat " "

            wrong
            @ $"{name} stepped outside of a buffer (exit code {code}): {trace}"
              :: failures [ "after"; name ]
        | None -> wrong @ [ $"the child ended with {code}: {errors}" ]

[<Tests>]
let tests =
    testList
        "guard"
        [
            testCase "no kernel leaves its buffers, and borders change no bit" (fun () ->
                Expect.isEmpty (failures []) "operations that overstep")
            for where in [ "before"; "behind" ] do
                testCase $"reading one element {where} a buffer is caught" (fun () ->
                    let code, lines, _ = child [ where ]
                    Expect.notEqual code 0 "exit code"
                    Expect.isFalse (List.contains "survived" lines) "the kernel came through")
            for side in [ Fence.AtItsStart; Fence.AtItsEnd ] do
                testCase $"writing on the side of a buffer away from its border is caught (border %A{side})" (fun () ->
                    let write () =
                        Fence.within side (fun () ->
                            let x = Tensor.Zeros(Shape.Of [ 5 ])
                            let p = x.Pointer<float32>()
                            NativePtr.set p (if side = Fence.AtItsStart then 5 else -1) 1f)

                    Expect.throws write "the write went unnoticed")
        ]

/// The groups that cut matrices and images into tiles, in this process.
let tiles =
    testList
        "guard of tiles"
        [
            for name, cases in [ "products", products; "convolutions", convolutions ] do
                testCase name (fun () -> Seq.iter check cases)
        ]
