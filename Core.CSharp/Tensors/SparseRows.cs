using System.Numerics;
using System.Runtime.InteropServices;
using Functional.Kernels;

namespace Functional;

/// <summary>A sum of rows at places of a first axis, zero elsewhere: an embedding's gradient. Whoever reads elements gets all of them; whoever asks for the rows
/// need not touch the others.</summary>
internal sealed unsafe class SparseRows : Trace
{
    private readonly DType _dtype;
    private readonly Shape _shape;
    private readonly List<Addend> _addends = [];
    private Tensor? _dense;

    /// <summary>Contiguous rows, their places as contiguous int64, and the place that is left out; −1 where none is.</summary>
    private readonly record struct Addend(Tensor Rows, Tensor Places, long Skip);

    internal SparseRows(DType dtype, Shape shape) => (_dtype, _shape) = (dtype, shape);

    /// <summary>The rows added so far, more than one for a place where places repeat.</summary>
    internal long Count { get; private set; }

    internal void Add(Tensor rows, Tensor places, long skip)
    {
        rows = Pointwise.Contiguous(rows);
        // Their memory must not go back when the walk has passed them.
        rows.Block!.Shared = places.Block!.Shared = true;
        _addends.Add(new(rows, places, skip));
        Count += places.Count;
    }

    internal override bool IsMeta => false;

    /// <summary>The sum as a tensor that is as large as it says, made when it is first asked for.</summary>
    internal override Tensor Primal
    {
        get
        {
            lock (_addends)
            {
                if (_dense is not null) return _dense;
                var dense = Tensor.Allocate(_dtype, _shape);
                // It lives as long as what it is made of.
                Scope.Promote(dense.Block!, _addends[0].Rows.Block!.Owner);
                AddInto(dense);
                return _dense = dense;
            }
        }
    }

    /// <summary>Every place once, in the order of their first mention, and the sum of its rows, [places, …].</summary>
    internal (Tensor Places, Tensor Sums) Distinct()
    {
        var numbers = Tensor.Allocate(DType.Int64, Shape.Of((int)Count));
        var places = Tensor.Allocate(DType.Int64, numbers.Shape);
        nint from = 0, found = 0;
        foreach (var (_, at, skip) in _addends)
        {
            found = Indexing.Number((nint)at.Count, at.Pointer<long>(), _shape[0], skip, numbers.Pointer<long>() + from, places.Pointer<long>(), found);
            from += (nint)at.Count;
        }
        var sums = Tensor.Allocate(_dtype, Shape.Of([(int)found, .. _shape.Sizes[1..]]));
        AddInto(sums, numbers);
        GC.KeepAlive(numbers);
        return (places.View(Shape.Of((int)found), [1], 0), sums);
    }

    internal override void PromoteTo(Scope? scope)
    {
        foreach (var (rows, places, _) in _addends)
        {
            rows.PromoteTo(scope);
            places.PromoteTo(scope);
        }
        lock (_addends) _dense?.PromoteTo(scope);
    }

    // With numbers in place of the places where there are any, one addend's after the other's.
    private void AddInto(Tensor sums, Tensor? numbers = null)
    {
        NativeMemory.Clear(sums.Pointer<byte>(), (nuint)(sums.Count * _dtype.Size()));
        nint from = 0;
        foreach (var (rows, places, skip) in _addends)
        {
            var at = numbers is null ? places.Pointer<long>() : numbers.Pointer<long>() + from;
            var count = (nint)places.Count;
            if (_dtype == DType.Float32) PutBack<float>(sums, rows, count, at, numbers is null ? skip : -1);
            else PutBack<double>(sums, rows, count, at, numbers is null ? skip : -1);
            from += count;
            GC.KeepAlive(places);
        }
    }

    private void PutBack<T>(Tensor sums, Tensor rows, nint count, long* at, long skip) where T : unmanaged, INumber<T>
    {
        Indexing.PutBack(1, sums.Shape[0], (nint)(_shape.Count / _shape[0]), sums.Pointer<T>(), count, at, rows.Pointer<T>(), skip);
        GC.KeepAlive(rows);
    }
}
