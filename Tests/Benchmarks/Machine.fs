/// What the machine can do at all: multiply-adds and memory traffic of as many threads as compute, in samples short enough to alternate with what is held against them.
module Functional.Benchmarks.Machine

#nowarn "9" // Loads and stores by address are the point.

open System
open System.Diagnostics
open System.IO
open System.Runtime.Intrinsics
open System.Runtime.Intrinsics.X86
open Microsoft.FSharp.NativeInterop
open Functional.Kernels

let private seconds (start: int64) =
    Stopwatch.GetElapsedTime(start).TotalSeconds

// ---- multiply-adds ----

/// Ten independent chains hide the latency of two FMA units; 16 lanes, 2 flop each.
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

let private lanes, private chains =
    if Avx512F.IsSupported then 16.0, fmaChains512
    elif Fma.IsSupported then 8.0, fmaChains256
    else 0.0, (fun _ -> 0f)

// About 0.1 ms of one core.
let private chainLength = 70_000

[<Struct>]
type private MultiplyAdds =
    interface IJob with
        member _.Run _ =
            // A result that is looked at cannot be optimised away.
            if chains chainLength = 12345f then
                Console.Write ""

/// One sample of the float32 multiply-adds of all threads together, in GFLOP/s; 0 where the processor has no such instruction. Takes about a millisecond.
let multiplyAdds () =
    let chunks = 8 * Workers.Count
    let mutable job = MultiplyAdds()
    let start = Stopwatch.GetTimestamp()
    Workers.For(chunks, &job)
    float chunks * float chainLength * 10.0 * 2.0 * lanes / seconds start / 1e9

/// Samples until the runtime has compiled the loops for good, which it does after some calls and a quiet tenth of a second.
let private settle (probe: unit -> float) =
    let start = Stopwatch.GetTimestamp()

    [
        while seconds start < 0.5 do
            probe ()
    ]

/// The most that the samples of half a second show.
let peak () = List.max (settle multiplyAdds)

// ---- memory ----

/// Twice the last-level cache of most machines.
let private block = 16n <<< 20

/// Samples read one block after the other: the cache keeps a part of one that is read again at once, and 40 GB/s seemed to be 60.
let private blocks = 4n

let private places = int block * 4

let private chunk = 1 <<< 18

let private take (blocks: nativeint) =
    let memory =
        NativePtr.ofVoidPtr<float32>(NativePages.Allocate(unativeint (blocks * nativeint places)))

    Span<float32>(NativePtr.toVoidPtr memory, int (blocks * block)).Fill 1f
    NativePtr.toNativeInt memory

let private sources = lazy (take blocks)
let private target = lazy (take 1n)
let mutable private samples = 0n

let private nextSource () =
    samples <- samples + 1n
    sources.Value + samples % blocks * nativeint places

let private readChunk (from: nativeptr<float32>) =
    let mutable a = Vector512<float32>.Zero
    let mutable b = a
    let mutable c = a
    let mutable d = a
    let mutable i = 0

    while i < chunk do
        let p = NativePtr.add from i
        a <- a + Vector512.Load p
        b <- b + Vector512.Load(NativePtr.add p 16)
        c <- c + Vector512.Load(NativePtr.add p 32)
        d <- d + Vector512.Load(NativePtr.add p 48)
        i <- i + 64

    Vector512.Sum(a + b + c + d)

/// Around the cache: a line that is written whole need not be read before.
let private copyChunk (from: nativeptr<float32>) (into: nativeptr<float32>) =
    let mutable i = 0

    while i < chunk do
        let p, q = NativePtr.add from i, NativePtr.add into i
        Vector512.StoreAlignedNonTemporal(Vector512.Load p, q)
        Vector512.StoreAlignedNonTemporal(Vector512.Load(NativePtr.add p 16), NativePtr.add q 16)
        Vector512.StoreAlignedNonTemporal(Vector512.Load(NativePtr.add p 32), NativePtr.add q 32)
        Vector512.StoreAlignedNonTemporal(Vector512.Load(NativePtr.add p 48), NativePtr.add q 48)
        i <- i + 64

let private at (memory: nativeint) (i: int) =
    NativePtr.ofNativeInt<float32>(memory + nativeint i * 4n * nativeint chunk)

[<Struct>]
type private Reading(from: nativeint) =
    interface IJob with
        member _.Run i =
            if readChunk (at from i) < 0f then
                Console.Write ""

[<Struct>]
type private Copying(from: nativeint, into: nativeint) =
    interface IJob with
        member _.Run i = copyChunk (at from i) (at into i)

/// One sample of reading 64 MiB, in GB/s.
let reading () =
    let mutable job = Reading(nextSource ())
    let start = Stopwatch.GetTimestamp()
    Workers.For(int block / chunk, &job)
    float places / seconds start / 1e9

/// One sample of copying 64 MiB, in GB/s read and written together.
let copying () =
    let mutable job = Copying(nextSource (), target.Value)
    let start = Stopwatch.GetTimestamp()
    Workers.For(int block / chunk, &job)
    2.0 * float places / seconds start / 1e9

/// Must come before samples that count.
let warmUp () =
    for probe in [ multiplyAdds; reading; copying ] do
        settle probe |> ignore

let private status (name: string) =
    let line = File.ReadLines "/proc/self/status" |> Seq.find _.StartsWith($"{name}:")

    float (line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) / 1024.0

/// The most memory this process has held, in MiB, as the system counts it.
let peakMemory () = status "VmHWM"

/// What it holds now.
let residentMemory () = status "VmRSS"

/// Processes that ran or waited for a core during the last minute, on average.
let load () =
    Double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], Globalization.CultureInfo.InvariantCulture)
