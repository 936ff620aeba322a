using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Rows become columns, turned in registers where elements have four bytes.</summary>
internal static unsafe class Transposition
{
    /// <summary>Rows of a strip: the 4-byte elements of a cache line.</summary>
    internal const int Tile = 16;

    /// <summary><c>y[r·strideY + c] = x[c·strideX + r]</c> for r &lt; rows ≤ Tile, c &lt; columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Strip<T>(nint rows, nint columns, T* x, nint strideX, T* y, nint strideY) where T : unmanaged =>
        Strip<T, Streaming.Through>(rows, columns, x, strideX, y, strideY);

    /// <summary>The same, stored where <typeparamref name="TStore"/> says.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Strip<T, TStore>(nint rows, nint columns, T* x, nint strideX, T* y, nint strideY) where T : unmanaged where TStore : struct, Streaming.IStore
    {
        nint c = 0;
        if (Avx512F.IsSupported && sizeof(T) == 4)
        {
            if (rows == Tile)
                for (; c + Tile <= columns; c += Tile)
                {
                    // the lines of the next tile lie a stride apart, where no hardware prefetcher looks
                    for (nint i = Tile; i < 2 * Tile && c + i < columns; i++) Sse.Prefetch0(x + (c + i) * strideX);
                    Turn16<TStore>((float*)(x + c * strideX), strideX, (float*)(y + c), strideY, Tile, Tile);
                }
            for (; c < columns; c += Tile)
                Turn16<TStore>((float*)(x + c * strideX), strideX, (float*)(y + c), strideY, (int)rows, (int)Math.Min(Tile, columns - c));
            return;
        }
        if (sizeof(T) == 4)
        {
            for (; c + 4 <= columns; c += 4)
            {
                float* p = (float*)(x + c * strideX);
                nint r = 0;
                for (; r + 4 <= rows; r += 4)
                    Turn4(p + r, strideX, (float*)(y + r * strideY + c), strideY);
                for (; r < rows; r++)
                    for (nint i = 0; i < 4; i++) y[r * strideY + c + i] = x[(c + i) * strideX + r];
            }
        }
        for (; c < columns; c++)
            for (nint r = 0; r < rows; r++) y[r * strideY + c] = x[c * strideX + r];
    }

    /// <summary><see cref="Strip{T}"/> for any number of rows.</summary>
    internal static void Strips<T>(nint rows, nint columns, T* x, nint strideX, T* y, nint strideY) where T : unmanaged
    {
        for (nint r = 0; r < rows; r += Tile) Strip(Math.Min(Tile, rows - r), columns, x + r, strideX, y + r * strideY, strideY);
    }

    /// <summary>Rows and columns of a block: a quarter of a megabyte, read and written a kilobyte at a stretch.</summary>
    private const int Side = 256;

    /// <summary>Whether <see cref="Blocks{T}"/> is the way: a result that no cache holds, in whole cache lines.</summary>
    internal static bool InBlocks<T>(nint rows, T* y, nint strideY) where T : unmanaged =>
        Avx512F.IsSupported && sizeof(T) == 4 && Streaming.Pays(y, rows, strideY * sizeof(T));

    /// <summary><c>y[r·strideY + c] = x[c·strideX + r]</c> for large matrices. Each block is asked for row by row while the one before it is turned,
    /// since memory is slow where it gives a line of each page, and the result goes around the caches.</summary>
    internal static void Blocks<T>(nint rows, nint columns, T* x, nint strideX, T* y, nint strideY) where T : unmanaged
    {
        nint down = (rows + Side - 1) / Side, total = down * ((columns + Side - 1) / Side);
        int chunks = (int)Math.Min(16, total);
        var job = new BlockJob
        {
            Rows = rows,
            Columns = columns,
            StrideX = strideX,
            StrideY = strideY,
            Down = down,
            Total = total,
            PerChunk = (total + chunks - 1) / chunks,
            X = (float*)x,
            Y = (float*)y,
        };
        Workers.For(chunks, ref job);
    }

    private struct BlockJob : IJob
    {
        public nint Rows, Columns, StrideX, StrideY, Down, Total, PerChunk;
        public float* X, Y;

        public readonly void Run(int chunk)
        {
            nint end = Math.Min(Total, (chunk + 1) * PerChunk);
            for (nint block = chunk * PerChunk; block < end; block++)
            {
                var (r, c) = Corner(block);
                float* next = null;
                if (block + 1 < end)
                {
                    var (nextR, nextC) = Corner(block + 1);
                    next = X + nextC * StrideX + nextR;
                }
                Turn(Math.Min(Side, Rows - r), Math.Min(Side, Columns - c), X + c * StrideX + r, StrideX, Y + r * StrideY + c, StrideY, next);
            }
            Streaming.Finish();
        }

        private readonly (nint Row, nint Column) Corner(nint block) => (block % Down * Side, block / Down * Side);

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Turn(nint rows, nint columns, float* x, nint strideX, float* y, nint strideY, float* next)
        {
            for (nint c = 0; c < columns; c += Tile)
                for (nint r = 0; r < rows; r += Tile)
                {
                    // a row of the next block for each tile of this one
                    if (next != null)
                    {
                        for (nint i = 0; i < Side; i += Tile) Sse.Prefetch1(next + i);
                        next += strideX;
                    }
                    float* from = x + c * strideX + r, to = y + r * strideY + c;
                    nint m = Math.Min(Tile, rows - r), n = Math.Min(Tile, columns - c);
                    if (m == Tile && n == Tile) Turn16<Streaming.Around>(from, strideX, to, strideY, Tile, Tile);
                    else Turn16<Streaming.Through>(from, strideX, to, strideY, (int)m, (int)n);
                }
        }
    }

