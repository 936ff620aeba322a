/// The workloads that peers are measured with, by the same names: `peers --threads N --filter REGEX --seconds S --json FILE`.
module Functional.Benchmarks.Peers

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Text.Json
open System.Text.RegularExpressions
open Functional
open type Functional.Layers

/// A workload builds its data and returns the closure that is timed; flop is 0 where a rate says nothing.
type Workload =
    {
        Name: string
        Operations: int
        Flop: float
        Build: unit -> (unit -> unit)
    }

let private key = Key.OfSeed 1L

let private normal seed (sizes: int list) =
    key.Fold(seed: int).Normal(Shape.Of sizes)

let private workload name build =
    {
        Name = name
        Operations = 1
        Flop = 0.0
        Build = build
    }

/// Every result is dropped at once, as a script would drop it; Tidy hands its memory to the next call.
let private forward f =
    let run = Action(fun () -> f () |> ignore<Tensor>)
    fun () -> Memory.Tidy run

let private forwardBackward (f: Tensor[] -> Tensor) (inputs: Tensor[]) =
    let g = normal 99 (List.ofSeq (f inputs).Shape)

    let run =
        Action(fun () ->
            let struct (_, pullback) = Diff.Vjp((fun x -> [| f x |]), inputs)
            pullback.Invoke [| g |] |> ignore)

    fun () -> Memory.Tidy run

let private million = 1 <<< 20

let private matmuls =
    [
        for n in [ 64; 256; 1024; 2048 ] ->
            { workload $"matmul_{n}" (fun () ->
                  let a, b = normal 1 [ n; n ], normal 2 [ n; n ]
                  forward (fun () -> a.Matmul b)) with
                Flop = 2.0 * float n ** 3.0
            }
    ]

let private elementwise =
    [
        for name, f in
            [
                "exp", (fun (x: Tensor) -> x.Exp())
                "tanh", (fun x -> x.Tanh())
                "gelu", (fun x -> x.Gelu())
            ] ->
            workload $"ew_{name}_1m" (fun () ->
                let a = normal 1 [ million ]
                forward (fun () -> f a))
    ]

let private additions =
    [
        for name, sa, sb in
            [
                "ew_add_1m", [ million ], [ million ]
                "bcast_add_1024x1024", [ 1024; 1024 ], [ 1024 ]
                // Into a buffer that was used before: what the pool gives every addition.
                "ew_add_1m_out", [ million ], [ million ]
            ] ->
            workload name (fun () ->
                let a, b = normal 1 sa, normal 2 sb
                forward (fun () -> a + b))
    ]

let private sums =
    [
        for axis in [ 0; 1 ] ->
            workload $"sum_axis{axis}_1024x1024" (fun () ->
                let a = normal 1 [ 1024; 1024 ]
                forward (fun () -> a.Sum axis))
    ]

let private rowwise =
    [
        workload "softmax_1024x1024_fwd" (fun () ->
            let a = normal 1 [ 1024; 1024 ]
            forward (fun () -> a.Softmax 1))
        workload "softmax_1024x1024_fwdbwd" (fun () ->
            forwardBackward (fun x -> x[0].Softmax 1) [| normal 1 [ 1024; 1024 ] |])
        workload "layernorm_1024x1024_fwd" (fun () ->
            let x, gain, bias = normal 1 [ 1024; 1024 ], normal 2 [ 1024 ], normal 3 [ 1024 ]
            forward (fun () -> x.LayerNorm(gain, bias)))
        workload "layernorm_1024x1024_fwdbwd" (fun () ->
            forwardBackward
                (fun x -> x[0].LayerNorm(x[1], x[2]))
                [| normal 1 [ 1024; 1024 ]; normal 2 [ 1024 ]; normal 3 [ 1024 ] |])
    ]

