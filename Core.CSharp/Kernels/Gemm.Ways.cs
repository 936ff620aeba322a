using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Which of a product's three indices lies along the vectors. Columns of C need rows of B, rows of C – the product turned round – columns of A, and k needs
/// rows of A and columns of B; what lies otherwise is turned first, and a vector of which C has no elements to fill computes for nothing.</summary>
internal static unsafe partial class Gemm<T>
{
    private enum Along
    {
        Columns,
        Rows,
        K,
    }

    // In multiply-adds of a vector: to turn an element, to sum a vector's lanes, and to take steps of k a vector at a time, whose rows lie far apart.
    private static readonly double Turning = 8.0 / Emitter<T>.Lanes;
    private const double Summing = 6, Stepping = 1.1;

    /// <summary>The cheapest of the three. It depends on the shape and on how the operands lie, never on the number of threads.</summary>
    private static Along Choose(in Problem p)
    {
        double m = p.M, n = p.N, k = p.K;
        var columns = m * Vectors(p.N) * k + (p.BColumn == 1 ? 0 : Turning * n * k);
        var rows = Vectors(p.M) * n * k + (p.ARow == 1 ? 0 : Turning * m * k) + (p.CRow == 1 ? 0 : Turning * m * n);
        // The fewer of A's rows and B's columns may be turned, the others must lie along k.
        var (many, few, turned) = m >= n ? (p.AColumn, p.BRow, n) : (p.BRow, p.AColumn, m);
        var sums = many != 1 ? double.PositiveInfinity : m * n * (Stepping * Vectors(p.K) + Summing) + (few == 1 ? 0 : Turning * turned * k);
        return sums < columns && sums < rows ? Along.K : rows < columns ? Along.Rows : Along.Columns;
    }

    private static nint Vectors(nint elements) => (elements + Emitter<T>.Lanes - 1) / Emitter<T>.Lanes;

    // ---- rows along the vectors ----

    /// <summary>A turned product's panel of columns, as many rows at a time as the buffer holds.</summary>
    private static void TurnedColumn(in Problem p, nint m0, nint m1, nint j, int width, T* b, nint bStep, T* buffer, nint stride, bool first, bool last, T* next, T* keep)
    {
        for (var m = m0; m < m1; m += TurnedRows)
        {
            TurnedBlock(p, m, Math.Min(m1 - m, TurnedRows), j, width, b, bStep, buffer, stride, first, last, next, keep);
            if (keep == null) continue;
            b = keep;
            bStep = 2 * Emitter<T>.Lanes;
            keep = null;
        }
    }

    /// <summary>Rows m … of a turned product's panel: its tiles are computed in a buffer, which holds what the sums are added to, and stored the other way round.</summary>
    private static void TurnedBlock(in Problem p, nint m, nint height, nint j, int width, T* b, nint bStep, T* buffer, nint stride, bool first, bool last, T* next, T* keep)
    {
        var c = p.C + m * p.CRow + j * p.CColumn;
        var (accumulate, bias) = (p.Accumulate || !first, last && p.Epilogue.Bias != null);
        if (accumulate) Transposition.Strips(height, width, c, p.CColumn, buffer, stride);
        for (nint i = 0; i < height && bias; i++)
        {
            var row = new Span<T>(buffer + i * stride, width);
            if (!accumulate) row.Clear();
            foreach (ref var x in row) x += p.Epilogue.Bias[m + i];
        }
        var tiles = p with { C = buffer - j, CRow = stride, Accumulate = accumulate || bias };
        tiles.Epilogue.Bias = null;
        var block = new Block { A = p.A + m * p.ARow, Row = p.ARow, Step = p.AColumn, Panels = new Panels(height, MicroKernels<T>.MaxRows) };
        Column(tiles, 0, block, j, width, b, bStep, p.K, first: true, last, next, keep);
        Transposition.Strips(width, height, buffer, stride, c, p.CColumn);
    }

    // ---- k along the vectors ----

    private struct DotJob : IJob
    {
        internal Problem Problem;
        internal nint Step;

        public void Run(int chunk) => Dots(Problem, chunk * Step, Math.Min(Problem.M, (chunk + 1) * Step));
    }

    /// <summary>Each element a dot product of a row of A and a column of B.</summary>
    private static void RunDots(Problem p, double work)
    {
        // The fewer are gathered and stay in the cache.
        if (p.N > p.M) p = p.Turned();
        if (p.BRow != 1)
        {
            var gathered = (T*)Scratch.Get(p.N * p.K * sizeof(T));
            Packing<T>.Pack(p.B, p.BRow, p.BColumn, (int)p.K, p.N, gathered, p.K);
            p.B = gathered;
            (p.BRow, p.BColumn) = (1, p.K);
        }
        var parts = Workers.Count == 1 || work < ParallelAbove ? 1 : 2 * Workers.Count;
        var job = new DotJob { Problem = p, Step = (p.M + parts - 1) / parts };
        Workers.For((int)((p.M + job.Step - 1) / job.Step), ref job);
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Dots(in Problem p, nint m0, nint m1)
    {
        var lanes = Emitter<T>.Lanes;
        var columns = new Panels(p.N, DotKernels<T>.MostColumns);
        var rows = new Panels(m1 - m0, DotKernels<T>.MostRows(columns.Height(0)));
        var unaligned = stackalloc T[DotKernels<T>.Sums + lanes];
        var sums = (T*)(((nint)unaligned + 63) & -64);
        // Rows of sums are read a vector at a time.
        var totals = stackalloc T[DotKernels<T>.Sums / lanes + lanes];
        var vectors = (p.K - 1) / lanes;
        var mask = MicroKernels<T>.Mask((int)(p.K - vectors * lanes));
        for (nint row = 0, i = m0; row < rows.Count; row++)
        {
            var height = rows.Height(row);
            for (nint column = 0, j = 0; column < columns.Count; column++)
            {
                var width = columns.Height(column);
                DotKernels<T>.Get(height, width)(vectors, p.A + i * p.ARow, p.ARow * sizeof(T), p.B + j * p.BColumn, p.BColumn * sizeof(T), sums, mask);
                DotKernels<T>.Totals(sums, height * width, totals);
                Store(p, i, j, height, width, totals);
                j += width;
            }
            i += height;
        }
    }

    /// <summary>A tile of C, with what follows the sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Store(in Problem p, nint i, nint j, int rows, int columns, T* sums)
    {
        var (cRow, cColumn) = (p.CRow, p.CColumn);
        var c = p.C + i * cRow + j * cColumn;
        var bias = p.Epilogue.Bias;
        if (bias != null) bias += p.IsTurned ? i : j;
        var (accumulate, relu, perRow) = (p.Accumulate, p.Epilogue.Relu, p.IsTurned);
        var plain = !accumulate && !relu && bias == null;
        for (nint r = 0; r < rows; r++, c += cRow, sums += columns)
        {
            if (plain && cColumn == 1 && Avx512F.IsSupported) Lanes.Store(Vector512.Load(sums), c, columns);
            else if (plain)
                for (nint s = 0; s < columns; s++) c[s * cColumn] = sums[s];
            else
                for (nint s = 0; s < columns; s++)
                {
                    var sum = sums[s];
                    if (accumulate) sum += c[s * cColumn];
                    if (bias != null) sum += bias[perRow ? r : s];
                    c[s * cColumn] = relu ? T.Max(sum, T.Zero) : sum;
                }
        }
    }
}
