using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;
using Special = MathNet.Numerics.SpecialFunctions;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>ln |Γ(x)|</summary>
        public Tensor LogGamma() => SpecialFunctions.LogGamma.Call(this);

        /// <summary>ψ(x) = d/dx ln Γ(x)</summary>
        public Tensor Digamma() => SpecialFunctions.PolygammaOf(0).Call(this);

        /// <summary>The n-th derivative of ψ(x) = d/dx ln Γ(x).</summary>
        public Tensor Polygamma(int n) => SpecialFunctions.PolygammaOf(n).Call(this);

        /// <summary>The inverse of the error function, for −1 &lt; x &lt; 1.</summary>
        public Tensor Erfinv() => SpecialFunctions.Erfinv.Call(this);

        /// <summary>The modified Bessel function of the first kind, Iₙ(x).</summary>
        public Tensor BesselI(int n) => SpecialFunctions.BesselIOf(n).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Functions of statistics and physics. Those that have no series for vectors are computed number by number in double precision, where there is one by MathNet.Numerics.</summary>
    public static class SpecialFunctions
    {
        /// <summary>y = ln |Γ(x)|; y′ = ψ(x)</summary>
        public static readonly Op LogGamma = Elementwise.Map("lgamma", default(LogGammaF), default(DigammaF), static (x, _) => x.Digamma(), Domain.Positive);

        /// <summary>y = erf⁻¹ x; y′ = √π/2·e^(y²)</summary>
        public static readonly Op Erfinv = Elementwise.Map("erfinv", new EachLane<ErfinvF>(), new EachLane<ErfinvSlope>(),
            static (_, y) => y.Square().Exp() * (Math.Sqrt(Math.PI) / 2), new(-0.9, 0.9), Reads.Outputs);

        public static readonly Op Polygamma = PolygammaOf(0) with
        {
            Sample = static draw =>
            {
                var n = draw.Int(0, 3);
                return PolygammaOf(n).Sample(draw) with { Attributes = $"n = {n}" };
            },
        };

        public static readonly Op BesselI = BesselIOf(0) with
        {
            Sample = static draw =>
            {
                var n = draw.Int(0, 3);
                return BesselIOf(n).Sample(draw) with { Attributes = $"n = {n}" };
            },
        };

        /// <summary>y = ψ⁽ⁿ⁾(x); y′ = ψ⁽ⁿ⁺¹⁾(x)</summary>
        internal static Op PolygammaOf(int n)
        {
            if (n is < 0 or > 150) throw Shape.Refuse("polygamma", "the order must lie in 0 … 150", $"{n}", "Use LogGamma for the function itself");
            return n == 0
                ? Elementwise.Map("polygamma", default(DigammaF), new EachLane<PolygammaF>(new(1)), static (x, _) => PolygammaOf(1).Call(x), new(0.2, 4))
                : Elementwise.Map("polygamma", new EachLane<PolygammaF>(new(n)), new EachLane<PolygammaF>(new(n + 1)), (x, _) => PolygammaOf(n + 1).Call(x), new(0.2, 4));
        }

        /// <summary>y = Iₙ(x); y′ = (Iₙ₋₁(x) + Iₙ₊₁(x))/2</summary>
        internal static Op BesselIOf(int n)
        {
            if (n is < 0 or > 1000) throw Shape.Refuse("besselI", "the order must lie in 0 … 1000", $"{n}", "I₋ₙ is Iₙ for whole orders");
            return Elementwise.Map("besselI", new EachLane<BesselF>(new(n)), new EachLane<BesselSlope>(new(n)),
                (x, _) => n == 0 ? BesselIOf(1).Call(x) : (BesselIOf(n - 1).Call(x) + BesselIOf(n + 1).Call(x)) * 0.5, Domain.Everywhere);
        }

        private interface IScalar
        {
            double Of(double x);
        }

        /// <summary>A function of one double, lane by lane.</summary>
        private readonly struct EachLane<F>(F f) : IMap1 where F : struct, IScalar
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public unsafe Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
            {
                var lanes = (T*)&x;
                for (var i = 0; i < Vector512<T>.Count; i++) lanes[i] = T.CreateTruncating(f.Of(double.CreateTruncating(lanes[i])));
                return x;
            }
        }

        /// <summary>ln |Γ(x)|</summary>
        private readonly struct LogGammaF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => VectorMath.LogGamma(x);
        }

        /// <summary>ψ(x)</summary>
        private readonly struct DigammaF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => VectorMath.Digamma(x);
        }

        private readonly struct PolygammaF(int n) : IScalar
        {
            public double Of(double x)
            {
                if (double.IsNaN(x) || (x <= 0 && x == Math.Floor(x))) return double.NaN;
                var factor = (n % 2 == 0 ? -1 : 1) * Special.Factorial(n);
                if (x > 0) return factor * Zeta(n + 1, x);
                // Σ (x + k)^−s: the terms below 0, mirrored, and those above.
                var whole = Math.Floor(-x);
                var rest = -x - whole;
                var below = Zeta(n + 1, rest) - Zeta(n + 1, rest + whole + 1);
                return factor * (Zeta(n + 1, 1 - rest) + (n % 2 == 0 ? -below : below));
            }

            private static readonly double[] Bernoulli = [1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6, -3617.0 / 510];

            // Hurwitz's ζ(s, a) = Σ (a + k)^−s for a > 0 by Euler and Maclaurin's formula.
            private static double Zeta(int s, double a)
            {
                var sum = 0.0;
                for (; a < 16; a++) sum += Math.Pow(a, -s);
                sum += Math.Pow(a, 1 - s) / (s - 1) + Math.Pow(a, -s) / 2;
                // B₂ₖ/(2k)!·s(s + 1)…(s + 2k − 2)·a^(−s − 2k + 1)
                var rising = s * Math.Pow(a, -s - 1) / 2;
                for (var k = 1; k <= Bernoulli.Length; k++)
                {
                    sum += Bernoulli[k - 1] * rising;
                    rising *= (s + 2 * k - 1.0) * (s + 2 * k) / ((2 * k + 1.0) * (2 * k + 2)) / (a * a);
                }
                return sum;
            }
        }

        private readonly struct ErfinvF : IScalar
        {
            public double Of(double x) => x switch
            {
                1 => double.PositiveInfinity,
                -1 => double.NegativeInfinity,
                > -1 and < 1 => Special.ErfInv(x),
                _ => double.NaN,
            };
        }

        private readonly struct ErfinvSlope : IScalar
        {
            public double Of(double y) => Math.Sqrt(Math.PI) / 2 * Math.Exp(y * y);
        }

        private readonly struct BesselF(int n) : IScalar
        {
            public double Of(double x)
            {
                if (Math.Abs(x) > 20) return (x < 0 && n % 2 == 1 ? -1 : 1) * Special.BesselI(n, Math.Abs(x));
                // Σ (x/2)^(n + 2k)/(k!·(n + k)!), all of one sign.
                var (half, term) = (x / 2, 1.0);
                for (var i = 1; i <= n; i++) term *= half / i;
                var sum = term;
                for (var k = 1; Math.Abs(term) > Math.Abs(sum) * 1e-17; k++)
                {
                    term *= half * half / (k * (double)(n + k));
                    sum += term;
                }
                return sum;
            }
        }

        private readonly struct BesselSlope(int n) : IScalar
        {
            public double Of(double x) => n == 0 ? new BesselF(1).Of(x) : (new BesselF(n - 1).Of(x) + new BesselF(n + 1).Of(x)) / 2;
        }
    }
}
