using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <content>Inverses of the hyperbolic functions, and what two numbers make: an angle, a length, the logarithm of a sum.</content>
internal static partial class VectorMath
{
    private const double Ln2 = 0.69314718055994530942;

    // From here on x + √(x² ± 1) is 2x, of which the logarithm is taken in two parts, for 2x may overflow.
    private const double LargeHyperbolic = 4294967296.0;

    /// <summary><c>arsinh x = ln(1 + a + a/(1/a + √(1 + 1/a²)))</c> of a = |x|, where no square overflows and no digit is lost near 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Asinh<T>(Vector512<T> x) where T : unmanaged
    {
        var a = Vector512.Abs(x);
        var u = Vector512<T>.One / a;
        var w = a + a / (u + Vector512.Sqrt(Fma(u, u, Vector512<T>.One)));
        return WithSign(LogOfTwice(a, w), x);
    }

    /// <summary><c>arcosh x = ln(1 + t + √(t·(t + 2)))</c> of t = x − 1; NaN for x &lt; 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Acosh<T>(Vector512<T> x) where T : unmanaged
    {
        var t = x - Vector512<T>.One;
        var y = LogOfTwice(x, t + Vector512.Sqrt(t * (t + Splat<T>(2))));
        return Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512<T>.One), Splat<T>(double.NaN), y);
    }

    /// <summary><c>artanh x = ½·ln(1 + 2a/(1 − a))</c> of a = |x|; ±∞ at ±1, NaN beyond.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Atanh<T>(Vector512<T> x) where T : unmanaged
    {
        var a = Vector512.Abs(x);
        return Splat<T>(0.5) * WithSign(Log1p((a + a) / (Vector512<T>.One - a)), x);
    }

    /// <summary>The angle of the point (x, y): arctan y/x in the half plane where x is positive, in (−π, π] altogether. The signs of zeros count, as in IEEE 754.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Atan2<T>(Vector512<T> y, Vector512<T> x) where T : unmanaged
    {
        var (a, b) = (Vector512.Abs(y), Vector512.Abs(x));
        // 0/0 and ∞/∞ are no slopes: the axes and the diagonal.
        var slope = Vector512.ConditionalSelect(Vector512.Equals(a, Vector512<T>.Zero), Vector512<T>.Zero,
            Vector512.ConditionalSelect(Vector512.Equals(a, b), Vector512<T>.One, a / b));
        // What π in T lacks, so that the supplement is rounded once.
        var rest = Splat<T>(typeof(T) == typeof(float) ? -8.74227766e-8 : 1.2246467991473532e-16);
        var angle = Atan(slope);
        angle = Vector512.ConditionalSelect(Vector512.IsNegative(x), Splat<T>(Math.PI) - (angle - rest), angle);
        // NaN in x alone does not reach the slope where y is 0.
        return Vector512.ConditionalSelect(Vector512.Equals(x, x), WithSign(angle, y), x);
    }

    /// <summary><c>√(x² + y²)</c> without overflow: the larger times √(1 + r²) of the quotient r.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> Hypot<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged
    {
        var (a, b) = (Vector512.Abs(x), Vector512.Abs(y));
        var large = Vector512.Max(a, b);
        // 0/0 and ∞/∞: the length is the larger.
        var r = Vector512.ConditionalSelect(Vector512.Equals(large, Vector512<T>.Zero) | Vector512.Equals(large, Splat<T>(double.PositiveInfinity)), Vector512<T>.Zero, Vector512.Min(a, b) / large);
        return large * Vector512.Sqrt(Fma(r, r, Vector512<T>.One));
    }

    /// <summary><c>ln(eˣ + eʸ) = max(x, y) + ln(1 + e^−|x − y|)</c></summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<T> LogAddExp<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged
    {
        // Two equal infinities have no difference.
        var d = Vector512.ConditionalSelect(Vector512.Equals(x, y), Vector512<T>.Zero, Vector512.Abs(x - y));
        return Vector512.Max(x, y) + Log1pUnit(Exp(-d));
    }

    /// <summary>ln(1 + w), or ln 2a where a is large.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> LogOfTwice<T>(Vector512<T> a, Vector512<T> w) where T : unmanaged
    {
        var large = Vector512.GreaterThan(a, Splat<T>(LargeHyperbolic));
        return Log1p(Vector512.ConditionalSelect(large, a - Vector512<T>.One, w)) + (large & Splat<T>(Ln2));
    }
}
