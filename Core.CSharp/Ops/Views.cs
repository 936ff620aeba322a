using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Other shapes of the same elements. Nothing is copied, except by a reshape of a view whose elements do not lie in order.
    public sealed partial class Tensor
    {
        /// <summary>The elements in row-major order under another shape; one size may be -1 and is inferred.</summary>
        public Tensor Reshape(params int[] sizes)
        {
            var shape = Shape.Reshape("reshape", sizes);
            return shape == Shape ? this : Ops.Views.ReshapeTo(shape).Call(this);
        }

        /// <summary>Axes first … last become one. A scalar becomes a vector.</summary>
        public Tensor Flatten(int first = 0, int last = -1)
        {
            if (Rank == 0) return Reshape(1);
            var (a, b) = (Shape.Axis("flatten", first), Shape.Axis("flatten", last));
            if (a > b) throw Shape.Refuse("flatten", "the first axis must not come after the last", $"axes {first} and {last} of {Shape}", "Swap them");
            var merged = 1;
            for (var i = a; i <= b; i++) merged *= Shape[i];
            return Reshape([.. Shape.Sizes[..a], merged, .. Shape.Sizes[(b + 1)..]]);
        }

        /// <summary>Without the given axes where they have size 1; none named means every axis of size 1.</summary>
        public Tensor Squeeze(params int[] axes)
        {
            var mask = Shape.AxisMask("squeeze", axes);
            var sizes = new List<int>();
            for (var i = 0; i < Rank; i++)
                if (!mask[i] || Shape[i] != 1)
                    sizes.Add(Shape[i]);
            return Reshape(sizes.ToArray());
        }

        /// <summary>With a new axis of size 1 at the given place; -1 appends it.</summary>
        public Tensor Unsqueeze(int axis)
        {
            if (axis < -Rank - 1 || axis > Rank)
                throw Shape.Refuse("unsqueeze", $"the place must lie in {-Rank - 1} … {Rank}", $"axis {axis} of {Shape}", "Choose an existing place");
            var at = axis < 0 ? axis + Rank + 1 : axis;
            return Reshape([.. Shape.Sizes[..at], 1, .. Shape.Sizes[at..]]);
        }

        /// <summary>Axis i of the result is axis axes[i] of this tensor.</summary>
        public Tensor Permute(params int[] axes) => Ops.Views.PermuteBy(Shape.Permutation("permute", axes)).Call(this);

        /// <summary>Two axes swapped.</summary>
        public Tensor Transpose(int axis0, int axis1)
        {
            var (a, b) = (Shape.Axis("transpose", axis0), Shape.Axis("transpose", axis1));
            if (a == b) return this;
            if (Rank == 2) return Ops.Views.Permute.Call(this);
            var axes = new int[Rank];
            for (var i = 0; i < axes.Length; i++) axes[i] = i == a ? b : i == b ? a : i;
            return Ops.Views.PermuteBy(axes).Call(this);
        }

        /// <summary>The last two axes swapped: the transposed matrix.</summary>
        public Tensor T => Transpose(-2, -1);
    }
}

namespace Functional.Ops
{
    /// <summary>Reshape and permute.</summary>
    public static class Views
    {
        public static readonly Op Reshape = ReshapeTo(Shape.Scalar);

        /// <summary>The exemplar swaps the axes of a matrix.</summary>
        public static readonly Op Permute = PermuteBy([1, 0]);

        /// <summary>Row-major order kept, another shape of as many elements.</summary>
        public static Op ReshapeTo(Shape shape) => new()
        {
            Name = "reshape",
            Batching = new Batching.By((_, x, _, examples) => ReshapeTo(Shape.Of([examples, .. shape])).Apply(x)),
            Shape = x => [new(x[0].DType, x[0].Shape.Reshape("reshape", shape.Sizes))],
            Forward = new Forward.Composite(x => [Reshaped(x[0], shape)]),
            Vjp = static (x, _, g, _) => g[0].Reshape(x[0].Shape.ToArray()),
            VjpInto = static (x, _, g, dx) => dx[0]?.Add(Reshape, Reshaped(g[0], x[0].Shape)),
            Jvp = (_, _, dx) => [dx[0]!.Reshape(shape.ToArray())],
            Reads = Reads.None,
            Sample = static draw =>
            {
                var from = draw.Shape(0, 3, empty: true);
                var to = Reordered(draw, from);
                return new(ReshapeTo(to), draw.Tensor(from)) { Attributes = $"shape = {to}" };
            },
        };

