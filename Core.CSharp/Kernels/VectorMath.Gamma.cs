using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector512;
using V = System.Runtime.Intrinsics.Vector512<double>;

namespace Functional.Kernels;

/// <content>
/// ln |Γ| and its derivative, in double for both widths: from some number on by Stirling's series, and from 0 up to there by the
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
        return Narrow(LogGammaModerate(low), LogGammaModerate(high)).As<float, T>();
    }

    /// <summary><c>ψ(x) = d/dx ln Γ(x)</c></summary>
    public static Vector512<T> Digamma<T>(Vector512<T> x) where T : unmanaged
    {
        if (typeof(T) == typeof(double)) return Digamma(x.As<T, double>()).As<double, T>();
        var (low, high) = Widen(x.As<T, float>());
        return Narrow(Digamma(low), Digamma(high)).As<float, T>();
    }

    /// <summary><c>ln |Γ(x)|</c> of one number</summary>
    public static double LogGamma(double x) => LogGamma(Create(x))[0];

    /// <summary><c>eˣ − 1</c> of one number</summary>
    public static double Expm1(double x) => Expm1(Create(x))[0];

    /// <summary><c>ψ(x)</c> of one number</summary>
    public static double Digamma(double x) => Digamma(Create(x))[0];

    /// <summary>ln Γ(x) = (x − ½)·ln x − x + ln √2π + 1/12x − 1/360x³ + …, less the logarithm of x(x + 1)… up to there.</summary>
    private static V LogGamma(V x)
    {
        var (at, product) = (x, V.One);
        for (V below; (below = LessThan(at, Create(Asymptotic)) & GreaterThan(at, V.Zero)) != V.Zero;) RaiseGamma(ref at, ref product, below);
        var inverse = V.One / at;
        var z = inverse * inverse;
        var p = Create(691.0 / 360360);
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1188));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1680));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1260));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 360));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 12));
        return LogGamma(x, at, p * inverse, product, NearTwoTerms.Length);
    }

    /// <summary>The same for numbers of single precision, widened: five terms leave less than 2⁻³⁰ from 4 on, and fourteen around 1 and 2.</summary>
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static V LogGammaModerate(V x)
    {
        var (at, product) = (x, V.One);
        for (var step = 0; step < 4; step++) RaiseGamma(ref at, ref product, LessThan(at, Create(4.0)) & GreaterThan(at, V.Zero));
        var inverse = V.One / at;
        var z = inverse * inverse;
        var p = Create(1.0 / 1188);
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1680));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 1260));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 360));
        p = FusedMultiplyAdd(-p, z, Create(1.0 / 12));
        return LogGamma(x, at, p * inverse, product, 14);
    }

    /// <summary>Γ(x + 1) = x·Γ(x)</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void RaiseGamma(ref V at, ref V product, V below)
    {
        product = ConditionalSelect(below, product * at, product);
        at += below & V.One;
    }

    /// <summary>ln Γ(x) from the series at x + some whole number, what is small of it in <paramref name="rest"/>, the product that leads there,
    /// and so many terms around 1 and 2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V LogGamma(V x, V at, V rest, V product, int near)
    {
        // Around the zeros at 1 and 2 a difference of logarithms has lost its digits: t = x − 1 or x − 2 goes through the series of
        // ln Γ(2 + t) = ln Γ(1 + t) + ln(1 + t). One logarithm serves both: what else is a product is there x.
        var second = GreaterThan(x, Create(1.5));
        var t = x - ConditionalSelect(second, Create(2.0), V.One);
        var beside = LessThanOrEqual(Abs(t), Create(0.5));
        var logarithm = Log(ConditionalSelect(beside, x, product));
        var y = ConditionalSelect(beside, t * NearTwo(t, near) - AndNot(logarithm, second),
            (at - Create(0.5)) * Log(at) - at + Create(HalfLogTwoPi) + rest - logarithm);
        // ∞ − ∞ is no number.
        y = ConditionalSelect(Vector512.Equals(x, Create(double.PositiveInfinity)), x, y);
        var mirrored = LessThanOrEqual(x, V.Zero);
        return mirrored == V.Zero ? y : Patch(y, mirrored, x, &LogGammaMirrored);
    }

    // 1 − γ and (−1)ᵏ(ζ(k) − 1)/k for k = 2 … 26.
    private static ReadOnlySpan<double> NearTwoTerms =>
    [
        0.42278433509846713, 0.3224670334241132, -0.0673523010531981, 0.020580808427784546, -0.007385551028673986, 0.0028905103307415234,
        -0.001192753911703261, 0.0005096695247430425, -0.00022315475845357939, 9.945751278180853e-05, -4.492623673813314e-05, 2.050721277567069e-05,
        -9.439488275268397e-06, 4.374866789907488e-06, -2.039215753801366e-06, 9.55141213040742e-07, -4.492469198764566e-07, 2.1207184805554665e-07,
        -1.0043224823968099e-07, 4.7698101693639804e-08, -2.2711094608943164e-08, 1.0838659214896955e-08, -5.183475041970047e-09,
        2.4836745438024785e-09, -1.1921401405860912e-09, 5.731367241678862e-10,
    ];

    /// <summary>ln Γ(2 + t)/t for |t| ≤ ½, by so many terms</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V NearTwo(V t, int terms)
    {
        var p = Create(NearTwoTerms[terms - 1]);
        for (var k = terms - 2; k >= 0; k--) p = FusedMultiplyAdd(p, t, Create(NearTwoTerms[k]));
        return p;
    }

    /// <summary>Γ(x)·Γ(1 − x) = π/sin πx</summary>
    private static double LogGammaMirrored(double x) =>
        x <= 0 && x == Math.Floor(x) ? double.PositiveInfinity
        : Math.Log(Math.PI / Math.Abs(Math.Sin(Math.PI * (x - Math.Floor(x))))) - LogGamma(1 - x);

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
