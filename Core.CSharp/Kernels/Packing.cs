using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>How rows fall into panels of at most <c>MaxRows</c>, whose heights differ by at most one: 64 = 13+13+13+13+12.</summary>
internal readonly struct Panels
{
    private readonly nint _height, _taller;

    internal readonly nint Count;

    internal Panels(nint rows, nint most)
    {
        Count = (rows + most - 1) / most;
        (_height, _taller) = (rows / Count, rows % Count);
    }

    internal int Height(nint panel) => (int)(panel < _taller ? _height + 1 : _height);

    /// <summary>A panel's first row.</summary>
    internal nint Start(nint panel) => panel * _height + Math.Min(panel, _taller);
}

/// <summary>Copies in the order in which a micro-kernel reads them.
/// <code>
/// B panel, columns j0 …:  p = 0: b[j0] … b[j0+width-1] ; p = 1: …   (k-major, always as wide as the widest tile)
/// A block, transposed:    p = 0: a[m0] … a[m0+rows-1] ; p = 1: …    (k-major, as wide as the block)
/// </code></summary>
internal static unsafe class Packing<T> where T : unmanaged
{
    private const int Square = Transposition.Tile;

    /// <summary>target[p·width + i] = source[i·across + p·along] for i &lt; count, p &lt; k; strides in elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Pack(T* source, nint across, nint along, int count, nint k, T* target, nint width)
    {
        if (across == 1) CopyRows(source, along, count, k, target, width);
        else
            for (nint p = 0; p < k; p += Square)
            {
                var steps = Math.Min(Square, k - p);
                if (along == 1) Transposition.Strip(steps, count, source + p, across, target + p * width, width);
                else Gather(source + p * along, across, along, count, steps, target + p * width, width);
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Gather(T* source, nint across, nint along, int count, nint k, T* target, nint width)
    {
        for (var i = 0; i < count; i++)
            for (nint p = 0; p < k; p++)
                target[p * width + i] = source[i * across + p * along];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyRows(T* source, nint along, int count, nint k, T* target, nint width)
    {
        var whole = Avx512F.IsSupported ? Vector512<T>.Count : Vector256<T>.Count;
        var body = count / whole * whole;
        var rest = count - body;
        for (nint p = 0; p < k; p++)
        {
            // Short pieces a stride apart: no hardware prefetcher looks there.
            for (var i = 0; i < count && Sse.IsSupported; i += 64 / sizeof(T)) Sse.Prefetch0(source + Square * along + i);
            if (Avx512F.IsSupported)
            {
                for (var i = 0; i < body; i += whole) Vector512.Load(source + i).Store(target + i);
                if (rest > 0) Lanes.Store(Lanes.Load(source + body, rest), target + body, rest);
            }
            else
            {
                for (var i = 0; i < body; i += whole) Vector256.Load(source + i).Store(target + i);
                for (var i = body; i < count; i++) target[i] = source[i];
            }
            source += along;
            target += width;
        }
    }
}
