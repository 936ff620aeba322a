using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>One axis of a lattice. A window's taps that are a stride apart read the same phase of the input; each phase that any tap reads has a slot of its own.
/// Element g of slot p is the input's element Origin + g·Stride + (p·Dilation mod Stride), zero outside the input. Of an axis whose taps lie apart each tap has a slot,
/// element g of slot p being the input's element Origin + g·Stride + p·Dilation: all of them may then be aligned.</summary>
internal struct LatticeAxis
{
    internal int Input, Origin, Stride, Dilation, Slots, Count;

    internal bool Apart;

    internal readonly int Phase(int slot) => Apart ? slot * Dilation : slot * Dilation % Stride;

    /// <summary>The slot that a tap reads: phases repeat.</summary>
    internal readonly int Slot(int tap) => Apart ? tap : tap % Period;

    /// <summary>How many elements behind the slot's first.</summary>
    internal readonly int Steps(int tap) => Apart ? 0 : tap * Dilation / Stride;

    private readonly int Period => Stride / (int)BigInteger.GreatestCommonDivisor(Dilation, Stride);

    /// <summary>For windows over an axis, <paramref name="outputs"/> of them at a time.</summary>
    internal static LatticeAxis Of(in WindowAxis axis, int outputs)
    {
        var lattice = new LatticeAxis { Input = axis.Input, Origin = -axis.Before, Stride = axis.Stride, Dilation = axis.Dilation };
        lattice.Slots = Math.Min(axis.Kernel, lattice.Period);
        lattice.Count = outputs + (axis.Kernel - 1) * axis.Dilation / axis.Stride;
        return lattice;
    }

