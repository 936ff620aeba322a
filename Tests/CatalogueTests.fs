/// What the laws' domains leave out: singular matrices, equal eigenvalues, empty results, sizes that only broadcast.
module Functional.Tests.CatalogueTests

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Kernels

let private draw seed (shape: int list) =
    (Key.OfSeed(int64 (seed: int))).Normal(Shape.Of shape, dtype = DType.Float64)

let private near what (expected: Tensor) (actual: Tensor) =
    Expect.equal actual.Shape expected.Shape what

    if expected.Count > 0L then
        Expect.isTrue ((expected - actual).Abs().Max().ToDouble() < 1e-10) $"{what}: {actual}"

let private eye n = Tensor.Eye(n, DType.Float64)

let private rows (values: float[][]) =
    (Tensor.From(Array.concat values)).Reshape(values.Length, values[0].Length)

[<Tests>]
let matrices =
    testList
        "matrices at the edges"
        [
            testCase "a singular matrix has an adjugate, and its determinant a derivative" (fun () ->
                let a = rows [| [| 1.0; 2.0 |]; [| 2.0; 4.0 |] |]
                near "adjugate" (rows [| [| 4.0; -2.0 |]; [| -2.0; 1.0 |] |]) (a.Adjugate())
                near "derivative" (a.Adjugate().T) (grad (fun (x: Tensor) -> x.Det()) a)
                // Of rank n - 1 it is an outer product of what the matrix takes to 0; of rank n - 2 it is 0.
                let b = (draw 1 [ 5; 4 ]).Matmul(draw 2 [ 4; 5 ])
                let adjugate = b.Adjugate()
                near "A·adj A" (Tensor.Zeros(Shape.Of [ 5; 5 ], DType.Float64)) (b.Matmul adjugate)
                Expect.isGreaterThan (adjugate.Abs().Max().ToDouble()) 0.1 "it is not 0"
                let c = (draw 3 [ 4; 2 ]).Matmul(draw 4 [ 2; 4 ])
                near "rank 2 of 4" (Tensor.Zeros(c.Shape, DType.Float64)) (c.Adjugate())
                let d = draw 5 [ 3; 6; 6 ]
                near "regular" (d.Det().Unsqueeze(-1).Unsqueeze(-1) * eye 6) (d.Matmul(d.Adjugate())))

            testCase "the pseudo-inverse of any rank" (fun () ->
                let a = (draw 1 [ 5; 2 ]).Matmul(draw 2 [ 2; 4 ])
                let p = a.PseudoInverse()
                near "A·P·A" a (a.Matmul(p).Matmul a)
                near "P·A·P" p (p.Matmul(a).Matmul p)
                near "A·P" (a.Matmul(p).T) (a.Matmul p)
                let zero = Tensor.Zeros(Shape.Of [ 2; 3 ], DType.Float64)
                near "of nothing" (zero.T) (zero.PseudoInverse())
                // Singular values that are equal.
                let c = draw 3 [ 3; 3 ]
                near "derivative at I" -c (grad (fun (x: Tensor) -> (x.PseudoInverse() * c).Sum()) (eye 3)))

            testCase "equal eigenvalues and singular values have derivatives where the vectors do not count" (fun () ->
                let values (x: Tensor) =
                    let struct (w, _) = x.Eigh()
                    w

                near "eigenvalues" (eye 3) (grad (fun x -> (values x).Sum()) (eye 3))
                near "squares" (4.0 * eye 3) (grad (fun x -> (values x).Square().Sum()) (2.0 * eye 3))
                near "nuclear norm" (eye 3) (grad (fun (x: Tensor) -> x.MatrixNorm "nuc") (eye 3))
                let tall = eye(5).Slice(-1, 0, Nullable 3)
                near "of a tall one" tall (grad (fun (x: Tensor) -> x.MatrixNorm "nuc") tall))

            testCase "a wide matrix is Q·R, too" (fun () ->
                let a = draw 1 [ 2; 3; 5 ]
                let struct (q, r) = a.Qr()
                near "product" a (q.Matmul r)
                near "triangle" (r.Triu()) r
                near "orthonormal" (eye(3).Expand(2, 3, 3)) (q.Transpose(-1, -2).Matmul q)

                GradCheck.run
                    (fun x ->
                        let struct (q, r) = x[0].Qr()
                        (q.Sin().Sum() + r.Cos().Sum()))
                    [ [ 2; 4 ] ])

            testCase "leading axes of equations broadcast" (fun () ->
                let a, b = draw 1 [ 4; 1; 3; 3 ] + 4.0 * eye 3, draw 2 [ 2; 3; 2 ]
                near "A·X" (b.Expand(4, 2, 3, 2)) (a.Matmul(a.Solve b))
                near "triangles" (b.Expand(4, 2, 3, 2)) (a.Tril().Matmul(a.SolveTriangular b))
                let one = draw 3 [ 3 ]
                near "one vector" (one.Expand(4, 1, 3)) (a.Matmul((a.Solve one).Unsqueeze -1).Squeeze -1)
                GradCheck.run (fun x -> (x[0] + 9.0 * eye 2).Solve x[1]) [ [ 2; 2 ]; [ 3; 2; 1 ] ])

            testCase "all orders of norms" (fun () ->
                let x = Tensor.From [| 3.0; 0.0; -4.0 |]
                let norm order = x.Norm(order).ToDouble()

                Expect.equal
                    [ for order in [ 0.0; 1.0; 2.0; infinity; -infinity ] -> norm order ]
                    [ 2; 7; 5; 4; 0 ]
                    "norms"

                Expect.floatClose Accuracy.high ((Tensor.From [| 3.0; 6.0 |]).Norm(-1.0).ToDouble()) 2.0 "order -1"
                let a = rows [| [| 1.0; -2.0 |]; [| 3.0; 4.0 |] |]

                Expect.equal
                    [ for order in [ "1"; "-1"; "inf"; "-inf" ] -> a.MatrixNorm(order).ToDouble() ]
                    [ 6; 4; 7; 3 ]
                    "of matrices")
        ]

