using System.Numerics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    // Pooling over the spatial axes of [N, C, spatial…]. Windows step by their own size unless the window's stride says otherwise.
    public sealed partial class Tensor
    {
        /// <summary>The largest element of each window; the gradient goes to the first of equals. Padding counts as −∞.</summary>
        public Tensor MaxPool(PerAxis kernel, Window? window = null) => MaxPoolWithIndices(kernel, window).Values;

        /// <summary>The largest element of each window, and its place in its image as an int32 in row-major order.</summary>
        public (Tensor Values, Tensor Indices) MaxPoolWithIndices(PerAxis kernel, Window? window = null)
        {
            var pooled = Ops.Pooling.MaxOver(kernel, window ?? Window.Default).Apply(this);
            return (pooled[0], pooled[1]);
        }

        /// <summary>The largest element of each of the windows that make the given spatial sizes: from ⌊o·n/size⌋ to ⌈(o + 1)·n/size⌉.</summary>
        public Tensor AdaptiveMaxPool(PerAxis size) => Ops.Pooling.AdaptiveMaxOver(size).Apply(this)[0];

        /// <summary>The mean of each window. Zeros of the padding count as elements unless <paramref name="countPadding"/> is false.</summary>
        public Tensor AveragePool(PerAxis kernel, Window? window = null, bool countPadding = true) =>
            Ops.Pooling.AverageOver(kernel, window ?? Window.Default, countPadding).Call(this);

        /// <summary>The mean of each of the windows that make the given spatial sizes: from ⌊o·n/size⌋ to ⌈(o + 1)·n/size⌉.</summary>
        public Tensor AdaptiveAveragePool(PerAxis size) => Ops.Pooling.AdaptiveAverageOver(size).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Pooling: the largest element or the mean of windows.</summary>
    public static unsafe class Pooling
    {
        public static readonly Op MaxPool = MaxOver(2, Window.Default);

        public static readonly Op AdaptiveMaxPool = AdaptiveMaxOver(1);

        public static readonly Op AveragePool = AverageOver(2, Window.Default, countPadding: true);

        public static readonly Op AdaptiveAveragePool = AdaptiveAverageOver(1);

        public static readonly Op AverageUnpool = Unpool(2, Window.Default, true, [2]);

        public static readonly Op AdaptiveAverageUnpool = AdaptiveUnpool(1, [2]);

        /// <summary>Where the windows of an input lie.</summary>
        private delegate PoolAxes Windows(ReadOnlySpan<int> spatial);

        /// <summary>The largest element of windows of the given size, and its place.</summary>
        public static Op MaxOver(PerAxis kernel, Window window) => Max("maxPool", spatial => Sliding("maxPool", kernel, window, spatial), static draw =>
        {
            var (kernel, window, spatial) = Draw(draw, dilated: true);
            return (MaxOver(kernel, window), spatial, $"kernel = {kernel}, {window}");
        });

        /// <summary>The largest element of the windows that make the given sizes, and its place.</summary>
        public static Op AdaptiveMaxOver(PerAxis size) => Max("adaptiveMaxPool", spatial => Adaptive("adaptiveMaxPool", size, spatial), static draw =>
        {
            var (size, spatial) = DrawSizes(draw);
            return (AdaptiveMaxOver(size), spatial, $"size = {size}");
        });

        /// <summary>The mean of windows of the given size.</summary>
        public static Op AverageOver(PerAxis kernel, Window window, bool countPadding) => Average("averagePool", countPadding,
            spatial => Undilated("averagePool", kernel, window, spatial), spatial => Unpool(kernel, window, countPadding, spatial), static draw =>
            {
                var (kernel, window, spatial) = Draw(draw, dilated: false);
                var counts = draw.Chance();
                return (AverageOver(kernel, window, counts), spatial, Text(kernel, window, counts));
            });

        /// <summary>The mean of the windows that make the given sizes.</summary>
        public static Op AdaptiveAverageOver(PerAxis size) => Average("adaptiveAveragePool", false,
            spatial => Adaptive("adaptiveAveragePool", size, spatial), spatial => AdaptiveUnpool(size, spatial), static draw =>
            {
                var (size, spatial) = DrawSizes(draw);
                return (AdaptiveAverageOver(size), spatial, $"size = {size}");
            });

        /// <summary>The adjoint of <see cref="AverageOver"/> for inputs of the given spatial sizes.</summary>
        public static Op Unpool(PerAxis kernel, Window window, bool countPadding, int[] spatial) => Spread("averageUnpool", countPadding,
            () => Undilated("averageUnpool", kernel, window, spatial), spatial, () => AverageOver(kernel, window, countPadding), static draw =>
            {
                var (kernel, window, spatial) = Draw(draw, dilated: false);
                var counts = draw.Chance();
                return (Unpool(kernel, window, counts, spatial), AverageOver(kernel, window, counts), spatial, $"spatial = {Shape.Text(spatial)}, {Text(kernel, window, counts)}");
            });

        /// <summary>The adjoint of <see cref="AdaptiveAverageOver"/> for inputs of the given spatial sizes.</summary>
        public static Op AdaptiveUnpool(PerAxis size, int[] spatial) => Spread("adaptiveAverageUnpool", false,
            () => Adaptive("adaptiveAverageUnpool", size, spatial), spatial, () => AdaptiveAverageOver(size), static draw =>
            {
                var (size, spatial) = DrawSizes(draw);
                return (AdaptiveUnpool(size, spatial), AdaptiveAverageOver(size), spatial, $"spatial = {Shape.Text(spatial)}, size = {size}");
            });

        // ---- the three forms ----

        private static Op Max(string name, Windows windows, Func<Draw, (Op Op, int[] Spatial, string Attributes)> example) => new()
        {
            Name = name,
            Batching = Batching.Folded,
            Shape = x =>
            {
                var shape = Pooled(name, x[0], windows);
                return [new(x[0].DType, shape), new(DType.Int32, shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                var source = Pointwise.Contiguous(x[0]);
                var axes = windows(source.Shape.Sizes[2..]);
                if (source.DType == DType.Float32) Pooling<float>.Max(Planes(source), axes, source.Pointer<float>(), y[0].Pointer<float>(), y[1].Pointer<int>());
                else Pooling<double>.Max(Planes(source), axes, source.Pointer<double>(), y[0].Pointer<double>(), y[1].Pointer<int>());
                GC.KeepAlive(source);
            }),
            Vjp = (x, y, g, _) => Level.ZerosLike(x[0]).Reshape(Flat(x[0].Shape)).ScatterAdd(y[1].Reshape(Flat(y[1].Shape)), g[0].Reshape(Flat(y[1].Shape)), 2).Reshape(x[0].Shape.ToArray()),
            VjpInto = (x, y, g, dx) =>
            {
                if (dx[0] is not { } slot) return;
                var cotangent = Pointwise.Contiguous(g[0]);
                var to = slot.Open(out var accumulate);
                var axes = windows(to.Shape.Sizes[2..]);
                if (to.DType == DType.Float32) Pooling<float>.MaxBackward(Planes(to), axes, cotangent.Pointer<float>(), y[1].Pointer<int>(), to.Pointer<float>(), accumulate);
                else Pooling<double>.MaxBackward(Planes(to), axes, cotangent.Pointer<double>(), y[1].Pointer<int>(), to.Pointer<double>(), accumulate);
                GC.KeepAlive(cotangent);
            },
            Jvp = (_, y, dx) => [dx[0]!.Reshape(Flat(dx[0]!.Shape)).Gather(y[1].Reshape(Flat(y[1].Shape)), 2).Reshape(y[0].Shape.ToArray()), y[1]],
            Reads = Reads.Outputs,
            Sample = draw =>
            {
                var (op, spatial, attributes) = example(draw);
                return new(op, draw.Distinct(Shape.Of([draw.Int(1, 2), draw.Int(1, 2), .. spatial]))) { Attributes = attributes };
            },
        };

        private static Op Average(string name, bool countPadding, Windows windows, Func<int[], Op> adjoint, Func<Draw, (Op Op, int[] Spatial, string Attributes)> example)
        {
            Op? op = null;
            return op = new()
            {
                Name = name,
                Batching = Batching.Folded,
                Shape = x => [new(x[0].DType, Pooled(name, x[0], windows))],
                Forward = new Forward.Into((x, y) =>
                {
                    var source = Pointwise.Contiguous(x[0]);
                    var axes = windows(source.Shape.Sizes[2..]);
                    if (source.DType == DType.Float32) Pooling<float>.Average(Planes(source), axes, source.Pointer<float>(), y[0].Pointer<float>(), countPadding);
                    else Pooling<double>.Average(Planes(source), axes, source.Pointer<double>(), y[0].Pointer<double>(), countPadding);
                    GC.KeepAlive(source);
                }),
                Vjp = (x, _, g, _) => adjoint(x[0].Shape.Sizes[2..].ToArray()).Call(g[0]),
                VjpInto = (x, _, g, dx) =>
                {
                    if (dx[0] is { } slot) Spread(g[0], slot.Open(out var accumulate), accumulate, windows(x[0].Shape.Sizes[2..]), countPadding);
                },
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                // The derivative is the same everywhere; only the input's shape is asked for.
                Reads = Reads.None,
                Sample = draw =>
                {
                    var (drawn, spatial, attributes) = example(draw);
                    return new(drawn, draw.Tensor(Shape.Of([draw.Int(1, 2), draw.Int(1, 2), .. spatial]))) { Attributes = attributes };
                },
            };
        }

        private static Op Spread(string name, bool countPadding, Func<PoolAxes> windows, int[] spatial, Func<Op> adjoint, Func<Draw, (Op Op, Op Pool, int[] Spatial, string Attributes)> example)
        {
            Op? op = null;
            return op = new()
            {
                Name = name,
                Batching = Batching.Folded,
                Shape = g =>
                {
                    CheckRank(name, g[0]);
                    var x = Shape.Of([g[0].Shape[0], g[0].Shape[1], .. spatial]);
                    if (g[0].Rank != x.Rank || Sizes(windows(), x) != g[0].Shape)
                        throw Shape.Refuse(name, "the input must be what pooling makes of the result", $"input {g[0].Shape} and result {x}", "Correct the sizes");
                    return [new(g[0].DType, x)];
                },
                Forward = new Forward.Into((g, x) => Spread(g[0], x[0], accumulate: false, windows(), countPadding)),
                Vjp = (_, _, g, _) => adjoint().Call(g[0]),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = draw =>
                {
                    var (drawn, pool, sizes, attributes) = example(draw);
                    var pooled = pool.Shape([Tensor.Meta(draw.DType, Shape.Of([draw.Int(1, 2), draw.Int(1, 2), .. sizes]))])[0].Shape;
                    return new(drawn, draw.Tensor(pooled)) { Attributes = attributes };
                },
            };
        }

        private static void Spread(Tensor g, Tensor x, bool accumulate, in PoolAxes axes, bool countPadding)
        {
            g = Pointwise.Contiguous(g);
            if (x.DType == DType.Float32) Pooling<float>.AverageBackward(Planes(x), axes, g.Pointer<float>(), x.Pointer<float>(), accumulate, countPadding);
            else Pooling<double>.AverageBackward(Planes(x), axes, g.Pointer<double>(), x.Pointer<double>(), accumulate, countPadding);
            GC.KeepAlive(g);
        }

        // ---- shapes ----

        private static nint Planes(Tensor x) => (nint)x.Shape[0] * x.Shape[1];

        private static int[] Flat(Shape shape) => [shape[0], shape[1], (int)(shape.Count / Math.Max(1, (long)shape[0] * shape[1]))];

        private static void CheckRank(string op, Tensor x)
        {
            Shape.Float(op, x);
            if (x.Rank is < 3 or > 5)
                throw Shape.Refuse(op, "the input must be [N, C, spatial…] with one to three spatial axes", x.Shape.ToString(), "Reshape it; a single image is a batch of one");
        }

        private static Shape Pooled(string op, Tensor x, Windows windows)
        {
            CheckRank(op, x);
            return Sizes(windows(x.Shape.Sizes[2..]), x.Shape);
        }

        private static Shape Sizes(in PoolAxes axes, Shape x)
        {
            var sizes = x.ToArray();
            for (var i = 2; i < sizes.Length; i++) sizes[i] = axes[WindowAxes.Count - sizes.Length + i].Output;
            return Shape.Of(sizes);
        }

        private static PoolAxes Sliding(string op, PerAxis kernel, Window window, ReadOnlySpan<int> spatial)
        {
            var sizes = kernel.Of(op, "the kernel", spatial.Length, 1, 1);
            if (window.Groups != 1) throw Shape.Refuse(op, "pooling knows no groups of channels", $"groups {window.Groups}", "Leave them out");
            if (window.Stride.IsDefault) window = window with { Stride = sizes };
            var axes = window.Over(op, spatial, sizes);
            PoolAxes pools = default;
            for (var i = 0; i < WindowAxes.Count; i++)
            {
                pools[i] = PoolAxis.Of(axes[i]);
                for (var o = 0; o < axes[i].Output && pools[i].Padded; o++)
                    if (pools[i].Window(o) is var (from, to) && from >= to)
                        throw Shape.Refuse(op, "every window must hold an element of the input", $"kernel {Shape.Text(sizes)} with {window}", "Pad less than half of the kernel");
            }
            return pools;
        }

        private static PoolAxes Undilated(string op, PerAxis kernel, Window window, ReadOnlySpan<int> spatial)
        {
            foreach (var step in window.Dilation.Of(op, "dilation", spatial.Length, 1, 1))
                if (step != 1)
                    throw Shape.Refuse(op, "windows of a mean have no gaps", $"dilation {window.Dilation}", "Leave it out");
            return Sliding(op, kernel, window, spatial);
        }

        private static PoolAxes Adaptive(string op, PerAxis size, ReadOnlySpan<int> spatial)
        {
            var sizes = size.Of(op, "the size", spatial.Length, 1, 1);
            PoolAxes pools = default;
            for (var i = 0; i < WindowAxes.Count; i++)
            {
                var axis = i - (WindowAxes.Count - spatial.Length);
                if (axis >= 0 && spatial[axis] == 0)
                    throw Shape.Refuse(op, "every window must hold an element of the input", $"spatial sizes {Shape.Text(spatial)}", "Give an image that is not empty");
                pools[i] = new PoolAxis { Adaptive = true, Input = axis < 0 ? 1 : spatial[axis], Output = axis < 0 ? 1 : sizes[axis], Step = 1 };
            }
            return pools;
        }

        // ---- examples ----

        private static (PerAxis Kernel, Window Window, int[] Spatial) Draw(Draw draw, bool dilated)
        {
            while (true)
            {
                var axes = draw.Int(1, 3);
                var most = axes == 1 ? 3 * draw.Size : axes == 2 ? draw.Size + 1 : Math.Min(draw.Size, 3);
                int[] Each(int low, int high) => [.. Enumerable.Range(0, axes).Select(_ => draw.Int(low, high))];
                var (spatial, kernel) = (Each(1, most + 1), Each(1, 3));
                var window = new Window
                {
                    Stride = draw.Chance() ? kernel : Each(1, 3),
                    Padding = draw.Chance(0.3) ? Padding.Same : draw.Chance() ? 0 : Each(0, 1),
                    Dilation = dilated && draw.Chance(0.3) ? Each(1, 2) : 1,
                };
                try
                {
                    Sliding("maxPool", kernel, window, spatial);
                    return (kernel, window, spatial);
                }
                catch (ShapeException)
                {
                    // The window did not fit: draw again.
                }
            }
        }

        private static (PerAxis Size, int[] Spatial) DrawSizes(Draw draw)
        {
            var axes = draw.Int(1, 3);
            int[] Each(int most) => [.. Enumerable.Range(0, axes).Select(_ => draw.Int(1, most))];
            return (Each(axes == 3 ? 2 : 4), Each(axes == 3 ? 3 : draw.Size + 2));
        }

        private static string Text(PerAxis kernel, Window window, bool countPadding) =>
            $"kernel = {kernel}, {window}, countPadding = {(countPadding ? "true" : "false")}";
    }
}
