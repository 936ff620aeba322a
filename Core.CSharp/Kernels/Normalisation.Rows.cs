using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <content>Rows. A row is read from memory once: its sum is taken while the row before it is written, the squares of what differs from the mean
/// and the result come from the first-level cache.</content>
internal static unsafe partial class Normalisation<T>
{
    // ---- rows: y = (x − mean)·r·gain + bias with r = 1/√(variance + ε), gain and bias along the row; without centring the mean is taken as 0 ----

    private struct RowsJob : Rowwise.IItems
    {
        internal nint N;
        internal T* X, Gain, Bias, Y, Mean, Scale;
        internal double Epsilon;
        internal bool Streamed;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            if (first == end) return;
            var sum = Mean == null ? 0 : RowSum(X + first * N, N);
            for (var row = first; row < end; row++)
            {
                T* x = X + row * N, y = Y + row * N, next = row + 1 < end ? x + N : x;
                var mean = T.CreateTruncating(sum / N);
                var scale = T.CreateTruncating(1 / Math.Sqrt(RowSquares(x, N, mean) / N + Epsilon));
                if (Mean != null) Mean[row] = mean;
                Scale[row] = scale;
                if (Mean == null) next = null;
                sum = Streamed ? Apply<Streaming.Around>(x, y, Gain, Bias, N, mean, scale, next) : Apply<Streaming.Through>(x, y, Gain, Bias, N, mean, scale, next);
            }
            if (Streamed) Streaming.Finish();
        }
    }

    /// <summary>y = (x − m)·r·gain + bias; scale = r and mean = m (0 where there is no place for it) of each of the rows of n.</summary>
    internal static void Rows(nint rows, nint n, T* x, T* gain, T* bias, double epsilon, T* y, T* mean, T* scale) =>
        Rowwise.ForRows(rows, n, new RowsJob { N = n, X = x, Gain = gain, Bias = bias, Epsilon = epsilon, Y = y, Mean = mean, Scale = scale, Streamed = Streaming.Pays(y, rows, n * sizeof(T)) });

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

    // ---- one row ----

    /// <summary>Σ x, in the order of <see cref="Apply"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double RowSum(T* x, nint n)
    {
        var total = Vector512<double>.Zero;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a;
            for (; from + 2 * Width <= to; from += 2 * Width)
            {
                a += Vector512.Load(x + from);
                b += Vector512.Load(x + from + Width);
            }
            for (; from < to; from += Width) a += At(x, from, to);
            total += Reductions.Widened(a) + Reductions.Widened(b);
        }
        return Reductions.Total(total);
    }

    /// <summary>Σ (x − m)²; asks for the row after it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double RowSquares(T* x, nint n, T mean)
    {
        var m = Vector512.Create(mean);
        var total = Vector512<double>.Zero;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a, c = a, d = a;
            for (; from + 4 * Width <= to; from += 4 * Width)
            {
                if (Sse.IsSupported)
                {
                    var ahead = x + from + n;
                    Sse.Prefetch0(ahead);
                    Sse.Prefetch0(ahead + Width);
                    Sse.Prefetch0(ahead + 2 * Width);
                    Sse.Prefetch0(ahead + 3 * Width);
                }
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
            total += Reductions.Widened(a) + Reductions.Widened(b) + (Reductions.Widened(c) + Reductions.Widened(d));
        }
        return Reductions.Total(total);
    }

    /// <summary>y = (x − m)·r·gain + bias; Σ next, unless there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Apply<TStore>(T* x, T* y, T* gain, T* bias, nint n, T mean, T scale, T* next) where TStore : struct, Streaming.IStore
    {
        var (m, r) = (Vector512.Create(mean), Vector512.Create(scale));
        var total = Vector512<double>.Zero;
        for (nint i = 0; i < n;)
        {
            var to = Math.Min(n, i + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a;
            for (; i + 2 * Width <= to; i += 2 * Width)
            {
                if (next != null)
                {
                    a += Vector512.Load(next + i);
                    b += Vector512.Load(next + i + Width);
                }
                var v = (Vector512.Load(x + i) - m) * r;
                var w = (Vector512.Load(x + i + Width) - m) * r;
                if (gain != null)
                {
                    v *= Vector512.Load(gain + i);
                    w *= Vector512.Load(gain + i + Width);
                }
                if (bias != null)
                {
                    v += Vector512.Load(bias + i);
                    w += Vector512.Load(bias + i + Width);
                }
                TStore.Store(v, y + i);
                TStore.Store(w, y + i + Width);
            }
            for (; i < to; i += Width)
            {
                if (next != null) a += At(next, i, to);
                var v = (At(x, i, to) - m) * r;
                if (gain != null) v *= At(gain, i, to);
                if (bias != null) v += At(bias, i, to);
                Put(v, y, i, to);
            }
            total += Reductions.Widened(a) + Reductions.Widened(b);
        }
        return Reductions.Total(total);
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
}
