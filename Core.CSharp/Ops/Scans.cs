using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    // Running results along an axis, from its first element on or, in reverse, from its last.
    public sealed partial class Tensor
    {
        /// <summary>yᵢ = Σ xⱼ over j ≤ i; integers and booleans are added as int64.</summary>
        public Tensor CumSum(int axis, bool reverse = false) => Ops.Scans.Sum(axis, reverse).Call(this);

        /// <summary>yᵢ = Π xⱼ over j ≤ i; zeros are harmless to the derivative.</summary>
        public Tensor CumProd(int axis) => Ops.Scans.Product(axis).Call(this);

        /// <summary>The largest element so far and where it first stood; the gradient goes there alone.</summary>
        public (Tensor Values, Tensor Indices) CumMax(int axis) => Pair(Ops.Scans.Extreme("cummax", axis));

        /// <summary>The smallest element so far and where it first stood; the gradient goes there alone.</summary>
        public (Tensor Values, Tensor Indices) CumMin(int axis) => Pair(Ops.Scans.Extreme("cummin", axis));

        /// <summary>yᵢ = ln Σ e^xⱼ over j ≤ i, without overflow.</summary>
        public Tensor LogCumSumExp(int axis) => Ops.Scans.LogSumExp(axis).Call(this);

        /// <summary>yᵢ = aᵢ·yᵢ₋₁ + bᵢ with y₀ = b₀: exponential averages, discounted returns, state space models with a diagonal state.</summary>
        public static Tensor LinearRecurrence(Tensor a, Tensor b, int axis, bool reverse = false) => Ops.Scans.Recurrence(axis, reverse).Call(a, b);
    }
}

namespace Functional.Ops
{
    /// <summary>Running sums, products, extremes and linear recurrences. The derivative of each is again one of them, so that it costs one more walk.</summary>
    public static unsafe class Scans
    {
        public static readonly Op CumSum = Sum(0, false);

        public static readonly Op CumProd = Product(0);

        public static readonly Op CumMax = Extreme("cummax", 0);

        public static readonly Op CumMin = Extreme("cummin", 0);

        public static readonly Op LogCumSumExp = LogSumExp(0);

        public static readonly Op LinearRecurrence = Recurrence(0, false);

