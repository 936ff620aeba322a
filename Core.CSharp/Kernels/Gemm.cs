using System.Numerics;
using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>What follows a product, in the same pass: bias per column, then activation.</summary>
internal unsafe struct Epilogue<T> where T : unmanaged
{
    internal T* Bias;
    internal bool Relu;
}

/// <summary>General matrix products. Emitted micro-kernels do the arithmetic; what is here chooses blocks, packs what would be read with bad strides, and splits the work.
/// Each element of C is summed in the order of k, in slabs that depend on the shapes alone: neither the split nor the number of threads changes a bit.</summary>
internal static unsafe partial class Gemm<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    // What several panels of columns read of a transposed A must find room in the second cache: rows a power of two long share few of its sets.
    private const int TransposedSlab = 512;

    // B is packed by the first panel of A that reads it where there are so many panels, and where so many bytes of B do not stay in the first cache as they lie:
    // its rows are far apart, a power of two in the same sets, and every panel would wait for them.
    private const int KeepFor = 3, KeepAbove = 32 << 10;

    // Up to about 512³ packing costs more than it saves.
    private const double PackAbove = 512.0 * 512 * 512;
    private const int PackRows = 56;

    // Rows of a turned product that are computed in a buffer before they are stored.
    private const int TurnedRows = 112;

    // Below this a second thread gains less than it costs to hand over.
    private const double ParallelAbove = 150e3;

    // Rows of B after which a line must have come: as many as the third cache takes to answer while a tile's products run.
    private const int KeepAhead = 32;

    private struct Problem
    {
        internal nint M, N, K;
        internal T* A, B, C;
        internal nint ARow, AColumn, BRow, BColumn, CRow, CColumn;
        internal bool Accumulate;
        internal Epilogue<T> Epilogue;

        /// <summary>Whether this is Cᵀ = Bᵀ·Aᵀ, with a bias for each of its rows.</summary>
        internal bool IsTurned;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal Problem(nint m, nint n, nint k, T* a, nint aRow, nint aColumn, T* b, nint bRow, nint bColumn, T* c, nint cRow, bool accumulate, in Epilogue<T> epilogue)
        {
            (M, N, K) = (m, n, k);
            A = a;
            B = b;
            C = c;
            // Along an axis of length one any stride will do.
            ARow = m == 1 ? 1 : aRow;
            AColumn = k == 1 ? 1 : aColumn;
            BRow = k == 1 ? 1 : bRow;
            BColumn = n == 1 ? 1 : bColumn;
            CRow = m == 1 ? 1 : cRow;
            CColumn = 1;
            Accumulate = accumulate;
            Epilogue = epilogue;
        }

        internal readonly Problem Turned() => this with
        {
            M = N,
            N = M,
            A = B,
            B = A,
            ARow = BColumn,
            AColumn = BRow,
            BRow = AColumn,
            BColumn = ARow,
            CRow = CColumn,
            CColumn = CRow,
            IsTurned = !IsTurned,
        };
    }

    /// <summary>Rows of A, where they lie or copied into the second cache.</summary>
    private struct Block
    {
        internal T* A;
        internal nint Row, Step;
        internal bool IsCopied;

        /// <summary>Whether these columns are the first to read it.</summary>
        internal bool IsNew;

        internal Panels Panels;
    }

    /// <summary>C[m, n] (+)= A[m, k]·B[k, n], then the epilogue. Strides are in elements; C has unit column stride.
    /// When not accumulating C is never read, so it may hold anything.</summary>
    internal static void Run(nint m, nint n, nint k, T* a, nint aRow, nint aColumn, T* b, nint bRow, nint bColumn, T* c, nint cRow, bool accumulate, in Epilogue<T> epilogue)
    {
        if (m == 0 || n == 0) return;
        var problem = new Problem(m, n, k, a, aRow, aColumn, b, bRow, bColumn, c, cRow, accumulate, epilogue);
        Run(problem, Choose(problem));
    }

    private static void Run(in Problem p, Along along)
    {
        var work = (double)p.M * p.N * p.K;
        // Nothing to sum: only the epilogue is left.
        if (!MicroKernels<T>.Available || p.K == 0) RunPortable(p);
        else if ((work > PackAbove || IsScattered(p)) && p.M > PackRows && p.N > 2 * Emitter<T>.Lanes) RunGroups(p);
        else if (along == Along.K) RunDots(p, work);
        else if (along == Along.Rows) RunDirect(p.Turned(), work);
        else RunDirect(p, work);
    }

    /// <summary>Whether tiles would read a transposed A in pieces of less than half a cache line, more lines than the first cache holds beside those of B.</summary>
    private static bool IsScattered(in Problem p) =>
        p.ARow == 1 && p.AColumn != 1 && MicroKernels<T>.MaxRows * sizeof(T) < 32 && p.K > 256 && (p.BColumn == 1 || p.M * p.K * sizeof(T) > 1 << 20);

    // ---- small and middling: read A and B where they are; only a transposed B is packed, panel by panel ----

    private struct DirectJob : IJob
    {
        internal Problem Problem;
        internal bool ByColumns;
        internal nint Step;

        public readonly void Run(int chunk)
        {
            var from = chunk * Step;
            if (ByColumns) Direct(Problem, 0, Problem.M, from, Math.Min(Problem.N, from + Step));
            else Direct(Problem, from, Math.Min(Problem.M, from + Step), 0, Problem.N);
        }
    }

    private static void RunDirect(in Problem p, double work)
    {
        var threads = Workers.Count;
        if (threads == 1 || work < ParallelAbove)
        {
            Direct(p, 0, p.M, 0, p.N);
            return;
        }
        nint tile = 2 * Emitter<T>.Lanes;
        var parts = work < 4e6 ? threads : 2 * threads;
        var byColumns = p.N >= 2 * tile && (p.N >= p.M || p.BColumn != 1);
        var unit = byColumns ? tile : 1;
        var size = byColumns ? p.N : p.M;
        var step = Even((size + unit - 1) / unit, parts, threads) * unit;
        var job = new DirectJob { Problem = p, ByColumns = byColumns, Step = step };
        Workers.For((int)((size + step - 1) / step), ref job);
    }

    /// <summary>Units in a part: about so many parts that no thread has much more to do than another. Six panels in four parts would be three of two, and
    /// one of two threads would take two of them.</summary>
    private static nint Even(nint units, nint parts, nint threads)
    {
        var (best, least) = ((nint)0, nint.MaxValue);
        for (var step = (units + parts - 1) / parts; ; step++)
        {
            var longest = ((units + step - 1) / step + threads - 1) / threads * step;
            if (longest < least) (best, least) = (step, longest);
            if (step * threads >= units || least * threads * 16 <= units * 17) return best;
        }
    }

    /// <summary>Rows m0 … of columns n0 …, slab after slab of k.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Direct(in Problem p, nint m0, nint m1, nint n0, nint n1)
    {
        var most = p.AColumn == 1 ? Slab : TransposedSlab;
        var slabs = p.M <= MicroKernels<T>.MaxRows ? 1 : (p.K + most - 1) / most;
        if (slabs == 1)
        {
            Direct(p, m0, m1, n0, n1, first: true, last: true);
            return;
        }
        for (nint slab = 0; slab < slabs; slab++)
        {
            var (from, to) = (p.K * slab / slabs, p.K * (slab + 1) / slabs);
            var part = p with { A = p.A + from * p.AColumn, B = p.B + from * p.BRow, K = to - from };
            Direct(part, m0, m1, n0, n1, first: slab == 0, last: slab == slabs - 1);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Direct(in Problem p, nint m0, nint m1, nint n0, nint n1, bool first, bool last)
    {
        nint lanes = Emitter<T>.Lanes;
        var panels = new Panels(m1 - m0, MicroKernels<T>.MaxRows);
        var block = new Block { A = p.A + m0 * p.ARow, Row = p.ARow, Step = p.AColumn, Panels = panels };
        var packs = p.BColumn != 1;
        var keeps = !packs && panels.Count >= KeepFor && p.K * p.BRow * sizeof(T) > KeepAbove;
        // The kernels add a bias to columns.
        var turns = p.CColumn != 1 || (p.IsTurned && p.Epilogue.Bias != null);
        var columns = new Panels((n1 - n0 + lanes - 1) / lanes, packs ? 2 : MicroKernels<T>.Widest(panels.Height(0)));
        var packed = packs || keeps ? 2 * lanes * p.K : 0;
        var scratch = packs || keeps || turns ? (T*)Scratch.Get((packed + (turns ? 2 * TurnedRows * lanes : 0)) * sizeof(T)) : null;
        var keep = keeps ? scratch : null;
        var j = n0;
        for (nint column = 0; column < columns.Count; column++)
        {
            block.IsNew = column == 0;
            var width = (int)Math.Min(columns.Height(column) * lanes, n1 - j);
            var b = p.B + j * p.BColumn;
            var bStep = p.BRow;
            if (packs)
            {
                bStep = columns.Height(column) * lanes;
                Packing<T>.Pack(b, p.BColumn, p.BRow, width, p.K, scratch, bStep);
                b = scratch;
            }
            var next = !packs && !keeps && panels.Count > 1 && j + width < n1 ? b + width : null;
            if (turns) TurnedColumn(p, m0, m1, j, width, b, bStep, scratch + packed, columns.Height(0) * lanes, first, last, next, keep);
            else Column(p, m0, block, j, width, b, bStep, p.K, first, last, next, keep);
            j += width;
        }
    }

    /// <summary>One panel of columns: all its tiles from row m0 on.
    /// Where <paramref name="next"/> is the next panel of B, with the strides of this one, two panels of A ask for its cache lines while they multiply this one.
    /// Others ask for those of A's next rows, where A is transposed or new.
    /// Where <paramref name="keep"/> is not null, B's panel is packed there by the first tile, and read there by the others.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Column(in Problem p, nint m0, in Block block, nint j, int width, T* b, nint bStep, nint k, bool first, bool last, T* next = null, T* keep = null)
    {
        var lanes = Emitter<T>.Lanes;
        var vectors = (width + lanes - 1) / lanes;
        var tail = width - (vectors - 1) * lanes;
        var masked = tail < lanes;
        var end = new Tile { Mask = MicroKernels<T>.Mask(tail) };
        if (!first || p.Accumulate) end.Flags |= Tile.Accumulate;
        if (last && p.Epilogue.Bias != null)
        {
            end.Flags |= Tile.AddBias;
            end.Bias = p.Epilogue.Bias + j;
        }
        if (last && p.Epilogue.Relu) end.Flags |= Tile.ApplyRelu;
        var a = block.A;
        var c = p.C + m0 * p.CRow + j;
        var (row, step) = (block.Row, block.Step);
        for (nint panel = 0; panel < block.Panels.Count; panel++)
        {
            var r = block.Panels.Height(panel);
            MicroKernel kernel;
            if (keep != null && panel == 0)
            {
                end.Keep = keep;
                end.Ahead = b + KeepAhead * bStep;
                end.AheadStep = bStep * sizeof(T);
                kernel = MicroKernels<T>.Keeping(r, vectors, masked);
            }
            else
            {
                // A line for each step of k: the first panel of rows asks for the left half of the columns, the second for the right.
                var ahead = next != null;
                if (ahead)
                {
                    end.Ahead = next + panel * lanes;
                    end.AheadStep = bStep * sizeof(T);
                }
                else if (!block.IsCopied && panel + 1 < block.Panels.Count && (row == 1 || (block.IsNew && row == k && step == 1)))
                {
                    // The next rows: of a transposed A each step has another line, in which their last element lies, and these rows' may not; whole rows follow each other.
                    ahead = true;
                    end.Ahead = row == 1 ? a + r + block.Panels.Height(panel + 1) - 1 : a + r * row;
                    end.AheadStep = row == 1 ? step * sizeof(T) : 64;
                }
                kernel = MicroKernels<T>.Get(r, vectors, masked, row, step, ahead);
            }
            kernel(k, a, row * sizeof(T), step * sizeof(T), b, bStep * sizeof(T), c, p.CRow * sizeof(T), &end);
            if (keep != null)
            {
                b = keep;
                bStep = 2 * lanes;
            }
            a += r * row;
            c += r * p.CRow;
        }
    }

    // ---- the same B many times: packed once, by whom it is used from several threads ----

    /// <summary>Elements that <see cref="Pack"/> needs.</summary>
    internal static nint PackedSize(nint n, nint k)
    {
        nint tile = 2 * Emitter<T>.Lanes;
        return (n + tile - 1) / tile * tile * k;
    }

    /// <summary>B[k, n] in the order in which RunOn reads it.</summary>
    internal static void Pack(nint n, nint k, T* b, nint bRow, nint bColumn, T* target)
    {
        nint tile = 2 * Emitter<T>.Lanes;
        for (nint j = 0; j < n; j += tile)
            Packing<T>.Pack(b + j * bColumn, bColumn, bRow, (int)Math.Min(tile, n - j), k, target + j * k, tile);
    }

    /// <summary>C[m, n] (+)= A[m, k]·B[k, n] on the calling thread alone, B packed by <see cref="Pack"/>.</summary>
    internal static void RunOn(T* packed, nint m, nint n, nint k, T* a, nint aRow, T* c, nint cRow, bool accumulate, in Epilogue<T> epilogue) =>
        RunOn(packed, k, m, n, k, a, aRow, 1, c, cRow, accumulate, epilogue);

    /// <summary>The same with A by two strides and the first k of the <paramref name="depth"/> rows of which B was packed.</summary>
    internal static void RunOn(T* packed, nint depth, nint m, nint n, nint k, T* a, nint aRow, nint aColumn, T* c, nint cRow, bool accumulate, in Epilogue<T> epilogue)
    {
        if (m == 0 || n == 0) return;
        nint tile = 2 * Emitter<T>.Lanes;
        var problem = new Problem(m, n, k, a, aRow, aColumn, packed, tile, 1, c, cRow, accumulate, epilogue);
        var block = new Block { A = a, Row = aRow, Step = aColumn, Panels = new Panels(m, MicroKernels<T>.MaxRows) };
        for (nint j = 0; j < n; j += tile)
        {
            var width = (int)Math.Min(tile, n - j);
            if (MicroKernels<T>.Available && k > 0) Column(problem, 0, block, j, width, packed + j * depth, tile, k, first: true, last: true);
            else
            {
                var part = problem with { N = width, B = packed + j * depth, C = c + j };
                if (epilogue.Bias != null) part.Epilogue.Bias += j;
                RunPortable(part);
            }
        }
    }

    // ---- batches ----

    private struct BatchJob : IJob
    {
        internal Problem Problem;
        internal Along Along;
        internal nint* AOffsets, BOffsets, COffsets;

        public readonly void Run(int index)
        {
            var problem = Problem;
            problem.A += AOffsets[index];
            problem.B += BOffsets[index];
            problem.C += COffsets[index];
            Gemm<T>.Run(problem, Along);
        }
    }

    /// <summary>The same product for each matrix of a batch, whose offsets in elements may repeat: a broadcast operand is not copied.</summary>
    internal static void RunBatch(int batch, nint* aOffsets, nint* bOffsets, nint* cOffsets, nint m, nint n, nint k,
        T* a, nint aRow, nint aColumn, T* b, nint bRow, nint bColumn, T* c, nint cRow, bool accumulate)
    {
        if (m == 0 || n == 0) return;
        var problem = new Problem(m, n, k, a, aRow, aColumn, b, bRow, bColumn, c, cRow, accumulate, default);
        var job = new BatchJob { Problem = problem, Along = Choose(problem), AOffsets = aOffsets, BOffsets = bOffsets, COffsets = cOffsets };
        // Large matrices share the threads one after the other, small ones side by side.
        if ((double)m * n * k > 1e6 || batch == 1)
            for (var i = 0; i < batch; i++) job.Run(i);
        else if ((double)m * n * k * batch < ParallelAbove)
            for (var i = 0; i < batch; i++) job.Run(i);
        else Workers.For(batch, ref job);
    }

    // ---- without emitted kernels ----

    private static void RunPortable(in Problem p)
    {
        for (nint i = 0; i < p.M; i++)
        {
            var c = p.C + i * p.CRow;
            if (!p.Accumulate) new Span<T>(c, (int)p.N).Clear();
            for (nint q = 0; q < p.K; q++)
            {
                var x = p.A[i * p.ARow + q * p.AColumn];
                var b = p.B + q * p.BRow;
                if (p.BColumn == 1) Plain.AddScaled(x, b, c, p.N);
                else
                    for (nint j = 0; j < p.N; j++) c[j] += x * b[j * p.BColumn];
            }
            if (p.Epilogue.Bias != null)
                for (nint j = 0; j < p.N; j++) c[j] += p.Epilogue.Bias[j];
            if (p.Epilogue.Relu)
                for (nint j = 0; j < p.N; j++) c[j] = T.Max(c[j], T.Zero);
        }
    }
}
