using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Convolutions of stride 1 with three rows of taps, by half of the products: minimal filtering down the columns, F(4, 3).
/// Six rows of the image and three rows of taps become six rows each by a few additions; four rows of the result are sums of their products:
/// y = Aᵀ[(G g) ⊙ (Bᵀ d)]. Along the rows nothing changes, so that each of the six planes is a convolution with one row of taps, done by <see cref="Correlation{T}"/>,
/// and no image is turned. The input's gradient is of the same form; the weight's is the adjoint.
/// Rounding errors are about twice those of the definition, and a value that is not finite reaches the four rows of its tile.
/// Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015).</summary>
internal static unsafe partial class Winograd<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Rows of a tile, of outputs and of what it becomes.</summary>
    private const int TileRows = 4, Planes = 6;

    // What a block's planes take: they and the images that come next find room in a core's L2.
    private const nint BlockBytes = 256 << 10;

    // Reading the weights again for each block must not cost much.
    private const int FewestPositions = 128;

    // More are kept out of the caches, and would keep much memory.
    private const nint WeightBytes = 32 << 20;

    private const double WorkAbove = 1e6;

    private static int Width => Vector512<T>.Count;

    // With fewer the additions and copies outweigh the products that are saved.
    private const int FewestChannels = 16;

    /// <summary>Whether a convolution is of this kind and large enough to gain.</summary>
    internal static bool Serves(in ConvolutionSizes sizes) =>
        Fits(sizes) && MicroKernels<T>.Available && sizes.Work >= WorkAbove && Math.Min(sizes.Inputs, sizes.Outputs) >= FewestChannels
        && (nint)Planes * sizes.Axes[2].Kernel * sizes.Inputs * sizes.Outputs * sizeof(T) <= WeightBytes
        // Rows are rounded up to whole tiles.
        && 3 * TileRows * Tiles(sizes.Axes[1].Output) <= 4 * sizes.Axes[1].Output && 3 * TileRows * Tiles(sizes.Axes[1].Input) <= 4 * sizes.Axes[1].Input;

    /// <summary>Whether a convolution is of this kind.</summary>
    internal static bool Fits(in ConvolutionSizes sizes) =>
        sizes.Groups == 1 && IsMissing(sizes.Axes[0]) && sizes.Axes[1].Kernel == 3 && IsOurs(sizes.Axes[1]) && IsOurs(sizes.Axes[2]);

    private static bool IsMissing(in WindowAxis axis) => axis.Input == 1 && axis.Kernel == 1 && axis.Output == 1 && axis.Before == 0;

    // The adjoint's borders are as wide as the kernel less these: they must not be negative.
    private static bool IsOurs(in WindowAxis axis)
    {
        var after = axis.Output + axis.Kernel - 1 - axis.Input - axis.Before;
        return axis.Stride == 1 && axis.Dilation == 1 && axis.Before >= 0 && axis.Before < axis.Kernel && after >= 0 && after < axis.Kernel;
    }

    private static nint Tiles(nint rows) => (rows + TileRows - 1) / TileRows;

    /// <summary>How the rows of tiles of all images fall into blocks: some rows of one image, or all rows of some images.</summary>
    private readonly struct Blocks
    {
        internal readonly int Batch, RowsOfImage, RowsPerBlock, ImagesPerBlock, Bands;

        internal Blocks(int batch, int rowsOfImage, int columns, nint bytesPerRow)
        {
            (Batch, RowsOfImage) = (batch, rowsOfImage);
            var rows = (int)Math.Max(Math.Max(1, FewestPositions / columns), BlockBytes / bytesPerRow);
            Bands = (RowsOfImage + rows - 1) / rows;
            // Bands of even height.
            RowsPerBlock = (RowsOfImage + Bands - 1) / Bands;
            ImagesPerBlock = Bands > 1 ? 1 : Math.Clamp(rows / RowsOfImage, 1, Math.Max(1, batch));
        }

        internal int Count => (Batch + ImagesPerBlock - 1) / ImagesPerBlock * Bands;

        internal nint Rows => (nint)ImagesPerBlock * RowsPerBlock;

        /// <summary>The images and rows of tiles of a block.</summary>
        internal (int Image, int Images, int Row, int Rows) At(int block)
        {
            var (image, row) = (block / Bands * ImagesPerBlock, block % Bands * RowsPerBlock);
            return (image, Math.Min(ImagesPerBlock, Batch - image), row, Math.Min(RowsPerBlock, RowsOfImage - row));
        }
    }

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
        internal int From, To, BlocksPerChunk;
        internal T* X, Weights, Bias, Y;
        internal nint* Table;
        internal nint Plane, Step, Channel;
        internal bool Relu, Accumulate;

        private readonly nint Source => (nint)H.Input * W.Input;

        private readonly nint Target => (nint)H.Output * W.Output;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            var end = Math.Min(Blocks.Count, (chunk + 1) * BlocksPerChunk);
            var panels = new Panels(To, MicroKernels<T>.MaxRows);
            nint from = Plane, to = Blocks.Rows * Step * To + Width;
            var staged = Correlation<T>.StageSize(Blocks.Rows, W.Output, Step);
            var v = (T*)Scratch.Get((Planes * (from + to) + staged + W.Input) * sizeof(T));
            T* m = v + Planes * from, stage = m + Planes * to, zeros = stage + staged;
            // Borders stay zero; rows are written between them.
            new Span<T>(v, checked((int)(Planes * from))).Clear();
            new Span<T>(zeros, W.Input).Clear();
            Prefetch next = default, here = default;
            for (var block = chunk * BlocksPerChunk; block < end; block++)
            {
                var (firstImage, images, firstRow, rows) = Blocks.At(block);
                if (firstRow == 0)
                {
                    var following = Math.Min(Blocks.ImagesPerBlock, Blocks.Batch - firstImage - images);
                    next = block + Blocks.Bands < end ? new(X + (nint)(firstImage + images) * From * Source, following * From * Source * sizeof(T)) : default;
                    here = new(Y + (nint)firstImage * To * Target, images * To * Target * sizeof(T));
                }
                for (var n = 0; n < images; n++)
                    for (nint c = 0; c < From; c++)
                        FromRows(X + ((firstImage + n) * (nint)From + c) * Source, TileRows * firstRow - H.Before, H.Input, W.Input, rows, zeros,
                            v + c * Channel + n * rows * Step + W.Before, Step, from);
                for (nint p = 0; p < Planes; p++)
                {
                    var ahead = (p & 1) == 0 ? next : here;
                    new Correlation<T>
                    {
                        Ahead = &ahead,
                        Buffer = v + p * from,
                        Stage = stage,
                        Table = Table,
                        Depth = (nint)From * W.Kernel,
                        Weights = Weights + p * WeightPlane(From, W.Kernel, To),
                        Panels = panels,
                        Planes = 1,
                        Rows = images * rows,
                        Columns = W.Output,
                        BufferRow = Step,
                        Target = m + p * to,
                        TargetChannel = (nint)images * rows * W.Output,
                        TargetRow = W.Output,
                        TargetElement = 1,
                    }.Run();
                    if ((p & 1) == 0) next = ahead;
                    else here = ahead;
                }
                nint size = (nint)rows * W.Output;
                for (nint o = 0; o < To; o++)
                    for (var n = 0; n < images; n++)
                        ToRows(m + (o * images + n) * size, to, rows, W.Output, Bias == null ? T.Zero : Bias[o], Relu, Accumulate,
                            Y + ((firstImage + n) * (nint)To + o) * Target + (nint)TileRows * firstRow * W.Output, H.Output - TileRows * firstRow);
            }
        }
    }

    private static nint WeightPlane(int inner, int kernel, int outer) => (nint)inner * kernel * outer + Width;

    private static void Correlate(int batch, in WindowAxis h, in WindowAxis w, int from, int to, T* x, T* weights, nint* table, T* bias, T* y, bool relu, bool accumulate)
    {
        nint step = w.Output + w.Kernel - 1;
        var job = new CorrelationJob
        {
            Blocks = new Blocks(batch, (int)Tiles(h.Output), w.Output, Planes * (from + to) * step * sizeof(T)),
            H = h,
            W = w,
            From = from,
            To = to,
            X = x,
            Weights = weights,
            Table = table,
            Bias = bias,
            Y = y,
            Step = step,
            Relu = relu,
            Accumulate = accumulate,
        };
        job.Channel = (job.Blocks.Rows * step + 15) / 16 * 16;
        if (job.Channel % 512 == 0) job.Channel += 16;
        job.Plane = job.Channel * from + 17 * step + 64;
        for (var c = 0; c < from; c++)
            for (var t = 0; t < w.Kernel; t++)
                table[c * w.Kernel + t] = (c * job.Channel + t) * sizeof(T);
        // A few chunks for each thread, so that most images have a next one.
        job.BlocksPerChunk = Math.Max(1, job.Blocks.Count / (4 * Workers.Count));
        Each((job.Blocks.Count + job.BlocksPerChunk - 1) / job.BlocksPerChunk, (double)batch * from * to * h.Output * w.Output * 9, ref job);
    }

    /// <summary>y = x ⋆ w + b, then relu where asked.</summary>
    internal static void Forward(in ConvolutionSizes sizes, T* x, T* w, T* b, T* y, bool relu)
    {
        if (sizes.Batch == 0 || sizes.Target == 0 || sizes.Outputs == 0) return;
        var (inputs, outputs, kernel) = (sizes.Inputs, sizes.Outputs, sizes.Axes[2].Kernel);
        nint taps = 3 * kernel, all = inputs * taps, row = outputs + Width;
        var memory = SharedScratch.Rent((Planes * WeightPlane(inputs, kernel, outputs) + all * row) * sizeof(T) + inputs * kernel * sizeof(nint));
        var table = (nint*)memory.Pointer;
        T* weights = (T*)(table + inputs * kernel), turned = weights + Planes * WeightPlane(inputs, kernel, outputs);
        // [outputs, inputs·taps] becomes [inputs·taps, outputs].
        for (nint i = 0; i < all; i += Transposition.Tile)
            Transposition.Strip(Math.Min(Transposition.Tile, all - i), outputs, w + i, all, turned + i * row, row);
        FromWeights(turned, row, inputs, kernel, outputs, weights, flipped: false);
        Correlate(sizes.Batch, sizes.Axes[1], sizes.Axes[2], inputs, outputs, x, weights, table, b, y, relu, accumulate: false);
        SharedScratch.Return(memory);
    }

    /// <summary>x (+)= the adjoint of x ↦ x ⋆ w at y: y ⋆ the weight turned around, channels exchanged.</summary>
    internal static void Input(in ConvolutionSizes sizes, T* y, T* w, T* x, bool accumulate)
    {
        if (sizes.Batch == 0 || sizes.Source == 0 || sizes.Inputs == 0) return;
        var (inputs, outputs, kernel) = (sizes.Inputs, sizes.Outputs, sizes.Axes[2].Kernel);
        nint taps = 3 * kernel, all = outputs * taps, row = inputs + Width;
        var memory = SharedScratch.Rent((Planes * WeightPlane(outputs, kernel, inputs) + all * row) * sizeof(T) + outputs * kernel * sizeof(nint));
        var table = (nint*)memory.Pointer;
        T* weights = (T*)(table + outputs * kernel), turned = weights + Planes * WeightPlane(outputs, kernel, inputs);
        // [outputs, inputs, taps] becomes [outputs·taps, inputs].
        for (nint o = 0; o < outputs; o++)
            for (nint t = 0; t < taps; t += Transposition.Tile)
                Transposition.Strip(Math.Min(Transposition.Tile, taps - t), inputs, w + o * inputs * taps + t, taps, turned + (o * taps + t) * row, row);
        FromWeights(turned, row, outputs, kernel, inputs, weights, flipped: true);
        Correlate(sizes.Batch, Turned(sizes.Axes[1]), Turned(sizes.Axes[2]), outputs, inputs, y, weights, table, null, x, relu: false, accumulate);
        SharedScratch.Return(memory);

        static WindowAxis Turned(in WindowAxis axis) => axis with { Input = axis.Output, Output = axis.Input, Before = axis.Kernel - 1 - axis.Before };
    }
}