        internal static Op Sum(int axis, bool reverse) => new()
        {
            Name = "cumsum",
            Batching = Vmapping.Along(axis, a => Sum(a, reverse)),
            Shape = x =>
            {
                x[0].Shape.Axis("cumsum", axis);
                return [new(x[0].DType.IsFloat() ? x[0].DType : DType.Int64, x[0].Shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                var t = x[0].DType.IsFloat() ? x[0] : Reducing.Converted(x[0], DType.Int64);
                Walk(axis, t, t, y[0], reverse, default(Kernels.Scans.Plus));
            }),
            Vjp = (_, _, g, _) => Sum(axis, !reverse).Call(g[0]),
            Jvp = (_, _, dx) => [Sum(axis, reverse).Call(dx[0]!)],
            Reads = Reads.None,
            Sample = static draw => Example(draw, true, Sum),
        };

        internal static Op Product(int axis) => new()
        {
            Name = "cumprod",
            Batching = Vmapping.Along(axis, Product),
            Shape = x =>
            {
                x[0].Shape.Axis("cumprod", axis);
                Reductions.NotBool("cumprod", x[0]);
                return [new(x[0].DType, x[0].Shape)];
            },
            Forward = new Forward.Into((x, y) => Walk(axis, x[0], x[0], y[0], false, default(TimesF))),
            // x̄ᵢ = yᵢ₋₁·sᵢ with sᵢ = gᵢ + xᵢ₊₁·sᵢ₊₁: what follows is factored out of later products, never divided out.
            Vjp = (x, y, g, _) => Before(y[0], axis, 1) * Recurrence(axis, reverse: true).Call(After(x[0], axis), g[0]),
            Sample = static draw => Example(draw, false, (a, _) => Product(a)),
        };

        internal static Op LogSumExp(int axis) => new()
        {
            Name = "logcumsumexp",
            Batching = Vmapping.Along(axis, LogSumExp),
            Shape = x =>
            {
                x[0].Shape.Axis("logcumsumexp", axis);
                return Elementwise.Floats("logcumsumexp")(x);
            },
            Forward = new Forward.Into((x, y) => Walk(axis, x[0], x[0], y[0], false, default(LogPlus))),
            // x̄ᵢ = e^(xᵢ − yᵢ)·dᵢ with dᵢ = gᵢ + e^(yᵢ − yᵢ₊₁)·dᵢ₊₁: no exponent is positive.
            Vjp = (x, y, g, _) =>
            {
                var nothing = y[0].Equal(double.NegativeInfinity);
                var finite = Tensor.Where(nothing, Level.ZerosLike(y[0]), y[0]);
                var ratio = (y[0] - After(finite, axis)).Exp();
                return (x[0] - finite).Exp() * Recurrence(axis, reverse: true).Call(ratio, g[0]);
            },
            Sample = static draw => Example(draw, false, (a, _) => LogSumExp(a)),
        };

        internal static Op Recurrence(int axis, bool reverse) => new()
        {
            Name = "linearRecurrence",
            Batching = Vmapping.Along(axis, a => Recurrence(a, reverse)),
            Shape = x =>
            {
                Elementwise.Alike("linearRecurrence", x[0], x[1]);
                x[0].Shape.Axis("linearRecurrence", axis);
                return Elementwise.Floats("linearRecurrence")(x);
            },
            Forward = new Forward.Into((x, y) => Walk(axis, x[0], x[1], y[0], reverse, default(TimesPlus))),
            // b̄ᵢ = gᵢ + aᵢ₊₁·b̄ᵢ₊₁ and āᵢ = b̄ᵢ·yᵢ₋₁
            Vjp = (x, y, g, i) =>
            {
                var back = Recurrence(axis, !reverse).Call(reverse ? Before(x[0], axis, 0) : After(x[0], axis), g[0]);
                return i == 1 ? back : back * (reverse ? After(y[0], axis) : Before(y[0], axis, 0));
            },
            Jvp = (x, y, dx) =>
            {
                var drive = dx[0] is { } da ? da * (reverse ? After(y[0], axis) : Before(y[0], axis, 0)) : null;
                return [Recurrence(axis, reverse).Call(x[0], drive is null ? dx[1]! : dx[1] is { } db ? db + drive : drive)];
            },
            Sample = static draw =>
            {
                var shape = draw.Shape(1, empty: true);
                var (axis, reverse) = (AxisSet.DrawOne(draw, shape), draw.Chance());
                return new(Recurrence(axis, reverse), draw.Tensor(shape, -1, 1), draw.Tensor(shape)) { Attributes = Attributes(axis, reverse) };
            },
        };

        internal static Op Extreme(string name, int axis) => new()
        {
            Name = name,
            Batching = Vmapping.Along(axis, a => Extreme(name, a)),
            Shape = x =>
            {
                x[0].Shape.Axis(name, axis);
                Reductions.NotBool(name, x[0]);
                return [new(x[0].DType, x[0].Shape), new(DType.Int64, x[0].Shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                switch (x[0].DType)
                {
                    case DType.Float32: Extreme<float>(x[0], y, axis, name == "cummax"); break;
                    case DType.Float64: Extreme<double>(x[0], y, axis, name == "cummax"); break;
                    case DType.Int32: Extreme<int>(x[0], y, axis, name == "cummax"); break;
                    default: Extreme<long>(x[0], y, axis, name == "cummax"); break;
                }
            }),
            Vjp = (x, y, g, _) => Level.ZerosLike(x[0]).ScatterAdd(y[1], g[0], axis),
            Jvp = (x, y, dx) => [dx[0]!.Gather(y[1], axis), y[1]],
            Reads = Reads.Outputs,
            Sample = draw =>
            {
                var shape = draw.Shape(1, empty: true);
                var along = AxisSet.DrawOne(draw, shape);
                return new(Extreme(name, along), draw.Distinct(shape)) { Attributes = $"axis = {along}" };
            },
        };

        private static void Extreme<T>(Tensor x, Tensor[] y, int axis, bool largest) where T : unmanaged, INumber<T>
        {
            var (outer, n, inner) = Softmax.Around(x.Shape, axis);
            x = Pointwise.Contiguous(x);
            Kernels.Scans.Extreme(outer, n, inner, x.Pointer<T>(), y[0].Pointer<T>(), y[1].Pointer<long>(), largest);
            GC.KeepAlive(x);
        }

        private static void Walk<F>(int axis, Tensor a, Tensor x, Tensor y, bool reverse, F f) where F : struct, IMap3
        {
            switch (y.DType)
            {
                case DType.Float32: Walk<float, F>(axis, a, x, y, reverse, f); break;
                case DType.Float64: Walk<double, F>(axis, a, x, y, reverse, f); break;
                case DType.Int32: Walk<int, F>(axis, a, x, y, reverse, f); break;
                default: Walk<long, F>(axis, a, x, y, reverse, f); break;
            }
        }

        private static void Walk<T, F>(int axis, Tensor a, Tensor x, Tensor y, bool reverse, F f) where T : unmanaged, INumber<T> where F : struct, IMap3
        {
            var (outer, n, inner) = Softmax.Around(y.Shape, axis);
            var same = ReferenceEquals(a, x);
            x = Pointwise.Contiguous(x);
            a = same ? x : Pointwise.Contiguous(a);
            Kernels.Scans.Run(outer, n, inner, a.Pointer<T>(), x.Pointer<T>(), y.Pointer<T>(), reverse, f);
            GC.KeepAlive(a);
            GC.KeepAlive(x);
        }

        // Each element's predecessor along the axis; the first has none and gets the value given.
        private static Tensor Before(Tensor x, int axis, double first) => Neighbour(x, axis, first, 1);

        // Each element's successor along the axis; the last has none and gets 0.
        private static Tensor After(Tensor x, int axis) => Neighbour(x, axis, 0, 0);

        private static Tensor Neighbour(Tensor x, int axis, double border, int before)
        {
            var (a, n) = (x.Shape.Axis("scan", axis), x.Shape[axis]);
            if (n == 0) return x;
            var (left, right) = (new int[x.Rank], new int[x.Rank]);
            (left[a], right[a]) = (before, 1 - before);
            return x.Slice(a, 1 - before, n - before).Pad(left, right, border);
        }

        private static Example Example(Draw draw, bool mayReverse, Func<int, bool, Op> make)
        {
            var shape = draw.Shape(1, empty: true);
            var axis = AxisSet.DrawOne(draw, shape);
            var reverse = mayReverse && draw.Chance();
            return new(make(axis, reverse), draw.Tensor(shape)) { Attributes = Attributes(axis, reverse) };
        }

        private static string Attributes(int axis, bool reverse) => $"axis = {axis}, reverse = {(reverse ? "true" : "false")}";

        private readonly struct TimesF : IMap3
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> y, Vector512<T> a, Vector512<T> x) where T : unmanaged, INumber<T> => y * x;
        }

        private readonly struct TimesPlus : IMap3
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> y, Vector512<T> a, Vector512<T> x) where T : unmanaged, INumber<T> => Lanes.Fma(a, y, x);
        }

        /// <summary>ln(eʸ + eˣ) = max + ln(1 + e^−|y − x|); of two equal infinities it is that infinity.</summary>
        private readonly struct LogPlus : IMap3
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> y, Vector512<T> a, Vector512<T> x) where T : unmanaged, INumber<T>
            {
                var largest = Vector512.Max(y, x);
                var sum = largest + VectorMath.Log1p(VectorMath.Exp(-Vector512.Abs(y - x)));
                var infinite = Vector512.Equals(Vector512.Abs(largest), Lanes.Splat<T>(double.PositiveInfinity));
                return Vector512.ConditionalSelect(infinite, largest, sum);
            }
        }
    }
}