let private convolutions =
    [
        for inputs, outputs in [ 3, 32; 32, 64 ] do
            let flop = 2.0 * 64.0 * 32.0 * 32.0 * float (inputs * outputs * 9)
            let window = Window(Padding = 1)

            let convolve (x: Tensor[]) =
                Tensor.Convolution(x[0], x[1], x[2], window)

            let data () =
                [|
                    normal 1 [ 64; inputs; 32; 32 ]
                    normal 2 [ outputs; inputs; 3; 3 ]
                    normal 3 [ outputs ]
                |]

            { workload $"conv2d_64x{inputs}x32x32_{outputs}_fwd" (fun () ->
                  let x = data ()
                  forward (fun () -> convolve x)) with
                Flop = flop
            }

            { workload $"conv2d_64x{inputs}x32x32_{outputs}_fwdbwd" (fun () -> forwardBackward convolve (data ())) with
                Flop = 3.0 * flop
            }
    ]

let private pooling =
    [
        workload "maxpool2_64x32x32x32_fwdbwd" (fun () ->
            forwardBackward (fun x -> x[0].MaxPool 2) [| normal 1 [ 64; 32; 32; 32 ] |])
    ]

let private overhead =
    [
        { workload "overhead_add_chain" (fun () ->
              let a, c = normal 1 [ 4 ], normal 2 [ 4 ]

              let chain (x: Tensor[]) =
                  let mutable y = x[0]

                  for _ in 1..100 do
                      y <- y + c

                  y.Sum()

              let chain = Func<Tensor[], Tensor>(chain)
              let run = Action(fun () -> Diff.ValueAndGrad(chain, a) |> ignore)
              fun () -> Memory.Tidy run) with
            Operations = 100
        }
    ]

let private mlp sizes =
    let hidden = sizes |> List.tail |> List.map (fun units -> dense units)
    let layers = hidden |> List.reduce (fun net next -> net >=> relu >=> next)
    input [ List.head sizes ] >=> layers

/// Random vectors in a cycle of labels too long to be learnt, so that the gradient does not fade.
let private training =
    [
        for name, sizes, batch, optimiser in
            [
                "784_512_10_b64_sgd", [ 784; 512; 10 ], 64, Optim.sgd 0.01
                "784_128_10_b32_adam", [ 784; 128; 10 ], 32, Optim.adam 1e-3
                "784_64_64_10_b32_adam", [ 784; 64; 64; 10 ], 32, Optim.adam 1e-3
            ] ->
            workload $"train_mlp_{name}" (fun () ->
                let network = mlp sizes

                let trainer =
                    Trainer(optimiser, Loss.crossEntropy, network, key, [], Shape.Of [ 784 ])

                let xs = Array.init 8 (fun i -> normal (100 + i) [ batch; 784 ])

                let ys =
                    Array.init 509 (fun i -> key.Fold(1000 + i).Integers(Shape.Of [ batch ], 0L, 10L))

                let next = ref 0

                fun () ->
                    let n = next.Value
                    next.Value <- n + 1
                    trainer.Step(xs[n % 8], ys[n % 509]) |> ignore)
    ]

let private cifar (optimiser: Optimiser) network () =
    let trainer =
        Trainer(optimiser, Loss.crossEntropy, network (), key, [], Shape.Of [ 3; 32; 32 ])

    let xs = Array.init 8 (fun i -> normal (100 + i) [ 64; 3; 32; 32 ])

    let ys =
        Array.init 509 (fun i -> key.Fold(1000 + i).Integers(Shape.Of [ 64 ], 0L, 10L))

    let next = ref 0

    fun () ->
        let n = next.Value
        next.Value <- n + 1
        trainer.Step(xs[n % 8], ys[n % 509]) |> ignore

/// The network of PyTorch's CIFAR-10 tutorial.
let private tutorialCnn () =
    input [ 3; 32; 32 ]
    >=> conv (6, kernel = 5)
    >=> relu
    >=> maxPool 2
    >=> conv (16, kernel = 5)
    >=> relu
    >=> maxPool 2
    >=> flatten ()
    >=> dense 120
    >=> relu
    >=> dense 84
    >=> relu
    >=> dense 10

