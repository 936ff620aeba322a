using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

// The adjoint with respect to the weight: a matrix product over all positions of all images, [outputs, positions]·[positions, taps·inputs].
// The image is copied with its channels last, so that for a row of taps the products of all its taps and channels lie side by side;
// a table says where the position's window begins. Blocks of images have sums of their own, added up in order at the end.
internal static unsafe partial class Convolution<T>
{
    // Positions per pass over a tile: the rows of y and of the image stay in L1.
    private const int PositionSlab = 256;

    private const int MostBlocks = 8;

    // The blocks' sums together.
    private const nint BlockBytes = 32 << 20;

    // Rows of y are read where they are; often they lie a multiple of a page apart, and then no more of them than a set of L1 has ways stay there.
    private static int Rows => Math.Min(10, Height);

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
            var image = (T*)Scratch.Get((grid.Size + 64) * sizeof(T));
            var panels = new Panels(last - first, Rows);
            for (var n = firstImage; n < lastImage; n++)
                for (nint group = 0; group < Sizes.Groups; group++)
                    for (var from = 0; from < banded.Output; from += Length)
                    {
                        var length = Math.Min(Length, banded.Output - from);
                        positions = Sizes.Target / banded.Output * length;
                        var x = X + (n * Sizes.Groups + group) * Sizes.Inputs * Sizes.Source;
                        grid = Grid(Sizes, Banded, Length);
                        grid.Shift(Banded, from * banded.Stride);
                        grid.Fill(x, Sizes.Source, image);
                        var y = Y + ((n * Sizes.Groups + group) * Sizes.Outputs + first) * Sizes.Target + from * (Sizes.Target / banded.Output);
                        var target = sums + (group * Sizes.Outputs + first) * depth;
                        if (MicroKernels<T>.Available)
                        {
                            var whole = length == banded.Output && n + 1 < lastImage;
                            nint xs = Sizes.Groups * Sizes.Inputs * Sizes.Source, ys = Sizes.Groups * Sizes.Outputs * Sizes.Target;
                            var nextX = whole ? new Prefetch(x + xs, xs * sizeof(T)) : default;
                            var nextY = whole ? new Prefetch(y + ys, ys * sizeof(T)) : default;
                            Products(grid, panels, positions, image, y, target, ref nextX, ref nextY);
                        }
                        else Portable(grid, last - first, positions, image, y, target);
                    }
        }

        /// <summary>target[o, tap, input] += Σₚ y[o, p]·image[table[p] + tap, input]</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Products(in ImageGrid grid, in Panels panels, nint positions, T* image, T* y, T* target, ref Prefetch nextX, ref Prefetch nextY)
        {
            nint lanes = Emitter<T>.Lanes, depth = (nint)Sizes.Inputs * Sizes.Taps;
            var tile = new Tile { Flags = Tile.Accumulate };
            var (rows, run) = TapRows(grid);
            // Rows of taps of half a vector or more are one each, and those of a column of taps go together; of long ones the vectors side by side.
            var (h, w) = (Sizes.Axes[1], Sizes.Axes[2]);
            var column = !grid.Stacked && w.Dilation == 1 && run <= lanes && 2 * run >= lanes ? h.Kernel : 1;
            nint all = column > 1 ? column : (run + lanes - 1) / lanes, step = column > 1 ? run : lanes;
            nint across = column > 1 ? (nint)h.Dilation * grid.W * grid.Pixel : lanes;
            (tile.Vector, tile.TargetVector) = (across * sizeof(T), step * sizeof(T));
            // As few passes over the positions as there can be, and all about as wide.
            nint widest = MicroKernels<T>.MostVectors(panels.Height(0)), passes = (all + widest - 1) / widest, most = (all + passes - 1) / passes;
            for (nint slab = 0; slab < positions; slab += PositionSlab)
            {
                var count = Math.Min(PositionSlab, positions - slab);
                for (var r = 0; r < rows; r += column)
                {
                    var taps = image + TapRow(grid, r) * grid.Pixel;
                    for (nint v = 0; v < all; v += most)
                    {
                        var vectors = (int)Math.Min(most, all - v);
                        // What a vector stores beyond a short row is the beginning of the next, which comes after it.
                        var tail = (int)(column > 1 ? run : Math.Min(lanes, run - (v + vectors - 1) * lanes));
                        tile.Mask = MicroKernels<T>.Mask(tail);
                        T* a = y + slab, c = target + r * run + v * step;
                        for (nint panel = 0; panel < panels.Count; panel++)
                        {
                            var height = panels.Height(panel);
                            tile.Ahead = nextX.Take(count);
                            if (tile.Ahead == null) tile.Ahead = nextY.Take(count);
                            MicroKernels<T>.GatheringRows(height, vectors, tail < lanes, tile.Ahead != null)(count, a, Sizes.Target * sizeof(T), 0, taps + v * across, (nint)(Table + slab), c, depth * sizeof(T), &tile);
                            a += height * Sizes.Target;
                            c += height * depth;
                        }
                    }
                }
            }
        }

        private readonly void Portable(in ImageGrid grid, int outputs, nint positions, T* image, T* y, T* target)
        {
            nint depth = (nint)Sizes.Inputs * Sizes.Taps;
            var (rows, run) = TapRows(grid);
            for (var o = 0; o < outputs; o++)
                for (var r = 0; r < rows; r++)
                {
                    var taps = image + TapRow(grid, r) * grid.Pixel;
                    for (nint p = 0; p < positions; p++)
                        Plain.AddScaled(y[o * Sizes.Target + p], taps + Table[p] / sizeof(T), target + o * depth + r * run, run);
                }
        }

        /// <summary>Taps that follow each other in memory, with all their channels, make a row.</summary>
        private readonly (int Rows, nint Run) TapRows(in ImageGrid grid)
        {
            var (d, w) = (Sizes.Axes[0], Sizes.Axes[2]);
            return grid.Stacked ? (d.Kernel, w.Kernel * grid.Pixel)
                : w.Dilation == 1 ? (Sizes.Taps / w.Kernel, (nint)w.Kernel * Sizes.Inputs)
                : (Sizes.Taps, Sizes.Inputs);
        }

        /// <summary>The first pixel of a row of taps.</summary>
        private readonly nint TapRow(in ImageGrid grid, int row)
        {
            var (d, h, w) = (Sizes.Axes[0], Sizes.Axes[1], Sizes.Axes[2]);
            if (grid.Stacked) return (nint)row * d.Dilation * grid.H * grid.W;
            nint column = 0;
            if (w.Dilation != 1)
            {
                column = row % w.Kernel * w.Dilation;
                row /= w.Kernel;
            }
            return ((nint)(row / h.Kernel * d.Dilation) * grid.H + row % h.Kernel * h.Dilation) * grid.W + column;
        }
    }

    /// <summary>The part of an image with its borders that a band of windows reads, channels last. Stacked, for rows of taps that would not fill half of a vector:
    /// its rows are those of the output, and a pixel holds the channels of all its column's taps.</summary>
    internal struct ImageGrid
    {
        internal int D, H, W;

        /// <summary>Elements from pixel to pixel.</summary>
        internal nint Pixel;

        internal bool Stacked;
        private int _origin0, _origin1, _origin2;
        private readonly WindowAxis _d, _h, _w;
        private readonly int _channels;

        internal ImageGrid(in WindowAxis d, in WindowAxis h, in WindowAxis w, int channels, bool stacked)
        {
            (_d, _h, _w, _channels) = (d, h, w, channels);
            (_origin0, _origin1, _origin2) = (-d.Before, -h.Before, -w.Before);
            Stacked = stacked;
            (D, H, W) = (Extent(d), Stacked ? h.Output : Extent(h), Extent(w));
            Pixel = Stacked ? (nint)h.Kernel * channels : channels;
        }

        internal readonly nint Size => (nint)D * H * W * Pixel;

        /// <summary>Planes from one output to the next.</summary>
        internal readonly int StrideD => Step(_d);

        /// <summary>Rows from one output to the next.</summary>
        internal readonly int StrideH => Stacked ? 1 : Step(_h);

        /// <summary>Columns from one output to the next.</summary>
        internal readonly int StrideW => Step(_w);

        // Windows of one tap read nothing between them.
        private static int Step(in WindowAxis axis) => axis.Kernel == 1 ? 1 : axis.Stride;

        private static int Extent(in WindowAxis axis) => axis.Kernel == 1 ? axis.Output : (axis.Output - 1) * axis.Stride + (axis.Kernel - 1) * axis.Dilation + 1;

        internal void Shift(int axis, int by)
        {
            if (axis == 0) _origin0 += by;
            else if (axis == 1) _origin1 += by;
            else _origin2 += by;
        }

        // From one element of the grid to the next, in elements of the image.
        private static int Between(in WindowAxis axis) => axis.Kernel == 1 ? axis.Stride : 1;

        /// <summary>target[d, h, w, …] = source[c, d, h, w], zero outside the image.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        internal readonly void Fill(T* source, nint channel, T* target)
        {
            for (var d = 0; d < D; d++)
                for (var h = 0; h < H; h++)
                {
                    // Columns side by side can be turned; others are taken one by one.
                    if (Stacked && Between(_w) == 1) Stack(source, channel, d * Between(_d) + _origin0, h * _h.Stride + _origin1, target);
                    for (var t = 0; t < _h.Kernel && Stacked && Between(_w) != 1; t++)
                        Row(source, channel, d * Between(_d) + _origin0, h * _h.Stride + t * _h.Dilation + _origin1, target + t * _channels);
                    if (!Stacked) Row(source, channel, d * Between(_d) + _origin0, h * Between(_h) + _origin1, target);
                    target += W * Pixel;
                }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Row(T* source, nint channel, int i0, int i1, T* target)
        {
            var between = Between(_w);
            var inside = (uint)i0 < (uint)_d.Input && (uint)i1 < (uint)_h.Input;
            var from = inside ? Math.Clamp((between - 1 - _origin2) / between, 0, W) : W;
            var to = inside && _w.Input > _origin2 ? Math.Max(from, Math.Min((_w.Input - 1 - _origin2) / between + 1, W)) : from;
            Clear(target, 0, from);
            var row = source + ((nint)i0 * _h.Input + i1) * _w.Input + _origin2;
            if (_channels <= 4)
                // A handful of channels is not worth a transposition in registers.
                for (nint c = 0; c < _channels; c++)
                    for (nint w = from; w < to; w++)
                        target[w * Pixel + c] = row[c * channel + w * between];
            else if (between == 1)
                for (nint w = from; w < to; w += Transposition.Tile)
                    Transposition.Strip(Math.Min(Transposition.Tile, to - w), _channels, row + w, channel, target + w * Pixel, Pixel);
            else Sparse(row, channel, between, from, to, target);
            Clear(target, to, W);
        }

        /// <summary>The rows of a column's taps: pieces of them are brought together, then turned.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Stack(T* source, nint channel, int i0, int i1, T* target)
        {
            const int most = Transposition.Tile;
            T* together = stackalloc T[(int)Pixel * most];
            for (var w = 0; w < W; w += most)
            {
                var count = Math.Min(most, W - w);
                // The part of the piece that lies inside the image.
                var from = Math.Clamp(-_origin2 - w, 0, count);
                var to = Math.Clamp(_w.Input - _origin2 - w, from, count);
                var piece = together;
                for (var t = 0; t < _h.Kernel; t++)
                {
                    var row = i1 + t * _h.Dilation;
                    var inside = (uint)i0 < (uint)_d.Input && (uint)row < (uint)_h.Input;
                    var start = source + ((nint)i0 * _h.Input + row) * _w.Input + _origin2 + w;
                    for (var c = 0; c < _channels; c++, piece += most, start += channel)
                    {
                        var whole = inside && to - from == most;
                        for (var i = 0; i < most; i += Vector512<T>.Count)
                            (whole ? Vector512.Load(start + i) : Vector512<T>.Zero).Store(piece + i);
                        if (whole || !inside) continue;
                        for (nint i = from; i < to; i += Vector512<T>.Count)
                        {
                            var left = Math.Min(Vector512<T>.Count, to - i);
                            Lanes.Store(Lanes.Load(start + i, left), piece + i, left);
                        }
                    }
                }
                Transposition.Strip(count, (nint)_h.Kernel * _channels, together, most, target + w * Pixel, Pixel);
            }
        }

        /// <summary>Every so many elements of a row: they are brought together, then turned.</summary>
        private readonly void Sparse(T* row, nint channel, nint between, nint from, nint to, T* target)
        {
            const int most = Transposition.Tile;
            T* together = stackalloc T[most * most];
            for (var w = from; w < to; w += most)
                for (nint c = 0; c < _channels; c += most)
                {
                    nint count = Math.Min(most, to - w), channels = Math.Min(most, _channels - c);
                    for (nint i = 0; i < channels; i++) Lattice.TakeRow(row + (c + i) * channel + w * between, between, together + i * most, count);
                    Transposition.Strip(count, channels, together, most, target + w * Pixel + c, Pixel);
                }
        }

        private readonly void Clear(T* target, nint from, nint to)
        {
            if (Pixel % Vector512<T>.Count == 0)
                for (var i = from * Pixel; i < to * Pixel; i += Vector512<T>.Count) Vector512<T>.Zero.Store(target + i);
            else if (Pixel == _channels) new Span<T>(target + from * Pixel, (int)((to - from) * Pixel)).Clear();
            else
                for (var w = from; w < to; w++)
                    for (nint c = 0; c < _channels; c++)
                        target[w * Pixel + c] = T.Zero;
        }
    }

    private static ImageGrid Grid(in ConvolutionSizes sizes, int banded, int length)
    {
        var axes = sizes.Axes;
        axes[banded].Output = length;
        var stacked = axes[1].Kernel > 1 && axes[2].Dilation == 1 && 2 * axes[2].Kernel * sizes.Inputs < Emitter<T>.Lanes;
        return new ImageGrid(axes[0], axes[1], axes[2], sizes.Inputs, stacked);
    }

    /// <summary>w (+)= the adjoint of w ↦ x ⋆ w at y.</summary>
    internal static void Weight(in ConvolutionSizes sizes, T* x, T* y, T* w, bool accumulate)
    {
        var count = (nint)sizes.Groups * sizes.Outputs * sizes.Inputs * sizes.Taps;
        if (count == 0) return;
        if (sizes.Batch == 0 || sizes.Target == 0)
        {
            if (!accumulate) new Span<T>(w, (int)count).Clear();
            return;
        }
        if (IsDepthwise(sizes))
        {
            DepthwiseWeight(sizes, x, y, w, accumulate);
            return;
        }
        if (TapsPay(sizes)) RunTaps(sizes, x, y, w, accumulate);
        else RunWeight(WithoutAxes(sizes), x, y, w, accumulate);
    }

    private static void RunWeight(in ConvolutionSizes sizes, T* x, T* y, T* w, bool accumulate)
    {
        nint depth = (nint)sizes.Inputs * sizes.Taps, count = (nint)sizes.Groups * sizes.Outputs * depth;
        var job = new WeightJob { Sizes = sizes, X = x, Y = y, Banded = sizes.Axes.Outermost };
        var banded = sizes.Axes[job.Banded];
        var bytes = (Grid(sizes, job.Banded, banded.Output).Size + sizes.Target * sizes.Outputs) * sizeof(T) / banded.Output;
        job.Length = (int)Math.Clamp(2 * BandBytes / Math.Max(1, bytes), 1, banded.Output);
        // The blocks, hence the bits, depend on the sizes alone; their parts only share the work.
        job.Blocks = (int)Math.Clamp(BlockBytes / (count * sizeof(T)), 1, Math.Min(MostBlocks, sizes.Batch));
        job.Parts = job.Blocks >= 2 * Workers.Count ? 1 : Math.Clamp(sizes.Outputs / Rows, 1, Workers.Count);
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
            job.Table[p] = ((i * grid.StrideD * grid.H + j * grid.StrideH) * grid.W + k * grid.StrideW) * grid.Pixel * sizeof(T);
        }
        Each(job.Blocks * job.Parts, sizes.Work, ref job);
        var finish = new FinishJob { Sizes = sizes, Sums = job.Sums, W = w, Blocks = job.Blocks, Stacked = grid.Stacked, Accumulate = accumulate };
        Each((sizes.Groups * sizes.Outputs + FinishJob.Rows - 1) / FinishJob.Rows, job.Blocks * (double)count, ref finish);
        SharedScratch.Return(memory);
    }

    /// <summary>Adds the blocks' sums and turns [tap, input], or the stacked [plane, column, row, input], into [input, tap].</summary>
    private struct FinishJob : IJob
    {
        internal const int Rows = 8;

        internal ConvolutionSizes Sizes;
        internal T* Sums, W;
        internal int Blocks;
        internal bool Accumulate, Stacked;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint depth = (nint)Sizes.Inputs * Sizes.Taps, count = (nint)Sizes.Groups * Sizes.Outputs * depth;
            int rows = Sizes.Axes[1].Kernel, columns = Sizes.Axes[2].Kernel;
            for (nint o = chunk * Rows; o < Math.Min((nint)Sizes.Groups * Sizes.Outputs, (chunk + 1) * Rows); o++)
            {
                var sum = Sums + o * depth;
                for (nint block = 1; block < Blocks; block++)
                    Plain.AddScaled(T.One, sum + block * count, sum, depth);
                var w = W + o * depth;
                for (nint t = 0; t < Sizes.Taps; t++)
                {
                    var at = Stacked ? t / (rows * columns) * (rows * columns) + t % columns * rows + t / columns % rows : t;
                    var from = sum + at * Sizes.Inputs;
                    for (nint c = 0; c < Sizes.Inputs; c++)
                        w[c * Sizes.Taps + t] = Accumulate ? w[c * Sizes.Taps + t] + from[c] : from[c];
                }
            }
        }
    }
}
