/// Pooling over images wider than a vector, against the naive reference: ties, NaN, cut windows, long ones.
module Functional.Tests.PoolingTests

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Ops
open Functional.Tests.Plain

let private key = Key.OfSeed 12L

/// Few different values, so that windows hold equals.
let private coarse (dtype: DType) (sizes: int list) =
    ((key.Uniform(Shape.Of sizes, -3.0, 3.0)).Round()).Cast dtype

let private plain (x: Tensor) : Plain =
    {
        Shape = x.Shape.ToArray()
        Values = x.ToDoubles()
    }

let private reference name attributes x =
    let outputs: Plain[] = Reference.all[name] (Attributes attributes) [| plain x |]
    outputs

let private near what (dtype: DType) (expected: float[]) (actual: float[]) =
    let u = if dtype = DType.Float32 then 6e-8 else 1.2e-16
    Expect.equal actual.Length expected.Length what

    for i in 0 .. expected.Length - 1 do
        if not (abs (expected[i] - actual[i]) <= 100.0 * u) then
            failtestNoStackf "%s: element %d must be %.9g; got %.9g" what i expected[i] actual[i]

let private means (op: Op) name adjoint attributes (x: Tensor) =
    let y = op.Call x
    let expected = reference name attributes x
    near $"{name}, {attributes} of {x.Describe()}" x.DType expected[0].Values (y.ToDoubles())

    let struct (_, pull) =
        Diff.Vjp(Func<Tensor[], Tensor[]>(fun t -> [| op.Call t[0] |]), [| x |])

    let g = coarse x.DType (List.ofSeq y.Shape)
    let pulled = pull.Invoke [| g |]
    let spatial = Shape.Of(List.ofSeq x.Shape |> List.skip 2)

    let expected = reference adjoint $"{attributes}, spatial = {spatial}" g
    near $"{adjoint}, {attributes} of {x.Describe()}" x.DType expected[0].Values (pulled[0].ToDoubles())

let private maxima (op: Op) name attributes (x: Tensor) =
    let pooled = op.Apply x
    let expected = reference name attributes x
    Expect.sequenceEqual (pooled[0].ToDoubles()) expected[0].Values $"values of {name}, {attributes} of {x.Describe()}"
    Expect.sequenceEqual (pooled[1].ToDoubles()) expected[1].Values $"places of {name}, {attributes} of {x.Describe()}"

let private sliding (kernel: int) (stride: int) (pad: int) (dilation: int) (x: Tensor) =
    let window =
        Window(
            Stride = PerAxis.op_Implicit stride,
            Padding = Padding.op_Implicit pad,
            Dilation = PerAxis.op_Implicit dilation
        )

    maxima (Pooling.MaxOver(PerAxis.op_Implicit kernel, window)) "maxPool" $"kernel = {kernel}, {window}" x

    if dilation = 1 then
        for counts, flag in [ true, "true"; false, "false" ] do
            means
                (Pooling.AverageOver(PerAxis.op_Implicit kernel, window, counts))
                "averagePool"
                "averageUnpool"
                $"kernel = {kernel}, {window}, countPadding = {flag}"
                x

let private adaptive (size: int) (x: Tensor) =
    let attributes = $"size = {size}"
    maxima (Pooling.AdaptiveMaxOver(PerAxis.op_Implicit size)) "adaptiveMaxPool" attributes x

    means
        (Pooling.AdaptiveAverageOver(PerAxis.op_Implicit size))
        "adaptiveAveragePool"
        "adaptiveAverageUnpool"
        attributes
        x

[<Tests>]
let tests =
    testList
        "pooling"
        [
            for dtype in [ DType.Float32; DType.Float64 ] do
                for width in [ 4; 7; 15; 16; 17; 31; 32; 33; 34; 66 ] do
                    testCase $"{dtype}, images 6 high and {width} wide" (fun () ->
                        let x = coarse dtype [ 1; 2; 6; width ]

                        for kernel, stride, pad, dilation in
                            [
                                2, 2, 0, 1
                                3, 2, 1, 1
                                3, 1, 1, 1
                                2, 1, 0, 1
                                3, 3, 1, 1
                                4, 2, 2, 1
                                2, 2, 1, 2
                                2, 1, 0, 3
                            ] do
                            sliding kernel stride pad dilation x

                        for size in [ 1; 3; 4 ] do
                            adaptive size x)

                testCase $"{dtype}, volumes" (fun () ->
                    let x = coarse dtype [ 1; 1; 4; 5; 19 ]
                    sliding 2 2 0 1 x
                    sliding 3 1 1 1 x
                    sliding 2 1 0 2 x
                    adaptive 2 x)

                testCase $"{dtype}, sequences" (fun () ->
                    let x = coarse dtype [ 2; 3; 70 ]
                    sliding 2 2 0 1 x
                    sliding 40 1 0 1 x
                    adaptive 1 x)

                for kernel, stride in [ 2, 2; 3, 1; 3, 2 ] do
                    testCase $"{dtype}, the first NaN of a window of {kernel}, stride {stride}, wins" (fun () ->
                        let x = coarse dtype [ 1; 1; 9; 37 ]
                        let holes = (coarse dtype [ 1; 1; 9; 37 ]).Abs().GreaterEqual 3.0

                        let fill (value: float) =
                            Tensor.Where(holes, Tensor.Scalar(value, dtype), x)

                        let window = Window(Stride = PerAxis.op_Implicit stride)
                        let pool = Pooling.MaxOver(PerAxis.op_Implicit kernel, window)
                        let pooled = pool.Apply(fill nan)

                        let expected = reference "maxPool" $"kernel = {kernel}, {window}" (fill infinity)

                        Expect.sequenceEqual (pooled[1].ToDoubles()) expected[1].Values "places"

                        Expect.sequenceEqual
                            (pooled[0].ToDoubles() |> Array.map Double.IsNaN)
                            (expected[0].Values |> Array.map Double.IsInfinity)
                            "NaN")
        ]
