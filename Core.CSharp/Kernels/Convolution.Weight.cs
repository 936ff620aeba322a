using System.Numerics;
using System.Runtime.CompilerServices;

namespace Functional.Kernels;

// The adjoint with respect to the weight: a matrix product over all positions of all images, [outputs, positions]·[positions, taps·inputs].
// The image is copied with its channels last, so that for a row of taps the products of all its taps and channels lie side by side;
// a table says where the position's window begins. Blocks of images have sums of their own, added up in order at the end.
internal static unsafe partial class Convolution<T>
{
    // Positions per pass over a tile: the panel of y and the image's rows stay in L1.
    private const int PositionSlab = 256;

    private const int MostBlocks = 8;

    // The blocks' sums together.
    private const nint BlockBytes = 32 << 20;

    private struct WeightJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal T* X, Y, Sums;
        internal nint* Table;
        internal int Blocks, Parts, Banded, Length;

        public readonly void Run(int chunk)
        {
            var (block, part) = (chunk / Parts, chunk % Parts);
            var (firstImage, lastImage) = ((nint)Sizes.Batch * block / Blocks, (nint)Sizes.Batch * (block + 1) / Blocks);
            var (first, last) = (Sizes.Outputs * part / Parts, Sizes.Outputs * (part + 1) / Parts);
            nint depth = (nint)Sizes.Inputs * Sizes.Taps;
            var sums = Sums + block * Sizes.Groups * Sizes.Outputs * depth;
            for (nint group = 0; group < Sizes.Groups; group++)
                for (var o = first; o < last; o++)
                    new Span<T>(sums + (group * Sizes.Outputs + o) * depth, (int)depth).Clear();
            if (first == last) return;

            var banded = Sizes.Axes[Banded];
            var (grid, positions) = (Grid(Sizes, Banded, Length), Sizes.Target / banded.Output * Length);
            var image = (T*)Scratch.Get((grid.Size * Sizes.Inputs + 64 + positions * (last - first)) * sizeof(T));
            var packed = image + grid.Size * Sizes.Inputs + 64;
            var panels = new Panels(last - first, Height);
            for (var n = firstImage; n < lastImage; n++)
                for (nint group = 0; group < Sizes.Groups; group++)
                    for (var from = 0; from < banded.Output; from += Length)
                    {
                        var length = Math.Min(Length, banded.Output - from);
                        positions = Sizes.Target / banded.Output * length;
                        var x = X + (n * Sizes.Groups + group) * Sizes.Inputs * Sizes.Source;
                        grid = Grid(Sizes, Banded, Length);
                        grid.Shift(Banded, from * banded.Stride);
                        grid.Fill(x, Sizes.Source, Sizes.Inputs, image);
                        var y = Y + ((n * Sizes.Groups + group) * Sizes.Outputs + first) * Sizes.Target + from * (Sizes.Target / banded.Output);
                        var target = sums + (group * Sizes.Outputs + first) * depth;
                        if (MicroKernels<T>.Available)
                        {
                            Packing<T>.PackRows(y, Sizes.Target, 1, panels, positions, packed);
                            Products(grid, panels, positions, image, packed, target);
                        }
                        else Portable(grid, last - first, positions, image, y, target);
                    }
        }

        /// <summary>target[o, tap, input] += Σₚ y[p, o]·image[table[p] + tap, input]</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Products(in ImageGrid grid, in Panels panels, nint positions, T* image, T* packed, T* target)
        {
            nint lanes = Emitter<T>.Lanes, depth = (nint)Sizes.Inputs * Sizes.Taps;
            var tile = new Tile { Flags = Tile.Accumulate, Vector = lanes * sizeof(T) };
            var (rows, run) = TapRows();
            for (nint slab = 0; slab < positions; slab += PositionSlab)
            {
                var count = Math.Min(PositionSlab, positions - slab);
                for (var r = 0; r < rows; r++)
                {
                    var taps = image + TapRow(grid, r) * Sizes.Inputs;
                    for (nint j = 0; j < run; j += 2 * lanes)
                    {
                        var vectors = run - j > lanes ? 2 : 1;
                        var tail = (int)Math.Min(lanes, run - j - (vectors - 1) * lanes);
                        tile.Mask = MicroKernels<T>.Mask(tail);
                        T* a = packed, c = target + r * run + j;
                        for (nint panel = 0; panel < panels.Count; panel++)
                        {
                            var height = panels.Height(panel);
                            MicroKernels<T>.Gathering(height, vectors, tail < lanes, 1)(count, a + slab * height, 0, 0, taps + j, (nint)(Table + slab), c, depth * sizeof(T), &tile);
                            a += height * positions;
                            c += height * depth;
                        }
                    }
                }
            }
        }

