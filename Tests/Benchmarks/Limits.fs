/// Each kernel's share of what the machine can do at all: `limits --threads N --filter REGEX --seconds S --json FILE`.
/// The limit is sampled in turn with the kernel, so that a neighbour's load slows both.
module Functional.Benchmarks.Limits

open System
open System.Diagnostics
open System.IO
open System.Text.Json
open System.Text.RegularExpressions
open System.Threading
open Functional
open Functional.Autodiff
open Functional.Ops

/// What bounds a kernel from below.
type Limit =
    /// Multiply-adds, counted as two operations each.
    | Arithmetic of flop: float
    /// Bytes that must be read and written where nothing stays in a cache.
    | Traffic of read: float * written: float

type Kernel =
    {
        Name: string
        Limit: Limit
        Build: unit -> (unit -> unit)
    }

/// One kernel's result: milliseconds, what it reaches, what was possible (GFLOP/s or GB/s), and its share, all medians over the rounds.
type Row =
    {
        Name: string
        Milliseconds: float
        Rate: float
        Possible: float
        Unit: string
        Share: float
        Rounds: int
    }

let private key = Key.OfSeed 1L

let private normal seed (sizes: int list) =
    key.Fold(seed: int).Normal(Shape.Of sizes)

// ---- what is timed ----

/// The operation's kernel alone, into outputs that exist already.
let private forward (op: Op) (inputs: Tensor[]) =
    match op.Forward with
    | :? Forward.Into as into ->
        let outputs =
            op.Shape.Invoke inputs
            |> Array.map (fun spec -> Tensor.Allocate(spec.DType, spec.Shape))

        fun () -> into.Kernel.Invoke(inputs, outputs)
    | _ ->
        let run = Action(fun () -> op.Apply inputs |> ignore)
        fun () -> Memory.Tidy run

/// The fused derivative alone, for a cotangent of the first output.
let private backward (op: Op) (inputs: Tensor[]) =
    let outputs = op.Apply inputs

    let cotangents =
        outputs
        |> Array.mapi (fun i y ->
            if i = 0 then
                normal 99 (List.ofSeq y.Shape)
            else
                Level.ZerosLike y)

    let fused = nonNull op.VjpInto

    let run =
        Action(fun () ->
            let tape = Tape()

            let slots: (Slot | null)[] =
                inputs |> Array.map (fun x -> if x.DType.IsFloat() then Slot(tape, x) else null)

            fused.Invoke(inputs, outputs, cotangents, slots))

    fun () -> Memory.Tidy run

let private composed (f: unit -> Tensor) =
    let run = Action(fun () -> f () |> ignore)
    fun () -> Memory.Tidy run

// ---- matrix products ----

/// All four ways in which the operands may lie.
let private gemm m n k =
    [
        for way in [ "NN"; "TN"; "NT"; "TT" ] ->
            {
                Name = $"gemm {way} {m}x{n}x{k}"
                Limit = Arithmetic(2.0 * float m * float n * float k)
                Build =
                    fun () ->
                        let operand seed rows columns transposed =
                            if transposed then
                                (normal seed [ columns; rows ]).T
                            else
                                normal seed [ rows; columns ]

                        let a = operand 1 m k (way[0] = 'T')
                        let b = operand 2 k n (way[1] = 'T')
                        forward Products.Matmul [| a; b |]
            }
    ]

let private products =
    [
        for n in [ 256; 512; 1024; 2048 ] do
            yield! gemm n n n
        for m, n, k in
            [
                64, 64, 64
                64, 512, 784
                32, 128, 784
                64, 10, 512
                1024, 64, 576
                127, 333, 509
            ] do
            yield! gemm m n k
    ]

// ---- convolutions ----

let private convolution batch inputs outputs size kernel stride =
    let window =
        Window(Stride = PerAxis.op_Implicit (stride: int), Padding = Padding.op_Implicit (kernel / 2: int))

    let x () = normal 1 [ batch; inputs; size; size ]

    let w () =
        normal 2 [ outputs; inputs; kernel; kernel ]

    let out = (size + 2 * (kernel / 2) - kernel) / stride + 1
    let y () = normal 3 [ batch; outputs; out; out ]

    let flop =
        2.0 * float (batch * out * out) * float (inputs * outputs * kernel * kernel)

    let text = $"{kernel}x{kernel}/{stride} {batch}x{inputs}x{size}x{size} to {outputs}"

    let of' what op inputs =
        {
            Name = $"conv {what} {text}"
            Limit = Arithmetic flop
            Build = fun () -> forward (op ()) (inputs ())
        }

    [
        of' "forward" (fun () -> Convolutions.Convolve(window, Activation.None)) (fun () -> [| x (); w () |])
        of' "input gradient" (fun () -> Convolutions.Transpose(window, [| size; size |])) (fun () -> [| y (); w () |])
        of' "weight gradient" (fun () -> Convolutions.Correlate(window, [| kernel; kernel |])) (fun () ->
            [| x (); y () |])
    ]

