using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Kernels;
using static Functional.Kernels.Lanes;

namespace Functional.Ops;

// The loop bodies: functions, and their derivatives of x or, where said, of y.
public static partial class Activations
{
    private const double SeluAlpha = 1.6732632423543772848170429916717;
    private const double SeluScale = 1.0507009873554804934193349852946;
    private const double InverseRoot2 = 0.70710678118654752440;
    private const double InverseRoot2Pi = 0.39894228040143267794;
    private const double TwoOverRootPi = 1.1283791670955125739;

    // 2√(2/π) and 0.044715 times that: twice the argument of the hyperbolic tangent is that of σ.
    private const double GeluLinear = 1.5957691216057307118;
    private const double GeluCubic = 0.044715 * GeluLinear;

    // Beyond these the factors of x are 0 or 1 in every precision; x is limited to them so that 0·∞ cannot occur.
    private const double GeluLimit = 40;
    private const double SigmoidLimit = 1000;

    /// <summary>max(x, 0)</summary>
    private readonly struct ReluF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            Vector512.Max(x, Vector512<T>.Zero);
    }

    /// <summary>1 where y > 0</summary>
    private readonly struct Positive : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            Vector512<T>.One & Vector512.GreaterThan(x, Vector512<T>.Zero);
    }

    /// <summary>σ(x)</summary>
    private readonly struct SigmoidF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            VectorMath.Sigmoid(x);
    }

    /// <summary>y(1 − y)</summary>
    private readonly struct Logistic : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            x * (Vector512<T>.One - x);
    }

    /// <summary>x or slope·x</summary>
    private readonly struct LeakyF(double slope) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            Vector512.ConditionalSelect(Vector512.GreaterThan(x, Vector512<T>.Zero), x, SplatVariable<T>(slope) * x);
    }

    /// <summary>1 or slope</summary>
    private readonly struct LeakySlope(double slope) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            Vector512.ConditionalSelect(Vector512.GreaterThan(x, Vector512<T>.Zero), Vector512<T>.One, SplatVariable<T>(slope));
    }

    /// <summary>λx or λα(eˣ − 1)</summary>
    private readonly struct EluF(double alpha, double scale) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            SplatVariable<T>(scale) * Vector512.ConditionalSelect(Vector512.GreaterThan(x, Vector512<T>.Zero), x, SplatVariable<T>(alpha) * VectorMath.Expm1(x));
    }

    /// <summary>λ or λα·eˣ</summary>
    private readonly struct EluSlope(double alpha, double scale) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            Vector512.ConditionalSelect(Vector512.GreaterThan(x, Vector512<T>.Zero), SplatVariable<T>(scale), SplatVariable<T>(alpha * scale) * VectorMath.Exp(x));
    }

    /// <summary>x·Φ(x)</summary>
    private readonly struct GeluF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            if (VectorMath.GoesByPieces<T>()) return VectorMath.GeluByPieces(x.As<T, float>()).As<float, T>();
            var c = Vector512.Max(x, Splat<T>(-GeluLimit));
            return c * Phi(c);
        }
    }

    /// <summary>Φ(x) + x·φ(x)</summary>
    private readonly struct GeluSlope : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            if (VectorMath.GoesByPieces<T>()) return VectorMath.GeluSlopeByPieces(x.As<T, float>()).As<float, T>();
            var c = Limited(x, GeluLimit);
            return Fma(c * Splat<T>(InverseRoot2Pi), VectorMath.Exp(Splat<T>(-0.5) * c * c), Phi(c));
        }
    }

    /// <summary>x·σ(2u)</summary>
    private readonly struct GeluTanhF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var c = Vector512.Max(x, Splat<T>(-GeluLimit));
            return c * VectorMath.Sigmoid(c * Fma(Splat<T>(GeluCubic), c * c, Splat<T>(GeluLinear)));
        }
    }

    /// <summary>σ(2u) + x·2u′·σ(2u)(1 − σ(2u))</summary>
    private readonly struct GeluTanhSlope : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var c = Limited(x, GeluLimit);
            var s = VectorMath.Sigmoid(c * Fma(Splat<T>(GeluCubic), c * c, Splat<T>(GeluLinear)));
            return Fma(c * s * (Vector512<T>.One - s), Fma(Splat<T>(3 * GeluCubic), c * c, Splat<T>(GeluLinear)), s);
        }
    }

    /// <summary>x·σ(x)</summary>
    private readonly struct SiluF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var c = Vector512.Max(x, Splat<T>(-SigmoidLimit));
            return c * VectorMath.Sigmoid(c);
        }
    }

    /// <summary>σ(1 + x(1 − σ))</summary>
    private readonly struct SiluSlope : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var c = Limited(x, SigmoidLimit);
            var s = VectorMath.Sigmoid(c);
            return s * Fma(c, Vector512<T>.One - s, Vector512<T>.One);
        }
    }

    /// <summary>x·tanh(softplus(x))</summary>
    private readonly struct MishF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var c = Vector512.Max(x, Splat<T>(-SigmoidLimit));
            return c * VectorMath.Tanh(VectorMath.Softplus(c));
        }
    }

    /// <summary>t + x·σ(x)(1 − t²)</summary>
    private readonly struct MishSlope : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var c = Limited(x, SigmoidLimit);
            var t = VectorMath.Tanh(VectorMath.Softplus(c));
            return Fma(c * VectorMath.Sigmoid(c), (Vector512<T>.One - t) * (Vector512<T>.One + t), t);
        }
    }

    /// <summary>x·min(max(x + 3, 0), 6)/6</summary>
    private readonly struct HardSwishF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var c = Vector512.Max(x, Splat<T>(-3));
            return c * Vector512.Min(c + Splat<T>(3), Splat<T>(6)) / Splat<T>(6);
        }
    }

    /// <summary>0, x/3 + ½ or 1</summary>
    private readonly struct HardSwishSlope : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var inner = Vector512.ConditionalSelect(Vector512.GreaterThan(x, Splat<T>(3)), Vector512<T>.One, x / Splat<T>(3) + Splat<T>(0.5));
            return Vector512.AndNot(inner, Vector512.LessThan(x, Splat<T>(-3)));
        }
    }

    /// <summary>ln(1 + e^(βx))/β or x</summary>
    private readonly struct SoftplusF(double beta, double threshold) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var z = SplatVariable<T>(beta) * x;
            return Vector512.ConditionalSelect(Vector512.GreaterThan(z, SplatVariable<T>(threshold)), x, VectorMath.Softplus(z) / SplatVariable<T>(beta));
        }
    }

    /// <summary>σ(βx) or 1</summary>
    private readonly struct SoftplusSlope(double beta, double threshold) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
        {
            var z = SplatVariable<T>(beta) * x;
            return Vector512.ConditionalSelect(Vector512.GreaterThan(z, SplatVariable<T>(threshold)), Vector512<T>.One, VectorMath.Sigmoid(z));
        }
    }

    /// <summary>erf x</summary>
    private readonly struct ErfF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            VectorMath.Erf(x);
    }

    /// <summary>erfc x</summary>
    private readonly struct ErfcF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            VectorMath.Erfc(x);
    }

    /// <summary>scale·e^(−x²)</summary>
    private readonly struct Gaussian(double scale) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            SplatVariable<T>(scale) * VectorMath.Exp(-(x * x));
    }

    /// <summary>Φ(x): in double precision from erfc, which keeps its digits in the left tail; in single from erf, four times as fast and as good absolutely.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Phi<T>(Vector512<T> x) where T : unmanaged => typeof(T) == typeof(float)
        ? Fma(Splat<T>(0.5), VectorMath.Erf(Splat<T>(InverseRoot2) * x), Splat<T>(0.5))
        : Splat<T>(0.5) * VectorMath.Erfc(Splat<T>(-InverseRoot2) * x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Limited<T>(Vector512<T> x, double limit) where T : unmanaged =>
        Vector512.Min(Vector512.Max(x, Splat<T>(-limit)), Splat<T>(limit));
}
