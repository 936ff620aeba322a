namespace Functional;

using Functional.Autodiff;

/// <summary>Derivatives of functions of tensors: each takes a function and gives a function or its values, and they nest to any order.</summary>
public static partial class Diff
{
    /// <summary>The value of the scalar function <paramref name="f"/> at <paramref name="x"/> and its gradient with respect to every tensor of x.</summary>
    public static (Tensor Value, Tensor[] Gradients) ValueAndGrad(Func<Tensor[], Tensor> f, params Tensor[] x)
    {
        var (value, gradients, _) = ValueAndGrad<object?>(t => (f(t), null, []), x);
        return (value, gradients);
    }

    /// <summary>The same for a function with auxiliary results: f gives the scalar, anything, and the tensors in it that must stay alive.
    /// Auxiliary tensors come back without a trace of this differentiation.</summary>
    public static (Tensor Value, Tensor[] Gradients, Tensor[] Auxiliary) ValueAndGrad(Func<Tensor[], (Tensor, Tensor[])> f, params Tensor[] x)
    {
        var (value, gradients, auxiliary) = ValueAndGrad<object?>(t => f(t) is var (y, kept) ? (y, null, kept) : default, x);
        return (value, gradients, auxiliary.Kept);
    }

    private static (Tensor Value, Tensor[] Gradients, (T Result, Tensor[] Kept) Auxiliary) ValueAndGrad<T>(Func<Tensor[], (Tensor, T, Tensor[])> f, Tensor[] x)
    {
        Differentiable("grad", x);
        var scope = Scope.Enter();
        try
        {
            var tape = new Tape();
            var watched = Array.ConvertAll(x, tape.Watch);
            var (y, result, kept) = f(watched);
            tape.IsOpen = false;
            if (y.Shape.Rank != 0 || !y.DType.IsFloat())
                throw Shape.Refuse("grad", "the function must give a float scalar", y.Describe(), "Sum or average its result, or use Jacobian");
            var value = tape.Lower(y);
            scope.Keep(value);
            var auxiliary = Array.ConvertAll(kept, tape.Lower);
            foreach (var tensor in auxiliary) scope.Keep(tensor);
            var gradients = tape.Backward([y], [Level.OnesLike(value)], watched, release: true);
            foreach (var gradient in gradients) scope.Keep(gradient);
            return (value, gradients, (result, auxiliary));
        }
        finally
        {
            scope.Exit();
        }
    }

    /// <summary>The gradient of a scalar function of several tensors.</summary>
    public static Func<Tensor[], Tensor[]> Grad(Func<Tensor[], Tensor> f) => x => ValueAndGrad(f, x).Gradients;

    /// <summary>The gradient of a scalar function of one tensor, as a function: <c>Grad(Grad(f))</c> nests.</summary>
    public static Func<Tensor, Tensor> Grad(Func<Tensor, Tensor> f) => x => ValueAndGrad(t => f(t[0]), x).Gradients[0];

    /// <summary>The value of f at x and its pullback: output cotangents in, input cotangents out. The pullback may be called any number of times.</summary>
    public static (Tensor[] Value, Func<Tensor[], Tensor[]> Pullback) Vjp(Func<Tensor[], Tensor[]> f, params Tensor[] x)
    {
        Differentiable("vjp", x);
        var tape = new Tape();
        var watched = Array.ConvertAll(x, tape.Watch);
        var y = f(watched);
        tape.IsOpen = false;
        var value = Array.ConvertAll(y, tape.Lower);
        return (value, g =>
        {
            if (g.Length != y.Length)
                throw Shape.Refuse("vjp", "one cotangent per output is needed", $"{g.Length} cotangents and {y.Length} outputs", "Give them in the order of the outputs");
            for (var i = 0; i < g.Length; i++)
                if (g[i].Shape != y[i].Shape || g[i].DType != y[i].DType)
                    throw Shape.Refuse("vjp", "a cotangent must be like its output", $"{g[i].Describe()} and {y[i].Describe()}", "Expand or cast it");
            return tape.Backward(y, g, watched, release: false);
        }
        );
    }

    /// <summary>The value of f at x and its derivative along the direction dx: ẏ = J ẋ, in one forward sweep.</summary>
    public static (Tensor[] Value, Tensor[] Tangent) Jvp(Func<Tensor[], Tensor[]> f, Tensor[] x, Tensor[] dx)
    {
        Differentiable("jvp", x);
        Alike("jvp", x, dx);
        var level = new Dual();
        var lifted = new Tensor[x.Length];
        for (var i = 0; i < x.Length; i++) lifted[i] = level.Lift(x[i], dx[i]);
        var y = f(lifted);
        level.IsOpen = false;
        return (Array.ConvertAll(y, level.Lower), Array.ConvertAll(y, t => level.TangentOf(t) ?? Level.ZerosLike(level.Lower(t))));
    }

    /// <summary>The value of f at x and its derivative there as a linear map of directions, ẋ ↦ J ẋ. f itself runs once; the map may be called any number of
    /// times, and costs as much as the operations' derivatives.</summary>
    public static (Tensor[] Value, Func<Tensor[], Tensor[]> Tangents) Linearize(Func<Tensor[], Tensor[]> f, params Tensor[] x)
    {
        Differentiable("linearize", x);
        var tape = new Tape();
        var watched = Array.ConvertAll(x, tape.Watch);
        var y = f(watched);
        tape.IsOpen = false;
        return (Array.ConvertAll(y, tape.Lower), dx =>
        {
            Alike("linearize", x, dx);
            return tape.Sweep(watched, dx, y);
        }
        );
    }

    /// <summary>Hessian of a scalar function times a direction, H v, by forward over reverse: no matrix is formed.</summary>
    public static Tensor[] Hvp(Func<Tensor[], Tensor> f, Tensor[] x, Tensor[] v) => Jvp(Grad(f), x, v).Tangent;

    /// <summary>The same value with no derivative: nothing flows back through it.</summary>
    public static Tensor StopGradient(Tensor x) => Stop.Call(x);

    private static readonly Op Stop = new()
    {
        Name = "stopGradient",
        Shape = x => [new(x[0].DType, x[0].Shape)],
        Forward = new Forward.View((x, _) => new(x.Strides, x.Offset)),
        Vjp = Op.NotDifferentiable,
        Reads = Reads.None,
        Batching = Batching.Whole,
        Sample = draw => new(Stop!, draw.Tensor(draw.Shape())),
    };

    private static void Alike(string what, Tensor[] x, Tensor[] dx)
    {
        if (dx.Length != x.Length)
            throw Shape.Refuse(what, "one tangent per input is needed", $"{dx.Length} tangents and {x.Length} inputs", "Give them in the order of the inputs");
        for (var i = 0; i < x.Length; i++)
            if (dx[i].Shape != x[i].Shape || dx[i].DType != x[i].DType)
                throw Shape.Refuse(what, "a tangent must be like its input", $"{dx[i].Describe()} and {x[i].Describe()}", "Expand or cast it");
    }

    private static void Differentiable(string what, Tensor[] x)
    {
        foreach (var t in x)
            if (!t.DType.IsFloat())
                throw Shape.Refuse(what, "only float tensors have derivatives", t.Describe(), "Cast the argument, or close over it instead of differentiating it");
    }
}
