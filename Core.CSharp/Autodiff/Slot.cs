
namespace Functional.Autodiff;

/// <summary>Where a recorded value's cotangent lives: the first contribution assigns, later ones accumulate, so nothing is filled with zeros.</summary>
public sealed class Slot : Traced
{
    private readonly Tape _tape;

    // True while the cotangent's memory is this slot's alone and may be written to.
    private bool _owned;

    // A cotangent that consists of rows alone so far; then there is no other.
    private SparseRows? _rows;

    private Tensor? _cotangent;

    internal Slot(Tape tape, Tensor primal) : base(primal) => _tape = tape;

    internal override Level Level => _tape;

    internal Tensor? Cotangent
    {
        get
        {
            if (_rows is null) return _cotangent;
            _cotangent = _rows.Primal;
            _owned = true;
            _rows = null;
            return _cotangent;
        }
        private set => _cotangent = value;
    }

    /// <summary>True where the cotangent has a trace or no data: nothing can be added to its memory.</summary>
    internal bool IsAbstract => _cotangent is { } cotangent && (cotangent.Trace is not null || cotangent.IsMeta);

    internal override void PromoteTo(Scope? scope) => Primal.PromoteTo(scope);

    /// <summary>Contiguous memory for a kernel to write a contribution to; it must add to what is there when <paramref name="accumulate"/> is true.</summary>
    internal Tensor Open(out bool accumulate)
    {
        accumulate = Cotangent is not null;
        if (accumulate && !_owned)
        {
            // Somebody else sees this memory: continue on a copy.
            var copy = Tensor.Allocate(Primal.DType, Primal.Shape);
            VectorSpace.CopyInto(Cotangent!, copy);
            Cotangent = copy;
        }
        Cotangent ??= Tensor.Allocate(Primal.DType, Primal.Shape);
        _owned = true;
        return Cotangent;
    }

    /// <summary>Adds rows at places of the first axis, of which <paramref name="skip"/> is left out. As long as there are fewer rows than places, none is made of the others.</summary>
    internal bool AddRows(Tensor rows, Tensor places, long skip)
    {
        if (_cotangent is not null || (_rows?.Count ?? 0) + places.Count >= Primal.Shape[0]) return false;
        (_rows ??= new(Primal.DType, Primal.Shape)).Add(rows, places, skip);
        return true;
    }

    /// <summary>Adds a contribution that is a tensor already.</summary>
    internal void Add(Op op, Tensor contribution)
    {
        if (contribution.Shape != Primal.Shape || contribution.DType != Primal.DType)
            throw Functional.Shape.Refuse(op.Name, "the derivative must give a cotangent like its input",
                $"{contribution.Describe()} for an input {Primal.Describe()}", "Correct the operation's Vjp");
        if (Cotangent is null)
        {
            Cotangent = contribution;
            _owned = false;
            if (contribution.Untraced.Block is { } block) block.Shared = true;
        }
        else if (Cotangent.Trace is null && contribution.Trace is null && !contribution.IsMeta && !Cotangent.IsMeta)
            VectorSpace.AddInto(contribution, Open(out _));
        else
        {
            Cotangent = VectorSpace.Add.Call(Cotangent, contribution);
            _owned = false;
        }
    }

    /// <summary>Takes the cotangent out, in rows where it consists of them.</summary>
    internal Tensor? TakeSparse()
    {
        if (_rows is not { } rows) return Take(out _);
        _rows = null;
        return Tensor.OfRows(Primal.DType, Primal.Shape, rows);
    }

    /// <summary>Takes the cotangent out; its memory may be given back once the walk has used it.</summary>
    internal Tensor? Take(out bool owned)
    {
        owned = _owned;
        var cotangent = Cotangent;
        Cotangent = null;
        _owned = false;
        return cotangent;
    }
}
