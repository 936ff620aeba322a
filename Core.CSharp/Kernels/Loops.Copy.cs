using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <content>Strided copies of elements of 1, 4 or 8 bytes, and the square tiles that turn swapped axes.</content>
internal static unsafe partial class Loops
{
    /// <summary>Rows and columns of a transposed tile: small enough that both sides stay in the first-level cache.</summary>
    private const int Tile = 16;

    /// <summary><c>y = x</c> over a walk of (x, y).</summary>
    public static void Copy<T>(in Geometry g, T* x, T* y) where T : unmanaged
    {
        if (g.Count == 0) return;
        if (g.Rank >= 2 && g.Stride(1, 0) == 1 && g.Stride(0, 0) != 1)
        {
            // the source's unit stride lies along another axis: walk tiles of that axis and the inner one
            for (int d = 1; d < g.Rank; d++)
            {
                if (g.Stride(0, d) != 1 || g.Size(d) < 4 || g.Size(0) < 4) continue;
                Transpose(in g, d, x, y);
                return;
            }
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

    /// <summary>Copies the planes spanned by the inner axis (contiguous in y) and <paramref name="axis"/> (contiguous in x) in tiles.</summary>
    private static void Transpose<T>(in Geometry g, int axis, T* x, T* y) where T : unmanaged
    {
        // the walk over everything else, with a strip of Tile rows of the plane as its innermost element
        nint rows = g.Size(axis), columns = g.Size(0);
        var outer = Geometry.Start();
        for (int d = g.Rank - 1; d >= 1; d--)
            if (d != axis) outer.Append(g.Size(d), g.Stride(0, d), g.Stride(1, d));
        nint strips = (rows + Tile - 1) / Tile;
        var job = new TransposeJob<T>
        {
            X = x, Y = y, Outer = &outer, Rows = rows, Columns = columns, Strips = strips,
            StrideX = g.Stride(0, 0), StrideY = g.Stride(1, axis),
        };
        nint total = outer.Count * strips;
        int chunks = g.Count < 2 * Chunk ? 1 : (int)Math.Min(16, total);
        job.PerChunk = (total + chunks - 1) / chunks;
        job.Total = total;
        if (chunks == 1) job.Run(0);
        else Workers.For(chunks, ref job);
    }

    private struct TransposeJob<T> : IJob where T : unmanaged
    {
        public T* X, Y;
        public Geometry* Outer;
        public nint Rows, Columns, Strips, StrideX, StrideY, PerChunk, Total;

        public readonly void Run(int chunk)
        {
            nint end = Math.Min(Total, (chunk + 1) * PerChunk);
            for (nint item = chunk * PerChunk; item < end; item++)
            {
                nint plane = item / Strips, strip = item - plane * Strips, ox = 0, oy = 0;
                for (int d = 0; d < Outer->Rank; d++)
                {
                    nint next = plane / Outer->Size(d), i = plane - next * Outer->Size(d);
                    ox += i * Outer->Stride(0, d);
                    oy += i * Outer->Stride(1, d);
                    plane = next;
                }
                nint first = strip * Tile;
                TransposeStrip(Math.Min(Tile, Rows - first), Columns, X + ox + first, StrideX, Y + oy + first * StrideY, StrideY);
            }
        }
    }

    /// <summary><c>y[r·strideY + c] = x[c·strideX + r]</c> for r &lt; rows ≤ Tile, c &lt; columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TransposeStrip<T>(nint rows, nint columns, T* x, nint strideX, T* y, nint strideY) where T : unmanaged
    {
        nint c = 0;
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
        if (System.Runtime.Intrinsics.X86.Sse.IsSupported)
            return high ? System.Runtime.Intrinsics.X86.Sse.UnpackHigh(a, b) : System.Runtime.Intrinsics.X86.Sse.UnpackLow(a, b);
        int i = high ? 2 : 0;
        return Vector128.Create(a[i], b[i], a[i + 1], b[i + 1]);
    }
}
