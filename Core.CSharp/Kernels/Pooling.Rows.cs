using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <content>
/// Windows of any size, row by row: first the rows that an output row's windows cover become one, in vectors along the row, then neighbours of
/// that row become one output each. A plane's element is then read by as many rows of windows as cover it, not by as many windows.
/// </content>
internal static unsafe partial class Pooling<T>
{
    /// <summary>Elements of scratch that one plane needs: two rows, and a vector of every other element that reaches beyond.</summary>
    private static nint Buffers(in PoolAxes axes) => 2 * axes[2].Input + 2 * Vector512<T>.Count;

    // ---- means ----

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Average(in PoolAxes axes, T* x, T* y, bool countPadding, T* sums, bool streamed)
    {
        nint width = axes[2].Input, height = axes[1].Input;
        if (typeof(T) == typeof(float) && Avx512F.IsSupported && axes.Squares)
        {
            var count = 4 * Counted(axes[0], 1, countPadding);
            if (streamed) MeansOfSquares<Streaming.Around>(axes[1].Output, axes[2].Output, width, (float*)x, (float*)y, count);
            else MeansOfSquares<Streaming.Through>(axes[1].Output, axes[2].Output, width, (float*)x, (float*)y, count);
            return;
        }
        for (var d = 0; d < axes[0].Output; d++)
        {
            var (d0, d1) = axes[0].Window(d);
            for (var h = 0; h < axes[1].Output; h++)
            {
                var (h0, h1) = axes[1].Window(h);
                SumRows(x, height, width, d0, d1, h0, h1, sums);
                Means(axes[2], sums, y, Counted(axes[0], d1 - d0, countPadding) * Counted(axes[1], h1 - h0, countPadding), countPadding);
                y += axes[2].Output;
            }
        }
    }

    /// <summary>Sixteen windows of 2 x 2 at once: the even and odd elements of two rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void MeansOfSquares<TStore>(nint rows, nint columns, nint width, float* x, float* y, int count) where TStore : struct, Streaming.IStore
    {
        var (even, odd) = (Vector512<int>.Indices * 2, Vector512<int>.Indices * 2 + Vector512<int>.One);
        var divisor = Vector512.Create((float)count);
        for (nint r = 0; r < rows; r++, x += 2 * width, y += columns)
            for (nint c = 0; c < columns; c += 16)
            {
                var n = Math.Min(16, columns - c);
                var (a, b) = Columns(x + 2 * c, n, even, odd);
                var (d, e) = Columns(x + 2 * c + width, n, even, odd);
                var mean = (a + d + (b + e)) / divisor;
                if (n == 16) TStore.Store(mean, y + c);
                else Lanes.Store(mean, y + c, n);
            }
    }

    /// <summary>sums[k] = Σ x[i, j, k] over i in d0 … d1 and j in h0 … h1</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumRows(T* x, nint height, nint width, int d0, int d1, int h0, int h1, T* sums)
    {
        nint lanes = Vector512<T>.Count;
        for (nint k = 0; k < width; k += lanes)
        {
            var n = Math.Min(lanes, width - k);
            var sum = Vector512<T>.Zero;
            for (nint i = d0; i < d1; i++)
            {
                var row = x + (i * height + h0) * width + k;
                for (var j = h0; j < h1; j++, row += width) sum += n == lanes ? Vector512.Load(row) : Lanes.Load(row, n);
            }
            if (n == lanes) sum.Store(sums + k);
            else Lanes.Store(sum, sums + k, n);
        }
    }

    /// <summary>y[w] = the sum of w's neighbours, divided by their number and that of the rows that were added before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Means(in PoolAxis axis, T* sums, T* y, int rows, bool countPadding)
    {
        var (first, last) = axis.Whole;
        for (nint w = 0; w < first; w++) y[w] = Mean(axis, sums, (int)w, rows, countPadding);
        if (first < last)
        {
            nint lanes = Vector512<T>.Count;
            var count = T.CreateChecked(rows * axis.Kernel);
            var from = sums + first * axis.Stride - axis.Before;
            var w = first;
            if (axis.Stride == 1)
                for (; w < last; w += lanes, from += lanes)
                {
                    var n = Math.Min(lanes, last - w);
                    var sum = Vector512<T>.Zero;
                    for (nint k = 0; k < axis.Kernel; k++) sum += Lanes.Load(from + k, n);
                    Lanes.Store(sum / Vector512.Create(count), y + w, n);
                }
            else if (typeof(T) == typeof(float) && Avx512F.IsSupported && axis.Pairs)
            {
                var (even, odd) = (Vector512<int>.Indices * 2, Vector512<int>.Indices * 2 + Vector512<int>.One);
                for (; w < last; w += lanes, from += 2 * lanes)
                {
                    var n = Math.Min(lanes, last - w);
                    var (a, b) = Columns((float*)from, n, even, odd);
                    Lanes.Store((a + b).As<float, T>() / Vector512.Create(count), y + w, n);
                }
            }
            else
                for (; w < last; w++, from += axis.Stride)
                {
                    var sum = T.Zero;
                    for (nint k = 0; k < axis.Kernel; k++) sum += from[k];
                    y[w] = sum / count;
                }
        }
        for (nint w = Math.Max(first, last); w < axis.Output; w++) y[w] = Mean(axis, sums, (int)w, rows, countPadding);
    }

