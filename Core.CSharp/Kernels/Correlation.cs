using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>target[o, p] (+)= Σₖ weight[o, k]·buffer[table[k] + p], then bias and activation, for channels o and positions p of a three-dimensional grid
/// in the buffer: what every convolution comes to once its image is a lattice. The weights lie in panels of channels, k-major.</summary>
internal unsafe struct Correlation<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>How a tile's vectors lie in the grid. Whole: rows are a vector or its half or quarter long, and none is cut.
    /// Rows: along a row, the last vector cut short. Down: vectors of neighbouring rows, one below the other. Columns: a vector is a row, cut short.
    /// Flat: across the ends of rows, whose gaps are dropped afterwards.</summary>
    private enum Tiling
    {
        Whole,
        Rows,
        Down,
        Columns,
        Flat,
    }

    internal T* Buffer, Weights, Bias, Target, Stage;

    /// <summary>For every k the distance from a position to its element, in bytes.</summary>
    internal nint* Table;

    /// <summary>Terms of each sum.</summary>
    internal nint Depth;

    internal Panels Panels;

    /// <summary>Positions along each axis.</summary>
    internal int Planes, Rows, Columns;

    internal nint BufferPlane, BufferRow;

    /// <summary>What to ask for while the tiles are computed.</summary>
    internal Prefetch* Ahead;

    internal nint TargetChannel, TargetPlane, TargetRow, TargetElement;
    internal bool Accumulate, Relu;

    /// <summary>Elements of <see cref="Stage"/> that a grid may need.</summary>
    internal static nint StageSize(nint rows, nint columns, nint bufferRow) => 14 * Math.Max(rows * bufferRow, rows * columns) + 64;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal readonly void Run()
    {
        if (Planes == 0 || Rows == 0 || Columns == 0) return;
        var (tiling, staged) = Choose();
        T* weights = Weights, bias = Bias, target = Target;
        for (nint panel = 0; panel < Panels.Count; panel++)
        {
            var height = Panels.Height(panel);
            for (var plane = 0; plane < Planes; plane++)
            {
                T* buffer = Buffer + plane * BufferPlane, to = target + plane * TargetPlane;
                if (!MicroKernels<T>.Available) Portable(height, weights, bias, buffer, to);
                else if (!staged) Tiles(tiling, height, weights, bias, buffer, to, TargetChannel, TargetRow, Accumulate);
                else
                {
                    var row = tiling == Tiling.Flat ? BufferRow : Columns;
                    var channel = Rows * row;
                    Tiles(tiling, height, weights, bias, buffer, Stage, channel, row, accumulate: false);
                    for (var i = 0; i < height; i++)
                        for (var r = 0; r < Rows; r++)
                            Deliver(Stage + i * channel + r * row, to + i * TargetChannel + r * TargetRow);
                }
            }
            weights += height * Depth;
            if (bias != null) bias += height;
            target += height * TargetChannel;
        }
    }

    private readonly (Tiling Tiling, bool Staged) Choose()
    {
        nint lanes = Emitter<T>.Lanes;
        var whole = Rows > 1 && lanes % Columns == 0 && lanes / Columns is 1 or 2 or 4 && (Columns * sizeof(T)) % 16 == 0;
        if (whole) return (Tiling.Whole, TargetElement != 1 || TargetRow != Columns);
        var dense = TargetElement != 1 || TargetRow == Columns;
        var tiling = dense && Rows > 1 && Columns < lanes && 2 * Columns >= lanes ? Tiling.Columns : Tiling.Rows;
        var perRow = (Columns + lanes - 1) / lanes;
        // One or two channels of one or two vectors would leave the multipliers waiting: depthwise convolutions.
        if (tiling == Tiling.Rows && Rows > 1 && Columns >= lanes && Panels.Height(0) * perRow <= 4) tiling = Tiling.Down;
        var byRows = Rows * perRow;
        var flat = ((Rows - 1) * BufferRow + Columns + lanes - 1) / lanes;
        // The detour over the stage costs about a tenth.
        if (TargetElement == 1) return 10 * byRows <= 11 * flat ? (tiling, false) : (Tiling.Flat, true);
        return byRows <= flat ? (tiling, true) : (Tiling.Flat, true);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Tiles(Tiling tiling, int height, T* weights, T* bias, T* buffer, T* target, nint channel, nint row, bool accumulate)
    {
        var most = MicroKernels<T>.MostVectors(height);
        nint lanes = Emitter<T>.Lanes, step = lanes * most;
        var tile = new Tile { Bias = bias, TargetVector = lanes * sizeof(T) };
        if (accumulate) tile.Flags |= Tile.Accumulate;
        if (bias != null) tile.Flags |= Tile.AddBias;
        if (Relu) tile.Flags |= Tile.ApplyRelu;
        switch (tiling)
        {
            case Tiling.Whole:
                var pieces = (int)(lanes / Columns);
                tile.Vector = pieces * BufferRow * sizeof(T);
                tile.Piece = BufferRow * sizeof(T);
                var count = (nint)Rows * Columns;
                for (nint p = 0; p < count; p += step)
                    Kernel(height, weights, buffer + p / Columns * BufferRow, target + p, channel, Cut(count - p, most), pieces, &tile);
                break;
            case Tiling.Rows:
                tile.Vector = lanes * sizeof(T);
                for (var r = 0; r < Rows; r++)
                    for (nint p = 0; p < Columns; p += step)
                        Kernel(height, weights, buffer + r * BufferRow + p, target + r * row + p, channel, Cut(Columns - p, most), 1, &tile);
                break;
            case Tiling.Down:
                (tile.Vector, tile.TargetVector) = (BufferRow * sizeof(T), row * sizeof(T));
                for (nint p = 0; p < Columns; p += lanes)
                {
                    var cut = Columns - p < lanes && accumulate;
                    // The last vector of a row may overlap the one before it, unless it adds.
                    var at = cut ? p : Math.Min(p, Columns - lanes);
                    for (var r = 0; r < Rows; r += cut ? 1 : most)
                        Kernel(height, weights, buffer + r * BufferRow + at, target + r * row + at, channel,
                            cut ? (1, (int)(Columns - p)) : (Math.Min(most, Rows - r), (int)lanes), 1, &tile);
                }
                break;
            case Tiling.Columns:
                // What a vector stores beyond its row is the beginning of the next, whose own vector comes after it; the tile's last is masked.
                (tile.Vector, tile.TargetVector) = (BufferRow * sizeof(T), row * sizeof(T));
                for (var r = 0; r < Rows; r += most)
                    Kernel(height, weights, buffer + r * BufferRow, target + r * row, channel, (Math.Min(most, Rows - r), Columns), 1, &tile);
                break;
            default:
                tile.Vector = lanes * sizeof(T);
                var length = (Rows - 1) * BufferRow + Columns;
                for (nint p = 0; p < length; p += step)
                    Kernel(height, weights, buffer + p, target + p, channel, Cut(length - p, most), 1, &tile);
                break;
        }
    }

    /// <summary>A tile's vectors, and the lanes of the last, where so many positions are left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (int Vectors, int Tail) Cut(nint left, int most)
    {
        nint lanes = Emitter<T>.Lanes;
        var vectors = (int)Math.Min(most, (left + lanes - 1) / lanes);
        return (vectors, (int)Math.Min(lanes, left - (vectors - 1) * lanes));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Kernel(int height, T* weights, T* buffer, T* target, nint channel, (int Vectors, int Tail) cut, int pieces, Tile* tile)
    {
        tile->Mask = MicroKernels<T>.Mask(cut.Tail);
        tile->Ahead = Ahead->Take(Depth);
        MicroKernels<T>.Gathering(height, cut.Vectors, cut.Tail < Emitter<T>.Lanes, pieces, tile->Ahead != null)(Depth, weights, 0, 0, buffer, (nint)Table, target, channel * sizeof(T), tile);
    }

    /// <summary>A row from the stage to where it belongs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Deliver(T* from, T* to)
    {
        nint i = 0;
        if (TargetElement == 1)
        {
            for (; i + Vector512<T>.Count <= Columns; i += Vector512<T>.Count)
            {
                var v = Vector512.Load(from + i);
                if (Accumulate) v += Vector512.Load(to + i);
                v.Store(to + i);
            }
        }
        for (; i < Columns; i++)
            to[i * TargetElement] = Accumulate ? to[i * TargetElement] + from[i] : from[i];
    }

    /// <summary>The same in plain loops, where kernels cannot be emitted.</summary>
    private readonly void Portable(int height, T* weights, T* bias, T* buffer, T* target)
    {
        for (var i = 0; i < height; i++)
            for (var r = 0; r < Rows; r++)
            {
                new Span<T>(Stage, Columns).Clear();
                for (nint k = 0; k < Depth; k++)
                    Plain.AddScaled(weights[k * height + i], buffer + r * BufferRow + Table[k] / sizeof(T), Stage, Columns);
                for (var p = 0; p < Columns; p++)
                {
                    if (bias != null) Stage[p] += bias[i];
                    if (Relu) Stage[p] = T.Max(Stage[p], T.Zero);
                }
                Deliver(Stage, target + i * TargetChannel + r * TargetRow);
            }
    }
}
