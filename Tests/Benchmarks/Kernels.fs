namespace Functional.Benchmarks

open System
open BenchmarkDotNet.Attributes
open Functional

/// Matrix products by size.
[<MemoryDiagnoser>]
type MatrixProducts() =
    let mutable a = Tensor.Zeros Shape.Scalar
    let mutable b = Tensor.Zeros Shape.Scalar

    [<Params(64, 256, 1024)>]
    member val Size = 0 with get, set

    [<GlobalSetup>]
    member this.Setup() =
        let shape = Shape.Of [ this.Size; this.Size ]
        a <- (Key.OfSeed 1L).Normal shape
        b <- (Key.OfSeed 2L).Normal shape

    [<Benchmark>]
    member _.Plain() = a.Matmul b

    [<Benchmark>]
    member _.LeftTransposed() = a.T.Matmul b

    [<Benchmark>]
    member _.RightTransposed() = a.Matmul b.T

/// Elementwise operations and reductions on a million floats.
[<MemoryDiagnoser>]
type Elementwise() =
    let a = (Key.OfSeed 1L).Normal(Shape.Of [ 1024; 1024 ])
    let b = (Key.OfSeed 2L).Normal(Shape.Of [ 1024; 1024 ])
    let row = (Key.OfSeed 3L).Normal(Shape.Of [ 1024 ])

    [<Benchmark>]
    member _.Add() = a + b

    [<Benchmark>]
    member _.AddRow() = a + row

    [<Benchmark>]
    member _.Exp() = a.Exp()

    [<Benchmark>]
    member _.Tanh() = a.Tanh()

    [<Benchmark>]
    member _.Gelu() = a.Gelu()

    [<Benchmark>]
    member _.SumRows() = a.Sum 1

    [<Benchmark>]
    member _.SumColumns() = a.Sum 0

    [<Benchmark>]
    member _.Softmax() = a.Softmax 1

/// Elementwise formulas on a million floats, operation by operation and as one loop.
[<MemoryDiagnoser>]
type Fusion() =
    let x = (Key.OfSeed 1L).Normal(Shape.Of [ 1024; 1024 ])
    let w = (Key.OfSeed 2L).Normal(Shape.Of [ 1024; 1024 ])
    let row = (Key.OfSeed 3L).Normal(Shape.Of [ 1024 ])

    let affine (x: Tensor) (w: Tensor) (b: Tensor) = (x * w + b).Relu()

    let gelu (x: Tensor) =
        0.5 * x * (1.0 + (0.7978845608 * (x + 0.044715 * x * x * x)).Tanh())

    let fusedAffine = Diff.Fuse(System.Func<_, _, _, _> affine)
    let fusedGelu = Diff.Fuse(System.Func<Tensor, Tensor> gelu)

    let gradient (f: Tensor -> Tensor) =
        Diff.Grad(System.Func<Tensor, Tensor>(fun x -> (f x).Sum())).Invoke x

    [<Benchmark>]
    member _.ReluOfProductAndRow() = affine x w row

    [<Benchmark>]
    member _.ReluOfProductAndRowFused() = fusedAffine.Invoke(x, w, row)

    [<Benchmark>]
    member _.GeluByHand() = gelu x

    [<Benchmark>]
    member _.GeluByHandFused() = fusedGelu.Invoke x

    [<Benchmark>]
    member _.GeluGradient() = gradient gelu

    [<Benchmark>]
    member _.GeluGradientFused() = gradient fusedGelu.Invoke

/// One taped operation, forward and backward.
[<MemoryDiagnoser>]
type Overhead() =
    let a = (Key.OfSeed 1L).Normal(Shape.Of [ 4 ])
    let c = (Key.OfSeed 2L).Normal(Shape.Of [ 4 ])

    [<Benchmark(OperationsPerInvoke = 100)>]
    member _.AddChain() =
        let chain (x: Tensor[]) =
            let mutable y = x[0]

            for _ in 1..100 do
                y <- y + c

            y.Sum()

        Diff.ValueAndGrad(System.Func<_, _> chain, a)

