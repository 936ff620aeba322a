/// Fused functions against the same functions, operation by operation and in random programs.
module Functional.Tests.Laws.Fusion

open System
open Expecto
open FsCheck.FSharp
open Functional
open Functional.Autodiff
open Functional.Kernels
open Functional.Ops
open Functional.Tests.Laws.Numbers

/// Whether this process can put several operations into one loop.
let isAvailable = FusedLoop<float32>.Available

/// Equal up to rounding, relative to the largest number.
let private close what (expected: Tensor) (actual: Tensor) =
    let expected, actual =
        if expected.DType = DType.Float32 then
            expected * 0.05, actual * 0.05
        else
            expected, actual

    agree what expected actual

/// Values bit by bit; derivatives, each in a mode of its own, to rounding.
let private same (f: Func<Tensor[], Tensor[]>) (x: Tensor[]) (draw: Draw) =
    let fused = Diff.Fuse f
    let y, z = f.Invoke x, fused.Invoke x

    for i in 0 .. y.Length - 1 do
        identical $"output {i}" y[i] z[i]

    let which = floats x

    // The float outputs as a function of the float inputs.
    let along (f: Func<Tensor[], Tensor[]>) =
        Func<Tensor[], Tensor[]>(fun t ->
            let all = Array.copy x
            which |> Array.iteri (fun k i -> all[i] <- t[k])
            f.Invoke all |> Array.filter _.DType.IsFloat())

    let c = y |> Array.filter _.DType.IsFloat() |> Array.map (direction draw)

    if which.Length > 0 && c.Length > 0 then
        let x = which |> Array.map (Array.get x)
        let v = x |> Array.map (direction draw)
        let s, t = weighted (along f) c, weighted (along fused) c
        Array.iter2 (close "gradient") (Diff.Grad(s).Invoke x) (Diff.Grad(t).Invoke x)
        Array.iter2 (close "second derivative along a direction") (Diff.Hvp(s, x, v)) (Diff.Hvp(t, x, v))
        let struct (_, expected) = Diff.Jvp(along f, x, v)
        let struct (_, actual) = Diff.Jvp(along fused, x, v)
        Array.iter2 (close "tangent") expected actual

/// An operation among others of one loop, or between two, is the operation.
let fusedIsUnfused =
    {
        Name = "fused is unfused"
        Cases = 15
        Check =
            fun sample ->
                // Something before it where that leaves the domain alone, and something after it.
                let f (x: Tensor[]) =
                    sample.Op.Apply(x |> Array.map (fun t -> if t.DType.IsFloat() then -(-t) else t))
                    |> Array.map (fun y ->
                        match y.DType with
                        | DType.Bool -> y.Not()
                        | dtype when dtype.IsFloat() -> y * 0.75 + y
                        | _ -> y)

                same f sample.Inputs (sample.Draw 21UL)
    }

// ---- random programs ----

/// Bounded, so that a dozen of them stay finite, and smooth or with kinks where no draw lies.
let private operations: (Tensor -> Tensor -> Tensor)[] =
    [|
        fun x y -> x + y
        fun x y -> x - 0.5 * y
        fun x y -> (x * y).Tanh()
        fun x y -> x / (1.5 + y.Square())
        fun x y -> x.Maximum(y + 0.01)
        fun x y -> Tensor.Where(x.Greater y, x, 0.5 * y)
        fun x y -> Tensor.Where((x.Less 0.1).Or((y.GreaterEqual 0.2).Not()), y.Sin(), x)
        fun x _ -> x.Sigmoid()
        fun x _ -> x.Relu() - 0.1
        fun x _ -> x.LeakyRelu 0.2
        fun x _ -> x.Clamp(-0.7, 0.9)
        fun x _ -> x.Gelu true
        fun x _ -> (1.0 + x.Square()).Log()
        fun x _ -> (-x.Square()).Exp()
        fun x _ -> (x.Abs() + 0.3).Sqrt()
        fun x _ -> x.Erf()
        fun x y -> (x.Greater 0.05).Cast x.DType * y
        fun x _ -> (x.Square() + 0.5).Pow 1.3
        // What is not elementwise comes between two loops.
        fun x y -> x - 0.1 * y.Sum()
        fun x _ ->
            if x.Rank = 2 then
                x * x.Sum([| 1 |], true).Tanh()
            else
                x.Cos()
    |]

let private lengths = [| 0; 1; 3; 7; 8; 9; 15; 16; 17; 31; 33; 64; 67; 130 |]

/// Values between the kinks of all operations, as far as one draw can.
let private input (draw: Draw) (shape: Shape) = draw.Tensor(shape, -1.5, 1.5)

let private program case =
    let draw =
        Draw(
            case.Seed,
            case.Size,
            DType =
                (if case.Seed % 2UL = 0UL then
                     DType.Float32
                 else
                     DType.Float64)
        )

    let rows = draw.Int(1, case.Size)
    let columns = lengths[draw.Int(0, min (lengths.Length - 1) (2 * case.Size + 1))]

    let shapes =
        [|
            [| rows; columns |]
            [| columns |]
            [| rows; 1 |]
            [||]
            [| rows; columns |]
        |]

    let inputs =
        Array.init (draw.Int(1, shapes.Length)) (fun i -> input draw (shapeOf shapes[i]))

    let steps =
        Array.init (draw.Int(1, 2 * case.Size)) (fun i ->
            draw.Int(0, operations.Length - 1), draw.Int(0, inputs.Length + i - 1), draw.Int(0, inputs.Length + i - 1))

    let several = draw.Chance 0.3

    let run (x: Tensor[]) =
        let nodes = ResizeArray x

        for operation, first, second in steps do
            nodes.Add(operations[operation] nodes[first] nodes[second])

        if several then
            [| nodes[nodes.Count - 1]; nodes[nodes.Count / 2] |]
        else
            [| nodes[nodes.Count - 1] |]

    draw, Func<Tensor[], Tensor[]> run, inputs

