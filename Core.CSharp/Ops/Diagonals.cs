using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>The elements (i, i + offset) of two axes, which go away in favour of a new last axis. Nothing is copied.</summary>
        public Tensor Diagonal(int offset = 0, int axis1 = -2, int axis2 = -1) => Diagonals.Of(offset, axis1, axis2).Call(this);

        /// <summary>Matrices with the last axis on the given diagonal, zeros elsewhere.</summary>
        public Tensor DiagonalMatrix(int offset = 0)
        {
            if (Rank == 0) throw Shape.Refuse("diagonalMatrix", "an axis is needed", Shape.ToString(), "Reshape to a vector");
            if (Math.Abs((long)offset) + Shape[-1] > int.MaxValue)
                throw Shape.Refuse("diagonalMatrix", "the matrix must have a size", $"offset {offset}", "Choose one nearer to 0");
            var n = Shape[-1] + Math.Abs(offset);
            return Diagonals.Embed(Shape.Of([.. Shape.Sizes[..^1], n, n]), offset, -2, -1).Call(this);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Diagonals as views, and their adjoint.</summary>
    public static class Diagonals
    {
        public static readonly Op Diagonal = Of(0, -2, -1);

        public static readonly Op DiagonalEmbed = Embed(Shape.Of(1, 1), 0, -2, -1);

        internal static Op Of(int offset, int axis1, int axis2)
        {
            Op? op = null;
            return op = new()
            {
                Name = "diagonal",
                Batching = new Batching.By((_, x, _, _) => Of(offset, Vmapping.Shifted(axis1), Vmapping.Shifted(axis2)).Apply(x)),
                Shape = x =>
                {
                    var (a, b) = Axes("diagonal", x[0].Shape, axis1, axis2);
                    return [new(x[0].DType, Shape.Of([.. Others(x[0].Shape, a, b), Length(x[0].Shape, a, b, offset)]))];
                },
                Forward = new Forward.View((x, _) => Layout(x, axis1, axis2, offset)),
                Vjp = (x, _, g, _) => Embed(x[0].Shape, offset, axis1, axis2).Call(g[0]),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var shape = draw.Shape(2, 4);
                    var (offset, a, b) = Draw(draw, shape.Rank);
                    return new(Of(offset, a, b), draw.Tensor(shape)) { Attributes = $"offset = {offset}, axis1 = {a}, axis2 = {b}" };
                },
            };
        }

        /// <summary>The adjoint of the diagonal: its elements in zeros of the shape <paramref name="into"/>.</summary>
        internal static Op Embed(Shape into, int offset, int axis1, int axis2)
        {
            Op? op = null;
            return op = new()
            {
                Name = "diagonalEmbed",
                Batching = new Batching.By((_, x, _, examples) => Embed(Shape.Of([examples, .. into]), offset, Vmapping.Shifted(axis1), Vmapping.Shifted(axis2)).Apply(x)),
                Shape = x =>
                {
                    var (a, b) = Axes("diagonalEmbed", into, axis1, axis2);
                    var expected = Shape.Of([.. Others(into, a, b), Length(into, a, b, offset)]);
                    if (x[0].Shape != expected) throw Shape.Refuse("diagonalEmbed", $"the diagonal must be {expected}", $"{x[0].Shape}", "Reshape it");
                    return [new(x[0].DType, into)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    Slices.Fill(y[0], 0);
                    if (x[0].Count == 0) return;
                    var (strides, start) = Layout(y[0], axis1, axis2, offset);
                    Pointwise.Copy(x[0], y[0].View(x[0].Shape, strides, start));
                }),
                Vjp = (_, _, g, _) => Of(offset, axis1, axis2).Call(g[0]),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var into = draw.Shape(2, 4);
                    var (offset, a, b) = Draw(draw, into.Rank);
                    var diagonal = Of(offset, a, b).Shape([Tensor.Meta(draw.DType, into)])[0].Shape;
                    return new(Embed(into, offset, a, b), draw.Tensor(diagonal)) { Attributes = $"into = {into}, offset = {offset}, axis1 = {a}, axis2 = {b}" };
                },
            };
        }

        private static (int, int) Axes(string op, Shape shape, int axis1, int axis2)
        {
            var (a, b) = (shape.Axis(op, axis1), shape.Axis(op, axis2));
            return a != b ? (a, b) : throw Shape.Refuse(op, "two different axes are needed", $"axes {axis1} and {axis2} of {shape}", "Name another");
        }

        private static int[] Others(Shape shape, int a, int b) => [.. Enumerable.Range(0, shape.Rank).Where(i => i != a && i != b).Select(i => shape[i])];

        private static int Length(Shape shape, int a, int b, int offset) =>
            (int)Math.Max(0, Math.Min(shape[a] + Math.Min(0L, offset), shape[b] - Math.Max(0L, offset)));

        private static Layout Layout(Tensor x, int axis1, int axis2, int offset)
        {
            var (a, b) = Axes("diagonal", x.Shape, axis1, axis2);
            nint[] strides = [.. Enumerable.Range(0, x.Rank).Where(i => i != a && i != b).Select(i => x.Strides[i]), x.Strides[a] + x.Strides[b]];
            var empty = Length(x.Shape, a, b, offset) == 0;
            return new(strides, x.Offset + (empty ? 0 : offset < 0 ? -offset * x.Strides[a] : offset * x.Strides[b]));
        }

        private static (int Offset, int A, int B) Draw(Draw draw, int rank)
        {
            var a = draw.Int(0, rank - 1);
            var b = (a + draw.Int(1, rank - 1)) % rank;
            return (draw.Int(-2, 2), a, draw.Chance() ? b : b - rank);
        }
    }
}
