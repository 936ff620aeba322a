namespace Functional.Autodiff;

/// <summary>What an operation's output will be: its dtype and shape.</summary>
public readonly record struct Spec(DType DType, Shape Shape);

/// <summary>Shapes and dtypes in → out, or a <see cref="ShapeException"/>. Looks at no data, so shape-only tensors suffice.</summary>
public delegate Spec[] Infer(Tensor[] x);

/// <summary>Computes outputs into fresh contiguous tensors.</summary>
public delegate void Kernel(Tensor[] x, Tensor[] y);

/// <summary>How an operation gets its outputs.</summary>
public abstract record Forward
{
    private Forward() { }

    /// <summary>A kernel writes into fresh contiguous memory.</summary>
    public sealed record Into(Kernel Kernel) : Forward;

    /// <summary>The output shows the first input's memory through other strides; nothing is copied.</summary>
    public sealed record View(Func<Tensor, Spec, Layout> Layout) : Forward;

    /// <summary>The outputs come from other operations, one level down.</summary>
    public sealed record Composite(Func<Tensor[], Tensor[]> Function) : Forward;

    /// <summary>The outputs come from other operations, on the level of the inputs: each of those is differentiated by its own rule, and the
    /// operation as a whole leaves no record.</summary>
    public sealed record Composed(Func<Tensor[], Tensor[]> Function) : Forward;
}

/// <summary>Strides and offset of a view, in elements.</summary>
public readonly record struct Layout(nint[] Strides, nint Offset);

/// <summary>The cotangent of input i from the inputs x, the outputs y and the outputs' cotangents g: x̄ᵢ = (∂y/∂xᵢ)ᵀ g.
/// Written in tensor operations, hence differentiable itself. Null means that nothing flows to this input.</summary>
public delegate Tensor? Vjp(Tensor[] x, Tensor[] y, Tensor[] g, int i);

/// <summary>The tangents of the outputs from those of the inputs (null where an input does not move): ẏ = Σ (∂y/∂xᵢ) ẋᵢ.</summary>
public delegate Tensor[] Jvp(Tensor[] x, Tensor[] y, Tensor?[] dx);

/// <summary>The same derivative as <see cref="Vjp"/> as one fused kernel on plain data: assigns or accumulates into the slots that are not null.</summary>
public delegate void FusedVjp(Tensor[] x, Tensor[] y, Tensor[] g, Slot?[] dx);

/// <summary>The outputs of many examples at once. Inputs that are mapped have the examples along a new first axis, the others are the same for all;
/// every output has that axis. Null where it cannot be done so.</summary>
public delegate Tensor[]? BatchRule(Op op, Tensor[] x, bool[] mapped, int examples);

/// <summary>How an operation is applied to many examples at once.</summary>
public abstract record Batching
{
    private Batching() { }

    /// <summary>One example after the other.</summary>
    public static readonly Batching Loop = new OneByOne();

    /// <summary>As it is: it treats leading axes as a batch, if all inputs have them.</summary>
    public static readonly Batching Whole = new AsItIs();

    /// <summary>As it is: the first axis of its first input is a batch already, which grows.</summary>
    public static readonly Batching Folded = new IntoFirstAxis();

    internal sealed record OneByOne : Batching;

    internal sealed record AsItIs : Batching;

    internal sealed record IntoFirstAxis : Batching;

    /// <summary>By a rule of its own.</summary>
    public sealed record By(BatchRule Rule) : Batching;
}

/// <summary>An operation value and valid inputs for it.</summary>
public sealed record Example(Op Op, params Tensor[] Inputs)
{
    /// <summary>The attributes drawn, as a person would write them.</summary>
    public string Attributes { get; init; } = "";
}

/// <summary>The domain of an operation: draws valid attributes and inputs.</summary>
public delegate Example Sample(Draw draw);

