/// The operations that MathNet.Numerics has, too: an implementation by others.
module Functional.Tests.MathNetReference

open Functional.Tests.Plain
open Functional.Tests.Reference
open MathNet.Numerics
open MathNet.Numerics.LinearAlgebra
open MathNet.Numerics.Statistics

let private count shape = Array.fold (*) 1 shape

let private two f (_: Attributes) (x: Plain[]) =
    [|
        { x[0] with
            Values = Array.map2 f x[0].Values x[1].Values
        }
    |]

let private one f (_: Attributes) (x: Plain[]) =
    [|
        { x[0] with
            Values = Array.map f x[0].Values
        }
    |]

/// Rows × columns of an array, from the element at `start` on.
let private matrix rows columns start (values: float[]) : Matrix<float> =
    Matrix.Build.Dense(rows, columns, (fun i j -> values[start + i * columns + j]))

let private rowMajor (m: Matrix<float>) = m.ToRowMajorArray()

let private matmul (_: Attributes) (x: Plain[]) =
    let rank = x[0].Shape.Length
    let m, k, n = x[0].Shape[rank - 2], x[0].Shape[rank - 1], x[1].Shape[rank - 1]
    let batch = x[0].Shape[.. rank - 3]

    let product b =
        matrix m k (b * m * k) x[0].Values * matrix k n (b * k * n) x[1].Values

    [|
        {
            Shape = Array.append batch [| m; n |]
            Values = Array.collect (product >> rowMajor) [| 0 .. count batch - 1 |]
        }
    |]

let private transposed (a: Attributes) (x: Plain[]) =
    match x[0].Shape, a.Ints "axes" with
    | [| m; n |], ([| 1; 0 |] | [| -1; -2 |] | [| -1; 0 |] | [| 1; -2 |]) when m > 0 && n > 0 ->
        [|
            {
                Shape = [| n; m |]
                Values = matrix m n 0 x[0].Values |> _.Transpose() |> rowMajor
            }
        |]
    | _ -> Reference.all["permute"] a x

/// A statistic of all elements; partial reductions are the naive reference's.
let private statistic name f (a: Attributes) (x: Plain[]) =
    let wholly =
        a.Ints "axes" = [||] && not (a.Flag "keepAxes") && x[0].Values.Length > 1

    if wholly then
        [|
            {
                Shape = [||]
                Values = [| f a x[0].Values |]
            }
        |]
    else
        Reference.all[name] a x

let all: Map<string, Attributes -> Plain[] -> Plain[]> =
    Map
        [
            "matmul", matmul
            "permute", transposed
            "erf", one SpecialFunctions.Erf
            "erfc", one SpecialFunctions.Erfc
            "sigmoid", one SpecialFunctions.Logistic
            "sin", one Trig.Sin
            "cos", one Trig.Cos
            "tan", one Trig.Tan
            "cosh", one Trig.Cosh
            "hypot", two (fun x y -> SpecialFunctions.Hypotenuse(x, y))
            // Its sinh and tanh are left out: they subtract exponentials, which loses digits near 0.
            "mean", statistic "mean" (fun _ v -> ArrayStatistics.Mean v)
            "max", statistic "max" (fun _ v -> ArrayStatistics.Maximum v)
            "min", statistic "min" (fun _ v -> ArrayStatistics.Minimum v)
            "var",
            statistic "var" (fun a v ->
                if a.Number "correction" = 1.0 then
                    ArrayStatistics.Variance v
                else
                    ArrayStatistics.PopulationVariance v)
        ]
