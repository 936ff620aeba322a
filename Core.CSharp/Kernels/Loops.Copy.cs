using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

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
            if (g.Rank == 2 && Transposition.InBlocks(g.Size(1), y, g.Stride(1, 1)))
            {
                Transposition.Blocks(g.Size(1), g.Size(0), x, g.Stride(0, 0), y, g.Stride(1, 1));
                return;
            }
            var tile = new TransposeTile<T> { X = x, Y = y, Columns = g.Size(0), StrideX = g.Stride(0, 0), StrideY = g.Stride(1, axis) };
            Tiles(in g, axis, ref tile);
            return;
        }
        var row = new CopyRow<T> { X = x, Y = y, Streamed = Large<T>(g.Count) };
        (row.StepX, row.StepY) = g.Rank > 0 ? (g.Stride(0, 0), g.Stride(1, 0)) : (1, 1);
        WalkEach(in g, row);
    }

    private struct CopyRow<T> : IRow where T : unmanaged
    {
        public T* X, Y;
        public nint StepX, StepY;
        public bool Streamed;

        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3)
        {
            T* x = X + o0, y = Y + o1;
            if (StepX == 1 && StepY == 1) Stretch((byte*)x, (byte*)y, n * sizeof(T), Streamed);
            else if (StepX == 0 && StepY == 1) new Span<T>(y, (int)n).Fill(*x);
            else if (StepY == 1) Gather(x, StepX, y, n);
            else
            {
                for (nint i = 0; i < n; i++) y[i * StepY] = x[i * StepX];
            }
        }
    }

    /// <summary>Copies bytes. The first and last vectors lie over their neighbours, which are stored on whole cache lines: up to a page of them without the
    /// system's copy, which takes as long to find its way, and around the caches where no cache holds the result.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Stretch(byte* x, byte* y, nint bytes, bool streamed)
    {
        nint w = Vector512<byte>.Count, last = bytes - w;
        if (last < 0 || (bytes > 4096 && !streamed))
        {
            Unsafe.CopyBlockUnaligned(y, x, (uint)bytes);
            return;
        }
        Vector512.Load(x).Store(y);
        nint i = w - (nint)y % w;
        if (streamed)
            for (; i < last; i += w) Vector512.Load(x + i).StoreAlignedNonTemporal(y + i);
        else
            for (; i < last; i += w) Vector512.Load(x + i).Store(y + i);
        Vector512.Load(x + last).Store(y + last);
    }

    private struct TransposeTile<T> : ITile where T : unmanaged
    {
        public T* X, Y;
        public nint Columns, StrideX, StrideY;

        public readonly void Run(nint rows, nint o0, nint o1, nint o2, nint o3) =>
            Transposition.Strip(rows, Columns, X + o0, StrideX, Y + o1, StrideY);
    }
}