        private readonly void Portable(in ImageGrid grid, int outputs, nint positions, T* image, T* y, T* target)
        {
            nint depth = (nint)Sizes.Inputs * Sizes.Taps;
            var (rows, run) = TapRows();
            for (var o = 0; o < outputs; o++)
                for (var r = 0; r < rows; r++)
                {
                    var taps = image + TapRow(grid, r) * Sizes.Inputs;
                    for (nint p = 0; p < positions; p++)
                        Plain.AddScaled(y[o * Sizes.Target + p], taps + Table[p] / sizeof(T), target + o * depth + r * run, run);
                }
        }

        /// <summary>Taps that follow each other in memory, with all their channels, make a row.</summary>
        private readonly (int Rows, nint Run) TapRows() =>
            Sizes.Axes[2].Dilation == 1 ? (Sizes.Taps / Sizes.Axes[2].Kernel, (nint)Sizes.Axes[2].Kernel * Sizes.Inputs) : (Sizes.Taps, Sizes.Inputs);

        private readonly nint TapRow(in ImageGrid grid, int row)
        {
            var (d, h, w) = (Sizes.Axes[0], Sizes.Axes[1], Sizes.Axes[2]);
            nint column = 0;
            if (w.Dilation != 1)
            {
                column = row % w.Kernel * w.Dilation;
                row /= w.Kernel;
            }
            return ((nint)(row / h.Kernel * d.Dilation) * grid.H + row % h.Kernel * h.Dilation) * grid.W + column;
        }
    }

    /// <summary>The part of an image with its borders that a band of windows reads, channels last.</summary>
    private struct ImageGrid
    {
        internal int D, H, W;
        private int _origin0, _origin1, _origin2;
        private readonly int _input0, _input1, _input2;

        internal ImageGrid(in WindowAxis d, in WindowAxis h, in WindowAxis w)
        {
            (D, H, W) = (Extent(d), Extent(h), Extent(w));
            (_origin0, _origin1, _origin2) = (-d.Before, -h.Before, -w.Before);
            (_input0, _input1, _input2) = (d.Input, h.Input, w.Input);
        }

        internal readonly nint Size => (nint)D * H * W;

        private static int Extent(in WindowAxis axis) => (axis.Output - 1) * axis.Stride + (axis.Kernel - 1) * axis.Dilation + 1;

        internal void Shift(int axis, int by)
        {
            if (axis == 0) _origin0 += by;
            else if (axis == 1) _origin1 += by;
            else _origin2 += by;
        }

        /// <summary>target[d, h, w, c] = source[c, d, h, w], zero outside the image.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        internal readonly void Fill(T* source, nint channel, int channels, T* target)
        {
            var (from, to) = (Math.Clamp(-_origin2, 0, W), Math.Clamp(_input2 - _origin2, 0, W));
            for (var d = 0; d < D; d++)
                for (var h = 0; h < H; h++)
                {
                    var (i0, i1) = (d + _origin0, h + _origin1);
                    if ((uint)i0 >= (uint)_input0 || (uint)i1 >= (uint)_input1 || from >= to) new Span<T>(target, W * channels).Clear();
                    else
                    {
                        new Span<T>(target, from * channels).Clear();
                        var row = source + ((nint)i0 * _input1 + i1) * _input2 + _origin2;
                        for (nint w = from; w < to; w += Transposition.Tile)
                            Transposition.Strip(Math.Min(Transposition.Tile, to - w), channels, row + w, channel, target + w * channels, channels);
                        new Span<T>(target + to * channels, (W - to) * channels).Clear();
                    }
                    target += (nint)W * channels;
                }
        }
    }

    private static ImageGrid Grid(in ConvolutionSizes sizes, int banded, int length)
    {
        var axes = sizes.Axes;
        axes[banded].Output = length;
        return new ImageGrid(axes[0], axes[1], axes[2]);
    }

    /// <summary>w (+)= the adjoint of w ↦ x ⋆ w at y.</summary>
    internal static void Weight(in ConvolutionSizes sizes, T* x, T* y, T* w, bool accumulate)
    {
        nint depth = (nint)sizes.Inputs * sizes.Taps, count = (nint)sizes.Groups * sizes.Outputs * depth;
        if (count == 0) return;
        if (sizes.Batch == 0 || sizes.Target == 0)
        {
            if (!accumulate) new Span<T>(w, (int)count).Clear();
            return;
        }
        var job = new WeightJob { Sizes = sizes, X = x, Y = y, Banded = sizes.Axes.Outermost };
        var banded = sizes.Axes[job.Banded];
        var bytes = (Grid(sizes, job.Banded, banded.Output).Size * sizes.Inputs + sizes.Target * sizes.Outputs) * sizeof(T) / banded.Output;
        job.Length = (int)Math.Clamp(2 * BandBytes / Math.Max(1, bytes), 1, banded.Output);
        // The blocks, hence the bits, depend on the sizes alone; their parts only share the work.
        job.Blocks = (int)Math.Clamp(BlockBytes / (count * sizeof(T)), 1, Math.Min(MostBlocks, sizes.Batch));
        job.Parts = job.Blocks >= 2 * Workers.Count ? 1 : Math.Clamp(sizes.Outputs / Height, 1, Workers.Count);
        var grid = Grid(sizes, job.Banded, job.Length);
        var positions = sizes.Target / banded.Output * job.Length;
        var memory = SharedScratch.Rent(positions * sizeof(nint) + job.Blocks * count * sizeof(T));
        job.Table = (nint*)memory.Pointer;
        job.Sums = (T*)(job.Table + positions);
        var (d, h, v) = (sizes.Axes[0], sizes.Axes[1], sizes.Axes[2]);
        for (nint p = 0; p < positions; p++)
        {
            var (i, j, k) = (p / v.Output / h.Output, p / v.Output % h.Output, p % v.Output);
            if (job.Banded == 2) (i, j, k) = (0, 0, p);
            job.Table[p] = ((i * d.Stride * grid.H + j * h.Stride) * grid.W + k * v.Stride) * sizes.Inputs * sizeof(T);
        }
        Each(job.Blocks * job.Parts, sizes.Work, ref job);
        var finish = new FinishJob { Sizes = sizes, Sums = job.Sums, W = w, Blocks = job.Blocks, Accumulate = accumulate };
        Each((sizes.Groups * sizes.Outputs + FinishJob.Rows - 1) / FinishJob.Rows, job.Blocks * (double)count, ref finish);
        SharedScratch.Return(memory);
    }

    /// <summary>Adds the blocks' sums and turns [tap, input] into [input, tap].</summary>
    private struct FinishJob : IJob
    {
        internal const int Rows = 8;

        internal ConvolutionSizes Sizes;
        internal T* Sums, W;
        internal int Blocks;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint depth = (nint)Sizes.Inputs * Sizes.Taps, count = (nint)Sizes.Groups * Sizes.Outputs * depth;
            for (nint o = chunk * Rows; o < Math.Min((nint)Sizes.Groups * Sizes.Outputs, (chunk + 1) * Rows); o++)
            {
                var sum = Sums + o * depth;
                for (nint block = 1; block < Blocks; block++)
                    Plain.AddScaled(T.One, sum + block * count, sum, depth);
                var w = W + o * depth;
                for (nint c = 0; c < Sizes.Inputs; c++)
                    for (nint t = 0; t < Sizes.Taps; t++)
                    {
                        var value = sum[t * Sizes.Inputs + c];
                        *w = Accumulate ? *w + value : value;
                        w++;
                    }
            }
        }
    }
}
