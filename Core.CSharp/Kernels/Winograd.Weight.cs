using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

// The adjoint with respect to the weight: w̄ = Gᵀ[Σ (A ȳ)·(Bᵀ x)]. The image's planes are turned to have their channels last, so that for each plane
// [outputs, positions]·[positions, taps·inputs] has unit stride. Chunks of blocks have sums of their own, which depend on the sizes alone.
internal static unsafe partial class Winograd<T>
{
    // Positions per pass over a tile of sums: what is read stays in L1.
    private const int PositionSlab = 256;

    private const int MostSums = 8;

    private struct WeightJob : IJob
    {
        internal Blocks Blocks;
        internal WindowAxis H, W;
        internal int Inputs, Outputs, Chunks;
        internal T* X, Y, Sums;
        internal nint* Table;

        private readonly nint Source => (nint)H.Input * W.Input;

        private readonly nint Target => (nint)H.Output * W.Output;

        /// <summary>Pixels of a row with its borders.</summary>
        private readonly nint Grid => W.Output + W.Kernel - 1;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint depth = (nint)W.Kernel * Inputs, plane = Outputs * depth, positions = Blocks.Rows * W.Output;
            // No multiple of a page, where all rows would compete for the same places in the cache.
            var row = positions + (positions % 512 == 0 ? 2 * Width : Width);
            nint from = Blocks.Rows * Grid * Inputs + 2 * Width, to = Outputs * row + Width, staged = (nint)Inputs * W.Input + Width;
            var v = (T*)Scratch.Get((Planes * (from + to + staged) + W.Input) * sizeof(T));
            T* d = v + Planes * from, stage = d + Planes * to, zeros = stage + Planes * staged;
            // Borders stay zero; pixels are written between them.
            new Span<T>(v, checked((int)(Planes * from))).Clear();
            new Span<T>(zeros, W.Input).Clear();
            var sums = Sums + chunk * Planes * plane;
            Prefetch nextX = default, nextY = default;
            var (first, last) = ((int)((long)Blocks.Count * chunk / Chunks), (int)((long)Blocks.Count * (chunk + 1) / Chunks));
            if (first == last) new Span<T>(sums, checked((int)(Planes * plane))).Clear();
            for (var block = first; block < last; block++)
            {
                var (firstImage, images, firstRow, rows) = Blocks.At(block);
                if (firstRow == 0)
                {
                    var following = block + Blocks.Bands < last ? Math.Min(Blocks.ImagesPerBlock, Blocks.Batch - firstImage - images) : 0;
                    nextX = new(X + (nint)(firstImage + images) * Inputs * Source, following * Inputs * Source * sizeof(T));
                    nextY = new(Y + (nint)(firstImage + images) * Outputs * Target, following * Outputs * Target * sizeof(T));
                }
                for (var n = 0; n < images; n++)
                {
                    var image = X + (nint)(firstImage + n) * Inputs * Source;
                    for (nint r = 0; r < rows; r++)
                    {
                        for (nint c = 0; c < Inputs; c++)
                            FromRows(image + c * Source, TileRows * (firstRow + r) - H.Before, H.Input, W.Input, 1, zeros, stage + c * W.Input, 0, staged);
                        var pixels = v + ((n * rows + r) * Grid + W.Before) * Inputs;
                        for (nint p = 0; p < Planes; p++)
                            for (nint i = 0; i < W.Input; i += Transposition.Tile)
                                Transposition.Strip(Math.Min(Transposition.Tile, W.Input - i), Inputs, stage + p * staged + i, W.Input, pixels + p * from + i * Inputs, Inputs);
                    }
                    for (nint o = 0; o < Outputs; o++)
                        FromOutputs(Y + ((firstImage + n) * (nint)Outputs + o) * Target + (nint)TileRows * firstRow * W.Output, H.Output - TileRows * firstRow,
                            W.Output, rows, zeros, d + o * row + n * rows * W.Output, to);
                }
                for (nint p = 0; p < Planes; p++) Products(images * (nint)rows * W.Output, d + p * to, row, v + p * from, sums + p * plane, depth, block > first, ref nextX, ref nextY);
            }
        }

        /// <summary>Vectors side by side: as few passes over the positions as there can be, and all about as wide.</summary>
        private readonly (nint Passes, nint Most) Vectors(in Panels panels)
        {
            nint all = (W.Kernel * Inputs + Emitter<T>.Lanes - 1) / Emitter<T>.Lanes, most = MicroKernels<T>.MostVectors(panels.Height(0)), passes = (all + most - 1) / most;
            return (passes, (all + passes - 1) / passes);
        }

