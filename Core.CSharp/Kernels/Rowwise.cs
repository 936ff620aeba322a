using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>
/// Softmax and its relatives along one axis of a contiguous array seen as [outer, n, inner]. With inner = 1 a row is
/// contiguous and vectors lie along it; otherwise vectors lie across the inner axis. The largest element is subtracted
/// first, so ±1000 are harmless and −∞ has probability 0; a row of nothing but −∞, or with a +∞, has no softmax: NaN.
/// </summary>
internal static unsafe partial class Rowwise
{
    /// <summary><c>y = e^(x − m)/Σe^(x − m)</c>, or its logarithm <c>x − m − ln Σe^(x − m)</c>; m = max x.</summary>
    public static void Softmax<T>(nint outer, nint n, nint inner, T* x, T* y, bool logarithm)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (inner == 1)
            ForRows(outer, n, new SoftmaxRows<T> { N = n, X = x, Y = y, Logarithm = logarithm, Streamed = Streaming.Pays(y, outer, n * sizeof(T)) });
        else ForTiles(outer, n, inner, new SoftmaxTiles<T> { N = n, Inner = inner, X = x, Y = y, Logarithm = logarithm });
    }

    /// <summary><c>dx = (g − Σ g·y)·y</c>, or <c>dx += …</c>, for y = softmax x.</summary>
    public static void SoftmaxBackward<T>(nint outer, nint n, nint inner, T* y, T* g, T* dx, bool accumulate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => Backward(outer, n, inner, y, g, dx, accumulate, false);

    /// <summary><c>dx = g − e^y·Σ g</c>, or <c>dx += …</c>, for y = log-softmax x.</summary>
    public static void LogSoftmaxBackward<T>(nint outer, nint n, nint inner, T* y, T* g, T* dx, bool accumulate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => Backward(outer, n, inner, y, g, dx, accumulate, true);

    private static void Backward<T>(nint outer, nint n, nint inner, T* y, T* g, T* dx, bool accumulate, bool logarithm)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (inner == 1)
            ForRows(outer, n, new BackwardRows<T>
            {
                N = n,
                Y = y,
                G = g,
                Dx = dx,
                Accumulate = accumulate,
                Logarithm = logarithm,
                Streamed = !accumulate && !logarithm && Streaming.Pays(dx, outer, n * sizeof(T)),
            });
        else
            ForTiles(outer, n, inner, new BackwardTiles<T>
            {
                N = n,
                Inner = inner,
                Y = y,
                G = g,
                Dx = dx,
                Accumulate = accumulate,
                Logarithm = logarithm,
            });
    }

    /// <summary><c>y = ln Σ e^x</c> of each of the rows of n elements, <paramref name="stride"/> apart. All −∞ give −∞; a +∞ gives +∞.</summary>
    public static void LogSumExp<T>(nint rows, nint n, nint stride, T* x, T* y) where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        ForRows(rows, n, new LogSumExpRows<T> { N = n, Stride = stride, X = x, Y = y });

    private struct LogSumExpRows<T> : IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N, Stride;
        public T* X, Y;

        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++) Y[r] = LogSumExp(X + r * Stride, N);
        }
    }

    /// <summary><c>ln Σ e^x = m + ln Σ e^(x − m)</c> with m = max x.</summary>
    internal static T LogSumExp<T>(T* x, nint n) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        T m = Reductions.FoldStretch(x, n, default(Reductions.QuickMaxFold));
        // the quick maximum may have lost a NaN, which the sum would show
        if (!T.IsFinite(m)) return Reductions.FoldStretch(x, n, default(Reductions.MaxFold));
        return T.CreateTruncating(double.CreateTruncating(m) + Math.Log(SumOfExp(x, n, m, x)));
    }

    // ---- sharing out ----

    /// <summary>Work on whole rows, or on whole tiles of columns.</summary>
    internal interface IItems
    {
        void Run(nint first, nint end);
    }

    /// <summary>Elements below which rows stay on one thread: an exponential costs several plain operations.</summary>
    private const nint Grain = Loops.Chunk / 4;

    /// <summary>Columns of a tile.</summary>
    private const int Columns = 256;

    internal static void ForRows<K>(nint rows, nint n, K kernel) where K : struct, IItems => Share(rows, n, kernel);

    private static void ForTiles<K>(nint outer, nint n, nint inner, K kernel) where K : struct, IItems =>
        Share(outer * Tiles(inner), n * Math.Min(inner, Columns), kernel);

    private static nint Tiles(nint inner) => (inner + Columns - 1) / Columns;

    private static void Share<K>(nint items, nint work, K kernel) where K : struct, IItems
    {
        if (items == 0 || work == 0) return;
        nint size = Math.Max(Math.Max(1, Grain / work), (items + 15) / 16);
        int chunks = (int)((items + size - 1) / size);
        if (chunks == 1)
        {
            kernel.Run(0, items);
            return;
        }
        var job = new ItemJob<K> { Kernel = kernel, Size = size, Count = items };
        Workers.For(chunks, ref job);
    }

    private struct ItemJob<K> : IJob where K : struct, IItems
    {
        public K Kernel;
        public nint Size, Count;

        public void Run(int chunk) => Kernel.Run(chunk * Size, Math.Min(Count, (chunk + 1) * Size));
    }

    // ---- contiguous rows ----

    private struct SoftmaxRows<T> : IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N;
        public T* X, Y;
        public bool Logarithm, Streamed;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            if (first == end) return;
            T* exponentials = Streamed ? (T*)Scratch.Get(N * sizeof(T)) : null;
            // a NaN reappears in the sum, and from there in the whole row
            T m = Reductions.FoldStretch(X + first * N, N, default(Reductions.QuickMaxFold));
            for (nint r = first; r < end; r++)
            {
                T* x = X + r * N, y = Y + r * N, next = r + 1 < end ? x + N : x;
                if (Logarithm)
                {
                    T log = T.CreateTruncating(Math.Log(SumOfExp(x, N, m, y)));
                    m = Streamed ? Shift<T, Streaming.Around>(x, y, N, m, log, next) : Shift<T, Streaming.Through>(x, y, N, m, log, next);
                }
                else
                {
                    T* e = Streamed ? exponentials : y;
                    T factor = T.CreateTruncating(1 / ExpStretch(x, e, N, m));
                    m = Streamed ? Multiply<T, Streaming.Around>(e, y, N, factor, next) : Multiply<T, Streaming.Through>(e, y, N, factor, next);
                }
            }
            if (Streamed) Streaming.Finish();
        }
    }

    /// <summary>Elements by which rows are asked for ahead, at most: what lies between stays in the first-level cache.</summary>
    private const nint Ahead = 2048;

    /// <summary><c>y[i] = e^(x[i] − m)</c> for m ≥ x[i]; their sum. Asks for the next row of both meanwhile: an exponential leaves memory time enough.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double ExpStretch<T>(T* x, T* y, nint n, T m) where T : unmanaged
    {
        nint w = Vector512<T>.Count, ahead = Math.Min(n, Ahead);
        var shift = Vector512.Create(m);
        var wide = Vector512<double>.Zero;
        while (n >= 2 * w)
        {
            nint block = Math.Min(n / (2 * w), 32);
            n -= block * 2 * w;
            var s = Vector512<T>.Zero;
            var t = Vector512<T>.Zero;
            do
            {
                if (Sse.IsSupported)
                {
                    Sse.Prefetch0(x + ahead);
                    Sse.Prefetch0(x + ahead + w);
                    Sse.Prefetch0(y + ahead);
                    Sse.Prefetch0(y + ahead + w);
                }
                var a = VectorMath.ExpOfNegative(Vector512.Load(x) - shift);
                var b = VectorMath.ExpOfNegative(Vector512.Load(x + w) - shift);
                a.Store(y);
                b.Store(y + w);
                s += a;
                t += b;
                x += 2 * w;
                y += 2 * w;
            }
            while (--block > 0);
            wide += Reductions.Widened(s) + Reductions.Widened(t);
        }
        for (; n > 0; n -= w, x += w, y += w)
        {
            nint k = Math.Min(n, w);
            var a = VectorMath.ExpOfNegative(Load(x, k) - shift) & First<T>(k);
            Store(a, y, k);
            wide += Reductions.Widened(a);
        }
        return Reductions.Total(wide);
    }

    /// <summary>Σ e^(x[i] − m) for m ≥ x[i], asking meanwhile for the next row and for what is to be written of this one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double SumOfExp<T>(T* x, nint n, T m, T* y) where T : unmanaged
    {
        nint w = Vector512<T>.Count, ahead = Math.Min(n, Ahead);
        var shift = Vector512.Create(m);
        var wide = Vector512<double>.Zero;
        while (n >= 2 * w)
        {
            nint block = Math.Min(n / (2 * w), 32);
            n -= block * 2 * w;
            var s = Vector512<T>.Zero;
            var t = Vector512<T>.Zero;
            do
            {
                if (Sse.IsSupported)
                {
                    Sse.Prefetch0(x + ahead);
                    Sse.Prefetch0(x + ahead + w);
                    Sse.Prefetch0(y);
                    Sse.Prefetch0(y + w);
                }
                s += VectorMath.ExpOfNegative(Vector512.Load(x) - shift);
                t += VectorMath.ExpOfNegative(Vector512.Load(x + w) - shift);
                x += 2 * w;
                y += 2 * w;
            }
            while (--block > 0);
            wide += Reductions.Widened(s) + Reductions.Widened(t);
        }
        for (; n > 0; n -= w, x += w)
        {
            nint k = Math.Min(n, w);
            wide += Reductions.Widened(VectorMath.ExpOfNegative(Load(x, k) - shift) & First<T>(k));
        }
        return Reductions.Total(wide);
    }

    /// <summary><c>y[i] = x[i]·factor</c>; the largest element of <paramref name="next"/>, whose reading hides behind the writing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static T Multiply<T, TStore>(T* x, T* y, nint n, T factor, T* next) where T : unmanaged where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count;
        var v = Vector512.Create(factor);
        var a = Splat<T>(double.NegativeInfinity);
        var b = a;
        for (; n >= 2 * w; n -= 2 * w, x += 2 * w, y += 2 * w, next += 2 * w)
        {
            a = Vector512.MaxNative(a, Vector512.Load(next));
            b = Vector512.MaxNative(b, Vector512.Load(next + w));
            TStore.Store(Vector512.Load(x) * v, y);
            TStore.Store(Vector512.Load(x + w) * v, y + w);
        }
        for (; n > 0; n -= w, x += w, y += w, next += w)
        {
            nint k = Math.Min(n, w);
            b = LargerOf(b, next, k);
            Store(Load(x, k) * v, y, k);
        }
        return Largest(Vector512.MaxNative(a, b));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> LargerOf<T>(Vector512<T> a, T* x, nint k) where T : unmanaged =>
        Vector512.MaxNative(a, Vector512.ConditionalSelect(First<T>(k), Load(x, k), Splat<T>(double.NegativeInfinity)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Largest<T>(Vector512<T> v) where T : unmanaged
    {
        var half = Vector256.MaxNative(v.GetLower(), v.GetUpper());
        var quarter = Vector128.MaxNative(half.GetLower(), half.GetUpper());
        quarter = Vector128.MaxNative(quarter, Vector128.Create(quarter.GetUpper(), quarter.GetLower()));
        if (sizeof(T) == 4) quarter = Vector128.MaxNative(quarter, Vector128.Shuffle(quarter.AsInt32(), Vector128.Create(1, 0, 3, 2)).As<int, T>());
        return quarter.ToScalar();
    }

    /// <summary><c>y[i] = x[i] − m − s</c>; the largest element of <paramref name="next"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static T Shift<T, TStore>(T* x, T* y, nint n, T m, T s, T* next) where T : unmanaged where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count;
        var vm = Vector512.Create(m);
        var vs = Vector512.Create(s);
        var a = Splat<T>(double.NegativeInfinity);
        for (; n >= w; n -= w, x += w, y += w, next += w)
        {
            a = Vector512.MaxNative(a, Vector512.Load(next));
            TStore.Store(Vector512.Load(x) - vm - vs, y);
        }
        if (n > 0)
        {
            a = LargerOf(a, next, n);
            Store(Load(x, n) - vm - vs, y, n);
        }
        return Largest(a);
    }

    private struct BackwardRows<T> : IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N;
        public T* Y, G, Dx;
        public bool Accumulate, Logarithm, Streamed;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                T* y = Y + r * N, g = G + r * N, dx = Dx + r * N;
                if (Logarithm)
                    LogGradient(y, g, dx, N, T.CreateTruncating(Reductions.SumStretch(g, N, T.Zero, default(Reductions.PlainTerm))), Accumulate);
                else
                {
                    T sum = T.CreateTruncating(Dot(y, g, N));
                    if (Streamed) Gradient<T, Streaming.Around>(y, g, dx, N, sum, Accumulate);
                    else Gradient<T, Streaming.Through>(y, g, dx, N, sum, Accumulate);
                }
            }
            if (Streamed) Streaming.Finish();
        }
    }

    /// <summary>Σ y·g</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static double Dot<T>(T* y, T* g, nint n) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
        var wide = Vector512<double>.Zero;
        while (n >= 4 * w)
        {
            nint block = Math.Min(n / (4 * w), 32);
            n -= block * 4 * w;
            var a = Vector512<T>.Zero;
            var b = Vector512<T>.Zero;
            var c = Vector512<T>.Zero;
            var d = Vector512<T>.Zero;
            do
            {
                a = Fma(Vector512.Load(y), Vector512.Load(g), a);
                b = Fma(Vector512.Load(y + w), Vector512.Load(g + w), b);
                c = Fma(Vector512.Load(y + 2 * w), Vector512.Load(g + 2 * w), c);
                d = Fma(Vector512.Load(y + 3 * w), Vector512.Load(g + 3 * w), d);
                y += 4 * w;
                g += 4 * w;
            }
            while (--block > 0);
            wide += Reductions.Widened(a) + Reductions.Widened(b) + (Reductions.Widened(c) + Reductions.Widened(d));
        }
        for (; n > 0; n -= w, y += w, g += w)
        {
            nint k = Math.Min(n, w);
            wide += Reductions.Widened(Load(y, k) * Load(g, k));
        }
        return Reductions.Total(wide);
    }

    /// <summary><c>dx = (g − s)·y</c>, asking for the next rows meanwhile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Gradient<T, TStore>(T* y, T* g, T* dx, nint n, T s, bool accumulate) where T : unmanaged where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count, ahead = Math.Min(n, Ahead);
        var vs = Vector512.Create(s);
        for (; n >= w; n -= w, y += w, g += w, dx += w)
        {
            if (Sse.IsSupported)
            {
                Sse.Prefetch0(y + ahead);
                Sse.Prefetch0(g + ahead);
            }
            var v = (Vector512.Load(g) - vs) * Vector512.Load(y);
            if (accumulate) v += Vector512.Load(dx);
            TStore.Store(v, dx);
        }
        if (n > 0)
        {
            var v = (Load(g, n) - vs) * Load(y, n);
            if (accumulate) v += Load(dx, n);
            Store(v, dx, n);
        }
    }

    /// <summary><c>dx = g − e^y·s</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LogGradient<T>(T* y, T* g, T* dx, nint n, T s, bool accumulate) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
        var vs = Vector512.Create(s);
        for (; n >= w; n -= w, y += w, g += w, dx += w)
        {
            var v = Fma(-VectorMath.Exp(Vector512.Load(y)), vs, Vector512.Load(g));
            if (accumulate) v += Vector512.Load(dx);
            v.Store(dx);
        }
        if (n > 0)
        {
            var v = Fma(-VectorMath.Exp(Load(y, n)), vs, Load(g, n));
            if (accumulate) v += Load(dx, n);
            Store(v, dx, n);
        }
    }
}
