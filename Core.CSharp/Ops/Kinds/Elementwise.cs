using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;

namespace Functional.Ops;

/// <summary>The derivative of y = f(x) as a tensor expression of x and y.</summary>
internal delegate Tensor Slope(Tensor x, Tensor y);

/// <summary>The kinds of elementwise operations: from f, f′ and a domain come shapes, forward, both derivatives, forward mode and examples.</summary>
internal static class Elementwise
{
    // ---- one input ----

    /// <summary>y = f(x) for float tensors. <paramref name="derivative"/> is f′ as a functor of x, or of y where <paramref name="reads"/> says Outputs;
    /// <paramref name="slope"/> is the same as a tensor expression.</summary>
    internal static Op Map<F, D>(string name, F f, D derivative, Slope slope, Domain domain, Reads reads = Reads.Inputs, Infer? infer = null)
        where F : struct, IMap1 where D : struct, IMap1
    {
        Op op = null!;
        var body = Body(f);
        return op = new()
        {
            Name = name,
            Shape = infer ?? Floats(name),
            Forward = Loop(f),
            Vjp = (x, y, g, _) => Chain.Call(g[0], slope(x[0], y[0])),
            VjpInto = (x, y, g, dx) =>
            {
                if (dx[0] is { } slot)
                    Pointwise.Map2(g[0], reads == Reads.Outputs ? y[0] : x[0], slot.Open(out var accumulate), accumulate, new Times<D> { Derivative = derivative });
            },
            Jvp = (x, y, dx) => [Chain.Call(dx[0]!, slope(x[0], y[0]))],
            Reads = reads,
            Batching = Batching.Whole,
            Body = body,
            Sample = draw => new(op, domain.Draw(draw)),
        };
    }

    /// <summary>y = f(x) where f is linear: f is its own derivative.</summary>
    internal static Op Linear<F>(string name, F f, Infer infer) where F : struct, IMap1
    {
        Op op = null!;
        var body = Body(f);
        return op = new()
        {
            Name = name,
            Shape = infer,
            Forward = Loop(f),
            Vjp = (_, _, g, _) => op.Call(g[0]),
            VjpInto = (_, _, g, dx) =>
            {
                if (dx[0] is { } slot) Pointwise.Map1(g[0], slot.Open(out var accumulate), accumulate, f);
            },
            Jvp = (_, _, dx) => [op.Call(dx[0]!)],
            Reads = Reads.None,
            Batching = Batching.Whole,
            Body = body,
            Sample = draw => new(op, Domain.Everywhere.Draw(draw)),
        };
    }

    /// <summary>A step function: flat wherever it has a derivative.</summary>
    internal static Op Step<F>(string name, F f, Domain domain, Infer infer) where F : struct, IMap1
    {
        Op op = null!;
        var body = Body(f);
        return op = new()
        {
            Name = name,
            Shape = infer,
            Forward = Loop(f),
            Vjp = Op.NotDifferentiable,
            Reads = Reads.None,
            Batching = Batching.Whole,
            Body = body,
            Sample = draw => new(op, domain.Draw(draw)),
        };
    }

    private static Forward.Into Loop<F>(F f) where F : struct, IMap1 => new((x, y) => Pointwise.Map1(x[0], y[0], accumulate: false, f));

    /// <summary>One functor for all dtypes, boxed once.</summary>
    internal static Func<Tensor[], object?> Body<F>(F f) where F : struct
    {
        object body = f;
        return _ => body;
    }

    // ---- two inputs ----

    /// <summary>z = f(x, y) for equal shapes. <paramref name="pull"/> gives the cotangent of input i from (x, z, g, i), which is linear in g and
    /// therefore its tangent as well; <paramref name="fused"/> is the same as loops.</summary>
    internal static Op Map2<F>(string name, F f, Func<Tensor[], Tensor, Tensor, int, Tensor> pull, FusedVjp fused, Func<Draw, Shape, Tensor[]> domain,
        Reads reads = Reads.Inputs, Infer? infer = null) where F : struct, IMap2
    {
        Op op = null!;
        var body = Body(f);
        return op = new()
        {
            Name = name,
            Shape = infer ?? (x => [Same(name, x[0], x[1])]),
            Forward = new Forward.Into((x, y) => Pointwise.Map2(x[0], x[1], y[0], accumulate: false, f)),
            Vjp = (x, y, g, i) => pull(x, y[0], g[0], i),
            VjpInto = fused,
            Jvp = (x, y, dx) =>
            {
                var a = dx[0] is { } da ? pull(x, y[0], da, 0) : null;
                var b = dx[1] is { } db ? pull(x, y[0], db, 1) : null;
                return [a is null ? b! : b is null ? a : a + b];
            },
            Reads = reads,
            Batching = Batching.Whole,
            Body = body,
            Sample = draw => new(op, domain(draw, draw.Shape(empty: true))),
        };
    }

    /// <summary>The fused rule whose two loops are functors of (g, x, y), or of (g, x, z) and so on: <paramref name="second"/> and
    /// <paramref name="third"/> choose what follows g among x, y and z.</summary>
    internal static FusedVjp Fused<DX, DY>(DX byX, DY byY, Func<Tensor[], Tensor[], Tensor> second, Func<Tensor[], Tensor[], Tensor> third)
        where DX : struct, IMap3 where DY : struct, IMap3 => (x, y, g, dx) =>
    {
        var (a, b) = (second(x, y), third(x, y));
        if (dx[0] is { } slotX) Pointwise.Map3(g[0], a, b, slotX.Open(out var accumulate), accumulate, byX);
        if (dx[1] is { } slotY) Pointwise.Map3(g[0], a, b, slotY.Open(out var accumulate), accumulate, byY);
    };