        /// <summary>sums[o, tap, input] (+)= Σₚ d[o, p]·v[table[p] + tap, input]</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Products(nint positions, T* d, nint row, T* v, T* sums, nint depth, bool accumulate, ref Prefetch nextX, ref Prefetch nextY)
        {
            nint lanes = Emitter<T>.Lanes;
            var panels = new Panels(Outputs, MicroKernels<T>.MaxRows);
            var tile = new Tile { Vector = lanes * sizeof(T), TargetVector = lanes * sizeof(T) };
            var most = Vectors(panels).Most;
            for (nint slab = 0; slab < positions; slab += PositionSlab)
            {
                var count = Math.Min(PositionSlab, positions - slab);
                if (accumulate || slab > 0) tile.Flags = Tile.Accumulate;
                for (nint j = 0; j < depth; j += most * lanes)
                {
                    var vectors = (int)Math.Min(most, (depth - j + lanes - 1) / lanes);
                    var tail = (int)Math.Min(lanes, depth - j - (vectors - 1) * lanes);
                    tile.Mask = MicroKernels<T>.Mask(tail);
                    T* a = d + slab, c = sums + j;
                    for (nint panel = 0; panel < panels.Count; panel++)
                    {
                        var height = panels.Height(panel);
                        tile.Ahead = nextX.Take(count);
                        if (tile.Ahead == null) tile.Ahead = nextY.Take(count);
                        MicroKernels<T>.GatheringRows(height, vectors, tail < lanes, tile.Ahead != null)(count, a, row * sizeof(T), 0, v + j, (nint)(Table + slab), c, depth * sizeof(T), &tile);
                        a += height * row;
                        c += height * depth;
                    }
                }
            }
        }
    }

    private struct WeightFinishJob : IJob
    {
        internal const int Rows = 4;

        internal int Inputs, Outputs, Kernel, Chunks;
        internal T* Sums, W;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint depth = (nint)Kernel * Inputs, plane = Outputs * depth, all = 3 * Kernel;
            T* taps = stackalloc T[(int)all * Width], turned = stackalloc T[(int)all * Width];
            for (nint o = chunk * Rows; o < Math.Min(Outputs, (chunk + 1) * Rows); o++)
                for (nint c = 0; c < Inputs; c += Width)
                {
                    var channels = Math.Min(Width, Inputs - c);
                    for (nint t = 0; t < Kernel; t++) ToWeights(Sums + o * depth + t * Inputs + c, plane, Chunks, channels, taps + t * Width, Kernel * Width);
                    var w = W + (o * Inputs + c) * all;
                    var to = Accumulate ? turned : w;
                    for (nint t = 0; t < channels; t += Transposition.Tile)
                        Transposition.Strip(Math.Min(Transposition.Tile, channels - t), all, taps + t, Width, to + t * all, all);
                    if (Accumulate) Plain.AddScaled(T.One, turned, w, all * channels);
                }
        }
    }

    /// <summary>w (+)= the adjoint of w ↦ x ⋆ w at y.</summary>
    internal static void Weight(in ConvolutionSizes sizes, T* x, T* y, T* w, bool accumulate)
    {
        var kernel = sizes.Axes[2].Kernel;
        if (sizes.Inputs == 0 || sizes.Outputs == 0) return;
        if (sizes.Batch == 0 || sizes.Target == 0)
        {
            if (!accumulate) new Span<T>(w, sizes.Outputs * sizes.Inputs * 3 * kernel).Clear();
            return;
        }
        nint grid = sizes.Axes[2].Output + kernel - 1;
        var job = new WeightJob
        {
            Blocks = new Blocks(sizes.Batch, (int)Tiles(sizes.Axes[1].Output), sizes.Axes[2].Output, Planes * (sizes.Inputs + sizes.Outputs) * grid * sizeof(T)),
            H = sizes.Axes[1],
            W = sizes.Axes[2],
            Inputs = sizes.Inputs,
            Outputs = sizes.Outputs,
            X = x,
            Y = y,
        };
        nint bytes = (nint)Planes * sizes.Outputs * kernel * sizes.Inputs * sizeof(T), positions = job.Blocks.Rows * sizes.Axes[2].Output;
        job.Chunks = (int)Math.Clamp(WeightBytes / bytes, 1, Math.Min(MostSums, job.Blocks.Count));
        var memory = SharedScratch.Rent(positions * sizeof(nint) + job.Chunks * bytes + Width * sizeof(T));
        job.Table = (nint*)memory.Pointer;
        job.Sums = (T*)(job.Table + positions);
        for (nint p = 0; p < positions; p++)
            job.Table[p] = (p / sizes.Axes[2].Output * grid + p % sizes.Axes[2].Output) * sizes.Inputs * sizeof(T);
        Each(job.Chunks, sizes.Work, ref job);
        var finish = new WeightFinishJob { Inputs = sizes.Inputs, Outputs = sizes.Outputs, Kernel = kernel, Chunks = job.Chunks, Sums = job.Sums, W = w, Accumulate = accumulate };
        Each((sizes.Outputs + WeightFinishJob.Rows - 1) / WeightFinishJob.Rows, sizes.Work, ref finish);
        SharedScratch.Return(memory);
    }
}
