using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Reductions over any axes: none named means all. With keepAxes a reduced axis stays with size 1.
    public sealed partial class Tensor
    {
        /// <summary>Σ x; integers and booleans are added as int64.</summary>
        public Tensor Sum(params int[] axes) => Sum(axes, keepAxes: false);

        /// <summary>Σ x; integers and booleans are added as int64.</summary>
        public Tensor Sum(int[] axes, bool keepAxes) => Ops.Reductions.SumOver(axes, keepAxes).Call(this);

        /// <summary>Σ x / n; NaN of nothing.</summary>
        public Tensor Mean(params int[] axes) => Mean(axes, keepAxes: false);

        /// <summary>Σ x / n; NaN of nothing.</summary>
        public Tensor Mean(int[] axes, bool keepAxes) => Ops.Reductions.MeanOver(axes, keepAxes).Call(this);

        /// <summary>The largest element; NaN if any is. Ties share the gradient equally.</summary>
        public Tensor Max(params int[] axes) => Max(axes, keepAxes: false);

        /// <summary>The largest element; NaN if any is. Ties share the gradient equally.</summary>
        public Tensor Max(int[] axes, bool keepAxes) => Extremes.Over("max", axes, keepAxes).Call(this);

        /// <summary>The smallest element; NaN if any is. Ties share the gradient equally.</summary>
        public Tensor Min(params int[] axes) => Min(axes, keepAxes: false);

        /// <summary>The smallest element; NaN if any is. Ties share the gradient equally.</summary>
        public Tensor Min(int[] axes, bool keepAxes) => Extremes.Over("min", axes, keepAxes).Call(this);

        /// <summary>The largest element along an axis and where it first stands; the gradient goes there alone.</summary>
        public (Tensor Values, Tensor Indices) MaxWithIndices(int axis, bool keepAxes = false) => Pair(Extremes.Along("max", axis, keepAxes));

        /// <summary>The smallest element along an axis and where it first stands; the gradient goes there alone.</summary>
        public (Tensor Values, Tensor Indices) MinWithIndices(int axis, bool keepAxes = false) => Pair(Extremes.Along("min", axis, keepAxes));

        private (Tensor, Tensor) Pair(Op op) => op.Apply(this) is [var values, var indices] ? (values, indices) : default;

        /// <summary>Where the first largest element stands along an axis, as int64; without an axis, its number in row-major order.</summary>
        public Tensor ArgMax(int? axis = null, bool keepAxes = false) => Extremes.Position("argmax", axis, keepAxes).Call(this);

        /// <summary>Where the first smallest element stands along an axis, as int64; without an axis, its number in row-major order.</summary>
        public Tensor ArgMin(int? axis = null, bool keepAxes = false) => Extremes.Position("argmin", axis, keepAxes).Call(this);

        /// <summary>Σ(x − mean)²/(n − 1)</summary>
        public Tensor Variance(params int[] axes) => Variance(axes, correction: 1);

        /// <summary>Σ(x − mean)²/(n − correction); NaN where that denominator is not positive.</summary>
        public Tensor Variance(int[] axes, int correction = 1, bool keepAxes = false) => Moments.VarianceOver(axes, correction, keepAxes).Call(this);

        /// <summary>√variance with correction 1</summary>
        public Tensor Std(params int[] axes) => Std(axes, correction: 1);

        /// <summary>√variance, whose derivative is taken as 0 where all elements are equal.</summary>
        public Tensor Std(int[] axes, int correction = 1, bool keepAxes = false) => Moments.Root(Variance(axes, correction, keepAxes));

        /// <summary>ln Σ eˣ without overflow; −∞ of nothing and of all −∞.</summary>
        public Tensor LogSumExp(params int[] axes) => LogSumExp(axes, keepAxes: false);

        /// <summary>ln Σ eˣ without overflow; −∞ of nothing and of all −∞.</summary>
        public Tensor LogSumExp(int[] axes, bool keepAxes) => Ops.Reductions.LogSumExpOver(axes, keepAxes).Call(this);

        /// <summary>Π x; 1 of nothing.</summary>
        public Tensor Prod(params int[] axes) => Prod(axes, keepAxes: false);

        /// <summary>Π x; 1 of nothing.</summary>
        public Tensor Prod(int[] axes, bool keepAxes) => Ops.Reductions.ProductOver(axes, keepAxes).Call(this);

        /// <summary>Whether any element of a bool tensor is true.</summary>
        public Tensor Any(params int[] axes) => Any(axes, keepAxes: false);

        /// <summary>Whether any element of a bool tensor is true.</summary>
        public Tensor Any(int[] axes, bool keepAxes) => Ops.Reductions.Logical("any", axes, keepAxes).Call(this);

        /// <summary>Whether every element of a bool tensor is true.</summary>
        public Tensor All(params int[] axes) => All(axes, keepAxes: false);

        /// <summary>Whether every element of a bool tensor is true.</summary>
        public Tensor All(int[] axes, bool keepAxes) => Ops.Reductions.Logical("all", axes, keepAxes).Call(this);

        /// <summary>(Σ|x|ᵖ)^(1/p); the largest |x| for an infinite p. The derivative at 0 is taken as 0.</summary>
        public Tensor Norm(double p = 2, int[]? axes = null, bool keepAxes = false) => Moments.Norm(this, p, axes ?? [], keepAxes);
    }
}

