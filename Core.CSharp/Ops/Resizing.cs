using Functional.Autodiff;
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
    /// <summary>Resizing along spatial axes.</summary>
    public static class Resizing
    {
        public static readonly Op Resize = To([1], Interpolation.Nearest);

        internal static Op To(int[] sizes, Interpolation interpolation)
        {
            sizes = [.. sizes];
            return Composition.Of("resize", x =>
            {
                var y = x[0];
                Shape.Float("resize", y);
                if (y.Rank != sizes.Length + 2 || sizes.Any(n => n < 1) || y.Shape.Sizes[2..].Contains(0))
                    throw Shape.Refuse("resize", "images [N; C; spatial…] need one size of 1 or more for each of their spatial axes", $"{Shape.Text(sizes)} and {y.Shape}", "Correct the sizes");
                // Refused here if it has too many elements, before places are made for them.
                _ = Shape.Of([.. y.Shape.Sizes[..2], .. sizes]);
                for (var i = 0; i < sizes.Length; i++)
                    if (sizes[i] != y.Shape[i + 2]) y = Along(y, i + 2, sizes[i], interpolation);
                return [y];
            }, static draw =>
            {
                var shape = draw.Shape(3, 4);
                var sizes = Enumerable.Range(0, shape.Rank - 2).Select(_ => draw.Axis() + draw.Int(0, 2)).ToArray();
                var interpolation = draw.OneOf(Enum.GetValues<Interpolation>());
                return new(To(sizes, interpolation), draw.Tensor(shape)) { Attributes = $"sizes = {Shape.Text(sizes)}, interpolation = {interpolation}" };
            });
        }

        private static Tensor Along(Tensor x, int axis, int m, Interpolation interpolation)
        {
            var n = x.Shape[axis];
            var (low, high, share) = (new long[m], new long[m], new double[m]);
            for (var i = 0; i < m; i++)
            {
                var at = interpolation switch
                {
                    Interpolation.Nearest => (long)i * n / m,
                    Interpolation.Linear => Math.Clamp((i + 0.5) * n / m - 0.5, 0, n - 1),
                    _ => m == 1 ? 0 : (double)i * (n - 1) / (m - 1),
                };
                low[i] = (long)at;
                high[i] = Math.Min(n - 1, low[i] + 1);
                share[i] = at - low[i];
            }
            var lower = x.Take(Tensor.From(low), axis);
            if (interpolation == Interpolation.Nearest) return lower;
            var weight = Tensor.FromDoubles(share, Shape.Of([m, .. Enumerable.Repeat(1, x.Rank - axis - 1)]), x.DType);
            return lower * (1 - weight) + x.Take(Tensor.From(high), axis) * weight;
        }
    }
}
