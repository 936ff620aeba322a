namespace Functional.Benchmarks

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
