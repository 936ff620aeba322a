using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    // Operators broadcast by NumPy's rule. Numbers on either side are weak: they take the tensor's dtype.
    public sealed partial class Tensor
    {
        public static Tensor operator +(Tensor x, Tensor y) => Elementwise.Broadcast(Arithmetic.Add, x, y);

        public static Tensor operator +(Tensor x, double y) => Arithmetic.Add.Call(x, Elementwise.Weak("add", x, y));

        public static Tensor operator +(double x, Tensor y) => Arithmetic.Add.Call(Elementwise.Weak("add", y, x), y);

        public static Tensor operator +(Tensor x, float y) => x + (double)y;

        public static Tensor operator +(float x, Tensor y) => (double)x + y;

        public static Tensor operator +(Tensor x, int y) => x + (double)y;

        public static Tensor operator +(int x, Tensor y) => (double)x + y;

        public static Tensor operator -(Tensor x, Tensor y) => Elementwise.Broadcast(Arithmetic.Subtract, x, y);

        public static Tensor operator -(Tensor x, double y) => Arithmetic.Subtract.Call(x, Elementwise.Weak("sub", x, y));

        public static Tensor operator -(double x, Tensor y) => Arithmetic.Subtract.Call(Elementwise.Weak("sub", y, x), y);

        public static Tensor operator -(Tensor x, float y) => x - (double)y;

        public static Tensor operator -(float x, Tensor y) => (double)x - y;

        public static Tensor operator -(Tensor x, int y) => x - (double)y;

        public static Tensor operator -(int x, Tensor y) => (double)x - y;

        public static Tensor operator *(Tensor x, Tensor y) => Elementwise.Broadcast(Arithmetic.Multiply, x, y);

        public static Tensor operator *(Tensor x, double y) => Arithmetic.Multiply.Call(x, Elementwise.Weak("mul", x, y));

        public static Tensor operator *(double x, Tensor y) => y * x;

        public static Tensor operator *(Tensor x, float y) => x * (double)y;

        public static Tensor operator *(float x, Tensor y) => y * (double)x;

        public static Tensor operator *(Tensor x, int y) => x * (double)y;

        public static Tensor operator *(int x, Tensor y) => y * (double)x;

        /// <summary>x / y; of integers cut towards zero, and 0 where y is 0.</summary>
        public static Tensor operator /(Tensor x, Tensor y) => Elementwise.Broadcast(Arithmetic.Divide, x, y);

        public static Tensor operator /(Tensor x, double y) => Arithmetic.Divide.Call(x, Elementwise.Weak("div", x, y));

        public static Tensor operator /(double x, Tensor y) => Arithmetic.Divide.Call(Elementwise.Weak("div", y, x), y);

        public static Tensor operator /(Tensor x, float y) => x / (double)y;

        public static Tensor operator /(float x, Tensor y) => (double)x / y;

        public static Tensor operator /(Tensor x, int y) => x / (double)y;

        public static Tensor operator /(int x, Tensor y) => (double)x / y;

        /// <summary>The remainder with the divisor's sign: x − y·⌊x / y⌋.</summary>
        public static Tensor operator %(Tensor x, Tensor y) => Elementwise.Broadcast(Arithmetic.Remainder, x, y);

        public static Tensor operator %(Tensor x, double y) => Arithmetic.Remainder.Call(x, Elementwise.Weak("mod", x, y));

        public static Tensor operator -(Tensor x) => Arithmetic.Negate.Call(x);

        /// <summary>The remainder with the divisor's sign: x − y·⌊x / y⌋.</summary>
        public Tensor Mod(Tensor y) => this % y;

        /// <summary>x + w·(y − x): x where the weight is 0, y where it is 1.</summary>
        public Tensor Lerp(Tensor y, Tensor weight) => this + weight * (y - this);

        /// <summary>x + w·(y − x): x for a weight of 0, y for 1.</summary>
        public Tensor Lerp(Tensor y, double weight) => this + weight * (y - this);

        /// <summary>x to the power y; of integers what is left of a fraction by cutting it towards zero, and 0 for negative powers of 0. Where x is 0 the derivative
        /// by y is 0 for y ≥ 0, and where y is 0 that by x is 0.</summary>
        public Tensor Pow(Tensor y) => Elementwise.Broadcast(Arithmetic.Power, this, y);

        /// <summary>x to a constant power.</summary>
        public Tensor Pow(double exponent) => exponent switch
        {
            1 => this,
            2 => Square(),
            _ => Arithmetic.Power.Call(this, Elementwise.Weak("pow", this, exponent)),
        };

        /// <summary>The larger of two elements; NaN if either is. Ties share the gradient equally.</summary>
        public Tensor Maximum(Tensor y) => Elementwise.Broadcast(Arithmetic.Maximum, this, y);

        /// <summary>The larger of each element and a number.</summary>
        public Tensor Maximum(double y) => Arithmetic.Maximum.Call(this, Elementwise.Weak("maximum", this, y));

        /// <summary>The smaller of two elements; NaN if either is. Ties share the gradient equally.</summary>
        public Tensor Minimum(Tensor y) => Elementwise.Broadcast(Arithmetic.Minimum, this, y);

        /// <summary>The smaller of each element and a number.</summary>
        public Tensor Minimum(double y) => Arithmetic.Minimum.Call(this, Elementwise.Weak("minimum", this, y));
    }
}

