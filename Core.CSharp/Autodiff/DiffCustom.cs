using Functional.Autodiff;

namespace Functional;

// Derivatives given by hand and memory traded for time.
public static partial class Diff
{
    /// <summary>A function with a derivative given by hand: <paramref name="f"/> computes the outputs, <paramref name="vjp"/> the inputs' cotangents from (x, y, ȳ).
    /// Both are written in tensor operations, so the result differentiates to any order.</summary>
    public static Func<Tensor[], Tensor[]> CustomVjp(Func<Tensor[], Tensor[]> f, Func<Tensor[], Tensor[], Tensor[], Tensor[]> vjp, string name = "customVjp")
    {
        // The walk asks for one input's cotangent at a time; the function gives all of them, so the last answer is remembered.
        (Tensor[]? Asked, Tensor[] Answer) last = (null, []);
        var op = new Op
        {
            Name = name,
            Shape = x => Array.ConvertAll(f(Array.ConvertAll(x, t => Tensor.Meta(t.DType, t.Shape))), y => new Spec(y.DType, y.Shape)),
            Forward = new Forward.Composite(f),
            Vjp = (x, y, g, i) =>
            {
                if (!ReferenceEquals(last.Asked, g)) last = (g, vjp(x, y, g));
                return last.Answer[i];
            },
            Sample = _ => throw new InvalidOperationException($"{name}: a derivative given by hand has no stated domain. Check it on inputs of your own with GradCheck."),
        };
        return x => op.Apply(x);
    }

    /// <summary>A function with a derivative given by hand: <paramref name="f"/> computes the outputs, <paramref name="jvp"/> their tangents from (x, y, ẋ), linear in ẋ.
    /// The way back follows by transposition; both are written in tensor operations, so the result differentiates to any order.</summary>
    public static Func<Tensor[], Tensor[]> CustomJvp(Func<Tensor[], Tensor[]> f, Func<Tensor[], Tensor[], Tensor[], Tensor[]> jvp, string name = "customJvp")
    {
        var op = new Op
        {
            Name = name,
            Shape = x => Array.ConvertAll(f(Array.ConvertAll(x, t => Tensor.Meta(t.DType, t.Shape))), y => new Spec(y.DType, y.Shape)),
            Forward = new Forward.Composite(f),
            Jvp = (x, y, dx) => jvp(x, y, [.. dx.Select((t, i) => t ?? Level.ZerosLike(x[i]))]),
            Vjp = (x, y, g, i) =>
            {
                if (!x[i].DType.IsFloat()) return null;
                var zeros = Array.ConvertAll(x, Level.ZerosLike);
                return Vjp(t => jvp(x, y, [.. zeros[..i], t[0], .. zeros[(i + 1)..]]), zeros[i]).Pullback(g)[0];
            },
            Sample = _ => throw new InvalidOperationException($"{name}: a derivative given by hand has no stated domain. Check it on inputs of your own with GradCheck."),
        };
        return x => op.Apply(x);
    }

    /// <summary>The same function, but its intermediate values are computed again in the backward pass instead of being kept.</summary>
    public static Func<Tensor[], Tensor[]> Checkpoint(Func<Tensor[], Tensor[]> f)
    {
        // Without a trace inside, the intermediates go back to the pool at the end of the scope.
        Tensor[] Forget(Tensor[] x) => Memory.Tidy(() => f(x));
        return CustomVjp(Forget, (x, _, g) => Vjp(f, x).Pullback(g), "checkpoint");
    }
}
