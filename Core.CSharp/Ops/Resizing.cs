using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    /// <summary>How a resized image gets its values.</summary>
    public enum Interpolation
    {
        /// <summary>The element at ⌊i·n/m⌋.</summary>
        Nearest,

        /// <summary>Linear between neighbours along every axis; pixels are areas, whose centres are (i + ½)·n/m − ½.</summary>
        Linear,

        /// <summary>Linear between neighbours along every axis; the first and last elements stay where they are: i·(n − 1)/(m − 1).</summary>
        LinearAligned,
    }

    public sealed partial class Tensor
    {
        /// <summary>Images [N; C; spatial…] with other spatial sizes.</summary>
        public Tensor Resize(int[] sizes, Interpolation interpolation = Interpolation.Nearest) => Resizing.To(sizes, interpolation).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Resizing along spatial axes: for each a product with a matrix of one or two elements to a row.</summary>
    public static unsafe class Resizing
    {
        public static readonly Op Resize = To([1], Interpolation.Nearest);

        internal static Op To(int[] sizes, Interpolation interpolation)
        {
            sizes = [.. sizes];
            Op? op = null;
            return op = new()
            {
                Name = "resize",
                Batching = Batching.Folded,
                Shape = x =>
                {
                    Shape.Float("resize", x[0]);
                    if (x[0].Rank != sizes.Length + 2 || sizes.Any(n => n < 1) || x[0].Shape.Sizes[2..].Contains(0))
                        throw Shape.Refuse("resize", "images [N; C; spatial…] need one size of 1 or more for each of their spatial axes", $"{Shape.Text(sizes)} and {x[0].Shape}", "Correct the sizes");
                    return [new(x[0].DType, Shape.Of([.. x[0].Shape.Sizes[..2], .. sizes]))];
                },
                Forward = new Forward.Into((x, y) => Multiply(x[0], y[0], axis => Weights(x[0].Shape[axis], y[0].Shape[axis], interpolation))),
                Vjp = (x, _, g, _) => Back(x[0].Shape.Sizes[2..].ToArray(), interpolation).Call(g[0]),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var shape = draw.Shape(3, 4);
                    var sizes = Enumerable.Range(0, shape.Rank - 2).Select(_ => draw.Axis() + draw.Int(0, 2)).ToArray();
                    var interpolation = draw.OneOf(Enum.GetValues<Interpolation>());
                    return new(To(sizes, interpolation), draw.Tensor(shape)) { Attributes = $"sizes = {Shape.Text(sizes)}, interpolation = {interpolation}" };
                },
            };
        }

        /// <summary>The adjoint: what came of images of these sizes goes back to them.</summary>
        private static Op Back(int[] sizes, Interpolation interpolation)
        {
            Op? op = null;
            return op = new()
            {
                Name = "resize",
                Batching = Batching.Folded,
                Shape = x => [new(x[0].DType, Shape.Of([.. x[0].Shape.Sizes[..2], .. sizes]))],
                Forward = new Forward.Into((x, y) => Multiply(x[0], y[0], axis => Weights(y[0].Shape[axis], x[0].Shape[axis], interpolation).Transposed())),
                Vjp = (x, _, g, _) => To(x[0].Shape.Sizes[2..].ToArray(), interpolation).Call(g[0]),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = Resize.Sample,
            };
        }

        /// <summary>The matrix that makes m elements of n.</summary>
        private static Band Weights(int n, int m, Interpolation interpolation)
        {
            var (firsts, starts, weights) = (new int[m], new int[m + 1], new List<double>(2 * m));
            for (var i = 0; i < m; i++)
            {
                var at = interpolation switch
                {
                    Interpolation.Nearest => (long)i * n / m,
                    Interpolation.Linear => Math.Clamp((i + 0.5) * n / m - 0.5, 0, n - 1),
                    _ => m == 1 ? 0 : (double)i * (n - 1) / (m - 1),
                };
                firsts[i] = (int)at;
                var share = at - firsts[i];
                weights.Add(1 - share);
                if (share > 0) weights.Add(share);
                starts[i + 1] = weights.Count;
            }
            return new() { Columns = n, Firsts = firsts, Starts = starts, Weights = [.. weights] };
        }

        /// <summary>x times a matrix along every spatial axis whose size changes, the last of them first: its vectors are short while there are few.</summary>
        private static void Multiply(Tensor x, Tensor y, Func<int, Band> along)
        {
            var axes = Enumerable.Range(2, x.Rank - 2).Where(axis => x.Shape[axis] != y.Shape[axis]).Reverse().ToArray();
            if (axes.Length == 0) Pointwise.Copy(x, y);
            else x = Pointwise.Contiguous(x);
            foreach (var axis in axes)
            {
                var to = axis == axes[^1] ? y : Tensor.Allocate(x.DType, Shape.Of([.. x.Shape.Sizes[..axis], y.Shape[axis], .. x.Shape.Sizes[(axis + 1)..]]));
                var (outer, _, inner) = Softmax.Around(x.Shape, axis);
                if (x.DType == DType.Float32) Bands.Apply(along(axis), outer, inner, x.Pointer<float>(), to.Pointer<float>());
                else Bands.Apply(along(axis), outer, inner, x.Pointer<double>(), to.Pointer<double>());
                GC.KeepAlive(x);
                x = to;
            }
        }
    }
}
