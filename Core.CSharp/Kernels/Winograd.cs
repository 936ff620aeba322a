using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>3x3 convolutions of stride 1 with 16 products where the definition takes 36: minimal filtering of 2x2 outputs at a time, F(2x2, 3x3).
/// A tile of 4x4 inputs d, the weight g and the four outputs y become 16 numbers each by additions and halves; in between only the channels meet,
/// y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, which over all tiles is 16 matrix products. The gradients are the adjoints of the same formula.
/// Rounding errors are about twice those of the definition, and a value that is not finite reaches all four outputs of its tiles.
/// Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015).</summary>
internal static unsafe partial class Winograd<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>A tile's 16 numbers lie in as many planes of all tiles.</summary>
    private const int Planes = 16;

    // What a block's tiles take beside the weights: half of a core's L2.
    private const nint BlockBytes = 512 << 10;

    // Fewer read the weights too often.
    private const int FewestTiles = 64;

    // With 16 channels the additions and copies outweigh the products that are saved.
    private const int FewestChannels = 32;

    // More are kept out of the caches, and would keep much memory.
    private const nint WeightBytes = 32 << 20;

    private const double WorkAbove = 1e6;

    private static int Width => Vector512<T>.Count;

    /// <summary>Whether a convolution is of this kind and large enough to gain.</summary>
    internal static bool Serves(in ConvolutionSizes sizes) =>
        Fits(sizes) && MicroKernels<T>.Available && sizes.Work >= WorkAbove
        && Math.Min(sizes.Inputs, sizes.Outputs) >= FewestChannels && BytesOf(sizes) <= WeightBytes
        // Outputs of an odd size are rounded up to whole tiles.
        && 3 * Even(sizes.Axes[1].Output) * Even(sizes.Axes[2].Output) <= 4 * sizes.Target
        && 3 * Even(sizes.Axes[1].Input) * Even(sizes.Axes[2].Input) <= 4 * sizes.Source;

    private static nint BytesOf(in ConvolutionSizes sizes) => (nint)Planes * sizes.Outputs * Whole(sizes.Inputs) * sizeof(T);

    /// <summary>Whether a convolution is of this kind.</summary>
    internal static bool Fits(in ConvolutionSizes sizes) =>
        sizes.Groups == 1 && IsMissing(sizes.Axes[0]) && IsOurs(sizes.Axes[1]) && IsOurs(sizes.Axes[2]);

    private static bool IsMissing(in WindowAxis axis) => axis.Input == 1 && axis.Kernel == 1 && axis.Output == 1 && axis.Before == 0;

    private static bool IsOurs(in WindowAxis axis) => axis.Kernel == 3 && axis.Stride == 1 && axis.Dilation == 1 && axis.Before >= 0;

    private static nint Even(int size) => (size + 1) / 2 * 2;

    private static int Whole(int channels) => (channels + Width - 1) / Width * Width;

    /// <summary>How the tiles of all images fall into blocks: some rows of tiles of one image, or all tiles of some images.</summary>
    private readonly struct Blocks
    {
        internal readonly int Batch, Rows, Columns, RowsPerBlock, ImagesPerBlock;
        private readonly int _bands;

        internal Blocks(int batch, in WindowAxis h, in WindowAxis w, int channels)
        {
            (Batch, Rows, Columns) = (batch, (h.Output + 1) / 2, (w.Output + 1) / 2);
            var tiles = (int)Math.Max(FewestTiles, BlockBytes / (Planes * sizeof(T) * channels));
            RowsPerBlock = Math.Clamp(tiles / Columns, 1, Rows);
            _bands = (Rows + RowsPerBlock - 1) / RowsPerBlock;
            // Bands of even height.
            RowsPerBlock = (Rows + _bands - 1) / _bands;
            ImagesPerBlock = _bands > 1 ? 1 : Math.Clamp(tiles / (Rows * Columns), 1, Math.Max(1, batch));
        }

        internal int Count => (Batch + ImagesPerBlock - 1) / ImagesPerBlock * _bands;

        internal nint Tiles => (nint)ImagesPerBlock * RowsPerBlock * Columns;

        /// <summary>The images and rows of tiles of a block.</summary>
        internal (int Image, int Images, int Row, int Rows) At(int block)
        {
            var (image, row) = (block / _bands * ImagesPerBlock, block % _bands * RowsPerBlock);
            return (image, Math.Min(ImagesPerBlock, Batch - image), row, Math.Min(RowsPerBlock, Rows - row));
        }
    }

    /// <summary>From one of the 16 planes of tiles to the next: no multiple of a page, where all of them would compete for the same places in the cache.</summary>
    private static nint Plane(nint tiles, int channels) => tiles * channels + Width;

    private static void Each<TJob>(int chunks, double work, ref TJob job) where TJob : struct, IJob
    {
        if (work >= WorkAbove) Workers.For(chunks, ref job);
        else
            for (var chunk = 0; chunk < chunks; chunk++)
                job.Run(chunk);
    }

    // ---- y = x ⋆ w + b, and its adjoint with respect to x, which is of the same form ----

    private struct CorrelationJob : IJob
    {
        internal Blocks Blocks;
        internal WindowAxis H, W;
        internal int Inputs, Outputs, BlocksPerChunk;
        internal T* X, Weights, Bias, Y;
        internal bool Relu, Accumulate;

        private readonly nint Source => (nint)H.Input * W.Input;

        private readonly nint Target => (nint)H.Output * W.Output;

        public readonly void Run(int chunk)
        {
            var end = Math.Min(Blocks.Count, (chunk + 1) * BlocksPerChunk);
            for (var block = chunk * BlocksPerChunk; block < end; block++) Run(block, block + 1 < end);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Run(int block, bool another)
        {
            var (firstImage, images, firstRow, rows) = Blocks.At(block);
            var (pixel, product) = (Whole(Inputs), Whole(Outputs));
            var grid = Grid(H, W, 3, Inputs, Blocks, rows);
            grid.Shift(1, 2 * firstRow);
            nint tilesOfImage = (nint)rows * Blocks.Columns, tiles = images * tilesOfImage;
            var (from, to) = (Plane(Blocks.Tiles, pixel), Plane(Blocks.Tiles, product));
            // Outputs of one image: first with the channels last, then where they are added up.
            nint height = Math.Min(2 * rows, H.Output - 2 * firstRow), positions = height * W.Output;
            var staging = Math.Max(grid.Size, positions * product) + Width;
            var image = (T*)Scratch.Get((staging + (Accumulate ? Width * positions : 0) + Planes * (from + to)) * sizeof(T));
            var sums = image + staging;
            var v = sums + (Accumulate ? Width * positions : 0);
            var m = v + Planes * from;
            for (var n = 0; n < images; n++)
            {
                grid.Fill(X + (firstImage + n) * Inputs * Source, Source, image);
                FromInputs(image, grid.W * pixel, pixel, rows, Blocks.Columns, v + n * tilesOfImage * pixel, from);
            }
            for (var p = 0; p < Planes; p++)
            {
                Gemm<T>.RunHere(tiles, Outputs, Inputs, v + p * from, pixel, 1, Weights + (nint)p * Inputs * product, product, m + p * to, product, accumulate: false);
                AskForOutputs(block, p);
                if (another) AskForInputs(block + 1, p);
            }
            for (var n = 0; n < images; n++)
            {
                ToOutputs(m + n * tilesOfImage * product, to, Outputs, product, rows, Blocks.Columns, Bias, Relu, image, (int)height, W.Output);
                Deliver(image, product, positions, Y + (firstImage + n) * Outputs * Target + 2 * firstRow * W.Output, sums);
            }
        }

        /// <summary>Positions with their channels last to channels of positions.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Deliver(T* image, nint product, nint positions, T* y, T* sums)
        {
            for (nint c = 0; c < Outputs; c += Transposition.Tile)
            {
                var channels = Math.Min(Transposition.Tile, Outputs - c);
                if (!Accumulate)
                {
                    Transposition.Strip(channels, positions, image + c, product, y + c * Target, Target);
                    continue;
                }
                for (nint first = 0; first < channels; first += Width)
                {
                    var count = Math.Min(Width, channels - first);
                    Transposition.Strip(count, positions, image + c + first, product, sums, positions);
                    for (nint i = 0; i < count; i++) Plain.AddScaled(T.One, sums + i * positions, y + (c + first + i) * Target, positions);
                }
            }
        }

        // The next block's inputs and this one's outputs arrive while the products run, a sixteenth of their channels at a time.

        private readonly void AskForInputs(int block, int part)
        {
            var (firstImage, images, firstRow, rows) = Blocks.At(block);
            var (first, last) = (Math.Max(0, 2 * firstRow - H.Before), Math.Min(H.Input, 2 * (firstRow + rows + 1) - H.Before));
            AskFor(X + firstImage * Inputs * Source + (nint)first * W.Input, Source, images * Inputs, (nint)(last - first) * W.Input, part);
        }

        private readonly void AskForOutputs(int block, int part)
        {
            var (firstImage, images, firstRow, rows) = Blocks.At(block);
            nint height = Math.Min(2 * rows, H.Output - 2 * firstRow);
            AskFor(Y + firstImage * Outputs * Target + 2 * firstRow * W.Output, Target, images * Outputs, height * W.Output, part);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void AskFor(T* from, nint step, int channels, nint count, int part)
        {
            if (!Sse.IsSupported) return;
            for (var c = channels * part / Planes; c < channels * (part + 1) / Planes; c++)
                for (nint i = 0; i < count; i += 64 / sizeof(T))
                    Sse.Prefetch1(from + c * step + i);
        }
    }

    /// <summary>The channels-last copy of the inputs that some rows of tiles read.</summary>
    private static Convolution<T>.ImageGrid Grid(WindowAxis h, WindowAxis w, int kernel, int channels, in Blocks blocks, int rows)
    {
        (h.Kernel, h.Output) = (kernel, 2 * rows);
        (w.Kernel, w.Output) = (kernel, 2 * blocks.Columns);
        return new Convolution<T>.ImageGrid(WindowAxes.Single, h, w, channels, stacked: false) { Pixel = Whole(channels) };
    }

    private static void Correlate(int batch, in WindowAxis h, in WindowAxis w, int inputs, int outputs, T* x, T* weights, T* bias, T* y, bool relu, bool accumulate)
    {
        var job = new CorrelationJob
        {
            Blocks = new Blocks(batch, h, w, inputs + outputs),
            H = h,
            W = w,
            Inputs = inputs,
            Outputs = outputs,
            X = x,
            Weights = weights,
            Bias = bias,
            Y = y,
            Relu = relu,
            Accumulate = accumulate,
        };
        // A few chunks for each thread, so that most blocks have a next one.
        job.BlocksPerChunk = Math.Max(1, job.Blocks.Count / (4 * Workers.Count));
        Each((job.Blocks.Count + job.BlocksPerChunk - 1) / job.BlocksPerChunk, (double)batch * inputs * outputs * h.Output * w.Output * 9, ref job);
    }

    /// <summary>y = x ⋆ w + b, then relu where asked.</summary>
    internal static void Forward(in ConvolutionSizes sizes, T* x, T* w, T* b, T* y, bool relu)
    {
        if (sizes.Batch == 0 || sizes.Target == 0 || sizes.Outputs == 0) return;
        var (inputs, product) = (sizes.Inputs, Whole(sizes.Outputs));
        var memory = SharedScratch.Rent((Planes + 9) * (nint)inputs * product * sizeof(T));
        T* weights = (T*)memory.Pointer, taps = weights + (nint)Planes * inputs * product;
        // [outputs, inputs·taps] becomes [inputs, taps, outputs].
        for (nint row = 0; row < 9 * inputs; row += Transposition.Tile)
            Transposition.Strip(Math.Min(Transposition.Tile, 9 * inputs - row), sizes.Outputs, w + row, 9 * inputs, taps + row * product, product);
        FromWeights(taps, inputs, product, product, weights, (nint)inputs * product, flipped: false);
        Correlate(sizes.Batch, sizes.Axes[1], sizes.Axes[2], inputs, sizes.Outputs, x, weights, b, y, relu, accumulate: false);
        SharedScratch.Return(memory);
    }

    /// <summary>x (+)= the adjoint of x ↦ x ⋆ w at y: y ⋆ the weight turned around, channels exchanged.</summary>
    internal static void Input(in ConvolutionSizes sizes, T* y, T* w, T* x, bool accumulate)
    {
        if (sizes.Batch == 0 || sizes.Source == 0 || sizes.Inputs == 0) return;
        var (outputs, product) = (sizes.Outputs, Whole(sizes.Inputs));
        var memory = SharedScratch.Rent((Planes + 9) * (nint)outputs * product * sizeof(T));
        T* weights = (T*)memory.Pointer, taps = weights + (nint)Planes * outputs * product;
        // [outputs, inputs, taps] becomes [outputs, taps, inputs].
        for (nint o = 0; o < outputs; o++)
            Transposition.Strip(9, sizes.Inputs, w + o * sizes.Inputs * 9, 9, taps + o * 9 * product, product);
        FromWeights(taps, outputs, product, product, weights, (nint)outputs * product, flipped: true);
        Correlate(sizes.Batch, Turned(sizes.Axes[1]), Turned(sizes.Axes[2]), outputs, sizes.Inputs, y, weights, null, x, relu: false, accumulate);
        SharedScratch.Return(memory);

        static WindowAxis Turned(in WindowAxis axis) => axis with { Input = axis.Output, Output = axis.Input, Before = 2 - axis.Before };
    }

    // ---- the adjoint with respect to the weight ----

    private const int MostSums = 8;

    private struct WeightJob : IJob
    {
        internal Blocks Blocks;
        internal WindowAxis H, W;
        internal int Inputs, Outputs, Chunks;
        internal T* X, Y, Sums;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            var (pixel, product) = (Whole(Inputs), Whole(Outputs));
            var (from, to) = (Plane(Blocks.Tiles, pixel), Plane(Blocks.Tiles, product));
            nint plane = (nint)Outputs * pixel, source = (nint)H.Input * W.Input, target = (nint)H.Output * W.Output;
            var sums = Sums + chunk * Planes * plane;
            var grid = Grid(H, W, 3, Inputs, Blocks, Blocks.RowsPerBlock);
            var outer = Grid(Read(H), Read(W), 1, Outputs, Blocks, Blocks.RowsPerBlock);
            var staging = Math.Max(grid.Size, outer.Size) + Width;
            var image = (T*)Scratch.Get((staging + Planes * (from + to)) * sizeof(T));
            T* v = image + staging, d = v + Planes * from;
            var (first, last) = ((int)((long)Blocks.Count * chunk / Chunks), (int)((long)Blocks.Count * (chunk + 1) / Chunks));
            if (first == last) new Span<T>(sums, checked((int)(Planes * plane))).Clear();
            for (var block = first; block < last; block++)
            {
                var (firstImage, images, firstRow, rows) = Blocks.At(block);
                nint tiles = (nint)rows * Blocks.Columns;
                grid = Grid(H, W, 3, Inputs, Blocks, rows);
                outer = Grid(Read(H), Read(W), 1, Outputs, Blocks, rows);
                grid.Shift(1, 2 * firstRow);
                outer.Shift(1, 2 * firstRow);
                for (var n = 0; n < images; n++)
                {
                    grid.Fill(X + (firstImage + n) * Inputs * source, source, image);
                    FromInputs(image, grid.W * pixel, pixel, rows, Blocks.Columns, v + n * tiles * pixel, from);
                    outer.Fill(Y + (firstImage + n) * Outputs * target, target, image);
                    FromOutputs(image, outer.W * product, product, rows, Blocks.Columns, d + n * tiles * product, to);
                }
                for (var p = 0; p < Planes; p++)
                    Gemm<T>.RunHere(Outputs, Inputs, images * tiles, d + p * to, 1, product, v + p * from, pixel, sums + p * plane, pixel, accumulate: block > first);
            }
        }

        /// <summary>The outputs themselves as what is read.</summary>
        private static WindowAxis Read(in WindowAxis axis) => axis with { Input = axis.Output, Before = 0 };
    }

    private struct WeightFinishJob : IJob
    {
        internal const int Rows = 4;

        internal int Inputs, Outputs, Chunks;
        internal T* Sums, W;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            var pixel = Whole(Inputs);
            nint plane = (nint)Outputs * pixel;
            T* taps = stackalloc T[9 * Width], turned = stackalloc T[9 * Width];
            for (nint o = chunk * Rows; o < Math.Min(Outputs, (chunk + 1) * Rows); o++)
                for (nint c = 0; c < Inputs; c += Width)
                {
                    ToWeights(Sums + o * pixel + c, plane, Chunks, taps);
                    var channels = Math.Min(Width, Inputs - c);
                    var w = W + (o * Inputs + c) * 9;
                    Transposition.Strip(channels, 9, taps, Width, Accumulate ? turned : w, 9);
                    if (Accumulate) Plain.AddScaled(T.One, turned, w, 9 * channels);
                }
        }
    }

    /// <summary>w (+)= the adjoint of w ↦ x ⋆ w at y.</summary>
    internal static void Weight(in ConvolutionSizes sizes, T* x, T* y, T* w, bool accumulate)
    {
        if (sizes.Inputs == 0 || sizes.Outputs == 0) return;
        if (sizes.Batch == 0 || sizes.Target == 0)
        {
            if (!accumulate) new Span<T>(w, sizes.Outputs * sizes.Inputs * 9).Clear();
            return;
        }
        var job = new WeightJob
        {
            Blocks = new Blocks(sizes.Batch, sizes.Axes[1], sizes.Axes[2], sizes.Inputs + sizes.Outputs),
            H = sizes.Axes[1],
            W = sizes.Axes[2],
            Inputs = sizes.Inputs,
            Outputs = sizes.Outputs,
            X = x,
            Y = y,
        };
        // Blocks have sums of their own, which depend on the sizes alone.
        var bytes = BytesOf(sizes);
        job.Chunks = (int)Math.Clamp(WeightBytes / bytes, 1, Math.Min(MostSums, job.Blocks.Count));
        var memory = SharedScratch.Rent(job.Chunks * bytes);
        job.Sums = (T*)memory.Pointer;
        Each(job.Chunks, sizes.Work, ref job);
        var finish = new WeightFinishJob { Inputs = sizes.Inputs, Outputs = sizes.Outputs, Chunks = job.Chunks, Sums = job.Sums, W = w, Accumulate = accumulate };
        Each((sizes.Outputs + WeightFinishJob.Rows - 1) / WeightFinishJob.Rows, sizes.Work, ref finish);
        SharedScratch.Return(memory);
    }
}
