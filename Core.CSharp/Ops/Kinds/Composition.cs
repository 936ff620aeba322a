using Functional.Autodiff;

namespace Functional.Ops;

/// <summary>The kind of operations that are written in terms of others: shapes and derivatives follow from theirs.</summary>
internal static class Composition
{
    /// <summary>The operation that <paramref name="f"/> computes.</summary>
    internal static Op Of(string name, Func<Tensor[], Tensor[]> f, Sample sample) => new()
    {
        Name = name,
        Shape = x => Array.ConvertAll(f(Array.ConvertAll(x, t => Tensor.Meta(t.DType, t.Shape))), y => new Spec(y.DType, y.Shape)),
        Forward = new Forward.Composed(f),
        Vjp = (x, _, g, i) => x[i].DType.IsFloat() ? Pullback(f, x, g, i) : null,
        Sample = sample,
    };

    private static Tensor Pullback(Func<Tensor[], Tensor[]> f, Tensor[] x, Tensor[] g, int i)
    {
        var (_, pullback) = Diff.Vjp(t => f([.. x[..i], t[0], .. x[(i + 1)..]]), x[i]);
        return pullback(g)[0];
    }
}
