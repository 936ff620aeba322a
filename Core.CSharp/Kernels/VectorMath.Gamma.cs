using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector512;
using V = System.Runtime.Intrinsics.Vector512<double>;

namespace Functional.Kernels;

/// <content>
/// ln |Γ| and its derivative, in double for both widths: from <see cref="Asymptotic"/> on by Stirling's series, and from 0 up to there by the
/// recurrence. What is not positive is mirrored, number by number.
/// </content>
internal static unsafe partial class VectorMath
{
    /// <summary>From here on eight terms of the series leave less than a rounding error.</summary>
    private const double Asymptotic = 10;

    private const double HalfLogTwoPi = 0.91893853320467274178;

    /// <summary><c>ln |Γ(x)|</c></summary>
    public static Vector512<T> LogGamma<T>(Vector512<T> x) where T : unmanaged
    {
        if (typeof(T) == typeof(double)) return LogGamma(x.As<T, double>()).As<double, T>();
        var (low, high) = Widen(x.As<T, float>());
        return Narrow(LogGamma(low), LogGamma(high)).As<float, T>();
    }

    /// <summary><c>ψ(x) = d/dx ln Γ(x)</c></summary>
    public static Vector512<T> Digamma<T>(Vector512<T> x) where T : unmanaged
    {
        if (typeof(T) == typeof(double)) return Digamma(x.As<T, double>()).As<double, T>();
        var (low, high) = Widen(x.As<T, float>());
        return Narrow(Digamma(low), Digamma(high)).As<float, T>();
    }

    /// <summary><c>ψ(x)</c> of one number</summary>
    public static double Digamma(double x) => Digamma(Create(x))[0];

    /// <summary>ln Γ(x) = (x − ½)·ln x − x + ln √2π + 1/12x − 1/360x³ + …, less the logarithm of x(x + 1)… up to there.</summary>
    private static V LogGamma(V x)
    {
        var (at, product) = (x, V.One);
        for (V below; (below = LessThan(at, Create(Asymptotic)) & GreaterThan(at, V.Zero)) != V.Zero;)
        {
            product = ConditionalSelect(below, product * at, product);
            at += below & V.One;
        }
        var inverse = V.One / at;
        var z = inverse * inverse;
        var p = Create(691.0 / 360360);
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1188));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1680));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1260));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 360));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 12));
        var y = (at - Create(0.5)) * Log(at) - at + Create(HalfLogTwoPi) + p * inverse - Log(product);
        // Beside the zeros at 1 and 2 that difference has lost its digits: t = x − 1 or x − 2 goes through the series of ln Γ(1 + t).
        var second = GreaterThan(x, Create(1.5));
        var t = x - ConditionalSelect(second, Create(2.0), V.One);
        var beside = LessThanOrEqual(Abs(t), Create(0.25));
        if (beside != V.Zero) y = ConditionalSelect(beside, t * NearOne(t) + (second & Log1p(t)), y);
        // ∞ − ∞ is no number.
        y = ConditionalSelect(Vector512.Equals(x, Create(double.PositiveInfinity)), x, y);
        var mirrored = LessThanOrEqual(x, V.Zero);
        return mirrored == V.Zero ? y : Patch(y, mirrored, x, &LogGammaMirrored);
    }

    // −γ and (−1)ᵏζ(k)/k for k = 2 … 26.
    private static readonly double[] _nearOne =
    [
        -0.5772156649015329, 0.8224670334241132, -0.40068563438653143, 0.27058080842778454, -0.20738555102867398, 0.1695571769974082,
        -0.1440498967688461, 0.12550966952474304, -0.11133426586956469, 0.1000994575127818, -0.09095401714582904, 0.083353840546109,
        -0.0769325164113522, 0.07143294629536133, -0.06666870588242046, 0.06250095514121304, -0.058823978658684585, 0.055555767627403614,
        -0.05263167937961666, 0.05000004769810169, -0.047619070330142226, 0.04545455629320467, -0.04347826605304026, 0.04166666915034121,
        -0.04000000119214014, 0.03846153903467518,
    ];

    /// <summary>ln Γ(1 + t)/t for |t| ≤ ¼</summary>
    private static V NearOne(V t)
    {
        var p = Create(_nearOne[^1]);
        for (var k = _nearOne.Length - 2; k >= 0; k--) p = FusedMultiplyAdd(p, t, Create(_nearOne[k]));
        return p;
    }

    /// <summary>Γ(x)·Γ(1 − x) = π/sin πx</summary>
    private static double LogGammaMirrored(double x) =>
        x <= 0 && x == Math.Floor(x) ? double.PositiveInfinity
        : Math.Log(Math.PI / Math.Abs(Math.Sin(Math.PI * (x - Math.Floor(x))))) - LogGamma(Create(1 - x))[0];

    /// <summary>ψ(x) = ln x − 1/2x − 1/12x² + 1/120x⁴ − …, less 1/x + 1/(x + 1) + … up to there.</summary>
    private static V Digamma(V x)
    {
        var (at, sum) = (x, V.Zero);
        for (V below; (below = LessThan(at, Create(Asymptotic)) & GreaterThan(at, V.Zero)) != V.Zero;)
        {
            sum += below & (V.One / at);
            at += below & V.One;
        }
        var inverse = V.One / at;
        var z = inverse * inverse;
        var p = Create(1.0 / 12);
        p = FusedMultiplyAdd(-p, z, Create(691.0 / 32760));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 132));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 240));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 252));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 120));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 12));
        var y = Log(at) - FusedMultiplyAdd(p, z, Create(0.5) * inverse) - sum;
        var mirrored = LessThanOrEqual(x, V.Zero);
        return mirrored == V.Zero ? y : Patch(y, mirrored, x, &DigammaMirrored);
    }

    /// <summary>ψ(1 − x) − ψ(x) = π·cot πx. From either side of 0 the pole is an infinity; the negative ones have a sign on neither.</summary>
    private static double DigammaMirrored(double x)
    {
        if (x == 0) return -1 / x;
        if (double.IsNegativeInfinity(x) || (x <= 0 && x == Math.Floor(x))) return double.NaN;
        // π·cot is periodic, and its own argument loses digits far from 0.
        var rest = x - Math.Floor(x);
        return Digamma(Create(1 - x))[0] - (rest == 0.5 ? 0 : Math.PI / Math.Tan(Math.PI * rest));
    }
}
