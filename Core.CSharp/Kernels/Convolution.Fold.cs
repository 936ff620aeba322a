using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

// The input's gradient where few input channels meet many outputs: copying the outputs into a lattice would take as long as the products. They are read where they lie instead:
// for each input channel and column of taps a row of its own is computed, Σ over outputs and rows of taps, and those of a channel are then added up, each shifted by its column.
internal static unsafe partial class Convolution<T>
{
    // What is computed before it is added up: part of L1.
    private const nint FoldBytes = 20 << 10;

    // The weights of all runs of taps stay in L2, and so do two rows of what is computed: large windows have too many of either.
    private const nint FoldMost = 1 << 20;

    /// <summary>Rows of taps that reach the same rows of inputs: those of a phase, or what an edge leaves of them.</summary>
    private struct Reaching
    {
        internal nint Depth, Table, Weights;
    }

    private struct FoldJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal T* Y, Weights, X;
        internal nint* Tables;

        /// <summary>For the first inputs of every phase, in their order, the number of taps that reach them, then where each one's row has its term.</summary>
        internal nint* Shifts;

        internal Reaching[] Reachings;
        internal int First, Last, Length, Bands, Images, Before, Pitch, RowsAtOnce;
        internal bool Accumulate;

        private readonly nint StageRow => (nint)RowsAtOnce * Pitch;

        public readonly void Run(int chunk)
        {
            var (h, w) = (Sizes.Axes[1], Sizes.Axes[2]);
            nint rows = (nint)Sizes.Inputs * w.Kernel, size = rows * StageRow + Vector512<T>.Count;
            var stage = (T*)Scratch.Get(size * sizeof(T));
            // What no tile writes stays zero: the outputs beyond both ends of a row.
            new Span<T>(stage, (int)size).Clear();
            var (first, from) = (chunk / Bands * Images, First + chunk % Bands * Length);
            var panels = new Panels(rows, Height);
            nint xs = Sizes.Inputs * Sizes.Source, ys = Sizes.Outputs * Sizes.Target;
            for (var image = first; image < Math.Min(Sizes.Batch, first + Images); image++)
            {
                T* y = Y + image * ys, x = X + image * xs;
                var ahead = Next(image, Sizes.Batch, Images, Bands, y, ys);
                for (var number = 0; number < h.Stride; number++)
                {
                    var phase = new PhaseAxis(h, number);
                    var last = Math.Min(phase.Last, Math.Min(Last, from + Length - 1));
                    for (int j = Math.Max(phase.First, from), count; j <= last; j += count)
                    {
                        var reaching = Within(h, number, j);
                        for (count = 1; count < RowsAtOnce && j + count <= last && Within(h, number, j + count) == reaching;) count++;
                        Products(panels, Reachings[reaching], count, y + (nint)j * w.Output, stage, ref ahead);
                        for (nint c = 0; c < Sizes.Inputs; c++)
                            Fold(count, stage + c * w.Kernel * StageRow + Before, x + c * Sizes.Source + (nint)phase.Input(h, j) * w.Input, (nint)h.Stride * w.Input);
                    }
                }
            }
        }

        /// <summary>Which taps reach the inputs of a row J.</summary>
        private readonly int Within(in WindowAxis h, int phase, int j) => Number(h, phase, Reached(h, j));

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Products(in Panels panels, in Reaching reaching, nint rows, T* y, T* stage, ref Prefetch ahead)
        {
            nint lanes = Emitter<T>.Lanes, columns = Sizes.Axes[2].Output;
            var tile = new Tile { Vector = columns * sizeof(T), TargetVector = Pitch * sizeof(T) };
            for (nint column = 0; column < columns; column += lanes)
            {
                // The last vector of a row may overlap the one before it.
                var at = Math.Min(column, columns - lanes);
                var weights = Weights + reaching.Weights;
                T* target = stage + Before + at;
                for (nint panel = 0; panel < panels.Count; panel++)
                {
                    var height = panels.Height(panel);
                    nint most = MicroKernels<T>.MostVectors(height);
                    for (nint r = 0; r < rows; r += most)
                    {
                        tile.Ahead = ahead.Take(reaching.Depth);
                        MicroKernels<T>.Gathering(height, (int)Math.Min(most, rows - r), masked: false, 1, tile.Ahead != null)(reaching.Depth, weights, 0, 0, y + r * columns + at,
                            (nint)(Tables + reaching.Table), target + r * Pitch, StageRow * sizeof(T), &tile);
                    }
                    weights += height * reaching.Depth;
                    target += height * StageRow;
                }
            }
        }

