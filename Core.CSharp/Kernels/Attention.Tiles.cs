using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

// What is done to a tile of scores, all its rows at a time: so no row waits for another's horizontal sum.
internal static unsafe partial class Attention<T>
{
    /// <summary>Scores of some queries and keys. Behind each row there is room to the end of its last vector.</summary>
    private struct ScoreTile
    {
        internal T* Scores;
        internal nint Stride, Rows, Width;

        /// <summary>Keys that the first row sees, not limited to the tile, and how many more each next row sees.</summary>
        internal nint Visible, Grows;

        internal readonly nint Seen(nint row) => Math.Clamp(Visible + row * Grows, 0, Width);
    }

    /// <summary>Each row's largest score so far, that as a finite number to subtract, and what came before it less that number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Largest(in ScoreTile tile, T* largest, T* shifts, T* before)
    {
        var least = Splat<T>(double.NegativeInfinity);
        for (nint r = 0; r < tile.Rows; r++)
        {
            var row = tile.Scores + r * tile.Stride;
            var n = tile.Seen(r);
            Vector512<T> a = Vector512.Create(largest[r]), b = a;
            nint i = 0;
            for (; i <= n - 2 * Width; i += 2 * Width)
            {
                a = Vector512.MaxNative(a, Vector512.Load(row + i));
                b = Vector512.MaxNative(b, Vector512.Load(row + i + Width));
            }
            for (; i <= n - Width; i += Width) a = Vector512.MaxNative(a, Vector512.Load(row + i));
            if (i < n) b = Vector512.MaxNative(b, Vector512.ConditionalSelect(First<T>(n - i), Vector512.Load(row + i), least));
            var now = Max(Vector512.MaxNative(a, b));
            // Nothing seen so far: e^(−∞ − 0) = 0 is what such a row is to add.
            var shift = T.IsNegativeInfinity(now) ? T.Zero : now;
            before[r] = largest[r] - shift;
            largest[r] = now;
            shifts[r] = shift;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Max(Vector512<T> v)
    {
        var half = Vector256.MaxNative(v.GetLower(), v.GetUpper());
        var quarter = Vector128.MaxNative(half.GetLower(), half.GetUpper());
        quarter = Vector128.MaxNative(quarter, Vector128.Shuffle(quarter.AsDouble(), Vector128.Create(1L, 0L)).As<double, T>());
        if (sizeof(T) == 4) quarter = Vector128.MaxNative(quarter, Vector128.Shuffle(quarter.AsSingle(), Vector128.Create(1, 0, 3, 2)).As<float, T>());
        return quarter.ToScalar();
    }

    /// <summary>Scores become <c>e^(score − shift)</c>, 0 where not seen, and are added to the rows' sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Exponentiate(in ScoreTile tile, T* shifts, T* sums)
    {
        for (nint r = 0; r < tile.Rows; r++)
        {
            var row = tile.Scores + r * tile.Stride;
            var n = tile.Seen(r);
            var shift = Vector512.Create(shifts[r]);
            Vector512<T> s = Vector512<T>.Zero, t = s;
            nint i = 0;
            for (; i <= n - 2 * Width; i += 2 * Width)
            {
                var a = VectorMath.Exp(Vector512.Load(row + i) - shift);
                var b = VectorMath.Exp(Vector512.Load(row + i + Width) - shift);
                a.Store(row + i);
                b.Store(row + i + Width);
                s += a;
                t += b;
            }
            for (; i < n; i += Width)
            {
                var a = VectorMath.Exp(Vector512.Load(row + i) - shift);
                if (n - i < Width) a &= First<T>(n - i);
                a.Store(row + i);
                s += a;
            }
            for (; i < tile.Width; i += Width) Vector512<T>.Zero.Store(row + i);
            sums[r] += T.CreateTruncating(Reductions.Total(Reductions.Widened(s + t)));
        }
    }

    /// <summary>The weights of all keys, whose scores the tile holds, 0 where not seen and behind the tile; each row's largest score and the sum of its exponentials.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weigh(in ScoreTile tile, T* largest, T* sums, nint keys, T* weights)
    {
        var least = Splat<T>(double.NegativeInfinity);
        for (nint r = 0; r < tile.Rows; r++, weights += keys)
        {
            var row = tile.Scores + r * tile.Stride;
            var n = tile.Seen(r);
            nint whole = n / Width * Width, i = 0;
            Vector512<T> m = least, s = Vector512<T>.Zero;
            for (; i < whole; i += Width) m = Vector512.MaxNative(m, Vector512.Load(row + i));
            if (i < n)
            {
                // Behind what is seen come lanes of weight 0.
                var rest = Vector512.ConditionalSelect(First<T>(n - i), Vector512.Load(row + i), least);
                rest.Store(row + i);
                m = Vector512.MaxNative(m, rest);
                whole += Width;
            }
            var now = Max(m);
            var shift = Vector512.Create(T.IsNegativeInfinity(now) ? T.Zero : now);
            for (i = 0; i < whole; i += Width)
            {
                var e = VectorMath.Exp(Vector512.Load(row + i) - shift);
                e.Store(row + i);
                s += e;
            }
            var sum = T.CreateTruncating(Reductions.Total(Reductions.Widened(s)));
            largest[r] = now;
            sums[r] = sum;
            var factor = Vector512.Create(sum == T.Zero ? T.Zero : T.One / sum);
            for (i = 0; i < whole; i += Width) Put(Vector512.Load(row + i) * factor, weights, i, keys);
            for (; i < keys; i += Width) Put(Vector512<T>.Zero, weights, i, keys);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(Vector512<T> v, T* row, nint i, nint n)
    {
        if (n - i >= Width) v.Store(row + i);
        else Store(v, row + i, n - i);
    }

    /// <summary>What rows have gathered so far, scaled from what was their largest score to what now is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Shrink(T* y, nint stride, nint values, nint rows, T* sums, T* before)
    {
        for (nint r = 0; r < rows; r += Width) VectorMath.Exp(Vector512.Load(before + r)).Store(before + r);
        for (nint r = 0; r < rows; r++)
        {
            if (before[r] == T.One) continue;
            sums[r] *= before[r];
            Multiply(y + r * stride, values, before[r]);
        }
    }

    /// <summary>Rows divided by their sums, and their logsumexps. Where a sum is 0, no key was visible.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Finish(T* y, nint stride, T* lse, T* sums, T* largest, nint rows, nint values)
    {
        Logarithms(lse, sums, largest, rows);
        for (nint r = 0; r < rows; r++)
        {
            var target = y + r * stride;
            if (sums[r] == T.Zero) Clear(target, values);
            else Multiply(target, values, T.One / sums[r]);
        }
    }

    /// <summary>The rows' logsumexps, 0 where a sum is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Logarithms(T* lse, T* sums, T* largest, nint rows)
    {
        for (nint r = 0; r < rows; r += Width)
        {
            var k = Math.Min(Width, rows - r);
            var sum = Load(sums + r, k);
            var empty = Vector512.Equals(sum, Vector512<T>.Zero);
            Store(Vector512.ConditionalSelect(empty, sum, VectorMath.Log(sum) + Load(largest + r, k)), lse + r, k);
        }
    }

    // ---- rows ----

    /// <summary>A block of queries times the scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scaled(T* q, nint stride, nint rows, nint features, T scale, T* target)
    {
        var factor = Vector512.Create(scale);
        for (nint r = 0; r < rows; r++, q += stride, target += features)
        {
            nint i = 0;
            for (; i <= features - Width; i += Width) (Vector512.Load(q + i) * factor).Store(target + i);
            if (i < features) Store(Load(q + i, features - i) * factor, target + i, features - i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(T* y, nint n, T factor)
    {
        var v = Vector512.Create(factor);
        nint i = 0;
        for (; i <= n - Width; i += Width) (Vector512.Load(y + i) * v).Store(y + i);
        if (i < n) Store(Load(y + i, n - i) * v, y + i, n - i);
    }

    /// <summary>Scores of the queries and keys from some on: −∞ where the mask hides them, or the mask added.</summary>
    private static void Apply(in ScoreMask mask, nint matrix, nint query, nint key, in ScoreTile tile)
    {
        for (nint r = 0; r < tile.Rows; r++) Apply(mask, mask.Offsets[matrix] + (query + r) * mask.Row + key * mask.Column, tile.Scores + r * tile.Stride, tile.Seen(r));
    }

    private static void Apply(in ScoreMask mask, nint at, T* row, nint n)
    {
        if (!mask.IsBool) Add((T*)mask.Data + at, mask.Column, row, n);
        else if (mask.Column == 1) Hide((byte*)mask.Data + at, row, n);
        else
            for (nint i = 0; i < n; i++)
                if (((byte*)mask.Data)[at + i * mask.Column] == 0)
                    row[i] = T.NegativeInfinity;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(T* mask, nint step, T* row, nint n)
    {
        nint i = 0;
        if (step == 1)
        {
            for (; i <= n - Width; i += Width) (Vector512.Load(row + i) + Vector512.Load(mask + i)).Store(row + i);
        }
        for (; i < n; i++) row[i] += mask[i * step];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Hide(byte* mask, T* row, nint n)
    {
        nint i = 0;
        var hidden = Splat<T>(double.NegativeInfinity);
        for (; i <= n - Width; i += Width)
            Vector512.ConditionalSelect(Vector512.Equals(Widened(mask + i), Vector512<T>.Zero), hidden, Vector512.Load(row + i)).Store(row + i);
        for (; i < n; i++)
            if (mask[i] == 0)
                row[i] = T.NegativeInfinity;
    }

    /// <summary>A vector's worth of bytes, 0 where the byte is: what bits the others get does not matter as long as they are no float's 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Widened(byte* p)
    {
        if (sizeof(T) == 4)
        {
            var (low, high) = Vector128.Widen(Vector128.Load(p));
            var (a, b) = Vector128.Widen(low);
            var (c, d) = Vector128.Widen(high);
            return Vector512.ConvertToSingle(Vector512.Create(Vector256.Create(a, b), Vector256.Create(c, d)).AsInt32()).As<float, T>();
        }
        var eight = Vector128.WidenLower(Vector128.CreateScalar(Unsafe.ReadUnaligned<ulong>(p)).AsByte());
        var (front, back) = Vector128.Widen(eight);
        return Vector512.ConvertToDouble(Vector512.Create(Vector256.Create(Vector128.WidenLower(front), Vector128.WidenUpper(front)),
            Vector256.Create(Vector128.WidenLower(back), Vector128.WidenUpper(back))).AsInt64()).As<double, T>();
    }
}
