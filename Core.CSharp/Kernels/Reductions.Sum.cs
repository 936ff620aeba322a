using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <content>
/// Sums. Elements are added in single-width vectors for at most <see cref="Block"/> vectors (or rows) at a time; block
/// sums are added in double. The error is that of a few dozen additions, whatever the length.
/// </content>
internal static unsafe partial class Reductions
{
    private const int Block = 32;

    /// <summary><c>y = scale·Σ x</c>, or <c>y += …</c>; the mean with scale 1/n.</summary>
    public static void Sum<T>(in Reduced r, T* x, T* y, bool accumulate, double scale = 1)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => SumOf(in r, x, null, y, accumulate, scale, default(PlainTerm));

    /// <summary><c>y = scale·Σ f(x, m)</c>, or <c>y += …</c>, where m (laid out like y, or null for 0) is one number per output.</summary>
    public static void SumOf<T, F>(in Reduced r, T* x, T* m, T* y, bool accumulate, double scale, F f)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> where F : struct, IMap2
    {
        if (r.Across)
            Across(in r, x, new SumAcross<T, F> { M = m, Y = y, Accumulate = accumulate, Scale = scale, Body = f });
        else
            Along<T, double, SumAlong<T, F>>(in r, x, new SumAlong<T, F> { M = m, Y = y, Accumulate = accumulate, Scale = scale, Body = f });
    }

