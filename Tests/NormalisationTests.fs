/// Batch norm of images larger than a block of memory, against the formula in double precision.
module Functional.Tests.NormalisationTests

open System
open Expecto
open Functional
open Functional.Ops

let private key = Key.OfSeed 23L

/// Channels far from zero and with different spreads: sums of squares would cancel.
let private images (dtype: DType) (sizes: int list) =
    let channels = Shape.Of(1 :: sizes[1] :: List.replicate (sizes.Length - 2) 1)

    let mean, spread =
        key.Fold(1).Uniform(channels, -500.0, 500.0), key.Fold(2).Uniform(channels, 0.5, 2.0)

    (key.Fold(3).Normal(Shape.Of sizes) * spread + mean).Cast dtype

let private byHand (x: Tensor) (gain: Tensor) (bias: Tensor) (residual: Tensor | null) relu =
    let double (t: Tensor) = t.Cast DType.Float64

    let perChannel (t: Tensor) =
        (double t).Reshape(Array.append [| -1 |] (Array.create (x.Rank - 2) 1))

    let axes = [| 0; yield! [| 2 .. x.Rank - 1 |] |]
    let centred = double x - (double x).Mean(axes, true)
    let variance = centred.Square().Mean(axes, true)
    let y = centred * (variance + 1e-5).Rsqrt() * perChannel gain + perChannel bias

    let y =
        match residual with
        | null -> y
        | residual -> y + double residual

    (if relu then y.Relu() else y), variance

let private near what (limit: float) (expected: Tensor) (actual: Tensor) =
    let expected = expected.Cast DType.Float64
    let off = (actual.Cast DType.Float64 - expected).Abs().Max().ToDouble()
    let size = expected.Abs().Max().ToDouble()

    if not (off <= limit * (1.0 + size)) then
        failtestNoStackf "%s: off by %g of %g" what off size

let private check (dtype: DType) sizes relu withResidual =
    let what = $"{dtype} {sizes}, relu {relu}, residual {withResidual}"
    let x = images dtype sizes

    let parameter fold =
        key.Fold(fold: int).Uniform(Shape.Of [ x.Shape[1] ], 0.5, 1.5, dtype)

    let gain, bias = parameter 4, parameter 5

    let residual: Tensor | null =
        if withResidual then
            key.Fold(6).Normal(x.Shape, 0.0, 1.0, dtype)
        else
            null

    // What rounding a mean of 500 leaves of a deviation of a half.
    let limit = if dtype = DType.Float32 then 2e-4 else 1e-11
    let struct (y, _, variance) = x.BatchNorm(gain, bias, 1e-5, relu, residual)
    let expected, expectedVariance = byHand x gain bias residual relu
    near $"{what}: y" limit expected y
    near $"{what}: variance" limit (expectedVariance.Reshape -1) variance

    let inputs =
        [|
            x
            gain
            bias
            match residual with
            | null -> ()
            | residual -> residual
        |]

    let op = Normalisation.Channels(true, true, withResidual, 1e-5, relu)
    let y = op.Apply inputs

    let g =
        [|
            key.Fold(7).Normal(x.Shape, 0.0, 1.0, dtype)
            Tensor.Zeros(y[1].Shape, dtype)
            Tensor.Zeros(y[2].Shape, dtype)
        |]

    let struct (_, pull) =
        Diff.Vjp(Func<Tensor[], Tensor[]>(fun t -> op.Apply t), inputs)

    pull.Invoke g
    |> Array.iteri (fun i gradient ->
        let rule = nonNull (op.Vjp.Invoke(inputs, y, g, i))
        near $"{what}: cotangent of input {i}" limit rule gradient)

[<Tests>]
let tests =
    testList
        "normalisation"
        [
            for sizes in
                [
                    // Planes of several pieces; several images to a block, the last one not full; several blocks to an image.
                    [ 3; 2; 70; 90 ]
                    [ 45; 3; 31; 33 ]
                    [ 2; 40; 30; 31 ]
                    // More than is worked on together: so many channels at a time, the last ones fewer.
                    [ 12; 21; 66; 67 ]
                ] ->
                testCase $"batch norm of {sizes}" (fun () ->
                    for dtype in [ DType.Float32; DType.Float64 ] do
                        for relu in [ false; true ] do
                            for residual in [ false; true ] do
                                check dtype sizes relu residual)
        ]