let private convolutions =
    [
        for batch, inputs, outputs, size, kernel, stride in
            [
                64, 3, 32, 32, 3, 1
                64, 32, 32, 32, 3, 1
                64, 32, 64, 32, 3, 1
                64, 64, 64, 16, 3, 1
                64, 64, 64, 8, 3, 1
                64, 16, 16, 32, 3, 1
                64, 16, 32, 32, 3, 2
                64, 6, 16, 14, 5, 1
                7, 24, 24, 33, 5, 2
            ] do
            yield! convolution batch inputs outputs size kernel stride
    ]

// ---- from memory: four times a large last-level cache ----

let private rows, private columns = 16384, 1024

let private bytes = 4.0 * float rows * float columns

let private large seed = normal seed [ rows; columns ]

let private traffic name read written build =
    {
        Name = name
        Limit = Traffic(read * bytes, written * bytes)
        Build = build
    }

let private elementwise =
    let op name inputs () =
        forward (Registry.Named name) (inputs ())

    [
        traffic "copy 64 MiB" 1.0 1.0 (fun () ->
            let x, y = large 1, large 2
            fun () -> VectorSpace.CopyInto(x, y))
        traffic "transpose 16384x1024" 1.0 1.0 (fun () ->
            let x, y = (large 1).T, normal 2 [ columns; rows ]
            fun () -> VectorSpace.CopyInto(x, y))
        traffic "add 16M" 2.0 1.0 (op "add" (fun () -> [| large 1; large 2 |]))
        traffic "add a row, 16384x1024" 1.0 1.0 (fun () ->
            let x, row = large 1, normal 2 [ columns ]
            composed (fun () -> x + row))
        for name in [ "relu"; "exp"; "tanh"; "sigmoid"; "gelu" ] do
            traffic $"{name} 16M" 1.0 1.0 (op name (fun () -> [| large 1 |]))
        traffic "relu backward 16M" 2.0 1.0 (fun () -> backward (Registry.Named "relu") [| large 1 |])
    ]

/// A gelu written out in nine operations.
let private gelu (x: Tensor) =
    0.5 * x * (1.0 + (0.7978845608 * (x + 0.044715 * x * x * x)).Tanh())

/// A function as it is, as one loop, and the pass back through either.
let private fusion =
    let row name read written (f: Tensor[] -> Tensor) inputs =
        let fused = Diff.Fuse(fun x -> [| f x |])

        let forward (f: Tensor[] -> Tensor) () =
            let x: Tensor[] = inputs ()
            composed (fun () -> f x)

        let back (f: Tensor[] -> Tensor) () =
            let x: Tensor[] = inputs ()
            let struct (y, pullback) = Diff.Vjp((fun x -> [| f x |]), x)
            let g = [| y[0].Square() |]
            composed (fun () -> pullback.Invoke(g)[0])

        let fused x = (fused.Invoke x)[0]

        [
            traffic name read written (forward f)
            traffic $"{name}, fused" read written (forward fused)
            traffic $"{name} backward" (read + 1.0) read (back f)
            traffic $"{name} backward, fused" (read + 1.0) read (back fused)
        ]

    row "relu(x·w + b) 16M" 2.0 1.0 (fun x -> (x[0] * x[1] + x[2]).Relu()) (fun () ->
        [| large 1; large 2; normal 3 [ columns ] |])
    @ row "gelu by hand 16M" 1.0 1.0 (fun x -> gelu x[0]) (fun () -> [| large 1 |])

let private reductions =
    [
        for axes in [ [ 0 ]; [ 1 ]; [ 0; 1 ] ] do
            let name = axes |> List.map string |> String.concat " and "

            traffic $"sum over axis {name}, 16384x1024" 1.0 0.0 (fun () ->
                forward (Reductions.SumOver(Array.ofList axes, false)) [| large 1 |])
        traffic "max over axis 1, 16384x1024" 1.0 0.0 (fun () ->
            let x = large 1
            composed (fun () -> x.Max 1))
        traffic "logsumexp over axis 1, 16384x1024" 1.0 0.0 (fun () ->
            forward (Reductions.LogSumExpOver([| 1 |], false)) [| large 1 |])
    ]

