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
        if (inner == 1) ForRows(outer, n, new SoftmaxRows<T> { N = n, X = x, Y = y, Logarithm = logarithm });
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
            ForRows(outer, n, new BackwardRows<T> { N = n, Y = y, G = g, Dx = dx, Accumulate = accumulate, Logarithm = logarithm });
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

    // ---- sharing out ----

    /// <summary>Work on whole rows, or on whole tiles of columns.</summary>
    internal interface IItems
    {
        void Run(nint first, nint end);
    }

    /// <summary>Elements below which rows stay on one thread: an exponential costs several plain operations.</summary>
    private const nint Grain = Loops.Chunk / 4;

    internal static void ForRows<K>(nint rows, nint n, K kernel) where K : struct, IItems => Share(rows, n, kernel);

    private static void ForTiles<K>(nint outer, nint n, nint inner, K kernel) where K : struct, IItems =>
        Share(outer * Tiles(inner), n * Math.Min(inner, Reductions.Columns), kernel);

    private static nint Tiles(nint inner) => (inner + Reductions.Columns - 1) / Reductions.Columns;

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
        public bool Logarithm;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                T* x = X + r * N, y = Y + r * N;
                // a NaN reappears in the sum, and from there in the whole row
                T m = Reductions.FoldStretch(x, N, default(Reductions.QuickMaxFold));
                if (Logarithm)
                {
                    double sum = Reductions.SumStretch(x, N, m, default(Reductions.ShiftedExp));
                    Shift(x, y, N, m, T.CreateTruncating(Math.Log(sum)));
                }
                else
                {
                    double sum = ExpStretch(x, y, N, m);
                    Multiply(y, N, T.CreateTruncating(1 / sum), x + N);
                }
            }
        }
    }

    /// <summary><c>y[i] = e^(x[i] − m)</c>; their sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static double ExpStretch<T>(T* x, T* y, nint n, T m) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
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
                var a = VectorMath.Exp(Vector512.Load(x) - shift);
                var b = VectorMath.Exp(Vector512.Load(x + w) - shift);
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
            var a = VectorMath.Exp(Load(x, k) - shift) & First<T>(k);
            Store(a, y, k);
            wide += Reductions.Widened(a);
        }
        return Reductions.Total(wide);
    }

    /// <summary><c>y[i] *= factor</c>, fetching the row after it for the maximum that comes next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply<T>(T* y, nint n, T factor, T* next) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
        var v = Vector512.Create(factor);
        for (; n >= w; n -= w, y += w, next += w)
        {
            if (Sse.IsSupported) Sse.Prefetch0(next);
            (Vector512.Load(y) * v).Store(y);
        }
        if (n > 0) Store(Load(y, n) * v, y, n);
    }

    /// <summary><c>y[i] = x[i] − m − s</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Shift<T>(T* x, T* y, nint n, T m, T s) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
        var vm = Vector512.Create(m);
        var vs = Vector512.Create(s);
        for (; n >= w; n -= w, x += w, y += w) (Vector512.Load(x) - vm - vs).Store(y);
        if (n > 0) Store(Load(x, n) - vm - vs, y, n);
    }

    private struct BackwardRows<T> : IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N;
        public T* Y, G, Dx;
        public bool Accumulate, Logarithm;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                T* y = Y + r * N, g = G + r * N, dx = Dx + r * N;
                if (Logarithm)
                    LogGradient(y, g, dx, N, T.CreateTruncating(Reductions.SumStretch(g, N, T.Zero, default(Reductions.PlainTerm))), Accumulate);
                else
                    Gradient(y, g, dx, N, T.CreateTruncating(Dot(y, g, N)), Accumulate);
            }
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

    /// <summary><c>dx = (g − s)·y</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Gradient<T>(T* y, T* g, T* dx, nint n, T s, bool accumulate) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
        var vs = Vector512.Create(s);
        for (; n > 0; n -= w, y += w, g += w, dx += w)
        {
            nint k = Math.Min(n, w);
            var v = (Load(g, k) - vs) * Load(y, k);
            if (accumulate) v += Load(dx, k);
            Store(v, dx, k);
        }
    }

    /// <summary><c>dx = g − e^y·s</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LogGradient<T>(T* y, T* g, T* dx, nint n, T s, bool accumulate) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
        var vs = Vector512.Create(s);
        for (; n > 0; n -= w, y += w, g += w, dx += w)
        {
            nint k = Math.Min(n, w);
            var v = Fma(-VectorMath.Exp(Load(y, k)), vs, Load(g, k));
            if (accumulate) v += Load(dx, k);
            Store(v, dx, k);
        }
    }
}
