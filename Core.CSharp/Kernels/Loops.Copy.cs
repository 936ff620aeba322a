using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <content>Strided copies of elements of 1, 4 or 8 bytes, and the square tiles that turn swapped axes.</content>
internal static unsafe partial class Loops
{
    /// <summary><c>y = x</c> over a walk of (x, y).</summary>
    public static void Copy<T>(in Geometry g, T* x, T* y) where T : unmanaged
    {
        if (g.Count == 0) return;
        if (g.Rank >= 2 && g.Stride(1, 0) != 1)
        {
            var turned = g.Oriented(1);
            if (turned.Stride(1, 0) == 1)
            {
                Copy(in turned, x, y);
                return;
            }
        }
        if (g.Rank >= 2 && g.Stride(1, 0) == 1 && TileAxis(in g, 0, out int axis))
        {
            var tile = new TransposeTile<T> { X = x, Y = y, Columns = g.Size(0), StrideX = g.Stride(0, 0), StrideY = g.Stride(1, axis) };
            Tiles(in g, axis, ref tile);
            return;
        }
        var row = new CopyRow<T> { X = x, Y = y };
        (row.StepX, row.StepY) = g.Rank > 0 ? (g.Stride(0, 0), g.Stride(1, 0)) : (1, 1);
        Walk(in g, ref row);
    }

    private struct CopyRow<T> : IRow where T : unmanaged
    {
        public T* X, Y;
        public nint StepX, StepY;

        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3)
        {
            T* x = X + o0, y = Y + o1;
            if (StepX == 1 && StepY == 1) Unsafe.CopyBlockUnaligned(y, x, (uint)(n * sizeof(T)));
            else if (StepX == 0 && StepY == 1) new Span<T>(y, (int)n).Fill(*x);
            else if (StepY == 1) Gather(x, StepX, y, n);
            else
            {
                for (nint i = 0; i < n; i++) y[i * StepY] = x[i * StepX];
            }
        }
    }

    private struct TransposeTile<T> : ITile where T : unmanaged
    {
        public T* X, Y;
        public nint Columns, StrideX, StrideY;

        public readonly void Run(nint rows, nint o0, nint o1, nint o2, nint o3) =>
            TransposeStrip(rows, Columns, X + o0, StrideX, Y + o1, StrideY);
    }

    /// <summary><c>y[r·strideY + c] = x[c·strideX + r]</c> for r &lt; rows ≤ Tile, c &lt; columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TransposeStrip<T>(nint rows, nint columns, T* x, nint strideX, T* y, nint strideY) where T : unmanaged
    {
        nint c = 0;
        if (Avx512F.IsSupported && sizeof(T) == 4 && rows == Tile)
        {
            for (; c + Tile <= columns; c += Tile)
            {
                // the lines of the next tile lie a stride apart, where no hardware prefetcher looks
                for (nint i = Tile; i < 2 * Tile && c + i < columns; i++) Sse.Prefetch0(x + (c + i) * strideX);
                Transpose16((float*)(x + c * strideX), strideX, (float*)(y + c), strideY);
            }
        }
        if (sizeof(T) == 4)
        {
            for (; c + 4 <= columns; c += 4)
            {
                float* p = (float*)(x + c * strideX);
                nint r = 0;
                for (; r + 4 <= rows; r += 4)
                    Transpose4(p + r, strideX, (float*)(y + r * strideY + c), strideY);
                for (; r < rows; r++)
                    for (nint i = 0; i < 4; i++) y[r * strideY + c + i] = x[(c + i) * strideX + r];
            }
        }
        for (; c < columns; c++)
            for (nint r = 0; r < rows; r++) y[r * strideY + c] = x[c * strideX + r];
    }

    /// <summary>A 16×16 block of 4-byte elements: pairs, quadruples, then the four 128-bit lanes are interleaved.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose16(float* x, nint strideX, float* y, nint strideY)
    {
        Vector512<float>* u = stackalloc Vector512<float>[16];
        for (int i = 0; i < 16; i += 4, x += 4 * strideX)
        {
            var a = Vector512.Load(x);
            var b = Vector512.Load(x + strideX);
            var c = Vector512.Load(x + 2 * strideX);
            var d = Vector512.Load(x + 3 * strideX);
            var ab0 = Avx512F.UnpackLow(a, b).AsDouble();
            var ab1 = Avx512F.UnpackHigh(a, b).AsDouble();
            var cd0 = Avx512F.UnpackLow(c, d).AsDouble();
            var cd1 = Avx512F.UnpackHigh(c, d).AsDouble();
            u[i] = Avx512F.UnpackLow(ab0, cd0).AsSingle();
            u[i + 1] = Avx512F.UnpackHigh(ab0, cd0).AsSingle();
            u[i + 2] = Avx512F.UnpackLow(ab1, cd1).AsSingle();
            u[i + 3] = Avx512F.UnpackHigh(ab1, cd1).AsSingle();
        }
        for (int j = 0; j < 4; j++, y += strideY)
        {
            var even01 = Avx512F.Shuffle4x128(u[j], u[4 + j], 0x88);
            var odd01 = Avx512F.Shuffle4x128(u[j], u[4 + j], 0xDD);
            var even23 = Avx512F.Shuffle4x128(u[8 + j], u[12 + j], 0x88);
            var odd23 = Avx512F.Shuffle4x128(u[8 + j], u[12 + j], 0xDD);
            Avx512F.Shuffle4x128(even01, even23, 0x88).Store(y);
            Avx512F.Shuffle4x128(odd01, odd23, 0x88).Store(y + 4 * strideY);
            Avx512F.Shuffle4x128(even01, even23, 0xDD).Store(y + 8 * strideY);
            Avx512F.Shuffle4x128(odd01, odd23, 0xDD).Store(y + 12 * strideY);
        }
    }

    /// <summary>A 4×4 block of 4-byte elements, turned in registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose4(float* x, nint strideX, float* y, nint strideY)
    {
        var a = Vector128.Load(x);
        var b = Vector128.Load(x + strideX);
        var c = Vector128.Load(x + 2 * strideX);
        var d = Vector128.Load(x + 3 * strideX);
        var ab0 = Interleave(a, b, false);
        var ab1 = Interleave(a, b, true);
        var cd0 = Interleave(c, d, false);
        var cd1 = Interleave(c, d, true);
        Vector128.Create(ab0.GetLower(), cd0.GetLower()).Store(y);
        Vector128.Create(ab0.GetUpper(), cd0.GetUpper()).Store(y + strideY);
        Vector128.Create(ab1.GetLower(), cd1.GetLower()).Store(y + 2 * strideY);
        Vector128.Create(ab1.GetUpper(), cd1.GetUpper()).Store(y + 3 * strideY);
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