[<Tests>]
let shapes =
    testList
        "sizes at the edges"
        [
            testCase "differences run out" (fun () ->
                for n in 3..5 do
                    near "none is left" (Tensor.Zeros(Shape.Of [ 2; 0 ], DType.Float64)) ((draw 1 [ 2; 3 ]).Diff n))

            testCase "tensors of different rank" (fun () ->
                let a, b = draw 1 [ 2; 3 ], draw 2 [ 2 ]
                near "kron" (a.Kron(b.Reshape(1, 2))) (a.Kron b)
                near "kron, the other way" (b.Reshape(1, 2).Kron a) (b.Kron a)
                let x, mask = draw 3 [ 2; 3 ], Tensor.From [| true; false; true |]
                near "masked" (x.Take(Tensor.From [| 0L; 2L |], 1).Flatten()) (x.MaskedSelect mask)
                near "expand" (b.Unsqueeze(1).Expand(2, 3)) (b.Unsqueeze(1).Expand(-1, 3)))

            testCase "an index that reaches a part of the tensor" (fun () ->
                let x, source = draw 1 [ 3; 4 ], draw 2 [ 2; 1 ]
                let index = Tensor.From([| 3L; 0L |], 2, 1)
                let y = x.Scatter(index, source, 1)
                let expected = x.WithPart(source[0, 0], 0, 3).WithPart(source[1, 0], 1, 0)
                near "scattered" expected y
                GradCheck.run (fun t -> t[0].Scatter(index, t[1], 1)) [ [ 3; 4 ]; [ 2; 1 ] ])

            testCase "transforms of other lengths" (fun () ->
                let x = draw 1 [ 2; 6 ]

                let fitted (n: int) (t: Tensor) =
                    if n <= t.Shape[-1] then
                        t.Slice(-1, 0, Nullable n)
                    else
                        t.Pad([| 0; 0 |], [| 0; n - t.Shape[-1] |])

                for n in [ 1; 4; 6; 7; 9 ] do
                    let struct (real, imaginary) = x.RealFft n
                    let struct (expectedReal, expectedImaginary) = (fitted n x).RealFft()
                    near $"real parts of {n}" expectedReal real
                    near $"imaginary parts of {n}" expectedImaginary imaginary
                    near $"to {n} and back" (fitted n x) (Tensor.InverseRealFft(real, imaginary, n))

                let struct (real, imaginary) = x.RealFft()
                near "of an even number" x (Tensor.InverseRealFft(real, imaginary))

                // Fewer frequencies than there are, and more.
                for n in [ 1; 3; 5; 8; 9 ] do
                    near
                        $"{n} numbers of the transform of 6"
                        (Tensor.InverseRealFft(fitted (n / 2 + 1) real, fitted (n / 2 + 1) imaginary, n))
                        (Tensor.InverseRealFft(real, imaginary, n))

                for n in [ 4; 9 ] do
                    GradCheck.run (fun t -> let struct (real, _) = t[0].RealFft n in real) [ [ 2; 6 ] ]
                    GradCheck.run (fun t -> Tensor.InverseRealFft(t[0], t[1], n)) [ [ 2; 4 ]; [ 2; 4 ] ])

            testCase "transforms of lengths that nobody can mean" (fun () ->
                for x in [ draw 1 [ 2; 6 ]; Tensor.Meta(DType.Float64, Shape.Of [ 2; 6 ]) ] do
                    for n in [ Int32.MaxValue; Int32.MinValue; -1; 0 ] do
                        Expect.throwsC (fun () -> x.RealFft n |> ignore) (fun error ->
                            Expect.stringContains error.Message $"rfft: " "the sentence")

                        Expect.throwsC (fun () -> Tensor.InverseRealFft(x, x, n) |> ignore) (fun error ->
                            Expect.stringContains error.Message $"inverseRealFft: " "the sentence"))

            testCase "borders that are too wide for an axis" (fun () ->
                for x in [ draw 1 [ 3 ]; Tensor.Meta(DType.Float64, Shape.Of [ 3 ]) ] do
                    Expect.throwsC
                        (fun () -> x.Pad([| Int32.MaxValue |], [| Int32.MaxValue |]) |> ignore)
                        (fun error -> Expect.stringContains error.Message "4294967297 along axis 0" "refused"))

            testCase "powers of integers" (fun () ->
                for dtype in [ DType.Int32; DType.Int64 ] do
                    let x = (Tensor.From [| 2L; 3L; -2L; 0L; 0L; -1L; 1L; 7L; -1L; -3L |]).Cast dtype
                    let y = (Tensor.From [| 10L; 0L; 3L; 0L; -1L; -3L; -5L; -1L; -2L; 5L |]).Cast dtype
                    let z = x.Pow y
                    Expect.equal z.DType dtype "dtype"

                    Expect.equal
                        (z.ToDoubles())
                        [| 1024.0; 1.0; -8.0; 1.0; 0.0; -1.0; 1.0; 0.0; 1.0; -243.0 |]
                        "cut towards zero"

                    Expect.equal (x.Pow(3.0).ToDoubles()) ((x * x * x).ToDoubles()) "a constant power"

                Expect.equal
                    ((Tensor.From [| 7L |]).Pow(22.0).ToArray<int64>())
                    [| 3909821048582988049L |]
                    "every digit of 64 bits")

            testCase "what others' catalogues have is composed of what is here" (fun () ->
                let of64 (values: float list) = Tensor.From(Array.ofList values)
                let x = of64 [ -2.5; -0.5; 0.0; 1.0; 3.0 ]

                let close name (expected: float list) (actual: Tensor) =
                    Expect.isTrue (actual.AllClose(of64 expected, 1e-12, 1e-12)) $"{name}: {actual}"

                close "exp2" [ 0.125; 2.0; 8.0 ] ((of64 [ -3.0; 1.0; 3.0 ]).Exp2())
                close "log2" [ -1.0; 3.0 ] ((of64 [ 0.5; 8.0 ]).Log2())
                close "log10" [ -1.0; 3.0 ] ((of64 [ 0.1; 1000.0 ]).Log10())
                close "trunc" [ -2.0; 0.0; 0.0; 1.0; 3.0 ] (x.Trunc())
                close "lerp" [ 2.5; 5.0 ] ((of64 [ 2.0; 4.0 ]).Lerp(of64 [ 4.0; 8.0 ], 0.25))
                close "prelu" [ -0.25; -0.05; 0.0; 1.0; 3.0 ] (x.Prelu(of64 [ 0.1 ]))
                close "softsign" [ -2.5 / 3.5; -1.0 / 3.0; 0.0; 0.5; 0.75 ] (x.Softsign())
                close "logSigmoid" [ -log 2.0; -800.0; 0.0 ] ((of64 [ 0.0; -800.0; 800.0 ]).LogSigmoid())
                close "glu" [ 0.5; 2.0 ] ((of64 [ 1.0; 4.0; 0.0; 0.0 ]).Glu())
                close "repeatEach" [ 1.0; 1.0; 2.0; 2.0 ] ((of64 [ 1.0; 2.0 ]).RepeatEach(2, 0))
                let m = Tensor.From([| 1.0; 1.0; 0.0; 2.0 |], [| 2; 2 |])
                Expect.isTrue (m.MatrixPower(3).AllClose(m.Matmul(m).Matmul m)) "cube"
                Expect.isTrue (m.MatrixPower(-2).AllClose(m.Matmul(m).Inverse())) "inverse of the square"
                Expect.isTrue (m.MatrixPower(0).AllClose(Tensor.Eye(2, DType.Float64))) "no factor"
                let a = (Key.OfSeed 1L).Normal(Shape.Of [ 2; 3; 4 ])
                let b = (Key.OfSeed 2L).Normal(Shape.Of [ 4; 5; 3 ])

                Expect.isTrue
                    (a.TensorDot(b, [| 1; 2 |], [| 2; 0 |]).AllClose(Tensor.Einsum("ijk,klj->il", a, b), 1e-5, 1e-6))
                    "tensorDot"

                let odd = of64 [ nan; infinity; -infinity; 1.0 ]
                Expect.equal (odd.IsNaN().ToDoubles()) [| 1.0; 0.0; 0.0; 0.0 |] "NaN"
                Expect.equal (odd.IsInfinite().ToDoubles()) [| 0.0; 1.0; 1.0; 0.0 |] "infinite"
                Expect.equal (odd.IsFinite().ToDoubles()) [| 0.0; 0.0; 0.0; 1.0 |] "finite"
                Expect.equal (odd.NanToNumber(7.0, 8.0, 9.0).ToDoubles()) [| 7.0; 8.0; 9.0; 1.0 |] "numbers"
                Expect.isFalse (odd.AllClose odd) "NaN is close to nothing"

                Expect.isTrue
                    (of64 [ infinity; 1.0 ] |> Tensor.allClose (of64 [ infinity; 1.0 + 1e-9 ]))
                    "equal infinities"

                Expect.isFalse (of64 [ 1.0 ] |> Tensor.allClose (of64 [ infinity ])) "one infinity")

            testCase "inverse hyperbolic functions and angles at the edges" (fun () ->
                for dtype, digits in [ DType.Float32, 3e-7; DType.Float64, 1e-15 ] do
                    let largest =
                        if dtype = DType.Float32 then
                            float Single.MaxValue
                        else
                            Double.MaxValue

                    // Below it digits run out.
                    let normal = if dtype = DType.Float32 then 1.2e-38 else 2.3e-308

                    let values =
                        [
                            0.0
                            1e-30
                            1e-8
                            0.001
                            0.5
                            0.999
                            1.0
                            1.001
                            2.0
                            1e5
                            4e9
                            5e9
                            1e19
                            1e30
                            largest
                            infinity
                        ]

                    let both = values @ List.map (~-) values @ [ nan ]
                    let points = (Tensor.From(Array.ofList both)).Cast dtype

                    let check name (f: Tensor -> Tensor) (g: float -> float) =
                        for v, got in Array.zip (points.ToDoubles()) ((f points).ToDoubles()) do
                            let expected = g v

                            let right =
                                if Double.IsNaN expected then
                                    Double.IsNaN got
                                elif Double.IsInfinity expected || expected = 0.0 then
                                    got = expected
                                else
                                    abs (got - expected) <= digits * max normal (abs expected)

                            Expect.isTrue right $"{name} {dtype} of {v}: {got}, not {expected}"

                    check "asinh" _.Asinh() Math.Asinh
                    check "acosh" _.Acosh() Math.Acosh
                    check "atanh" _.Atanh() Math.Atanh

                    for y in points.ToDoubles() do
                        check $"atan2 {y}" (fun x -> (Tensor.Full(x.Shape, y, dtype)).Atan2 x) (fun x -> atan2 y x)

                    check "hypot" (fun x -> x.Hypot x) (fun x ->
                        if abs x > largest / 1.4 then infinity else abs x * sqrt 2.0)

                    let same = (Tensor.From [| -infinity; infinity; 1e30; nan |]).Cast dtype
                    let sums = (same.LogAddExp same).ToDoubles()
                    Expect.equal sums[..2] (same.ToDoubles()[..2]) "logaddexp"
                    Expect.isTrue (Double.IsNaN sums[3]) "NaN")

            testCase "values at the edges" (fun () ->
                let at (f: Tensor -> Tensor) x =
                    (f (Tensor.From [| x |])).ToDoubles()[0]

                Expect.equal (at _.LogGamma() infinity) infinity "ln Γ(∞)"
                Expect.equal (at _.Digamma() 0.0) -infinity "ψ(0)"
                let gap = Tensor.From [| 1.0; nan; 2.0 |]
                Expect.isTrue (Double.IsNaN((gap.Median 0).ToDouble())) "the median with a gap")
        ]

