using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;

namespace Functional;

// The arithmetic that the derivatives of reductions and views are written in. The elementwise family replaces this file as a whole.
public sealed partial class Tensor
{
    public static Tensor operator +(Tensor x, Tensor y) => Interim.Pair(VectorSpace.Add, x, y);

    public static Tensor operator +(Tensor x, double y) => x + Scalar(y, x.DType);

    public static Tensor operator -(Tensor x, Tensor y) => Interim.Pair(Interim.Subtract, x, y);

    public static Tensor operator -(Tensor x) => x * -1;

    public static Tensor operator *(Tensor x, Tensor y) => Interim.Pair(Interim.Multiply, x, y);

    public static Tensor operator *(Tensor x, double y) => x * Scalar(y, x.DType);

    public static Tensor operator /(Tensor x, Tensor y) => x * y.Pow(-1);

    /// <summary>x to a constant power.</summary>
    public Tensor Pow(double exponent) => Interim.Power(exponent).Call(this);

    /// <summary>√x</summary>
    public Tensor Sqrt() => Pow(0.5);

    /// <summary>x²</summary>
    public Tensor Square() => this * this;

    /// <summary>|x|</summary>
    public Tensor Abs() => Square().Sqrt();

    /// <summary>eˣ</summary>
    public Tensor Exp() => Interim.Exponential.Call(this);

    /// <summary>Repeated along axes of size 1 and along new axes in front.</summary>
    public Tensor ExpandTo(Shape shape) => shape == Shape ? this : Interim.Expand(shape).Call(this);

    /// <summary>The values in another dtype.</summary>
    public Tensor Cast(DType dtype) => dtype == DType ? this : Interim.Cast(dtype).Call(this);

    /// <summary>Where x = y.</summary>
    public Tensor Equal(Tensor y) => Interim.Pair(Interim.AreEqual, this, y);

    /// <summary>Where x = y.</summary>
    public Tensor Equal(double y) => Equal(Scalar(y, DType));

    /// <summary>Where x ≠ y.</summary>
    public Tensor NotEqual(double y) => Interim.Pair(Interim.Differ, this, Scalar(y, DType));

    /// <summary>a where the condition holds, else b.</summary>
    public static Tensor Where(Tensor condition, Tensor a, Tensor b) => Interim.Choose.Call(condition, a, b);
}

internal static class Interim
{
    internal static readonly Op Subtract = Of("sub", Same, new Forward.Into((x, y) => Pointwise.Map2(x[0], x[1], y[0], false, default(SubF))), (_, _, g, i) => i == 0 ? g[0] : -g[0]);

    internal static readonly Op Multiply = Of("mul", Same, new Forward.Into((x, y) => Pointwise.Map2(x[0], x[1], y[0], false, default(MulF))), (x, _, g, i) => g[0] * x[1 - i]);

    internal static readonly Op Exponential = Of("exp", Same, new Forward.Into((x, y) => Pointwise.Map1(x[0], y[0], false, default(ExpF))), (_, y, g, _) => g[0] * y[0]);

    internal static readonly Op AreEqual = Of("equal", Truth, new Forward.Into((x, y) => Pointwise.Compare(x[0], x[1], y[0], default(EqualF))), Op.NotDifferentiable);

    internal static readonly Op Differ = Of("notEqual", Truth, new Forward.Into((x, y) => Pointwise.Compare(x[0], x[1], y[0], default(NotEqualF))), Op.NotDifferentiable);

    internal static readonly Op Choose = Of("where", x => [new(x[1].DType, x[1].Shape)], new Forward.Into((x, y) => Pointwise.Select(x[0], x[1], x[2], y[0], false)),
        (x, _, g, i) => i == 0 ? null : i == 1 ? Tensor.Where(x[0], g[0], Level.ZerosLike(g[0])) : Tensor.Where(x[0], Level.ZerosLike(g[0]), g[0]));

    internal static Op Power(double p) => Of("pow", Same, new Forward.Into((x, y) => Pointwise.Map1(x[0], y[0], false, new PowF { Exponent = p })), (x, _, g, _) => g[0] * p * x[0].Pow(p - 1));

    internal static Op Cast(DType dtype) => Of("cast", x => [new(dtype, x[0].Shape)], new Forward.Into((x, y) => Pointwise.Convert(x[0], y[0])),
        (x, _, g, _) => x[0].DType.IsFloat() ? g[0].Cast(x[0].DType) : null);

    internal static Op Expand(Shape shape) => Of("expand", x => [new(x[0].DType, Shape.Broadcast("expand", x[0].Shape, shape))],
        new Forward.View((x, _) =>
        {
            var strides = new nint[shape.Rank];
            for (var i = 1; i <= x.Rank; i++) strides[^i] = x.Shape[-i] == shape[-i] ? x.Strides[^i] : 0;
            return new(strides, x.Offset);
        }),
        (x, _, g, _) =>
        {
            var from = x[0].Shape;
            var extra = shape.Rank - from.Rank;
            var axes = Enumerable.Range(0, shape.Rank).Where(i => i < extra || from[i - extra] != shape[i]).ToArray();
            return (axes.Length == 0 ? g[0] : g[0].Sum(axes, keepAxes: true)).Reshape(from.ToArray());
        });

    /// <summary>Applies an operation of two inputs after broadcasting them.</summary>
    internal static Tensor Pair(Op op, Tensor x, Tensor y)
    {
        var shape = Shape.Broadcast(op.Name, x.Shape, y.Shape);
        return op.Call(x.ExpandTo(shape), y.ExpandTo(shape));
    }

    private static Spec[] Same(Tensor[] x) => [new(x[0].DType, x[0].Shape)];

    private static Spec[] Truth(Tensor[] x) => [new(DType.Bool, x[0].Shape)];

    private static Op Of(string name, Infer shape, Forward forward, Vjp vjp) =>
        new() { Name = name, Shape = shape, Forward = forward, Vjp = vjp, Sample = _ => throw new InvalidOperationException($"{name}: the operation has no examples.") };

    private readonly struct ExpF : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => VectorMath.Exp(x);
    }

    private readonly struct PowF : IMap1
    {
        internal double Exponent { get; init; }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> => VectorMath.Pow(x, Lanes.Splat<T>(Exponent));
    }
}
