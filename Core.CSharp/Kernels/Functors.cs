using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>The body of an elementwise loop <c>y = f(x)</c>: a struct, passed by value, whose fields are the attributes.</summary>
internal interface IMap1
{
    Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>;
}

/// <summary>The body of an elementwise loop <c>z = f(x, y)</c>.</summary>
internal interface IMap2
{
    Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>;
}

/// <summary>The body of an elementwise loop <c>w = f(x, y, z)</c>.</summary>
internal interface IMap3
{
    Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y, Vector512<T> z) where T : unmanaged, INumber<T>;
}

/// <summary>A relation of two elements: all bits of a lane set where it holds.</summary>
internal interface ICompare
{
    Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>;
}

/// <summary><c>−x</c></summary>
internal readonly struct NegF : IMap1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => -x;
}

/// <summary><c>|x|</c></summary>
internal readonly struct AbsF : IMap1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => Vector512.Abs(x);
}

/// <summary><c>x + y</c></summary>
internal readonly struct AddF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x + y;
}

/// <summary><c>x − y</c></summary>
internal readonly struct SubF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x - y;
}

/// <summary><c>x · y</c></summary>
internal readonly struct MulF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x * y;
}

/// <summary><c>x / y</c>; for integers truncated towards zero, and 0 where y is 0.</summary>
internal readonly struct DivF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        typeof(T) == typeof(float) || typeof(T) == typeof(double) ? x / y : Integers.Quotient(x, y);
}

/// <summary><c>⌊x / y⌋</c>, and 0 where integers are divided by 0.</summary>
internal readonly struct FloorDivF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>
    {
        if (typeof(T) == typeof(float)) return Vector512.Floor((x / y).As<T, float>()).As<float, T>();
        if (typeof(T) == typeof(double)) return Vector512.Floor((x / y).As<T, double>()).As<double, T>();
        return Integers.FloorQuotient(x, y);
    }
}

/// <summary>The remainder with the sign of the divisor, <c>x − y·⌊x / y⌋</c>; x where integers are divided by 0.</summary>
internal readonly struct ModF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Integers.Modulo(x, y);
}

/// <summary><c>max(x, y)</c>; NaN if either is.</summary>
internal readonly struct MaxF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.Max(x, y);
}

/// <summary><c>min(x, y)</c>; NaN if either is.</summary>
internal readonly struct MinF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.Min(x, y);
}

/// <summary><c>x ∧ y</c> of booleans, bytes of 0 or 1.</summary>
internal readonly struct AndF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x & y;
}

/// <summary><c>x ∨ y</c> of booleans.</summary>
internal readonly struct OrF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x | y;
}

/// <summary><c>x ⊕ y</c> of booleans.</summary>
internal readonly struct XorF : IMap2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => x ^ y;
}

/// <summary><c>¬x</c> of a boolean.</summary>
internal readonly struct NotF : IMap1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => x ^ Vector512<T>.One;
}

// The same of booleans that are lanes of all bits or none, as they are in the middle of a fused loop; ∧, ∨ and ⊕ serve both.

/// <summary><c>¬x</c> of lanes.</summary>
internal readonly struct NotLanesF : IMap1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => ~x;
}

/// <summary>x where the lane is set, else y.</summary>
internal readonly struct SelectLanesF : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> lane, Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
        Vector512.ConditionalSelect(lane, x, y);
}

/// <summary>1 where the lane is set, else 0.</summary>
internal readonly struct OneF : IMap1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> lane) where T : unmanaged, INumber<T> => lane & Vector512<T>.One;
}

/// <summary>The lane of <c>x ≠ 0</c>.</summary>
internal readonly struct NonzeroF : IMap1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => ~Vector512.Equals(x, Vector512<T>.Zero);
}

/// <summary><c>x = y</c></summary>
internal readonly struct EqualF : ICompare
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.Equals(x, y);
}

/// <summary><c>x ≠ y</c></summary>
internal readonly struct NotEqualF : ICompare
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => ~Vector512.Equals(x, y);
}

/// <summary><c>x &lt; y</c></summary>
internal readonly struct LessF : ICompare
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.LessThan(x, y);
}

/// <summary><c>x ≤ y</c></summary>
internal readonly struct LessEqualF : ICompare
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.LessThanOrEqual(x, y);
}

/// <summary><c>x &gt; y</c></summary>
internal readonly struct GreaterF : ICompare
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.GreaterThan(x, y);
}

/// <summary><c>x ≥ y</c></summary>
internal readonly struct GreaterEqualF : ICompare
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => Vector512.GreaterThanOrEqual(x, y);
}

/// <summary>Division lane by lane, with an answer where the processor would trap: 0 divisors, the smallest number by −1.</summary>
internal static unsafe class Integers
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Vector512<T> Quotient<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>
    {
        T* p = (T*)&x;
        T* q = (T*)&y;
        for (int i = 0; i < Vector512<T>.Count; i++) p[i] = Quotient(p[i], q[i]);
        return x;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Vector512<T> FloorQuotient<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>
    {
        T* p = (T*)&x;
        T* q = (T*)&y;
        for (int i = 0; i < Vector512<T>.Count; i++)
        {
            T d = Quotient(p[i], q[i]);
            T rest = p[i] - d * q[i];
            p[i] = T.IsZero(q[i]) || T.IsZero(rest) || T.IsNegative(rest) == T.IsNegative(q[i]) ? d : d - T.One;
        }
        return x;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Vector512<T> Modulo<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>
    {
        T* p = (T*)&x;
        T* q = (T*)&y;
        for (int i = 0; i < Vector512<T>.Count; i++)
        {
            T rest = typeof(T) == typeof(float) || typeof(T) == typeof(double) ? p[i] % q[i] : p[i] - Quotient(p[i], q[i]) * q[i];
            p[i] = T.IsZero(q[i]) || T.IsZero(rest) || T.IsNegative(rest) == T.IsNegative(q[i]) ? rest : rest + q[i];
        }
        return x;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Vector512<T> Power<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T>
    {
        T* p = (T*)&x;
        T* q = (T*)&y;
        for (int i = 0; i < Vector512<T>.Count; i++) p[i] = Power(p[i], q[i]);
        return x;
    }

    private static T Power<T>(T x, T y) where T : unmanaged, INumber<T>
    {
        if (T.IsNegative(y)) return x == T.One || (x == -T.One && T.IsEvenInteger(y)) ? T.One : x == -T.One ? x : T.Zero;
        var power = T.One;
        for (long rest = long.CreateTruncating(y); rest > 0; rest >>= 1, x *= x)
            if ((rest & 1) != 0)
                power *= x;
        return power;
    }

    private static T Quotient<T>(T x, T y) where T : unmanaged, INumber<T> =>
        T.IsZero(y) ? T.Zero : y == -T.One ? T.Zero - x : x / y;
}
