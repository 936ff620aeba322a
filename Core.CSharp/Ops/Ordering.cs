using System.Numerics;
using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Elements put in order. NaN counts as the largest, and equal elements keep theirs.
    public sealed partial class Tensor
    {
        /// <summary>The elements in order along an axis and where each came from, as int64; the gradient goes back there.</summary>
        public (Tensor Values, Tensor Indices) Sort(int axis = -1, bool descending = false) => Pair(Ops.Ordering.SortAlong(axis, descending));

        /// <summary>The places of the elements in order along an axis, as int64.</summary>
        public Tensor ArgSort(int axis = -1, bool descending = false) => Sort(axis, descending).Indices;

        /// <summary>The k largest elements along an axis, largest first, or the k smallest, and their places.</summary>
        public (Tensor Values, Tensor Indices) TopK(int k, int axis = -1, bool largest = true) => Pair(Ops.Ordering.TopAlong(k, axis, largest));

        /// <summary>The element in the middle along an axis; of two, their mean.</summary>
        public Tensor Median(int axis, bool keepAxis = false) => Quantile(0.5, axis, keepAxis);

        /// <summary>The value below which a share q in 0 … 1 of the elements along an axis lies, interpolated linearly between neighbours; NaN where one of them is.</summary>
        public Tensor Quantile(double q, int axis, bool keepAxis = false)
        {
            Shape.Float("quantile", this);
            var a = Shape.Axis("quantile", axis);
            if (!(q is >= 0 and <= 1)) throw Shape.Refuse("quantile", "the share must lie in 0 … 1", $"{q}", "Divide percentages by 100");
            if (Shape[a] == 0) throw Shape.Refuse("quantile", "at least one element is needed along the axis", $"axis {a} of {Shape}", "Take it of a tensor that is not empty there");
            var position = q * (Shape[a] - 1);
            var (low, share) = ((int)position, position - (int)position);
            var sorted = Sort(a).Values;
            var value = sorted.Slice(a, low, low + 1);
            if (share > 0) value = value * (1 - share) + sorted.Slice(a, low + 1, low + 2) * share;
            // NaN is the largest of all, so that the last element tells whether there is one: nothing is known of the others' order then.
            var last = sorted.Slice(a, Shape[a] - 1, Shape[a]);
            value = Where(last.NotEqual(last), last, value);
            return keepAxis ? value : value.Squeeze(a);
        }

        /// <summary>For each value the number of edges below it (with <paramref name="right"/>: not above it), as int64; the edges are a vector in ascending order.</summary>
        public static Tensor SearchSorted(Tensor edges, Tensor values, bool right = false) => Ops.Ordering.Search(right).Call(edges, values);

        /// <summary>The different elements in ascending order, for each element the place of its value among them, and how often each occurs.</summary>
        public (Tensor Values, Tensor Inverse, Tensor Counts) Unique()
        {
            var (sorted, order) = Functional.Diff.StopGradient(Flatten()).Sort();
            var values = sorted.ToDoubles();
            var places = order.ToArray<long>();
            var (starts, counts, inverse) = (new List<long>(), new List<long>(), new long[places.Length]);
            for (var i = 0; i < places.Length; i++)
            {
                if (i == 0 || !values[i].Equals(values[i - 1]))
                {
                    starts.Add(i);
                    counts.Add(0);
                }
                counts[^1]++;
                inverse[places[i]] = starts.Count - 1;
            }
            return (sorted.Take(From(starts.ToArray())), From(inverse).Reshape(Shape.ToArray()), From(counts.ToArray()));
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Sorting and searching.</summary>
    public static unsafe class Ordering
    {
        public static readonly Op Sort = SortAlong(-1, false);

        public static readonly Op TopK = TopAlong(1, -1, true);

        public static readonly Op SearchSorted = Search(false);

        internal static Op SortAlong(int axis, bool descending) => new()
        {
            Name = "sort",
            Batching = Vmapping.Along(axis, a => SortAlong(a, descending)),
            Shape = x =>
            {
                x[0].Shape.Axis("sort", axis);
                Reductions.NotBool("sort", x[0]);
                return [new(x[0].DType, x[0].Shape), new(DType.Int64, x[0].Shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                switch (x[0].DType)
                {
                    case DType.Float32: Along<float>(x[0], y, axis, descending); break;
                    case DType.Float64: Along<double>(x[0], y, axis, descending); break;
                    case DType.Int32: Along<int>(x[0], y, axis, descending); break;
                    default: Along<long>(x[0], y, axis, descending); break;
                }
            }),
            Vjp = (x, y, g, _) => Level.ZerosLike(x[0]).ScatterAdd(y[1], g[0], axis),
            Jvp = (_, y, dx) => [dx[0]!.Gather(y[1], axis), y[1]],
            Reads = Reads.Outputs,
            Sample = static draw =>
            {
                var shape = draw.Shape(1, empty: true);
                var (axis, descending) = (AxisSet.DrawOne(draw, shape), draw.Chance());
                return new(SortAlong(axis, descending), draw.Distinct(shape)) { Attributes = $"axis = {axis}, descending = {(descending ? "true" : "false")}" };
            },
        };

        internal static Op TopAlong(int k, int axis, bool largest) => new()
        {
            Name = "topk",
            Batching = Vmapping.Along(axis, a => TopAlong(k, a, largest)),
            Shape = x =>
            {
                var a = x[0].Shape.Axis("topk", axis);
                Reductions.NotBool("topk", x[0]);
                if (k < 0 || k > x[0].Shape[a]) throw Shape.Refuse("topk", $"k must lie in 0 … {x[0].Shape[a]}", $"{k} along axis {a} of {x[0].Shape}", "Ask for fewer");
                var shape = Shape.Of([.. x[0].Shape.Sizes[..a], k, .. x[0].Shape.Sizes[(a + 1)..]]);
                return [new(x[0].DType, shape), new(DType.Int64, shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                switch (x[0].DType)
                {
                    case DType.Float32: Top<float>(x[0], y, axis, largest); break;
                    case DType.Float64: Top<double>(x[0], y, axis, largest); break;
                    case DType.Int32: Top<int>(x[0], y, axis, largest); break;
                    default: Top<long>(x[0], y, axis, largest); break;
                }
            }),
            Vjp = (x, y, g, _) => Level.ZerosLike(x[0]).ScatterAdd(y[1], g[0], axis),
            Jvp = (_, y, dx) => [dx[0]!.Gather(y[1], axis), y[1]],
            Reads = Reads.Outputs,
            Sample = static draw =>
            {
                var shape = draw.Shape(1, empty: true);
                var (axis, largest) = (AxisSet.DrawOne(draw, shape), draw.Chance());
                var k = draw.Int(0, shape[axis]);
                return new(TopAlong(k, axis, largest), draw.Distinct(shape)) { Attributes = $"k = {k}, axis = {axis}, largest = {(largest ? "true" : "false")}" };
            },
        };

        private static void Top<T>(Tensor x, Tensor[] y, int axis, bool largest) where T : unmanaged, INumber<T>
        {
            var (outer, n, inner) = Softmax.Around(x.Shape, axis);
            x = Pointwise.Contiguous(x);
            Kernels.Sorting.Top(outer, n, inner, y[0].Shape[axis], x.Pointer<T>(), y[0].Pointer<T>(), y[1].Pointer<long>(), largest);
            GC.KeepAlive(x);
        }

        private static void Along<T>(Tensor x, Tensor[] y, int axis, bool descending) where T : unmanaged, INumber<T>
        {
            var (outer, n, inner) = Softmax.Around(x.Shape, axis);
            x = Pointwise.Contiguous(x);
            Kernels.Sorting.Sort(outer, n, inner, x.Pointer<T>(), y[0].Pointer<T>(), y[1].Pointer<long>(), descending);
            GC.KeepAlive(x);
        }

        internal static Op Search(bool right) => new()
        {
            Name = "searchSorted",
            Batching = new Batching.By((op, x, mapped, _) => mapped[0] ? null : op.Apply(x)),
            Shape = x =>
            {
                Shape.SameDType("searchSorted", x[0], x[1]);
                Reductions.NotBool("searchSorted", x[0]);
                if (x[0].Rank != 1) throw Shape.Refuse("searchSorted", "the edges must be a vector", x[0].Shape.ToString(), "Search in one vector at a time");
                return [new(DType.Int64, x[1].Shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                switch (x[0].DType)
                {
                    case DType.Float32: Find<float>(x, y[0], right); break;
                    case DType.Float64: Find<double>(x, y[0], right); break;
                    case DType.Int32: Find<int>(x, y[0], right); break;
                    default: Find<long>(x, y[0], right); break;
                }
            }),
            Vjp = Op.NotDifferentiable,
            Reads = Reads.None,
            Sample = static draw =>
            {
                var edges = draw.Distinct(draw.Shape(1, 1, empty: true)).Sort().Values;
                var right = draw.Chance();
                return new(Search(right), edges, draw.Tensor(draw.Shape(empty: true))) { Attributes = $"right = {(right ? "true" : "false")}" };
            },
        };

        private static void Find<T>(Tensor[] x, Tensor y, bool right) where T : unmanaged, INumber<T>
        {
            var (edges, values) = (Pointwise.Contiguous(x[0]), Pointwise.Contiguous(x[1]));
            Kernels.Sorting.Search((nint)edges.Count, edges.Pointer<T>(), (nint)values.Count, values.Pointer<T>(), y.Pointer<long>(), right);
            GC.KeepAlive(edges);
            GC.KeepAlive(values);
        }
    }
}
