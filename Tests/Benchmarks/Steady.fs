/// What a steady training step takes: tensor memory from the system, managed garbage, and whether the process grows.
module Functional.Benchmarks.Steady

open System
open Functional
open type Functional.Layers

let private key = Key.OfSeed 1L

/// Small networks, so that many steps take seconds.
let private trainings =
    [
        "784-512-10, batch 64, SGD", [ 784 ], input [ 784 ] >=> dense 512 >=> relu >=> dense 10, 64, Optim.sgd 0.01
        "784-128-10, batch 32, Adam", [ 784 ], input [ 784 ] >=> dense 128 >=> relu >=> dense 10, 32, Optim.adam 1e-3
        "784-128-10, batch 32, dropout, Adam",
        [ 784 ],
        input [ 784 ] >=> dense 128 >=> relu >=> dropout 0.5 >=> dense 10,
        32,
        Optim.adam 1e-3
        "28x28 by 3x3 to 4 channels, batch 4, Adam",
        [ 1; 28; 28 ],
        input [ 1; 28; 28 ]
        >=> conv (4, kernel = 3)
        >=> batchNorm ()
        >=> relu
        >=> maxPool 2
        >=> flatten ()
        >=> dense 10,
        4,
        Optim.adam 1e-3
        "LSTM of 16 units over 28 rows, batch 4, Adam",
        [ 28; 28 ],
        input [ 28; 28 ] >=> lstm 16 >=> lastState () >=> dense 10,
        4,
        Optim.adam 1e-3
    ]

let private examples = 4096

let private step (shape: int list) network batch optimiser =
    let size = List.fold (*) 1 shape
    let images = Array.init (size * examples) (fun i -> byte (i * 7919 >>> 3))
    let labels = Array.init examples (fun i -> byte (i % 10))
    let data = Dataset.ofBytes shape images labels |> Dataset.scale (1.0 / 255.0) 0.0

    let trainer =
        Trainer(optimiser, Loss.crossEntropy, network, key, [ accuracy ], Shape.Of shape)

    let next = ref 0

    let run =
        Action(fun () ->
            next.Value <- (next.Value + 1) % (examples / batch)
            trainer.Step(Dataset.take data data.Rows (next.Value * batch) batch) |> ignore)

    fun () -> Memory.Tidy run

/// 10,000 steps of each, after 1,000 that fill pools and caches.
let run () =
    let warm, steps = 1_000, 10_000

    for name, shape, network, batch, optimiser in trainings do
        let one = step shape network batch optimiser

        // Between collections garbage comes and goes: the most of many looks counts.
        let most count =
            Seq.init count (fun i ->
                one ()
                if i % 100 = 0 then Machine.residentMemory () else 0.0)
            |> Seq.max

        let early = most warm
        GC.Collect()
        let system = Memory.SystemBytes
        let garbage = GC.GetAllocatedBytesForCurrentThread()
        let late = most steps

        let garbage = float (GC.GetAllocatedBytesForCurrentThread() - garbage) / float steps

        printfn
            $"{name, -46} {garbage:N0} bytes of managed garbage a step; {Memory.SystemBytes - system} bytes of tensor memory from the system in {steps:N0} steps; the process held {early:F0} MiB before and {late:F0} MiB during them"

    0