/// <summary>How many multiplications and additions the outputs take, from the shapes of the inputs.</summary>
public delegate long Work(Tensor[] x, Spec[] y);

/// <summary>Which values a derivative reads; the others may be forgotten.</summary>
[Flags]
public enum Reads
{
    None = 0,
    Inputs = 1,
    Outputs = 2,
    All = 3,
}

/// <summary>An operation as a record of facts. Attributes are closed over when the value is made.
/// What is <c>required</c> cannot be forgotten; what the compiler cannot see, a law checks.</summary>
public sealed record Op
{
    /// <summary>The name in messages, tables and reference files.</summary>
    public required string Name { get; init; }

    /// <summary>Shapes and dtypes of the outputs.</summary>
    public required Infer Shape { get; init; }

    /// <summary>The outputs themselves.</summary>
    public required Forward Forward { get; init; }

    /// <summary>The differentiable derivative. Use <see cref="NotDifferentiable"/> for operations with discrete results.</summary>
    public required Vjp Vjp { get; init; }

    /// <summary>The domain.</summary>
    public required Sample Sample { get; init; }

    /// <summary>The derivative as one kernel, for first order on plain data.</summary>
    public FusedVjp? VjpInto { get; init; }

    /// <summary>Forward mode; derived from <see cref="Vjp"/> by transposition where absent.</summary>
    public Jvp? Jvp { get; init; }

    /// <summary>How many examples are taken at once.</summary>
    public Batching Batching { get; init; } = Batching.Loop;

    /// <summary>What the derivative reads of the recorded inputs and outputs.</summary>
    public Reads Reads { get; init; } = Reads.All;

    /// <summary>What the outputs cost, for <see cref="Autodiff.Flop"/>; null where that is a few operations per element.</summary>
    public Work? Flop { get; init; }

    /// <summary>Where every element of the output comes from those of the inputs at its place: the functor of <see cref="Kernels"/> that computes a vector of it
    /// from theirs, for inputs of these dtypes; a boolean is a lane of all bits or none. Loops of several operations are made of it.</summary>
    internal Func<Tensor[], object?>? Body { get; init; }

    /// <summary>The derivative of an operation whose result does not vary smoothly: comparisons, indices, casts to integers.</summary>
    public static readonly Vjp NotDifferentiable = static (_, _, _, _) => null;

    /// <summary>Applies the operation to inputs of any level and gives all outputs.</summary>
    public Tensor[] Apply(params Tensor[] x) =>
        Forward is Forward.Composed composed ? composed.Function(x) : Level.Highest(this, x) is { } level ? level.Apply(this, x) : Run(x);

    /// <summary>Applies an operation with one output.</summary>
    public Tensor Call(params Tensor[] x) => Apply(x)[0];

    /// <summary>Runs the operation on values without a trace.</summary>
    private Tensor[] Run(Tensor[] x)
    {
        if (Forward is Forward.Composite composite) return composite.Function(x);
        var specs = Shape(x);
        var y = new Tensor[specs.Length];
        foreach (var input in x)
            if (input.IsMeta)
            {
                if (Flop is { } work) Autodiff.Flop.Add(work(x, specs));
                for (var i = 0; i < y.Length; i++) y[i] = Tensor.Meta(specs[i].DType, specs[i].Shape);
                return y;
            }
        if (Forward is Forward.View view)
        {
            var (strides, offset) = view.Layout(x[0], specs[0]);
            y[0] = x[0].View(specs[0].Shape, strides, offset);
            return y;
        }
        for (var i = 0; i < y.Length; i++) y[i] = Tensor.Allocate(specs[i].DType, specs[i].Shape);
        ((Forward.Into)Forward).Kernel(x, y);
        // The kernel held bare pointers: no finaliser may take the memory before it is done.
        GC.KeepAlive(x);
        GC.KeepAlive(y);
        return y;
    }

    /// <summary>The name.</summary>
    public override string ToString() => Name;
}