namespace Functional.Ops
{
    /// <summary>Sums, means, products and logical reductions over any set of axes.</summary>
    public static class Reductions
    {
        public static readonly Op Sum = SumOver(new AxisSet("sum", [], false));

        public static readonly Op Mean = MeanOver(new AxisSet("mean", [], false));

        public static readonly Op LogSumExp = LogSumExpOver(new AxisSet("logsumexp", [], false));

        public static readonly Op Product = ProductOver(new AxisSet("prod", [], false));

        public static readonly Op Any = Logical(new AxisSet("any", [], false));

        public static readonly Op All = Logical(new AxisSet("all", [], false));

        /// <summary>The sum over the given axes.</summary>
        public static Op SumOver(int[] axes, bool keepAxes) =>
            axes.Length == 0 && !keepAxes ? Sum : SumOver(new AxisSet("sum", axes, keepAxes));

        /// <summary>The mean over the given axes.</summary>
        public static Op MeanOver(int[] axes, bool keepAxes) =>
            axes.Length == 0 && !keepAxes ? Mean : MeanOver(new AxisSet("mean", axes, keepAxes));

        /// <summary>ln Σ eˣ over the given axes.</summary>
        public static Op LogSumExpOver(int[] axes, bool keepAxes) => LogSumExpOver(new AxisSet("logsumexp", axes, keepAxes));

        /// <summary>The product over the given axes.</summary>
        public static Op ProductOver(int[] axes, bool keepAxes) => ProductOver(new AxisSet("prod", axes, keepAxes));

        /// <summary>"any" or "all" over the given axes.</summary>
        internal static Op Logical(string name, int[] axes, bool keepAxes) => Logical(new AxisSet(name, axes, keepAxes));

        private static Op SumOver(AxisSet axes)
        {
            Op? op = null;
            return op = new Op
            {
                Name = "sum",
                Batching = axes.Batching(SumOver),
                Shape = x => [new(x[0].DType.IsFloat() ? x[0].DType : DType.Int64, axes.Of(x[0].Shape))],
                Forward = new Forward.Into((x, y) => Reducing.Sum(x[0], axes, y[0])),
                Vjp = (x, _, g, _) => axes.Spread(g[0], x[0].Shape),
                // Repeated by strides: nothing of the input's size is written.
                VjpInto = (x, _, g, dx) => dx[0]?.Add(op!, axes.SpreadView(g[0], x[0].Shape)),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw => Example(draw, "sum", SumOver),
            };
        }

        private static Op MeanOver(AxisSet axes)
        {
            Op? op = null;
            return op = new Op
            {
                Name = "mean",
                Batching = axes.Batching(MeanOver),
                Shape = x => [Float(axes, x[0])],
                Forward = new Forward.Into((x, y) => Reducing.Sum(x[0], axes, y[0], scale: 1.0 / axes.Count(x[0].Shape))),
                Vjp = (x, _, g, _) => axes.Spread(g[0] * (1.0 / axes.Count(x[0].Shape)), x[0].Shape),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw => Example(draw, "mean", MeanOver),
            };
        }

