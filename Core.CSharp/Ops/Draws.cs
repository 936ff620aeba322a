using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;
using SpecialFunction = MathNet.Numerics.SpecialFunctions;

namespace Functional
{
    /// <summary>Random draws that are computed from uniform or normal ones.</summary>
    public static class Draws
    {
        /// <summary>Exponentially distributed numbers with mean 1/rate.</summary>
        public static Tensor Exponential(this Key key, Shape shape, double rate = 1, DType dtype = DType.Float32)
        {
            if (!(rate > 0)) throw Shape.Refuse("exponential", "the rate must be positive", $"{rate}", "Correct it");
            return -(-key.Uniform(shape, dtype: dtype)).Log1p() / rate;
        }

        /// <summary>Numbers of the standard Gumbel distribution, −ln(−ln u): scores plus these, then the largest, is a draw from the scores' softmax.</summary>
        public static Tensor Gumbel(this Key key, Shape shape, DType dtype = DType.Float32) =>
            -key.Exponential(shape, 1, dtype).Maximum(dtype == DType.Float32 ? 1e-38 : 1e-300).Log();

        /// <summary>Classes drawn with probabilities softmax(logits) over the last axis, as int64 of the shape without it.</summary>
        public static Tensor Categorical(this Key key, Tensor logits)
        {
            Shape.Float("categorical", logits);
            if (logits.Rank == 0 || logits.Shape[-1] == 0)
                throw Shape.Refuse("categorical", "the last axis must have classes", logits.Shape.ToString(), "Give one score for each class");
            return (logits + key.Gumbel(logits.Shape, logits.DType)).ArgMax(-1);
        }

        /// <summary>Standard normal numbers under the condition that they lie between low and high, by the inverse of their distribution.</summary>
        public static Tensor TruncatedNormal(this Key key, Shape shape, double low = -2, double high = 2, DType dtype = DType.Float32)
        {
            if (!(low < high)) throw Shape.Refuse("truncatedNormal", "the range must not be empty", $"[{low}, {high}]", "Give low < high");
            var (from, to) = (SpecialFunction.Erf(low / Math.Sqrt(2)), SpecialFunction.Erf(high / Math.Sqrt(2)));
            if (!(from < to)) throw Shape.Refuse("truncatedNormal", "the range must have a probability that doubles can tell from 0", $"[{low}, {high}]", "Move it towards 0");
            return (key.Uniform(shape, from, to, DType.Float64).Erfinv() * Math.Sqrt(2)).Clamp(low, high).Cast(dtype);
        }

        /// <summary>One draw from the gamma distribution with mean 1·concentration for each concentration, differentiable by it
        /// (Figurnov, Mohamed, Mnih 2018: implicit reparameterisation); dividing by a rate scales it.</summary>
        public static Tensor Gamma(this Key key, Tensor concentration) => GammaDraws.Of(key).Call(concentration);

        /// <summary>Numbers between 0 and 1 of the beta distribution, differentiable by both parameters, which broadcast.</summary>
        public static Tensor Beta(this Key key, Tensor a, Tensor b)
        {
            var (keys, shape) = (key.Split(), Shape.Broadcast("beta", a.Shape, b.Shape));
            var (x, y) = (keys[0].Gamma(a.ExpandTo(shape)), keys[1].Gamma(b.ExpandTo(shape)));
            return x / (x + y);
        }

