/// Cost against size: `growth --threads N --filter REGEX --seconds S --json FILE`. Along a ladder of sizes the time for one unit of work should fall or
/// stay; where it rises is a bend in the curve.
module Functional.Benchmarks.Growth

open System
open System.IO
open System.Text.Json
open System.Text.RegularExpressions
open Functional
open type Functional.Layers

type Ladder =
    {
        Name: string
        Sizes: int list
        /// What is counted, and how much of it there is at a size.
        Unit: string
        Work: int -> float
        Build: int -> (unit -> unit)
    }

let private key = Key.OfSeed 1L

let private normal seed (sizes: int list) =
    key.Fold(seed: int).Normal(Shape.Of sizes)

let private doubling first last =
    List.unfold (fun n -> if n > last then None else Some(n, 2 * n)) first

let private computing (f: unit -> Tensor) =
    let run = Action(fun () -> f () |> ignore<Tensor>)
    fun () -> Memory.Tidy run

let private differentiating (f: Tensor[] -> Tensor) (inputs: Tensor[]) =
    let f = Func<Tensor[], Tensor>(fun x -> (f x).Sum())
    let run = Action(fun () -> Diff.ValueAndGrad(f, inputs) |> ignore)
    fun () -> Memory.Tidy run

let private training (shape: int list) batch network =
    let trainer =
        Trainer(Optim.adam 1e-3, Loss.crossEntropy, network, key, [], Shape.Of shape)

    let x = normal 2 (batch :: shape)
    let y = key.Fold(3).Integers(Shape.Of [ batch ], 0L, 10L)
    fun () -> trainer.Step(x, y) |> ignore

let private ladder name sizes unit' work build =
    {
        Name = name
        Sizes = sizes
        Unit = unit'
        Work = work
        Build = build
    }

let private repeated count (layer: int -> Layer) =
    List.init count layer |> List.reduce (fun net next -> net >=> next)

// ---- networks: a training step by batch, width, depth and sequence length ----

let private cnn () =
    input [ 3; 32; 32 ]
    >=> conv (16, kernel = 3, pad = 1)
    >=> batchNorm ()
    >=> relu
    >=> maxPool 2
    >=> conv (32, kernel = 3, pad = 1)
    >=> relu
    >=> maxPool 2
    >=> flatten ()
    >=> dense 10

let private networks =
    [
        ladder "train mlp 784-512-10 by batch" (doubling 4 1024) "example" float (fun n ->
            training [ 784 ] n (input [ 784 ] >=> dense 512 >=> relu >=> dense 10))
        ladder "train mlp, batch 64, by width" (doubling 16 2048) "weight" (fun n -> float n * float n) (fun n ->
            training [ n ] 64 (input [ n ] >=> dense n >=> relu >=> dense 10))
        ladder "train mlp of width 64, batch 32, by depth" (doubling 2 128) "layer" float (fun n ->
            training [ 64 ] 32 (input [ 64 ] >=> repeated n (fun _ -> dense 64 >=> relu) >=> dense 10))
        ladder "train cnn 32x32 by batch" (doubling 1 256) "image" float (fun n -> training [ 3; 32; 32 ] n (cnn ()))
        ladder
            "train cnn 16x16, batch 16, by channels"
            (doubling 4 256)
            "weight"
            (fun n -> 9.0 * float n * float n)
            (fun n ->
                training
                    [ n; 16; 16 ]
                    16
                    (input [ n; 16; 16 ]
                     >=> conv (n, kernel = 3, pad = 1)
                     >=> relu
                     >=> globalAveragePool ()
                     >=> dense 10))
        for name, layer in [ "lstm", lstm 64; "gru", gru 64; "rnn", rnn 64 ] do
            ladder $"train {name} 64, batch 16, by steps" (doubling 8 1024) "step" float (fun n ->
                training [ n; 32 ] 16 (input [ n; 32 ] >=> layer >=> lastState () >=> dense 10))
        ladder
            "train lstm over 28 steps, batch 16, by width"
            (doubling 16 512)
            "weight"
            (fun n -> 4.0 * float n * float (n + 28))
            (fun n -> training [ 28; 28 ] 16 (input [ 28; 28 ] >=> lstm n >=> lastState () >=> dense 10))
        ladder "train transformer block, d 64, batch 4, by tokens" (doubling 16 512) "token" float (fun n ->
            training
                [ n; 64 ]
                4
                (input [ n; 64 ]
                 >=> transformerBlock (4, 128, causal = true)
                 >=> lastState ()
                 >=> dense 10))
    ]

// ---- operations ----

let private square = fun n -> float n * float n

