using Functional.Autodiff;
using Functional.Ops;
using MathNet.Numerics.LinearAlgebra;

namespace Functional
{
    /// <summary>A matrix that does not allow what was asked of it: singular, not positive definite, not finite.</summary>
    public sealed class SingularMatrixException(string message) : ArithmeticException(message);

    // Linear algebra on matrices […, m, n]: every matrix of a batch for itself, in double precision inside.
    public sealed partial class Tensor
    {
        /// <summary>A⁻¹ of square matrices; a singular one is refused.</summary>
        public Tensor Inverse() => LinearAlgebra.Inverse.Call(this);

        /// <summary>X with A·X = B for square matrices A […, n, n] and B […, n, k], or one vector [n] for all of them. The leading axes broadcast.</summary>
        public Tensor Solve(Tensor b)
        {
            if (Rank >= 2 && b.Rank == 1 && b.Shape[0] == Shape[-1]) return Solve(b.Unsqueeze(-1)).Squeeze(-1);
            if (Rank < 2 || b.Rank < 2 || b.Shape[-2] != Shape[-1]) return LinearAlgebra.Solve.Call(this, b);
            var batch = Shape.Broadcast("solve", Shape.Of(Shape.Sizes[..^2]), Shape.Of(b.Shape.Sizes[..^2]));
            return LinearAlgebra.Solve.Call(Expand([.. batch.Sizes, .. Shape.Sizes[^2..]]), b.Expand([.. batch.Sizes, .. b.Shape.Sizes[^2..]]));
        }

        /// <summary>A·A·…, n factors of a square matrix, by squaring; of the inverse for negative n.</summary>
        public Tensor MatrixPower(int n)
        {
            if (Rank < 2 || Shape[-1] != Shape[-2])
                throw Shape.Refuse("matrixPower", "the matrices must be square", $"{Shape}", "Give [.., n, n]");
            Tensor? product = null;
            // As long: the smallest int has no negative.
            for (var (square, rest) = n < 0 ? (Inverse(), -(long)n) : (this, n); rest > 0; rest /= 2)
            {
                if (rest % 2 != 0) product = product is null ? square : product.Matmul(square);
                if (rest > 1) square = square.Matmul(square);
            }
            return product ?? LinearAlgebra.Identity("matrixPower", this).ExpandTo(Shape);
        }

        /// <summary>The determinants of square matrices; the derivative is the adjugate's transpose, of singular ones, too.</summary>
        public Tensor Det() => LinearAlgebra.Det.Call(this);

        /// <summary>The transposed cofactors of square matrices, which may be singular: det(A)·A⁻¹ where they are not.</summary>
        public Tensor Adjugate() => LinearAlgebra.Adjugate.Call(this);

        /// <summary>The sign and the logarithm of the size of the determinants of square matrices; of a singular one 0 and −∞.</summary>
        public (Tensor Sign, Tensor LogSize) SlogDet()
        {
            var y = LinearAlgebra.SlogDet.Apply(this);
            return (y[0], y[1]);
        }

        /// <summary>The lower triangle L with L·Lᵀ = A of symmetric positive definite matrices; only A's lower triangle is read.</summary>
        public Tensor Cholesky() => LinearAlgebra.Cholesky.Call(this);

        /// <summary>Q·R = A with k = min(m, n) orthonormal columns in Q [m, k] and R [k, n] upper triangular with a positive diagonal.</summary>
        public (Tensor Q, Tensor R) Qr()
        {
            var square = Rank >= 2 && Shape[-2] < Shape[-1];
            var y = LinearAlgebra.Qr.Apply(square ? Slice(-1, 0, Shape[-2]) : this);
            // The first columns give Q; the others follow from it.
            return square ? (y[0], Concat(-1, y[1], y[0].Transpose(-1, -2).Matmul(Slice(-1, Shape[-2])))) : (y[0], y[1]);
        }

