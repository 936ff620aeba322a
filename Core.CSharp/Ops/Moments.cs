using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;

namespace Functional.Ops;

/// <summary>Variance, and the norms.</summary>
public static class Moments
{
    public static readonly Op Variance = VarianceOver(new AxisSet("var", [], false), 1);

    /// <summary>Σ(x − mean)²/(n − correction) over the given axes, in two passes.</summary>
    public static Op VarianceOver(int[] axes, int correction, bool keepAxes) => VarianceOver(new AxisSet("var", axes, keepAxes), correction);

    private static Op VarianceOver(AxisSet axes, int correction) => new()
    {
        Name = "var",
        Batching = axes.Batching(shifted => VarianceOver(shifted, correction)),
        Shape = x => [Reductions.Float(axes, x[0])],
        Forward = new Forward.Into((x, y) => Reducing.Variance(x[0], axes, y[0], correction)),
        Vjp = (x, _, g, _) => axes.Spread(g[0], x[0].Shape) * Slope(x[0], axes, correction),
        VjpInto = (x, _, g, dx) =>
        {
            if (dx[0] is not { } slot) return;
            var shape = x[0].Shape;
            var mean = Tensor.Allocate(x[0].DType, axes.Of(shape));
            Reducing.Sum(x[0], axes, mean, scale: 1.0 / axes.Count(shape));
            Pointwise.Map3(x[0], axes.SpreadView(mean, shape), axes.SpreadView(g[0], shape), slot.Open(out var accumulate), accumulate,
                new ScaledDeviation { Scale = Factor(axes.Count(shape), correction) });
            GC.KeepAlive(mean);
        },
        Jvp = (x, y, dx) => [(Slope(x[0], axes, correction) * dx[0]!).Sum(axes.Axes, keepAxes: true).Reshape(y[0].Shape.ToArray())],
        Reads = Reads.Inputs,
        Sample = static draw =>
        {
            var shape = draw.Shape();
            var drawn = AxisSet.Draw("var", draw, shape);
            // One element has no variance with correction 1.
            var c = drawn.Count(shape) > 1 ? draw.Int(0, 1) : 0;
            return new(VarianceOver(drawn, c), draw.Tensor(shape)) { Attributes = $"{drawn}, correction = {c}" };
        },
    };

    private static double Factor(long n, int correction) => n > correction ? 2.0 / (n - correction) : double.NaN;

    // 2(x − mean)/(n − correction); that the mean moves, too, adds nothing, since deviations sum to 0.
    private static Tensor Slope(Tensor x, AxisSet axes, int correction) =>
        (x - x.Mean(axes.Axes, keepAxes: true)) * Factor(axes.Count(x.Shape), correction);

    public static readonly Op Std = Composition.Of("std", static x => [x[0].Std()], static draw =>
    {
        // A single element does not vary.
        var shape = Shape.Of([.. draw.Shape(0, 2), draw.Int(2, 4)]);
        var drawn = AxisSet.Draw("std", draw, shape);
        if (drawn.Count(shape) == 1) drawn = new("std", [-1], false);
        var (axes, c) = (drawn.Axes, draw.Int(0, 1));
        return new(Composition.Of("std", x => [x[0].Std(axes, c)], static d => Std!.Sample(d)), draw.Distinct(shape)) { Attributes = $"axes = {Shape.Text(axes)}, keepAxes = false, correction = {c}" };
    });

    public static readonly Op VectorNorm = Composition.Of("norm", static x => [x[0].Norm()], static draw =>
    {
        var shape = draw.Shape();
        var drawn = AxisSet.Draw("norm", draw, shape);
        var (axes, order) = (drawn.Axes, draw.OneOf(1, 2, 3.5, double.PositiveInfinity));
        var distinct = draw.Distinct(shape, 0.1).Abs() + 0.05;
        var signs = draw.Mask(shape).Cast(draw.DType) * 2 - 1;
        return new(Composition.Of("norm", x => [x[0].Norm(order, axes)], static d => VectorNorm!.Sample(d)), distinct * signs) { Attributes = $"axes = {Shape.Text(axes)}, keepAxes = false, order = {(double.IsInfinity(order) ? "inf" : order.ToString(System.Globalization.CultureInfo.InvariantCulture))}" };
    });

    /// <summary>√x of x ≥ 0 with the derivative 0 at 0.</summary>
    internal static Tensor Root(Tensor x)
    {
        var zero = x.Equal(0);
        // Zeros are replaced before the root and after it: neither branch meets an infinite slope.
        return Tensor.Where(zero, Level.ZerosLike(x), Tensor.Where(zero, Level.OnesLike(x), x).Sqrt());
    }

    /// <summary>(Σ|x|ᵖ)^(1/p)</summary>
    internal static Tensor Norm(Tensor x, double p, int[] axes, bool keepAxes)
    {
        Shape.Float("norm", x);
        if (double.IsNaN(p)) throw Shape.Refuse("norm", "the order must be a number", "NaN", "Choose 1, 2 or infinity, for instance");
        // How many elements are not 0.
        if (p == 0) return x.NotEqual(0).Cast(x.DType).Sum(axes, keepAxes);
        if (p == 1) return x.Abs().Sum(axes, keepAxes);
        if (p == 2) return Root(x.Square().Sum(axes, keepAxes));
        if (double.IsPositiveInfinity(p)) return x.Abs().Max(axes, keepAxes);
        if (double.IsNegativeInfinity(p)) return x.Abs().Min(axes, keepAxes);
        if (p < 0) return x.Abs().Pow(p).Sum(axes, keepAxes).Pow(1 / p);
        var sum = x.Abs().Pow(p).Sum(axes, keepAxes);
        var zero = sum.Equal(0);
        return Tensor.Where(zero, Level.ZerosLike(sum), Tensor.Where(zero, Level.OnesLike(sum), sum).Pow(1 / p));
    }

    /// <summary><c>scale·(x − mean)·g</c></summary>
    private readonly struct ScaledDeviation : IMap3
    {
        internal double Scale { get; init; }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> mean, Vector512<T> g) where T : unmanaged, INumber<T> =>
            Lanes.Splat<T>(Scale) * (x - mean) * g;
    }
}

/// <summary><c>e^(x − y)·g</c>, and 0 where y is −∞.</summary>
internal readonly struct ShiftedExpTimes : IMap3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y, Vector512<T> g) where T : unmanaged, INumber<T>
    {
        var nothing = Vector512.Equals(y, Lanes.Splat<T>(double.NegativeInfinity));
        return VectorMath.Exp(x - Vector512.ConditionalSelect(nothing, Vector512<T>.Zero, y)) * g;
    }
}
