using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

internal static unsafe partial class Normalisation<T>
{
    // ---- one stretch; lanes beyond its end are zero or masked away ----

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> At(T* p, nint i, nint n) => n - i >= Width ? Vector512.Load(p + i) : Load(p + i, n - i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(Vector512<T> v, T* p, nint i, nint n) => Put<Streaming.Through>(v, p, i, n);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put<TStore>(Vector512<T> v, T* p, nint i, nint n) where TStore : struct, Streaming.IStore
    {
        if (n - i >= Width) TStore.Store(v, p + i);
        else Store(v, p + i, n - i);
    }

    // Vectors that are added in single precision before their sum is carried over to double.
    private const int Stretch = 64;

    /// <summary>Asks for as many elements from <paramref name="next"/> + <paramref name="i"/> on: a channel's planes lie far apart, where memory is not read ahead.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Ask(T* next, nint i, nint vectors)
    {
        if (next == null || !Sse.IsSupported) return;
        for (nint k = 0; k < vectors; k++) Sse.Prefetch0(next + i + k * Width);
    }

    /// <summary>Σ x, while <paramref name="next"/>, if it is not null, is asked for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Sum(T* x, nint n, T* next = null)
    {
        double total = 0;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a, c = a, d = a;
            for (; from + 4 * Width <= to; from += 4 * Width)
            {
                Ask(next, from, 4);
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

    /// <summary>y = (x − m)·scale + bias (+ r), then relu</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Affine<TStore>(T* x, T* r, T* y, nint n, T mean, T scale, T bias, bool relu) where TStore : struct, Streaming.IStore
    {
        var (m, s, b) = (Vector512.Create(mean), Vector512.Create(scale), Vector512.Create(bias));
        for (nint i = 0; i < n; i += Width)
        {
            var v = Fma(At(x, i, n) - m, s, b);
            if (r != null) v += At(r, i, n);
            Put<TStore>(relu ? Vector512.Max(v, Vector512<T>.Zero) : v, y, i, n);
        }
    }

    /// <summary>The cotangent before relu. Whether that let an element through is seen in its result y; without a term beside it in x, too,
    /// which is read anyway: the same products in the same order have the same sign.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Passed(Vector512<T> g, Vector512<T> centred, Vector512<T> scale, Vector512<T> bias, T* y, nint i, nint n, bool relu)
    {
        if (!relu) return g;
        var v = y == null ? Fma(centred, scale, bias) : At(y, i, n);
        return Vector512.ConditionalSelect(Vector512.GreaterThan(v, Vector512<T>.Zero), g, Vector512<T>.Zero);
    }

    /// <summary>Σ g and Σ g·x̂ of the cotangent before relu, which goes to dr (+)= g where that is wanted. What lies <paramref name="next"/> elements further is asked for, unless that is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static (double, double) Totals(T* x, T* g, T* y, nint n, T mean, T root, T scale, T bias, bool relu, T* dr, bool accumulate, nint next)
    {
        var (m, r, s, t) = (Vector512.Create(mean), Vector512.Create(root), Vector512.Create(scale), Vector512.Create(bias));
        double first = 0, second = 0;
        for (nint from = 0; from < n;)
        {
            var to = Math.Min(n, from + Stretch * Width);
            Vector512<T> a = Vector512<T>.Zero, b = a;
            for (; from < to; from += Width)
            {
                if (next != 0)
                {
                    Ask(x + next, from, 1);
                    Ask(g + next, from, 1);
                }
                var d = At(x, from, n) - m;
                var w = Passed(At(g, from, n), d, s, t, y, from, n, relu);
                a += w;
                b = Fma(w, d * r, b);
                if (dr != null) Put(accumulate ? w + At(dr, from, n) : w, dr, from, n);
            }
            first += double.CreateChecked(Vector512.Sum(a));
            second += double.CreateChecked(Vector512.Sum(b));
        }
        return (first, second);
    }

    /// <summary>dx (+)= outer·(g − a − x̂·b) with the cotangent before relu</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Centre<TStore>(T* x, T* g, T* y, nint n, T mean, T root, T scale, T bias, bool relu, T a, T b, T* dx, bool accumulate)
        where TStore : struct, Streaming.IStore
    {
        var (m, r, s, t, p, q) = (Vector512.Create(mean), Vector512.Create(root), Vector512.Create(scale), Vector512.Create(bias), Vector512.Create(a), Vector512.Create(b));
        for (nint i = 0; i < n; i += Width)
        {
            var d = At(x, i, n) - m;
            var w = s * (Passed(At(g, i, n), d, s, t, y, i, n, relu) - p - d * r * q);
            if (accumulate) w += At(dx, i, n);
            Put<TStore>(w, dx, i, n);
        }
    }
}