let private checkProgram case =
    let draw, f, x = program case
    same f x draw

    // A function of one example, many at once.
    let examples = x |> Array.map (fun t -> Tensor.Stack(0, t, 0.9 * t, -t))

    Array.iter2 (close "many examples") (Diff.Vmap(f).Invoke examples) (Diff.Vmap(Diff.Fuse f).Invoke examples)

let private gelu (x: Tensor) =
    0.5 * x * (1.0 + (0.7978845608 * (x + 0.044715 * x * x * x)).Tanh())

let private normal seed (shape: int list) =
    (Key.OfSeed seed).Normal(Shape.Of(Array.ofList shape), dtype = DType.Float32)

[<Tests>]
let tests =
    testList
        "fusion"
        [
            testPropertyWithConfig
                { Law.config 150 with endSize = 6 }
                "random programs: fused equals unfused"
                (Prop.forAll Law.cases (fun case -> Memory.Tidy(Action(fun () -> checkProgram case))))

            testCase "the number of threads changes no bit" (fun () ->
                let x, row = normal 1L [ 401; 257 ], normal 2L [ 257 ]

                let f =
                    Diff.Fuse(Func<Tensor, Tensor, Tensor>(fun x row -> (gelu x * row + x.T.T).Relu()))

                let threads = Threads.Count
                let many = f.Invoke(x, row)

                try
                    Threads.Count <- 1
                    identical "value" (f.Invoke(x, row)) many
                finally
                    Threads.Count <- threads)

            testCase "what the function closes over may change, and has a derivative" (fun () ->
                let x = normal 3L [ 40 ]
                let mutable scale = normal 4L [ 40 ]
                let f = Diff.Fuse(Func<Tensor, Tensor>(fun x -> (x * scale).Tanh() * scale))
                identical "first" ((x * scale).Tanh() * scale) (f.Invoke x)
                scale <- normal 5L [ 40 ]
                identical "second" ((x * scale).Tanh() * scale) (f.Invoke x)

                let by f w =
                    Diff.Grad(Func<Tensor, Tensor>(fun (w: Tensor) -> (f w: Tensor).Sum())).Invoke w

                close
                    "gradient"
                    (by (fun w -> (x * w).Exp()) scale)
                    (by (fun w -> Diff.Fuse(Func<Tensor, Tensor>(fun x -> (x * w).Exp())).Invoke x) scale))

            testCase "an argument that comes twice, and goes elsewhere, too" (fun () ->
                let x = normal 9L [ 5; 19 ]

                let both (f: Func<Tensor, Tensor, Tensor>) =
                    Diff.Grad(Func<Tensor, Tensor>(fun x -> (f.Invoke(x, x) * x + f.Invoke(x + 1.0, x)).Sum())).Invoke
                        x

                let f = Func<Tensor, Tensor, Tensor>(fun x y -> x.Sigmoid() * y + x)
                close "gradient" (both f) (both (Diff.Fuse f))
                let sum = Func<Tensor, Tensor, Tensor>(fun x y -> x + y + y)
                close "gradient that is the cotangent" (both sum) (both (Diff.Fuse sum)))

            testCase "elements cannot be read inside, and the message says what to do" (fun () ->
                let f =
                    Diff.Fuse(Func<Tensor, Tensor>(fun x -> if x.Sum().ToDouble() > 0.0 then x else -x))

                // Where nothing can be fused the function runs as it is.
                if isAvailable then
                    Expect.throwsC (fun () -> f.Invoke(normal 6L [ 3 ]) |> ignore) (fun error ->
                        Expect.stringContains error.Message "Choose with Tensor.Where" "a way out"))

            testCase "a function of integers, of shapes without data, and one that gives its argument" (fun () ->
                let double = Diff.Fuse(Func<Tensor, Tensor>(fun x -> x + x * 3))
                identical "integers" (Tensor.From [| 4; -8; 12 |]) (double.Invoke(Tensor.From [| 1; -2; 3 |]))
                Expect.isTrue (double.Invoke(Tensor.Meta(DType.Float32, Shape.Of [| 2 |]))).IsMeta "meta"
                let x = normal 7L [ 5 ]
                identical "identity" x (Diff.Fuse(Func<Tensor, Tensor>(fun x -> x)).Invoke x))

            testCase "a long chain is several loops" (fun () ->
                let f (x: Tensor) =
                    Seq.fold (fun (y: Tensor) i -> (y * 0.5 + x).Sin() - float i * 0.001) x (seq { 1..100 })

                let x = normal 8L [ 33 ]
                same (Func<Tensor[], Tensor[]>(fun t -> [| f t[0] |])) [| x |] (Draw(1UL, 3)))

            testCase "values on very many paths, and scopes inside" (fun () ->
                let rec squares n (y: Tensor) =
                    if n = 0 then
                        y
                    else
                        squares (n - 1) (Memory.Tidy(Func<Tensor>(fun () -> 0.5 * y * y + 0.5 * y.Sin())))

                let x = normal 10L [ 21 ]
                same (Func<Tensor[], Tensor[]>(fun t -> [| squares 20 t[0] |])) [| x.Tanh() |] (Draw(2UL, 3)))
        ]
