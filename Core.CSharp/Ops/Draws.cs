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
                var seed = draw.Int(0, 1000);
                return new(Of(Key.OfSeed(seed)), draw.Tensor(draw.Shape(0, 1, empty: true), 0.3, 4)) { Attributes = $"seed = {seed}" };
            },
        };

        internal static Op Of(Key key) => new()
        {
            Name = "gamma",
            Shape = static x => Elementwise.Floats("gamma")(x),
            Forward = new Forward.Into((x, y) => Each(x[0], y[0], (a, i) => GammaQuantiles.Quantile(a, key.Open(i)))),
            Vjp = (x, _, g, _) =>
            {
                // Not from the output: rounded to float32 it would move the derivative.
                var a = x[0].Cast(DType.Float64);
                return g[0] * Slope(a, Of(key).Call(a), key).Cast(x[0].DType);
            },
            Reads = Reads.Inputs,
            VjpInto = (x, _, g, dx) =>
            {
                if (dx[0] is not { } slot) return;
                var slope = Tensor.Allocate(x[0].DType, x[0].Shape);
                Each(x[0], slope, (a, i) =>
                {
                    var u = key.Open(i);
                    return GammaQuantiles.Slope(a, u, GammaQuantiles.Quantile(a, u));
                });
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

        // The quantile stays where it is, z′(a) = −(∂P/∂a)/(∂P/∂z): the derivatives of GammaQuantiles once more in tensor operations, for the orders beyond the first.
        private static Tensor Slope(Tensor a, Tensor z, Key key)
        {
            if (a.IsMeta) return a;
            var (concentrations, quantiles) = (a.Untraced.ToDoubles(), z.Untraced.ToDoubles());
            var (far, below, slope) = (a.Greater(GammaQuantiles.Large), z.Less(a + 1), Level.ZerosLike(a));
            var near = far.Not().And(z.Greater(0));
            Part(near.And(below), 3, 1, GammaQuantiles.Terms, Series);
            Part(near.And(below.Not()), 1, 3, GammaQuantiles.Depth, Fraction);
            Part(far, 1, 1, static (_, _) => 0, (a, _, _) => Expansion(a, key));
            return slope;

            // Elements that a part is not for get arguments for which it has a value.
            void Part(Tensor chosen, double otherA, double otherZ, Func<double, double, int> count, Func<Tensor, Tensor, int, Tensor> part)
            {
                var (mask, most) = (chosen.Untraced.ToDoubles(), -1);
                for (var i = 0; i < mask.Length; i++)
                    if (mask[i] != 0)
                        most = Math.Max(most, count(concentrations[i], quantiles[i]));
                if (most >= 0) slope = Tensor.Where(chosen, part(Tensor.Where(chosen, a, otherA), Tensor.Where(chosen, z, otherZ), most), slope);
            }
        }

        private static Tensor Series(Tensor a, Tensor z, int terms)
        {
            var (sum, term, digamma, log) = (Level.ZerosLike(a), a.Reciprocal(), (a + 1).Digamma(), z.Log());
            for (var k = 1; k <= terms; k++)
            {
                sum += term * (log - digamma);
                digamma += (a + k).Reciprocal();
                term = term * z / (a + k);
            }
            return -z * sum;
        }

        private static Tensor Fraction(Tensor a, Tensor z, int depth)
        {
            var (f, by) = (z - a + (2 * depth + 1.0), Level.ZerosLike(a) - 1);
            for (var k = depth; k >= 1; k--)
            {
                var numerator = (k - a) * k;
                (f, by) = (z - a - numerator / f + (2 * k - 1.0), (k + numerator * by / f) / f - 1);
            }
            return z * (z.Log() - a.Digamma() - by / f) / f;
        }

        private static Tensor Expansion(Tensor a, Key key)
        {
            var x = Tensor.FromDoubles(Array.ConvertAll([.. Enumerable.Range(0, (int)a.Count)], i => GammaQuantiles.Normal(key.Open(i))), a.Shape, a.DType);
            var (s, x2) = (a.Rsqrt(), x * x);
            return 1 + s * (x / 2 - s * s * (x * (x2 - 7) / 72 - s * (((3 * x2 + 7) * x2 - 16) / 810 - s * x * ((9 * x2 + 256) * x2 - 433) / 25920)));
        }
    }
}