namespace Functional.Ops
{
    /// <summary>Operations of two numbers. Integers take part in all of them.</summary>
    public static class Arithmetic
    {
        /// <summary>z = x + y: the one operation that differentiation itself needs.</summary>
        public static readonly Op Add = VectorSpace.Add;

        /// <summary>z = x − y</summary>
        public static readonly Op Subtract = Elementwise.Map2("sub", default(SubF),
            static (_, _, g, i) => i == 0 ? g : -g,
            static (_, _, g, dx) =>
            {
                dx[0]?.Add(Subtract!, g[0]);
                if (dx[1] is { } y) Pointwise.Map1(g[0], y.Open(out var accumulate), accumulate, default(NegF));
            },
            Anywhere, Reads.None);

        /// <summary>z = x·y</summary>
        public static readonly Op Multiply = Elementwise.Map2("mul", default(MulF),
            static (x, _, g, i) => Elementwise.Chain.Call(g, x[1 - i]),
            static (x, _, g, dx) => Elementwise.Factors(x, g, dx, default(Elementwise.ChainedF)),
            Anywhere);

        /// <summary>z = x/y; ∂z/∂y = −z/y</summary>
        public static readonly Op Divide = Elementwise.Map2("div", default(DivF),
            static (x, z, g, i) => Elementwise.Chain.Call(g, i == 0 ? x[1].Reciprocal() : -z / x[1]),
            Elementwise.Fused(default(DivByX), default(DivByY), static (x, _) => x[1], static (_, z) => z[0]),
            static (draw, shape) => [draw.Tensor(shape), draw.Tensor(shape, -2, 2, 0.3, 0)], Reads.All);

        /// <summary>z = x − y·⌊x / y⌋; ∂z/∂y = −⌊x / y⌋</summary>
        public static readonly Op Remainder = Elementwise.Map2("mod", default(ModF),
            static (x, _, g, i) => i == 0 ? g : Elementwise.Chain.Call(g, -(x[0] / x[1]).Floor()),
            static (x, _, g, dx) =>
            {
                dx[0]?.Add(Remainder!, g[0]);
                if (dx[1] is { } y) Pointwise.Map3(g[0], x[0], x[1], y.Open(out var accumulate), accumulate, default(ModByY));
            },
            static (draw, shape) =>
            {
                // Quotients that stay away from whole numbers.
                var (x, y) = (new double[shape.Count], new double[shape.Count]);
                for (var i = 0; i < x.Length; i++)
                {
                    y[i] = draw.Uniform(0.5, 2) * draw.OneOf(-1.0, 1.0);
                    x[i] = y[i] * (draw.Int(-3, 2) + draw.Uniform(0.1, 0.9));
                }
                return [draw.Arrange(x, shape), draw.Arrange(y, shape)];
            });