    /// <summary>Applies a binary operation after broadcasting both inputs to their common shape.</summary>
    internal static Tensor Broadcast(Op op, Tensor x, Tensor y)
    {
        if (!ReferenceEquals(x.Shape, y.Shape) && x.Shape != y.Shape)
        {
            // A dtype mistake is the plainer one to name.
            Shape.SameDType(op.Name, x, y);
            var shape = Shape.Broadcast(op.Name, x.Shape, y.Shape);
            x = x.ExpandTo(shape);
            y = y.ExpandTo(shape);
        }
        return op.Call(x, y);
    }

    /// <summary>A number beside a tensor: it takes the tensor's dtype and shape, and no memory beyond one element. What an integer dtype cannot hold is refused.</summary>
    internal static Tensor Weak(string op, Tensor like, double value)
    {
        if (like.DType.IsInteger() && !(value == Math.Truncate(value) && Math.Abs(value) <= long.MaxValue))
            throw Shape.Refuse(op, "a number beside an integer tensor must be whole", $"{value} and {like.Describe()}", "Cast the tensor to a float type");
        return Tensor.Constant(like.Shape, value, like.DType);
    }

    // ---- shapes and dtypes ----

    /// <summary>The output is like the input, which must be float32 or float64.</summary>
    internal static Infer Floats(string name) => x =>
    {
        Shape.Float(name, x[0]);
        return [new(x[0].DType, x[0].Shape)];
    };

    /// <summary>The output is like the input, which must not be bool.</summary>
    internal static Infer Numbers(string name) => x =>
    {
        Shape.Number(name, x[0]);
        return [new(x[0].DType, x[0].Shape)];
    };

    /// <summary>The common dtype and shape of two inputs, which must not be bool.</summary>
    internal static Spec Same(string name, Tensor x, Tensor y)
    {
        Shape.Number(name, x);
        Alike(name, x, y);
        return new(x.DType, x.Shape);
    }

    /// <summary>Refuses two inputs of different dtypes or shapes.</summary>
    internal static void Alike(string name, Tensor x, Tensor y)
    {
        Shape.SameDType(name, x, y);
        if (!ReferenceEquals(x.Shape, y.Shape) && x.Shape != y.Shape)
            throw Shape.Refuse(name, "shapes must agree", $"{x.Shape} and {y.Shape}", "Expand one of them");
    }

    // ---- the chain rule ----

    /// <summary>z = g·s, and 0 where either is 0: what nobody asked for cannot become NaN, however steep the function. This is what keeps the
    /// untaken side of a <c>Where</c> out of a gradient, in every order.</summary>
    public static readonly Op Chain = new()
    {
        Name = "chain",
        Shape = static x => [Same("chain", x[0], x[1])],
        Forward = new Forward.Into(static (x, y) => Pointwise.Map2(x[0], x[1], y[0], accumulate: false, default(ChainF))),
        Vjp = static (x, _, g, i) => Chain!.Call(g[0], x[1 - i]),
        VjpInto = static (x, _, g, dx) => Factors(x, g, dx, default(ChainF)),
        Jvp = static (x, _, dx) =>
        {
            var a = dx[0] is { } da ? Chain!.Call(da, x[1]) : null;
            var b = dx[1] is { } db ? Chain!.Call(db, x[0]) : null;
            return [a is null ? b! : b is null ? a : a + b];
        },
        Reads = Reads.Inputs,
        Batching = Batching.Whole,
        Body = Body(default(ChainF)),
        Sample = static draw =>
        {
            var shape = draw.Shape(empty: true);
            return new(Chain!, draw.Tensor(shape, -2, 2, 0.05, 0), draw.Tensor(shape, -2, 2, 0.05, 0));
        },
    };

    /// <summary>The derivative of a product, z = x·y, as loops.</summary>
    internal static void Factors<F>(Tensor[] x, Tensor[] g, Slot?[] dx, F product) where F : struct, IMap2
    {
        if (dx[0] is { } a) Pointwise.Map2(g[0], x[1], a.Open(out var accumulate), accumulate, product);
        if (dx[1] is { } b) Pointwise.Map2(g[0], x[0], b.Open(out var accumulate), accumulate, product);
    }

    /// <summary>g·s, and 0 where g is 0</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<T> Chained<T>(Vector512<T> g, Vector512<T> s) =>
        Vector512.ConditionalSelect(Vector512.Equals(g, Vector512<T>.Zero), Vector512<T>.Zero, g * s);

    /// <summary>g·s, and 0 where g is 0</summary>
    internal readonly struct ChainedF : IMap2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> s) where T : unmanaged, INumber<T> => Chained(g, s);
    }

    private readonly struct ChainF : IMap2
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> s) where T : unmanaged, INumber<T> =>
            Vector512.ConditionalSelect(Vector512.Equals(g, Vector512<T>.Zero) | Vector512.Equals(s, Vector512<T>.Zero), Vector512<T>.Zero, g * s);
    }

    /// <summary>g·f′(v)</summary>
    internal readonly struct Times<D> : IMap2 where D : struct, IMap1
    {
        internal D Derivative { get; init; }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> v) where T : unmanaged, INumber<T> => Chained(g, Derivative.Invoke(v));
    }
}

/// <summary>Where a function of one variable is defined and smooth: values in [Low, High), away from the kinks.</summary>
internal sealed record Domain(double Low = -2, double High = 2, params double[] Kinks)
{
    internal static readonly Domain Everywhere = new();

    internal static readonly Domain Positive = new(0.1, 4);

    internal Tensor Draw(Draw draw) => draw.Tensor(draw.Shape(empty: true), Low, High, 0.05, Kinks);
}