    /// <summary>One window that may be cut, or is long.</summary>
    private static T Mean(in PoolAxis axis, T* sums, int w, int rows, bool countPadding)
    {
        var (from, to) = axis.Window(w);
        var count = T.CreateChecked(rows * Counted(axis, to - from, countPadding));
        if (to - from >= 32) return T.CreateTruncating(Reductions.SumStretch(sums + from, to - from, T.Zero, default(Reductions.PlainTerm))) / count;
        var sum = T.Zero;
        for (nint k = from; k < to; k++) sum += sums[k];
        return sum / count;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AverageBackward(in PoolAxes axes, T* g, T* x, bool accumulate, bool countPadding, T* shares, bool streamed)
    {
        // Padding along the first axis counts for more than the four elements.
        if (axes.Squares && !accumulate && Counted(axes[0], 1, countPadding) == 1)
        {
            if (streamed) ShareAmongSquares<Streaming.Around>(axes, g, x);
            else ShareAmongSquares<Streaming.Through>(axes, g, x);
            return;
        }
        if (!accumulate) new Span<T>(x, (int)axes.Source).Clear();
        nint width = axes[2].Input, height = axes[1].Input, lanes = Vector512<T>.Count;
        for (var d = 0; d < axes[0].Output; d++)
        {
            var (d0, d1) = axes[0].Window(d);
            for (var h = 0; h < axes[1].Output; h++)
            {
                var (h0, h1) = axes[1].Window(h);
                Shares(axes[2], g, shares, Counted(axes[0], d1 - d0, countPadding) * Counted(axes[1], h1 - h0, countPadding), countPadding);
                g += axes[2].Output;
                for (nint i = d0; i < d1; i++)
                    for (nint j = h0; j < h1; j++)
                    {
                        var row = x + (i * height + j) * width;
                        nint k = 0;
                        for (; k <= width - lanes; k += lanes) (Vector512.Load(row + k) + Vector512.Load(shares + k)).Store(row + k);
                        if (k < width) Lanes.Store(Lanes.Load(row + k, width - k) + Lanes.Load(shares + k, width - k), row + k, width - k);
                    }
            }
        }
    }

    /// <summary>Writes each element of two rows once: a quarter of its window's cotangent.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void ShareAmongSquares<TStore>(in PoolAxes axes, T* g, T* x) where TStore : struct, Streaming.IStore
    {
        nint rows = axes[1].Output, columns = axes[2].Output, width = axes[2].Input;
        var (part, quarter) = (T.CreateChecked(0.25), Vector512.Create(0.25f));
        var low = Vector512.Create(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        var high = low + Vector512.Create(8);
        for (nint r = 0; r < rows; r++)
        {
            T* upper = x + 2 * r * width, lower = upper + width;
            nint c = 0;
            if (typeof(T) == typeof(float) && Avx512F.IsSupported)
                for (; c < columns; c += 16)
                {
                    nint n = Math.Min(16, columns - c), second = Math.Max(0, 2 * n - 16);
                    float* above = (float*)upper + 2 * c, below = (float*)lower + 2 * c;
                    var v = (n == 16 ? Vector512.Load((float*)g + c) : Lanes.Load((float*)g + c, n)) * quarter;
                    var (a, b) = (Avx512F.PermuteVar16x32(v, low), Avx512F.PermuteVar16x32(v, high));
                    if (n == 16)
                    {
                        TStore.Store(a, above);
                        TStore.Store(b, above + 16);
                        TStore.Store(a, below);
                        TStore.Store(b, below + 16);
                        continue;
                    }
                    Lanes.Store(a, above, 2 * n - second);
                    Lanes.Store(b, above + 16, second);
                    Lanes.Store(a, below, 2 * n - second);
                    Lanes.Store(b, below + 16, second);
                }
            for (; c < columns; c++) upper[2 * c] = upper[2 * c + 1] = lower[2 * c] = lower[2 * c + 1] = g[c] * part;
            // Columns that no window covers.
            for (var k = 2 * columns; k < width; k++) upper[k] = lower[k] = T.Zero;
            g += columns;
        }
        var covered = 2 * rows * width;
        new Span<T>(x + covered, (int)(axes.Source - covered)).Clear();
    }

    /// <summary>shares[k] = what the windows of one row of outputs that hold k give to each of their elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Shares(in PoolAxis axis, T* g, T* shares, int rows, bool countPadding)
    {
        new Span<T>(shares, axis.Input).Clear();
        if (axis.Pairs)
        {
            var half = T.CreateChecked(rows * axis.Kernel);
            for (nint w = 0; w < axis.Output; w++) shares[2 * w] = shares[2 * w + 1] = g[w] / half;
            return;
        }
        for (var w = 0; w < axis.Output; w++)
        {
            var (from, to) = axis.Window(w);
            if (to <= from) continue;
            var share = g[w] / T.CreateChecked(rows * Counted(axis, to - from, countPadding));
            nint k = from;
            for (; k <= to - Vector512<T>.Count; k += Vector512<T>.Count) (Vector512.Load(shares + k) + Vector512.Create(share)).Store(shares + k);
            for (; k < to; k++) shares[k] += share;
        }
    }

    // ---- maxima ----

    /// <summary>Of each column the largest and the number of its row; of neighbours the largest. Of equals the one in the earlier row, and in a row the
    /// first, is the first in row-major order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MaxByRows(in PoolAxes axes, T* x, T* y, int* index, T* best)
    {
        nint width = axes[2].Input, height = axes[1].Input;
        var number = best + width;
        for (var d = 0; d < axes[0].Output; d++)
        {
            var (d0, d1) = axes[0].Window(d);
            for (var h = 0; h < axes[1].Output; h++)
            {
                var (h0, h1) = axes[1].Window(h);
                LargestOfRows(axes, x, d0, d1, h0, h1, best, number);
                // Rows of one layer; 0 where the windows lie in the padding.
                var rows = Math.Max(0, (h1 - h0 + axes[1].Step - 1) / axes[1].Step);
                var any = rows > 0 && d1 > d0;
                var places = new Rows { Width = width, First = d0 * height + h0, Layer = axes[0].Step * height, Line = axes[1].Step, Count = rows, OneLayer = d1 - d0 <= axes[0].Step };
                LargestOfNeighbours(axes[2], best, number, y, index, places, any);
                y += axes[2].Output;
                index += axes[2].Output;
            }
        }
    }

    /// <summary>From the number of a row of windows to its place in the plane.</summary>
    private struct Rows
    {
        internal nint Width, First, Layer, Line, Count;
        internal bool OneLayer;

        internal readonly nint Place(T number)
        {
            nint row = int.CreateTruncating(number), layer = 0;
            if (row >= Count) (layer, row) = Math.DivRem(row, Count);
            return (First + layer * Layer + row * Line) * Width;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LargestOfNeighbours(in PoolAxis axis, T* best, T* number, T* y, int* index, in Rows rows, bool any)
    {
        var (first, last) = any ? axis.Whole : (0, 0);
        for (nint w = 0; w < first; w++) Largest(axis, best, number, (int)w, y + w, index + w, rows, any);
        nint lanes = Vector512<T>.Count, stride = axis.Stride;
        for (var w = first; w < last; w += lanes)
        {
            var n = Math.Min(lanes, last - w);
            var from = w * stride - axis.Before;
            var most = EveryOther(best + from, stride, n);
            var (row, place, counter) = (EveryOther(number + from, stride, n), Vector512<T>.Zero, Vector512<T>.Zero);
            for (nint k = 1, at = from + axis.Step; k < axis.Kernel; k++, at += axis.Step)
            {
                counter += Vector512<T>.One;
                var (v, r) = (EveryOther(best + at, stride, n), EveryOther(number + at, stride, n));
                var nan = Vector512.IsNaN(most);
                var larger = Vector512.AndNot(Vector512.OnesComplement(Vector512.LessThanOrEqual(v, most)), nan);
                var earlier = Vector512.LessThan(r, row) & (Vector512.Equals(v, most) | (Vector512.IsNaN(v) & nan));
                var wins = larger | earlier;
                most = Vector512.ConditionalSelect(wins, v, most);
                row = Vector512.ConditionalSelect(wins, r, row);
                place = Vector512.ConditionalSelect(wins, counter, place);
            }
            Lanes.Store(most, y + w, n);
            if (typeof(T) == typeof(float) && rows.OneLayer)
            {
                var line = Vector512.ConvertToInt32(row.AsSingle()) * (int)(rows.Line * rows.Width);
                var column = Vector512.ConvertToInt32(place.AsSingle()) * axis.Step + Vector512<int>.Indices * (int)stride;
                Lanes.Store(line + column + Vector512.Create((int)(rows.First * rows.Width + from)), index + w, n);
                continue;
            }
            for (nint i = 0; i < n; i++)
                index[w + i] = (int)(rows.Place(row[(int)i]) + from + i * stride + int.CreateTruncating(place[(int)i]) * axis.Step);
        }
        for (nint w = Math.Max(first, last); w < axis.Output; w++) Largest(axis, best, number, (int)w, y + w, index + w, rows, any);
    }

    /// <summary>p[0], p[stride], …: n of them. Reads up to the element before p[n·stride].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> EveryOther(T* p, nint stride, nint n)
    {
        if (stride == 1) return Lanes.Load(p, n);
        if (stride == 2 && typeof(T) == typeof(float) && Avx512F.IsSupported)
        {
            var q = (float*)p;
            var (low, high) = n == 16 ? (Vector512.Load(q), Vector512.Load(q + 16)) : (Lanes.Load(q, 2 * n), Lanes.Load(q + 16, Math.Max(0, 2 * n - 16)));
            return Avx512F.PermuteVar16x32x2(low, Vector512<int>.Indices * 2, high).As<float, T>();
        }
        return Gathered(p, stride, n);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Vector512<T> Gathered(T* p, nint stride, nint n)
    {
        var v = Vector512<T>.Zero;
        var q = (T*)&v;
        for (nint i = 0; i < n; i++) q[i] = p[i * stride];
        return v;
    }

    /// <summary>One window that may be cut; without an element −∞ at −1.</summary>
    private static void Largest(in PoolAxis axis, T* best, T* number, int w, T* y, int* index, in Rows rows, bool any)
    {
        var (from, to) = axis.Window(w);
        nint at = -1;
        T most = T.NegativeInfinity, row = T.Zero;
        for (nint k = from; k < to && any; k += axis.Step)
        {
            var (v, r) = (best[k], number[k]);
            if (at >= 0 && !(v > most) && !(T.IsNaN(v) && !T.IsNaN(most)) && !(r < row && (v == most || (T.IsNaN(v) && T.IsNaN(most))))) continue;
            (most, row, at) = (v, r, k);
        }
        *y = most;
        *index = at < 0 ? -1 : (int)(rows.Place(row) + at);
    }

    /// <summary>best[k] = the largest of the windows' rows at column k, number[k] = which of them, counted in row-major order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LargestOfRows(in PoolAxes axes, T* x, int d0, int d1, int h0, int h1, T* best, T* number)
    {
        nint width = axes[2].Input, height = axes[1].Input, lanes = Vector512<T>.Count;
        for (nint k = 0; k < width; k += lanes)
        {
            var n = Math.Min(lanes, width - k);
            var most = Vector512.Create(T.NegativeInfinity);
            var (row, counter) = (Vector512<T>.Zero, Vector512<T>.Zero);
            for (nint i = d0; i < d1; i += axes[0].Step)
                for (nint j = h0; j < h1; j += axes[1].Step)
                {
                    var from = x + (i * height + j) * width + k;
                    var v = n == lanes ? Vector512.Load(from) : Lanes.Load(from, n);
                    // Unordered or greater, unless the best is NaN already.
                    var wins = Vector512.AndNot(Vector512.OnesComplement(Vector512.LessThanOrEqual(v, most)), Vector512.IsNaN(most));
                    most = Vector512.ConditionalSelect(wins, v, most);
                    row = Vector512.ConditionalSelect(wins, counter, row);
                    counter += Vector512<T>.One;
                }
            if (n == lanes)
            {
                most.Store(best + k);
                row.Store(number + k);
            }
            else
            {
                Lanes.Store(most, best + k, n);
                Lanes.Store(row, number + k, n);
            }
        }
    }
}