    /// <summary><c>mean = Σx/n</c> and <c>y = Σ(x − mean)²/(n − ddof)</c>, in two passes; n − ddof ≤ 0 gives NaN.</summary>
    public static void Variance<T>(in Reduced r, T* x, T* mean, T* y, double ddof)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        double n = r.Gone.Count;
        Sum(in r, x, mean, false, 1 / n);
        SumOf(in r, x, mean, y, false, n > ddof ? 1 / (n - ddof) : double.NaN, default(SquaredDeviation));
    }

    /// <summary>
    /// <c>y = m + ln Σ e^(x − m)</c> with m = max x, where <paramref name="max"/> is scratch of y's size.
    /// All −∞ give −∞; a +∞ gives +∞.
    /// </summary>
    public static void LogSumExp<T>(in Reduced r, T* x, T* max, T* y) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        nint outputs = r.Kept.Count, n = r.Gone.Count;
        if (outputs >= 8 && n > 0 && r.Kept.Rank == 1 && r.Gone.Rank == 1 && r.Gone.Stride(0, 0) == 1)
        {
            Rowwise.LogSumExp(outputs, n, r.Kept.Stride(0, 0), x, y);
            return;
        }
        Max(in r, x, max);
        Loops.Map1(outputs, max, max, false, default(FiniteOrZero));
        SumOf(in r, x, max, y, false, 1, default(ShiftedExp));
        Loops.Map2(outputs, y, max, y, false, default(LogPlus));
    }

    /// <summary><c>y = Σ x</c>, or <c>y += Σ x</c>, in wrapping integer arithmetic.</summary>
    public static void SumIntegers<T>(in Reduced r, T* x, T* y, bool accumulate) where T : unmanaged, IBinaryInteger<T> =>
        Fold(in r, x, y, accumulate, default(AddFold));

    internal readonly struct PlainTerm : IMap2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> m) where T : unmanaged, INumber<T> => x;
    }

    /// <summary><c>(x − m)²</c></summary>
    internal readonly struct SquaredDeviation : IMap2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> m) where T : unmanaged, INumber<T> => (x - m) * (x - m);
    }

    internal readonly struct ShiftedExp : IMap2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> m) where T : unmanaged, INumber<T> => VectorMath.Exp(x - m);
    }

    private readonly struct LogPlus : IMap2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> m) where T : unmanaged, INumber<T> => VectorMath.Log(x) + m;
    }

    private readonly struct FiniteOrZero : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            Vector512.ConditionalSelect(Vector512.LessThan(Vector512.Abs(x), Lanes.Splat<T>(double.PositiveInfinity)), x, Vector512<T>.Zero);
    }

    private struct SumAlong<T, F> : IAlong<T, double> where T : unmanaged, IBinaryFloatingPointIeee754<T> where F : struct, IMap2
    {
        public T* M, Y;
        public bool Accumulate;
        public double Scale;
        public F Body;

        public readonly double Start(nint output) => 0;

        public readonly void Step(ref double state, T* x, nint n, nint position, nint output) =>
            state += SumStretch(x, n, M == null ? T.Zero : M[output], Body);

        public readonly void Join(ref double state, in double later) => state += later;

        public readonly void Finish(in double state, nint output)
        {
            T sum = T.CreateTruncating(state * Scale);
            Y[output] = Accumulate ? Y[output] + sum : sum;
        }
    }

    /// <summary>Σ f(x[i], m) over n contiguous elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static double SumStretch<T, F>(T* x, nint n, T m, F f) where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        nint w = Vector512<T>.Count;
        var shift = Vector512.Create(m);
        var wide = Vector512<double>.Zero;
        while (n >= 4 * w)
        {
            nint block = Math.Min(n / (4 * w), Block);
            n -= block * 4 * w;
            var a = Vector512<T>.Zero;
            var b = Vector512<T>.Zero;
            var c = Vector512<T>.Zero;
            var d = Vector512<T>.Zero;
            do
            {
                a += f.Invoke(Vector512.Load(x), shift);
                b += f.Invoke(Vector512.Load(x + w), shift);
                c += f.Invoke(Vector512.Load(x + 2 * w), shift);
                d += f.Invoke(Vector512.Load(x + 3 * w), shift);
                x += 4 * w;
            }
            while (--block > 0);
            wide += Widened(a) + Widened(b) + (Widened(c) + Widened(d));
        }
        if (n > 0)
        {
            var rest = Vector512<T>.Zero;
            for (; n > 0; n -= w, x += w)
            {
                nint k = Math.Min(n, w);
                rest += f.Invoke(Lanes.Load(x, k), shift) & Lanes.First<T>(k);
            }
            wide += Widened(rest);
        }
        return Total(wide);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<double> Widened<T>(Vector512<T> v)
    {
        if (typeof(T) != typeof(float)) return v.As<T, double>();
        var (low, high) = Vector512.Widen(v.As<T, float>());
        return low + high;
    }

    /// <summary>The sum of the lanes, in halves: the same order on every machine.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static double Total(Vector512<double> v)
    {
        var four = v.GetLower() + v.GetUpper();
        var two = four.GetLower() + four.GetUpper();
        return two[0] + two[1];
    }

    private struct SumAcross<T, F> : IAcross<T> where T : unmanaged, IBinaryFloatingPointIeee754<T> where F : struct, IMap2
    {
        public T* M, Y;
        public bool Accumulate;
        public double Scale;
        public F Body;

        public readonly void Start(T* narrow, double* wide, nint k, nint output) => new Span<double>(wide, Columns).Clear();

        public readonly void Step(T* narrow, double* wide, T* x, nint stride, nint rows, nint k, nint output) =>
            SumRows(narrow, wide, x, stride, rows, k, M == null ? null : M + output, Body);

        public readonly void Join(T* narrow, double* wide, T* laterNarrow, double* laterWide, nint k)
        {
            for (nint i = 0; i < k; i++) wide[i] += laterWide[i];
        }

        public readonly void Finish(T* narrow, double* wide, nint k, nint output)
        {
            nint w = Vector512<T>.Count;
            var scale = Vector512.Create(Scale);
            T* y = Y + output;
            for (nint c = 0; c < k; c += w)
            {
                var v = typeof(T) == typeof(float)
                    ? Vector512.Narrow(Vector512.Load(wide + c) * scale, Vector512.Load(wide + c + 8) * scale).As<float, T>()
                    : (Vector512.Load(wide + c) * scale).As<double, T>();
                nint m = Math.Min(w, k - c);
                if (Accumulate) v += Lanes.Load(y + c, m);
                Lanes.Store(v, y + c, m);
            }
        }
    }

    /// <summary><c>wide[c] += Σᵣ f(x[r·stride + c], m[c])</c>: eight rows at a time into narrow sums that stay in the first-level cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void SumRows<T, F>(T* narrow, double* wide, T* x, nint stride, nint rows, nint k, T* m, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        nint w = Vector512<T>.Count;
        while (rows > 0)
        {
            for (nint c = 0; c < k; c += w) Vector512<T>.Zero.Store(narrow + c);
            nint block = Math.Min(rows, 8 * Block);
            rows -= block;
            for (; block >= 4; block -= 4)
            {
                nint c = 0;
                for (; c + w <= k; c += w)
                {
                    T* p = x + c;
                    var shift = m == null ? Vector512<T>.Zero : Vector512.Load(m + c);
                    var a = f.Invoke(Vector512.Load(p), shift) + f.Invoke(Vector512.Load(p + stride), shift);
                    var b = f.Invoke(Vector512.Load(p + 2 * stride), shift) + f.Invoke(Vector512.Load(p + 3 * stride), shift);
                    (Vector512.Load(narrow + c) + (a + b)).Store(narrow + c);
                }
                if (c < k)
                {
                    T* p = x + c;
                    var shift = m == null ? Vector512<T>.Zero : Lanes.Load(m + c, k - c);
                    var a = f.Invoke(Lanes.Load(p, k - c), shift) + f.Invoke(Lanes.Load(p + stride, k - c), shift);
                    var b = f.Invoke(Lanes.Load(p + 2 * stride, k - c), shift) + f.Invoke(Lanes.Load(p + 3 * stride, k - c), shift);
                    (Vector512.Load(narrow + c) + (a + b)).Store(narrow + c);
                }
                x += 4 * stride;
            }
            for (; block > 0; block--)
            {
                for (nint c = 0; c < k; c += w)
                {
                    var shift = m == null ? Vector512<T>.Zero : LoadUpTo(m + c, k - c, w);
                    (Vector512.Load(narrow + c) + f.Invoke(LoadUpTo(x + c, k - c, w), shift)).Store(narrow + c);
                }
                x += stride;
            }
            for (nint c = 0; c < k; c += w)
            {
                if (typeof(T) == typeof(float))
                {
                    var (low, high) = Vector512.Widen(Vector512.Load((float*)narrow + c));
                    (Vector512.Load(wide + c) + low).Store(wide + c);
                    (Vector512.Load(wide + c + 8) + high).Store(wide + c + 8);
                }
                else (Vector512.Load(wide + c) + Vector512.Load((double*)narrow + c)).Store(wide + c);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> LoadUpTo<T>(T* p, nint left, nint w) where T : unmanaged =>
        left >= w ? Vector512.Load(p) : Lanes.Load(p, left);
}