/// Concentration, probability, quantile and its derivative, to 40 digits by mpmath.
let private quantiles =
    [
        0.001, 0.5, 5.244206408277979e-302, 3.63501119516115e-296
        0.001, 0.7, 7.042315131779688e-156, 2.511823141260696e-150
        0.001, 1.0 - 1e-10, 13.454595433853493, 937.8924082762107
        0.001, 1.0 - 2.0 ** -53.0, 26.519284839650975, 968.6407975509059
        0.3, 2.0 ** -53.0, 4.5860102724659714e-54, 1.874874024793258e-51
        0.3, 1e-10, 3.2364402266035518e-34, 8.30084651631351e-32
        0.3, 0.5, 0.0731311358669519, 0.6420641624455674
        0.3, 0.7, 0.2565649133210521, 1.398920002458229
        0.3, 1.0 - 1e-10, 19.806636767191637, 6.321825365384262
        0.3, 1.0 - 2.0 ** -53.0, 33.16955361260487, 6.891516764485625
        1.0, 2.0 ** -53.0, 1.1102230246251565e-16, 4.125542674679525e-15
        1.0, 1e-10, 1.00000000005e-10, 2.344863526735879e-09
        1.0, 0.5, 0.6931471805599453, 0.9680448304420445
        1.0, 0.7, 1.203972804325936, 1.287558766746197
        1.0, 1.0 - 1e-10, 23.02585084720009, 3.755522077194378
        1.0, 1.0 - 2.0 ** -53.0, 36.7368005696771, 4.207511716120697
        3.7, 2.0 ** -53.0, 0.00010212894965233925, 0.0002933290743043451
        3.7, 1e-10, 0.0041578822516952834, 0.007783654615105816
        3.7, 0.5, 3.372538013236415, 0.9982694959692231
        3.7, 0.7, 4.4205281985240354, 1.141953492462282
        3.7, 1.0 - 1e-10, 30.95362756405381, 2.511189435978622
        3.7, 1.0 - 2.0 ** -53.0, 45.68715768312806, 2.841550930978117
        50.0, 2.0 ** -53.0, 11.76162462608366, 0.4465217579069561
        50.0, 1e-10, 17.19991195456241, 0.5613808831010666
        50.0, 0.5, 49.66706461799423, 0.9999919830850547
        50.0, 0.7, 53.45288032692255, 1.03721273132031
        50.0, 1.0 - 1e-10, 108.85710142060235, 1.443661094859285
        50.0, 1.0 - 2.0 ** -53.0, 131.81903785915443, 1.566878578276636
        1000.0, 2.0 ** -53.0, 762.0705370261866, 0.8704315398406314
        1000.0, 1e-10, 811.7987627175607, 0.8995184544656017
        1000.0, 0.5, 999.6666864269652, 0.9999999802324887
        1000.0, 0.7, 1016.3382513786677, 1.008293032154012
        1000.0, 1.0 - 1e-10, 1214.499555866878, 1.100494328062881
        1000.0, 1.0 - 2.0 ** -53.0, 1282.1590384247145, 1.129603182171416
    ]

