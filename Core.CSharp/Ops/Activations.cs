using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>max(x, 0), whose derivative at 0 is 0</summary>
        public Tensor Relu() => Activations.Relu.Call(this);

        /// <summary>x where x > 0, else slope·x</summary>
        public Tensor LeakyRelu(double slope = 0.01) => Activations.LeakyReluOf(slope).Call(this);

        /// <summary>x where x > 0, else α(eˣ − 1)</summary>
        public Tensor Elu(double alpha = 1) => Activations.EluOf(alpha).Call(this);

        /// <summary>λx where x > 0, else λα(eˣ − 1), with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017)</summary>
        public Tensor Selu() => Activations.Selu.Call(this);

        /// <summary>x·Φ(x) with the normal distribution Φ, exact or by the hyperbolic tangent</summary>
        public Tensor Gelu(bool approximate = false) => (approximate ? Activations.GeluTanh : Activations.Gelu).Call(this);

        /// <summary>x·σ(x)</summary>
        public Tensor Silu() => Activations.Silu.Call(this);

        /// <summary>x·tanh(ln(1 + eˣ))</summary>
        public Tensor Mish() => Activations.Mish.Call(this);

        /// <summary>x·min(max(x + 3, 0), 6)/6</summary>
        public Tensor HardSwish() => Activations.HardSwish.Call(this);

        /// <summary>x where x > 0, else slope·x, for slopes that are learned and broadcast (He et al., 2015)</summary>
        public Tensor Prelu(Tensor slope) => Relu() - slope * (-this).Relu();

        /// <summary>x/(1 + |x|)</summary>
        public Tensor Softsign() => this / (1 + Abs());

        /// <summary>ln σ(x), accurate in both tails</summary>
        public Tensor LogSigmoid() => -(-this).Softplus();

        /// <summary>a·σ(b) of the two halves of an axis (Dauphin et al., 2017)</summary>
        public Tensor Glu(int axis = -1)
        {
            var n = Shape[Shape.Axis("glu", axis)];
            if (n % 2 != 0) throw Shape.Refuse("glu", "the axis must have two halves", $"{n} along axis {axis} of {Shape}", "Make its size even");
            return Slice(axis, 0, n / 2) * Slice(axis, n / 2).Sigmoid();
        }

        /// <summary>σ(x) = 1/(1 + e⁻ˣ)</summary>
        public Tensor Sigmoid() => Activations.Sigmoid.Call(this);

        /// <summary>ln(1 + e^(βx))/β, and x where βx is above the threshold</summary>
        public Tensor Softplus(double beta = 1, double threshold = 20) => Activations.SoftplusOf(beta, threshold).Call(this);

        /// <summary>The error function 2/√π ∫₀ˣ e^(−t²) dt</summary>
        public Tensor Erf() => Activations.Erf.Call(this);

        /// <summary>1 − erf x, accurate where erf x is near 1</summary>
        public Tensor Erfc() => Activations.Erfc.Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Activations and the error function. All have their limits at ±∞.</summary>
    public static partial class Activations
    {
        /// <summary>y = max(x, 0)</summary>
        public static readonly Op Relu = Elementwise.Map("relu", default(ReluF), default(Positive),
            static (_, y) => y.Greater(0).Cast(y.DType), new(-2, 2, 0), Reads.Outputs);

        /// <summary>y = σ(x); y′ = y(1 − y)</summary>
        public static readonly Op Sigmoid = Elementwise.Map("sigmoid", default(SigmoidF), default(Logistic),
            static (_, y) => y * (1 - y), Domain.Everywhere, Reads.Outputs);

        /// <summary>y = λx or λα(eˣ − 1)</summary>
        public static readonly Op Selu = Elementwise.Map("selu", new EluF(SeluAlpha, SeluScale), new EluSlope(SeluAlpha, SeluScale),
            static (x, _) => Tensor.Where(x.Greater(0), SeluScale, SeluAlpha * SeluScale * x.Exp()), new(-2, 2, 0));

        /// <summary>y = x·Φ(x); y′ = Φ(x) + x·φ(x)</summary>
        public static readonly Op Gelu = Elementwise.Map("gelu", default(GeluF), default(GeluSlope),
            static (x, _) =>
            {
                var c = x.Clamp(-GeluLimit, GeluLimit);
                return 0.5 * (-InverseRoot2 * c).Erfc() + c * (InverseRoot2Pi * (-0.5 * c.Square()).Exp());
            }, Domain.Everywhere);

        /// <summary>y = x·σ(2u), u = √(2/π)(x + 0.044715 x³)</summary>
        public static readonly Op GeluTanh = Elementwise.Map("geluTanh", default(GeluTanhF), default(GeluTanhSlope),
            static (x, _) =>
            {
                var c = x.Clamp(-GeluLimit, GeluLimit);
                var s = (c * (GeluLinear + GeluCubic * c.Square())).Sigmoid();
                return s + c * (s * (1 - s) * (GeluLinear + 3 * GeluCubic * c.Square()));
            }, Domain.Everywhere);

        /// <summary>y = x·σ(x); y′ = σ(1 + x(1 − σ))</summary>
        public static readonly Op Silu = Elementwise.Map("silu", default(SiluF), default(SiluSlope),
            static (x, _) =>
            {
                var c = x.Clamp(-SigmoidLimit, SigmoidLimit);
                var s = c.Sigmoid();
                return s * (1 + c * (1 - s));
            }, Domain.Everywhere);

        /// <summary>y = x·t, t = tanh(softplus(x)); y′ = t + x·σ(x)(1 − t²)</summary>
        public static readonly Op Mish = Elementwise.Map("mish", default(MishF), default(MishSlope),
            static (x, _) =>
            {
                var c = x.Clamp(-SigmoidLimit, SigmoidLimit);
                var t = c.Softplus().Tanh();
                return t + c * (c.Sigmoid() * (1 - t.Square()));
            }, Domain.Everywhere);

        /// <summary>y = x·min(max(x + 3, 0), 6)/6</summary>
        public static readonly Op HardSwish = Elementwise.Map("hardswish", default(HardSwishF), default(HardSwishSlope),
            static (x, _) => Tensor.Where(x.Less(-3), 0, Tensor.Where(x.LessEqual(3), x / 3 + 0.5, 1)), new(-5, 5, -3, 3));

        /// <summary>y = erf x; y′ = 2/√π e^(−x²)</summary>
        public static readonly Op Erf = Elementwise.Map("erf", default(ErfF), new Gaussian(TwoOverRootPi),
            static (x, _) => TwoOverRootPi * (-x.Square()).Exp(), Domain.Everywhere);

        /// <summary>y = erfc x; y′ = −2/√π e^(−x²)</summary>
        public static readonly Op Erfc = Elementwise.Map("erfc", default(ErfcF), new Gaussian(-TwoOverRootPi),
            static (x, _) => -TwoOverRootPi * (-x.Square()).Exp(), Domain.Everywhere);

        // ---- with attributes ----

        /// <summary>Slope 0.01.</summary>
        public static readonly Op LeakyRelu = LeakyReluOf(0.01) with
        {
            Sample = static draw =>
            {
                var slope = draw.Uniform(-0.5, 0.9);
                return LeakyReluOf(slope).Sample(draw) with { Attributes = $"slope={slope}" };
            },
        };

        /// <summary>α = 1.</summary>
        public static readonly Op Elu = EluOf(1) with
        {
            Sample = static draw =>
            {
                var alpha = draw.Uniform(0.2, 2);
                return EluOf(alpha).Sample(draw) with { Attributes = $"alpha={alpha}" };
            },
        };

        /// <summary>β = 1, threshold 20.</summary>
        public static readonly Op Softplus = SoftplusOf(1, 20) with
        {
            Sample = static draw =>
            {
                var beta = draw.Uniform(0.2, 3);
                return SoftplusOf(beta, 20).Sample(draw) with { Attributes = $"beta={beta}" };
            },
        };

        /// <summary>y = x where x > 0, else slope·x</summary>
        public static Op LeakyReluOf(double slope) => Elementwise.Map("leakyRelu", new LeakyF(slope), new LeakySlope(slope),
            (x, _) => Tensor.Where(x.Greater(0), 1, Elementwise.Weak("leakyRelu", x, slope)), new(-2, 2, 0));

        /// <summary>y = x where x > 0, else α(eˣ − 1)</summary>
        public static Op EluOf(double alpha) => Elementwise.Map("elu", new EluF(alpha, 1), new EluSlope(alpha, 1),
            (x, _) => Tensor.Where(x.Greater(0), 1, alpha * x.Exp()), new(-2, 2, 0));

        /// <summary>y = ln(1 + e^(βx))/β, and x where βx is above the threshold</summary>
        public static Op SoftplusOf(double beta, double threshold)
        {
            if (!(beta > 0)) throw Shape.Refuse("softplus", "beta must be positive", $"{beta}", "Give a positive number");
            return Elementwise.Map("softplus", new SoftplusF(beta, threshold), new SoftplusSlope(beta, threshold),
                (x, _) => Tensor.Where((beta * x).Greater(threshold), 1, (beta * x).Sigmoid()), Domain.Everywhere);
        }

        // ---- epilogues of products ----

        /// <summary>The cotangent before an activation from its output y and the cotangent g after it.</summary>
        internal static Tensor Backward(Activation activation, Tensor y, Tensor g) => activation switch
        {
            Activation.Relu => Elementwise.Chain.Call(g, y.Greater(0).Cast(y.DType)),
            Activation.Tanh => Elementwise.Chain.Call(g, 1 - y.Square()),
            Activation.Sigmoid => Elementwise.Chain.Call(g, y * (1 - y)),
            _ => g,
        };

        /// <summary>y = activation(y) in place: the epilogues that a product does not carry itself.</summary>
        internal static void ApplyPlain(Activation activation, Tensor y)
        {
            if (activation == Activation.Tanh) Pointwise.Map1(y, y, accumulate: false, default(Trigonometry.TanhF));
            else Pointwise.Map1(y, y, accumulate: false, default(SigmoidF));
        }

        /// <summary>The same for plain tensors as one loop into fresh memory.</summary>
        internal static Tensor BackwardPlain(Activation activation, Tensor y, Tensor g)
        {
            if (activation == Activation.None) return g;
            var result = Tensor.Allocate(y.DType, y.Shape);
            switch (activation)
            {
                case Activation.Relu: Pointwise.Map2(g, y, result, accumulate: false, default(Elementwise.Times<Positive>)); break;
                case Activation.Tanh: Pointwise.Map2(g, y, result, accumulate: false, default(Elementwise.Times<Trigonometry.OneMinusSquare>)); break;
                default: Pointwise.Map2(g, y, result, accumulate: false, default(Elementwise.Times<Logistic>)); break;
            }
            return result;
        }
    }
}
