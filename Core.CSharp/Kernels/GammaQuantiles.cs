namespace Functional.Kernels;

/// <summary>
/// Quantiles of the gamma distribution and how they move with its concentration a. With W = z^a·e^−z/Γ(a), z times the density, below z lies P = W·S and
/// beyond it Q = W·C, where S = Σ z^k/(a(a + 1)…(a + k)) and C = 1/(z + 1 − a − 1·(1 − a)/(z + 3 − a − 2·(2 − a)/(z + 5 − a − …))).
/// Each is used where its terms are of one sign (DLMF 8.7.1 and 8.9.2), S up to a + 1, and the smaller tail is asked for in logarithms, so that no digits are lost however
/// far out z lies.
/// </summary>
internal static class GammaQuantiles
{
    /// <summary>Beyond it six terms of an expansion in 1/√a leave less than a rounding error.</summary>
    internal const double Large = 1e6;

    /// <summary>The z with P(a, z) = u.</summary>
    internal static double Quantile(double a, double u)
    {
        if (a > Large) return Expansion(a, Normal(u));
        var (lower, logGamma) = (u <= 0.5, VectorMath.LogGamma(a));
        var target = Math.Log(lower ? u : 1 - u);
        var z = Start(a, u);
        // Both logarithms are concave in ln z, in which the steps go: a step from the wrong side leads to the right one, from which Newton's never leave it.
        for (var step = 0; step < 100 && z > 0; step++)
        {
            var log = a * Math.Log(z) - z - logGamma;
            var (tail, rate) = Tail(a, z, log, lower);
            var (off, slope) = (tail - target, lower ? rate : -rate);
            var bend = slope * (a - z - slope);
            // Halley's, between half and twice of Newton's.
            var move = -off / slope / Math.Clamp(1 - off * bend / (2 * slope * slope), 0.5, 1.5);
            z *= Math.Exp(Math.Clamp(move, -1, 1));
            if (!(Math.Abs(move) > 1e-7)) break;
        }
        return z;
    }

    /// <summary>z′(a) = −(∂P/∂a)/(∂P/∂z) at z = Quantile(a, u).</summary>
    internal static double Slope(double a, double u, double z)
    {
        if (a > Large) return ExpansionSlope(a, Normal(u));
        if (z == 0) return 0;
        if (IsBelow(a, z))
        {
            var (sum, term, digamma, log) = (0.0, 1 / a, VectorMath.Digamma(a + 1), Math.Log(z));
            for (nint k = 1, terms = Terms(a, z); k <= terms; k++)
            {
                sum += term * (log - digamma);
                digamma += 1 / (a + k);
                term *= z / (a + k);
            }
            return -z * sum;
        }
        // From the innermost fraction outwards, with its derivative by a.
        nint depth = Depth(a, z);
        var (f, by) = (z + 2 * depth + 1 - a, -1.0);
        for (var k = depth; k >= 1; k--) (f, by) = (z + 2 * k - 1 - a - k * (k - a) / f, -1 + k / f + k * (k - a) * by / (f * f));
        return z * (Math.Log(z) - VectorMath.Digamma(a) - by / f) / f;
    }

    /// <summary>Whether the series serves, not the fraction.</summary>
    internal static bool IsBelow(double a, double z) => z < a + 1;

    /// <summary>So many terms of the series, and of its derivative, leave less than a rounding error.</summary>
    internal static int Terms(double a, double z)
    {
        var (k, term) = (1, 1.0);
        // A bound on the ratio of neighbours shows how much is left.
        for (; term > Rounding * (1 - z / (a + k)); k++) term *= z / (a + k);
        return k + 2;
    }

    /// <summary>So many levels of the fraction, and of its derivative.</summary>
    internal static int Depth(double a, double z)
    {
        Fraction(a, z, out var depth);
        // Its derivative settles a little later.
        return depth + depth / 4 + 4;
    }

    /// <summary>The standard normal quantile.</summary>
    internal static double Normal(double u) => MathNet.Numerics.Distributions.Normal.InvCDF(0, 1, u);

    private const double Rounding = 1.0 / (1L << 56);

    /// <summary>ln P or ln Q, and W divided by it.</summary>
    private static (double Log, double Rate) Tail(double a, double z, double log, bool lower)
    {
        var below = IsBelow(a, z);
        if (below == lower)
        {
            var factor = below ? Series(a, z) : Fraction(a, z, out _);
            return (log + Math.Log(factor), 1 / factor);
        }
        var weight = Math.Exp(log);
        var tail = lower ? 1 - weight * Fraction(a, z, out _) : a < 1 ? Beyond(a, z) : 1 - weight * Series(a, z);
        return (Math.Log(tail), weight / tail);
    }

    private static double Series(double a, double z)
    {
        double term = 1 / a, sum = term;
        for (nint k = 1, terms = Terms(a, z); k <= terms; k++) sum += term *= z / (a + k);
        return sum;
    }

    // Lentz's way, in which numerators and denominators do not overflow.
    private static double Fraction(double a, double z, out int depth)
    {
        const double tiny = 1e-300;
        double b = z + 1 - a, c = 1 / tiny, d = 1 / b, value = d;
        for (depth = 1; depth < 100_000; depth++)
        {
            var numerator = -depth * (depth - a);
            b += 2;
            d = numerator * d + b;
            c = b + numerator / c;
            d = 1 / (d == 0 ? tiny : d);
            if (c == 0) c = tiny;
            var change = d * c;
            value *= change;
            if (Math.Abs(change - 1) < 4 * Rounding) break;
        }
        return value;
    }

    // Q where a and z are small, and Q with them: 1 − z^a/Γ(a + 1)·(1 + a·Σ (−z)^k/(k!·(a + k))), the 1 taken off before digits are lost.
    private static double Beyond(double a, double z)
    {
        var (sum, power) = (0.0, 1.0);
        for (var k = 1; k < 60 && Math.Abs(power) > 1e-18; k++)
        {
            power *= -z / k;
            sum += power / (a + k);
        }
        var log = a * Math.Log(z) - VectorMath.LogGamma(a + 1);
        return -VectorMath.Expm1(log) - Math.Exp(log) * a * sum;
    }

    private static double Start(double a, double u)
    {
        // Wilson and Hilferty, 1931: the cube root is nearly normal.
        var root = a >= 1 ? 1 - 1 / (9 * a) + Normal(u) / (3 * Math.Sqrt(a)) : 0;
        // From below: P ≤ z^a/Γ(a + 1).
        return root > 0.2 ? a * root * root * root : Math.Exp((Math.Log(u) + VectorMath.LogGamma(a + 1)) / a);
    }

    // Goldberg and Levine 1946, Approximate formulas for the percentage points and normalization of t and χ²; x is the normal quantile.
    private static double Expansion(double a, double x)
    {
        var (s, x2) = (1 / Math.Sqrt(a), x * x);
        return a * (1 + s * (x + s * ((x2 - 1) / 3 + s * (x * (x2 - 7) / 36 - s * (((3 * x2 + 7) * x2 - 16) / 810 - s * x * ((9 * x2 + 256) * x2 - 433) / 38880)))));
    }

    private static double ExpansionSlope(double a, double x)
    {
        var (s, x2) = (1 / Math.Sqrt(a), x * x);
        return 1 + s * (x / 2 - s * s * (x * (x2 - 7) / 72 - s * (((3 * x2 + 7) * x2 - 16) / 810 - s * x * ((9 * x2 + 256) * x2 - 433) / 25920)));
    }
}