let private rowwise =
    let parameters () =
        [| large 1; normal 2 [ columns ]; normal 3 [ columns ] |]

    [
        traffic "softmax 16384x1024" 1.0 1.0 (fun () -> forward Softmax.Plain [| large 1 |])
        traffic "softmax backward" 2.0 1.0 (fun () -> backward Softmax.Plain [| large 1 |])
        traffic "layer norm 16384x1024" 1.0 1.0 (fun () -> forward Normalisation.LayerNorm (parameters ()))
        traffic "layer norm backward" 2.0 1.0 (fun () -> backward Normalisation.LayerNorm (parameters ()))
        traffic "batch norm 64x64x64x64" 2.0 1.0 (fun () ->
            forward Normalisation.BatchNorm [| normal 1 [ 64; 64; 64; 64 ]; normal 2 [ 64 ]; normal 3 [ 64 ] |])
        traffic "batch norm backward" 4.0 1.0 (fun () ->
            backward Normalisation.BatchNorm [| normal 1 [ 64; 64; 64; 64 ]; normal 2 [ 64 ]; normal 3 [ 64 ] |])
        traffic "cross entropy 16384x1024" 1.0 0.0 (fun () ->
            let x = large 1
            let labels = key.Fold(5).Integers(Shape.Of [ rows ], 0L, int64 columns)
            composed (fun () -> Tensor.CrossEntropy(x, labels)))
    ]

let private pooling =
    let image () = [| normal 1 [ 64; 64; 64; 64 ] |]
    let average = Pooling.AverageOver(PerAxis.op_Implicit 2, Window(), true)
    let most = Pooling.MaxOver(PerAxis.op_Implicit 2, Window())

    [
        // A quarter as many values, and as many places.
        traffic "max pool 2x2 64x64x64x64" 1.0 0.5 (fun () -> forward most (image ()))
        traffic "max pool backward" 0.5 1.0 (fun () -> backward most (image ()))
        traffic "average pool 2x2 64x64x64x64" 1.0 0.25 (fun () -> forward average (image ()))
        traffic "average pool backward" 0.25 1.0 (fun () -> backward average (image ()))
    ]

// ---- sequences ----

/// The whole sequence: one product for all inputs, one per step for the state.
let private recurrence (name: string) (op: Op) gates batch steps features units =
    let flop = 2.0 * float (batch * steps * gates * units) * float (features + units)

    let inputs () =
        let scale = 1.0 / sqrt (float units)

        [|
            normal 1 [ batch; steps; features ]
            normal 2 [ features; gates * units ] * scale
            normal 3 [ units; gates * units ] * scale
            normal 4 [ gates * units ]
            normal 5 [ gates * units ]
            normal 6 [ batch; units ]
            if gates = 4 then
                normal 7 [ batch; units ]
        |]

    [
        {
            Name = $"{name} {batch}x{steps}x{features} to {units}"
            Limit = Arithmetic flop
            Build = fun () -> forward op (inputs ())
        }
        {
            Name = $"{name} backward {batch}x{steps}x{features} to {units}"
            Limit = Arithmetic(2.0 * flop)
            Build = fun () -> backward op (inputs ())
        }
    ]

let private sequences =
    [
        yield! recurrence "lstm" Recurrences.LongShortTerm 4 64 28 28 128
        yield! recurrence "lstm" Recurrences.LongShortTerm 4 32 100 64 200
        yield! recurrence "gru" Recurrences.Gated 3 64 28 28 128
        yield! recurrence "rnn" Recurrences.Simple 1 64 28 28 128
        for heads, length, size in [ 4, 64, 32; 8, 512, 64 ] do
            let flop = 4.0 * 4.0 * float (heads * length * length * size)

            {
                Name = $"attention 4x{heads}x{length}x{size}"
                Limit = Arithmetic flop
                Build =
                    fun () ->
                        let draw seed = normal seed [ 4; heads; length; size ]
                        let q, k, v = draw 1, draw 2, draw 3
                        composed (fun () -> Tensor.Attention(q, k, v))
            }
    ]

let private scans =
    [
        for axis in [ 0; 1 ] do
            traffic $"cumsum along axis {axis}, 16384x1024" 1.0 1.0 (fun () ->
                forward (Scans.Sum(axis, false)) [| large 1 |])

            traffic $"linear recurrence along axis {axis}" 2.0 1.0 (fun () ->
                forward (Scans.Recurrence(axis, false)) [| large 1; large 2 |])
    ]

let private kernels =
    products
    @ convolutions
    @ elementwise
    @ fusion
    @ reductions
    @ rowwise
    @ pooling
    @ scans
    @ sequences

// ---- measuring ----

let private median (values: seq<float>) =
    let sorted = Seq.sort values |> Array.ofSeq
    sorted[sorted.Length / 2]

