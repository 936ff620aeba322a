/// What a steady training step takes: tensor memory from the system, and managed garbage.
module Functional.Benchmarks.Steady

open System
open Functional
open type Functional.Layers

let run () =
    let key = Key.OfSeed 1L

    for name, network, batch, optimiser in
        [
            "784-512-10, batch 64, SGD", input [ 784 ] >=> dense 512 >=> relu >=> dense 10, 64, Optim.sgd 0.01
            "784-128-10, batch 32, Adam", input [ 784 ] >=> dense 128 >=> relu >=> dense 10, 32, Optim.adam 1e-3
            "784-128-10, batch 32, dropout, Adam",
            input [ 784 ] >=> dense 128 >=> relu >=> dropout 0.5 >=> dense 10,
            32,
            Optim.adam 1e-3
        ] do
        let images = Array.init (784 * 4096) (fun i -> byte (i * 7919 >>> 3))
        let labels = Array.init 4096 (fun i -> byte (i % 10))

        let data = Dataset.ofBytes [ 784 ] images labels |> Dataset.scale (1.0 / 255.0) 0.0

        let trainer =
            Trainer(optimiser, Loss.crossEntropy, network, key, [ accuracy ], Shape.Of [ 784 ])

        let one =
            let next = ref 0

            Action(fun () ->
                next.Value <- (next.Value + 1) % (4096 / batch)
                trainer.Step(Dataset.take data data.Rows (next.Value * batch) batch) |> ignore)

        for _ in 1..1000 do
            Memory.Tidy one

        GC.Collect()
        let system = Memory.SystemBytes
        let garbage = GC.GetAllocatedBytesForCurrentThread()
        let steps = 10_000

        for _ in 1..steps do
            Memory.Tidy one

        let garbage = float (GC.GetAllocatedBytesForCurrentThread() - garbage) / float steps

        printfn
            $"{name, -40} {garbage:N0} bytes of managed garbage a step; {Memory.SystemBytes - system} bytes of tensor memory from the system in {steps:N0} steps"

    0
