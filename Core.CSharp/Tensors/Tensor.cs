
namespace Functional;

/// <summary>An immutable n-dimensional array of float32, float64, int32, int64 or bool. A tensor may be a strided view of another's
/// memory, may carry a <see cref="Trace"/> while it is differentiated, or may be a shape without data ("meta").</summary>
public sealed partial class Tensor
{
    private readonly Block? _block;
    private readonly uint _generation;

    /// <summary>The type of the elements.</summary>
    public DType DType { get; }

    /// <summary>The sizes of the axes.</summary>
    public Shape Shape { get; }

    /// <summary>Strides in elements, one per axis; 0 on broadcast axes.</summary>
    internal nint[] Strides { get; }

    /// <summary>The first element's position in the block, in elements.</summary>
    internal nint Offset { get; }

    /// <summary>Set while a differentiation watches this tensor.</summary>
    internal Trace? Trace { get; }

    private Tensor(DType dtype, Shape shape, nint[] strides, nint offset, Block? block, uint generation, Trace? trace)
    {
        DType = dtype;
        Shape = shape;
        Strides = strides;
        Offset = offset;
        _block = block;
        _generation = generation;
        Trace = trace;
    }

    /// <summary>A new contiguous tensor with arbitrary content, to be filled by a kernel.</summary>
    internal static Tensor Allocate(DType dtype, Shape shape)
    {
        var block = Pool.Rent(shape.Count * dtype.Size());
        return new(dtype, shape, shape.RowMajor, 0, block, block.Generation, null);
    }

    /// <summary>A shape without data: goes through every operation and tells shapes, without computing.</summary>
    public static Tensor Meta(DType dtype, Shape shape) => new(dtype, shape, shape.RowMajor, 0, null, 0, null);

    /// <summary>The same elements seen through other strides.</summary>
    internal Tensor View(Shape shape, nint[] strides, nint offset) =>
        Trace is SparseRows rows ? rows.Primal.View(shape, strides, offset) : new(DType, shape, strides, offset, _block, _generation, null);

    /// <summary>The traced stand-in of a value.</summary>
    internal static Tensor WithTrace(Tensor primal, Trace trace) =>
        new(primal.DType, primal.Shape, primal.Strides, 0, null, 0, trace);

    /// <summary>A sum of rows as a tensor, whose elements are made when they are first read.</summary>
    internal static Tensor OfRows(DType dtype, Shape shape, SparseRows rows) => new(dtype, shape, shape.RowMajor, 0, null, 0, rows);

    /// <summary>True of a tensor without data.</summary>
    public bool IsMeta => Trace is null ? _block is null : Trace.IsMeta;

    /// <summary>The number of axes.</summary>
    public int Rank => Shape.Rank;

    /// <summary>The number of elements.</summary>
    public long Count => Shape.Count;

    /// <summary>The value without any trace.</summary>
    internal Tensor Untraced
    {
        get
        {
            var t = this;
            while (t.Trace is { } trace) t = trace.Primal;
            return t;
        }
    }

    internal Block? Block => _block;

    internal void PromoteTo(Scope? scope)
    {
        if (Trace is not null) Trace.PromoteTo(scope);
        else if (_block is not null) Scope.Promote(_block, scope);
    }

    /// <summary>True when the elements lie in row-major order without gaps.</summary>
    internal bool IsContiguous
    {
        get
        {
            if (ReferenceEquals(Strides, Shape.RowMajor)) return true;
            if (Count <= 1) return true;
            for (var i = 0; i < Rank; i++)
                if (Shape[i] != 1 && Strides[i] != Shape.RowMajor[i])
                    return false;
            return true;
        }
    }

    /// <summary>The first element. Throws when there is no data or when its memory was given back.</summary>
    internal unsafe T* Pointer<T>() where T : unmanaged
    {
        if (_block is null) return Trace is null ? throw NoData() : Untraced.Pointer<T>();
        if (_block.Generation != _generation) throw GivenBack();
        return (T*)_block.Pointer + Offset;
    }

    private InvalidOperationException NoData() =>
        new($"data: this {Shape.Describe(DType, Shape)} tensor is a shape without data. Give the computation real tensors to read values.");

    private InvalidOperationException GivenBack() =>
        new($"data: the memory of this {Shape.Describe(DType, Shape)} tensor was given back when the differentiation or Memory.Tidy that made it ended. "
            + "Return the tensor from the function (for a differentiation as an auxiliary result) instead of storing it in a variable.");

    /// <summary>float32[2, 3]</summary>
    internal string Describe() => Shape.Describe(DType, Shape);
}
