using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>An associative operation with a neutral element.</summary>
internal interface IFold
{
    T Neutral<T>() where T : unmanaged, INumber<T>;

    Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>;
}

/// <summary>
/// Reductions of any axes of a strided input to a contiguous output: sums and what is made of them, and the folds
/// (largest, smallest, product), their positions, and the logical ones.
/// </summary>
internal static unsafe partial class Reductions
{
    /// <summary><c>y = max x</c>; NaN if any is. −∞ (the least integer) of nothing.</summary>
    public static void Max<T>(in Reduced r, T* x, T* y) where T : unmanaged, INumber<T> => Fold(in r, x, y, false, default(MaxFold));

    /// <summary><c>y = min x</c>; NaN if any is. +∞ (the greatest integer) of nothing.</summary>
    public static void Min<T>(in Reduced r, T* x, T* y) where T : unmanaged, INumber<T> => Fold(in r, x, y, false, default(MinFold));

    /// <summary><c>y = Π x</c>; 1 of nothing.</summary>
    public static void Product<T>(in Reduced r, T* x, T* y) where T : unmanaged, INumber<T> => Fold(in r, x, y, false, default(MulFold));

    /// <summary>The position, in row-major order of the reduced axes, of the first largest element; the first NaN wins.</summary>
    public static void ArgMax<T>(in Reduced r, T* x, long* y) where T : unmanaged, INumber<T> =>
        Along<T, Best<T>, ArgAlong<T, MaxFold>>(in r, x, new ArgAlong<T, MaxFold> { Y = y });

    /// <summary>The position, in row-major order of the reduced axes, of the first smallest element; the first NaN wins.</summary>
    public static void ArgMin<T>(in Reduced r, T* x, long* y) where T : unmanaged, INumber<T> =>
        Along<T, Best<T>, ArgAlong<T, MinFold>>(in r, x, new ArgAlong<T, MinFold> { Y = y });

    /// <summary><c>y = 1 where any x ≠ 0, else 0</c></summary>
    public static void Any(in Reduced r, byte* x, byte* y) => Along<byte, byte, LogicalAlong>(in r, x, new LogicalAlong { Y = y, Sought = 1 });

    /// <summary><c>y = 1 where all x ≠ 0, else 0</c></summary>
    public static void All(in Reduced r, byte* x, byte* y) => Along<byte, byte, LogicalAlong>(in r, x, new LogicalAlong { Y = y, Sought = 0 });

    private static void Fold<T, R>(in Reduced r, T* x, T* y, bool accumulate, R fold)
        where T : unmanaged, INumber<T> where R : struct, IFold
    {
        if (r.Across) Across(in r, x, new FoldAcross<T, R> { Y = y, Accumulate = accumulate, Operation = fold });
        else Along<T, T, FoldAlong<T, R>>(in r, x, new FoldAlong<T, R> { Y = y, Accumulate = accumulate, Operation = fold });
    }

    internal readonly struct MaxFold : IFold
    {
        public T Neutral<T>() where T : unmanaged, INumber<T> => Least<T>();

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.Max(x, y);
    }

    /// <summary>The largest element where a NaN need not survive: one instruction instead of three.</summary>
    internal readonly struct QuickMaxFold : IFold
    {
        public T Neutral<T>() where T : unmanaged, INumber<T> => Least<T>();

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.MaxNative(x, y);
    }

    private readonly struct MinFold : IFold
    {
        public T Neutral<T>() where T : unmanaged, INumber<T> =>
            typeof(T) == typeof(float) || typeof(T) == typeof(double) ? -Least<T>() : -Least<T>() - T.One;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.Min(x, y);
    }

    private readonly struct MulFold : IFold
    {
        public T Neutral<T>() where T : unmanaged, INumber<T> => T.One;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x * y;
    }

    private readonly struct AddFold : IFold
    {
        public T Neutral<T>() where T : unmanaged, INumber<T> => T.Zero;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x + y;
    }

