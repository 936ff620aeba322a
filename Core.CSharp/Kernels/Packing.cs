using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Copies of panels of A and B in the order in which a micro-kernel reads them.
/// <code>
/// A panel, rows r0 …:  p = 0: a[r0] a[r0+1] … ; p = 1: …      (k-major, as wide as the panel has rows)
/// B panel, columns j0 …:  p = 0: b[j0] … b[j0+width-1] ; p = 1: …   (k-major, always as wide as the widest tile)
/// </code></summary>
internal static unsafe class Packing<T> where T : unmanaged
{
    // A square of this many elements fits in L1 on both sides while it is turned.
    private const int Square = 16;

    /// <summary>target[p·width + i] = source[i·across + p·along] for i &lt; count, p &lt; k; strides in elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Pack(T* source, nint across, nint along, int count, nint k, T* target, nint width)
    {
        if (across == 1) CopyRows(source, along, count, k, target, width);
        else
            for (nint p0 = 0; p0 < k; p0 += Square)
            {
                var p1 = Math.Min(p0 + Square, k);
                for (var i = 0; i < count; i++)
                {
                    var from = source + i * across + p0 * along;
                    var to = target + p0 * width + i;
                    for (var p = p0; p < p1; p++)
                    {
                        *to = *from;
                        from += along;
                        to += width;
                    }
                }
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyRows(T* source, nint along, int count, nint k, T* target, nint width)
    {
        for (nint p = 0; p < k; p++)
        {
            var i = 0;
            for (; i <= count - Vector256<T>.Count; i += Vector256<T>.Count) Vector256.Load(source + i).Store(target + i);
            for (; i < count; i++) target[i] = source[i];
            source += along;
            target += width;
        }
    }
}
