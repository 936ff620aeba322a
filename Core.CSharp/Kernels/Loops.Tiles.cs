using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>A strip of up to sixteen rows of a plane, the operands starting at the given offsets.</summary>
internal interface ITile
{
    void Run(nint rows, nint o0, nint o1, nint o2, nint o3);
}

/// <content>
/// Walks with an operand whose unit stride lies along another axis than the innermost: strips of that axis, so that each
/// cache line of the operand is used whole.
/// </content>
internal static unsafe partial class Loops
{
    /// <summary>Rows of a strip.</summary>
    private const int Tile = Transposition.Tile;

    /// <summary>The axis along which <paramref name="operand"/> has stride 1, if it is worth walking in tiles.</summary>
    private static bool TileAxis(in Geometry g, int operand, out int axis)
    {
        axis = 0;
        if (Plain(g.Stride(operand, 0)) || g.Size(0) < 4) return false;
        for (int d = 1; d < g.Rank; d++)
        {
            if (g.Stride(operand, d) != 1 || g.Size(d) < 4) continue;
            axis = d;
            return true;
        }
        return false;
    }

    /// <summary>Runs a tile over every strip of <paramref name="axis"/>, for every index of the axes that are neither it nor the innermost.</summary>
    private static void Tiles<TTile>(in Geometry g, int axis, ref TTile tile) where TTile : struct, ITile
    {
        var outer = Geometry.Start();
        for (int d = g.Rank - 1; d >= 1; d--)
            if (d != axis) outer.Append(g.Size(d), g.Stride(0, d), g.Stride(1, d), g.Stride(2, d), g.Stride(3, d));
        nint strips = (g.Size(axis) + Tile - 1) / Tile, total = outer.Count * strips;
        int chunks = g.Count < 2 * Chunk ? 1 : (int)Math.Min(16, total);
        var job = new TileJob<TTile>
        {
            Tile = tile,
            Outer = &outer,
            Rows = g.Size(axis),
            Strips = strips,
            Total = total,
            PerChunk = (total + chunks - 1) / chunks,
            S0 = g.Stride(0, axis),
            S1 = g.Stride(1, axis),
            S2 = g.Stride(2, axis),
            S3 = g.Stride(3, axis),
        };
        if (chunks == 1) job.Run(0);
        else Workers.For(chunks, ref job);
    }

    private struct TileJob<TTile> : IJob where TTile : struct, ITile
    {
        public TTile Tile;
        public Geometry* Outer;
        public nint Rows, Strips, Total, PerChunk, S0, S1, S2, S3;

        public void Run(int chunk)
        {
            nint end = Math.Min(Total, (chunk + 1) * PerChunk);
            for (nint item = chunk * PerChunk; item < end; item++)
            {
                nint plane = item / Strips, first = (item - plane * Strips) * Loops.Tile;
                nint o0 = first * S0, o1 = first * S1, o2 = first * S2, o3 = first * S3;
                for (int d = 0; d < Outer->Rank; d++)
                {
                    nint next = plane / Outer->Size(d), i = plane - next * Outer->Size(d);
                    o0 += i * Outer->Stride(0, d);
                    o1 += i * Outer->Stride(1, d);
                    o2 += i * Outer->Stride(2, d);
                    o3 += i * Outer->Stride(3, d);
                    plane = next;
                }
                Tile.Run(Math.Min(Loops.Tile, Rows - first), o0, o1, o2, o3);
            }
        }
    }

    /// <summary>
    /// Rows of an operand from a tile: in place where it is plain along the row, otherwise turned or gathered into
    /// <paramref name="buffer"/> (Tile × Gathered). <paramref name="step"/> is the stride between the rows found.
    /// </summary>
    private static T* Panel<T>(T* p, nint stride, nint axisStride, T* buffer, nint rows, nint n, out nint step) where T : unmanaged
    {
        if (Plain(stride))
        {
            step = axisStride;
            return p;
        }
        step = Gathered;
        if (axisStride == 1) Transposition.Strip(rows, n, p, stride, buffer, Gathered);
        else
        {
            for (nint r = 0; r < rows; r++) Gather(p + r * axisStride, stride, buffer + r * Gathered, n);
        }
        return buffer;
    }
}