/// Seconds that the machine's best would take for the same, measured for about as long as `during`: what interrupts the one then interrupts the other.
let private floor during limit =
    // Samples in a row count as one, by the time they take together.
    let rate probe =
        // Who waits for this core should run now, not in the middle of a sample.
        Thread.Yield() |> ignore
        let start = Stopwatch.GetTimestamp()

        let rates =
            [
                yield probe ()
                while Stopwatch.GetElapsedTime(start).TotalSeconds < during do
                    yield probe ()
            ]

        float rates.Length / List.sumBy (fun r -> 1.0 / r) rates

    match limit with
    | Arithmetic flop -> flop / (rate Machine.multiplyAdds * 1e9)
    | Traffic(read, written) ->
        // What is written has something read beside it; the rest is reading alone, and writing alone runs at the speed of copying.
        let both = min read written
        let copied = (written + both) / (rate Machine.copying * 1e9)

        if read > both then
            copied + (read - both) / (rate Machine.reading * 1e9)
        else
            copied

let private measure (seconds: float) (kernel: Kernel) =
    let step = kernel.Build()

    let elapsed (start: int64) =
        Stopwatch.GetElapsedTime(start).TotalSeconds

    let start = Stopwatch.GetTimestamp()
    let mutable warm = 0

    while warm < 3 || elapsed start < min 0.1 (seconds / 3.0) do
        step ()
        warm <- warm + 1

    let perCall = elapsed start / float warm
    let inner = max 1 (int (1e-3 / perCall))
    let rounds = ResizeArray()
    let start = Stopwatch.GetTimestamp()

    while rounds.Count < 7 || elapsed start < seconds do
        let least = floor (perCall * float inner) kernel.Limit
        // The first call pays for what the probe left in the caches.
        if perCall < 1e-3 then
            step ()

        Thread.Yield() |> ignore
        let t = Stopwatch.GetTimestamp()

        for _ in 1..inner do
            step ()

        rounds.Add(least, elapsed t / float inner)

    let work, unit' =
        match kernel.Limit with
        | Arithmetic flop -> flop, "GFLOP/s"
        | Traffic(read, written) -> read + written, "GB/s"

    let time = median (Seq.map snd rounds)

    {
        Name = kernel.Name
        Milliseconds = time * 1e3
        Rate = work / time / 1e9
        Possible = work / median (Seq.map fst rounds) / 1e9
        Unit = unit'
        Share = rounds |> Seq.map (fun (least, time) -> least / time) |> median
        Rounds = rounds.Count
    }

let private machine threads =
    let rates threads =
        Threads.Count <- threads
        let samples probe = Array.init 9 (fun _ -> probe ())
        Machine.warmUp ()
        let peak = samples Machine.multiplyAdds
        let read, copied = samples Machine.reading, samples Machine.copying

        printfn
            $"{threads} thread(s): float32 multiply-adds {median peak:F0} GFLOP/s (best {Array.max peak:F0}), reading {median read:F1} GB/s, copying {median copied:F1} GB/s"

        {|
            threads = threads
            gflops = median peak
            read_gbs = median read
            copy_gbs = median copied
        |}

    [
        for count in List.distinct [ 1; threads ] do
            rates count
    ]

/// Prints the table and writes {"machine": [...], "results": {NAME: {"ms", "rate", "possible", "unit", "share"}}}.
let run (threads: int) (filter: string) (seconds: float) (json: string option) =
    let chosen = kernels |> List.filter (fun k -> Regex.IsMatch(k.Name, filter))
    let load = Machine.load ()

    if load > 1.0 then
        printfn $"the machine had {load:F1} processes to run in the last minute: times are long, and shares are rough"

    let machine = machine threads
    Threads.Count <- threads

    printfn ""

    printfn
        $"""{"kernel, " + string threads + " thread(s)", -48} {"ms", 10} {"reached", 10} {"possible", 10} {"", -8} {"share", 6}"""

    let results =
        [
            for kernel in chosen do
                let row = measure seconds kernel

                printfn
                    $"{row.Name, -48} {row.Milliseconds, 10:F4} {row.Rate, 10:F1} {row.Possible, 10:F1} {row.Unit, -8} {100.0 * row.Share, 5:F0} %%"

                row
        ]

    match json with
    | Some path ->
        File.WriteAllText(
            path,
            JsonSerializer.Serialize(
                {|
                    machine = machine
                    threads = threads
                    results =
                        dict
                            [
                                for row in results do
                                    row.Name,
                                    {|
                                        ms = row.Milliseconds
                                        rate = row.Rate
                                        possible = row.Possible
                                        unit = row.Unit
                                        share = row.Share
                                        rounds = row.Rounds
                                    |}
                            ]
                |},
                JsonSerializerOptions(WriteIndented = true)
            )
        )
    | None -> ()

    0