        /// <summary>Probabilities over the last axis from the Dirichlet distribution, differentiable by the concentrations.</summary>
        public static Tensor Dirichlet(this Key key, Tensor concentration)
        {
            var x = key.Gamma(concentration);
            return x / x.Sum([-1], keepAxes: true);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>The gamma distribution's draw as an operation on its concentration.</summary>
    internal static class GammaDraws
    {
        internal static readonly Op Gamma = Of(Key.OfSeed(0)) with
        {
            Sample = static draw =>
            {
                // Far out in the upper tail the series for the derivatives loses digits, which the laws do not forgive.
                var (shape, seed) = (draw.Shape(0, 1, empty: true), draw.Int(0, 1000));
                while (Enumerable.Range(0, (int)shape.Count).Any(i => Key.OfSeed(seed).Open(i) > 0.7)) seed++;
                return new(Of(Key.OfSeed(seed)), draw.Tensor(shape, 0.3, 4)) { Attributes = $"seed = {seed}" };
            },
        };

        internal static Op Of(Key key) => new()
        {
            Name = "gamma",
            Shape = static x => Elementwise.Floats("gamma")(x),
            Forward = new Forward.Into((x, y) => Each(x[0], y[0], (a, i) => Quantile(a, key.Open(i)))),
            // The quantile stays where it is: z′(a) = −(∂P/∂a)/(∂P/∂z), where P is the distribution.
            Vjp = (x, _, g, _) =>
            {
                // Not from the output: rounded to float32 it would move the derivative.
                var a = x[0].Cast(DType.Float64);
                return g[0] * Slope(a, Of(key).Call(a)).Cast(x[0].DType);
            },
            Reads = Reads.Inputs,
            VjpInto = (x, _, g, dx) =>
            {
                if (dx[0] is not { } slot) return;
                var slope = Tensor.Allocate(x[0].DType, x[0].Shape);
                Each(x[0], slope, (a, i) => Slope(a, Quantile(a, key.Open(i))));
                Pointwise.Map2(g[0], slope, slot.Open(out var accumulate), accumulate, default(Elementwise.ChainedF));
            },
            Sample = static draw => Gamma!.Sample(draw),
        };

        private static void Each(Tensor x, Tensor y, Func<double, int, double> f)
        {
            var values = x.ToDoubles();
            for (var i = 0; i < values.Length; i++)
                values[i] = values[i] > 0 ? f(values[i], i) : double.NaN;
            Pointwise.Convert(Tensor.FromDoubles(values, y.Shape, DType.Float64), y);
        }

        // The z with P(a, z) = u, by Newton's steps from the library's. That each draw is one smooth function of its concentration makes the derivative
        // exact; rejection would not.
        private static double Quantile(double a, double u)
        {
            var z = MathNet.Numerics.Distributions.Gamma.InvCDF(a, 1, u);
            for (var step = 0; step < 3 && z > 0; step++)
            {
                var density = Math.Exp((a - 1) * Math.Log(z) - z - SpecialFunction.GammaLn(a));
                // Above the middle by what lies beyond: near 1 the distribution itself has no digits left.
                var beyond = u > 0.5 ? (1 - u) - SpecialFunction.GammaUpperRegularized(a, z) : SpecialFunction.GammaLowerRegularized(a, z) - u;
                var next = z - beyond / density;
                if (!(next > 0) || next == z) break;
                z = next;
            }
            return z;
        }

        // P(a, z) = z^a·e^−z·Σ z^k/Γ(a + k + 1), differentiated term by term, over z^(a−1)·e^−z/Γ(a).
        private static double Slope(double a, double z)
        {
            var (sum, term, digamma, log) = (0.0, 1 / a, VectorMath.Digamma(a + 1), Math.Log(z));
            for (var k = 1; ; k++)
            {
                sum += term * (log - digamma);
                if (k > z && term < 1e-18) break;
                digamma += 1 / (a + k);
                term *= z / (a + k);
            }
            return -z * sum;
        }

        // The same series in tensor operations, for the derivatives beyond the first.
        private static Tensor Slope(Tensor a, Tensor z)
        {
            var terms = z.IsMeta || z.Count == 0 ? 1 : (int)(2 * z.Untraced.Max().ToDouble()) + 60;
            var (sum, term, digamma, log) = (Level.ZerosLike(a), a.Reciprocal(), (a + 1).Digamma(), z.Log());
            for (var k = 1; k <= terms; k++)
            {
                sum += term * (log - digamma);
                digamma += (a + k).Reciprocal();
                term = term * z / (a + k);
            }
            return -z * sum;
        }
    }
}