        // The same sizes in another order, neighbours multiplied together, ones put in.
        private static Shape Reordered(Draw draw, Shape from)
        {
            var sizes = new List<int>();
            foreach (var size in from) sizes.Insert(draw.Int(0, sizes.Count), size);
            if (sizes.Count > 1 && draw.Chance())
            {
                sizes[0] *= sizes[1];
                sizes.RemoveAt(1);
            }
            if (draw.Chance(0.3)) sizes.Insert(draw.Int(0, sizes.Count), 1);
            return Shape.Of(sizes.ToArray());
        }

        private static Tensor Reshaped(Tensor x, Shape shape)
        {
            if (x.IsMeta)
            {
                x.Shape.Reshape("reshape", shape.Sizes);
                return Tensor.Meta(x.DType, shape);
            }
            if (x.Count != shape.Count) x.Shape.Reshape("reshape", shape.Sizes);
            if (x.IsContiguous) return x.View(shape, shape.RowMajor, x.Offset);
            if (Regroup(x, shape) is { } strides) return x.View(shape, strides, x.Offset);
            var copy = Tensor.Allocate(x.DType, shape);
            Pointwise.Copy(x, copy.View(x.Shape, x.Shape.RowMajor, 0));
            return copy;
        }

        /// <summary>Strides that show x in another shape, or null where its elements do not lie evenly enough for that.</summary>
        internal static nint[]? Regroup(Tensor x, Shape shape)
        {
            if (x.Count == 0) return shape.RowMajor;
            var strides = new nint[shape.Rank];
            int from = 0, to = 0;
            while (from < x.Rank || to < shape.Rank)
            {
                // The shortest runs of old and of new axes that hold equally many elements.
                int firstOld = from, firstNew = to;
                long old = from < x.Rank ? x.Shape[from++] : 1, fresh = to < shape.Rank ? shape[to++] : 1;
                while (old != fresh)
                    if (old < fresh) old *= x.Shape[from++];
                    else fresh *= shape[to++];
                // Within a run the old axes must continue one another; those of size 1 have no say.
                nint stride = 0;
                nint? next = null;
                for (var i = from - 1; i >= firstOld; i--)
                {
                    if (x.Shape[i] == 1) continue;
                    if (next is null) stride = x.Strides[i];
                    else if (x.Strides[i] != next) return null;
                    next = x.Strides[i] * x.Shape[i];
                }
                for (var i = to - 1; i >= firstNew; i--)
                {
                    strides[i] = stride;
                    stride *= shape[i];
                }
            }
            return strides;
        }

        /// <summary>Axis i of the output is axis axes[i] of the input.</summary>
        public static Op PermuteBy(int[] axes)
        {
            Op? inverse = null, op = null;
            return op = new()
            {
                Name = "permute",
                Batching = new Batching.By((_, x, _, _) => PermuteBy([0, .. Vmapping.Shifted(axes, x[0].Rank - 1, all: false)]).Apply(x)),
                Shape = x => [new(x[0].DType, Shape.Of(Array.ConvertAll(x[0].Shape.Permutation("permute", axes), a => x[0].Shape[a])))],
                Forward = new Forward.View((x, _) => new(Array.ConvertAll(axes, a => x.Strides[a < 0 ? a + x.Rank : a]), x.Offset)),
                Vjp = (_, _, g, _) => (inverse ??= PermuteBy(Inverse(axes))).Call(g[0]),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var shape = draw.Shape(0, 4, empty: true);
                    var order = new List<int>();
                    for (var i = 0; i < shape.Rank; i++) order.Insert(draw.Int(0, i), draw.Chance(0.2) ? i - shape.Rank : i);
                    return new(PermuteBy([.. order]), draw.Tensor(shape)) { Attributes = $"axes = {Shape.Text([.. order])}" };
                },
            };
        }

        private static int[] Inverse(int[] axes)
        {
            var inverse = new int[axes.Length];
            for (var i = 0; i < axes.Length; i++) inverse[axes[i] < 0 ? axes[i] + axes.Length : axes[i]] = i;
            return inverse;
        }
    }
}
