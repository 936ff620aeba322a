using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>One innermost stretch of a walk: n elements starting at the given element offsets of the operands.</summary>
internal interface IRow
{
    void Run(nint n, nint o0, nint o1, nint o2, nint o3);
}

/// <summary>Neighbouring stretches of a walk, one below the other: rows of n elements, the first at the operands' offsets, each next one a step further on.</summary>
internal interface IRows
{
    void Run(nint n, nint rows, in Offsets at, in Offsets step);
}

/// <summary>An offset in elements for each operand.</summary>
internal struct Offsets
{
    public nint O0, O1, O2, O3;

    /// <summary>Those of so many steps along an axis.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Offsets Along(in Geometry g, int axis, nint steps) => new()
    {
        O0 = steps * g.Stride(0, axis),
        O1 = steps * g.Stride(1, axis),
        O2 = steps * g.Stride(2, axis),
        O3 = steps * g.Stride(3, axis),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(in Offsets by)
    {
        O0 += by.O0;
        O1 += by.O1;
        O2 += by.O2;
        O3 += by.O3;
    }
}

/// <content>The walk over a geometry, on one thread or in chunks on several.</content>
internal static unsafe partial class Loops
{
    /// <summary>Runs over n contiguous elements in parallel chunks.</summary>
    private static void Split<TRows>(nint n, ref TRows rows) where TRows : struct, IRows
    {
        int chunks = Chunks(n);
        var job = new FlatJob<TRows> { Rows = rows, Count = n, Size = ChunkSize(n, chunks) };
        Workers.For(chunks, ref job);
    }

    private struct FlatJob<TRows> : IJob where TRows : struct, IRows
    {
        public TRows Rows;
        public nint Count, Size;

        public void Run(int chunk)
        {
            nint start = chunk * Size, n = Math.Min(Size, Count - start);
            if (n > 0) Rows.Run(n, 1, new Offsets { O0 = start, O1 = start, O2 = start, O3 = start }, default);
            Streaming.Finish();
        }
    }

    /// <summary>A loop that takes one row at a time.</summary>
    private struct EachRow<TRow> : IRows where TRow : struct, IRow
    {
        public TRow Row;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Run(nint n, nint rows, in Offsets at, in Offsets step)
        {
            var o = at;
            for (; rows > 0; rows--)
            {
                Row.Run(n, o.O0, o.O1, o.O2, o.O3);
                o.Add(in step);
            }
        }
    }

    /// <summary>Runs a row over every innermost stretch of the walk, in parallel where it is long.</summary>
    private static void WalkEach<TRow>(in Geometry g, TRow row) where TRow : struct, IRow
    {
        var each = new EachRow<TRow> { Row = row };
        Walk(in g, ref each);
    }

    /// <summary>Runs over the walk by its two innermost axes at a time, in parallel where it is long.</summary>
    private static void Walk<TRows>(in Geometry g, ref TRows rows) where TRows : struct, IRows
    {
        nint n = g.Count;
        if (n == 0) return;
        if (g.Rank <= 1 && n < 2 * Chunk)
        {
            rows.Run(n, 1, default, default);
            return;
        }
        fixed (Geometry* p = &g)
        {
            if (n < 2 * Chunk)
            {
                Walk(p, 0, n, ref rows);
                return;
            }
            int chunks = Chunks(n);
            var job = new WalkJob<TRows> { Rows = rows, Geometry = p, Size = ChunkSize(n, chunks) };
            Workers.For(chunks, ref job);
        }
    }

    private struct WalkJob<TRows> : IJob where TRows : struct, IRows
    {
        public TRows Rows;
        public Geometry* Geometry;
        public nint Size;

        public void Run(int chunk)
        {
            nint start = chunk * Size, n = Math.Min(Size, Geometry->Count - start);
            if (n > 0) Walk(Geometry, start, n, ref Rows);
            Streaming.Finish();
        }
    }

    /// <summary>The elements start … start + count of the walk in row-major order.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Walk<TRows>(Geometry* g, nint start, nint count, ref TRows rows) where TRows : struct, IRows
    {
        int rank = g->Rank;
        nint* index = stackalloc nint[Geometry.MaxRank];
        nint inner = g->Size(0), below = 1;
        nint rest = start / inner, first = start - rest * inner;
        Offsets at = Offsets.Along(in *g, 0, first), step = default;
        for (int d = 1; d < rank; d++)
        {
            nint outer = rest / g->Size(d), i = rest - outer * g->Size(d);
            rest = outer;
            index[d] = i;
            at.Add(Offsets.Along(in *g, d, i));
        }
        if (rank > 1) (below, step) = (g->Size(1), Offsets.Along(in *g, 1, 1));
        while (true)
        {
            // Part of a row at either end; between them, as many whole ones as lie below one another.
            nint m = Math.Min(inner - first, count), lines = m < inner ? 1 : rank > 1 ? Math.Min(below - index[1], count / inner) : 1;
            rows.Run(m, lines, in at, in step);
            count -= m * lines;
            if (count == 0) return;
            at.Add(Offsets.Along(in *g, 0, -first));
            first = 0;
            for (int d = 1; d < rank; d++)
            {
                nint by = d == 1 ? lines : 1;
                index[d] += by;
                bool wraps = index[d] == g->Size(d);
                if (wraps)
                {
                    by -= index[d];
                    index[d] = 0;
                }
                at.Add(Offsets.Along(in *g, d, by));
                if (!wraps) break;
            }
        }
    }

    /// <summary>More chunks than threads, so that a busy core delays little; no smaller than <see cref="Chunk"/>.</summary>
    internal static int Chunks(nint n) => (int)Math.Min(16, (n + Chunk - 1) / Chunk);

    /// <summary>Chunks end on cache lines of any element type.</summary>
    private static nint ChunkSize(nint n, int chunks) => ((n + chunks - 1) / chunks + 63) & ~(nint)63;
}