[<Tests>]
let gammaQuantiles =
    testList
        "quantiles of the gamma distribution"
        [
            testCase "in both tails, of small concentrations and large ones" (fun () ->
                for a, u, quantile, slope in quantiles do
                    let z = GammaQuantiles.Quantile(a, u)
                    // A factor of z^a rounds as ln z does.
                    let digits = 1e-14 * (1.0 + abs (log quantile))
                    Expect.isLessThan (abs (z / quantile - 1.0)) digits $"quantile of {a} at {u}: {z}"
                    let actual = GammaQuantiles.Slope(a, u, z)
                    Expect.isLessThan (abs (actual / slope - 1.0)) (10.0 * digits) $"slope of {a} at {u}: {actual}")

            testCase "far out the expansion takes over" (fun () ->
                for u in [ 1e-10; 0.3; 0.5; 0.7; 1.0 - 1e-10 ] do
                    let at a =
                        let z = GammaQuantiles.Quantile(a, u)
                        z, GammaQuantiles.Slope(a, u, z)

                    let z, slope = at GammaQuantiles.Large
                    let beyond, slopeBeyond = at (GammaQuantiles.Large + 1e-3)
                    Expect.isLessThan (abs ((beyond - z) / slope - 1e-3)) 1e-5 $"quantiles at {u}"
                    Expect.isLessThan (abs (slopeBeyond - slope)) 1e-10 $"slopes at {u}"

                Expect.equal (GammaQuantiles.Quantile(infinity, 0.1)) infinity "the last"
                Expect.equal (GammaQuantiles.Slope(infinity, 0.1, infinity)) 1.0 "its slope")

            testCase "draws of every concentration have derivatives of every order" (fun () ->
                let a = Tensor.From [| 0.01; 0.5; 2.0; 30.0; 2000.0; 3e6 |]

                for seed in 1L .. 5L do
                    let draw (x: Tensor) = (Key.OfSeed seed).Gamma(x).Sum()
                    let slope = grad draw
                    let bent (x: Tensor) = (slope x * a).Sum()
                    let actual = (grad bent a).ToDoubles()
                    let h = 1e-5

                    let expected =
                        ((slope (a * (1.0 + h)) - slope (a * (1.0 - h))) / (2.0 * h)).ToDoubles()

                    Array.iter2
                        (fun (e: float) (g: float) ->
                            Expect.isLessThan (abs (e - g)) (1e-4 * (1e-3 + abs e)) $"{e} {g}")
                        expected
                        actual)
        ]