        /// <summary>Eigenvalues in ascending order and eigenvectors, as columns whose largest element is positive, of symmetric matrices;
        /// of others of (A + Aᵀ)/2. The values' derivative is there for equal ones, too (then that of their order); the vectors'
        /// needs eigenvalues that differ.</summary>
        public (Tensor Values, Tensor Vectors) Eigh()
        {
            var y = LinearAlgebra.Eigh.Apply(this);
            return (y[0], y[1]);
        }

        /// <summary>U·diag(S)·Vᵀ = A with singular values in descending order, U [m, k], S [k], V [n, k], k = min(m, n); each column of V has a positive largest element.
        /// The vectors' derivatives need singular values that differ and are not 0.</summary>
        public (Tensor U, Tensor S, Tensor V) Svd()
        {
            var y = LinearAlgebra.Svd.Apply(this);
            return (y[0], y[1], y[2]);
        }

        /// <summary>The Moore–Penrose inverse V·diag(1/S)·Uᵀ, in which singular values below max(m, n)·ε·S₁ count as 0. The derivative is that among matrices
        /// of the same rank.</summary>
        public Tensor PseudoInverse() => LinearAlgebra.PseudoInverse.Call(this);

        /// <summary>Σ Aᵢᵢ of square or other matrices.</summary>
        public Tensor MatrixTrace() => (this * LinearAlgebra.Identity("trace", this)).Sum([-2, -1], keepAxes: false);

