using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <content>Groups of the channels of each image [batch, groups·wide, plane], gain and bias per channel. A group is read from memory once: its planes'
/// sums, which serve the group's and the parameters' gradients alike, and what is made with them come from the nearest caches.</content>
internal static unsafe partial class Normalisation<T>
{
    private struct GroupsJob : Rowwise.IItems
    {
        internal nint Groups, Wide, Plane;
        internal T* X, Gain, Bias, Y, Mean, Scale;
        internal double Epsilon;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            var n = Wide * Plane;
            var share = 1.0 / n;
            for (var group = first; group < end; group++)
            {
                T* x = X + group * n, y = Y + group * n;
                var sum = RowSum(x, n) * share;
                var mean = T.CreateTruncating(sum);
                var rest = T.CreateTruncating(sum - double.CreateTruncating(mean));
                var scale = T.CreateTruncating(1 / Math.Sqrt(RowSquares(x, n, mean, rest) * share + Epsilon));
                (Mean[group], Scale[group]) = (mean, scale);
                var channel = group % Groups * Wide;
                for (nint c = 0; c < Wide; c++)
                {
                    var slope = Gain == null ? scale : scale * Gain[channel + c];
                    // What the mean has been rounded by is taken from the term beside it.
                    Affine<Streaming.Through>(x + c * Plane, null, y + c * Plane, Plane, mean, slope, (Bias == null ? T.Zero : Bias[channel + c]) - rest * slope, relu: false);
                }
            }
        }
    }

    /// <summary>y = (x − m)·r·gain + bias; scale = r = 1/√(variance + ε) and mean = m of each of the batch·groups groups. Gain and bias may be null.</summary>
    internal static void Groups(nint batch, nint groups, nint wide, nint plane, T* x, T* gain, T* bias, double epsilon, T* y, T* mean, T* scale) =>
        Rowwise.ForRows(batch * groups, wide * plane, new GroupsJob { Groups = groups, Wide = wide, Plane = plane, X = x, Gain = gain, Bias = bias, Epsilon = epsilon, Y = y, Mean = mean, Scale = scale });

    private struct GroupsBackwardJob : Rowwise.IItems
    {
        internal nint Groups, Wide, Plane;
        internal T* X, Gain, G, Mean, Scale, Dx;
        internal double* Sums, Products;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            var n = Wide * Plane;
            for (var group = first; group < end; group++)
            {
                T* x = X + group * n, g = G + group * n, gain = Gain == null ? null : Gain + group % Groups * Wide;
                double* sums = Sums + group * Wide, products = Products + group * Wide;
                var (mean, scale) = (Mean[group], Scale[group]);
                double along = 0, across = 0;
                for (nint c = 0; c < Wide; c++)
                {
                    (sums[c], products[c]) = Totals(x + c * Plane, g + c * Plane, null, Plane, mean, scale, T.Zero, T.Zero, relu: false, null, accumulate: false, next: 0);
                    var factor = gain == null ? 1 : double.CreateTruncating(gain[c]);
                    along += sums[c] * factor;
                    across += products[c] * factor;
                }
                if (Dx == null) continue;
                var (a, b) = (T.CreateTruncating(along / n), T.CreateTruncating(across / n));
                for (nint c = 0; c < Wide; c++)
                    Spread(x + c * Plane, g + c * Plane, gain == null ? T.One : gain[c], Plane, mean, scale, a, b, Dx + group * n + c * Plane, Accumulate);
            }
        }
    }

    /// <summary>The derivative of <see cref="Groups"/>: dx (+)= r·(g·gain − its mean − x̂·mean(g·gain·x̂)); dGain (+)= Σ g·x̂, dBias (+)= Σ g. What is null is
    /// not wanted.</summary>
    internal static void GroupsBackward(nint batch, nint groups, nint wide, nint plane, T* x, T* gain, T* g, T* mean, T* scale,
        T* dx, bool accumulate, T* dGain, bool accumulateGain, T* dBias, bool accumulateBias)
    {
        var channels = groups * wide;
        var memory = SharedScratch.Rent(2 * Math.Max(1, batch) * channels * sizeof(double));
        var sums = (double*)memory.Pointer;
        var products = sums + Math.Max(1, batch) * channels;
        new Span<double>(sums, (int)channels).Clear();
        new Span<double>(products, (int)channels).Clear();
        Rowwise.ForRows(batch * groups, wide * plane, new GroupsBackwardJob
        {
            Groups = groups,
            Wide = wide,
            Plane = plane,
            X = x,
            Gain = gain,
            G = g,
            Mean = mean,
            Scale = scale,
            Dx = dx,
            Sums = sums,
            Products = products,
            Accumulate = accumulate,
        });
        for (nint i = channels; i < batch * channels; i++)
        {
            sums[i % channels] += sums[i];
            products[i % channels] += products[i];
        }
        for (nint c = 0; c < channels; c++)
        {
            if (dGain != null) dGain[c] = T.CreateTruncating(products[c]) + (accumulateGain ? dGain[c] : T.Zero);
            if (dBias != null) dBias[c] = T.CreateTruncating(sums[c]) + (accumulateBias ? dBias[c] : T.Zero);
        }
        SharedScratch.Return(memory);
    }

    /// <summary>dx (+)= r·(g·gain − a − x̂·b), where the gain is the same for all</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Spread(T* x, T* g, T gain, nint n, T mean, T scale, T a, T b, T* dx, bool accumulate)
    {
        var (f, m, r, p, q) = (Vector512.Create(gain), Vector512.Create(mean), Vector512.Create(scale), Vector512.Create(a), Vector512.Create(b));
        for (nint i = 0; i < n; i += Width)
        {
            var d = r * (At(g, i, n) * f - p - (At(x, i, n) - m) * r * q);
            if (accumulate) d += At(dx, i, n);
            Put(d, dx, i, n);
        }
    }
}