    /// <summary>A block of at most 16×16 4-byte elements: pairs, quadruples, then the four 128-bit lanes are interleaved, all of it in registers
    /// (a buffer on the stack would keep the JIT from inlining this). Nothing outside the block is read or written; with the constants 16 and 16 no mask remains.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Turn16<TStore>(float* x, nint strideX, float* y, nint strideY, int rows, int columns) where TStore : struct, Streaming.IStore
    {
        Quadruples(x, strideX, 0, rows, columns, out var a0, out var a1, out var a2, out var a3);
        Quadruples(x, strideX, 4, rows, columns, out var b0, out var b1, out var b2, out var b3);
        Quadruples(x, strideX, 8, rows, columns, out var c0, out var c1, out var c2, out var c3);
        Quadruples(x, strideX, 12, rows, columns, out var d0, out var d1, out var d2, out var d3);
        Interleave<TStore>(a0, b0, c0, d0, y, strideY, 0, rows, columns);
        Interleave<TStore>(a1, b1, c1, d1, y, strideY, 1, rows, columns);
        Interleave<TStore>(a2, b2, c2, d2, y, strideY, 2, rows, columns);
        Interleave<TStore>(a3, b3, c3, d3, y, strideY, 3, rows, columns);
    }

    /// <summary>Columns i … i + 3, turned within each 128-bit lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Quadruples(float* x, nint strideX, int i, int rows, int columns,
        out Vector512<float> u0, out Vector512<float> u1, out Vector512<float> u2, out Vector512<float> u3)
    {
        var a = Column(x, strideX, i, rows, columns);
        var b = Column(x, strideX, i + 1, rows, columns);
        var c = Column(x, strideX, i + 2, rows, columns);
        var d = Column(x, strideX, i + 3, rows, columns);
        var ab0 = Avx512F.UnpackLow(a, b).AsDouble();
        var ab1 = Avx512F.UnpackHigh(a, b).AsDouble();
        var cd0 = Avx512F.UnpackLow(c, d).AsDouble();
        var cd1 = Avx512F.UnpackHigh(c, d).AsDouble();
        u0 = Avx512F.UnpackLow(ab0, cd0).AsSingle();
        u1 = Avx512F.UnpackHigh(ab0, cd0).AsSingle();
        u2 = Avx512F.UnpackLow(ab1, cd1).AsSingle();
        u3 = Avx512F.UnpackHigh(ab1, cd1).AsSingle();
    }

    /// <summary>Rows r, r + 4, r + 8 and r + 12 from their pieces in four quadruples of columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Interleave<TStore>(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d, float* y, nint strideY, int r, int rows, int columns)
        where TStore : struct, Streaming.IStore
    {
        var even01 = Avx512F.Shuffle4x128(a, b, 0x88);
        var odd01 = Avx512F.Shuffle4x128(a, b, 0xDD);
        var even23 = Avx512F.Shuffle4x128(c, d, 0x88);
        var odd23 = Avx512F.Shuffle4x128(c, d, 0xDD);
        Row<TStore>(Avx512F.Shuffle4x128(even01, even23, 0x88), y, strideY, r, rows, columns);
        Row<TStore>(Avx512F.Shuffle4x128(odd01, odd23, 0x88), y, strideY, r + 4, rows, columns);
        Row<TStore>(Avx512F.Shuffle4x128(even01, even23, 0xDD), y, strideY, r + 8, rows, columns);
        Row<TStore>(Avx512F.Shuffle4x128(odd01, odd23, 0xDD), y, strideY, r + 12, rows, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Column(float* x, nint stride, int i, int rows, int columns)
    {
        // A column beyond the last is never stored: any will do.
        float* p = x + (columns == Tile ? i : Math.Min(i, columns - 1)) * stride;
        return rows == Tile ? Vector512.Load(p) : Lanes.Load(p, rows);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Row<TStore>(Vector512<float> v, float* y, nint stride, int r, int rows, int columns) where TStore : struct, Streaming.IStore
    {
        if (rows != Tile && r >= rows) return;
        if (columns == Tile) TStore.Store(v, y + r * stride);
        else Lanes.Store(v, y + r * stride, columns);
    }

    /// <summary>A 4×4 block of 4-byte elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Turn4(float* x, nint strideX, float* y, nint strideY)
    {
        var a = Vector128.Load(x);
        var b = Vector128.Load(x + strideX);
        var c = Vector128.Load(x + 2 * strideX);
        var d = Vector128.Load(x + 3 * strideX);
        var ab0 = Interleave(a, b, false);
        var ab1 = Interleave(a, b, true);
        var cd0 = Interleave(c, d, false);
        var cd1 = Interleave(c, d, true);
        Halves(ab0, cd0, false).Store(y);
        Halves(ab0, cd0, true).Store(y + strideY);
        Halves(ab1, cd1, false).Store(y + 2 * strideY);
        Halves(ab1, cd1, true).Store(y + 3 * strideY);
    }

    /// <summary>The lower or the upper halves side by side; without an instruction of their own they would go through memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Halves(Vector128<float> a, Vector128<float> b, bool high)
    {
        if (Sse.IsSupported) return high ? Sse.MoveHighToLow(b, a) : Sse.MoveLowToHigh(a, b);
        return high ? Vector128.Create(a.GetUpper(), b.GetUpper()) : Vector128.Create(a.GetLower(), b.GetLower());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Interleave(Vector128<float> a, Vector128<float> b, bool high)
    {
        if (Sse.IsSupported)
            return high ? Sse.UnpackHigh(a, b) : Sse.UnpackLow(a, b);
        int i = high ? 2 : 0;
        return Vector128.Create(a[i], b[i], a[i + 1], b[i + 1]);
    }
}
