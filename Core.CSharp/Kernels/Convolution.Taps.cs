using System.Numerics;
using System.Runtime.CompilerServices;

namespace Functional.Kernels;

// The weight's gradient where few input channels would leave lanes empty: positions lie in the lanes instead. A vector of the output's cotangent, read where it lies, meets
// the same vector of each tap in a lattice of the image. Sums stay vectors, kept in memory from image to image; their lanes are added up once at the end.
internal static unsafe partial class Convolution<T>
{
    // Vectors of positions per tile: enough to make up for reading and writing its sums, few enough for its operands to stay in L1.
    private const int StepsAtOnce = 64;

    // What tiles that share outputs may read of the lattice: part of L1, beside the cotangent.
    private const nint LatticeBytes = 20 << 10;

    // A group's sums stay in L2.
    private const nint TapBytes = 384 << 10;

    // Positions that make up for a block's sums.
    private const nint TapPositions = 16 << 10;

    private struct TapsJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal Lattice Lattice;
        internal T* X, Y, Sums;
        internal nint* Taps;
        internal int Blocks, Parts, Banded, Length;

        public readonly void Run(int chunk)
        {
            var (block, part) = (chunk / Parts, chunk % Parts);
            var (firstImage, lastImage) = ((nint)Sizes.Batch * block / Blocks, (nint)Sizes.Batch * (block + 1) / Blocks);
            nint depth = (nint)Sizes.Inputs * Sizes.Taps, group = Sizes.Outputs * depth * Emitter<T>.Lanes;
            var (outputs, taps) = (new Panels(Sizes.Outputs, TapKernels<T>.MostOutputs), new Panels(depth, TapKernels<T>.MostTaps));
            var (first, last) = (outputs.Count * part / Parts, outputs.Count * (part + 1) / Parts);
            var sums = Sums + block * Sizes.Groups * group;
            var banded = Sizes.Axes[Banded];
            // A multiple of a cache line, like all of the lattice.
            var most = (Sizes.Target / banded.Output * Length + 3) / 4 * 4;
            var table = (nint*)Scratch.Get((Sizes.Inputs * Lattice.Channel + 64) * sizeof(T) + 2 * most * sizeof(nint));
            var buffer = (T*)(table + 2 * most);
            for (var from = 0; from < banded.Output; from += Length)
            {
                var axes = Sizes.Axes;
                axes[Banded].Output = Math.Min(Length, banded.Output - from);
                var lattice = Lattice;
                lattice.Axes[Banded].Origin += from * banded.Stride;
                var steps = Steps(axes, lattice, table);
                for (var n = firstImage; n < lastImage; n++)
                    for (nint g = 0; g < Sizes.Groups; g++)
                    {
                        nint xs = Sizes.Inputs * Sizes.Source, ys = Sizes.Outputs * Sizes.Target, image = n * Sizes.Groups + g;
                        var x = X + image * xs;
                        lattice.Fill(x, Sizes.Source, Sizes.Inputs, buffer);
                        var y = Y + image * ys + from * (Sizes.Target / banded.Output);
                        var whole = Length == banded.Output && n + 1 < lastImage;
                        var nextX = whole ? new Prefetch(x + Sizes.Groups * xs, xs * sizeof(T)) : default;
                        Products(outputs, taps, first, last, steps, table, buffer, y, sums + g * group, ref nextX);
                    }
            }
        }

        /// <summary>Where the vectors of all rows of outputs lie in the lattice and in the output: the whole ones first, then the rests of the rows.</summary>
        private readonly (nint Whole, nint Cut, int Lanes) Steps(in WindowAxes axes, in Lattice lattice, nint* table)
        {
            int lanes = Emitter<T>.Lanes, columns = axes[2].Output, perRow = columns / lanes;
            nint rows = (nint)axes[0].Output * axes[1].Output, rest = rows * perRow;
            for (nint r = 0; r < rows; r++)
                for (var v = 0; v <= perRow; v++)
                {
                    var at = table + 2 * (v < perRow ? r * perRow + v : rest + r);
                    if (v * lanes == columns) continue;
                    at[0] = (r / axes[1].Output * lattice.Plane + r % axes[1].Output * lattice.Row + v * lanes) * sizeof(T);
                    at[1] = (r * columns + v * lanes) * sizeof(T);
                }
            return (rest, columns % lanes == 0 ? 0 : rows, columns % lanes);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Products(in Panels outputs, in Panels taps, nint first, nint last, (nint Whole, nint Cut, int Lanes) steps, nint* table, T* buffer, T* y, T* sums, ref Prefetch nextX)
        {
            nint lanes = Emitter<T>.Lanes, row = Sizes.Target * sizeof(T);
            var mask = MicroKernels<T>.Mask(steps.Lanes);
            var all = steps.Whole + steps.Cut;
            for (nint step = 0, count; step < all; step += count)
            {
                var masked = step >= steps.Whole;
                count = Math.Min(StepsAtOnce, masked ? all - step : steps.Whole - step);
                // As many taps as stay in L1 with what they read of the lattice, while all outputs pass by.
                var together = Math.Max(1, LatticeBytes * taps.Count * all / (Sizes.Inputs * Lattice.Channel * sizeof(T) * count));
                for (nint t = 0; t < taps.Count; t += together)
                    for (var panel = first; panel < last; panel++)
                        for (var u = t; u < Math.Min(taps.Count, t + together); u++)
                        {
                            int height = taps.Height(u), width = outputs.Height(panel);
                            nint tap = taps.Start(u), output = outputs.Start(panel);
                            TapKernels<T>.Get(height, width, masked)(count, buffer, Taps + tap, y + output * Sizes.Target, row, table + 2 * step,
                                sums + (tap * Sizes.Outputs + height * output) * lanes, mask);
                            nextX.Ask();
                        }
            }
        }
    }

