using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>The small vocabulary every kernel is written in: constants, partial loads and stores, fused multiply-add.</summary>
internal static unsafe class Lanes
{
    /// <summary>The scalar <paramref name="value"/> as a <typeparamref name="T"/>, folded by the JIT.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Scalar<T>(double value) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Unsafe.BitCast<float, T>((float)value);
        if (typeof(T) == typeof(double)) return Unsafe.BitCast<double, T>(value);
        if (typeof(T) == typeof(int)) return Unsafe.BitCast<int, T>((int)value);
        if (typeof(T) == typeof(long)) return Unsafe.BitCast<long, T>((long)value);
        return Unsafe.BitCast<byte, T>((byte)value);
    }

    /// <summary>A vector of <paramref name="value"/> in every lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Splat<T>(double value) where T : unmanaged => Vector512.Create(Scalar<T>(value));

    /// <summary><see cref="Splat{T}"/> of a number known at run time only. Its conversion must not write into the register of an earlier result, as a cast
    /// does: each round of a loop would wait for the end of the one before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> SplatVariable<T>(double value) where T : unmanaged =>
        typeof(T) == typeof(float) && Sse2.IsSupported
            ? Vector512.Create(Sse2.ConvertScalarToVector128Single(Vector128<float>.Zero, Vector128.CreateScalarUnsafe(value)).ToScalar()).As<float, T>()
            : Splat<T>(value);

    /// <summary><c>x·y + z</c> with one rounding; for integers the plain product and sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Fma<T>(Vector512<T> x, Vector512<T> y, Vector512<T> z)
    {
        if (typeof(T) == typeof(float))
            return Vector512.FusedMultiplyAdd(x.As<T, float>(), y.As<T, float>(), z.As<T, float>()).As<float, T>();
        if (typeof(T) == typeof(double))
            return Vector512.FusedMultiplyAdd(x.As<T, double>(), y.As<T, double>(), z.As<T, double>()).As<double, T>();
        return x * y + z;
    }

    /// <summary>The first <paramref name="n"/> (at most a vector) elements at <paramref name="p"/>, the other lanes zero; reads nothing beyond.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Load<T>(T* p, nint n) where T : unmanaged
    {
        if (Avx512F.IsSupported && sizeof(T) == 4)
            return Avx512F.MaskLoad((int*)p, FirstInts(n), Vector512<int>.Zero).As<int, T>();
        if (Avx512F.IsSupported && sizeof(T) == 8)
            return Avx512F.MaskLoad((long*)p, FirstLongs(n), Vector512<long>.Zero).As<long, T>();
        return LoadSlow(p, n);
    }

    /// <summary>Stores the first <paramref name="n"/> lanes at <paramref name="p"/>; writes nothing beyond.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(Vector512<T> v, T* p, nint n) where T : unmanaged
    {
        if (Avx512F.IsSupported && sizeof(T) == 4)
            Avx512F.MaskStore((int*)p, FirstInts(n), v.As<T, int>());
        else if (Avx512F.IsSupported && sizeof(T) == 8)
            Avx512F.MaskStore((long*)p, FirstLongs(n), v.As<T, long>());
        else
            StoreSlow(v, p, n);
    }

    /// <summary>A mask whose first <paramref name="n"/> lanes are all ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> First<T>(nint n) where T : unmanaged =>
        sizeof(T) == 4 ? FirstInts(n).As<int, T>() : FirstLongs(n).As<long, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> FirstInts(nint n) => Vector512.LessThan(Vector512<int>.Indices, Vector512.Create((int)n));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<long> FirstLongs(nint n) => Vector512.LessThan(Vector512<long>.Indices, Vector512.Create((long)n));

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Vector512<T> LoadSlow<T>(T* p, nint n) where T : unmanaged
    {
        var v = Vector512<T>.Zero;
        T* q = (T*)&v;
        for (nint i = 0; i < n; i++) q[i] = p[i];
        return v;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void StoreSlow<T>(Vector512<T> v, T* p, nint n) where T : unmanaged
    {
        T* q = (T*)&v;
        for (nint i = 0; i < n; i++) p[i] = q[i];
    }
}
