using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

// The same sums with output channels in the lanes: a tile is a handful of neighbouring positions times two vectors of channels, each position's element of the image is broadcast.
// No lane is lost to rows that no vector divides, a stride of two needs no phases, and an image without borders is read where it lies.
// The price is turning the outputs, channels last as they come, into planes: small where each is a sum of many terms.
internal static unsafe partial class Convolution<T>
{
    /// <summary>Positions that are computed before they are turned: with their channels they stay in L1.</summary>
    private const int PixelsAtOnce = 112;

    /// <summary>Lanes of the arrays that are turned: a strip's height.</summary>
    private static int PixelLanes => Emitter<T>.Lanes;

    /// <summary>Vectors of the next block of output channels, where so many are left: pairs, and three where their number is odd.</summary>
    private static int BlockVectors(int left) => Emitter<T>.Is512 && left % 2 == 1 && left >= 3 ? 3 : Math.Min(2, left);

    /// <summary>Positions per tile: as many as leave registers for a row of weights and an element.</summary>
    private static int BlockPositions(int vectors) => Emitter<T>.Is512 ? (vectors == 3 ? 9 : 14) : vectors == 2 ? 6 : 12;

    private struct PixelsJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal Lattice Lattice;
        internal T* X, Weights, Bias, Y;
        internal nint* Table;
        internal bool InPlace, Relu, Accumulate;
        internal int Bands, Banded, Length, Images, Vectors;

        public readonly void Run(int chunk)
        {
            var first = chunk / Bands * Images;
            for (var image = first; image < Math.Min(Sizes.Batch, first + Images); image++) Run(image, chunk % Bands);
        }

