using System.Collections.Concurrent;
using System.Numerics;
using Functional.Autodiff;
using Functional.Kernels;

namespace Functional.Ops;

/// <summary>One operation of an expression and what it takes: the expression's inputs are numbered first, then its operations in order.</summary>
internal sealed record Term(Op Op, object Body, int[] Operands, DType DType);

/// <summary>A few elementwise operations as one: all its values have one shape, which may differ from call to call. It is an operation itself, computed by one loop;
/// its derivatives follow from those of its operations and are fused in turn.</summary>
internal sealed unsafe class Expression : IEquatable<Expression>
{
    private static readonly ConcurrentDictionary<Expression, Expression> Known = new();

    private const int MostKnown = 512;

    /// <summary>Elements of an innermost stretch below which repeating inputs are written out, so that the loop is one stretch.</summary>
    private const int Short = 64;

    private readonly DType _lane;
    private readonly DType[] _inputs;
    private readonly Term[] _terms;
    private readonly int[] _outputs;
    private readonly int _hash;
    private Op? _op;

    // By the inputs whose cotangents are wanted; null where they take more than one loop.
    private ConcurrentDictionary<UInt128, Plan?>? _pullbacks;

    // One of the two, made when it is needed.
    private FusedLoop<float>? _single;
    private FusedLoop<double>? _double;

    private Expression(DType lane, DType[] inputs, Term[] terms, int[] outputs)
    {
        _lane = lane;
        _inputs = inputs;
        _terms = terms;
        _outputs = outputs;
        var hash = new HashCode();
        hash.Add(lane);
        foreach (var dtype in inputs) hash.Add(dtype);
        foreach (var term in terms)
        {
            hash.Add(term.Body.GetType());
            foreach (var operand in term.Operands) hash.Add(operand);
        }
        foreach (var output in outputs) hash.Add(output);
        _hash = hash.ToHashCode();
    }

    /// <summary>The operation: the inputs, which share a shape, to the outputs.</summary>
    internal Op Op => _op ??= MakeOp();

    /// <summary>The number of outputs.</summary>
    internal int Count => _outputs.Length;

    /// <summary>The expression of these terms; the same one as before where they are alike, with its derivatives and compiled loops.</summary>
    internal static Expression Of(DType lane, DType[] inputs, Term[] terms, int[] outputs)
    {
        var expression = new Expression(lane, inputs, terms, outputs);
        if (Known.TryGetValue(expression, out var known)) return known;
        if (Known.Count >= MostKnown) Known.Clear();
        return Known.GetOrAdd(expression, expression);
    }

    private DType DTypeOf(int value) => value < _inputs.Length ? _inputs[value] : _terms[value - _inputs.Length].DType;

    private Op MakeOp() => new()
    {
        Name = "fused",
        Shape = x => Array.ConvertAll(_outputs, o => new Spec(DTypeOf(o), x[0].Shape)),
        Forward = new Forward.Into(Run),
        Vjp = (x, y, g, i) => _inputs[i].IsFloat() ? Fusing.Apply(t => Pullback(t, [i]), [.. x, .. g])[0] : null,
        VjpInto = PullbackInto,
        Jvp = (x, _, dx) =>
        {
            var moving = Enumerable.Range(0, dx.Length).Where(i => dx[i] is not null).ToArray();
            return Fusing.Apply(t => Diff.Jvp(Along(t[..x.Length], moving), [.. moving.Select(i => t[i])], t[x.Length..]).Tangent, [.. x, .. moving.Select(i => dx[i]!)]);
        },
        Reads = Reads.Inputs,
        Batching = Batching.Whole,
        Sample = _ => throw new InvalidOperationException("fused: an expression has no stated domain. Check it on inputs of your own with GradCheck."),
    };

    // ---- values ----

    /// <summary>The operations one after the other, on values of any level.</summary>
    private Tensor[] Replay(Tensor[] x)
    {
        var values = new Tensor[_inputs.Length + _terms.Length];
        x.CopyTo(values, 0);
        for (var i = 0; i < _terms.Length; i++) values[_inputs.Length + i] = _terms[i].Op.Call(Array.ConvertAll(_terms[i].Operands, o => values[o]));
        return Array.ConvertAll(_outputs, o => values[o]);
    }

    /// <summary>The outputs as a function of some of the inputs.</summary>
    private Func<Tensor[], Tensor[]> Along(Tensor[] x, int[] chosen) => t =>
    {
        Tensor[] all = [.. x];
        for (var i = 0; i < chosen.Length; i++) all[chosen[i]] = t[i];
        return Replay(all);
    };

