/// Plain numbers beside tensors: what a law computes for itself instead of asking the library.
module Functional.Tests.Laws.Numbers

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Verification

let shapeOf (sizes: int[]) = Shape.Of(ReadOnlySpan<int>(sizes))

/// A contiguous tensor of numbers in row-major order.
let tensor (dtype: DType) (shape: Shape) (values: float[]) =
    Tensor.FromDoubles(ReadOnlySpan<float>(values), shape, dtype)

let like (x: Tensor) (values: float[]) = tensor x.DType x.Shape values

let copy (x: Tensor) = like x (x.ToDoubles())

/// A random tensor like another, in one of several layouts.
let direction (draw: Draw) (x: Tensor) =
    let drawn = draw.Tensor(x.Shape, -1.0, 1.0)

    if x.DType = DType.Float64 then
        drawn
    else
        drawn.Cast x.DType

let sumOf f (a: float[]) (b: float[]) =
    Array.fold2 (fun s x y -> s + f (x * y)) 0.0 a b

/// ⟨a, b⟩ over lists of tensors.
let inner (a: Tensor[]) (b: Tensor[]) =
    Array.fold2 (fun s (x: Tensor) (y: Tensor) -> s + sumOf id (x.ToDoubles()) (y.ToDoubles())) 0.0 a b

/// Σ|aᵢ·bᵢ|: what rounding errors of ⟨a, b⟩ are relative to.
let magnitude (a: Tensor[]) (b: Tensor[]) =
    Array.fold2 (fun s (x: Tensor) (y: Tensor) -> s + sumOf abs (x.ToDoubles()) (y.ToDoubles())) 0.0 a b

/// The limit of central differences g(h) for steps to 0, and its error.
let extrapolate (g: float -> float) =
    let struct (limit, error) = Differences.Extrapolate(Func<float, float> g)
    limit, error

/// Every element within its bound.
let within what (bound: int -> float) (expected: float[]) (actual: float[]) =
    Expect.equal actual.Length expected.Length $"{what}: number of elements"

    for i in 0 .. expected.Length - 1 do
        let e, a = expected[i], actual[i]

        if not (e = a || (Double.IsNaN e && Double.IsNaN a) || abs (e - a) <= bound i) then
            failtestNoStackf "%s: element %d must be %.17g within %.3g; got %.17g" what i e (bound i) a

/// Equal up to the rounding of two ways to the same numbers, each a sum of so many terms: errors of either sign grow with the root of their number.
let agreeInSum terms what (expected: Tensor) (actual: Tensor) =
    Expect.equal actual.Shape expected.Shape $"{what}: shape"
    Expect.equal actual.DType expected.DType $"{what}: dtype"
    let values = expected.ToDoubles()

    let largest =
        values
        |> Array.fold (fun m v -> if Double.IsFinite v then max m (abs v) else m) 1.0

    let epsilon = if expected.DType = DType.Float32 then 2e-6 else 2e-13
    let bound = epsilon * largest * sqrt (max 1.0 terms)
    within what (fun _ -> bound) values (actual.ToDoubles())

/// Equal up to the rounding of two ways to the same numbers.
let agree what expected actual = agreeInSum 1.0 what expected actual

/// The same bits; all NaN are one.
let unchanged what (expected: float[]) (actual: float[]) =
    for i in 0 .. expected.Length - 1 do
        let e, a = expected[i], actual[i]

        if
            BitConverter.DoubleToInt64Bits e <> BitConverter.DoubleToInt64Bits a
            && not (Double.IsNaN e && Double.IsNaN a)
        then
            failtestNoStackf "%s: element %d must be exactly %.17g; got %.17g" what i e a

/// Equal bit by bit.
let identical what (expected: Tensor) (actual: Tensor) =
    Expect.equal actual.Shape expected.Shape $"{what}: shape"
    Expect.equal actual.DType expected.DType $"{what}: dtype"
    unchanged what (expected.ToDoubles()) (actual.ToDoubles())

// ---- an operation as a function of its float inputs ----

/// Which inputs have derivatives.
let floats (x: Tensor[]) =
    [|
        for i in 0 .. x.Length - 1 do
            if x[i].DType.IsFloat() then
                i
    |]

let private floatOutputs (y: Tensor[]) =
    y |> Array.filter (fun t -> t.DType.IsFloat())

/// The operation as a function of the inputs named; the others stay as they are, and discrete outputs are left out.
let functionOf (op: Op) (inputs: Tensor[]) (which: int[]) =
    Func<Tensor[], Tensor[]>(fun t ->
        let x = Array.copy inputs
        which |> Array.iteri (fun k i -> x[i] <- t[k])
        floatOutputs (op.Apply x))

/// Σ⟨c, f(x)⟩ as a scalar function of tensors.
let weighted (f: Func<Tensor[], Tensor[]>) (c: Tensor[]) =
    Func<Tensor[], Tensor>(fun t ->
        Array.map2 (fun (w: Tensor) (y: Tensor) -> (w * y).Sum()) c (f.Invoke t)
        |> Array.reduce (fun a b -> a + b))

/// x + h·d for plain tensors, contiguous.
let step (x: Tensor[]) (d: Tensor[]) (h: float) =
    Array.map2
        (fun (x: Tensor) (d: Tensor) -> like x (Array.map2 (fun a b -> a + h * b) (x.ToDoubles()) (d.ToDoubles())))
        x
        d

/// The derivative along a direction as differences give it: the limit, the error that they estimate, and how far the values' own rounding carries.
type Difference =
    {
        Limit: float
        Error: float
        Rounding: Lazy<float>
    }

/// ⟨c, f(x + h d) − f(x − h d)⟩/2h at h → 0, and its error.
let differences (f: Func<Tensor[], Tensor[]>) (c: Tensor[]) x d =
    let numbers = Array.collect (fun (t: Tensor) -> t.ToDoubles())
    let weights = numbers c
    let values (x: Tensor[]) = numbers (f.Invoke x)
    let at h = values (step x d h)

    let weighted values =
        Array.sum (Array.map2 (*) weights values)

    let limit, error =
        extrapolate (fun h -> weighted (Array.map2 (-) (at h) (at -h)) / (2.0 * h))

    // A function's terms may be much larger than the value in which they cancel, and rounding is relative to the terms: it is measured.
    let rounding () =
        Differences.Rounding(Func<float, float>(at >> weighted))

    {
        Limit = limit
        Error = error
        Rounding = lazy (rounding ())
    }

/// The number agrees with the differences of a function whose weighted values have the magnitude given.
let agreesWithDifferences what magnitudeOfValue magnitudeOfDerivative (actual: float) (difference: Difference) =
    let rounding = 1e-12 * magnitudeOfValue
    let allowed = 1e-8 * magnitudeOfDerivative + 10.0 * difference.Error + rounding

    // Measured where it matters alone: it takes many values.
    let beyond allowed error =
        not (error <= allowed) && not (error <= allowed + difference.Rounding.Value)

    if beyond (1e-6 * (magnitudeOfDerivative + magnitudeOfValue) + rounding) difference.Error then
        failtestNoStackf
            "%s: differences do not settle (%g ± %g): the domain must stay away from kinks"
            what
            difference.Limit
            difference.Error

    if beyond allowed (abs (actual - difference.Limit)) then
        failtestNoStackf
            "%s: %.15g, but differences give %.15g ± %.2g (allowed %.2g and %.2g for rounding)"
            what
            actual
            difference.Limit
            difference.Error
            allowed
            difference.Rounding.Value