        private readonly void Run(int image, int band)
        {
            var (axes, lattice) = (Sizes.Axes, Lattice);
            var from = band * Length;
            axes[Banded].Output = Math.Min(Length, axes[Banded].Output - from);
            lattice.Axes[Banded].Origin += from * axes[Banded].Stride;
            nint stage = 3 * PixelLanes * PixelsAtOnce, turned = PixelLanes * PixelsAtOnce;
            var memory = (T*)Scratch.Get((stage + turned + (InPlace ? 0 : Sizes.Inputs * lattice.Channel)) * sizeof(T));
            nint row = Sizes.Axes[2].Output, plane = row * Sizes.Axes[1].Output, depth = (nint)Sizes.Inputs * Sizes.Taps;
            var offset = from * (Banded == 0 ? plane : Banded == 1 ? row : 1);
            for (var group = 0; group < Sizes.Groups; group++)
            {
                var x = X + ((nint)image * Sizes.Groups + group) * Sizes.Inputs * Sizes.Source;
                var ahead = Next(image, Sizes.Batch, Images, Bands, x, Sizes.Groups * Sizes.Inputs * Sizes.Source);
                if (!InPlace) lattice.Fill(x, Sizes.Source, Sizes.Inputs, memory + stage + turned);
                var tiles = new PixelTiles
                {
                    Ahead = &ahead,
                    Stage = memory,
                    Turned = memory + stage,
                    Table = Table,
                    Weights = Weights + group * depth * Vectors * PixelLanes,
                    Bias = Bias == null ? null : Bias + (nint)group * Vectors * PixelLanes,
                    Depth = depth,
                    Vectors = Vectors,
                    Channels = Sizes.Outputs,
                    TargetChannel = Sizes.Target,
                    BufferRow = (InPlace ? axes[2].Input : lattice.Row) * axes[1].Stride,
                    Step = axes[2].Stride,
                    Relu = Relu,
                    Accumulate = Accumulate,
                };
                nint bufferRow = InPlace ? axes[2].Input : lattice.Row, bufferPlane = InPlace ? bufferRow * axes[1].Input : lattice.Plane;
                var buffer = InPlace ? x + from * axes[Banded].Stride * (Banded == 0 ? bufferPlane : Banded == 1 ? bufferRow : 1) : memory + stage + turned;
                var y = Y + ((nint)image * Sizes.Groups + group) * Sizes.Outputs * Sizes.Target + offset;
                int columnsAtOnce = Math.Min(PixelsAtOnce, axes[2].Output), rowsAtOnce = PixelsAtOnce / columnsAtOnce;
                for (var d = 0; d < axes[0].Output; d++)
                    for (var r = 0; r < axes[1].Output; r += rowsAtOnce)
                        for (var c = 0; c < axes[2].Output; c += columnsAtOnce)
                            tiles.Run(Math.Min(rowsAtOnce, axes[1].Output - r), Math.Min(columnsAtOnce, axes[2].Output - c),
                                buffer + d * axes[0].Stride * bufferPlane + r * tiles.BufferRow + c * tiles.Step, y + d * plane + r * row + c);
            }
        }
    }

    /// <summary>Some neighbouring positions, all channels of one group.</summary>
    private struct PixelTiles
    {
        internal T* Stage, Turned, Weights, Bias;
        internal nint* Table;
        internal Prefetch* Ahead;
        internal nint Depth, TargetChannel, BufferRow;
        internal int Vectors, Channels, Step;
        internal bool Relu, Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        internal readonly void Run(int rows, int columns, T* buffer, T* target)
        {
            nint lanes = PixelLanes, positions = (nint)rows * columns;
            var tile = new Tile();
            if (Relu) tile.Flags |= Tile.ApplyRelu;
            if (Bias != null) tile.Flags |= Tile.AddBias;
            var weights = Weights;
            for (var v = 0; v < Vectors;)
            {
                var vectors = BlockVectors(Vectors - v);
                var width = vectors * lanes;
                tile.Bias = Bias + v * lanes;
                var panels = new Panels(columns, BlockPositions(vectors));
                var to = Stage;
                for (var r = 0; r < rows; r++)
                {
                    var from = buffer + r * BufferRow;
                    for (nint panel = 0; panel < panels.Count; panel++)
                    {
                        var count = panels.Height(panel);
                        tile.Ahead = Ahead->Take(Depth);
                        MicroKernels<T>.OfPixels(count, vectors, Step, tile.Ahead != null)(Depth, from, 0, (nint)Table, weights, 0, to, width * sizeof(T), &tile);
                        AskFor(target + v * lanes * TargetChannel + (to - Stage) / width, (int)Math.Min(width, Channels - v * lanes));
                        from += count * Step;
                        to += count * width;
                    }
                }
                for (nint i = 0; i < vectors && (v + i) * lanes < Channels; i++)
                    Deliver(Math.Min(lanes, Channels - (v + i) * lanes), positions, Stage + i * lanes, width, target + (v + i) * lanes * TargetChannel);
                weights += Depth * width;
                v += vectors;
            }
        }

        /// <summary>The planes' lines that a tile will go to arrive while the next tiles are computed.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void AskFor(T* target, int channels)
        {
            for (; channels > 0; channels--, target += TargetChannel) Sse.Prefetch0(target);
        }

        /// <summary>Positions with their channels last to channels of positions.</summary>
        private readonly void Deliver(nint channels, nint positions, T* stage, nint width, T* target)
        {
            if (!Accumulate)
            {
                Transposition.Strip(channels, positions, stage, width, target, TargetChannel);
                return;
            }
            Transposition.Strip(channels, positions, stage, width, Turned, PixelsAtOnce);
            for (nint c = 0; c < channels; c++) Plain.AddScaled(T.One, Turned + c * PixelsAtOnce, target + c * TargetChannel, positions);
        }
    }

    /// <summary>Windows of one tap side by side see positions, not axes.</summary>
    private static ConvolutionSizes WithoutAxes(ConvolutionSizes sizes)
    {
        for (var i = 0; i < WindowAxes.Count; i++)
        {
            var axis = sizes.Axes[i];
            if (axis.Kernel != 1 || axis.Stride != 1 || axis.Before != 0 || axis.Input != axis.Output) return sizes;
        }
        var all = WindowAxes.Single;
        all.Input = all.Output = (int)sizes.Source;
        (sizes.Axes[0], sizes.Axes[1], sizes.Axes[2]) = (WindowAxes.Single, WindowAxes.Single, all);
        return sizes;
    }

    /// <summary>The sizes of the convolution that is the adjoint of one with stride 1, its taps in reverse.</summary>
    private static ConvolutionSizes Mirrored(ConvolutionSizes sizes)
    {
        (sizes.Inputs, sizes.Outputs) = (sizes.Outputs, sizes.Inputs);
        for (var i = 0; i < WindowAxes.Count; i++)
        {
            ref var axis = ref sizes.Axes[i];
            (axis.Input, axis.Output) = (axis.Output, axis.Input);
            axis.Before = (axis.Kernel - 1) * axis.Dilation - axis.Before;
        }
        return sizes;
    }

    /// <summary>Whether channels in the lanes are the better way.</summary>
    internal static bool InPixels(in ConvolutionSizes sizes) => PixelsPay(WithoutAxes(sizes));

    /// <summary>The same of the input's gradient.</summary>
    internal static bool InPixelsBack(in ConvolutionSizes sizes) =>
        sizes.Axes[0].Stride == 1 && sizes.Axes[1].Stride == 1 && sizes.Axes[2].Stride == 1 && PixelsPay(WithoutAxes(Mirrored(sizes)));

    // What is lost to lanes that nothing needs decides: those of the last vector of channels here, those of the last vector of a row there, and another eighth there for
    // copies that are not needed here – the phases of a stride, images without borders. Turning the outputs is too much for sums of a few terms, and with
    // a single vector of channels each multiplication needs a load of its own: 16 to 16 channels of 16x16 in four groups took 0.53 ms instead of 0.40.
    private static bool PixelsPay(in ConvolutionSizes sizes)
    {
        var (columns, lanes) = (sizes.Axes[2], PixelLanes);
        if (!MicroKernels<T>.Available || columns.Stride > 2 || columns.Output < 4 || sizes.Outputs <= lanes || sizes.Inputs * sizes.Taps < 64) return false;
        var here = (double)Ceiling(sizes.Outputs) / sizes.Outputs;
        var there = lanes % columns.Output == 0 ? 1 : (double)Ceiling(columns.Output) / columns.Output;
        return here < (columns.Stride == 2 || HasNoBorders(sizes) ? 1.125 * there : there);

        int Ceiling(int count) => (count + lanes - 1) / lanes * lanes;
    }

    /// <summary>Whether windows read nothing outside the image.</summary>
    private static bool HasNoBorders(in ConvolutionSizes sizes)
    {
        for (var i = 0; i < WindowAxes.Count; i++)
            if (sizes.Axes[i].Before != 0 || Borders(sizes.Axes[i], sizes.Axes[i].Output).Count > sizes.Axes[i].Input)
                return false;
        return true;
    }

    /// <summary>y = x ⋆ w + b, then relu where asked.</summary>
    internal static void ForwardPixels(in ConvolutionSizes sizes, T* x, T* w, T* b, T* y, bool relu) =>
        RunPixels(WithoutAxes(sizes), x, w, b, y, relu, mirrored: false, accumulate: false);

    /// <summary>x (+)= the adjoint of x ↦ x ⋆ w at y, for stride 1.</summary>
    internal static void InputPixels(in ConvolutionSizes sizes, T* y, T* w, T* x, bool accumulate) =>
        RunPixels(WithoutAxes(Mirrored(sizes)), y, w, null, x, relu: false, mirrored: true, accumulate);

    private static void RunPixels(in ConvolutionSizes sizes, T* x, T* w, T* b, T* y, bool relu, bool mirrored, bool accumulate)
    {
        if (sizes.Batch == 0 || sizes.Target == 0 || sizes.Outputs == 0) return;
        var job = new PixelsJob { Sizes = sizes, X = x, Y = y, Relu = relu, Accumulate = accumulate, Banded = sizes.Axes.Outermost, InPlace = HasNoBorders(sizes) };
        job.Vectors = (sizes.Outputs + PixelLanes - 1) / PixelLanes;
        Lattice lattice = default;
        for (var i = 0; i < WindowAxes.Count; i++) lattice.Axes[i] = Borders(sizes.Axes[i], sizes.Axes[i].Output);
        var banded = sizes.Axes[job.Banded];
        job.Length = BandLength(banded.Output, sizes.Batch, sizes.Inputs * lattice.Channel * sizeof(T) / lattice.Axes[job.Banded].Count * banded.Stride, sizes.Work);
        job.Bands = (banded.Output + job.Length - 1) / job.Length;
        lattice.Axes[job.Banded] = Borders(banded, job.Length);
        job.Lattice = lattice;

        nint depth = (nint)sizes.Inputs * sizes.Taps, width = job.Vectors * PixelLanes;
        var memory = SharedScratch.Rent(depth * sizeof(nint) + sizes.Groups * width * (depth + 1) * sizeof(T));
        job.Table = (nint*)memory.Pointer;
        job.Weights = (T*)(job.Table + depth);
        nint channel = job.InPlace ? sizes.Source : lattice.Channel, row = job.InPlace ? sizes.Axes[2].Input : lattice.Row, plane = job.InPlace ? row * sizes.Axes[1].Input : lattice.Plane;
        for (nint k = 0; k < depth; k++)
        {
            var (d, h, v) = (sizes.Axes[0], sizes.Axes[1], sizes.Axes[2]);
            var t = k % sizes.Taps;
            if (mirrored) t = sizes.Taps - 1 - t;
            job.Table[k] = (k / sizes.Taps * channel + t / v.Kernel / h.Kernel * d.Dilation * plane + t / v.Kernel % h.Kernel * h.Dilation * row + t % v.Kernel * v.Dilation) * sizeof(T);
        }
        if (b != null) job.Bias = job.Weights + sizes.Groups * width * depth;
        for (nint group = 0; group < sizes.Groups; group++)
        {
            PackPixelWeights(w + group * sizes.Outputs * depth, sizes, mirrored, job.Weights + group * width * depth);
            for (nint o = 0; o < width && b != null; o++) job.Bias[group * width + o] = o < sizes.Outputs ? b[group * sizes.Outputs + o] : T.Zero;
        }
        job.Images = ImagesPerChunk(sizes.Batch, sizes.Work);
        Each((sizes.Batch + job.Images - 1) / job.Images * job.Bands, sizes.Work, ref job);
        SharedScratch.Return(memory);
    }

    /// <summary>The part of an axis that windows read, with its borders.</summary>
    private static LatticeAxis Borders(in WindowAxis axis, int outputs) => new()
    {
        Input = axis.Input,
        Origin = -axis.Before,
        Stride = 1,
        Dilation = 1,
        Slots = 1,
        Count = (outputs - 1) * axis.Stride + (axis.Kernel - 1) * axis.Dilation + 1,
    };

    /// <summary>One group's weights in blocks of output channels, all channels of a term side by side; what fills the last vector is zero.
    /// They lie as [outputs, inputs, taps], mirrored as [inputs, outputs, taps].</summary>
    private static void PackPixelWeights(T* w, in ConvolutionSizes sizes, bool mirrored, T* target)
    {
        nint lanes = PixelLanes, taps = sizes.Taps, depth = sizes.Inputs * taps;
        // Terms that lie side by side for an output, and from output to output.
        nint run = mirrored ? taps : depth, output = mirrored ? taps : depth;
        for (nint first = 0, vectors = (sizes.Outputs + lanes - 1) / lanes; vectors > 0;)
        {
            var block = BlockVectors((int)vectors);
            nint width = block * lanes, count = Math.Min(width, sizes.Outputs - first);
            if (count < width) new Span<T>(target, (int)(depth * width)).Clear();
            for (nint start = 0; start < depth; start += run)
            {
                // Mirrored, a run is one of the inputs: all their outputs' taps follow each other.
                var from = w + (mirrored ? start / taps * sizes.Outputs * taps : 0) + first * output;
                for (nint k = 0; k < run; k += Transposition.Tile)
                    Transposition.Strip(Math.Min(Transposition.Tile, run - k), count, from + k, output, target + (start + k) * width, width);
            }
            target += depth * width;
            first += count;
            vectors -= block;
        }
    }
}
