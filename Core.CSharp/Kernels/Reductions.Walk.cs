using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>A reduction along the elements of one output: a small state that stretches of input are folded into, in order.</summary>
internal unsafe interface IAlong<T, TState> where T : unmanaged where TState : unmanaged
{
    /// <summary>The state before any element, of output number <paramref name="output"/>.</summary>
    TState Start(nint output);

    /// <summary>Folds in n contiguous elements, the first being number <paramref name="position"/> of the reduction.</summary>
    void Step(ref TState state, T* x, nint n, nint position, nint output);

    /// <summary>Folds in the state of later elements.</summary>
    void Join(ref TState state, in TState later);

    /// <summary>Writes the output.</summary>
    void Finish(in TState state, nint output);
}

/// <summary>A reduction across up to <see cref="Reductions.Columns"/> neighbouring outputs at once, whose state is kept in two buffers.</summary>
internal unsafe interface IAcross<T> where T : unmanaged
{
    void Start(T* narrow, double* wide, nint k, nint output);

    /// <summary>Folds in <paramref name="rows"/> rows of k elements, <paramref name="stride"/> apart.</summary>
    void Step(T* narrow, double* wide, T* x, nint stride, nint rows, nint k, nint output);

    /// <summary>Folds in the state of later rows.</summary>
    void Join(T* narrow, double* wide, T* laterNarrow, double* laterWide, nint k);

    void Finish(T* narrow, double* wide, nint k, nint output);
}

/// <content>
/// Which elements meet in which order. The order depends on shapes alone, never on the number of threads: outputs are
/// shared out, and where there are too few of them the reduced elements are cut into pieces of a fixed size whose states
/// are joined in order.
/// </content>
internal static unsafe partial class Reductions
{
    /// <summary>The most outputs reduced side by side: memory is fast along whole rows, and this many sums stay in the first-level cache.</summary>
    internal const int Columns = 1024;

    private const int Gathered = 256;
    private const int Pieces = 32;
    private const nint PieceSize = 32768;

    private static void Along<T, TState, R>(in Reduced r, T* x, R reducer)
        where T : unmanaged where TState : unmanaged where R : struct, IAlong<T, TState>
    {
        fixed (Reduced* p = &r)
        {
            nint outputs = r.Kept.Count, n = r.Gone.Count;
            if (outputs == 0) return;
            var job = new AlongJob<T, TState, R> { Plan = p, X = x, Reducer = reducer };
            if (outputs < 8 && n >= 2 * PieceSize)
            {
                TState* states = stackalloc TState[Pieces];
                int pieces = (int)Math.Min(Pieces, n / PieceSize);
                job.Size = ((n + pieces - 1) / pieces + 63) & ~(nint)63;
                job.States = states;
                for (nint o = 0; o < outputs; o++)
                {
                    job.First = o;
                    Workers.For(pieces, ref job);
                    for (int i = 1; i < pieces; i++) reducer.Join(ref states[0], in states[i]);
                    reducer.Finish(in states[0], o);
                }
                return;
            }
            job.Size = Math.Max(1, Math.Min(outputs, Loops.Chunk / Math.Max(1, n)));
            nint chunks = (outputs + job.Size - 1) / job.Size;
            if (chunks > 16)
            {
                job.Size = (outputs + 15) / 16;
                chunks = (outputs + job.Size - 1) / job.Size;
            }
            if (chunks == 1) job.Run(0);
            else Workers.For((int)chunks, ref job);
        }
    }

    private struct AlongJob<T, TState, R> : IJob
        where T : unmanaged where TState : unmanaged where R : struct, IAlong<T, TState>
    {
        public Reduced* Plan;
        public T* X;
        public R Reducer;
        public TState* States;
        public nint Size, First;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int chunk)
        {
            nint n = Plan->Gone.Count;
            if (States != null)
            {
                nint start = chunk * Size;
                States[chunk] = Reducer.Start(First);
                if (start < n) Stretches(ref States[chunk], X + Offset(in Plan->Kept, First), start, Math.Min(Size, n - start), First);
                return;
            }
            nint end = Math.Min(Plan->Kept.Count, (chunk + 1) * Size);
            if (Plan->Kept.Rank == 1 && Plan->Gone.Rank == 1 && Plan->Gone.Stride(0, 0) == 1 && n > 0)
            {
                // rows of a matrix: no divisions
                nint stride = Plan->Kept.Stride(0, 0);
                for (nint o = chunk * Size; o < end; o++)
                {
                    var state = Reducer.Start(o);
                    Reducer.Step(ref state, X + o * stride, n, 0, o);
                    Reducer.Finish(in state, o);
                }
                return;
            }
            for (nint o = chunk * Size; o < end; o++)
            {
                var state = Reducer.Start(o);
                if (n > 0) Stretches(ref state, X + Offset(in Plan->Kept, o), 0, n, o);
                Reducer.Finish(in state, o);
            }
        }