        private static Op LogSumExpOver(AxisSet axes) => new()
        {
            Name = "logsumexp",
            Batching = axes.Batching(LogSumExpOver),
            Shape = x => [Float(axes, x[0])],
            Forward = new Forward.Into((x, y) => Reducing.LogSumExp(x[0], axes, y[0])),
            Vjp = (x, y, g, _) => axes.Spread(g[0], x[0].Shape) * Weights(x[0], y[0], axes),
            VjpInto = (x, y, g, dx) =>
            {
                if (dx[0] is not { } slot) return;
                var shape = x[0].Shape;
                Pointwise.Map3(x[0], axes.SpreadView(y[0], shape), axes.SpreadView(g[0], shape), slot.Open(out var accumulate), accumulate, default(ShiftedExpTimes));
            },
            Jvp = (x, y, dx) => [(Weights(x[0], y[0], axes) * dx[0]!).Sum(axes.Axes, keepAxes: true).Reshape(y[0].Shape.ToArray())],
            Sample = static draw => Example(draw, "logsumexp", LogSumExpOver),
        };

        // e^(x − y), the softmax. A y of −∞ has nothing but −∞ beneath it, and weights of 0.
        private static Tensor Weights(Tensor x, Tensor y, AxisSet axes)
        {
            var nothing = y.Equal(double.NegativeInfinity);
            var shift = Tensor.Where(nothing, Level.ZerosLike(y), y);
            return (x - axes.Spread(shift, x.Shape)).Exp();
        }

        private static Op ProductOver(AxisSet axes) => new()
        {
            Name = "prod",
            Batching = axes.Batching(ProductOver),
            Shape = x =>
            {
                NotBool("prod", x[0]);
                return [new(x[0].DType, axes.Of(x[0].Shape))];
            },
            Forward = new Forward.Into((x, y) => Reducing.Product(x[0], axes, y[0])),
            // Each factor's derivative is the product of the others. Multiplying by halves finds them without a division, so that zeros are harmless.
            Vjp = (x, _, g, _) => Diff.Vjp(t => [ByHalves(t[0], axes)], x[0]).Pullback([g[0]])[0],
            Reads = Reads.Inputs,
            Sample = static draw => Example(draw, "prod", ProductOver),
        };

        private static Tensor ByHalves(Tensor x, AxisSet axes)
        {
            var bits = axes.Bits(x.Shape);
            var reduced = Enumerable.Range(0, x.Rank).Where(i => (bits >> i & 1) != 0);
            var kept = Enumerable.Range(0, x.Rank).Where(i => (bits >> i & 1) == 0).ToArray();
            var n = (int)axes.Count(x.Shape);
            var shape = axes.Of(x.Shape).ToArray();
            x = x.Permute([.. kept, .. reduced]).Reshape([.. kept.Select(i => x.Shape[i]), n]);
            if (n == 0) return Level.OnesLike(x.Sum([-1], keepAxes: false)).Reshape(shape);
            for (; n > 1; n = (n + 1) / 2)
            {
                var product = x.Slice(-1, 0, n / 2) * x.Slice(-1, n / 2, n / 2 * 2);
                x = n % 2 == 0 ? product : Tensor.Concat(-1, product, x.Slice(-1, n - 1, n));
            }
            return x.Reshape(shape);
        }

        private static Op Logical(AxisSet axes) => new()
        {
            Name = axes.Op,
            Batching = axes.Batching(Logical),
            Shape = x =>
            {
                Shape.Bool(axes.Op, x[0]);
                return [new(DType.Bool, axes.Of(x[0].Shape))];
            },
            Forward = new Forward.Into((x, y) => Reducing.Logical(x[0], axes, y[0], axes.Op == "all")),
            Vjp = Op.NotDifferentiable,
            Reads = Reads.None,
            Sample = draw =>
            {
                var shape = draw.Shape(0, 3, empty: true);
                var drawn = AxisSet.Draw(axes.Op, draw, shape);
                return new(Logical(drawn), draw.Mask(shape)) { Attributes = drawn.ToString() };
            },
        };

        /// <summary>An example of a float reduction that has a value for nothing, too.</summary>
        internal static Example Example(Draw draw, string name, Func<AxisSet, Op> make)
        {
            var shape = draw.Shape(0, 3, empty: name is "sum" or "prod");
            var axes = AxisSet.Draw(name, draw, shape);
            return new(make(axes), draw.Tensor(shape)) { Attributes = axes.ToString() };
        }

        /// <summary>The spec of a reduction of a float tensor.</summary>
        internal static Spec Float(AxisSet axes, Tensor x)
        {
            Shape.Float(axes.Op, x);
            return new(x.DType, axes.Of(x.Shape));
        }

        /// <summary>Refuses a bool tensor.</summary>
        internal static void NotBool(string op, Tensor x)
        {
            if (x.DType == DType.Bool) throw Shape.Refuse(op, "numbers are needed", x.Describe(), "Convert them with Cast");
        }
    }
}
