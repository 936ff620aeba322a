using System.Globalization;
using System.Text;

namespace Functional;

// Data in and out.
public sealed partial class Tensor
{
    // Strides of nothing but zeros, by rank.
    private static readonly nint[][] Still = [[], new nint[1], new nint[2], new nint[3], new nint[4]];

    /// <summary>A scalar of the dtype of <typeparamref name="T"/>.</summary>
    public static Tensor Scalar<T>(T value) where T : unmanaged => FromSpan([value], Shape.Scalar);

    /// <summary>A scalar of the given dtype.</summary>
    public static Tensor Scalar(double value, DType dtype) => Full(Shape.Scalar, value, dtype);

    /// <summary>A tensor from values in row-major order; without a shape it is a vector.</summary>
    public static Tensor From<T>(T[] values, params int[] shape) where T : unmanaged =>
        FromSpan<T>(values, shape.Length == 0 ? Shape.Of(values.Length) : Shape.Of(shape));

    /// <summary>A matrix from a rectangular array.</summary>
    public static unsafe Tensor From<T>(T[,] values) where T : unmanaged
    {
        fixed (T* p = values)
            return FromSpan(new ReadOnlySpan<T>(p, values.Length), Shape.Of(values.GetLength(0), values.GetLength(1)));
    }

    /// <summary>A tensor of the given shape from values in row-major order.</summary>
    public static unsafe Tensor FromSpan<T>(ReadOnlySpan<T> values, Shape shape) where T : unmanaged
    {
        if (values.Length != shape.Count)
            throw Shape.Refuse("from", "as many values as elements are needed", $"{values.Length} values and shape {shape}", "Correct the shape");
        var tensor = Allocate(DTypes.Of<T>(), shape);
        values.CopyTo(new Span<T>(tensor.Pointer<T>(), values.Length));
        return tensor;
    }

    /// <summary>Every element the same value, converted to the dtype.</summary>
    public static unsafe Tensor Full(Shape shape, double value, DType dtype = DType.Float32)
    {
        var tensor = Allocate(dtype, shape);
        var n = (nint)shape.Count;
        switch (dtype)
        {
            case DType.Float32: new Span<float>(tensor.Pointer<float>(), (int)n).Fill((float)value); break;
            case DType.Float64: new Span<double>(tensor.Pointer<double>(), (int)n).Fill(value); break;
            case DType.Int32: new Span<int>(tensor.Pointer<int>(), (int)n).Fill((int)value); break;
            case DType.Int64: new Span<long>(tensor.Pointer<long>(), (int)n).Fill((long)value); break;
            default: new Span<byte>(tensor.Pointer<byte>(), (int)n).Fill(value != 0 ? (byte)1 : (byte)0); break;
        }
        return tensor;
    }

    /// <summary>One value seen in every place of a shape: no memory beyond one element.</summary>
    internal static unsafe Tensor Constant(Shape shape, double value, DType dtype)
    {
        var block = Pool.Rent(sizeof(double));
        switch (dtype)
        {
            case DType.Float32: *(float*)block.Pointer = (float)value; break;
            case DType.Float64: *(double*)block.Pointer = value; break;
            case DType.Int32: *(int*)block.Pointer = (int)value; break;
            case DType.Int64: *(long*)block.Pointer = (long)value; break;
            default: *(byte*)block.Pointer = value != 0 ? (byte)1 : (byte)0; break;
        }
        return new(dtype, shape, shape.Rank < Still.Length ? Still[shape.Rank] : new nint[shape.Rank], 0, block, block.Generation, null);
    }

    /// <summary>All zeros.</summary>
    public static Tensor Zeros(Shape shape, DType dtype = DType.Float32) => Full(shape, 0, dtype);

    /// <summary>All ones.</summary>
    public static Tensor Ones(Shape shape, DType dtype = DType.Float32) => Full(shape, 1, dtype);

    /// <summary>start, start + step, …, below stop.</summary>
    public static Tensor Arange(double start, double stop, double step = 1, DType dtype = DType.Float32)
    {
        var steps = Math.Ceiling((stop - start) / step);
        if (double.IsNaN(steps) || step == 0 || steps > int.MaxValue)
            throw Shape.Refuse("arange", "the range must be finite", $"{start} … {stop} by {step}", "Give a step towards the end");
        var n = (int)Math.Max(0, steps);
        var values = new double[n];
        for (var i = 0; i < n; i++) values[i] = start + i * step;
        return FromDoubles(values, Shape.Of(n), dtype);
    }

    /// <summary>n values evenly spaced from start to stop, both included.</summary>
    public static Tensor Linspace(double start, double stop, int n, DType dtype = DType.Float32)
    {
        var values = new double[n];
        for (var i = 0; i < n; i++) values[i] = n == 1 ? start : start + (stop - start) * i / (n - 1);
        return FromDoubles(values, Shape.Of(n), dtype);
    }

    /// <summary>The identity matrix of size n.</summary>
    public static Tensor Eye(int n, DType dtype = DType.Float32)
    {
        var values = new double[n * n];
        for (var i = 0; i < n; i++) values[i * n + i] = 1;
        return FromDoubles(values, Shape.Of(n, n), dtype);
    }

