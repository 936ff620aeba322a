namespace Functional.Kernels;

/// <content>Large products: operands are packed, since what a block of C needs finds no room in the caches where it lies.</content>
internal static unsafe partial class Gemm<T>
{
    // Slabs of 256 lose 10–17 % on large matrices: each slab reads and writes C again.
    private const int Slab = MicroKernels<T>.LongestCopied;

    /// <summary>Rows of A that are copied at once: with a slab of k they stay in L2. Where the copy moves along them they take a ninth of it – 28 rows of 1 MiB –
    /// and leave room for B; many where it moves across.</summary>
    private static int BlockRows(in Problem p) => p.AColumn == 1 ? Math.Max(1, FewRows / MicroKernels<T>.MaxRows) * MicroKernels<T>.MaxRows : 112;

    private static readonly int FewRows = (int)(Caches.Second / (9 * Slab * sizeof(float)));

    /// <summary>Columns of B that are packed at once: with a slab of k they take 4 MB, an eighth of L3.</summary>
    private const int GroupColumns = 1024;

    // ---- large: slabs of k; the first rows pack B's slab while they multiply by it, then blocks of rows in parallel, each copying its own A ----

    /// <summary>Elements that <see cref="CopyBlock"/> needs for so many rows.</summary>
    private static nint BlockSize(nint rows) => rows * MicroKernels<T>.CopiedRow;

    /// <summary>The copy lies as A does, so that long pieces are moved; turning rows into panels takes three times as long.</summary>
    private static Block CopyBlock(in Problem p, nint m0, nint rows, nint from, nint k, T* target)
    {
        var source = p.A + m0 * p.ARow + from * p.AColumn;
        var block = new Block { A = target, IsCopied = true, Panels = new Panels(rows, MicroKernels<T>.MaxRows) };
        if (p.AColumn == 1)
        {
            (block.Row, block.Step) = (MicroKernels<T>.CopiedRow, 1);
            Packing<T>.Pack(source, 1, p.ARow, (int)k, rows, target, block.Row);
        }
        else
        {
            (block.Row, block.Step) = (1, rows);
            Packing<T>.Pack(source, p.ARow, p.AColumn, (int)rows, k, target, rows);
        }
        return block;
    }

    private struct HeadJob : IJob
    {
        internal Problem Problem;
        internal Block Head;
        internal T* Packed;
        internal nint From, K;

        public readonly void Run(int panel)
        {
            nint tile = 2 * Emitter<T>.Lanes;
            var j = panel * tile;
            var width = (int)Math.Min(tile, Problem.N - j);
            var b = Problem.B + From * Problem.BRow + j * Problem.BColumn;
            var packed = Packed + j * K;
            var (first, last) = (From == 0, From + K == Problem.K);
            if (Problem.BColumn == 1) Column(Problem, 0, Head, j, width, b, Problem.BRow, K, first, last, keep: packed);
            else
            {
                Packing<T>.Pack(b, Problem.BColumn, Problem.BRow, width, K, packed, tile);
                Column(Problem, 0, Head, j, width, packed, tile, K, first, last);
            }
        }
    }

    private struct BlockJob : IJob
    {
        internal Problem Problem;
        internal T* Packed;
        internal nint Start, From, K, Step;

        public readonly void Run(int chunk)
        {
            var m0 = Start + chunk * Step;
            var rows = Math.Min(Problem.M - m0, Step);
            var block = CopyBlock(Problem, m0, rows, From, K, (T*)Scratch.Get(BlockSize(rows) * sizeof(T)));
            nint tile = 2 * Emitter<T>.Lanes;
            for (nint j = 0; j < Problem.N; j += tile)
                Column(Problem, m0, block, j, (int)Math.Min(tile, Problem.N - j), Packed + j * K, tile, K, first: From == 0, last: From + K == Problem.K);
        }
    }

    private static void RunGroups(in Problem p)
    {
        nint tile = 2 * Emitter<T>.Lanes;
        var groups = new Panels((p.N + tile - 1) / tile, GroupColumns / tile);
        nint j = 0;
        for (nint group = 0; group < groups.Count; group++)
        {
            var part = p with { N = Math.Min(groups.Height(group) * tile, p.N - j), B = p.B + j * p.BColumn, C = p.C + j };
            if (p.Epilogue.Bias != null) part.Epilogue.Bias += j;
            RunPacked(part);
            j += part.N;
        }
    }

    private static void RunPacked(in Problem p)
    {
        nint tile = 2 * Emitter<T>.Lanes;
        var columns = (int)((p.N + tile - 1) / tile);
        var slabs = (p.K + Slab - 1) / Slab;
        var depth = ((p.K + slabs - 1) / slabs + 15) / 16 * 16;
        // Two panels: the memory that packing B moves takes about as long as their products, and the two go on at once.
        var head = Math.Min(p.M, 2 * MicroKernels<T>.MaxRows);
        var most = BlockRows(p);
        var blocks = (p.M - head + most - 1) / most;
        // As many blocks as threads can share evenly.
        blocks = (blocks + Workers.Count - 1) / Workers.Count * Workers.Count;
        var step = (p.M - head + blocks - 1) / blocks;
        var deepest = Math.Min(depth, p.K);
        var memory = SharedScratch.Rent((columns * tile * deepest + BlockSize(head)) * sizeof(T));
        var packed = (T*)memory.Pointer;
        for (nint from = 0; from < p.K; from += depth)
        {
            var k = Math.Min(depth, p.K - from);
            var first = new HeadJob { Problem = p, Head = CopyBlock(p, 0, head, from, k, packed + columns * tile * k), Packed = packed, From = from, K = k };
            Workers.For(columns, ref first);
            var rest = new BlockJob { Problem = p, Packed = packed, Start = head, From = from, K = k, Step = step };
            Workers.For((int)((p.M - head + step - 1) / step), ref rest);
        }
        SharedScratch.Return(memory);
    }
}