let private vgg () =
    let block channels =
        conv (channels, kernel = 3, pad = 1)
        >=> relu
        >=> conv (channels, kernel = 3, pad = 1)
        >=> relu
        >=> maxPool 2

    input [ 3; 32; 32 ]
    >=> block 32
    >=> block 64
    >=> flatten ()
    >=> dense 256
    >=> relu
    >=> dense 10

/// ResNet-20 for CIFAR; 1x1 convolutions where the shape changes.
let private resnet20 () =
    let block inputs channels stride =
        let conv3 stride =
            conv (channels, kernel = 3, stride = PerAxis.op_Implicit (stride: int), pad = 1, bias = false)
            >=> batchNorm ()

        let body = conv3 stride >=> relu >=> conv3 1

        let skip =
            if inputs = channels && stride = 1 then
                lambda ("skip", id)
            else
                conv (channels, kernel = 1, stride = PerAxis.op_Implicit stride, bias = false)
                >=> batchNorm ()

        add [ body; skip ] >=> relu

    let stage inputs channels stride =
        block inputs channels stride
        >=> block channels channels 1
        >=> block channels channels 1

    input [ 3; 32; 32 ]
    >=> conv (16, kernel = 3, pad = 1, bias = false)
    >=> batchNorm ()
    >=> relu
    >=> stage 16 16 1
    >=> stage 16 32 2
    >=> stage 32 64 2
    >=> globalAveragePool ()
    >=> dense 10

/// A peer's faster layout is compared, too: the same network under a second name.
let private cnns =
    [
        for name, optimiser, network in
            [
                "train_cnn_cifar_b64_sgdm", Optim.momentum (0.001, momentum = 0.9), tutorialCnn
                "train_cnn_vgg_b64_adam", Optim.adam 1e-3, vgg
                "train_resnet20_b64_sgdm", Optim.momentum (0.01, momentum = 0.9), resnet20
            ] do
            workload name (cifar optimiser network)
            workload $"{name}_nhwc" (cifar optimiser network)
    ]

/// The rows of 28 x 28 images as a sequence; the last state tells the class.
let private sequences =
    [
        for name, layer in [ "lstm", lstm 128; "gru", gru 128; "rnn", rnn 128 ] ->
            workload $"train_{name}_s28_h128_b64_adam" (fun () ->
                let network = input [ 28; 28 ] >=> layer >=> lastState () >=> dense 10

                let trainer =
                    Trainer(Optim.adam 1e-3, Loss.crossEntropy, network, key, [], Shape.Of [ 28; 28 ])

                let xs = Array.init 8 (fun i -> normal (100 + i) [ 64; 28; 28 ])

                let ys =
                    Array.init 509 (fun i -> key.Fold(1000 + i).Integers(Shape.Of [ 64 ], 0L, 10L))

                let next = ref 0

                fun () ->
                    let n = next.Value
                    next.Value <- n + 1
                    trainer.Step(xs[n % 8], ys[n % 509]) |> ignore)
    ]

/// Two layers over 16 x 64 characters.
let private transformer =
    workload "train_transformer_l2_d128_s64_b16_adamw" (fun () ->
        let network =
            input [ 64 ]
            >=> embedding (65, 128)
            >=> positions ()
            >=> repeat 2 (transformerBlock (4, 512, causal = true))
            >=> layerNorm ()
            >=> eachStep (dense 65)

        let loss (scores: Tensor) (target: Tensor) = Tensor.CrossEntropy(scores, target)

        let trainer = Trainer(Optim.adamW 3e-4, loss, network, key, [], Shape.Of [ 64 ])

        let tokens i =
            key.Fold(1000 + i).Integers(Shape.Of [ 16; 64 ], 0L, 65L)

        let xs = Array.init 8 tokens
        let ys = Array.init 509 (fun i -> tokens (100 + i))
        let next = ref 0

        fun () ->
            let n = next.Value
            next.Value <- n + 1
            trainer.Step(xs[n % 8], ys[n % 509]) |> ignore)

