namespace Functional.Autodiff;

/// <summary>Forward mode: a level whose values carry their tangents along.</summary>
internal sealed class Dual : Level
{
    internal sealed class Tangent(Dual level, Tensor primal, Tensor value) : Traced(primal)
    {
        internal override Level Level => level;

        internal Tensor Value => value;

        internal override void PromoteTo(Scope? scope)
        {
            Primal.PromoteTo(scope);
            value.PromoteTo(scope);
        }
    }

    internal Tensor Lift(Tensor x, Tensor tangent) => Tensor.WithTrace(x, new Tangent(this, x, tangent));

    internal Tensor? TangentOf(Tensor x) => x.Trace is Tangent tangent && tangent.Level == this ? tangent.Value : null;

    internal override Tensor[] Apply(Op op, Tensor[] x)
    {
        var lower = Lower(x);
        var y = op.Apply(lower);
        if (ReferenceEquals(op.Vjp, Op.NotDifferentiable)) return y;
        var dx = new Tensor?[x.Length];
        for (var i = 0; i < x.Length; i++) dx[i] = TangentOf(x[i]);
        var dy = (op.Jvp ?? Transposed(op))(lower, y, dx);
        var wrapped = new Tensor[y.Length];
        for (var i = 0; i < y.Length; i++) wrapped[i] = y[i].DType.IsFloat() ? Lift(y[i], dy[i]) : y[i];
        return wrapped;
    }

    /// <summary>J ẋ from the rule for Jᵀ: u ↦ Jᵀu is linear, so its own vjp along ẋ is J ẋ.</summary>
    internal static Jvp Transposed(Op op) => (x, y, dx) =>
    {
        var tape = new Tape();
        var u = new Tensor[y.Length];
        for (var i = 0; i < y.Length; i++) u[i] = y[i].DType.IsFloat() ? tape.Watch(ZerosLike(y[i])) : y[i];
        var outputs = new List<Tensor>();
        var seeds = new List<Tensor>();
        for (var i = 0; i < x.Length; i++)
            if (dx[i] is { } tangent && op.Vjp(x, y, u, i) is { } transposed)
            {
                outputs.Add(transposed);
                seeds.Add(tangent);
            }
        tape.IsOpen = false;
        var watched = u.Where(t => t.Trace is Slot s && s.Level == tape).ToArray();
        var tangents = tape.Backward([.. outputs], [.. seeds], watched, release: false);
        var dy = new Tensor[y.Length];
        var next = 0;
        for (var i = 0; i < y.Length; i++) dy[i] = y[i].DType.IsFloat() ? tangents[next++] : y[i];
        return dy;
    };
}
