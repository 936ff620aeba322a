namespace Functional.Autodiff;

/// <summary>The first operation that gave a value that is not finite.</summary>
public sealed class NonFiniteException(string op, string message) : ArithmeticException(message)
{
    /// <summary>The operation's name.</summary>
    public string Op => op;

    /// <summary>The layer in which it ran, where one is known.</summary>
    public string? Layer { get; set; }
}

/// <summary>A level that computes as usual and stops at the first operation whose output is not finite.</summary>
internal sealed class Watchdog : Level
{
    private sealed class Watched(Watchdog level, Tensor primal) : Traced(primal)
    {
        internal override Level Level => level;

        internal override void PromoteTo(Scope? scope) => Primal.PromoteTo(scope);
    }

    internal Tensor Watch(Tensor x) => Tensor.WithTrace(x, new Watched(this, x));

    internal override Tensor[] Apply(Op op, Tensor[] x)
    {
        var lower = Lower(x);
        var y = op.Apply(lower);
        foreach (var output in y)
            if (output.DType.IsFloat() && Array.Find(output.ToDoubles(), v => !double.IsFinite(v)) is var bad && !double.IsFinite(bad))
                throw new NonFiniteException(op.Name,
                    $"{op.Name}: values must stay finite; got {bad} in its result {output.Describe()} from {string.Join(", ", lower.Select(Range))}. Lower the learning rate, clip the gradient, or check the data.");
        return Array.ConvertAll(y, t => t.DType.IsFloat() ? Watch(t) : t);
    }

    private static string Range(Tensor x)
    {
        if (x.IsMeta || x.Count == 0) return x.Describe();
        var values = x.ToDoubles();
        return $"{x.Describe()} in {values.Min():G4} … {values.Max():G4}";
    }
}
