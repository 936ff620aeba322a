using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>Rows, or channels of images, brought to mean 0 and variance 1. The mean comes first and then the squares of what differs from it:
/// large means cost no digits. A vector's sums are added up in double precision.</summary>
internal static unsafe class Normalisation<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static int Width => Vector512<T>.Count;

    // ---- rows: y = (x − mean)·r·gain + bias with r = 1/√(variance + ε), gain and bias along the row; without centring the mean is taken as 0 ----

    private struct RowsJob : Rowwise.IItems
    {
        internal nint N;
        internal T* X, Gain, Bias, Y, Mean, Scale;
        internal double Epsilon;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (var row = first; row < end; row++)
            {
                T* x = X + row * N, y = Y + row * N;
                var mean = Mean == null ? T.Zero : T.CreateTruncating(Sum(x, N) / N);
                var scale = T.CreateTruncating(1 / Math.Sqrt(Squares(x, N, mean) / N + Epsilon));
                if (Mean != null) Mean[row] = mean;
                Scale[row] = scale;
                Apply(x, y, Gain, Bias, N, mean, scale);
            }
        }
    }

    /// <summary>y = (x − m)·r·gain + bias; scale = r and mean = m (0 where there is no place for it) of each of the rows of n.</summary>
    internal static void Rows(nint rows, nint n, T* x, T* gain, T* bias, double epsilon, T* y, T* mean, T* scale) =>
        Rowwise.ForRows(rows, n, new RowsJob { N = n, X = x, Gain = gain, Bias = bias, Epsilon = epsilon, Y = y, Mean = mean, Scale = scale });

    private struct RowsBackwardJob : IJob
    {
        internal nint Count, N, Step;
        internal T* X, Gain, G, Mean, Scale, Dx, Sums;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            var sums = Sums + chunk * 2 * N;
            new Span<T>(sums, (int)(2 * N)).Clear();
            for (var row = chunk * Step; row < Math.Min(Count, (chunk + 1) * Step); row++)
            {
                T* x = X + row * N, g = G + row * N;
                var (mean, scale) = (Mean == null ? T.Zero : Mean[row], Scale[row]);
                var (a, b) = Gather(x, g, Gain, N, mean, scale, sums);
                if (Dx == null) continue;
                // Without a mean nothing is taken out along it.
                var along = Mean == null ? T.Zero : T.CreateTruncating(a / N);
                Spread(x, g, Gain, N, mean, scale, along, T.CreateTruncating(b / N), Dx + row * N, Accumulate);
            }
        }
    }

    // Blocks of rows with sums of their own: their number depends on the sizes alone.
    private const int MostBlocks = 16;

    /// <summary>The derivative: dx (+)= r·(g·gain − its mean − x̂·mean(g·gain·x̂)); dGain (+)= Σ g·x̂, dBias (+)= Σ g. What is null is not wanted.</summary>
    internal static void RowsBackward(nint rows, nint n, T* x, T* gain, T* g, T* mean, T* scale, T* dx, bool accumulate, T* dGain, bool accumulateGain, T* dBias, bool accumulateBias)
    {
        var blocks = Math.Max(1, Math.Min(rows, MostBlocks));
        var step = Math.Max(1, (rows + blocks - 1) / blocks);
        blocks = Math.Max(1, (rows + step - 1) / step);
        var memory = SharedScratch.Rent(blocks * 2 * n * sizeof(T));
        var sums = (T*)memory.Pointer;
        var job = new RowsBackwardJob { Count = rows, N = n, Step = step, X = x, Gain = gain, G = g, Mean = mean, Scale = scale, Dx = dx, Sums = sums, Accumulate = accumulate };
        if (rows * n < Loops.Chunk / 4)
            for (var block = 0; block < blocks; block++) job.Run(block);
        else Workers.For((int)blocks, ref job);
        for (nint block = 1; block < blocks; block++) Plain.AddScaled(T.One, sums + block * 2 * n, sums, 2 * n);
        Deliver(sums, dGain, n, accumulateGain);
        Deliver(sums + n, dBias, n, accumulateBias);
        SharedScratch.Return(memory);
    }

    private static void Deliver(T* sums, T* target, nint n, bool accumulate)
    {
        if (target == null) return;
        if (accumulate) Plain.AddScaled(T.One, sums, target, n);
        else new Span<T>(sums, (int)n).CopyTo(new Span<T>(target, (int)n));
    }

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

    /// <summary>y = (x − m)·r·gain + bias</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Apply(T* x, T* y, T* gain, T* bias, nint n, T mean, T scale)
    {
        var (m, r) = (Vector512.Create(mean), Vector512.Create(scale));
        for (nint i = 0; i < n; i += Width)
        {
            var v = (At(x, i, n) - m) * r;
            if (gain != null) v *= At(gain, i, n);
            if (bias != null) v += At(bias, i, n);
            Put(v, y, i, n);
        }
    }

    /// <summary>Σ g·gain and Σ g·gain·x̂; sums[0 …] += g·x̂, sums[n …] += g.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (double, double) Gather(T* x, T* g, T* gain, nint n, T mean, T scale, T* sums)
    {
        var (m, r) = (Vector512.Create(mean), Vector512.Create(scale));
        double first = 0, second = 0;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a;
            for (; from < to; from += Width)
            {
                var (v, w) = ((At(x, from, n) - m) * r, At(g, from, n));
                Put(Fma(w, v, At(sums, from, n)), sums, from, n);
                Put(w + At(sums + n, from, n), sums + n, from, n);
                if (gain != null) w *= At(gain, from, n);
                a += w;
                b = Fma(w, v, b);
            }
            first += double.CreateChecked(Vector512.Sum(a));
            second += double.CreateChecked(Vector512.Sum(b));
        }
        return (first, second);
    }

    /// <summary>dx (+)= r·(g·gain − a − x̂·b)</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Spread(T* x, T* g, T* gain, nint n, T mean, T scale, T a, T b, T* dx, bool accumulate)
    {
        var (m, r, p, q) = (Vector512.Create(mean), Vector512.Create(scale), Vector512.Create(a), Vector512.Create(b));
        for (nint i = 0; i < n; i += Width)
        {
            var (v, w) = ((At(x, i, n) - m) * r, At(g, i, n));
            if (gain != null) w *= At(gain, i, n);
            var d = r * (w - p - v * q);
            if (accumulate) d += At(dx, i, n);
            Put(d, dx, i, n);
        }
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
