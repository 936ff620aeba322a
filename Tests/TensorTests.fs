/// Tensors and keys: numerics with a stated bound, limits, memory.
module Functional.Tests.TensorTests

open System
open Expecto
open Functional
open Functional.Kernels
open Functional.Ops

[<Tests>]
let tests =
    testList
        "tensors"
        [
            testCase "rows of a result that is written around the caches have the bits of a row alone" (fun () ->
                let x = Key.OfSeed(3L).Normal(Shape.Of [ 4200; 1040 ])

                let g = Key.OfSeed(4L).Normal(Shape.Of [ 4200; 1040 ])

                let softmaxGradient (x: Tensor) (g: Tensor) =
                    let struct (_, pullback) =
                        Diff.Vjp((fun (x: Tensor[]) -> [| x[0].Softmax 1 |]), [| x |])

                    pullback.Invoke([| g |])[0]

                for name, rows in
                    [
                        "softmax", (fun (x: Tensor) _ -> x.Softmax 1)
                        "logSoftmax", (fun x _ -> x.LogSoftmax 1)
                        "layerNorm", (fun x _ -> x.LayerNorm(null, null))
                        "softmax's gradient", softmaxGradient
                        "tanh", (fun x _ -> x.Tanh())
                        "x·g", (fun x g -> x * g)
                        "x and a row", (fun x _ -> x + Tensor.full [ 1040 ] 1.0)
                    ] do
                    let all = rows x g

                    for i in [ 0; 1; 2099; 4199 ] do
                        let row (t: Tensor) = t.Slice(0, i, i + 1)

                        Expect.equal
                            ((rows (row x) (row g)).ToDoubles())
                            ((row all).ToDoubles())
                            $"{name}, row {i} of {x.Shape}")

            testCase "a large matrix turns block by block into what a small one turns into" (fun () ->
                let x = Key.OfSeed(5L).Normal(Shape.Of [ 4112; 1030 ])
                let turned = Pointwise.Contiguous x.T

                for i in [ 0; 15; 255; 256; 1023; 1024; 1029 ] do
                    Expect.equal
                        (turned.Slice(0, i, i + 1).ToDoubles())
                        (x.Slice(1, i, i + 1).ToDoubles())
                        $"row {i} of {turned.Shape}")

            testCase "ten million tenths add up" (fun () ->
                let x = Tensor.full [ 10_000_000 ] 0.1
                let exact = 10_000_000.0 * float 0.1f
                Expect.isLessThan (abs (x.Sum().ToDouble() / exact - 1.0)) 1e-6 "along the axis"
                let rows = (x.Reshape(1_000_000, 10).Sum 0).ToDoubles()
                Expect.isLessThan (abs (rows[3] / (exact / 10.0) - 1.0)) 1e-6 "across rows"
                Expect.isLessThan (abs (x.Mean().ToDouble() / float 0.1f - 1.0)) 1e-6 "the mean")

            testCase "limits of the stable functions" (fun () ->
                let infinite = Tensor.From [| Double.NegativeInfinity; Double.NegativeInfinity |]
                Expect.equal (infinite.LogSumExp().ToDouble()) Double.NegativeInfinity "logsumexp of −∞"

                for dtype in [ DType.Float32; DType.Float64 ] do
                    let x = (Tensor.From [| 1000.0; -1000.0; 0.0 |]).Cast dtype
                    let softmax = (x.Softmax()).ToDoubles()
                    Expect.equal softmax [| 1.0; 0.0; 0.0 |] "softmax"
                    Expect.equal (x.LogSumExp().ToDouble()) 1000.0 "logsumexp"
                    Expect.equal ((x.Sigmoid()).ToDoubles()) [| 1.0; 0.0; 0.5 |] "sigmoid"
                    Expect.equal ((x.Softplus()).ToDoubles()[0..1]) [| 1000.0; 0.0 |] "softplus"
                    Expect.equal ((x.Tanh()).ToDoubles()) [| 1.0; -1.0; 0.0 |] "tanh"

                let tiny = Tensor.From [| 1e-18; -1e-18 |]
                Expect.equal ((tiny.Log1p()).ToDoubles()) [| 1e-18; -1e-18 |] "log1p"
                Expect.equal ((tiny.Expm1()).ToDoubles()) [| 1e-18; -1e-18 |] "expm1")

            testCase "an empty tensor goes through" (fun () ->
                let empty = Tensor.zeros [ 0; 3 ]
                Expect.equal ((empty + 1.0).Shape) (Shape.Of [ 0; 3 ]) "elementwise"
                Expect.equal ((empty.Sum 0).ToDoubles()) [| 0.0; 0.0; 0.0 |] "sum"
                Expect.equal ((empty *@ Tensor.ones [ 3; 2 ]).Shape) (Shape.Of [ 0; 2 ]) "product"

                Expect.equal
                    ((Tensor.ones [ 2; 0 ] *@ Tensor.ones [ 0; 2 ]).ToDoubles())
                    (Array.zeroCreate 4)
                    "no terms"

                Expect.equal ((grad (fun (x: Tensor) -> x.Exp().Sum()) empty).Shape) (Shape.Of [ 0; 3 ]) "gradient")

            testCase "what a caller holds never changes" (fun () ->
                let x = Tensor.From [| 1.0; 2.0 |]
                let view = x.Reshape(2, 1)
                let y = x + 1.0
                let g = grad (fun (x: Tensor) -> (x * x).Sum()) x
                Expect.equal (x.ToDoubles()) [| 1.0; 2.0 |] "the operand"
                Expect.equal (view.ToDoubles()) [| 1.0; 2.0 |] "its view"
                Expect.equal (y.ToDoubles()) [| 2.0; 3.0 |] "the result"
                Expect.equal (g.ToDoubles()) [| 2.0; 4.0 |] "the gradient")

            testCase "the generator gives the published numbers" (fun () ->
                // Philox 4x32-10 of Salmon et al. (2011), from the vectors published with it: counter and key to result.
                for counter, key, expected in
                    [
                        (0u, 0u, 0u, 0u), (0u, 0u), (0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)
                        (0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu),
                        (0xffffffffu, 0xffffffffu),
                        (0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)
                        (0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u),
                        (0xa4093822u, 0x299f31d0u),
                        (0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)
                    ] do
                    let c0, c1, c2, c3 = counter
                    let k0, k1 = key
                    let struct (a, b, c, d) = Philox.Block(c0, c1, c2, c3, k0, k1)
                    Expect.equal (a, b, c, d) expected "a block")

            testCase "keys are values" (fun () ->
                let key = Key.ofSeed 1

                let draw (key: Key) =
                    key.Uniform(Shape.Of [ 1000 ]).ToDoubles()

                Expect.equal (draw key) (draw key) "the same key"
                let a, b = Key.split key

                let all =
                    [ key; a; b; Key.fold 0 key; Key.fold 1 key; Key.foldName "x" key ]
                    |> List.map draw

                Expect.equal (List.distinct all).Length all.Length "all differ"

                for values in all do
                    Expect.isLessThan (abs (Array.average values - 0.5)) 0.05 "uniform"
                    Expect.isTrue (values |> Array.forall (fun v -> v >= 0.0 && v < 1.0)) "in [0, 1)"

                let normal = key.Normal(Shape.Of [ 20_000 ])
                Expect.isLessThan (abs (normal.Mean().ToDouble())) 0.03 "mean"
                Expect.isLessThan (abs (normal.Std().ToDouble() - 1.0)) 0.03 "deviation"
                let order = key.Permutation(50).ToArray<int64>()
                Expect.equal (Array.sort order) [| 0L .. 49L |] "a permutation")

            testCase "memory that nobody holds comes back" (fun () ->
                let work () =
                    for _ in 1..2000 do
                        Tensor.ones [ 1000; 100 ] + 1.0 |> ignore

                work ()
                let before = Memory.SystemBytes
                work ()
                // Two thousand results of 400 kB each would be 800 MB.
                Expect.isLessThan (Memory.SystemBytes - before) 200_000_000L "no growth without bounds")
        ]