/// From 16 MiB on results are written around the caches, in loops of their own.
[<Tests>]
let large =
    let fused =
        Diff.Fuse(fun (t: Tensor[]) -> [| (t[0] * t[0] + t[1]).Tanh(); t[0] * t[1] |])

    let images (x: Tensor) =
        x.Slice(1, 0, Nullable 8192).Reshape(-1, 1, 64, 128)

    let flat (x: Tensor) = x.Reshape(-1, 8192)

    let functions: (string * (Tensor -> Tensor -> Tensor)) list =
        [
            "one operand", (fun x _ -> x.Exp())
            "two operands", (fun x _ -> x * x)
            "a row", (fun x row -> x + row)
            "a column", (fun x _ -> x - x.Slice(1, 0, Nullable 1))
            "a power's derivative", (fun x row -> grad (fun (t: Tensor) -> (t * row).Pow(row).Sum()) (x.Abs() + 1.0))
            "a copy", (fun x _ -> Pointwise.Contiguous(x.Slice(1, 1)))
            "fused", (fun x row -> fused.Invoke([| x; row.Expand(x.Shape[0], x.Shape[1]) |])[0])
            "fused, the second", (fun x row -> fused.Invoke([| x; row.Expand(x.Shape[0], x.Shape[1]) |])[1])
            "softmax", (fun x _ -> x.Softmax 1)
            "running sums", (fun x _ -> x.CumSum 1)
            "a linear recurrence", (fun x _ -> Tensor.LinearRecurrence(x.Tanh(), x, 1))
            "a transposed copy", (fun x _ -> Pointwise.Contiguous(x.T).T)
            "a maximum's derivative",
            (fun x _ -> grad (fun (t: Tensor) -> (t.MaxPool 2).Square().Sum()) (images x) |> flat)
            "a mean's derivative",
            (fun x _ -> grad (fun (t: Tensor) -> (t.AveragePool 2).Square().Sum()) (images x) |> flat)
        ]

    testList
        "results that no cache holds"
        [
            // Rows that are whole cache lines, and rows that are not.
            for columns in [ 8192; 8193 ] do
                for name, f in functions do
                    testCase $"{name} of rows of {columns}" (fun () ->
                        let x = (Key.OfSeed 1L).Normal(Shape.Of [ 520; columns ])
                        let row = (Key.OfSeed 2L).Uniform(Shape.Of [ columns ])
                        let y = f x row

                        for first, last in [ 0, 7; 255, 260; 517, 520 ] do
                            let part (t: Tensor) = t.Slice(0, first, Nullable last)
                            let small = Pointwise.Contiguous(part x)
                            Laws.Numbers.identical $"rows from {first} on" (f small row) (part y))

            testCase "channels of images" (fun () ->
                let x = (Key.OfSeed 1L).Normal(Shape.Of [ 2; 260; 64; 128 ])

                let normalised (x: Tensor) =
                    let one = Tensor.Ones(Shape.Of [ 260 ], x.DType)
                    let struct (y, _, _) = x.BatchNorm(one, one)
                    y

                let derivative (x: Tensor) =
                    grad (fun (t: Tensor) -> (normalised t).Square().Square().Sum()) x

                for what, f, bound in [ "normalised", normalised, 1e-5; "derivative", derivative, 1e-3 ] do
                    let difference = f (x.Cast DType.Float64) - (f x).Cast DType.Float64
                    Expect.isLessThan (difference.Abs().Max().ToDouble()) bound what)
        ]
