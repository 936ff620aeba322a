using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Rows, or channels of images, brought to mean 0 and variance 1. Squares are those of differences from a mean: large means cost no digits.
/// A vector's sums are added up in double precision.</summary>
internal static unsafe partial class Normalisation<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static int Width => Vector512<T>.Count;

    // ---- channels of images [batch, channels, size]: statistics over batch and positions ----

    /// <summary>As many channels of all images as caches hold, in blocks of a size that the shape alone decides: some images, or some channels of one.
    /// Memory is gone through in order for the sums, and then backwards for the result, beginning with what the nearest caches still hold.</summary>
    private readonly struct Blocks
    {
        // Elements of a block.
        private const nint Size = 2 * Loops.Chunk;

        // Elements of images whose channels are all worked on together, and of the channels that are where there are more.
        private const nint Whole = 64 * Loops.Chunk, Part = 16 * Loops.Chunk;

        // Elements of a plane that are gone through twice for their squares: the first cache holds them.
        internal const nint Piece = 4096;

        internal readonly nint Batch, Channels, Plane, First, End;
        private readonly nint _images, _group;
        internal readonly int Rows, Columns;

        /// <summary>From a first channel on.</summary>
        internal Blocks(nint batch, nint channels, nint plane, nint first)
        {
            (Batch, Channels, Plane, First) = (batch, channels, plane, first);
            var most = Math.Max(1, channels);
            var held = batch * channels * plane <= Whole ? most : Math.Clamp(Part / (batch * plane), 1, most);
            End = Math.Min(channels, first + held);
            _images = Math.Max(1, Size / Math.Max(1, held * plane));
            _group = Math.Clamp(Size / Math.Max(1, plane), 1, held);
            Rows = (int)((batch + _images - 1) / _images);
            Columns = (int)((End - first + _group - 1) / _group);
        }

        /// <summary>Elements from a plane to the next one of a block where that is not beside it; 0 where it is.</summary>
        internal nint Far(nint channel, nint lastChannel) => channel == lastChannel && Channels > 1 ? Channels * Plane : 0;

        /// <summary>Elements of a channel in a row of blocks.</summary>
        internal nint Count(nint row) => (Math.Min(Batch, (row + 1) * _images) - row * _images) * Plane;

        internal void Bounds(int block, out nint row, out nint image, out nint lastImage, out nint channel, out nint lastChannel)
        {
            (row, var column) = Math.DivRem(block, Columns);
            (image, channel) = (row * _images, First + column * _group);
            (lastImage, lastChannel) = (Math.Min(Batch, image + _images) - 1, Math.Min(End, channel + _group) - 1);
        }

        internal void Run<TJob>(ref TJob job) where TJob : struct, IJob
        {
            if (Batch * Channels * Plane < Loops.Chunk / 4)
                for (var block = 0; block < Rows * Columns; block++) job.Run(block);
            else Workers.For(Rows * Columns, ref job);
        }
    }

    /// <summary>Mean and squared deviations of <paramref name="count"/> values more, of which mean and squared deviations are known
    /// (Chan, Golub and LeVeque, 1983).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Merge(ref double mean, ref double squares, double before, double count, double moreMean, double moreSquares)
    {
        var (difference, share) = (moreMean - mean, count / (before + count));
        mean += difference * share;
        squares += moreSquares + difference * difference * (before * share);
    }

    private struct StatisticsJob : IJob
    {
        internal Blocks Blocks;
        internal T* X;
        internal double* Means, Squares;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            Blocks.Bounds(chunk, out var row, out var image, out var lastImage, out var channel, out var lastChannel);
            double* means = Means + row * Blocks.Channels, squares = Squares + row * Blocks.Channels;
            for (var c = channel; c <= lastChannel; c++) means[c] = squares[c] = 0;
            var far = Blocks.Far(channel, lastChannel);
            for (var n = image; n <= lastImage; n++)
                for (var c = channel; c <= lastChannel; c++)
                {
                    var x = X + (n * Blocks.Channels + c) * Blocks.Plane;
                    for (nint from = 0; from < Blocks.Plane; from += Blocks.Piece)
                    {
                        var count = Math.Min(Blocks.Piece, Blocks.Plane - from);
                        var next = x + from + count;
                        if (from + count == Blocks.Plane) next = far == 0 || n == lastImage ? null : x + far;
                        var mean = Sum(x + from, count, next) / count;
                        var rounded = T.CreateTruncating(mean);
                        var off = mean - double.CreateChecked(rounded);
                        Merge(ref means[c], ref squares[c], (n - image) * Blocks.Plane + from, count, mean,
                            Math.Max(0, Normalisation<T>.Squares(x + from, count, rounded) - count * off * off));
                    }
                }
        }
    }

    private struct NormaliseJob : IJob
    {
        internal Blocks Blocks;
        internal T* X, Residual, Bias, Scale, Mean, Y;
        internal bool Relu, Streamed;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            Blocks.Bounds(Blocks.Rows * Blocks.Columns - 1 - chunk, out _, out var image, out var lastImage, out var channel, out var lastChannel);
            for (var n = lastImage; n >= image; n--)
                for (var c = lastChannel; c >= channel; c--)
                {
                    var at = (n * Blocks.Channels + c) * Blocks.Plane;
                    T* residual = Residual == null ? null : Residual + at;
                    var bias = Bias == null ? T.Zero : Bias[c];
                    if (Streamed) Affine<Streaming.Around>(X + at, residual, Y + at, Blocks.Plane, Mean[c], Scale[c], bias, Relu);
                    else Affine<Streaming.Through>(X + at, residual, Y + at, Blocks.Plane, Mean[c], Scale[c], bias, Relu);
                }
            Streaming.Finish();
        }
    }

    /// <summary>y = (x − mean)/√(variance + ε)·gain + bias per channel + residual, then relu where asked; mean and (biased) variance are those of the batch.
    /// Gain, bias and residual may be null.</summary>
    internal static void Channels(nint batch, nint channels, nint size, T* x, T* gain, T* bias, T* residual, double epsilon, bool relu, T* y, T* mean, T* variance)
    {
        var partial = new Blocks(batch, channels, size, 0).Rows * channels;
        var scratch = SharedScratch.Rent(2 * partial * sizeof(double) + channels * sizeof(T));
        var means = (double*)scratch.Pointer;
        var squares = means + partial;
        var scale = (T*)(squares + partial);
        for (nint first = 0; first < channels;)
        {
            var blocks = new Blocks(batch, channels, size, first);
            var statistics = new StatisticsJob { Blocks = blocks, X = x, Means = means, Squares = squares };
            blocks.Run(ref statistics);
            double before = blocks.Count(0);
            for (nint row = 1; row < blocks.Rows; row++)
            {
                double count = blocks.Count(row);
                for (var c = first; c < blocks.End; c++) Merge(ref means[c], ref squares[c], before, count, means[row * channels + c], squares[row * channels + c]);
                before += count;
            }
            for (var c = first; c < blocks.End; c++)
            {
                // Of nothing there is neither.
                (mean[c], variance[c]) = (T.CreateTruncating(before > 0 ? means[c] : double.NaN), T.CreateTruncating(squares[c] / before));
                scale[c] = Root(variance[c], epsilon) * (gain == null ? T.One : gain[c]);
            }
            var job = new NormaliseJob { Blocks = blocks, X = x, Residual = residual, Bias = bias, Scale = scale, Mean = mean, Y = y, Relu = relu, Streamed = Streaming.Pays(y, batch * channels, size * sizeof(T)) };
            blocks.Run(ref job);
            first = blocks.End;
        }
        SharedScratch.Return(scratch);
    }

    /// <summary>1/√(variance + ε)</summary>
    private static T Root(T variance, double epsilon) => T.CreateTruncating(1 / Math.Sqrt(double.CreateChecked(variance) + epsilon));

    /// <summary>What a backward pass knows of its channels.</summary>
    private struct Cotangents
    {
        internal Blocks Blocks;
        internal T* X, G, Y, Mean, Root, Scale, Bias;
        internal bool Relu;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal readonly T BiasOf(nint channel) => Bias == null ? T.Zero : Bias[channel];
    }

    private struct TotalsJob : IJob
    {
        internal Cotangents Of;
        internal T* DResidual;
        internal double* Sums, Products;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            Of.Blocks.Bounds(chunk, out var row, out var image, out var lastImage, out var channel, out var lastChannel);
            var (channels, plane) = (Of.Blocks.Channels, Of.Blocks.Plane);
            double* sums = Sums + row * channels, products = Products + row * channels;
            for (var c = channel; c <= lastChannel; c++) sums[c] = products[c] = 0;
            var far = Of.Blocks.Far(channel, lastChannel);
            for (var n = image; n <= lastImage; n++)
                for (var c = channel; c <= lastChannel; c++)
                {
                    var at = (n * channels + c) * plane;
                    var (a, b) = Totals(Of.X + at, Of.G + at, Of.Y == null ? null : Of.Y + at, plane, Of.Mean[c], Of.Root[c], Of.Scale[c], Of.BiasOf(c), Of.Relu,
                        DResidual == null ? null : DResidual + at, Accumulate, n < lastImage ? far : 0);
                    sums[c] += a;
                    products[c] += b;
                }
        }
    }

    private struct CentreJob : IJob
    {
        internal Cotangents Of;
        internal T* Sums, Products, Dx;
        internal bool Accumulate, Streamed;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            Of.Blocks.Bounds(Of.Blocks.Rows * Of.Blocks.Columns - 1 - chunk, out _, out var image, out var lastImage, out var channel, out var lastChannel);
            var (channels, plane) = (Of.Blocks.Channels, Of.Blocks.Plane);
            for (var n = lastImage; n >= image; n--)
                for (var c = lastChannel; c >= channel; c--)
                {
                    var at = (n * channels + c) * plane;
                    var y = Of.Y == null ? null : Of.Y + at;
                    if (Streamed)
                        Centre<Streaming.Around>(Of.X + at, Of.G + at, y, plane, Of.Mean[c], Of.Root[c], Of.Scale[c], Of.BiasOf(c), Of.Relu, Sums[c], Products[c], Dx + at, false);
                    else
                        Centre<Streaming.Through>(Of.X + at, Of.G + at, y, plane, Of.Mean[c], Of.Root[c], Of.Scale[c], Of.BiasOf(c), Of.Relu, Sums[c], Products[c], Dx + at, Accumulate);
                }
            Streaming.Finish();
        }
    }

    /// <summary>The derivative of <see cref="Channels"/>. Its result y is read only after relu with a residual, and null else. Of what comes out, null is not wanted.</summary>
    internal static void ChannelsBackward(nint batch, nint channels, nint size, T* x, T* gain, T* bias, T* g, T* y, bool relu, T* mean, T* variance, double epsilon,
        T* dx, bool accumulate, T* dGain, bool accumulateGain, T* dBias, bool accumulateBias, T* dResidual, bool accumulateResidual)
    {
        var partial = new Blocks(batch, channels, size, 0).Rows * channels;
        var scratch = SharedScratch.Rent(2 * partial * sizeof(double) + 4 * channels * sizeof(T));
        var sums = (double*)scratch.Pointer;
        var products = sums + partial;
        var root = (T*)(products + partial);
        T* scale = root + channels, meanSum = scale + channels, meanProduct = meanSum + channels;
        for (nint c = 0; c < channels; c++)
        {
            root[c] = Root(variance[c], epsilon);
            scale[c] = root[c] * (gain == null ? T.One : gain[c]);
        }
        var count = (double)batch * size;
        for (nint first = 0; first < channels;)
        {
            var blocks = new Blocks(batch, channels, size, first);
            var of = new Cotangents { Blocks = blocks, X = x, G = g, Y = y, Mean = mean, Root = root, Scale = scale, Bias = bias, Relu = relu };
            var totals = new TotalsJob { Of = of, DResidual = dResidual, Accumulate = accumulateResidual, Sums = sums, Products = products };
            blocks.Run(ref totals);
            for (nint row = 1; row < blocks.Rows; row++)
                for (var c = first; c < blocks.End; c++)
                {
                    sums[c] += sums[row * channels + c];
                    products[c] += products[row * channels + c];
                }
            for (var c = first; c < blocks.End; c++)
            {
                if (dGain != null) dGain[c] = T.CreateTruncating(products[c]) + (accumulateGain ? dGain[c] : T.Zero);
                if (dBias != null) dBias[c] = T.CreateTruncating(sums[c]) + (accumulateBias ? dBias[c] : T.Zero);
                (meanSum[c], meanProduct[c]) = (T.CreateTruncating(sums[c] / count), T.CreateTruncating(products[c] / count));
            }
            if (dx != null)
            {
                // The residual's cotangent, if nothing else was in it, is the one before relu.
                if (dResidual != null && !accumulateResidual)
                {
                    of.G = dResidual;
                    of.Relu = false;
                }
                var centre = new CentreJob { Of = of, Sums = meanSum, Products = meanProduct, Dx = dx, Accumulate = accumulate, Streamed = !accumulate && Streaming.Pays(dx, batch * channels, size * sizeof(T)) };
                blocks.Run(ref centre);
            }
            first = blocks.End;
        }
        SharedScratch.Return(scratch);
    }
}
