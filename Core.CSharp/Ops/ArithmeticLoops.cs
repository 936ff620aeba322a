using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Kernels;
using static Functional.Kernels.Lanes;
using static Functional.Ops.Elementwise;

namespace Functional.Ops;

// The loop bodies of Arithmetic: those of derivatives take g first.

internal readonly struct PowF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        typeof(T) == typeof(float) || typeof(T) == typeof(double) ? VectorMath.Pow(x, y) : Integers.Power(x, y);
}

/// <summary>g/y of (g, y, z)</summary>
internal readonly struct DivByX : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> y, Vector512<T> z) where T : unmanaged, INumber<T> =>
        Vector512.AndNot(g / y, Vector512.Equals(g, Vector512<T>.Zero));
}

/// <summary>−g·z/y of (g, y, z)</summary>
internal readonly struct DivByY : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> y, Vector512<T> z) where T : unmanaged, INumber<T> => Chained(g, -z / y);
}

/// <summary>−g·⌊x / y⌋ of (g, x, y)</summary>
internal readonly struct ModByY : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        Chained(g, -default(FloorDivF).Invoke(x, y));
}

/// <summary>g·y·xʸ⁻¹ of (g, x, y), 0 where y is</summary>
internal readonly struct PowByX : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        Chained(g, Chained(y, VectorMath.Pow(x, y - Vector512<T>.One)));
}

/// <summary>z·ln x of (z, x, y), 0 where x is 0 and y ≥ 0</summary>
internal readonly struct PowByY : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> z, Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        Vector512.AndNot(z * VectorMath.Log(x), Vector512.Equals(x, Vector512<T>.Zero) & Vector512.GreaterThanOrEqual(y, Vector512<T>.Zero));
}

/// <summary>g where x is not the smaller of (x, y), half of it at ties</summary>
internal readonly struct GreaterTakes : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        Vector512.AndNot(g * Vector512.ConditionalSelect(Vector512.Equals(x, y), Splat<T>(0.5), Vector512<T>.One), Vector512.LessThan(x, y));
}

/// <summary>g where x is not the greater of (x, y), half of it at ties</summary>
internal readonly struct LessTakes : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        Vector512.AndNot(g * Vector512.ConditionalSelect(Vector512.Equals(x, y), Splat<T>(0.5), Vector512<T>.One), Vector512.GreaterThan(x, y));
}
