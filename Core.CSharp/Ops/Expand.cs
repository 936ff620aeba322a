using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>The tensor broadcast to a shape: axes of size 1 and missing leading axes repeat their elements; −1 keeps an axis as it is. Nothing is copied.</summary>
        public Tensor Expand(params int[] shape) =>
            ExpandTo(Shape.Of([.. shape.Select((n, i) => n == -1 && i >= shape.Length - Rank ? Shape[i - (shape.Length - Rank)] : n)]));

        /// <summary>The tensor broadcast to a shape.</summary>
        public Tensor ExpandTo(Shape shape) => ReferenceEquals(shape, Shape) || shape == Shape ? this : Broadcasting.ExpandTo(shape).Call(this);

        /// <summary>The sum over what a broadcast from <paramref name="shape"/> to this tensor's shape repeats.</summary>
        internal Tensor SumTo(Shape shape) => shape == Shape ? this : Broadcasting.SumTo(shape).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Broadcasting is one operation, and its adjoint is one sum: no other derivative knows of it.</summary>
    public static unsafe class Broadcasting
    {
        /// <summary>The broadcast to a drawn shape.</summary>
        public static readonly Op Expand = new()
        {
            Name = "expand",
            Shape = static x => [new(x[0].DType, x[0].Shape)],
            Forward = new Forward.View(static (x, y) => Repeat(x, y.Shape)),
            Vjp = static (x, _, g, _) => g[0].SumTo(x[0].Shape),
            VjpInto = static (_, _, g, dx) =>
            {
                if (dx[0] is { } slot) SumInto(g[0], slot.Open(out var accumulate), accumulate);
            },
            Jvp = static (_, y, dx) => [dx[0]!.ExpandTo(y[0].Shape)],
            Reads = Reads.None,
            Sample = static draw =>
            {
                var shape = draw.Shape();
                return new(ExpandTo(shape), draw.Tensor(draw.Broadcastable(shape))) { Attributes = $"shape={shape}" };
            },
        };

        /// <summary>The sum to a drawn shape.</summary>
        public static readonly Op Sum = new()
        {
            Name = "sumTo",
            Shape = static x => [new(x[0].DType, x[0].Shape)],
            Forward = new Forward.Into(static (x, y) => SumInto(x[0], y[0], accumulate: false)),
            Vjp = static (x, _, g, _) => g[0].ExpandTo(x[0].Shape),
            VjpInto = static (x, _, g, dx) => dx[0]?.Add(Sum!, Repeated(g[0], x[0].Shape)),
            Jvp = static (_, y, dx) => [dx[0]!.SumTo(y[0].Shape)],
            Reads = Reads.None,
            Sample = static draw =>
            {
                var shape = draw.Shape();
                var target = draw.Broadcastable(shape);
                return new(SumTo(target), draw.Tensor(shape)) { Attributes = $"shape={target}" };
            },
        };

        /// <summary>The broadcast to a shape.</summary>
        public static Op ExpandTo(Shape shape) => Expand with
        {
            Batching = new Batching.By((_, x, _, examples) =>
                [x[0].Reshape([examples, .. Enumerable.Repeat(1, shape.Rank - x[0].Rank + 1), .. x[0].Shape.Sizes[1..]]).Expand([examples, .. shape])]),
            Shape = x => x[0].Shape.BroadcastsTo(shape)
                ? [new(x[0].DType, shape)]
                : throw Shape.Refuse("expand", "each size must be that of the target or 1, aligned at the end", $"{x[0].Shape} and target {shape}", "Reshape it or choose another target"),
        };

        /// <summary>The sum to a shape that broadcasts to the input's.</summary>
        public static Op SumTo(Shape shape) => Sum with
        {
            Batching = new Batching.By((_, x, _, examples) =>
                [x[0].SumTo(Shape.Of([examples, .. Enumerable.Repeat(1, x[0].Rank - 1 - shape.Rank), .. shape])).Reshape([examples, .. shape])]),
            Shape = x =>
            {
                Shape.Float("sumTo", x[0]);
                return shape.BroadcastsTo(x[0].Shape)
                    ? [new(x[0].DType, shape)]
                    : throw Shape.Refuse("sumTo", "the target must broadcast to the input", $"{x[0].Shape} and target {shape}", "Choose another target");
            },
        };

        private static Layout Repeat(Tensor x, Shape shape)
        {
            var strides = new nint[shape.Rank];
            var leading = shape.Rank - x.Rank;
            for (var i = leading; i < strides.Length; i++)
                strides[i] = x.Shape.Sizes[i - leading] == shape.Sizes[i] ? x.Strides[i - leading] : 0;
            return new(strides, x.Offset);
        }

        private static Tensor Repeated(Tensor x, Shape shape)
        {
            var (strides, offset) = Repeat(x, shape);
            return x.View(shape, strides, offset);
        }

        private static void SumInto(Tensor x, Tensor y, bool accumulate)
        {
            var leading = x.Rank - y.Rank;
            ulong axes = 0;
            for (var i = 0; i < x.Rank; i++)
                if (i < leading || y.Shape.Sizes[i - leading] != x.Shape.Sizes[i])
                    axes |= 1UL << i;
            if (x.Rank > Geometry.MaxRank) x = Pointwise.Contiguous(x);
            var walks = Reduced.Of(x.Shape.Sizes, x.Strides, axes);
            if (x.DType == DType.Float32) Functional.Kernels.Reductions.Sum(in walks, x.Pointer<float>(), y.Pointer<float>(), accumulate);
            else Functional.Kernels.Reductions.Sum(in walks, x.Pointer<double>(), y.Pointer<double>(), accumulate);
            GC.KeepAlive(x);
        }
    }
}
