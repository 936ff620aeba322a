using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;
using static Functional.Kernels.Lanes;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>a where the condition is true, else b; all three broadcast. The side not taken has no part in the gradient, not even as NaN.</summary>
        public static Tensor Where(Tensor condition, Tensor a, Tensor b)
        {
            var shape = Shape.Broadcast("where", Shape.Broadcast("where", a.Shape, b.Shape), condition.Shape);
            return Selection.Where.Call(condition.ExpandTo(shape), a.ExpandTo(shape), b.ExpandTo(shape));
        }

        /// <summary>a where the condition is true, else a number.</summary>
        public static Tensor Where(Tensor condition, Tensor a, double b) => Where(condition, a, Elementwise.Weak("where", a, b));

        /// <summary>A number where the condition is true, else b.</summary>
        public static Tensor Where(Tensor condition, double a, Tensor b) => Where(condition, Elementwise.Weak("where", b, a), b);

        /// <summary>The elements limited to min … max; either may be left out. The derivative is 1 inside and at the bounds, 0 outside.</summary>
        public Tensor Clamp(double? min = null, double? max = null) => Selection.ClampTo(min, max).Call(this);

        /// <summary>The elements in another dtype. Floats are cut towards zero and saturate into integers (NaN gives 0); any non-zero is true.</summary>
        public Tensor Cast(DType dtype) => dtype == DType ? this : Selection.CastTo(dtype).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Choosing between values, limiting and converting them.</summary>
    public static class Selection
    {
        /// <summary>z = a where c, else b</summary>
        public static readonly Op Where = new()
        {
            Name = "where",
            Shape = static x =>
            {
                Shape.Bool("where", x[0]);
                Elementwise.Alike("where", x[1], x[2]);
                if (x[0].Shape != x[1].Shape)
                    throw Shape.Refuse("where", "shapes must agree", $"a condition {x[0].Shape} and {x[1].Shape}", "Expand one of them");
                return [new(x[1].DType, x[1].Shape)];
            },
            Forward = new Forward.Into(static (x, y) => Pointwise.Select(x[0], x[1], x[2], y[0], accumulate: false)),
            Vjp = static (x, _, g, i) => i switch
            {
                1 => Tensor.Where(x[0], g[0], 0),
                2 => Tensor.Where(x[0], 0, g[0]),
                _ => null,
            },
            VjpInto = static (x, _, g, dx) =>
            {
                if (dx[1] is { } a) Pointwise.Select(x[0], g[0], Level.ZerosLike(g[0]), a.Open(out var accumulate), accumulate);
                if (dx[2] is { } b) Pointwise.Select(x[0], Level.ZerosLike(g[0]), g[0], b.Open(out var accumulate), accumulate);
            },
            Jvp = static (x, _, dx) => [Where!.Call(x[0], dx[1] ?? Level.ZerosLike(x[1]), dx[2] ?? Level.ZerosLike(x[2]))],
            Reads = Reads.Inputs,
            Batching = Batching.Whole,
            Body = Elementwise.Body(default(SelectLanesF)),
            Sample = static draw =>
            {
                var shape = draw.Shape(empty: true);
                return new(Where!, draw.Mask(shape), draw.Tensor(shape), draw.Tensor(shape));
            },
        };

        /// <summary>The limits −1 … 1.</summary>
        public static readonly Op Clamp = ClampTo(-1, 1) with
        {
            Sample = static draw =>
            {
                double? min = draw.Chance(0.8) ? draw.Uniform(-1.5, 0) : null, max = draw.Chance(0.8) || min is null ? draw.Uniform(0.1, 1.5) : null;
                return ClampTo(min, max).Sample(draw) with { Attributes = $"min={min}, max={max}" };
            },
        };

        /// <summary>y = min(max(x, min), max)</summary>
        public static Op ClampTo(double? min, double? max)
        {
            var (low, high) = (min ?? double.NegativeInfinity, max ?? double.PositiveInfinity);
            if (double.IsNaN(low) || double.IsNaN(high) || (min is null && max is null))
                throw Shape.Refuse("clamp", "at least one bound is needed and none may be NaN", $"min {min} and max {max}", "Give a number");
            return Elementwise.Map("clamp", new ClampF(low, high), new Within(low, high),
                (x, _) => x.GreaterEqual(low).And(x.LessEqual(high)).Cast(x.DType), new(-2, 2, low, high), Reads.Inputs,
                x =>
                {
                    Shape.Number("clamp", x[0]);
                    if (x[0].DType.IsInteger() && ((min ?? 0) % 1 != 0 || (max ?? 0) % 1 != 0))
                        throw Shape.Refuse("clamp", "an integer tensor needs whole bounds", $"min {min} and max {max}", "Cast the tensor to a float type");
                    return [new(x[0].DType, x[0].Shape)];
                });
        }

        private static readonly object ToLanes = default(NonzeroF), OfLanes = default(OneF);

        private static readonly Op[] Casts = Array.ConvertAll(Enum.GetValues<DType>(), MakeCast);

        /// <summary>The conversion to a drawn dtype.</summary>
        public static readonly Op Cast = MakeCast(DType.Float32) with
        {
            Sample = static draw =>
            {
                // One side has the draw's dtype: differences of another float width would show its rounding.
                var shape = draw.Shape(empty: true);
                var other = draw.OneOf(DType.Int32, DType.Int64, DType.Bool, draw.DType);
                return draw.Chance() && !other.IsFloat()
                    ? new(CastTo(draw.DType), draw.Integers(shape, 0, 1, other)) { Attributes = $"dtype={draw.DType.Text()}" }
                    : new(CastTo(other), draw.Tensor(shape, -2, 2, 0.05, -1, 0, 1)) { Attributes = $"dtype={other.Text()}" };
            },
        };

        /// <summary>y = x in another dtype</summary>
        public static Op CastTo(DType dtype) => Enum.IsDefined(dtype) ? Casts[(int)dtype]
            : throw Shape.Refuse("cast", "a dtype is needed", $"{dtype}", "Choose one of DType's values");

        private static Op MakeCast(DType to) => new()
        {
            Name = "cast",
            Shape = x => [new(to, x[0].Shape)],
            Forward = new Forward.Into(static (x, y) => Pointwise.Convert(x[0], y[0])),
            Vjp = to.IsFloat() ? static (x, _, g, _) => x[0].DType.IsFloat() ? g[0].Cast(x[0].DType) : null : Op.NotDifferentiable,
            Jvp = (_, _, dx) => [dx[0]!.Cast(to)],
            Reads = Reads.None,
            Batching = Batching.Whole,
            Body = to == DType.Bool ? static x => x[0].DType.IsFloat() ? ToLanes : null : static x => x[0].DType == DType.Bool ? OfLanes : null,
            Sample = draw => Cast!.Sample(draw),
        };

        private readonly struct ClampF(double min, double max) : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512.Min(Vector512.Max(x, SplatVariable<T>(min)), SplatVariable<T>(max));
        }

        private readonly struct Within(double min, double max) : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One & Vector512.GreaterThanOrEqual(x, SplatVariable<T>(min)) & Vector512.LessThanOrEqual(x, SplatVariable<T>(max));
        }
    }
}
