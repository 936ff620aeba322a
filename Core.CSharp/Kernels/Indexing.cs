using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>
/// Elements picked and added by index, in contiguous arrays seen as [outer, n, inner] around the indexed axis. Additions
/// that meet happen in the order of the indices on one thread: work is shared out over the other axes.
/// </summary>
internal static unsafe class Indexing
{
    /// <summary>Columns of a chunk of additions: whole cache lines of any element type.</summary>
    private const int Columns = 64;

    /// <summary>The position of the first index outside 0 … n − 1, or −1.</summary>
    public static nint FirstOutside(nint count, long* index, nint n)
    {
        // Which one it is matters only where there is one.
        var job = new OutsideJob { Index = index, Count = count, Limit = n };
        Share(count, 1, ref job);
        return job.Found ? job.First(0, count) : -1;
    }

    private struct OutsideJob : IItems
    {
        public long* Index;
        public nint Count, Limit, Size;
        public volatile bool Found;

        nint IItems.Size { readonly get => Size; set => Size = value; }

        public void Run(int chunk)
        {
            nint start = chunk * Size;
            if (First(start, Math.Min(Count, start + Size)) >= 0) Found = true;
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly nint First(nint start, nint end)
        {
            // Vectors only tell that there is one; unsigned, what is negative is too large.
            nint i = start, w = Vector512<ulong>.Count;
            var limit = Vector512.Create((ulong)Limit);
            while (i <= end - 4 * w)
            {
                var at = (ulong*)Index + i;
                var largest = Vector512.Max(Vector512.Max(Vector512.Load(at), Vector512.Load(at + w)), Vector512.Max(Vector512.Load(at + 2 * w), Vector512.Load(at + 3 * w)));
                if (Vector512.GreaterThanOrEqualAny(largest, limit)) break;
                i += 4 * w;
            }
            for (; i < end; i++)
                if ((ulong)Index[i] >= (ulong)Limit)
                    return i;
            return -1;
        }
    }

    /// <summary><c>y[o, i, :] = x[o, index[i], :]</c> for i &lt; m.</summary>
    public static void Take<T>(nint outer, nint n, nint inner, T* x, nint m, long* index, T* y) where T : unmanaged
    {
        var job = new TakeJob<T> { N = n, Inner = inner, X = x, M = m, Index = index, Y = y, Rows = outer * m };
        Share(outer * m, inner, ref job);
    }

    private struct TakeJob<T> : IItems where T : unmanaged
    {
        public nint N, Inner, M, Rows, Size;
        public T* X, Y;
        public long* Index;

        nint IItems.Size { readonly get => Size; set => Size = value; }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint row = chunk * Size, end = Math.Min(Rows, row + Size);
            // a division for each run of rows under the same o, not for each row
            while (row < end)
            {
                nint o = row / M, count = Math.Min(end, (o + 1) * M) - row;
                long* index = Index + (row - o * M);
                T* x = X + o * N * Inner, y = Y + row * Inner;
                row += count;
                if (Inner == 1)
                    for (nint i = 0; i < count; i++) y[i] = x[(nint)index[i]];
                else
                    for (nint i = 0; i < count; i++) Loops.Stretch((byte*)(x + (nint)index[i] * Inner), (byte*)(y + i * Inner), Inner * sizeof(T), streamed: false);
            }
        }
    }

    /// <summary>Numbers what is in index, in the order of first mention: <c>places[number[i]] = index[i]</c>, and −1 for <paramref name="skip"/>. The first
    /// <paramref name="found"/> places are known already; the result is how many there are then.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Number(nint m, long* index, nint n, long skip, long* number, long* places, nint found)
    {
        // Never cleared: a number counts only where its place points back (Briggs and Torczon, An efficient representation for sparse sets, 1993).
        var known = (uint*)Scratch.Get(n * sizeof(uint));
        for (nint i = 0; i < found; i++) known[places[i]] = (uint)i;
        for (nint i = 0; i < m; i++)
        {
            var at = index[i];
            if (at == skip)
            {
                number[i] = -1;
                continue;
            }
            var k = known[at];
            if (k >= (ulong)found || places[k] != at)
            {
                known[at] = k = (uint)found;
                places[found++] = at;
            }
            number[i] = k;
        }
        return found;
    }

    /// <summary><c>dx[o, index[i], :] += g[o, i, :]</c> for i &lt; m, but for an index of <paramref name="skip"/>.</summary>
    public static void PutBack<T>(nint outer, nint n, nint inner, T* dx, nint m, long* index, T* g, long skip)
        where T : unmanaged, INumber<T>
    {
        nint tiles = (inner + Columns - 1) / Columns;
        var job = new PutBackJob<T> { N = n, Inner = inner, Dx = dx, M = m, Index = index, G = g, Skip = skip, Tiles = tiles, Items = outer * tiles };
        Share(outer * tiles, m * Math.Min(inner, Columns), ref job);
    }

    private struct PutBackJob<T> : IItems where T : unmanaged, INumber<T>
    {
        public nint N, Inner, M, Tiles, Items, Size;
        public T* Dx, G;
        public long* Index;
        public long Skip;