        /// <summary>Elements start … start + count of the reduced walk, stretch by stretch; strided stretches through a buffer.</summary>
        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Stretches(ref TState state, T* x, nint start, nint count, nint output)
        {
            Geometry* g = &Plan->Gone;
            if (g->Rank == 0)
            {
                Reducer.Step(ref state, x, 1, 0, output);
                return;
            }
            T* buffer = stackalloc T[Gathered];
            nint inner = g->Size(0), stride = g->Stride(0, 0);
            while (count > 0)
            {
                nint row = start / inner, first = start - row * inner, m = Math.Min(inner - first, count);
                T* p = x + first * stride;
                for (int d = 1; d < g->Rank; d++)
                {
                    nint next = row / g->Size(d);
                    p += (row - next * g->Size(d)) * g->Stride(0, d);
                    row = next;
                }
                if (stride == 1) Reducer.Step(ref state, p, m, start, output);
                else
                {
                    m = Math.Min(m, Gathered);
                    for (nint i = 0; i < m; i++) buffer[i] = p[i * stride];
                    Reducer.Step(ref state, buffer, m, start, output);
                }
                start += m;
                count -= m;
            }
        }
    }

    /// <summary>The input offset of output number <paramref name="output"/> in row-major order.</summary>
    private static nint Offset(in Geometry g, nint output)
    {
        nint offset = 0;
        for (int d = 0; d < g.Rank; d++)
        {
            nint next = output / g.Size(d);
            offset += (output - next * g.Size(d)) * g.Stride(0, d);
            output = next;
        }
        return offset;
    }

    private static void Across<T, R>(in Reduced r, T* x, R reducer) where T : unmanaged where R : struct, IAcross<T>
    {
        fixed (Reduced* p = &r)
        {
            nint columns = r.Kept.Size(0), outer = r.Kept.Count / columns, n = r.Gone.Count;
            nint tiles = (columns + Columns - 1) / Columns;
            var job = new AcrossJob<T, R> { Plan = p, X = x, Reducer = reducer, Tiles = tiles };
            if (outer * tiles < 4 && n * columns >= 2 * PieceSize)
            {
                AcrossPieces(ref job, outer * tiles, n, Math.Min(columns, Columns));
                return;
            }
            nint items = outer * tiles, work = n * Math.Min(columns, Columns);
            job.Size = Math.Max(Math.Max(1, Loops.Chunk / Math.Max(1, work)), (items + 15) / 16);
            nint chunks = (items + job.Size - 1) / job.Size;
            if (chunks == 1) job.Run(0);
            else if (chunks > 1) Workers.For((int)chunks, ref job);
        }
    }

    /// <summary>Few tiles of many rows: pieces of the rows side by side, each with its own buffers, joined in order.</summary>
    [SkipLocalsInit]
    private static void AcrossPieces<T, R>(ref AcrossJob<T, R> job, nint items, nint n, nint width)
        where T : unmanaged where R : struct, IAcross<T>
    {
        int pieces = (int)Math.Min(8, Math.Max(1, n * width / PieceSize));
        T* narrow = stackalloc T[8 * Columns];
        double* wide = stackalloc double[8 * Columns];
        job.Narrow = narrow;
        job.Wide = wide;
        job.Rows = (n + pieces - 1) / pieces;
        for (nint item = 0; item < items; item++)
        {
            job.Item = item;
            Workers.For(pieces, ref job);
            job.Tile(item, out nint k, out nint output);
            for (int i = 1; i < pieces; i++) job.Reducer.Join(narrow, wide, narrow + i * Columns, wide + i * Columns, k);
            job.Reducer.Finish(narrow, wide, k, output);
        }
    }

    private struct AcrossJob<T, R> : IJob where T : unmanaged where R : struct, IAcross<T>
    {
        public Reduced* Plan;
        public T* X, Narrow;
        public double* Wide;
        public R Reducer;
        public nint Tiles, Size, Rows, Item;

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int chunk)
        {
            nint n = Plan->Gone.Count;
            if (Narrow != null)
            {
                T* x = Tile(Item, out nint k, out nint output);
                T* mine = Narrow + chunk * Columns;
                double* mineWide = Wide + chunk * Columns;
                Reducer.Start(mine, mineWide, k, output);
                Stretches(mine, mineWide, x, chunk * Rows, Math.Min(n, (chunk + 1) * Rows), k, output);
                return;
            }
            T* narrow = stackalloc T[Columns];
            double* wide = stackalloc double[Columns];
            nint end = Math.Min(Tiles * (Plan->Kept.Count / Plan->Kept.Size(0)), (chunk + 1) * Size);
            for (nint item = chunk * Size; item < end; item++)
            {
                T* x = Tile(item, out nint k, out nint output);
                Reducer.Start(narrow, wide, k, output);
                Stretches(narrow, wide, x, 0, n, k, output);
                Reducer.Finish(narrow, wide, k, output);
            }
        }

        /// <summary>Where tile number <paramref name="item"/> starts, how many columns it has and which output its first is.</summary>
        public readonly T* Tile(nint item, out nint k, out nint output)
        {
            nint columns = Plan->Kept.Size(0), row = item / Tiles, first = (item - row * Tiles) * Columns;
            k = Math.Min(Columns, columns - first);
            output = row * columns + first;
            return X + Offset(in Plan->Kept, output);
        }

        private void Stretches(T* narrow, double* wide, T* x, nint start, nint end, nint k, nint output)
        {
            Geometry* g = &Plan->Gone;
            if (g->Rank == 0)
            {
                // One element for each output.
                if (start < end) Reducer.Step(narrow, wide, x, 0, 1, k, output);
                return;
            }
            nint inner = g->Size(0), stride = g->Stride(0, 0);
            while (start < end)
            {
                nint row = start / inner, first = start - row * inner, m = Math.Min(inner - first, end - start);
                T* p = x + first * stride;
                for (int d = 1; d < g->Rank; d++)
                {
                    nint next = row / g->Size(d);
                    p += (row - next * g->Size(d)) * g->Stride(0, d);
                    row = next;
                }
                Reducer.Step(narrow, wide, p, stride, m, k, output);
                start += m;
            }
        }
    }
}
