/// What the laws' domains leave out: singular matrices, equal eigenvalues, empty results, sizes that only broadcast.
module Functional.Tests.CatalogueTests

open System
open Expecto
open Functional

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

            testCase "values at the edges" (fun () ->
                let at (f: Tensor -> Tensor) x =
                    (f (Tensor.From [| x |])).ToDoubles()[0]

                Expect.equal (at _.LogGamma() infinity) infinity "ln Γ(∞)"
                Expect.equal (at _.Digamma() 0.0) -infinity "ψ(0)"
                let gap = Tensor.From [| 1.0; nan; 2.0 |]
                Expect.isTrue (Double.IsNaN((gap.Median 0).ToDouble())) "the median with a gap")
        ]
