using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>What the processor says of its caches. Only the order in which memory is visited may depend on it, never what is computed.</summary>
internal static class Caches
{
    /// <summary>Bytes of a core's second cache; 1 MiB where the processor does not say.</summary>
    internal static readonly nint Second = Find(level: 2) ?? 1 << 20;

    // Where Intel's processors and AMD's describe one cache for each sub-leaf, in the same way.
    private static ReadOnlySpan<int> Leaves => [4, unchecked((int)0x8000001D)];

    private const int NoMore = 0, Instructions = 2;

    // More than any processor has; an emulated one may never say that there are no more.
    private const int MostCaches = 16;

    private static nint? Find(int level)
    {
        if (!X86Base.IsSupported) return null;
        foreach (var leaf in Leaves)
        {
            var highest = X86Base.CpuId(leaf & unchecked((int)0x80000000), 0).Eax;
            if ((uint)highest < (uint)leaf) continue;
            for (var number = 0; number < MostCaches; number++)
            {
                var (kind, shape, sets, _) = X86Base.CpuId(leaf, number);
                if ((kind & 31) == NoMore) break;
                if ((kind & 31) == Instructions || (kind >> 5 & 7) != level) continue;
                // Ways, partitions and bytes of a line, each less one, then sets, less one.
                return (nint)((shape >>> 22) + 1) * ((shape >> 12 & 1023) + 1) * ((shape & 4095) + 1) * (sets + 1);
            }
        }
        return null;
    }
}
