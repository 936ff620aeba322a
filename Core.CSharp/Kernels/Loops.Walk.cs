using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <content>The walk over a geometry, on one thread or in chunks on several.</content>
internal static unsafe partial class Loops
{
    /// <summary>Runs a row over n contiguous elements in parallel chunks.</summary>
    private static void Split<TRow>(nint n, ref TRow row) where TRow : struct, IRow
    {
        int chunks = Chunks(n);
        var job = new FlatJob<TRow> { Row = row, Count = n, Size = ChunkSize(n, chunks) };
        Workers.For(chunks, ref job);
    }

    private struct FlatJob<TRow> : IJob where TRow : struct, IRow
    {
        public TRow Row;
        public nint Count, Size;

        public void Run(int chunk)
        {
            nint start = chunk * Size, n = Math.Min(Size, Count - start);
            if (n > 0) Row.Run(n, start, start, start, start);
            Streaming.Finish();
        }
    }

    /// <summary>Runs a row over every innermost stretch of the walk, in parallel where it is long.</summary>
    public static void Walk<TRow>(in Geometry g, ref TRow row) where TRow : struct, IRow
    {
        nint n = g.Count;
        if (n == 0) return;
        if (g.Rank <= 1 && n < 2 * Chunk)
        {
            row.Run(n, 0, 0, 0, 0);
            return;
        }
        fixed (Geometry* p = &g)
        {
            if (n < 2 * Chunk)
            {
                Walk(p, 0, n, ref row);
                return;
            }
            int chunks = Chunks(n);
            var job = new WalkJob<TRow> { Row = row, Geometry = p, Size = ChunkSize(n, chunks) };
            Workers.For(chunks, ref job);
        }
    }

    private struct WalkJob<TRow> : IJob where TRow : struct, IRow
    {
        public TRow Row;
        public Geometry* Geometry;
        public nint Size;

        public void Run(int chunk)
        {
            nint start = chunk * Size, n = Math.Min(Size, Geometry->Count - start);
            if (n > 0) Walk(Geometry, start, n, ref Row);
            Streaming.Finish();
        }
    }

    /// <summary>The elements start … start + count of the walk in row-major order.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Walk<TRow>(Geometry* g, nint start, nint count, ref TRow row) where TRow : struct, IRow
    {
        int rank = g->Rank;
        nint* index = stackalloc nint[Geometry.MaxRank];
        nint inner = g->Size(0);
        nint rest = start / inner, first = start - rest * inner;
        nint o0 = first * g->Stride(0, 0), o1 = first * g->Stride(1, 0), o2 = first * g->Stride(2, 0), o3 = first * g->Stride(3, 0);
        for (int d = 1; d < rank; d++)
        {
            nint outer = rest / g->Size(d), i = rest - outer * g->Size(d);
            rest = outer;
            index[d] = i;
            o0 += i * g->Stride(0, d);
            o1 += i * g->Stride(1, d);
            o2 += i * g->Stride(2, d);
            o3 += i * g->Stride(3, d);
        }
        while (true)
        {
            nint m = Math.Min(inner - first, count);
            row.Run(m, o0, o1, o2, o3);
            count -= m;
            if (count == 0) return;
            o0 -= first * g->Stride(0, 0);
            o1 -= first * g->Stride(1, 0);
            o2 -= first * g->Stride(2, 0);
            o3 -= first * g->Stride(3, 0);
            first = 0;
            for (int d = 1; d < rank; d++)
            {
                nint size = g->Size(d);
                nint back = 1;
                if (++index[d] == size)
                {
                    index[d] = 0;
                    back = 1 - size;
                }
                o0 += back * g->Stride(0, d);
                o1 += back * g->Stride(1, d);
                o2 += back * g->Stride(2, d);
                o3 += back * g->Stride(3, d);
                if (back == 1) break;
            }
        }
    }

    /// <summary>More chunks than threads, so that a busy core delays little; no smaller than <see cref="Chunk"/>.</summary>
    internal static int Chunks(nint n) => (int)Math.Min(16, (n + Chunk - 1) / Chunk);

    /// <summary>Chunks end on cache lines of any element type.</summary>
    private static nint ChunkSize(nint n, int chunks) => ((n + chunks - 1) / chunks + 63) & ~(nint)63;
}
