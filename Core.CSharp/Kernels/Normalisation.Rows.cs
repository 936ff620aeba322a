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
            var share = 1.0 / N;
            var sum = Mean == null ? 0 : RowSum(X + first * N, N);
            for (var row = first; row < end; row++)
            {
                T* x = X + row * N, y = Y + row * N, next = row + 1 < end ? x + N : x;
                // the mean in two pieces: beside a small deviation the rounding of one would be seen
                sum *= share;
                var mean = T.CreateTruncating(sum);
                var rest = T.CreateTruncating(sum - double.CreateTruncating(mean));
                var scale = T.CreateTruncating(1 / Math.Sqrt(RowSquares(x, N, mean, rest) * share + Epsilon));
                if (Mean != null) Mean[row] = mean;
                Scale[row] = scale;
                if (Mean == null) next = null;
                sum = Streamed ? Apply<Streaming.Around>(x, y, Gain, Bias, N, mean, rest, scale, next) : Apply<Streaming.Through>(x, y, Gain, Bias, N, mean, rest, scale, next);
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
        internal bool Accumulate, Streamed;

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
                var across = T.CreateTruncating(b / N);
                if (Streamed) Spread<Streaming.Around>(x, g, Gain, N, mean, scale, along, across, Dx + row * N, Accumulate);
                else Spread<Streaming.Through>(x, g, Gain, N, mean, scale, along, across, Dx + row * N, Accumulate);
            }
            if (Streamed) Streaming.Finish();
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
        var job = new RowsBackwardJob { Count = rows, N = n, Step = step, X = x, Gain = gain, G = g, Mean = mean, Scale = scale, Dx = dx, Sums = sums, Accumulate = accumulate, Streamed = dx != null && !accumulate && Streaming.Pays(dx, rows, n * sizeof(T)) };
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

    /// <summary>Σ (x − m)² for m = mean + rest; asks for the row after it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double RowSquares(T* x, nint n, T mean, T rest)
    {
        var (m, e) = (Vector512.Create(mean), Vector512.Create(rest));
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
                var (p, q) = (Vector512.Load(x + from) - m - e, Vector512.Load(x + from + Width) - m - e);
                var (r, s) = (Vector512.Load(x + from + 2 * Width) - m - e, Vector512.Load(x + from + 3 * Width) - m - e);
                a = Fma(p, p, a);
                b = Fma(q, q, b);
                c = Fma(r, r, c);
                d = Fma(s, s, d);
            }
            for (; from < to; from += Width)
            {
                var p = At(x, from, to) - m - e;
                if (to - from < Width) p &= First<T>(to - from);
                a = Fma(p, p, a);
            }
            total += Reductions.Widened(a) + Reductions.Widened(b) + (Reductions.Widened(c) + Reductions.Widened(d));
        }
        return Reductions.Total(total);
    }

    /// <summary>y = (x − m)·r·gain + bias for m = mean + rest; Σ next, unless there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Apply<TStore>(T* x, T* y, T* gain, T* bias, nint n, T mean, T rest, T scale, T* next) where TStore : struct, Streaming.IStore
    {
        var (m, e, r) = (Vector512.Create(mean), Vector512.Create(rest), Vector512.Create(scale));
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
                var v = (Vector512.Load(x + i) - m - e) * r;
                var w = (Vector512.Load(x + i + Width) - m - e) * r;
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
                var v = (At(x, i, to) - m - e) * r;
                if (gain != null) v *= At(gain, i, to);
                if (bias != null) v += At(bias, i, to);
                Put(v, y, i, to);
            }
            total += Reductions.Widened(a) + Reductions.Widened(b);
        }
        return Reductions.Total(total);
    }

    /// <summary>Σ g·gain and Σ g·gain·x̂; sums[0 …] += g·x̂, sums[n …] += g. Asks for the rows after these.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (double, double) Gather(T* x, T* g, T* gain, nint n, T mean, T scale, T* sums)
    {
        var (m, r) = (Vector512.Create(mean), Vector512.Create(scale));
        Vector512<double> first = Vector512<double>.Zero, second = first;
        for (nint i = 0; i < n;)
        {
            var to = Math.Min(n, i + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a;
            for (; i + Width <= to; i += Width)
            {
                if (Sse.IsSupported)
                {
                    Sse.Prefetch0(x + n + i);
                    Sse.Prefetch0(g + n + i);
                }
                var (v, w) = ((Vector512.Load(x + i) - m) * r, Vector512.Load(g + i));
                Fma(w, v, Vector512.Load(sums + i)).Store(sums + i);
                (w + Vector512.Load(sums + n + i)).Store(sums + n + i);
                if (gain != null) w *= Vector512.Load(gain + i);
                a += w;
                b = Fma(w, v, b);
            }
            if (i < to)
            {
                var k = to - i;
                var (v, w) = ((Load(x + i, k) - m) * r, Load(g + i, k));
                Store(Fma(w, v, Load(sums + i, k)), sums + i, k);
                Store(w + Load(sums + n + i, k), sums + n + i, k);
                if (gain != null) w *= Load(gain + i, k);
                a += w;
                b = Fma(w, v, b);
                i = to;
            }
            first += Reductions.Widened(a);
            second += Reductions.Widened(b);
        }
        return (Reductions.Total(first), Reductions.Total(second));
    }

    /// <summary>dx (+)= r·(g·gain − a − x̂·b)</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Spread<TStore>(T* x, T* g, T* gain, nint n, T mean, T scale, T a, T b, T* dx, bool accumulate) where TStore : struct, Streaming.IStore
    {
        var (m, r, p, q) = (Vector512.Create(mean), Vector512.Create(scale), Vector512.Create(a), Vector512.Create(b));
        nint i = 0;
        for (; i + Width <= n; i += Width)
        {
            var (v, w) = ((Vector512.Load(x + i) - m) * r, Vector512.Load(g + i));
            if (gain != null) w *= Vector512.Load(gain + i);
            var d = r * (w - p - v * q);
            if (accumulate) d += Vector512.Load(dx + i);
            TStore.Store(d, dx + i);
        }
        if (i < n)
        {
            var (v, w) = ((Load(x + i, n - i) - m) * r, Load(g + i, n - i));
            if (gain != null) w *= Load(gain + i, n - i);
            var d = r * (w - p - v * q);
            if (accumulate) d += Load(dx + i, n - i);
            Store(d, dx + i, n - i);
        }
    }
}
