using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>Rows, or channels of images, brought to mean 0 and variance 1. The mean comes first and then the squares of what differs from it:
/// large means cost no digits. A vector's sums are added up in double precision.</summary>
internal static unsafe partial class Normalisation<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static int Width => Vector512<T>.Count;

    // ---- channels of images [batch, channels, size]: statistics over batch and positions ----

    private struct ChannelsJob : IJob
    {
        internal nint Batch, Channels, Size;
        internal T* X, Gain, Bias, Y, Mean, Variance;
        internal double Epsilon;
        internal bool Relu;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint channel = chunk, step = Channels * Size;
            var x = X + channel * Size;
            var count = (double)Batch * Size;
            double total = 0;
            for (nint n = 0; n < Batch; n++) total += Sum(x + n * step, Size);
            var mean = T.CreateTruncating(total / count);
            total = 0;
            for (nint n = 0; n < Batch; n++) total += Squares(x + n * step, Size, mean);
            var variance = total / count;
            (Mean[channel], Variance[channel]) = (mean, T.CreateTruncating(variance));
            var gain = Gain == null ? T.One : Gain[channel];
            var bias = Bias == null ? T.Zero : Bias[channel];
            var scale = T.CreateTruncating(1 / Math.Sqrt(double.CreateChecked(Variance[channel]) + Epsilon)) * gain;
            var y = Y + channel * Size;
            for (nint n = 0; n < Batch; n++) Affine(x + n * step, y + n * step, Size, mean, scale, bias, Relu);
        }
    }

    /// <summary>y = (x − mean)/√(variance + ε)·gain + bias per channel, then relu where asked; mean and (biased) variance are those of the batch.</summary>
    internal static void Channels(nint batch, nint channels, nint size, T* x, T* gain, T* bias, double epsilon, bool relu, T* y, T* mean, T* variance)
    {
        var job = new ChannelsJob { Batch = batch, Channels = channels, Size = size, X = x, Gain = gain, Bias = bias, Epsilon = epsilon, Relu = relu, Y = y, Mean = mean, Variance = variance };
        Each((int)channels, batch * size, ref job);
    }

    private static void Each<TJob>(int channels, nint work, ref TJob job) where TJob : struct, IJob
    {
        if (channels * work < Loops.Chunk / 4)
            for (var c = 0; c < channels; c++) job.Run(c);
        else Workers.For(channels, ref job);
    }

    private struct ChannelsBackwardJob : IJob
    {
        internal nint Batch, Channels, Size;
        internal T* X, Gain, G, Y, Mean, Variance, Dx, DGain, DBias;
        internal double Epsilon;
        internal bool Accumulate, AccumulateGain, AccumulateBias;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint channel = chunk, step = Channels * Size, from = channel * Size;
            var count = (double)Batch * Size;
            var (mean, gain) = (Mean[channel], Gain == null ? T.One : Gain[channel]);
            var scale = T.CreateTruncating(1 / Math.Sqrt(double.CreateChecked(Variance[channel]) + Epsilon));
            double sum = 0, product = 0;
            for (nint n = 0; n < Batch; n++)
            {
                var (a, b) = Moments(X + from + n * step, G + from + n * step, Y == null ? null : Y + from + n * step, Size, mean, scale);
                sum += a;
                product += b;
            }
            if (DGain != null) DGain[channel] = T.CreateTruncating(product) + (AccumulateGain ? DGain[channel] : T.Zero);
            if (DBias != null) DBias[channel] = T.CreateTruncating(sum) + (AccumulateBias ? DBias[channel] : T.Zero);
            if (Dx == null) return;
            var (s, p) = (T.CreateTruncating(sum / count), T.CreateTruncating(product / count));
            for (nint n = 0; n < Batch; n++)
                Centre(X + from + n * step, G + from + n * step, Y == null ? null : Y + from + n * step, Size, mean, scale, gain * scale, s, p, Dx + from + n * step, Accumulate);
        }
    }

    /// <summary>The derivative of <see cref="Channels"/>; with relu, y is its result. What is null is not wanted.</summary>
    internal static void ChannelsBackward(nint batch, nint channels, nint size, T* x, T* gain, T* g, T* y, T* mean, T* variance, double epsilon,
        T* dx, bool accumulate, T* dGain, bool accumulateGain, T* dBias, bool accumulateBias)
    {
        var job = new ChannelsBackwardJob
        {
            Batch = batch,
            Channels = channels,
            Size = size,
            X = x,
            Gain = gain,
            G = g,
            Y = y,
            Mean = mean,
            Variance = variance,
            Epsilon = epsilon,
            Dx = dx,
            DGain = dGain,
            DBias = dBias,
            Accumulate = accumulate,
            AccumulateGain = accumulateGain,
            AccumulateBias = accumulateBias,
        };
        Each((int)channels, batch * size, ref job);
    }

    // ---- one stretch; lanes beyond its end are zero or masked away ----

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> At(T* p, nint i, nint n) => n - i >= Width ? Vector512.Load(p + i) : Load(p + i, n - i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(Vector512<T> v, T* p, nint i, nint n)
    {
        if (n - i >= Width) v.Store(p + i);
        else Store(v, p + i, n - i);
    }

    // Vectors that are added in single precision before their sum is carried over to double.
    private const int Stretch = 64;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Sum(T* x, nint n)
    {
        double total = 0;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a, c = a, d = a;
            for (; from + 4 * Width <= to; from += 4 * Width)
            {
                a += Vector512.Load(x + from);
                b += Vector512.Load(x + from + Width);
                c += Vector512.Load(x + from + 2 * Width);
                d += Vector512.Load(x + from + 3 * Width);
            }
            for (; from < to; from += Width) a += At(x, from, to);
            total += double.CreateChecked(Vector512.Sum((a + b) + (c + d)));
        }
        return total;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Squares(T* x, nint n, T mean)
    {
        var m = Vector512.Create(mean);
        double total = 0;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a, c = a, d = a;
            for (; from + 4 * Width <= to; from += 4 * Width)
            {
                var (p, q) = (Vector512.Load(x + from) - m, Vector512.Load(x + from + Width) - m);
                var (r, s) = (Vector512.Load(x + from + 2 * Width) - m, Vector512.Load(x + from + 3 * Width) - m);
                a = Fma(p, p, a);
                b = Fma(q, q, b);
                c = Fma(r, r, c);
                d = Fma(s, s, d);
            }
            for (; from < to; from += Width)
            {
                var p = At(x, from, to) - m;
                if (to - from < Width) p &= First<T>(to - from);
                a = Fma(p, p, a);
            }
            total += double.CreateChecked(Vector512.Sum((a + b) + (c + d)));
        }
        return total;
    }

    /// <summary>y = (x − m)·scale + bias, then relu</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Affine(T* x, T* y, nint n, T mean, T scale, T bias, bool relu)
    {
        var (m, s, b) = (Vector512.Create(mean), Vector512.Create(scale), Vector512.Create(bias));
        for (nint i = 0; i < n; i += Width)
        {
            var v = Fma(At(x, i, n) - m, s, b);
            Put(relu ? Vector512.Max(v, Vector512<T>.Zero) : v, y, i, n);
        }
    }

    /// <summary>The cotangent before relu.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Passed(T* g, T* y, nint i, nint n)
    {
        var w = At(g, i, n);
        return y == null ? w : w & Vector512.GreaterThan(At(y, i, n), Vector512<T>.Zero);
    }

    /// <summary>Σ g and Σ g·x̂</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (double, double) Moments(T* x, T* g, T* y, nint n, T mean, T scale)
    {
        var (m, r) = (Vector512.Create(mean), Vector512.Create(scale));
        double first = 0, second = 0;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a;
            for (; from < to; from += Width)
            {
                var (v, w) = ((At(x, from, n) - m) * r, Passed(g, y, from, n));
                a += w;
                b = Fma(w, v, b);
            }
            first += double.CreateChecked(Vector512.Sum(a));
            second += double.CreateChecked(Vector512.Sum(b));
        }
        return (first, second);
    }

    /// <summary>dx (+)= scale·(g − a − x̂·b)</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Centre(T* x, T* g, T* y, nint n, T mean, T scale, T outer, T a, T b, T* dx, bool accumulate)
    {
        var (m, r, o, p, q) = (Vector512.Create(mean), Vector512.Create(scale), Vector512.Create(outer), Vector512.Create(a), Vector512.Create(b));
        for (nint i = 0; i < n; i += Width)
        {
            var (v, w) = ((At(x, i, n) - m) * r, Passed(g, y, i, n));
            var d = o * (w - p - v * q);
            if (accumulate) d += At(dx, i, n);
            Put(d, dx, i, n);
        }
    }
}
