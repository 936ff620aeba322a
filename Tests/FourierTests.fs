/// Transforms of lengths that choose between the ways of computing them, against the naive reference; rows among others; long rows there and back.
module Functional.Tests.FourierTests

open System
open Expecto
open Functional
open Functional.Ops
open Functional.Tests.Plain

let private key = Key.OfSeed 31L

let private draw seed (dtype: DType) (sizes: int list) =
    key.Fold(seed: int).Uniform(Shape.Of sizes, -1.0, 1.0).Cast dtype

let private plain (x: Tensor) =
    {
        Shape = x.Shape.ToArray()
        Values = x.ToDoubles()
    }

/// Each of log₂n steps turns numbers by roots of unity and adds pairs of them, which rounds by (4√2 + 1)·u of their norm at most: all of them by 6.7·u·log₂n of the
/// spectrum's norm √n·‖x‖ (Higham, 2002, theorem 24.2). Evenly spread over n elements that is 6.7·u·log₂n·‖x‖ for each. Where one element has more than its share
/// the bound on the steps has far less than it allows: found were 1.2 at most. A convolution takes two transforms of up to twice the length.
let private allowed (dtype: DType) n (row: float[]) =
    let u = if dtype = DType.Float32 then 2.0 ** -24.0 else 2.0 ** -53.0
    4.0 * u * Math.Log2(float (2 * n)) * sqrt (row |> Array.sumBy (fun v -> v * v))

let private near what dtype n (norms: float[][]) (expected: float[]) (actual: float[]) =
    Expect.equal actual.Length expected.Length what
    let width = actual.Length / norms.Length

    for i in 0 .. expected.Length - 1 do
        if not (abs (expected[i] - actual[i]) <= allowed dtype n norms[i / width]) then
            failtestNoStackf "%s: element %d must be %.9g; got %.9g" what i expected[i] actual[i]

let private rowsOf (x: Tensor) =
    x.ToDoubles() |> Array.chunkBySize x.Shape[-1]

let private agrees dtype rows n =
    let x = draw n dtype [ rows; n ]
    let re, im = let struct (re, im) = x.RealFft() in re, im
    let expected = Reference.all["rfft"] (Attributes "") [| plain x |]
    near $"real parts of {n} {dtype}" dtype n (rowsOf x) expected[0].Values (re.ToDoubles())
    near $"imaginary parts of {n} {dtype}" dtype n (rowsOf x) expected[1].Values (im.ToDoubles())

    let a, b = draw 1 dtype [ rows; n / 2 + 1 ], draw 2 dtype [ rows; n / 2 + 1 ]

    let expected =
        Reference.all["rfftAdjoint"] (Attributes $"n = {n}") [| plain a; plain b |]

    let norms = Array.map2 Array.append (rowsOf a) (rowsOf b)

    near $"adjoint of {n} {dtype}" dtype n norms expected[0].Values (Fourier.Adjoint(n).Call(a, b).ToDoubles())

let private withThreads count f =
    let threads = Threads.Count

    try
        Threads.Count <- count
        f ()
    finally
        Threads.Count <- threads

/// Spectra of rows, and what their adjoint makes of them.
let private both (x: Tensor) =
    let struct (re, im) = x.RealFft()

    [| re; im; Fourier.Adjoint(x.Shape[-1]).Call(re, im) |]

[<Tests>]
let tests =
    testList
        "Fourier transforms"
        [
            for dtype in [ DType.Float32; DType.Float64 ] do
                testCase $"lengths of every kind, {dtype}" (fun () ->
                    // Every radix, and the primes beyond which a convolution takes over.
                    for n in [ 1..36 ] @ [ 49; 63; 64; 77; 81; 96; 121; 127; 128; 131; 169; 254; 262 ] do
                        agrees dtype 3 n

                    // Passes part by part; convolutions; matrices, also of odd heights.
                    for n in [ 500; 625; 997; 1000; 1024; 2048; 2049; 2050; 2187; 2310; 3125; 4096 ] do
                        agrees dtype 1 n)
            for n in [ 60; 61; 131; 997; 1000; 2100; 2187; 2503 ] do
                testCase $"a row of {n} among others, on any number of threads" (fun () ->
                    for dtype in [ DType.Float32; DType.Float64 ] do
                        let x = draw 3 dtype [ 37; n ]
                        let all = withThreads 1 (fun () -> both x)

                        Array.iter2
                            (fun (a: Tensor) (b: Tensor) -> Expect.equal (b.ToDoubles()) (a.ToDoubles()) "two threads")
                            all
                            (withThreads 2 (fun () -> both x))

                        for row in [ 0; 20; 36 ] do
                            let alone = both (x.Slice(0, row, Nullable(row + 1)))

                            Array.iter2
                                (fun (a: Tensor) (b: Tensor) ->
                                    Expect.equal ((rowsOf b)[0]) ((rowsOf a)[row]) $"row {row} alone")
                                all
                                alone)
            for n in [ 1 <<< 18; 250_000; 3 <<< 17; 177_147; 100_003 ] do
                testCase $"a row of {n} there and back" (fun () ->
                    for dtype in [ DType.Float32; DType.Float64 ] do
                        let x = draw 4 dtype [ n ]
                        let struct (re, im) = x.RealFft()
                        let back = Tensor.InverseRealFft(re, im, n)
                        // Twice the error of one, of a spectrum √n times as large, divided by n.
                        let bound = 2.0 * allowed dtype n (x.ToDoubles()) / sqrt (float n)
                        let error = (back - x).Abs().Max().ToDoubles()[0]
                        Expect.isLessThanOrEqual error bound $"{dtype}")
        ]
