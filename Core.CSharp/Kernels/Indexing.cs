using System.Numerics;
using System.Runtime.CompilerServices;

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
        for (nint i = 0; i < count; i++)
            if ((ulong)index[i] >= (ulong)n)
                return i;
        return -1;
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

        public readonly void Run(int chunk)
        {
            nint end = Math.Min(Rows, (chunk + 1) * Size);
            for (nint row = chunk * Size; row < end; row++)
            {
                nint o = row / M;
                T* from = X + (o * N + (nint)Index[row - o * M]) * Inner, to = Y + row * Inner;
                if (Inner == 1) *to = *from;
                else Unsafe.CopyBlockUnaligned(to, from, (uint)(Inner * sizeof(T)));
            }
        }
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
                for (nint i = 0; i < M; i++)
                {
                    if (Index[i] == Skip) continue;
                    T* from = G + (o * M + i) * Inner + c, to = Dx + (o * N + (nint)Index[i]) * Inner + c;
                    for (nint j = 0; j < k; j++) to[j] += from[j];
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
                for (nint i = 0; i < M; i++)
                {
                    nint at = (o * M + i) * Inner + c;
                    T* y = Y + at;
                    long* index = Index + at;
                    if (Line == Line.Gather)
                        for (nint j = 0; j < k; j++) y[j] = x[(nint)index[j] * Inner + j];
                    else if (Line == Line.GatherAdd)
                        for (nint j = 0; j < k; j++) y[j] += x[(nint)index[j] * Inner + j];
                    else if (Line == Line.ScatterAdd)
                        for (nint j = 0; j < k; j++) x[(nint)index[j] * Inner + j] += y[j];
                    else
                        for (nint j = 0; j < k; j++) x[(nint)index[j] * Inner + j] = y[j];
                }
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