[<Tests>]
let slices =
    let x = Tensor.From([| for i in 0..23 -> float i |], 2, 3, 4)

    testList
        "slices"
        [
            testCase "a slice includes its end, and a place drops its axis" (fun () ->
                let part: Tensor = x[0, 1.., 1..2]
                Expect.equal (Tensor.shape part) [ 2; 2 ] "shape"
                Expect.equal (part.ToDoubles()) [| 5.0; 6.0; 9.0; 10.0 |] "values")

            testCase "−1 is the last" (fun () ->
                Expect.equal ((x[-1, *, -1]: Tensor).ToDoubles()) [| 15.0; 19.0; 23.0 |] "last column"
                Expect.equal ((x[1, .. -2, 0]: Tensor).ToDoubles()) [| 12.0; 16.0 |] "all but the last")

            testCase "a part replaced leaves the rest and the tensor itself alone" (fun () ->
                let y =
                    x.WithPart(
                        Tensor.vector [ -1.0; -2.0 ] |> Tensor.cast DType.Float64,
                        1,
                        AxisSelection.op_Implicit (Range(1, 3)),
                        0
                    )

                Expect.equal (y.ToDoubles() |> Array.filter (fun v -> v < 0.0)) [| -1.0; -2.0 |] "replaced"
                Expect.equal (y[1, 2, 0].ToDouble()) -2.0 "in place"
                Expect.equal ((x.WithPartAdded(y, [||]) - x - y).Abs().Sum().ToDouble()) 0.0 "added to the whole"
                Expect.equal (x[1, 1, 0].ToDouble()) 16.0 "unchanged"

                let row = x.WithPart(-1.0, 1, AxisSelection.op_Implicit (Range(1, 3)))
                Expect.equal (row.ToDoubles() |> Array.filter (fun v -> v = -1.0) |> Array.length) 8 "a number"
                Expect.equal (row[1, 2, 3].ToDouble()) -1.0 "in place")

            testCase "masks select, fill and point" (fun () ->
                let mask = x.Greater 20.5
                Expect.equal (x.MaskedSelect(mask).ToDoubles()) [| 21.0; 22.0; 23.0 |] "selected"
                Expect.equal (x.MaskedFill(mask, 0.0).Max().ToDouble()) 20.0 "filled"
                Expect.equal (mask.NonZero().ToArray<int64>()) [| 1L; 2L; 1L; 1L; 2L; 2L; 1L; 2L; 3L |] "places")
        ]

