namespace Functional.Autodiff;

/// <summary>One running differentiation. Levels started later are further in; an operation looks at the highest level among its inputs,
/// computes on the values one level down, which may record there in turn, and wraps the result.</summary>
internal abstract class Level
{
    private static long _started;

    /// <summary>The order in which levels were started.</summary>
    internal long Id { get; } = Interlocked.Increment(ref _started);

    /// <summary>False once the function that is differentiated has returned.</summary>
    internal bool IsOpen { get; set; } = true;

    /// <summary>Applies an operation of which at least one input is of this level.</summary>
    internal abstract Tensor[] Apply(Op op, Tensor[] x);

    /// <summary>The highest level among the inputs; null when all are plain.</summary>
    internal static Level? Highest(Op op, Tensor[] x)
    {
        Level? highest = null;
        foreach (var t in x)
            if (t.Trace is Traced traced && (highest is null || traced.Level.Id > highest.Id))
                highest = traced.Level;
        if (highest is { IsOpen: false })
            throw new InvalidOperationException(
                $"{op.Name}: an input was made inside a differentiation that has ended. Return it from the differentiated function as an auxiliary result, or take StopGradient of it there.");
        return highest;
    }

    /// <summary>The values one level down.</summary>
    protected Tensor[] Lower(Tensor[] x)
    {
        var lower = new Tensor[x.Length];
        for (var i = 0; i < x.Length; i++) lower[i] = Lower(x[i]);
        return lower;
    }

    /// <summary>The value one level down; the tensor itself when it does not belong to this level.</summary>
    internal Tensor Lower(Tensor x) => x.Trace is Traced traced && traced.Level == this ? traced.Primal : x;

    /// <summary>The cotangent or tangent that is zero everywhere, without memory of its own size.</summary>
    internal static Tensor ZerosLike(Tensor x) =>
        x.IsMeta ? Tensor.Meta(x.DType, x.Shape) : Tensor.Constant(x.Shape, 0, x.DType);

    /// <summary>Ones in the shape of x, without memory of its own size.</summary>
    internal static Tensor OnesLike(Tensor x) =>
        x.IsMeta ? Tensor.Meta(x.DType, x.Shape) : Tensor.Constant(x.Shape, 1, x.DType);
}

/// <summary>A trace that belongs to a level.</summary>
public abstract class Traced : Trace
{
    private protected Traced(Tensor primal) => Primal = primal;

    internal abstract Level Level { get; }

    internal override Tensor Primal { get; }
}