    /// <summary>The cotangents of the needed inputs from all inputs and the outputs' cotangents.</summary>
    private Tensor[] Pullback(Tensor[] xg, int[] needed) =>
        Diff.Vjp(Along(xg[.._inputs.Length], needed), [.. needed.Select(i => xg[i])]).Pullback(xg[_inputs.Length..]);

    private void PullbackInto(Tensor[] x, Tensor[] y, Tensor[] g, Slot?[] dx)
    {
        var mask = UInt128.Zero;
        for (var i = 0; i < dx.Length; i++)
            if (dx[i] is not null) mask |= UInt128.One << i;
        Tensor[] xg = [.. x, .. g];
        var pullbacks = _pullbacks ??= new();
        if (!pullbacks.TryGetValue(mask, out var plan))
            pullbacks[mask] = plan = Fusing.PlanOf(t => Pullback(t, Needed()), xg);
        Slot[] slots = [.. dx.OfType<Slot>()];
        if (plan is not null) plan.Run(Op, xg, slots);
        else
        {
            var contributions = Fusing.Apply(t => Pullback(t, Needed()), xg);
            for (var i = 0; i < slots.Length; i++) slots[i].Add(Op, contributions[i]);
        }

        int[] Needed() => [.. Enumerable.Range(0, dx.Length).Where(i => dx[i] is not null)];
    }

    /// <summary>Writes the outputs of plain inputs to contiguous memory.</summary>
    internal void Run(Tensor[] x, Tensor[] y)
    {
        if (_lane == DType.Float32) Run(ref _single, x, y);
        else Run(ref _double, x, y);
    }

    private void Run<T>(ref FusedLoop<T>? cached, Tensor[] x, Tensor[] y) where T : unmanaged, INumber<T>
    {
        var loop = cached ??= new(Array.ConvertAll(_inputs, t => t == DType.Bool),
            Array.ConvertAll(_terms, t => new FusedStep(t.Body, t.Operands, t.DType == DType.Bool)), _outputs);
        var shape = y[0].Shape;
        var operands = x.Length + y.Length;
        var pointers = stackalloc byte*[operands];
        var strides = stackalloc nint[Math.Max(1, shape.Rank) * operands];
        Tensor[] all = [.. Prepared(x, shape), .. y];
        for (var i = 0; i < operands; i++)
        {
            pointers[i] = all[i].DType == DType.Bool ? all[i].Pointer<byte>() : (byte*)all[i].Pointer<T>();
            for (var axis = 0; axis < shape.Rank; axis++) strides[axis * operands + i] = all[i].Strides[axis];
        }
        loop.Run(shape.Sizes, strides, pointers);
        GC.KeepAlive(all);
    }

    // Inputs such that the innermost stretches are long and their elements lie side by side, or are one.
    private static Tensor[] Prepared(Tensor[] x, Shape shape)
    {
        var inner = shape.Rank - 1;
        while (inner > 0 && shape[inner] == 1) inner--;
        if (inner < 0) return x;
        var isShort = inner > 0 && shape[inner] < Short;
        return Array.ConvertAll(x, t => t.IsContiguous || IsStill(t) || (!isShort && (nuint)t.Strides[inner] <= 1) ? t : Pointwise.Contiguous(t));
    }

    private static bool IsStill(Tensor x)
    {
        for (var i = 0; i < x.Rank; i++)
            if (x.Strides[i] != 0 && x.Shape[i] != 1)
                return false;
        return true;
    }

    // ---- likeness ----

    /// <summary>The same operations of the same values: attributes are compared by those of the functors.</summary>
    public bool Equals(Expression? other) =>
        other is not null && _hash == other._hash && _lane == other._lane && _inputs.AsSpan().SequenceEqual(other._inputs)
        && _outputs.AsSpan().SequenceEqual(other._outputs) && _terms.Length == other._terms.Length && AreAlike(_terms, other._terms);

    private static bool AreAlike(Term[] a, Term[] b)
    {
        for (var i = 0; i < a.Length; i++)
            if (a[i].DType != b[i].DType || !a[i].Operands.AsSpan().SequenceEqual(b[i].Operands)
                || !(ReferenceEquals(a[i].Op, b[i].Op) || (a[i].Op.Name == b[i].Op.Name && a[i].Body.Equals(b[i].Body))))
                return false;
        return true;
    }

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as Expression);

    /// <inheritdoc/>
    public override int GetHashCode() => _hash;
}