        /// <summary>eᴬ of square matrices by scaling, a Padé approximant of order 13 and squaring (Higham 2005).</summary>
        public Tensor MatrixExp() => LinearAlgebra.Exponential(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Factorisations by MathNet.Numerics, with derivatives in tensor operations.</summary>
    public static class LinearAlgebra
    {
        /// <summary>One matrix in, matrices out; a sentence's end where it cannot be done.</summary>
        private delegate Matrix<double>[] Factor(Matrix<double> a);

        public static readonly Op Inverse = new()
        {
            Name = "inverse",
            Shape = static x => [Square("inverse", x[0])],
            Forward = Each("inverse", static a => [Regular("inverse", a).Solve(Matrix<double>.Build.DenseIdentity(a.RowCount))]),
            Vjp = static (_, y, g, _) => -H(y[0]).Matmul(g[0]).Matmul(H(y[0])),
            Jvp = static (_, y, dx) => [-y[0].Matmul(dx[0]!).Matmul(y[0])],
            Reads = Reads.Outputs,
            Batching = Batching.Whole,
            Sample = static draw => new(Inverse!, WellConditioned(draw)),
        };

        public static readonly Op Solve = new()
        {
            Name = "solve",
            Shape = static x =>
            {
                Square("solve", x[0]);
                Shape.SameDType("solve", x[0], x[1]);
                if (x[1].Rank != x[0].Rank || Shape.Of(x[1].Shape.Sizes[..^1]) != Shape.Of(x[0].Shape.Sizes[..^1]))
                    throw Shape.Refuse("solve", "the right sides must be matrices with as many rows, one for each matrix", $"{x[0].Shape} and {x[1].Shape}", "Reshape or expand one of them");
                return [new(x[1].DType, x[1].Shape)];
            },
            Forward = new Forward.Into(static (x, y) =>
            {
                var (a, b, result) = (Matrices(x[0]), Matrices(x[1]), new List<Matrix<double>>());
                for (var i = 0; i < a.Length; i++) result.Add(Regular("solve", a[i], i, a.Length).Solve(b[i]));
                Store([.. result], y[0]);
            }),
            Vjp = static (x, y, g, i) =>
            {
                var right = Solve!.Call(H(x[0]), g[0]);
                return i == 1 ? right : -right.Matmul(H(y[0]));
            },
            Batching = Batching.Whole,
            Sample = static draw =>
            {
                var a = WellConditioned(draw);
                return new(Solve!, a, draw.Tensor(Shape.Of([.. a.Shape.Sizes[..^1], draw.Int(1, 3)])));
            },
        };

        public static readonly Op Det = new()
        {
            Name = "det",
            Shape = static x =>
            {
                Square("det", x[0]);
                return [new(x[0].DType, Shape.Of(x[0].Shape.Sizes[..^2]))];
            },
            Forward = Each("det", static a => [Scalar(a.Determinant())]),
            Vjp = static (x, _, g, _) => g[0].Unsqueeze(-1).Unsqueeze(-1) * H(x[0].Adjugate()),
            Reads = Reads.Inputs,
            Batching = Batching.Whole,
            Sample = static draw => new(Det!, WellConditioned(draw)),
        };

        public static readonly Op Adjugate = new()
        {
            Name = "adjugate",
            Shape = static x => [Square("adjugate", x[0])],
            Forward = Each("adjugate", static a =>
            {
                var lu = a.LU();
                var pivots = lu.U.Diagonal().PointwiseAbs();
                if (pivots.Minimum() > 1e-4 * pivots.Maximum()) return [lu.Inverse() * lu.Determinant];
                // Near singular ones and those: det(U)·det(V)·V·diag(Π sⱼ, j ≠ i)·Uᵀ, which divides by nothing.
                var (u, s, v) = Thin(a);
                var others = Vector<double>.Build.Dense(s.Count, i => s.Where((_, j) => j != i).Aggregate(1.0, (p, value) => p * value));
                return [v * Matrix<double>.Build.DenseOfDiagonalVector(others * (u.Determinant() * v.Determinant())) * u.Transpose()];
            }),
            // d(det(A)·A⁻¹) = tr(adj(A)·dA)·A⁻¹ − adj(A)·dA·A⁻¹
            Vjp = static (x, y, g, _) =>
            {
                // Of a single number it is 1.
                if (x[0].Shape[-1] == 1) return null;
                var (inverse, adjugate) = (H(x[0].Inverse()), H(y[0]));
                return (g[0] * H(inverse)).Sum([-2, -1], keepAxes: true) * adjugate - adjugate.Matmul(g[0]).Matmul(inverse);
            },
            Batching = Batching.Whole,
            Sample = static draw => new(Adjugate!, WellConditioned(draw)),
        };

        public static readonly Op SlogDet = new()
        {
            Name = "slogdet",
            Shape = static x =>
            {
                var batch = Shape.Of(Square("slogdet", x[0]).Shape.Sizes[..^2]);
                return [new(x[0].DType, batch), new(x[0].DType, batch)];
            },
            Forward = Each("slogdet", static a =>
            {
                // A product of pivots may overflow where the sum of their logarithms does not.
                var lu = a.LU();
                var (sign, log) = ((double)Math.Sign(PermutationSign(lu.P)), 0.0);
                foreach (var pivot in lu.U.Diagonal())
                {
                    sign *= Math.Sign(pivot);
                    log += Math.Log(Math.Abs(pivot));
                }
                return [Scalar(sign), Scalar(log)];
            }),
            Vjp = static (x, _, g, _) => g[1].Unsqueeze(-1).Unsqueeze(-1) * H(x[0].Inverse()),
            Reads = Reads.Inputs,
            Batching = Batching.Whole,
            Sample = static draw => new(SlogDet!, WellConditioned(draw)),
        };

        public static readonly Op Cholesky = new()
        {
            Name = "cholesky",
            Shape = static x => [Square("cholesky", x[0])],
            Forward = Each("cholesky", static a =>
            {
                try
                {
                    // Only the lower triangle counts.
                    var lower = a.LowerTriangle();
                    return [(lower + lower.StrictlyLowerTriangle().Transpose()).Cholesky().Factor];
                }
                catch (ArgumentException)
                {
                    throw Impossible("cholesky", "the matrix must be positive definite", "one that is not", "Add something to its diagonal");
                }
            }),
            // Murray 2016, Differentiation of the Cholesky decomposition; the cotangent of what is read, the lower triangle.
            Vjp = static (_, y, g, _) =>
            {
                var l = y[0];
                var p = H(l).Matmul(g[0].Tril());
                var phi = p.Tril() - p * Identity("cholesky", l) * 0.5;
                var inverse = l.Inverse();
                var s = H(inverse).Matmul(phi).Matmul(inverse);
                return (s + H(s)).Tril() - s * Identity("cholesky", l);
            },
            Reads = Reads.Outputs,
            Batching = Batching.Whole,
            Sample = static draw =>
            {
                var (n, batch) = Size(draw);
                var b = draw.Tensor(Shape.Of([.. batch, n, n]), -1, 1);
                return new(Cholesky!, (b.Matmul(H(b)) + Identity("cholesky", b) * 0.5));
            },
        };

        public static readonly Op Qr = new()
        {
            Name = "qr",
            Shape = static x =>
            {
                Matrix("qr", x[0]);
                var (m, n) = (x[0].Shape[-2], x[0].Shape[-1]);
                if (m < n) throw Shape.Refuse("qr", "a matrix must have no fewer rows than columns", x[0].Shape.ToString(), "Transpose it");
                return [new(x[0].DType, x[0].Shape), new(x[0].DType, Shape.Of([.. x[0].Shape.Sizes[..^2], n, n]))];
            },
            Forward = Each("qr", static a =>
            {
                var qr = a.QR(MathNet.Numerics.LinearAlgebra.Factorization.QRMethod.Thin);
                var (q, r) = (qr.Q.Clone(), qr.R.Clone());
                for (var i = 0; i < a.ColumnCount; i++)
                {
                    if (r[i, i] >= 0) continue;
                    for (var j = 0; j < r.ColumnCount; j++) r[i, j] = -r[i, j];
                    for (var j = 0; j < q.RowCount; j++) q[j, i] = -q[j, i];
                }
                return [q, r];
            }),
            // Walter & Lehmann 2018, Algorithmic differentiation of linear algebra functions.
            Vjp = static (_, y, g, _) =>
            {
                var (q, r) = (y[0], y[1]);
                var m = r.Matmul(H(g[1])) - H(g[0]).Matmul(q);
                var symmetric = m.Tril() + H(m.Tril(-1));
                return H(Solve!.Call(r, H(g[0] + q.Matmul(symmetric))));
            },
            Reads = Reads.Outputs,
            Batching = Batching.Whole,
            Sample = static draw =>
            {
                var (n, batch) = Size(draw);
                var m = n + draw.Int(0, 2);
                var a = draw.Tensor(Shape.Of([.. batch, m, n]), -0.5, 0.5);
                return new(Qr!, (a + Identity("qr", a) * 2));
            },
        };

        public static readonly Op Eigh = new()
        {
            Name = "eigh",
            Shape = static x =>
            {
                var square = Square("eigh", x[0]);
                return [new(x[0].DType, Shape.Of(x[0].Shape.Sizes[..^1])), square];
            },
            Forward = Each("eigh", static a =>
            {
                var n = a.RowCount;
                var evd = ((a + a.Transpose()) / 2).Evd(Symmetricity.Symmetric);
                var values = evd.EigenValues.Select(z => z.Real).ToArray();
                var order = Enumerable.Range(0, n).OrderBy(i => values[i]).ToArray();
                var vectors = Matrix<double>.Build.DenseOfColumnVectors(order.Select(i => Upright(evd.EigenVectors.Column(i))));
                return [Matrix<double>.Build.Dense(n, 1, (i, _) => values[order[i]]), vectors];
            }),
            Vjp = static (_, y, g, _) =>
            {
                var (w, v) = (y[0], y[1]);
                var turn = H(v).Matmul(g[1]);
                var inner = g[0].Unsqueeze(-1) * Identity("eigh", v) + Over((turn - H(turn)) * 0.5, w.Unsqueeze(-2) - w.Unsqueeze(-1));
                return v.Matmul(inner).Matmul(H(v));
            },
            Reads = Reads.Outputs,
            Batching = Batching.Whole,
            Sample = static draw =>
            {
                var a = Spread(draw, 0);
                return new(Eigh!, a);
            },
        };

        public static readonly Op Svd = new()
        {
            Name = "svd",
            Shape = static x =>
            {
                Matrix("svd", x[0]);
                int m = x[0].Shape[-2], n = x[0].Shape[-1], k = Math.Min(m, n);
                var batch = x[0].Shape.Sizes[..^2].ToArray();
                return [new(x[0].DType, Shape.Of([.. batch, m, k])), new(x[0].DType, Shape.Of([.. batch, k])), new(x[0].DType, Shape.Of([.. batch, n, k]))];
            },
            Forward = Each("svd", static a =>
            {
                var k = Math.Min(a.RowCount, a.ColumnCount);
                var (u, s, v) = Thin(a);
                for (var i = 0; i < k; i++)
                {
                    var upright = Upright(v.Column(i));
                    if (upright.DotProduct(v.Column(i)) >= 0) continue;
                    v.SetColumn(i, upright);
                    u.SetColumn(i, -u.Column(i));
                }
                return [u, Matrix<double>.Build.Dense(k, 1, (i, _) => s[i]), v];
            }),
            // Townsend 2016, Differentiating the singular value decomposition.
            Vjp = static (x, y, g, _) =>
            {
                var (u, s, v) = (y[0], y[1], y[2]);
                var (across, down) = (s.Unsqueeze(-2), s.Unsqueeze(-1));
                Tensor uu = H(u).Matmul(g[0]), vv = H(v).Matmul(g[2]);
                var inner = Over((uu - H(uu)) * across + down * (vv - H(vv)), (across - down) * (across + down)) + g[1].Unsqueeze(-1) * Identity("svd", uu);
                var dx = u.Matmul(inner).Matmul(H(v));
                if (x[0].Shape[-2] > x[0].Shape[-1]) dx += Over(g[0] - u.Matmul(uu), across).Matmul(H(v));
                if (x[0].Shape[-1] > x[0].Shape[-2]) dx += u.Matmul(H(Over(g[2] - v.Matmul(vv), across)));
                return dx;
            },
            Batching = Batching.Whole,
            Sample = static draw =>
            {
                var a = Spread(draw, draw.Int(-1, 1));
                return new(Svd!, a);
            },
        };

        public static readonly Op PseudoInverse = new()
        {
            Name = "pseudoInverse",
            Shape = static x =>
            {
                Matrix("pseudoInverse", x[0]);
                return [new(x[0].DType, Shape.Of([.. x[0].Shape.Sizes[..^2], x[0].Shape[-1], x[0].Shape[-2]]))];
            },
            Forward = new Forward.Into(static (x, y) =>
            {
                var epsilon = x[0].DType == DType.Float32 ? Math.Pow(2, -23) : Math.Pow(2, -52);
                var pseudo = (Forward.Into)Each("pseudoInverse", a =>
                {
                    var (u, s, v) = Thin(a);
                    var least = Math.Max(a.RowCount, a.ColumnCount) * epsilon * s.Maximum();
                    return [v * Matrix<double>.Build.DenseOfDiagonalVector(s.Map(value => value > least ? 1 / value : 0)) * u.Transpose()];
                });
                pseudo.Kernel(x, y);
            }),
            // Golub & Pereyra 1973, The differentiation of pseudo-inverses: dP = −P·dA·P + P·Pᵀ·dAᵀ·(I − A·P) + (I − P·A)·dAᵀ·Pᵀ·P
            Vjp = static (x, y, g, _) =>
            {
                var (a, p, c) = (x[0], y[0], H(g[0]));
                Tensor cpp = c.Matmul(p).Matmul(H(p)), ppc = H(p).Matmul(p).Matmul(c);
                return cpp - a.Matmul(p).Matmul(cpp) + ppc - ppc.Matmul(p).Matmul(a) - H(p).Matmul(g[0]).Matmul(H(p));
            },
            Batching = Batching.Whole,
            Sample = static draw => new(PseudoInverse!, Spread(draw, draw.Int(-1, 1))),
        };

        public static readonly Op MatrixExp = Composition.Of("matrixExp", static x => [x[0].MatrixExp()], static draw =>
        {
            var (n, batch) = Size(draw);
            return new(MatrixExp!, draw.Tensor(Shape.Of([.. batch, n, n]), -1, 1));
        });

        public static readonly Op SolveTriangular = Composition.Of("solveTriangular", static x => [x[0].SolveTriangular(x[1])], static draw =>
        {
            var (a, lower) = (WellConditioned(draw), draw.Chance());
            return new(Composition.Of("solveTriangular", x => [x[0].SolveTriangular(x[1], lower)], static d => SolveTriangular!.Sample(d)),
                a, draw.Tensor(Shape.Of([.. a.Shape.Sizes[..^1], draw.Int(1, 3)])))
            { Attributes = $"lower = {(lower ? "true" : "false")}" };
        });

        // ---- the exponential, composed of products and one solution ----

        private static readonly double[] Pade =
            [64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1];

        internal static Tensor Exponential(Tensor a)
        {
            Square("matrixExp", a);
            if (a.Count == 0) return a * 1.0;
            // As often as the values need to be halved; how often is not part of the derivative.
            var largest = a.IsMeta ? 0 : a.Untraced.Abs().Sum([-1], keepAxes: false).Max().ToDouble();
            var halvings = double.IsFinite(largest) && largest > 5.4 ? (int)Math.Ceiling(Math.Log2(largest / 5.4)) : 0;
            var x = a * Math.Pow(2, -halvings);
            var (b, identity) = (Pade, Identity("matrixExp", a).ExpandTo(a.Shape));
            var x2 = x.Matmul(x);
            var x4 = x2.Matmul(x2);
            var x6 = x4.Matmul(x2);
            var odd = x.Matmul(x6.Matmul(x6 * b[13] + x4 * b[11] + x2 * b[9]) + x6 * b[7] + x4 * b[5] + x2 * b[3] + identity * b[1]);
            var even = x6.Matmul(x6 * b[12] + x4 * b[10] + x2 * b[8]) + x6 * b[6] + x4 * b[4] + x2 * b[2] + identity * b[0];
            var y = Solve.Call(even - odd, even + odd);
            for (var i = 0; i < halvings; i++) y = y.Matmul(y);
            return y;
        }

        // ---- shapes ----

        /// <summary>a / b, and 0 where both are: what has no influence needs no division.</summary>
        private static Tensor Over(Tensor a, Tensor b) => a / (b + a.Equal(0).And(b.Equal(0)).Cast(b.DType));

        /// <summary>The transposed matrices.</summary>
        private static Tensor H(Tensor x) => x.Transpose(-1, -2);

        private static void Matrix(string op, Tensor x)
        {
            Shape.Float(op, x);
            if (x.Rank < 2) throw Shape.Refuse(op, "a matrix […, m, n] is needed", x.Shape.ToString(), "Reshape it");
        }

        private static Spec Square(string op, Tensor x)
        {
            Matrix(op, x);
            if (x.Shape[-1] != x.Shape[-2]) throw Shape.Refuse(op, "the matrix must be square", x.Shape.ToString(), "Use the pseudo-inverse, or a part of it");
            return new(x.DType, x.Shape);
        }

        /// <summary>Ones on the diagonal of matrices like those given.</summary>
        internal static Tensor Identity(string op, Tensor x)
        {
            Matrix(op, x);
            return Tensor.Arange(0, x.Shape[-2]).Unsqueeze(1).Equal(Tensor.Arange(0, x.Shape[-1])).Cast(x.DType);
        }

        private static SingularMatrixException Impossible(string op, string requirement, string got, string advice) => new($"{op}: {requirement}; got {got}. {advice}.");

        // ---- on plain tensors ----

        private static Matrix<double>[] Matrices(Tensor x)
        {
            int m = x.Shape[-2], n = x.Shape[-1], count = (int)(x.Count / Math.Max(1, (long)m * n));
            var values = x.ToDoubles();
            var result = new Matrix<double>[count];
            for (var i = 0; i < count; i++)
                result[i] = Matrix<double>.Build.DenseOfRowMajor(m, n, new ArraySegment<double>(values, i * m * n, m * n));
            return result;
        }

        private static void Store(Matrix<double>[] matrices, Tensor y)
        {
            if (y.Count == 0) return;
            var values = matrices.SelectMany(matrix => matrix.ToRowMajorArray()).ToArray();
            Pointwise.Convert(Tensor.FromDoubles(values, y.Shape, DType.Float64), y);
        }

        private static Forward Each(string op, Factor factor) => new Forward.Into((x, y) =>
        {
            // Of matrices without elements there is nothing to factor; their determinants are empty products.
            if (x[0].Count == 0)
            {
                for (var i = 0; i < y.Length; i++) Slices.Fill(y[i], i == 0 ? 1 : 0);
                return;
            }
            var results = Array.ConvertAll(Matrices(x[0]), a => factor(Finite(op, a)));
            for (var i = 0; i < y.Length; i++) Store(Array.ConvertAll(results, r => r[i]), y[i]);
        });

        private static Matrix<double> Finite(string op, Matrix<double> a) =>
            a.ForAll(double.IsFinite) ? a : throw Impossible(op, "the matrix must be finite", "NaN or an infinity", "Look where it comes from");

        /// <summary>The factors of a matrix that is not singular.</summary>
        private static MathNet.Numerics.LinearAlgebra.Factorization.LU<double> Regular(string op, Matrix<double> a, int index = 0, int count = 1)
        {
            var lu = Finite(op, a).LU();
            foreach (var pivot in lu.U.Diagonal())
                if (pivot == 0)
                    throw Impossible(op, "the matrix must not be singular", count == 1 ? "one that is" : $"matrix {index} of {count} that is", "Use the pseudo-inverse, or add something to its diagonal");
            return lu;
        }

        /// <summary>U, S and V with as many columns as the smaller side: of a tall matrix by way of the square one in its QR factorisation.</summary>
        private static (Matrix<double> U, Vector<double> S, Matrix<double> V) Thin(Matrix<double> a)
        {
            if (a.ColumnCount > a.RowCount)
            {
                var (v, values, u) = Thin(a.Transpose());
                return (u, values, v);
            }
            if (a.RowCount > a.ColumnCount)
            {
                var qr = a.QR(MathNet.Numerics.LinearAlgebra.Factorization.QRMethod.Thin);
                var (u, values, v) = Thin(qr.R);
                return (qr.Q * u, values, v);
            }
            var svd = a.Svd(computeVectors: true);
            return (svd.U, svd.S, svd.VT.Transpose());
        }

        private static Matrix<double> Scalar(double value) => Matrix<double>.Build.Dense(1, 1, value);

        private static int PermutationSign(MathNet.Numerics.Permutation p)
        {
            var (sign, seen) = (1, new bool[p.Dimension]);
            for (var i = 0; i < p.Dimension; i++)
                for (var j = p[i]; !seen[i] && j != i; j = p[j])
                {
                    seen[j] = true;
                    sign = -sign;
                }
            return sign;
        }

        /// <summary>The vector or its negative, so that the largest element is positive.</summary>
        private static Vector<double> Upright(Vector<double> v) => v[v.AbsoluteMaximumIndex()] < 0 ? -v : v;

        // ---- examples ----

        private static (int N, int[] Batch) Size(Draw draw) => (draw.Int(1, 3), draw.Chance(0.4) ? [draw.Int(1, 2)] : []);

        private static Tensor WellConditioned(Draw draw)
        {
            var (n, batch) = Size(draw);
            var a = draw.Tensor(Shape.Of([.. batch, n, n]), -0.5, 0.5);
            return (a + Identity("inverse", a) * draw.OneOf(2.0, -2.0));
        }

        /// <summary>Eigenvalues and singular values well apart; <paramref name="wider"/> more columns than rows.</summary>
        private static Tensor Spread(Draw draw, int wider)
        {
            var (n, batch) = Size(draw);
            var (m, k) = (Math.Max(n, n - wider), Math.Max(n, n + wider));
            var a = draw.Tensor(Shape.Of([.. batch, m, k]), -0.2, 0.2);
            var steps = Tensor.Arange(1, m + 1, dtype: a.DType).Unsqueeze(1);
            return (a + Identity("svd", a) * steps);
        }
    }
}
