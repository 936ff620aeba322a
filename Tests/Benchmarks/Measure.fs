/// Times a closure the way a peer's benchmark does: warm-up, then samples of at least 0.2 ms each; the median counts.
module Functional.Benchmarks.Measure

open System
open System.Diagnostics
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics
open System.Runtime.Intrinsics.X86

type Timing =
    {
        Median: float
        Min: float
        P90: float
        Samples: int
    }

let private elapsed (start: int64) =
    Stopwatch.GetElapsedTime(start).TotalSeconds

/// Milliseconds of one call of `step`.
let time (seconds: float) (step: unit -> unit) =
    let start = Stopwatch.GetTimestamp()
    let mutable warm = 0

    while warm < 3 || elapsed start < min 0.3 (seconds / 3.0) do
        step ()
        warm <- warm + 1

    let perCall = elapsed start / float warm
    let inner = max 1 (int (2e-4 / perCall))
    let samples = ResizeArray()
    let start = Stopwatch.GetTimestamp()

    while samples.Count < 5 || elapsed start < seconds do
        let t = Stopwatch.GetTimestamp()

        for _ in 1..inner do
            step ()

        samples.Add(elapsed t / float inner * 1e3)

    samples.Sort()

    let pick q =
        samples[min (samples.Count - 1) (int (q * float samples.Count))]

    {
        Median = pick 0.5
        Min = samples[0]
        P90 = pick 0.9
        Samples = samples.Count
    }

/// Ten independent chains hide the latency of two FMA units; 16 lanes, 2 flop each.
[<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
let private fmaChains512 (n: int) =
    let a = Vector512.Create 1.000001f
    let b = Vector512.Create 0.999f
    let mutable c0 = a
    let mutable c1 = b
    let mutable c2 = a
    let mutable c3 = b
    let mutable c4 = a
    let mutable c5 = b
    let mutable c6 = a
    let mutable c7 = b
    let mutable c8 = a
    let mutable c9 = b

    for _ in 1..n do
        c0 <- Avx512F.FusedMultiplyAdd(c0, a, b)
        c1 <- Avx512F.FusedMultiplyAdd(c1, a, b)
        c2 <- Avx512F.FusedMultiplyAdd(c2, a, b)
        c3 <- Avx512F.FusedMultiplyAdd(c3, a, b)
        c4 <- Avx512F.FusedMultiplyAdd(c4, a, b)
        c5 <- Avx512F.FusedMultiplyAdd(c5, a, b)
        c6 <- Avx512F.FusedMultiplyAdd(c6, a, b)
        c7 <- Avx512F.FusedMultiplyAdd(c7, a, b)
        c8 <- Avx512F.FusedMultiplyAdd(c8, a, b)
        c9 <- Avx512F.FusedMultiplyAdd(c9, a, b)

    Vector512.Sum(c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9)

[<MethodImpl(MethodImplOptions.AggressiveOptimization)>]
let private fmaChains256 (n: int) =
    let a = Vector256.Create 1.000001f
    let b = Vector256.Create 0.999f
    let mutable c0 = a
    let mutable c1 = b
    let mutable c2 = a
    let mutable c3 = b
    let mutable c4 = a
    let mutable c5 = b
    let mutable c6 = a
    let mutable c7 = b
    let mutable c8 = a
    let mutable c9 = b

    for _ in 1..n do
        c0 <- Fma.MultiplyAdd(c0, a, b)
        c1 <- Fma.MultiplyAdd(c1, a, b)
        c2 <- Fma.MultiplyAdd(c2, a, b)
        c3 <- Fma.MultiplyAdd(c3, a, b)
        c4 <- Fma.MultiplyAdd(c4, a, b)
        c5 <- Fma.MultiplyAdd(c5, a, b)
        c6 <- Fma.MultiplyAdd(c6, a, b)
        c7 <- Fma.MultiplyAdd(c7, a, b)
        c8 <- Fma.MultiplyAdd(c8, a, b)
        c9 <- Fma.MultiplyAdd(c9, a, b)

    Vector256.Sum(c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9)

/// The float32 FMA peak of `threads` cores together, in GFLOP/s: the best of some short runs.
let peak (threads: int) =
    let n = 10_000_000

    let lanes, chains =
        if Avx512F.IsSupported then 16.0, fmaChains512
        elif Fma.IsSupported then 8.0, fmaChains256
        else 0.0, (fun _ -> 0f)

    let run () =
        let start = Stopwatch.GetTimestamp()

        let workers =
            [|
                for _ in 1..threads ->
                    Threading.Thread(fun () ->
                        if chains n = 12345f then
                            Console.Write "")
            |]

        for w in workers do
            w.Start()

        for w in workers do
            w.Join()

        float threads * float n * 10.0 * 2.0 * lanes / elapsed start / 1e9

    Seq.init 7 (fun _ -> run ()) |> Seq.max
