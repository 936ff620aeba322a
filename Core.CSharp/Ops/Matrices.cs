using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>The Kronecker product: every element of this tensor times the whole of b, for tensors of one rank.</summary>
        public Tensor Kron(Tensor b) => Matrices.Kron.Call(this, b);

        /// <summary>The cross product of vectors of three elements along an axis; both broadcast.</summary>
        public Tensor Cross(Tensor b, int axis = -1)
        {
            var shape = Shape.Broadcast("cross", Shape, b.Shape);
            return Matrices.CrossAlong(axis).Call(ExpandTo(shape), b.ExpandTo(shape));
        }

        /// <summary>X with A·X = B for triangular matrices A […, n, n], of which only the lower or upper triangle is read, and B […, n, k] or one vector [n] for all of
        /// them. The leading axes broadcast.</summary>
        public Tensor SolveTriangular(Tensor b, bool lower = true) => (lower ? Tril() : Triu()).Solve(b);

        /// <summary>A norm of matrices […, m, n]: "fro" √Σ|aᵢⱼ|², "nuc" the sum of the singular values, "2" the largest of them, "1" the largest sum of a column,
        /// "inf" the largest sum of a row.</summary>
        public Tensor MatrixNorm(string order = "fro")
        {
            if (Rank < 2) throw Shape.Refuse("matrixNorm", "two axes are needed", Shape.ToString(), "Reshape to a matrix");
            return order switch
            {
                "fro" => Norm(2, [-2, -1]),
                "nuc" => Svd().S.Sum(-1),
                "2" => Svd().S.Max(-1),
                "-2" => Svd().S.Min(-1),
                "1" => Abs().Sum(-2).Max(-1),
                "-1" => Abs().Sum(-2).Min(-1),
                "inf" => Abs().Sum(-1).Max(-1),
                "-inf" => Abs().Sum(-1).Min(-1),
                _ => throw Shape.Refuse("matrixNorm", "the order must be fro, nuc, 1, 2, inf, -1, -2 or -inf", $"'{order}'", "Choose one of them"),
            };
        }

        /// <summary>Σ aᵢbᵢ/(max(‖a‖, ε)·max(‖b‖, ε)) along an axis; both broadcast.</summary>
        public static Tensor CosineSimilarity(Tensor a, Tensor b, int axis = -1, double epsilon = 1e-8)
        {
            var shape = Shape.Broadcast("cosineSimilarity", a.Shape, b.Shape);
            return Matrices.CosineAlong(axis, epsilon).Call(a.ExpandTo(shape), b.ExpandTo(shape));
        }

        /// <summary>Distances ‖aᵢ − bⱼ‖ between the rows of a […, m, d] and b […, n, d], as […, m, n].</summary>
        public static Tensor Distances(Tensor a, Tensor b, double p = 2)
        {
            if (a.Rank < 2 || b.Rank < 2 || a.Shape[-1] != b.Shape[-1])
                throw Shape.Refuse("distances", "rows of one length are needed", $"{a.Shape} and {b.Shape}", "Reshape to matrices of points");
            return (a.Unsqueeze(-2) - b.Unsqueeze(-3)).Norm(p, [-1]);
        }

        /// <summary>Coordinates of a grid: tensor i repeats vector i along axis i of the shape that the vectors' lengths make.</summary>
        public static Tensor[] Meshgrid(params Tensor[] vectors)
        {
            foreach (var vector in vectors)
                if (vector.Rank != 1) throw Shape.Refuse("meshgrid", "vectors are needed", vector.Shape.ToString(), "Flatten it");
            var shape = Shape.Of([.. vectors.Select(vector => vector.Shape[0])]);
            return [.. vectors.Select((vector, i) => vector.Reshape([-1, .. Enumerable.Repeat(1, vectors.Length - i - 1)]).ExpandTo(shape))];
        }

        /// <summary>The n-th differences xᵢ₊₁ − xᵢ along an axis.</summary>
        public Tensor Diff(int n = 1, int axis = -1) => Matrices.DiffAlong(n, axis).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Products and sums of vectors and matrices that are written in terms of other operations.</summary>
    public static class Matrices
    {
        public static readonly Op Kron = Composition.Of("kron", static x =>
        {
            // The one with fewer axes gets leading ones.
            var rank = Math.Max(x[0].Rank, x[1].Rank);
            Shape Filled(Shape s) => Shape.Of([.. Enumerable.Repeat(1, rank - s.Rank), .. s]);
            var (a, b) = (Filled(x[0].Shape), Filled(x[1].Shape));
            int[] Interleaved(Shape s, bool first) => [.. s.SelectMany(n => first ? new[] { n, 1 } : [1, n])];
            var product = x[0].Reshape(Interleaved(a, true)) * x[1].Reshape(Interleaved(b, false));
            return [product.Reshape([.. a.Zip(b, (m, n) => m * n)])];
        }, static draw =>
        {
            var shape = draw.Shape();
            return new(Kron!, draw.Tensor(shape), draw.Tensor(Shape.Of([.. shape.Select(_ => draw.Int(1, 3))])));
        });

        public static readonly Op Cross = CrossAlong(-1);

        public static readonly Op CosineSimilarity = CosineAlong(-1, 1e-8);

        public static readonly Op Difference = DiffAlong(1, -1);

        internal static Op CrossAlong(int axis) => Composition.Of("cross", x =>
        {
            Elementwise.Alike("cross", x[0], x[1]);
            var a = x[0].Shape.Axis("cross", axis);
            if (x[0].Shape[a] != 3) throw Shape.Refuse("cross", "vectors must have three elements", $"{x[0].Shape} along axis {a}", "Name the axis of the components");
            return [x[0].Roll(-1, a) * x[1].Roll(-2, a) - x[0].Roll(-2, a) * x[1].Roll(-1, a)];
        }, static draw =>
        {
            var sizes = draw.Shape(1).ToArray();
            var axis = draw.Int(0, sizes.Length - 1);
            sizes[axis] = 3;
            return new(CrossAlong(axis), draw.Tensor(Shape.Of(sizes)), draw.Tensor(Shape.Of(sizes))) { Attributes = $"axis = {axis}" };
        });

        internal static Op CosineAlong(int axis, double epsilon) => Composition.Of("cosineSimilarity", x =>
        {
            Elementwise.Alike("cosineSimilarity", x[0], x[1]);
            var a = x[0].Shape.Axis("cosineSimilarity", axis);
            Tensor Length(Tensor t) => t.Norm(2, [a]).Maximum(epsilon);
            return [(x[0] * x[1]).Sum(a) / (Length(x[0]) * Length(x[1]))];
        }, static draw =>
        {
            // Of one element alone it is a sign.
            var sizes = draw.Shape(1).ToArray();
            var axis = draw.Int(0, sizes.Length - 1);
            sizes[axis]++;
            var shape = Shape.Of(sizes);
            return new(CosineAlong(axis, 1e-8), draw.Tensor(shape, -2, 2, 0.2, 0), draw.Tensor(shape, -2, 2, 0.2, 0)) { Attributes = $"axis = {axis}" };
        });

        internal static Op DiffAlong(int n, int axis) => Composition.Of("diff", x =>
        {
            var a = x[0].Shape.Axis("diff", axis);
            Reductions.NotBool("diff", x[0]);
            if (n < 0) throw Shape.Refuse("diff", "the order must not be negative", $"{n}", "Use CumSum for sums");
            // Of as many elements as differences to take, or fewer, none is left.
            if (n >= x[0].Shape[a] && n > 0) return [x[0].Slice(a, 0, 0)];
            var y = x[0];
            for (var i = 0; i < n; i++) y = y.Slice(a, 1) - y.Slice(a, 0, y.Shape[a] - 1);
            return [y];
        }, static draw =>
        {
            var shape = draw.Shape(1);
            var axis = AxisSet.DrawOne(draw, shape);
            var n = draw.Int(0, Math.Min(2, shape[axis] - 1));
            return new(DiffAlong(n, axis), draw.Tensor(shape)) { Attributes = $"n = {n}, axis = {axis}" };
        });
    }
}