    /// <summary>−∞, or the least value of an integer type.</summary>
    private static T Least<T>() where T : unmanaged, INumber<T>
    {
        if (typeof(T) == typeof(int)) return Unsafe.BitCast<int, T>(int.MinValue);
        if (typeof(T) == typeof(long)) return Unsafe.BitCast<long, T>(long.MinValue);
        return Lanes.Scalar<T>(double.NegativeInfinity);
    }

    private struct FoldAlong<T, R> : IAlong<T, T> where T : unmanaged, INumber<T> where R : struct, IFold
    {
        public T* Y;
        public bool Accumulate;
        public R Operation;

        public readonly T Start(nint output) => Operation.Neutral<T>();

        public readonly void Step(ref T state, T* x, nint n, nint position, nint output) => Join(ref state, FoldStretch(x, n, Operation));

        public readonly void Join(ref T state, in T later) =>
            state = Operation.Invoke(Vector512.CreateScalar(state), Vector512.CreateScalar(later)).ToScalar();

        public readonly void Finish(in T state, nint output) => Y[output] = Accumulate ? Y[output] + state : state;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static T FoldStretch<T, R>(T* x, nint n, R fold) where T : unmanaged, INumber<T> where R : struct, IFold
    {
        nint w = Vector512<T>.Count;
        var neutral = Vector512.Create(fold.Neutral<T>());
        var a = neutral;
        var b = neutral;
        var c = neutral;
        var d = neutral;
        for (; n >= 4 * w; n -= 4 * w, x += 4 * w)
        {
            a = fold.Invoke(a, Vector512.Load(x));
            b = fold.Invoke(b, Vector512.Load(x + w));
            c = fold.Invoke(c, Vector512.Load(x + 2 * w));
            d = fold.Invoke(d, Vector512.Load(x + 3 * w));
        }
        for (; n > 0; n -= w, x += w)
        {
            nint k = Math.Min(n, w);
            a = fold.Invoke(a, Vector512.ConditionalSelect(Lanes.First<T>(k), Lanes.Load(x, k), neutral));
        }
        a = fold.Invoke(fold.Invoke(a, b), fold.Invoke(c, d));
        // halves by halves: lanes beyond the half are ignored
        a = fold.Invoke(a, a.GetUpper().ToVector512Unsafe());
        a = fold.Invoke(a, a.GetLower().GetUpper().ToVector256Unsafe().ToVector512Unsafe());
        T result = a.ToScalar();
        for (int i = 1; i < Vector128<T>.Count; i++)
            result = fold.Invoke(Vector512.CreateScalar(result), Vector512.CreateScalar(a[i])).ToScalar();
        return result;
    }

    private struct FoldAcross<T, R> : IAcross<T> where T : unmanaged, INumber<T> where R : struct, IFold
    {
        public T* Y;
        public bool Accumulate;
        public R Operation;

        public readonly void Start(T* narrow, double* wide, nint k, nint output) => new Span<T>(narrow, Columns).Fill(Operation.Neutral<T>());

        public readonly void Step(T* narrow, double* wide, T* x, nint stride, nint rows, nint k, nint output) =>
            FoldRows(narrow, x, stride, rows, k, Operation);

        public readonly void Join(T* narrow, double* wide, T* laterNarrow, double* laterWide, nint k) =>
            FoldRows(narrow, laterNarrow, 0, 1, k, Operation);

