namespace Functional.Autodiff;

/// <summary>What a tape remembers of one application of an operation: data, not closures, so that it can be printed and checked.</summary>
internal sealed record Recording(Op Op, Tensor[] X, Slot?[] Inputs, Tensor[] Y, Slot?[] Outputs);

/// <summary>Reverse mode: a level that records operations in order and walks back through them.</summary>
internal sealed class Tape : Level
{
    private readonly List<Recording> _recordings = [];
    private readonly Scope? _scope = Scope.Current;

    internal IReadOnlyList<Recording> Recordings => _recordings;

    /// <summary>A stand-in for <paramref name="x"/> whose uses are recorded.</summary>
    internal Tensor Watch(Tensor x) => Tensor.WithTrace(x, new Slot(this, x));

    internal override Tensor[] Apply(Op op, Tensor[] x)
    {
        var lower = Lower(x);
        var y = op.Apply(lower);
        if (ReferenceEquals(op.Vjp, Op.NotDifferentiable)) return y;
        var inputs = new Slot?[x.Length];
        for (var i = 0; i < x.Length; i++)
        {
            inputs[i] = x[i].Trace is Slot slot && slot.Level == this ? slot : null;
            // Residuals must outlive scopes further in: another differentiation may run inside this one.
            lower[i].PromoteTo(_scope);
        }
        var outputs = new Slot?[y.Length];
        var wrapped = new Tensor[y.Length];
        for (var i = 0; i < y.Length; i++)
        {
            y[i].PromoteTo(_scope);
            if (y[i].DType.IsFloat())
            {
                var slot = new Slot(this, y[i]);
                outputs[i] = slot;
                wrapped[i] = Tensor.WithTrace(y[i], slot);
            }
            else wrapped[i] = y[i];
        }
        _recordings.Add(new(op, lower, inputs, y, outputs));
        return wrapped;
    }

    /// <summary>Walks back from the outputs' cotangents to those of the watched inputs (zero where nothing flows).
    /// With <paramref name="release"/> memory goes back as soon as the walk has passed it, and the tape cannot be walked again.</summary>
    internal Tensor[] Backward(Tensor[] outputs, Tensor[] cotangents, Tensor[] watched, bool release)
    {
        for (var i = 0; i < outputs.Length; i++)
            if (outputs[i].Trace is Slot slot && slot.Level == this)
                slot.Add(Seed, cotangents[i]);
        for (var r = _recordings.Count - 1; r >= 0; r--)
        {
            var recording = _recordings[r];
            Step(recording, release);
            if (release)
            {
                Release(recording);
                _recordings.RemoveAt(r);
            }
        }
        var gradients = new Tensor[watched.Length];
        for (var i = 0; i < watched.Length; i++)
            gradients[i] = ((Slot)watched[i].Trace!).TakeSparse() ?? ZerosLike(Lower(watched[i]));
        return gradients;
    }

    /// <summary>Walks forward from the watched inputs' tangents to those of the outputs (zero where nothing flows).</summary>
    internal Tensor[] Sweep(Tensor[] watched, Tensor[] tangents, Tensor[] outputs)
    {
        var known = new Dictionary<Slot, Tensor>();
        for (var i = 0; i < watched.Length; i++) known[(Slot)watched[i].Trace!] = tangents[i];
        foreach (var (op, x, inputs, y, results) in _recordings)
        {
            var dx = Array.ConvertAll(inputs, slot => slot is null ? null : known.GetValueOrDefault(slot));
            if (Array.TrueForAll(dx, t => t is null)) continue;
            var dy = (op.Jvp ?? Dual.Transposed(op))(x, y, dx);
            for (var i = 0; i < results.Length; i++)
                if (results[i] is { } slot) known[slot] = dy[i];
        }
        return Array.ConvertAll(outputs, y => y.Trace is Slot slot && known.TryGetValue(slot, out var tangent) ? tangent : ZerosLike(Lower(y)));
    }

    private static void Step(Recording recording, bool release)
    {
        var (op, x, inputs, y, outputs) = recording;
        var g = new Tensor?[outputs.Length];
        var owned = new bool[outputs.Length];
        var any = false;
        for (var i = 0; i < outputs.Length; i++)
        {
            g[i] = outputs[i]?.Take(out owned[i]);
            any |= g[i] is not null;
        }
        if (!any) return;
        for (var i = 0; i < outputs.Length; i++) g[i] ??= ZerosLike(y[i]);
        var cotangents = (Tensor[])g!;
        if (op.VjpInto is { } fused && IsPlain(x) && IsPlain(y) && IsPlain(cotangents) && AcceptPlain(inputs))
        {
            fused(x, y, cotangents, inputs);
            GC.KeepAlive(recording);
            GC.KeepAlive(g);
        }
        else
            for (var i = 0; i < inputs.Length; i++)
                if (inputs[i] is { } slot && op.Vjp(x, y, cotangents, i) is { } contribution)
                    slot.Add(op, contribution);
        if (!release) return;
        for (var i = 0; i < g.Length; i++)
            if (owned[i] && g[i]!.Block is { Shared: false, Owner: not null } block)
                Pool.Return(block);
    }

    // Outputs of a kernel were allocated for this recording, and whatever used them was recorded later and is done. Views and composites may show
    // memory of others; a block that a cotangent shares stays to the end of the scope.
    private void Release(Recording recording)
    {
        if (recording.Op.Forward is not Forward.Into) return;
        foreach (var y in recording.Y)
            if (y.Trace is null && y.Block is { Shared: false } block && block.Owner == _scope && _scope is not null)
                Pool.Return(block);
    }

    // A kernel adds to memory: a trace that is there already would be lost.
    private static bool AcceptPlain(Slot?[] slots)
    {
        foreach (var slot in slots)
            if (slot is { IsAbstract: true })
                return false;
        return true;
    }

    private static bool IsPlain(Tensor[] tensors)
    {
        foreach (var t in tensors)
            if (t.Trace is not null || t.IsMeta)
                return false;
        return true;
    }

    /// <summary>The tape as a list of operations, for people.</summary>
    public override string ToString() =>
        string.Join('\n', _recordings.Select(r => $"{r.Op.Name}({string.Join(", ", r.X.Select(x => x.Describe()))}) = {string.Join(", ", r.Y.Select(y => y.Describe()))}"));

    /// <summary>Stands for the caller when the outputs' cotangents are put into their slots.</summary>
    private static readonly Op Seed = VectorSpace.Add with { Name = "cotangent" };
}