        /// <summary>z = xʸ; ∂z/∂x = y·xʸ⁻¹, ∂z/∂y = z·ln x</summary>
        public static readonly Op Power = Elementwise.Map2("pow", default(PowF),
            static (x, z, g, i) => Elementwise.Chain.Call(g, i == 0 ? PowerSlope(x[0], x[1]) : z * LogOrZero(x[0], x[1])),
            static (x, z, g, dx) =>
            {
                if (dx[0] is { } a) Pointwise.Map3(g[0], x[0], x[1], a.Open(out var accumulate), accumulate, default(PowByX));
                if (dx[1] is { } b)
                {
                    var destination = b.Open(out var accumulate);
                    var slope = Tensor.Allocate(z[0].DType, z[0].Shape);
                    Pointwise.Map3(z[0], x[0], x[1], slope, accumulate: false, default(PowByY));
                    Pointwise.Map2(g[0], slope, destination, accumulate, default(Elementwise.ChainedF));
                }
            },
            static (draw, shape) => [draw.Tensor(shape, 0.2, 3), draw.Tensor(shape)], Reads.All,
            static x =>
            {
                Reductions.NotBool("pow", x[0]);
                return [Elementwise.Same("pow", x[0], x[1])];
            });

        /// <summary>z = max(x, y)</summary>
        public static readonly Op Maximum = Elementwise.Map2("maximum", default(MaxF),
            static (x, _, g, i) => Elementwise.Chain.Call(g, Share(x[i], x[1 - i])),
            Elementwise.Fused(default(GreaterTakes), default(LessTakes), static (x, _) => x[0], static (x, _) => x[1]),
            Apart);

        /// <summary>z = min(x, y)</summary>
        public static readonly Op Minimum = Elementwise.Map2("minimum", default(MinF),
            static (x, _, g, i) => Elementwise.Chain.Call(g, Share(x[1 - i], x[i])),
            Elementwise.Fused(default(LessTakes), default(GreaterTakes), static (x, _) => x[0], static (x, _) => x[1]),
            Apart);

        /// <summary>y = −x</summary>
        public static readonly Op Negate = Elementwise.Linear("neg", default(NegF), Elementwise.Numbers("neg"));

        private static Tensor[] Anywhere(Draw draw, Shape shape) => [draw.Tensor(shape), draw.Tensor(shape)];

        // No ties, nor nearly.
        private static Tensor[] Apart(Draw draw, Shape shape)
        {
            var (x, y) = (new double[shape.Count], new double[shape.Count]);
            for (var i = 0; i < x.Length; i++)
            {
                x[i] = draw.Uniform(-2, 2);
                y[i] = x[i] + draw.Uniform(0.1, 1) * draw.OneOf(-1.0, 1.0);
            }
            return [draw.Arrange(x, shape), draw.Arrange(y, shape)];
        }

        // 1 where x is not the smaller, ½ at ties.
        private static Tensor Share(Tensor x, Tensor y) => x.Less(y).Not().Cast(x.DType) - 0.5 * x.Equal(y).Cast(x.DType);

        // y·xʸ⁻¹, without 0·∞ where both are 0.
        private static Tensor PowerSlope(Tensor x, Tensor y)
        {
            var corner = y.Equal(0).And(x.Equal(0));
            return y * x.Pow(Tensor.Where(corner, Elementwise.Weak("pow", y, 1), y) - 1);
        }

        // ln x, and 0 where x is 0 and the power does not vary with y ≥ 0.
        private static Tensor LogOrZero(Tensor x, Tensor y) =>
            Tensor.Where(x.Equal(0).And(y.GreaterEqual(0)), Elementwise.Weak("pow", x, 1), x).Log();
    }
}