/// What a caller of the catalogue relies on and no single operation's law says.
[<Tests>]
let catalogue =
    let draw seed (shape: int list) =
        (Key.OfSeed(int64 seed)).Normal(Shape.Of shape, dtype = DType.Float64)

    let near what (expected: Tensor) (actual: Tensor) =
        Expect.equal actual.Shape expected.Shape what
        Expect.isTrue ((expected - actual).Abs().Max().ToDouble() < 1e-12) what

    testList
        "catalogue"
        [
            testCase "differences undo sums" (fun () ->
                let x = draw 1 [ 3; 5 ]
                near "diff of cumsum" (x.Slice(1, 1)) (x.CumSum(1).Diff(1, 1)))

            testCase "the inverse transform gives the numbers back" (fun () ->
                for n in 1..9 do
                    let x = draw n [ 2; n ]
                    let real, imaginary = Tensor.realFft x
                    near $"length {n}" x (Tensor.inverseRealFft n (real, imaginary)))

            testCase "einsum says what the products say" (fun () ->
                let a, b, c = draw 1 [ 4; 2; 3 ], draw 2 [ 4; 3; 5 ], draw 3 [ 5; 2 ]
                near "batched product" (a.Matmul b) (Tensor.einsum "bij,bjk->bik" [ a; b ])
                near "leading axes" (a.Matmul b) (Tensor.einsum "...ij,...jk->...ik" [ a; b ])
                near "trace" (a.Matmul(b).Matmul(c).Diagonal().Sum(-1)) (Tensor.einsum "bij,bjk,ki->b" [ a; b; c ])
                near "implicit result" c.T (Tensor.einsum "ba" [ c ]))

            testCase "the different elements rebuild the tensor" (fun () ->
                let x = (Key.OfSeed 5L).Integers(Shape.Of [ 4; 6 ], 0L, 5L)
                let values, inverse, counts = Tensor.unique x
                Expect.equal (values.Take(inverse).ToArray<int64>()) (x.ToArray<int64>()) "rebuilt"
                Expect.equal (counts.Sum().ToDouble()) 24.0 "counted")

            testCase "draws have the moments of their distributions" (fun () ->
                let key, n = Key.OfSeed 3L, [ 20000 ]
                let mean (x: Tensor) = x.Cast(DType.Float64).Mean().ToDouble()

                let near what expected spread actual =
                    // Five deviations of a mean of 20,000.
                    Expect.isTrue (abs (actual - expected) < 5.0 * spread / sqrt 20000.0) $"{what}: {actual}"

                near "Gumbel" 0.5772156649 1.2825 (mean (Tensor.gumbel n key))
                near "truncated normal" 0.0 0.88 (mean (Tensor.truncatedNormal -2.0 2.0 n key))
                near "gamma" 2.5 1.6 (mean (Tensor.gamma (Tensor.full n 2.5) key))
                near "exponential" 0.5 0.5 (mean (key.Exponential(Shape.Of n, 2.0)))
                let logits = (Tensor.vector [ 0.2; 0.3; 0.5 ]).Log().Expand(20000, 3)
                near "categorical" 1.3 0.79 (mean (Tensor.categorical logits key))
                let probabilities = key.Dirichlet(Tensor.full [ 5; 4 ] 0.7)
                Expect.isTrue ((probabilities.Sum(-1) - 1.0).Abs().Max().ToDouble() < 1e-6) "Dirichlet sums to 1")
        ]
