/// Times a closure the way a peer's benchmark does: warm-up, then samples of at least 0.2 ms each; the median counts.
module Functional.Benchmarks.Measure

open System.Diagnostics

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
