using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>One axis of a lattice. A window's taps that are a stride apart read the same phase of the input; each phase that any tap reads has a slot of its own.
/// Element g of slot p is the input's element Origin + g·Stride + (p·Dilation mod Stride), zero outside the input.</summary>
internal struct LatticeAxis
{
    internal int Input, Origin, Stride, Dilation, Slots, Count;

    internal readonly int Phase(int slot) => slot * Dilation % Stride;

    /// <summary>The taps' phases repeat after this many taps.</summary>
    internal readonly int Period => Stride / (int)BigInteger.GreatestCommonDivisor(Dilation, Stride);

    /// <summary>For windows over an axis, <paramref name="outputs"/> of them at a time.</summary>
    internal static LatticeAxis Of(in WindowAxis axis, int outputs)
    {
        var lattice = new LatticeAxis { Input = axis.Input, Origin = -axis.Before, Stride = axis.Stride, Dilation = axis.Dilation };
        lattice.Slots = Math.Min(axis.Kernel, lattice.Period);
        lattice.Count = outputs + (axis.Kernel - 1) * axis.Dilation / axis.Stride;
        return lattice;
    }
}

[InlineArray(WindowAxes.Count)]
internal struct LatticeAxes
{
    private LatticeAxis _axis;
}

/// <summary>An image's channels copied with zero borders, the phases of the stride side by side: every window of any stride and dilation then reads
/// at distances that are the same for all windows, and neighbouring windows read neighbouring elements.</summary>
internal struct Lattice
{
    internal LatticeAxes Axes;

    internal readonly nint Row => Axes[2].Count;

    internal readonly nint Plane => Row * Axes[1].Count;

    private readonly nint Volume => Plane * Axes[0].Count;

    /// <summary>From channel to channel, in elements: no multiple of a page, where lines of all channels would compete for the same places in the cache.</summary>
    internal readonly nint Channel
    {
        get
        {
            var size = (Volume * Axes[0].Slots * Axes[1].Slots * Axes[2].Slots + 15) / 16 * 16;
            return size % 512 == 0 ? size + 16 : size;
        }
    }

    /// <summary>The distance from a window's first element, without its channel, to its tap.</summary>
    internal readonly nint Tap(int t0, int t1, int t2)
    {
        var (d, h, w) = (Axes[0], Axes[1], Axes[2]);
        var slot = (nint)(t0 % d.Period * h.Slots + t1 % h.Period) * w.Slots + t2 % w.Period;
        return slot * Volume + t0 * d.Dilation / d.Stride * Plane + t1 * h.Dilation / h.Stride * Row + t2 * w.Dilation / w.Stride;
    }

    /// <summary>Fills the lattice from channels that lie <paramref name="step"/> elements apart.</summary>
    internal readonly unsafe void Fill<T>(T* source, nint step, int channels, T* target) where T : unmanaged
    {
        var (d, h, w) = (Axes[0], Axes[1], Axes[2]);
        for (var c = 0; c < channels; c++)
        {
            var image = source + c * step;
            var to = target + c * Channel;
            for (var slot0 = 0; slot0 < d.Slots; slot0++)
                for (var slot1 = 0; slot1 < h.Slots; slot1++)
                    for (var slot2 = 0; slot2 < w.Slots; slot2++)
                        for (var g0 = 0; g0 < d.Count; g0++)
                        {
                            var i0 = d.Origin + g0 * d.Stride + d.Phase(slot0);
                            for (var g1 = 0; g1 < h.Count; g1++)
                            {
                                var i1 = h.Origin + g1 * h.Stride + h.Phase(slot1);
                                if ((uint)i0 >= (uint)d.Input || (uint)i1 >= (uint)h.Input) new Span<T>(to, w.Count).Clear();
                                else FillRow(image + ((nint)i0 * h.Input + i1) * w.Input, w.Input, w.Origin + w.Phase(slot2), w.Stride, to, w.Count);
                                to += w.Count;
                            }
                        }
        }
    }

    /// <summary>target[g] = source[first + g·stride], zero outside.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe void FillRow<T>(T* source, int size, int first, int stride, T* target, int count) where T : unmanaged
    {
        nint from = first >= 0 ? 0 : Math.Min(count, (stride - 1 - first) / stride);
        nint to = first >= size ? from : Math.Max(from, Math.Min(count, (size - 1 - first) / stride + 1));
        for (nint g = 0; g < from; g++) target[g] = default;
        var p = source + first + from * stride;
        var n = to - from;
        var q = target + from;
        nint i = 0;
        if (stride == 1)
        {
            for (; i + Vector512<T>.Count <= n; i += Vector512<T>.Count) Vector512.Store(Vector512.Load(p + i), q + i);
            if (Avx512F.IsSupported)
            {
                if (i < n) Lanes.Store(Lanes.Load(p + i, n - i), q + i, n - i);
                i = n;
            }
            for (; i < n; i++) q[i] = p[i];
        }
        else
        {
            if (stride == 2 && sizeof(T) == 4 && Avx512F.IsSupported)
            {
                var even = Vector512<int>.Indices * 2;
                // The last of 32 elements is not needed and may not exist.
                for (; i + 16 <= n; i += 16)
                    Avx512F.PermuteVar16x32x2(Vector512.Load((int*)(p + 2 * i)), even, Lanes.Load((int*)(p + 2 * i) + 16, 15)).Store((int*)(q + i));
            }
            for (; i < n; i++) q[i] = p[i * stride];
        }
        for (nint g = to; g < count; g++) target[g] = default;
    }
}