        nint IItems.Size { readonly get => Size; set => Size = value; }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint end = Math.Min(Items, (chunk + 1) * Size);
            for (nint item = chunk * Size; item < end; item++)
            {
                nint o = item / Tiles, c = (item - o * Tiles) * Columns, k = Math.Min(Columns, Inner - c);
                if (Inner == 1)
                {
                    T* g = G + o * M, dx = Dx + o * N;
                    for (nint i = 0; i < M; i++)
                        if (Index[i] != Skip)
                            dx[(nint)Index[i]] += g[i];
                    continue;
                }
                for (nint i = 0; i < M; i++)
                {
                    if (Index[i] == Skip) continue;
                    T* from = G + (o * M + i) * Inner + c, to = Dx + (o * N + (nint)Index[i]) * Inner + c;
                    nint w = Vector512<T>.Count, j = 0;
                    for (; j + w <= k; j += w) (Vector512.Load(to + j) + Vector512.Load(from + j)).Store(to + j);
                    if (j < k) Lanes.Store(Lanes.Load(to + j, k - j) + Lanes.Load(from + j, k - j), to + j, k - j);
                }
            }
        }
    }

    /// <summary><c>y[o, i, j] = x[o, index[o, i, j], j]</c>, or <c>y += …</c>, for i &lt; m.</summary>
    public static void Gather<T>(nint outer, nint n, nint inner, T* x, nint m, long* index, T* y, bool accumulate) where T : unmanaged, INumber<T> =>
        Lines(outer, n, inner, x, m, index, y, accumulate ? Line.GatherAdd : Line.Gather);

    /// <summary><c>x[o, index[o, i, j], j] += y[o, i, j]</c> for i &lt; m, in the order of i.</summary>
    public static void ScatterAdd<T>(nint outer, nint n, nint inner, T* x, nint m, long* index, T* y) where T : unmanaged, INumber<T> =>
        Lines(outer, n, inner, x, m, index, y, Line.ScatterAdd);

    /// <summary><c>x[o, index[o, i, j], j] = y[o, i, j]</c> for i &lt; m, in the order of i.</summary>
    public static void Scatter<T>(nint outer, nint n, nint inner, T* x, nint m, long* index, T* y) where T : unmanaged, INumber<T> =>
        Lines(outer, n, inner, x, m, index, y, Line.Scatter);

    private enum Line
    {
        Gather,
        GatherAdd,
        ScatterAdd,
        Scatter,
    }

    private static void Lines<T>(nint outer, nint n, nint inner, T* x, nint m, long* index, T* y, Line line) where T : unmanaged, INumber<T>
    {
        nint tiles = (inner + Columns - 1) / Columns;
        var job = new LineJob<T> { N = n, Inner = inner, X = x, M = m, Index = index, Y = y, Line = line, Tiles = tiles, Items = outer * tiles };
        Share(outer * tiles, m * Math.Min(inner, Columns), ref job);
    }

    private struct LineJob<T> : IItems where T : unmanaged, INumber<T>
    {
        public nint N, Inner, M, Tiles, Items, Size;
        public T* X, Y;
        public long* Index;
        public Line Line;

        nint IItems.Size { readonly get => Size; set => Size = value; }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint end = Math.Min(Items, (chunk + 1) * Size);
            for (nint item = chunk * Size; item < end; item++)
            {
                nint o = item / Tiles, c = (item - o * Tiles) * Columns, k = Math.Min(Columns, Inner - c);
                T* x = X + o * N * Inner + c;
                // A line of single elements is one run; beside each other lie the elements of as many lines as there are columns.
                if (Inner == 1) Move(M, 1, 0, x, Index + o * M, Y + o * M);
                else
                    for (nint i = 0, at = o * M * Inner + c; i < M; i++, at += Inner) Move(k, Inner, 1, x, Index + at, Y + at);
            }
        }

        /// <summary>y[j] and x[index[j]·rows + j·column] for j &lt; n, one into the other.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Move(nint n, nint rows, nint column, T* x, long* index, T* y)
        {
            switch (Line)
            {
                case Line.Gather:
                    nint done = 0;
                    for (; done <= n - 4; done += 4)
                    {
                        T a = x[(nint)index[done] * rows + done * column], b = x[(nint)index[done + 1] * rows + (done + 1) * column];
                        T c = x[(nint)index[done + 2] * rows + (done + 2) * column], d = x[(nint)index[done + 3] * rows + (done + 3) * column];
                        (y[done], y[done + 1], y[done + 2], y[done + 3]) = (a, b, c, d);
                    }
                    for (; done < n; done++) y[done] = x[(nint)index[done] * rows + done * column];
                    break;
                case Line.GatherAdd:
                    for (nint j = 0; j < n; j++) y[j] += x[(nint)index[j] * rows + j * column];
                    break;
                case Line.ScatterAdd:
                    for (nint j = 0; j < n; j++) x[(nint)index[j] * rows + j * column] += y[j];
                    break;
                default:
                    for (nint j = 0; j < n; j++) x[(nint)index[j] * rows + j * column] = y[j];
                    break;
            }
        }
    }

    private interface IItems : IJob
    {
        /// <summary>Items of one chunk.</summary>
        nint Size { get; set; }
    }

    private static void Share<TJob>(nint items, nint work, ref TJob job) where TJob : struct, IItems
    {
        if (items == 0 || work == 0) return;
        job.Size = Math.Max(Math.Max(1, Loops.Chunk / work), (items + 15) / 16);
        nint chunks = (items + job.Size - 1) / job.Size;
        if (chunks == 1) job.Run(0);
        else Workers.For((int)chunks, ref job);
    }
}