    /// <summary>A tensor of the given dtype from doubles in row-major order.</summary>
    internal static Tensor FromDoubles(ReadOnlySpan<double> values, Shape shape, DType dtype)
    {
        switch (dtype)
        {
            case DType.Float64: return FromSpan(values, shape);
            case DType.Float32: return FromSpan<float>(Array.ConvertAll(values.ToArray(), v => (float)v), shape);
            case DType.Int32: return FromSpan<int>(Array.ConvertAll(values.ToArray(), v => (int)v), shape);
            case DType.Int64: return FromSpan<long>(Array.ConvertAll(values.ToArray(), v => (long)v), shape);
            default: return FromSpan<bool>(Array.ConvertAll(values.ToArray(), v => v != 0), shape);
        }
    }

    /// <summary>The elements in row-major order; <typeparamref name="T"/> must be the element type.</summary>
    public unsafe T[] ToArray<T>() where T : unmanaged
    {
        var result = new T[Count];
        CopyTo(result.AsSpan());
        return result;
    }

    /// <summary>Copies the elements in row-major order; <typeparamref name="T"/> must be the element type.</summary>
    public unsafe void CopyTo<T>(Span<T> destination) where T : unmanaged
    {
        if (DTypes.Of<T>() != DType)
            throw Shape.Refuse("data", "the array's element type must be the tensor's", $"{typeof(T).Name} and {Describe()}", "Convert the tensor with Cast");
        if (destination.Length < Count)
            throw Shape.Refuse("data", "the destination must hold all elements", $"{destination.Length} places and {Describe()}", "Give a longer array");
        var source = Readable();
        var p = source.Pointer<T>();
        if (source.IsContiguous) new ReadOnlySpan<T>(p, (int)Count).CopyTo(destination);
        else
        {
            var i = 0;
            foreach (var at in source.Positions()) destination[i++] = p[at];
        }
        GC.KeepAlive(source);
    }

    // The value without any trace, where it has one of this tensor's shape.
    private Tensor Readable()
    {
        for (var t = this; t.Trace is { } trace; t = trace.Primal)
            if (trace.Unreadable is { } sentence)
                throw new InvalidOperationException(string.Format(CultureInfo.InvariantCulture, sentence, Describe()));
        return Untraced;
    }

    /// <summary>Every element's position relative to the first, in row-major order.</summary>
    internal IEnumerable<nint> Positions()
    {
        var index = new int[Rank];
        nint at = 0;
        for (long n = 0; n < Count; n++)
        {
            yield return at;
            for (var axis = Rank - 1; axis >= 0; axis--)
            {
                at += Strides[axis];
                if (++index[axis] < Shape[axis]) break;
                at -= Strides[axis] * Shape[axis];
                index[axis] = 0;
            }
        }
    }

    /// <summary>The elements as doubles in row-major order.</summary>
    public double[] ToDoubles() => DType switch
    {
        DType.Float64 => ToArray<double>(),
        DType.Float32 => Array.ConvertAll(ToArray<float>(), v => (double)v),
        DType.Int32 => Array.ConvertAll(ToArray<int>(), v => (double)v),
        DType.Int64 => Array.ConvertAll(ToArray<long>(), v => (double)v),
        _ => Array.ConvertAll(ToArray<bool>(), v => v ? 1.0 : 0.0),
    };

    /// <summary>The value of a tensor with one element.</summary>
    public unsafe double ToDouble()
    {
        if (Count != 1) throw Shape.Refuse("toDouble", "the tensor must have one element", Describe(), "Reduce it first");
        var t = Readable();
        var value = DType switch
        {
            DType.Float64 => *t.Pointer<double>(),
            DType.Float32 => *t.Pointer<float>(),
            DType.Int32 => *t.Pointer<int>(),
            DType.Int64 => *t.Pointer<long>(),
            _ => *t.Pointer<byte>(),
        };
        GC.KeepAlive(t);
        return value;
    }

    /// <summary>The elements, summarised when there are many: <c>float32[2, 2] [[1, 2], [3, 4]]</c>.</summary>
    public override string ToString()
    {
        if (IsMeta) return $"{Describe()} (shape only)";
        for (var t = this; t.Trace is { } trace; t = trace.Primal)
            if (trace.Unreadable is not null) return $"{Describe()} (elements unknown)";
        var text = new StringBuilder(Describe()).Append(' ');
        var values = ToDoubles();
        var at = 0;
        Write(0);
        return text.ToString();

        void Write(int axis)
        {
            if (axis == Rank)
            {
                text.Append(DType == DType.Bool ? (values[at++] != 0 ? "true" : "false") : values[at++].ToString(DType == DType.Float64 ? "G8" : "G6", CultureInfo.InvariantCulture));
                return;
            }
            var inner = Count == 0 ? 0 : (int)(Shape.RowMajor[axis]);
            text.Append('[');
            for (var i = 0; i < Shape[axis]; i++)
            {
                if (i > 0) text.Append(", ");
                if (i == 3 && Shape[axis] > 8)
                {
                    text.Append("…, ");
                    var skipped = Shape[axis] - 6;
                    at += skipped * inner;
                    i += skipped;
                }
                Write(axis + 1);
            }
            text.Append(']');
        }
    }
}
