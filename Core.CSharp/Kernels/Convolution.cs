using System.Numerics;
using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>Convolutions (cross-correlations, as everywhere in deep learning) and both of their adjoints. An image, or a band of it that fits into the cache,
/// is copied into a lattice; one emitted kernel then does the products. Every element of a result is one sum in a fixed order, whatever the bands and threads.</summary>
internal static unsafe partial class Convolution<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    // Half of a core's L2: the rest is for weights and results.
    private const nint BandBytes = 512 << 10;

    // Below this a second thread gains less than it costs to hand over.
    private const double ParallelAbove = 100e3;

    /// <summary>Positions along the banded axis per band: as many as fit into the cache, and few enough for every thread to have some work.</summary>
    private static int BandLength(int outputs, int batch, nint bytesPerPosition, double work)
    {
        var fitting = Math.Max(1, BandBytes / Math.Max(1, bytesPerPosition));
        var length = (int)Math.Min(outputs, fitting);
        var threads = work < ParallelAbove ? 1 : Workers.Count;
        // One image shared by threads; narrower bands would copy more border than image.
        if (threads > 1 && batch < 2 * threads) length = Math.Min(length, Math.Max(4, (outputs + 2 * threads - 1) / (2 * threads)));
        return Math.Max(1, length);
    }

    private static void Each<TJob>(int chunks, double work, ref TJob job) where TJob : struct, IJob
    {
        if (work >= ParallelAbove) Workers.For(chunks, ref job);
        else
            for (var chunk = 0; chunk < chunks; chunk++)
                job.Run(chunk);
    }

    /// <summary>Weights [rows, outer, taps] of one group as panels of rows, k-major, k running over outer and the given taps.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackWeights(T* w, nint row, nint outerStep, int outer, int* taps, int tapCount, in Panels panels, T* target)
    {
        for (nint panel = 0; panel < panels.Count; panel++)
        {
            var height = panels.Height(panel);
            for (nint o = 0; o < outer; o++)
                for (var t = 0; t < tapCount; t++)
                {
                    var from = w + o * outerStep + taps[t];
                    for (var i = 0; i < height; i++) target[i] = from[i * row];
                    target += height;
                }
            w += height * row;
        }
    }

    /// <summary>For every channel and tap the distance in bytes from a window's first element to its own.</summary>
    private static void FillTable(in ConvolutionSizes sizes, in Lattice lattice, nint* table)
    {
        for (var c = 0; c < sizes.Inputs; c++)
            for (var t0 = 0; t0 < sizes.Axes[0].Kernel; t0++)
                for (var t1 = 0; t1 < sizes.Axes[1].Kernel; t1++)
                    for (var t2 = 0; t2 < sizes.Axes[2].Kernel; t2++)
                        *table++ = (c * lattice.Channel + lattice.Tap(t0, t1, t2)) * sizeof(T);
    }

    // ---- y = convolution(x, w) + b ----

    private struct ForwardJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal Lattice Lattice;
        internal T* X, Weights, Bias, Y;
        internal nint* Table;
        internal bool Relu;
        internal int Bands, Banded, Length, Images;

        public readonly void Run(int chunk)
        {
            var first = chunk / Bands * Images;
            for (var image = first; image < Math.Min(Sizes.Batch, first + Images); image++) Run(image, chunk % Bands);
        }

        private readonly void Run(int image, int band)
        {
            var axes = Sizes.Axes;
            var from = band * Length;
            axes[Banded].Output = Math.Min(Length, axes[Banded].Output - from);
            var lattice = Lattice;
            lattice.Axes[Banded].Origin += from * axes[Banded].Stride;
            var buffer = (T*)Scratch.Get((Sizes.Inputs * lattice.Channel + Slack(lattice) + Correlation<T>.StageSize(axes[1].Output, axes[2].Output, lattice.Row)) * sizeof(T));
            var (source, target) = (Sizes.Source, Sizes.Target);
            nint row = Sizes.Axes[2].Output, plane = row * Sizes.Axes[1].Output;
            var panels = new Panels(Sizes.Outputs, Height);
            for (var group = 0; group < Sizes.Groups; group++)
            {
                var x = X + ((nint)image * Sizes.Groups + group) * Sizes.Inputs * source;
                lattice.Fill(x, source, Sizes.Inputs, buffer);
                var ahead = Next(image, Sizes.Batch, Images, Bands, x, Sizes.Groups * Sizes.Inputs * source);
                var first = group * Sizes.Outputs;
                new Correlation<T>
                {
                    Ahead = &ahead,
                    Buffer = buffer,
                    Stage = buffer + Sizes.Inputs * lattice.Channel + Slack(lattice),
                    Table = Table,
                    Depth = (nint)Sizes.Inputs * Sizes.Taps,
                    Weights = Weights + (nint)first * Sizes.Inputs * Sizes.Taps,
                    Bias = Bias == null ? null : Bias + first,
                    Panels = panels,
                    Planes = axes[0].Output,
                    Rows = axes[1].Output,
                    Columns = axes[2].Output,
                    BufferPlane = lattice.Plane,
                    BufferRow = lattice.Row,
                    Target = Y + ((nint)image * Sizes.Groups * Sizes.Outputs + first) * target + from * (Banded == 0 ? plane : Banded == 1 ? row : 1),
                    TargetChannel = target,
                    TargetPlane = plane,
                    TargetRow = row,
                    TargetElement = 1,
                    Relu = Relu,
                }.Run();
            }
        }
    }

    // The last tile of a grid may read rows that do not exist; their lanes are never stored.
    private static nint Slack(in Lattice lattice) => 16 * lattice.Row + 64;

    /// <summary>Images per chunk: as many as leave each thread a few chunks, so that most images can be asked for ahead of their turn.</summary>
    private static int ImagesPerChunk(int batch, double work) => work < ParallelAbove ? batch : Math.Max(1, batch / (4 * Workers.Count));

    /// <summary>The next image of the same chunk, if there is one and images are not cut into bands.</summary>
    private static Prefetch Next(int image, int batch, int images, int bands, T* current, nint size) =>
        bands == 1 && (image + 1) % images != 0 && image + 1 < batch ? new(current + size, size * sizeof(T)) : default;

    private static int Height => MicroKernels<T>.MaxRows;

    /// <summary>y = x ⋆ w + b, then relu where asked.</summary>
    internal static void Forward(in ConvolutionSizes sizes, T* x, T* w, T* b, T* y, bool relu)
    {
        if (sizes.Batch == 0 || sizes.Target == 0 || sizes.Outputs == 0) return;
        var job = new ForwardJob { Sizes = sizes, X = x, Bias = b, Y = y, Relu = relu, Banded = sizes.Axes.Outermost };
        Lattice whole = default;
        for (var i = 0; i < WindowAxes.Count; i++) whole.Axes[i] = LatticeAxis.Of(sizes.Axes[i], sizes.Axes[i].Output);
        var banded = sizes.Axes[job.Banded];
        job.Length = BandLength(banded.Output, sizes.Batch, sizes.Inputs * whole.Channel * sizeof(T) / whole.Axes[job.Banded].Count, sizes.Work);
        job.Bands = (banded.Output + job.Length - 1) / job.Length;
        whole.Axes[job.Banded] = LatticeAxis.Of(banded, job.Length);
        job.Lattice = whole;

        var (taps, depth) = (sizes.Taps, (nint)sizes.Inputs * sizes.Taps);
        var memory = SharedScratch.Rent(depth * sizeof(nint) + (nint)sizes.Groups * sizes.Outputs * depth * sizeof(T) + taps * sizeof(int));
        job.Table = (nint*)memory.Pointer;
        job.Weights = (T*)(job.Table + depth);
        var order = (int*)(job.Weights + sizes.Groups * sizes.Outputs * depth);
        FillTable(sizes, whole, job.Table);
        for (var t = 0; t < taps; t++) order[t] = t;
        for (nint group = 0; group < sizes.Groups; group++)
            PackWeights(w + group * sizes.Outputs * depth, depth, taps, sizes.Inputs, order, taps, new Panels(sizes.Outputs, Height), job.Weights + group * sizes.Outputs * depth);
        job.Images = ImagesPerChunk(sizes.Batch, sizes.Work);
        Each((sizes.Batch + job.Images - 1) / job.Images * job.Bands, sizes.Work, ref job);
        SharedScratch.Return(memory);
    }
}