        /// <summary>Rows of inputs of one channel from those of its taps' columns.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Fold(nint rows, T* stage, T* target, nint targetRow)
        {
            nint lanes = Vector512<T>.Count, columns = Sizes.Axes[2].Input, stride = Sizes.Axes[2].Stride, list = Sizes.Axes[2].Kernel + 2;
            for (; rows > 0; rows--, stage += Pitch, target += targetRow)
            {
                if (stride == 2)
                {
                    // Every other column comes from another phase.
                    for (nint i = 0; i < columns; i += 2 * lanes)
                        Lattice.Merge(Sum(Shifts, stage + i / 2), Sum(Shifts + list, stage + i / 2), target + i, Math.Min(2 * lanes, columns - i), Accumulate);
                    continue;
                }
                if (stride == 1)
                {
                    for (nint i = 0; i < columns; i += lanes) Lattice.Put(Sum(Shifts, stage + i), target + i, Math.Min(lanes, columns - i), Accumulate);
                    continue;
                }
                for (nint first = 0; first < stride; first++)
                    for (nint i = first; i < columns; i += lanes * stride)
                    {
                        var sum = Sum(Shifts + first * list, stage + i / stride);
                        for (nint lane = 0, at = i; lane < lanes && at < columns; lane++, at += stride)
                            target[at] = Accumulate ? target[at] + sum[(int)lane] : sum[(int)lane];
                    }
            }
        }