/// 3x3 convolutions of an image batch by size: forward, and both gradients.
[<MemoryDiagnoser>]
type Convolutions() =
    let window = Window(Padding = 1)
    let mutable x = Tensor.Zeros Shape.Scalar
    let mutable w = Tensor.Zeros Shape.Scalar
    let mutable y = Tensor.Zeros Shape.Scalar

    [<Params(8, 16, 32)>]
    member val Size = 0 with get, set

    [<Params(16, 64)>]
    member val Channels = 0 with get, set

    [<GlobalSetup>]
    member this.Setup() =
        let image = Shape.Of [ 16; this.Channels; this.Size; this.Size ]
        x <- (Key.OfSeed 1L).Normal image
        w <- (Key.OfSeed 2L).Normal(Shape.Of [ this.Channels; this.Channels; 3; 3 ])
        y <- (Key.OfSeed 3L).Normal image

    [<Benchmark>]
    member _.Forward() =
        Tensor.Convolution(x, w, window = window)

    [<Benchmark>]
    member this.InputGradient() =
        Ops.Convolutions.Transpose(window, [| this.Size; this.Size |]).Call(y, w)

    [<Benchmark>]
    member _.WeightGradient() =
        Ops.Convolutions.Correlate(window, [| 3; 3 |]).Call(x, y)

    [<Benchmark>]
    member _.Depthwise() =
        let each = w.Slice(1, 0, 1)
        Tensor.Convolution(x, each, window = Window(Padding = 1, Groups = x.Shape[1]))

/// The gradient of the sum of a function's result.
module private Gradient =
    let ofSum (f: Tensor -> Tensor) (x: Tensor) =
        Diff.Grad(System.Func<Tensor, Tensor>(fun x -> (f x).Sum())).Invoke x

/// Windows of 2x2, overlapping windows of 3x3, and whole images.
[<MemoryDiagnoser>]
type PoolingKernels() =
    let x = (Key.OfSeed 1L).Normal(Shape.Of [ 64; 32; 32; 32 ])
    let overlapping = Window(Stride = 2, Padding = 1)

    [<Benchmark>]
    member _.Max() = x.MaxPool 2

    [<Benchmark>]
    member _.MaxOverlapping() = x.MaxPool(3, overlapping)

    [<Benchmark>]
    member _.MaxWithGradient() = x |> Gradient.ofSum _.MaxPool(2)

    [<Benchmark>]
    member _.Average() = x.AveragePool 2

    [<Benchmark>]
    member _.AverageOverlapping() = x.AveragePool(3, overlapping)

    [<Benchmark>]
    member _.AverageWithGradient() = x |> Gradient.ofSum _.AveragePool(2)

    [<Benchmark>]
    member _.Global() = x.AdaptiveAveragePool 1

/// Rows and channels brought to mean 0 and variance 1.
[<MemoryDiagnoser>]
type NormalisationKernels() =
    let rows = (Key.OfSeed 1L).Normal(Shape.Of [ 1024; 1024 ])
    let images = (Key.OfSeed 2L).Normal(Shape.Of [ 32; 32; 32; 32 ])

    [<Benchmark>]
    member _.Layer() = rows.LayerNorm()

    [<Benchmark>]
    member _.LayerWithGradient() = rows |> Gradient.ofSum _.LayerNorm()

    [<Benchmark>]
    member _.RootMeanSquare() = rows.RmsNorm()

    [<Benchmark>]
    member _.Batch() =
        let struct (y, _, _) = images.BatchNorm()
        y

    [<Benchmark>]
    member _.BatchWithGradient() =
        images
        |> Gradient.ofSum (fun x ->
            let struct (y, _, _) = x.BatchNorm()
            y)

    [<Benchmark>]
    member _.Group() = images.GroupNorm 8

    [<Benchmark>]
    member _.Instance() = images.InstanceNorm()