let private inference =
    [
        for batch in [ 1; 256 ] ->
            workload $"infer_mlp_784_512_10_b{batch}" (fun () ->
                let network = mlp [ 784; 512; 10 ]
                let parameters = Layer.init key network
                let x = normal 1 [ batch; 784 ]
                forward (fun () -> Layer.predict network parameters x))
    ]

let private workloads =
    matmuls
    @ elementwise
    @ additions
    @ sums
    @ rowwise
    @ convolutions
    @ pooling
    @ overhead
    @ training
    @ cnns
    @ sequences
    @ [ transformer ]
    @ inference

// ---- memory ----

/// Twenty steps of a workload in this process; prints its peak memory.
let runMemory (threads: int) (name: string) =
    Threads.Count <- threads

    match workloads |> List.tryFind (fun w -> w.Name = name) with
    | Some workload ->
        let step = workload.Build()

        for _ in 1..20 do
            step ()

        printfn $"{Machine.peakMemory ()}"
        0
    | None ->
        eprintfn $"peers: no workload is called '{name}'."
        2

/// The same in a process of its own, which holds nothing but that workload.
let private memoryOf (threads: int) (name: string) =
    let host = string Environment.ProcessPath
    let arguments = [ "memory-of"; name; "--threads"; string threads ]

    // Either the program itself or dotnet with the program as its first argument.
    let arguments =
        if Path.GetFileNameWithoutExtension host = "dotnet" then
            Environment.GetCommandLineArgs()[0] :: arguments
        else
            arguments

    use child =
        Process.Start(ProcessStartInfo(host, arguments, RedirectStandardOutput = true))
        |> nonNull

    let output = child.StandardOutput.ReadToEnd()
    child.WaitForExit()
    Double.Parse(output, Globalization.CultureInfo.InvariantCulture)

/// Runs the workloads whose names match and writes what compare tools read: {"results": {NAME: {"ms": median}}}.
let run (threads: int) (filter: string) (seconds: float) (json: string option) =
    Threads.Count <- threads
    let chosen = workloads |> List.filter (fun w -> Regex.IsMatch(w.Name, filter))
    let results = SortedDictionary<string, obj>()

    // The peak is taken before and after: a neighbour's load would make it look low and the shares high.
    let before =
        if chosen |> List.exists (fun w -> w.Flop > 0.0) then
            Machine.peak ()
        else
            0.0

    let timings =
        [
            for w in chosen do
                let step = w.Build()
                let timing = Measure.time seconds step

                results[w.Name] <-
                    {|
                        ms = timing.Median
                        min_ms = timing.Min
                        p90_ms = timing.P90
                        samples = timing.Samples
                    |}

                w, timing
        ]

    let peak = if before > 0.0 then max before (Machine.peak ()) else 0.0

    for w, timing in timings do
        let extra =
            if w.Flop > 0.0 then
                let rate = w.Flop / timing.Median / 1e6
                $"{rate, 9:F1} GFLOP/s, {100.0 * rate / peak:F0} %% of the measured FMA peak {peak:F0}"
            elif w.Operations > 1 then
                $"{timing.Median * 1e3 / float w.Operations, 9:F3} us per operation"
            else
                ""

        printfn
            $"{w.Name, -44} {timing.Median, 10:F4} ms  (min {timing.Min:F4}, p90 {timing.P90:F4}, n={timing.Samples}) {extra}"

    let memory = "rss_train_cnn_vgg"

    if Regex.IsMatch(memory, filter) then
        let mib = memoryOf threads "train_cnn_vgg_b64_adam"
        results[memory] <- {| mib = mib |}
        printfn $"{memory, -44} {mib, 10:F1} MiB"

    match json with
    | Some path ->
        File.WriteAllText(
            path,
            JsonSerializer.Serialize(
                {|
                    threads = threads
                    results = results
                |},
                JsonSerializerOptions(WriteIndented = true)
            )
        )
    | None -> ()

    0
