using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>What a micro-kernel needs to know of its tile besides the three matrices: what follows the last product, and where B's vectors lie.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Tile
{
    internal const int Accumulate = 1, AddBias = 2, ApplyRelu = 4;

    /// <summary>Which of the three to do.</summary>
    internal nint Flags;

    /// <summary>The bias of the tile's first column; of its first row where B is gathered.</summary>
    internal void* Bias;

    /// <summary>A vector of which the lanes that exist in the tile's last vector are set.</summary>
    internal void* Mask;

    /// <summary>Bytes from vector to vector of a gathered row of B.</summary>
    internal nint Vector;

    /// <summary>Bytes from vector to vector of a row of C, where B is gathered.</summary>
    internal nint TargetVector;

    /// <summary>Bytes between the pieces of which a gathered vector consists.</summary>
    internal nint Piece;

    /// <summary>The address of what a kernel that looks ahead asks for, a cache line for each step of k.</summary>
    internal void* Ahead;

    /// <summary>Bytes between those lines, where they are not side by side as a convolution's are.</summary>
    internal nint AheadStep;

    /// <summary>Where a kernel that keeps B writes what it reads, row after row, each as wide as the widest tile.</summary>
    internal void* Keep;
}

/// <summary>C[rows, columns] (+)= A·B for one tile held in registers: A by two strides, B and C by rows; strides in bytes. When not accumulating, C is never read.
/// Where B is gathered, A is a packed panel or lies in rows, and <paramref name="bStep"/> is the address of a table: for every k the bytes from <paramref name="b"/> to B's row.</summary>
internal unsafe delegate void MicroKernel(nint k, void* a, nint aRow, nint aStep, void* b, nint bStep, void* c, nint cRow, Tile* tile);

/// <summary>The family of emitted micro-kernels: 1 … MaxRows rows times one or two vectors (few rows: up to 24), with or without a mask on the last vector.
/// 14 x 2 vectors of 512 bits use 28 accumulators of 32 registers; 6 x 2 of 256 bits use 12 of 16.
/// A matrix product steps through B's rows by a stride. A convolution gathers them: each row of B is a window's tap, somewhere in the image,
/// and a vector may consist of 2 or 4 pieces where the image's rows are shorter than a vector.</summary>
internal static unsafe partial class MicroKernels<T> where T : unmanaged
{
    /// <summary>Whether kernels can be emitted here; otherwise plain loops answer.</summary>
    internal static readonly bool Available =
        RuntimeFeature.IsDynamicCodeCompiled && (Avx512F.IsSupported || (Fma.IsSupported && Avx2.IsSupported));

    internal static readonly int MaxRows = Avx512F.IsSupported ? 14 : 6;

    /// <summary>Elements that a copied row of A may have.</summary>
    internal const int LongestCopied = 1024;

    /// <summary>Elements from row to row of an A that was copied: known to the kernels, so that one register says where all rows are. A cache line more than a row has,
    /// for rows a multiple of 4 KB apart would share one set of the first cache, which holds fewer lines than a tile has rows.</summary>
    internal static int CopiedRow => LongestCopied + 64 / sizeof(T);

    // Where the rows of B come from, and how A lies: by two strides, in rows or in columns without gaps, or copied.
    private const int Strided = 0, StridedRows = 1, StridedColumns = 2, StridedCopied = 3, StridedKeeping = 4;
    private const int GatheredWhole = 5, GatheredHalves = 6, GatheredQuarters = 7, GatheredRows = 8;
    private const int Pixels = 9, EverySecondPixel = 10;

    private const int Sources = 11, Widths = 24;

    private static readonly MicroKernel?[] Family = new MicroKernel?[(14 + 1) * Sources * Widths * 2 * 2];

    // Row i holds the mask of i lanes, for float as for double: all bits set below lane i.
    private static readonly T* Masks = MakeMasks();

    private static int Lanes => Emitter<T>.Lanes;

    /// <summary>The kernel of a matrix product, A by its strides in elements; one that looks ahead asks for the memory that the next ones will read.</summary>
    internal static MicroKernel Get(int rows, int vectors, bool masked, nint aRow, nint aStep, bool ahead) =>
        Get(rows, vectors, masked, (aRow, aStep) switch
        {
            _ when rows < vectors => Strided,
            (_, 1) => aRow == CopiedRow ? StridedCopied : StridedRows,
            (1, _) => StridedColumns,
            _ => Strided,
        }, ahead);

    /// <summary>The kernel that packs B while it reads it: each row of B is kept, and the cache lines of a later one are asked for.</summary>
    internal static MicroKernel Keeping(int rows, int vectors, bool masked) => Get(rows, vectors, masked, StridedKeeping, ahead: true);

    /// <summary>Vectors of a row of B that a product with so many rows takes at a time, its sums filling the registers. Few rows wait for B, and memory is
    /// fast where long pieces of it are read.</summary>
    internal static int Widest(int rows) => Math.Max(2, (Avx512F.IsSupported ? 24 : 12) / rows);

    /// <summary>Vectors of a gathered row: four where there are few rows, whose sums alone would not keep the multipliers busy.</summary>
    internal static int MostVectors(int rows) => rows <= (Avx512F.IsSupported ? 6 : 2) ? 4 : Avx512F.IsSupported && rows <= 8 ? 3 : 2;

    /// <summary>The kernel that gathers B's rows by a table, each vector in 1, 2 or 4 pieces.</summary>
    internal static MicroKernel Gathering(int rows, int vectors, bool masked, int pieces, bool ahead) =>
        Get(rows, vectors, masked, pieces switch { 1 => GatheredWhole, 2 => GatheredHalves, _ => GatheredQuarters }, ahead);

    /// <summary>The kernel that gathers B's rows by a table and reads A's rows, whose elements lie side by side, where they are.</summary>
    internal static MicroKernel GatheringRows(int rows, int vectors, bool masked, bool ahead) => Get(rows, vectors, masked, GatheredRows, ahead);

    /// <summary>The kernel whose rows of A are neighbouring pixels, <paramref name="step"/> (1 or 2) elements apart: for every k a table, whose address is aStep,
    /// has the bytes from A to the first row's element. B is a packed panel, up to three vectors wide, C as wide.</summary>
    internal static MicroKernel OfPixels(int rows, int vectors, int step, bool ahead) => Get(rows, vectors, masked: false, step == 1 ? Pixels : EverySecondPixel, ahead);

    private static MicroKernel Get(int rows, int vectors, bool masked, int source, bool ahead)
    {
        var index = (((rows * Sources + source) * Widths + vectors - 1) * 2 + (masked ? 1 : 0)) * 2 + (ahead ? 1 : 0);
        // Two threads may emit the same kernel at once; either is right.
        return Family[index] ??= Emit(rows, vectors, masked, source, ahead);
    }

    internal static T* Mask(int lanes) => Masks + lanes * Lanes;

    private static T* MakeMasks()
    {
        if (!Available) return null;
        var masks = (byte*)NativeMemory.AlignedAlloc((nuint)((Lanes + 1) * Lanes * sizeof(T)), 64);
        for (var i = 0; i <= Lanes; i++)
            for (var lane = 0; lane < Lanes * sizeof(T); lane++)
                masks[i * Lanes * sizeof(T) + lane] = lane < i * sizeof(T) ? (byte)0xff : (byte)0;
        return (T*)masks;
    }
}