/// 28 steps of a batch of 64, forward and with the gradient of the input weight.
[<MemoryDiagnoser>]
type Recurrences() =
    let x = (Key.OfSeed 1L).Normal(Shape.Of [ 64; 28; 28 ])

    let weights gates units =
        let scale = 1.0 / sqrt (float units)

        [|
            for i, sizes in
                List.indexed
                    [
                        [ 28; gates * units ]
                        [ units; gates * units ]
                        [ gates * units ]
                        [ gates * units ]
                    ] -> (Key.OfSeed 2L).Fold(i).Normal(Shape.Of sizes) * scale
        |]

    let mutable one = [||]
    let mutable three = [||]
    let mutable four = [||]

    [<Params(32, 128)>]
    member val Units = 0 with get, set

    [<GlobalSetup>]
    member this.Setup() =
        one <- weights 1 this.Units
        three <- weights 3 this.Units
        four <- weights 4 this.Units

    [<Benchmark>]
    member _.Rnn() =
        Tensor.Rnn(x, one[0], one[1], one[2], one[3])

    [<Benchmark>]
    member _.Gru() =
        Tensor.Gru(x, three[0], three[1], three[2], three[3])

    [<Benchmark>]
    member _.Lstm() =
        let struct (states, _) = Tensor.Lstm(x, four[0], four[1], four[2], four[3])
        states

    [<Benchmark>]
    member _.LstmWithGradient() =
        four[0]
        |> Gradient.ofSum (fun w ->
            let struct (states, _) = Tensor.Lstm(x, w, four[1], four[2], four[3])
            states)

/// Four examples with four heads of 32 features.
[<MemoryDiagnoser>]
type AttentionKernels() =
    let mutable q = Tensor.Zeros Shape.Scalar
    let mutable k = Tensor.Zeros Shape.Scalar
    let mutable v = Tensor.Zeros Shape.Scalar

    [<Params(64, 256)>]
    member val Length = 0 with get, set

    [<GlobalSetup>]
    member this.Setup() =
        let draw seed =
            (Key.OfSeed seed).Normal(Shape.Of [ 4; 4; this.Length; 32 ])

        q <- draw 1L
        k <- draw 2L
        v <- draw 3L

    [<Benchmark>]
    member _.Full() = Tensor.Attention(q, k, v)

    [<Benchmark>]
    member _.Causal() =
        Tensor.Attention(q, k, v, causal = true)

    [<Benchmark>]
    member _.WithGradient() =
        q |> Gradient.ofSum (fun q -> Tensor.Attention(q, k, v))

/// Attention with forward and backward pass: in blocks, and written out as product, softmax and product.
[<MemoryDiagnoser>]
type Attention() =
    let mutable x: Tensor[] = [||]
    let mutable g = Tensor.Zeros Shape.Scalar

    let gradients (attend: Tensor[] -> Tensor) =
        Memory.Tidy(
            Action(fun () ->
                let struct (_, pull) =
                    Diff.Vjp(Func<Tensor[], Tensor[]>(fun t -> [| attend t |]), x)

                pull.Invoke [| g |] |> ignore)
        )

    [<Params(64, 512)>]
    member val Length = 0 with get, set

    [<Params(false, true)>]
    member val Causal = false with get, set

    [<GlobalSetup>]
    member this.Setup() =
        let key = Key.OfSeed 1L
        let shape = Shape.Of [ 2; 8; this.Length; 64 ]
        x <- Array.init 3 (fun i -> key.Fold(i).Normal shape)
        g <- key.Fold(3).Normal shape

    [<Benchmark>]
    member this.InBlocks() =
        gradients (fun t -> Tensor.Attention(t[0], t[1], t[2], null, this.Causal))

    [<Benchmark(Baseline = true)>]
    member this.WrittenOut() =
        gradients (fun t -> Tensor.AttentionWeights(t[0], t[1], null, this.Causal).Matmul t[2])

/// Running results along rows and along columns, and order.
[<MemoryDiagnoser>]
type ScanKernels() =
    let x = (Key.OfSeed 1L).Normal(Shape.Of [ 1024; 1024 ])
    let decay = (Key.OfSeed 2L).Uniform(Shape.Of [ 1024; 1024 ])

    [<Benchmark>]
    member _.SumsAlongRows() = x.CumSum 1

    [<Benchmark>]
    member _.SumsAlongColumns() = x.CumSum 0

    [<Benchmark>]
    member _.SumsWithGradient() = x |> Gradient.ofSum _.CumSum(1)

    [<Benchmark>]
    member _.Largest() =
        let struct (values, _) = x.CumMax 1
        values

    [<Benchmark>]
    member _.LogSumExps() = x.LogCumSumExp 1

    [<Benchmark>]
    member _.Recurrence() = Tensor.LinearRecurrence(decay, x, 1)

    [<Benchmark>]
    member _.RecurrenceWithGradient() =
        x |> Gradient.ofSum (fun x -> Tensor.LinearRecurrence(decay, x, 1))