    /// <summary>Adds up the blocks' sums and their lanes: tiles of [tap, output] become columns of the weight.</summary>
    private struct TapTotalsJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal T* Sums, W;
        internal int Blocks;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint depth = (nint)Sizes.Inputs * Sizes.Taps, lanes = Emitter<T>.Lanes, size = Sizes.Groups * Sizes.Outputs * depth * lanes;
            var (outputs, taps) = (new Panels(Sizes.Outputs, TapKernels<T>.MostOutputs), new Panels(depth, TapKernels<T>.MostTaps));
            nint group = chunk / taps.Count, first = taps.Start(chunk % taps.Count), height = taps.Height(chunk % taps.Count);
            var sums = Sums + (group * depth + first) * Sizes.Outputs * lanes;
            for (nint block = 1; block < Blocks; block++) Plain.AddScaled(T.One, sums + block * size, sums, height * Sizes.Outputs * lanes);
            T* totals = stackalloc T[TapKernels<T>.MostSums];
            var w = W + group * Sizes.Outputs * depth + first;
            for (nint panel = 0; panel < outputs.Count; panel++)
            {
                nint width = outputs.Height(panel), count = height * width;
                DotKernels<T>.Totals(sums, (int)count, totals);
                for (nint i = 0; i < count; i++)
                {
                    var to = w + i % width * depth + i / width;
                    *to = Accumulate ? *to + totals[i] : totals[i];
                }
                sums += count * lanes;
                w += width * depth;
            }
        }
    }

    /// <summary>Whether positions in the lanes are the better way for the weight's gradient.</summary>
    private static bool TapsPay(in ConvolutionSizes sizes)
    {
        if (!MicroKernels<T>.Available) return false;
        int lanes = Emitter<T>.Lanes, columns = sizes.Axes[2].Output, run = sizes.Axes[2].Kernel * sizes.Inputs;
        nint depth = (nint)sizes.Inputs * sizes.Taps;
        if (depth * sizes.Outputs * lanes * sizeof(T) > TapBytes) return false;
        // Lanes in use: here those of rows of outputs, there those of rows of taps. Vectors of 512 bits are mostly read across the ends of cache lines.
        return columns * Ceiling(run) * 4 > run * Ceiling(columns) * (Emitter<T>.Is512 ? 5 : 4);

        int Ceiling(int count) => (count + lanes - 1) / lanes * lanes;
    }

    // A load that crosses the end of a cache line costs two: vectors of 512 bits, of which all would, are worth a copy of the image's rows for each tap along them.
    private static LatticeAxis TapAxis(in ConvolutionSizes sizes, int axis, int outputs) =>
        axis == WindowAxes.Count - 1 && Emitter<T>.Is512 ? LatticeAxis.Aligned(sizes.Axes[axis], outputs, Emitter<T>.Lanes) : LatticeAxis.Of(sizes.Axes[axis], outputs);

    private static void RunTaps(in ConvolutionSizes sizes, T* x, T* y, T* w, bool accumulate)
    {
        nint depth = (nint)sizes.Inputs * sizes.Taps, size = sizes.Groups * sizes.Outputs * depth * Emitter<T>.Lanes;
        var job = new TapsJob { Sizes = sizes, X = x, Y = y, Banded = sizes.Axes.Outermost };
        Lattice lattice = default;
        for (var i = 0; i < WindowAxes.Count; i++) lattice.Axes[i] = TapAxis(sizes, i, sizes.Axes[i].Output);
        var banded = sizes.Axes[job.Banded];
        // Bands and blocks, hence the bits, depend on the sizes alone; their parts only share the work.
        job.Length = (int)Math.Clamp(BandBytes / Math.Max(1, sizes.Inputs * lattice.Channel * sizeof(T) / lattice.Axes[job.Banded].Count), 1, banded.Output);
        job.Blocks = (int)Math.Clamp(Math.Min(sizes.Batch * sizes.Target / TapPositions, BlockBytes / (size * sizeof(T))), 1, Math.Min(MostBlocks, sizes.Batch));
        var panels = new Panels(sizes.Outputs, TapKernels<T>.MostOutputs).Count;
        job.Parts = job.Blocks >= 2 * Workers.Count ? 1 : (int)Math.Clamp(panels, 1, Workers.Count);
        lattice.Axes[job.Banded] = TapAxis(sizes, job.Banded, job.Length);
        job.Lattice = lattice;
        // Totals are read in squares of vectors.
        var memory = SharedScratch.Rent(depth * sizeof(nint) + (job.Blocks * size + 16 * Emitter<T>.Lanes) * sizeof(T));
        job.Sums = (T*)memory.Pointer;
        job.Taps = (nint*)(job.Sums + job.Blocks * size + 16 * Emitter<T>.Lanes);
        FillTable(sizes, lattice, job.Taps);
        new Span<byte>(job.Sums, checked((int)(job.Blocks * size * sizeof(T)))).Clear();
        Each(job.Blocks * job.Parts, sizes.Work, ref job);
        var totals = new TapTotalsJob { Sizes = sizes, Sums = job.Sums, W = w, Blocks = job.Blocks, Accumulate = accumulate };
        Each((int)(sizes.Groups * new Panels(depth, TapKernels<T>.MostTaps).Count), job.Blocks * (double)size, ref totals);
        SharedScratch.Return(memory);
    }
}
