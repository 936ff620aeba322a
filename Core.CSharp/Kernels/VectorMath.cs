using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>
/// Elementary functions on whole vectors, for float and double. Every function is right at signed zeros, infinities,
/// NaN, denormals and overflow, and depends on its own lane alone. This file holds what both widths share; the
/// reductions and polynomials of each width are beside it.
/// </summary>
internal static partial class VectorMath
{
    /// <summary><c>eˣ</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Exp<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Exp(x.As<T, float>()).As<float, T>() : Exp(x.As<T, double>()).As<double, T>();

    /// <summary><c>eˣ</c> for x ≤ 0 that is itself a rounded difference: cheaper, for it need not be more precise than that; 0 for −∞, NaN for NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> ExpOfNegative<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? ExpOfNegative(x.As<T, float>()).As<float, T>() : Exp(x.As<T, double>()).As<double, T>();

    /// <summary><c>eˣ − 1</c>, exact to rounding near 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Expm1<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Expm1(x.As<T, float>()).As<float, T>() : Expm1(x.As<T, double>()).As<double, T>();

    /// <summary><c>ln x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Log<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Log(x.As<T, float>()).As<float, T>() : Log(x.As<T, double>()).As<double, T>();

    /// <summary><c>ln(1 + x)</c>, exact to rounding near 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Log1p<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Log1p(x.As<T, float>()).As<float, T>() : Log1p(x.As<T, double>()).As<double, T>();

    /// <summary><c>sin x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Sin<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Sin(x.As<T, float>()).As<float, T>() : Sin(x.As<T, double>()).As<double, T>();

    /// <summary><c>cos x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Cos<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Cos(x.As<T, float>()).As<float, T>() : Cos(x.As<T, double>()).As<double, T>();

    /// <summary><c>tan x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Tan<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Tan(x.As<T, float>()).As<float, T>() : Tan(x.As<T, double>()).As<double, T>();

    /// <summary><c>arcsin x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Asin<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Asin(x.As<T, float>()).As<float, T>() : Asin(x.As<T, double>()).As<double, T>();

    /// <summary><c>arccos x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Acos<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Acos(x.As<T, float>()).As<float, T>() : Acos(x.As<T, double>()).As<double, T>();

    /// <summary><c>arctan x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Atan<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Atan(x.As<T, float>()).As<float, T>() : Atan(x.As<T, double>()).As<double, T>();

    /// <summary><c>erf x = 2/√π ∫₀ˣ e^(−t²) dt</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Erf<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Erf(x.As<T, float>()).As<float, T>() : Erf(x.As<T, double>()).As<double, T>();

    /// <summary><c>erfc x = 1 − erf x</c>, with full relative accuracy in the right tail.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Erfc<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Erfc(x.As<T, float>()).As<float, T>() : Erfc(x.As<T, double>()).As<double, T>();

    /// <summary><c>xʸ</c> with the special cases of IEEE 754.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Pow<T>(Vector512<T> x, Vector512<T> y) =>
        typeof(T) == typeof(float)
            ? Pow(x.As<T, float>(), y.As<T, float>()).As<float, T>()
            : Pow(x.As<T, double>(), y.As<T, double>()).As<double, T>();

    /// <summary><c>tanh x = (e²ˣ − 1) / (e²ˣ + 1)</c>, which keeps every digit near 0 because the numerator is an expm1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Tanh<T>(Vector512<T> x) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return Tanh(x.As<T, float>()).As<float, T>();
        var a = Vector512.MinNative(Splat<T>(20), Vector512.Abs(x));
        var e = ExpMinus1Bounded((a + a).As<T, double>()).As<double, T>();
        return WithSign(e / (e + Splat<T>(2)), x);
    }

    /// <summary><c>σ(x) = 1 / (1 + e⁻ˣ)</c>, from <c>e^−|x|</c> so that neither tail overflows nor loses digits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Sigmoid<T>(Vector512<T> x) where T : unmanaged
    {
        var e = ExpOfNegative(-Vector512.Abs(x));
        var numerator = Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512<T>.Zero), e, Vector512<T>.One);
        return numerator / (Vector512<T>.One + e);
    }

    /// <summary><c>softplus(x) = ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Softplus<T>(Vector512<T> x) where T : unmanaged =>
        Vector512.MaxNative(Vector512<T>.Zero, x) + Log1pUnit(Exp(-Vector512.Abs(x)));

    /// <summary><c>sinh x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Sinh<T>(Vector512<T> x) where T : unmanaged
    {
        var a = Vector512.Abs(x);
        var h = HalfExp(a);
        var large = h - Splat<T>(0.25) / h;
        return WithSign(Vector512.ConditionalSelect(Vector512.LessThan(a, Vector512<T>.One), SinhSmall(a), large), x);
    }

    /// <summary><c>cosh x</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Cosh<T>(Vector512<T> x) where T : unmanaged
    {
        var h = HalfExp(Vector512.Abs(x));
        return h + Splat<T>(0.25) / h;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> HalfExp<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? HalfExp(x.As<T, float>()).As<float, T>() : HalfExp(x.As<T, double>()).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Log1pUnit<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? Log1pUnit(x.As<T, float>()).As<float, T>() : Log1pUnit(x.As<T, double>()).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> SinhSmall<T>(Vector512<T> x) =>
        typeof(T) == typeof(float) ? SinhSmall(x.As<T, float>()).As<float, T>() : SinhSmall(x.As<T, double>()).As<double, T>();

    /// <summary>The magnitude <paramref name="y"/> (non-negative) under the sign of <paramref name="x"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> WithSign<T>(Vector512<T> y, Vector512<T> x) where T : unmanaged => y | (x & Splat<T>(-0.0));

    /// <summary>A scalar function lane by lane: for the rare functions and arguments not worth a polynomial.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe Vector512<double> Each(Vector512<double> x, delegate*<double, double> f)
    {
        double* p = (double*)&x;
        for (int i = 0; i < Vector512<double>.Count; i++) p[i] = f(p[i]);
        return x;
    }

    /// <summary>The scalar function where <paramref name="where"/> is set; the other lanes keep <paramref name="y"/>.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe Vector512<double> Patch(Vector512<double> y, Vector512<double> where, Vector512<double> x, delegate*<double, double> f) =>
        Vector512.ConditionalSelect(where, Each(x, f), y);

    /// <summary>As the double form, computed in double.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe Vector512<float> Patch(Vector512<float> y, Vector512<float> where, Vector512<float> x, delegate*<double, double> f)
    {
        float* p = (float*)&x;
        for (int i = 0; i < Vector512<float>.Count; i++) p[i] = (float)f(p[i]);
        return Vector512.ConditionalSelect(where, x, y);
    }
}