    /// <summary>The same with a slot for each tap, whole vectors long.</summary>
    internal static LatticeAxis Aligned(in WindowAxis axis, int outputs, int lanes) => new()
    {
        Input = axis.Input,
        Origin = -axis.Before,
        Stride = axis.Stride,
        Dilation = axis.Dilation,
        Slots = axis.Kernel,
        Count = (outputs + lanes - 1) / lanes * lanes,
        Apart = true,
    };
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
        var slot = (nint)(d.Slot(t0) * h.Slots + h.Slot(t1)) * w.Slots + w.Slot(t2);
        return slot * Volume + d.Steps(t0) * Plane + h.Steps(t1) * Row + w.Steps(t2);
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
                            if ((uint)i0 >= (uint)d.Input) new Span<T>(to, h.Count * w.Count).Clear();
                            else FillPlane(image + (nint)i0 * h.Input * w.Input, h, h.Phase(slot1), w, w.Phase(slot2), to);
                            to += Plane;
                        }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe void FillPlane<T>(T* source, in LatticeAxis h, int phase1, in LatticeAxis w, int phase2, T* target) where T : unmanaged
    {
        nint count = w.Count;
        // Columns from … to − 1 lie inside the image.
        var first = w.Origin + phase2;
        nint from = first >= 0 ? 0 : Math.Min(w.Count, (w.Stride - 1 - first) / w.Stride);
        nint to = first >= w.Input ? from : Math.Max(from, Math.Min(w.Count, (w.Input - 1 - first) / w.Stride + 1));
        if (w.Stride == 1 && sizeof(T) == 4 && Avx512F.IsSupported && count <= MostVectors * Vector512<int>.Count)
        {
            FillVectors((int*)source + first, h, phase1, w.Input, (from, to), count, (int*)target);
            return;
        }
        for (nint g = 0; g < h.Count; g++)
        {
            var i = h.Origin + g * h.Stride + phase1;
            if ((nuint)i >= (nuint)h.Input || from == to)
                for (nint j = 0; j < count; j++) target[j] = default;
            else
            {
                for (nint j = 0; j < from; j++) target[j] = default;
                var row = source + i * w.Input + first + from * w.Stride;
                if (w.Stride == 1) CopyRow(row, target + from, to - from);
                else TakeRow(row, w.Stride, target + from, to - from);
                for (var j = to; j < count; j++) target[j] = default;
            }
            target += count;
        }
    }

    private const int MostVectors = 16;

    /// <summary>Rows in whole vectors, of which the lanes inside the image are loaded and all are stored: what reaches beyond a row is written again with the next.</summary>
    [SkipLocalsInit, MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static unsafe void FillVectors(int* source, in LatticeAxis h, int phase, nint width, (nint From, nint To) inside, nint count, int* target)
    {
        nint lanes = Vector512<int>.Count, top = h.Origin + phase, step = h.Stride * width;
        var masks = stackalloc Vector512<int>[MostVectors];
        for (nint v = 0; v < count; v += lanes)
            masks[v / lanes] = Vector512.AndNot(Lanes.First<int>(inside.To - v), Lanes.First<int>(inside.From - v));
        // Rows above the image, those inside, those below.
        nint above = Math.Clamp((h.Stride - 1 - top) / h.Stride, 0, h.Count), below = Math.Clamp((h.Input - top + h.Stride - 1) / h.Stride, above, h.Count);
        int* end = target + h.Count * count, first = target + above * count, last = target + below * count;
        for (; target < first; target += lanes) PutWithin(Vector512<int>.Zero, target, end);
        var row = source + (top + above * h.Stride) * width;
        for (target = first; target < last; target += count, row += step)
            for (nint v = 0; v < count; v += lanes)
                PutWithin(Avx512F.MaskLoad(row + v, masks[v / lanes], Vector512<int>.Zero), target + v, end);
        for (; target < end; target += lanes) PutWithin(Vector512<int>.Zero, target, end);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void PutWithin(Vector512<int> v, int* target, int* end)
    {
        if (target + Vector512<int>.Count <= end) v.Store(target);
        else Lanes.Store(v, target, (nint)(end - target));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void CopyRow<T>(T* source, T* target, nint n) where T : unmanaged
    {
        nint i = 0;
        if (n >= Vector512<T>.Count)
        {
            for (; i < n - Vector512<T>.Count; i += Vector512<T>.Count) Vector512.Store(Vector512.Load(source + i), target + i);
            // The last vector may overlap the one before it.
            i = n - Vector512<T>.Count;
            Vector512.Store(Vector512.Load(source + i), target + i);
        }
        else if (Avx512F.IsSupported) Lanes.Store(Lanes.Load(source, n), target, n);
        else
            for (; i < n; i++) target[i] = source[i];
    }

    /// <summary>target[i] = source[i·stride]</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static unsafe void TakeRow<T>(T* source, nint stride, T* target, nint n) where T : unmanaged
    {
        nint i = 0;
        if (stride == 2 && sizeof(T) == 4 && Avx512F.IsSupported)
        {
            var even = Vector512<int>.Indices * 2;
            // The last of 32 elements is not needed and may not exist.
            for (; i < n; i += 16)
            {
                var left = Math.Min(16, n - i);
                var (low, high) = (Lanes.Load((int*)(source + 2 * i), 2 * left - 1), Lanes.Load((int*)(source + 2 * i) + 16, 2 * left - 17));
                Lanes.Store(Avx512F.PermuteVar16x32x2(low, even, high), (int*)(target + i), left);
            }
        }
        for (; i < n; i++) target[i] = source[i * stride];
    }

    /// <summary>target[2i] (+)= even[i], target[2i + 1] (+)= odd[i]: the adjoint of taking every other element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static unsafe void MergeRow<T>(T* even, T* odd, T* target, nint n, bool accumulate) where T : unmanaged, INumber<T>
    {
        nint i = 0, lanes = Vector512<T>.Count;
        if (sizeof(T) == 4 && Avx.IsSupported)
            for (; i + 2 * lanes <= n; i += 2 * lanes)
                Merge(Vector512.Load(even + i / 2), Vector512.Load(odd + i / 2), target + i, 2 * lanes, accumulate);
        if (sizeof(T) == 4 && Avx512F.IsSupported && i < n)
        {
            Merge(Lanes.Load(even + i / 2, (n - i + 1) / 2), Lanes.Load(odd + i / 2, (n - i) / 2), target + i, n - i, accumulate);
            return;
        }
        for (; i < n; i++)
        {
            var v = (i & 1) == 0 ? even[i / 2] : odd[i / 2];
            target[i] = accumulate ? target[i] + v : v;
        }
    }

    /// <summary>The first <paramref name="n"/> elements of even[0], odd[0], even[1], odd[1], …</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static unsafe void Merge<T>(Vector512<T> even, Vector512<T> odd, T* target, nint n, bool accumulate) where T : unmanaged
    {
        nint lanes = Vector512<T>.Count;
        var (low, high) = (even, odd);
        if (sizeof(T) == 4 && Avx512F.IsSupported)
        {
            var order = Vector512.Create(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            low = Avx512F.PermuteVar16x32x2(even.As<T, int>(), order, odd.As<T, int>()).As<int, T>();
            high = Avx512F.PermuteVar16x32x2(even.As<T, int>(), order + Vector512.Create(8), odd.As<T, int>()).As<int, T>();
        }
        else if (sizeof(T) == 4 && Avx.IsSupported)
        {
            low = Merge(even.GetLower().As<T, float>(), odd.GetLower().As<T, float>()).As<float, T>();
            high = Merge(even.GetUpper().As<T, float>(), odd.GetUpper().As<T, float>()).As<float, T>();
        }
        else
            for (var i = 0; i < lanes; i++)
            {
                var v = (i & 1) == 0 ? even : odd;
                low = low.WithElement(i, v[i / 2]);
                high = high.WithElement(i, v[(i + (int)lanes) / 2]);
            }
        Put(low, target, Math.Min(lanes, n), accumulate);
        if (n > lanes) Put(high, target + lanes, n - lanes, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Merge(Vector256<float> even, Vector256<float> odd)
    {
        var (low, high) = (Avx.UnpackLow(even, odd), Avx.UnpackHigh(even, odd));
        return Vector512.Create(Avx.Permute2x128(low, high, 0x20), Avx.Permute2x128(low, high, 0x31));
    }

    /// <summary>Stores or adds the first <paramref name="n"/> lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static unsafe void Put<T>(Vector512<T> v, T* target, nint n, bool accumulate) where T : unmanaged
    {
        if (n == Vector512<T>.Count)
        {
            if (accumulate) v += Vector512.Load(target);
            v.Store(target);
            return;
        }
        if (accumulate) v += Lanes.Load(target, n);
        Lanes.Store(v, target, n);
    }
}