let private operations =
    [
        ladder "matmul n x n" (doubling 16 1024) "multiply-add" (fun n -> float n ** 3.0) (fun n ->
            let a, b = normal 1 [ n; n ], normal 2 [ n; n ]
            computing (fun () -> a.Matmul b))
        ladder "add n" (doubling 1024 (1 <<< 24)) "element" float (fun n ->
            let a, b = normal 1 [ n ], normal 2 [ n ]
            computing (fun () -> a + b))
        ladder "sum of n" (doubling 1024 (1 <<< 24)) "element" float (fun n ->
            let a = normal 1 [ n ]
            computing (fun () -> a.Sum()))
        ladder "transpose n x n" (doubling 32 4096) "element" square (fun n ->
            let a = (normal 1 [ n; n ]).T
            let b = normal 2 [ n; n ]
            computing (fun () -> a + b))
        // The number of elements stays: a million.
        for name, f in
            [
                "softmax", (fun (x: Tensor) -> x.Softmax 1)
                "layer norm", (fun x -> x.LayerNorm())
                "sum along rows", (fun x -> x.Sum 1)
                "sum along columns", (fun x -> x.Sum 0)
            ] do
            ladder
                $"{name} of a million, forward and backward, by row"
                (doubling 2 (1 <<< 20))
                "element"
                (fun _ -> float (1 <<< 20))
                (fun n -> differentiating (fun x -> f x[0]) [| normal 1 [ (1 <<< 20) / n; n ] |])
        ladder "attention 4 x 4 heads of 32, forward and backward" (doubling 16 1024) "pair" square (fun n ->
            differentiating
                (fun x -> Tensor.Attention(x[0], x[1], x[2]))
                [| for i in 1..3 -> normal i [ 4; 4; n; 32 ] |])
        ladder
            "embedding of 4096 by 64, with a step of descent, by table"
            (doubling 64 (1 <<< 18))
            "call"
            (fun _ -> 1.0)
            (fun n ->
                let indices = key.Fold(7).Integers(Shape.Of [ 4096 ], 0L, int64 n)
                let weights = normal 2 [ 4096; 64 ]
                let table = [| normal 1 [ n; 64 ] |]

                let step =
                    Action(fun () ->
                        let struct (_, gradients) =
                            Diff.ValueAndGrad(
                                (fun (t: Tensor[]) -> (Tensor.Embedding(t[0], indices) * weights).Sum()),
                                table
                            )

                        Steps.Sgd(table, gradients, 1e-3, 0.0))

                fun () -> Memory.Tidy step)
        ladder "tape of n additions, forward and backward" (doubling 8 16384) "operation" float (fun n ->
            let c = normal 2 [ 4 ]
            differentiating (fun x -> Seq.fold (fun (y: Tensor) _ -> y + c) x[0] (seq { 1..n })) [| normal 1 [ 4 ] |])
        ladder "concat of n" (doubling 2 4096) "tensor" float (fun n ->
            let parts = Array.init n (fun i -> normal i [ 4; 16 ])
            computing (fun () -> Tensor.Concat(0, parts)))
    ]

let private ladders = networks @ operations

// ---- measuring ----

/// A rise beyond what noise makes.
let private bend = 1.5

let private inUnits (seconds: float) =
    if seconds >= 1e-3 then $"{seconds * 1e3:F2} ms"
    elif seconds >= 1e-6 then $"{seconds * 1e6:F2} us"
    else $"{seconds * 1e9:F4} ns"

let run (threads: int) (filter: string) (seconds: float) (json: string option) =
    Threads.Count <- threads

    let results =
        [
            for ladder in ladders do
                if Regex.IsMatch(ladder.Name, filter) then
                    printfn $"{ladder.Name}: time per {ladder.Unit}, {threads} thread(s)"
                    let mutable least = infinity

                    ladder.Name,
                    [
                        for size in ladder.Sizes do
                            // The fastest sample: the shape of the curve matters, not the weather.
                            let milliseconds = (Measure.time seconds (ladder.Build size)).Min
                            let perUnit = milliseconds / 1e3 / ladder.Work size
                            let ratio = perUnit / least

                            let remark =
                                if ratio > bend then
                                    $"  {ratio:F1} times the best before"
                                else
                                    ""

                            least <- min least perUnit
                            printfn $"  {size, 9} {milliseconds, 11:F4} ms {inUnits perUnit, 14}{remark}"

                            {|
                                size = size
                                ms = milliseconds
                                per_unit_ns = perUnit * 1e9
                            |}
                    ]
        ]

    match json with
    | Some path ->
        File.WriteAllText(
            path,
            JsonSerializer.Serialize(
                {|
                    threads = threads
                    results = dict results
                |},
                JsonSerializerOptions(WriteIndented = true)
            )
        )
    | None -> ()

    // Cost in memory against time.
    if Regex.IsMatch("memory of 10,000 steps", filter) then
        Steady.run ()
    else
        0