        public readonly void Finish(T* narrow, double* wide, nint k, nint output)
        {
            for (nint i = 0; i < k; i++) Y[output + i] = Accumulate ? Y[output + i] + narrow[i] : narrow[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void FoldRows<T, R>(T* state, T* x, nint stride, nint rows, nint k, R fold)
        where T : unmanaged, INumber<T> where R : struct, IFold
    {
        nint w = Vector512<T>.Count;
        for (; rows >= 4; rows -= 4, x += 4 * stride)
        {
            nint c = 0;
            for (; c + w <= k; c += w)
            {
                T* p = x + c;
                var a = fold.Invoke(Vector512.Load(p), Vector512.Load(p + stride));
                var b = fold.Invoke(Vector512.Load(p + 2 * stride), Vector512.Load(p + 3 * stride));
                fold.Invoke(Vector512.Load(state + c), fold.Invoke(a, b)).Store(state + c);
            }
            if (c < k)
            {
                T* p = x + c;
                var a = fold.Invoke(Lanes.Load(p, k - c), Lanes.Load(p + stride, k - c));
                var b = fold.Invoke(Lanes.Load(p + 2 * stride, k - c), Lanes.Load(p + 3 * stride, k - c));
                fold.Invoke(Vector512.Load(state + c), fold.Invoke(a, b)).Store(state + c);
            }
        }
        for (; rows > 0; rows--, x += stride)
            for (nint c = 0; c < k; c += w)
                fold.Invoke(Vector512.Load(state + c), LoadUpTo(x + c, k - c, w)).Store(state + c);
    }

    private struct Best<T> where T : unmanaged
    {
        public T Value;
        public long Position;
    }

    /// <summary>Finds the stretch's best value with a fold, then where it first stands.</summary>
    private struct ArgAlong<T, R> : IAlong<T, Best<T>> where T : unmanaged, INumber<T> where R : struct, IFold
    {
        public long* Y;

        public readonly Best<T> Start(nint output) => new() { Position = -1 };

        public readonly void Step(ref Best<T> state, T* x, nint n, nint position, nint output)
        {
            T best = FoldStretch(x, n, default(R));
            Join(ref state, new Best<T> { Value = best, Position = position + FirstOf(x, n, best) });
        }

        public readonly void Join(ref Best<T> state, in Best<T> later)
        {
            if (later.Position < 0) return;
            if (state.Position < 0)
            {
                state = later;
                return;
            }
            // the same bits of a fold mean that the earlier one is at least as good; +0 and −0 tie
            if (T.IsNaN(state.Value) || state.Value == later.Value) return;
            T both = default(R).Invoke(Vector512.CreateScalar(state.Value), Vector512.CreateScalar(later.Value)).ToScalar();
            if (T.IsNaN(both) || both != state.Value) state = later;
        }

        public readonly void Finish(in Best<T> state, nint output) => Y[output] = Math.Max(0, state.Position);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint FirstOf<T>(T* x, nint n, T value) where T : unmanaged, INumber<T>
    {
        nint w = Vector512<T>.Count;
        var sought = Vector512.Create(value);
        bool nan = T.IsNaN(value);
        for (nint i = 0; i < n; i += w)
        {
            nint k = Math.Min(n - i, w);
            var v = Lanes.Load(x + i, k);
            var hit = (nan ? ~Vector512.Equals(v, v) : Vector512.Equals(v, sought)) & Lanes.First<T>(k);
            ulong bits = hit.ExtractMostSignificantBits();
            if (bits != 0) return i + BitOperations.TrailingZeroCount(bits);
        }
        return 0;
    }

    private struct LogicalAlong : IAlong<byte, byte>
    {
        public byte* Y;

        /// <summary>1 looks for a true element (any), 0 for a false one (all).</summary>
        public byte Sought;

        public readonly byte Start(nint output) => 0;

        public readonly void Step(ref byte state, byte* x, nint n, nint position, nint output)
        {
            if (state != 0) return;
            var span = new ReadOnlySpan<byte>(x, (int)n);
            state = (byte)((Sought == 0 ? span.Contains((byte)0) : span.ContainsAnyExcept((byte)0)) ? 1 : 0);
        }

        public readonly void Join(ref byte state, in byte later) => state |= later;

        public readonly void Finish(in byte state, nint output) => Y[output] = (byte)(Sought == 0 ? 1 - state : state);
    }
}