        /// <summary>A vector of every so many inputs: the sum over the taps that reach them.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<T> Sum(nint* shifts, T* stage)
        {
            var last = shifts + *shifts;
            var sum = Vector512<T>.Zero;
            while (shifts < last) sum += Vector512.Load(stage + *++shifts);
            return sum;
        }
    }

    /// <summary>The first and the last of the outputs before J that exist and that some tap may reach.</summary>
    private static (int First, int Last) Reached(in WindowAxis axis, int j)
    {
        var (first, last) = (Math.Max(0, j - axis.Output + 1), Math.Min(Reach(axis), j));
        return first <= last ? (first, last) : (0, -1);
    }

    private static int Number(in WindowAxis axis, int phase, (int First, int Last) reached) => (phase * (Reach(axis) + 1) + reached.First) * (Reach(axis) + 2) + reached.Last + 1;

    /// <summary>Whether the outputs are better read where they lie: up to four input channels, in images, with rows of outputs of a vector or more. Rows of every other column
    /// come from too few terms for vectors of 512 bits: 7x7 with stride 2, 3 from 64 channels of 112x112, took 6.9 ms instead of 6.4, with 256 bits 9.2 instead of 12.2.</summary>
    private static bool FoldPays(in ConvolutionSizes sizes)
    {
        var (d, w) = (sizes.Axes[0], sizes.Axes[2]);
        var image = d.Input == 1 && d.Kernel == 1 && d.Output == 1;
        nint rowBytes = (nint)sizes.Inputs * w.Kernel * sizeof(T), columns = w.Output + 2 * ((nint)Reach(w) + Emitter<T>.Lanes);
        return MicroKernels<T>.Available && sizes.Groups == 1 && sizes.Inputs <= 4 && image && w.Output >= Emitter<T>.Lanes && (w.Stride == 1 || !Emitter<T>.Is512)
            && Math.Max(FoldTerms(sizes), 2 * columns) * rowBytes <= FoldMost;
    }

    /// <summary>Room for the terms of every run of taps: no more than as many runs as there are pairs of ends, each of them over all outputs.</summary>
    private static nint FoldTerms(in ConvolutionSizes sizes)
    {
        nint all = Reach(sizes.Axes[1]) + 1;
        return sizes.Axes[1].Stride * all * all * all * sizes.Outputs;
    }

    private static void RunFold(in ConvolutionSizes sizes, T* y, T* w, T* x, bool accumulate)
    {
        var (h, v) = (sizes.Axes[1], sizes.Axes[2]);
        var job = new FoldJob { Sizes = sizes, Y = y, X = x, Accumulate = accumulate, First = int.MaxValue, Last = int.MinValue };
        for (var phase = 0; phase < h.Stride; phase++)
        {
            var p = new PhaseAxis(h, phase);
            if (p.First <= p.Last) (job.First, job.Last) = (Math.Min(job.First, p.First), Math.Max(job.Last, p.Last));
        }
        var after = 0;
        for (var phase = 0; phase < v.Stride; phase++)
        {
            var p = new PhaseAxis(v, phase);
            if (p.First > p.Last) continue;
            job.Before = Math.Max(job.Before, Reach(v) - p.First);
            after = Math.Max(after, p.Last - v.Output + 1);
        }
        // Rows of whole cache lines begin in one.
        job.Before = (job.Before + Emitter<T>.Lanes - 1) / Emitter<T>.Lanes * Emitter<T>.Lanes;
        job.Pitch = (job.Before + v.Output + after + Emitter<T>.Lanes - 1) / Emitter<T>.Lanes * Emitter<T>.Lanes;
        nint rows = (nint)sizes.Inputs * v.Kernel, all = Reach(h) + 1;
        job.RowsAtOnce = (int)Math.Clamp(FoldBytes / (rows * job.Pitch * sizeof(T)), 2, 64);
        job.Length = BandLength(job.Last - job.First + 1, sizes.Batch, 1, sizes.Work);
        job.Bands = (job.Last - job.First + job.Length) / job.Length;
        job.Images = ImagesPerChunk(sizes.Batch, sizes.Work);

        // Every run of taps that may reach a row of inputs: all of them, and what each edge leaves.
        job.Reachings = new Reaching[h.Stride * all * (all + 1)];
        var terms = FoldTerms(sizes);
        nint shifts = v.Stride * (v.Kernel + 2);
        var memory = SharedScratch.Rent((shifts + terms) * sizeof(nint) + terms * rows * sizeof(T));
        job.Shifts = (nint*)memory.Pointer;
        job.Tables = job.Shifts + shifts;
        job.Weights = (T*)(job.Tables + terms);
        for (var phase = 0; phase < v.Stride; phase++)
        {
            var p = new PhaseAxis(v, phase);
            var list = job.Shifts + p.Input(v, p.First) * (v.Kernel + 2);
            *list = 0;
            for (var tap = 0; tap < v.Kernel; tap++)
                if (p.Reaches(v, tap)) list[++*list] = (nint)tap * job.RowsAtOnce * job.Pitch + p.First - tap * v.Dilation / v.Stride;
        }
        nint table = 0, weights = 0;
        for (var phase = 0; phase < h.Stride; phase++)
        {
            var p = new PhaseAxis(h, phase);
            for (var j = p.First; j <= p.Last; j++)
            {
                var reached = Reached(h, j);
                ref var reaching = ref job.Reachings[Number(h, phase, reached)];
                if (reaching.Depth > 0) continue;
                (reaching.Table, reaching.Weights) = (table, weights);
                for (nint o = 0; o < sizes.Outputs; o++)
                    for (var tap = 0; tap < h.Kernel; tap++)
                        if (p.Reaches(h, tap) && tap * h.Dilation / h.Stride >= reached.First && tap * h.Dilation / h.Stride <= reached.Last)
                            job.Tables[table++] = (o * sizes.Target - (nint)(tap * h.Dilation / h.Stride) * v.Output) * sizeof(T);
                reaching.Depth = table - reaching.Table;
                PackFoldWeights(sizes, w, p, reached, reaching.Depth, job.Weights + weights);
                weights += rows * reaching.Depth;
            }
        }
        Each((sizes.Batch + job.Images - 1) / job.Images * job.Bands, sizes.Work, ref job);
        SharedScratch.Return(memory);
    }

    /// <summary>Weights of all rows [input, column of taps], over outputs and the rows of taps that reach, in panels, k-major.</summary>
    private static void PackFoldWeights(in ConvolutionSizes sizes, T* w, in PhaseAxis phase, (int First, int Last) reach, nint depth, T* target)
    {
        var (h, v) = (sizes.Axes[1], sizes.Axes[2]);
        var panels = new Panels((nint)sizes.Inputs * v.Kernel, Height);
        for (nint panel = 0; panel < panels.Count; panel++)
            for (nint o = 0; o < sizes.Outputs; o++)
                for (var tap = 0; tap < h.Kernel; tap++)
                {
                    var q = tap * h.Dilation / h.Stride;
                    if (!phase.Reaches(h, tap) || q < reach.First || q > reach.Last) continue;
                    for (var i = 0; i < panels.Height(panel); i++)
                    {
                        var (c, column) = ((panels.Start(panel) + i) / v.Kernel, (panels.Start(panel) + i) % v.Kernel);
                        *target++ = w[((o * sizes.Inputs + c) * h.Kernel + tap) * v.Kernel + column];
                    }
                }
    }
}
