using System.Collections;

namespace Functional;

/// <summary>What cannot be done with the given shapes or dtypes: <c>op: requirement; got a and b. Do this.</c></summary>
public sealed class ShapeException(string message) : ArgumentException(message);

/// <summary>The sizes of a tensor's axes, outermost first; <c>[]</c> is a scalar. Immutable.
/// All shape arithmetic and every shape message is in this class.</summary>
public sealed partial class Shape : IEquatable<Shape>, IReadOnlyList<int>
{
    private readonly int[] _sizes;
    private readonly nint[] _strides;

    private Shape(int[] sizes)
    {
        _sizes = sizes;
        _strides = new nint[sizes.Length];
        long count = 1, stride = 1;
        for (var i = sizes.Length - 1; i >= 0; i--)
        {
            var size = sizes[i];
            if (size < 0) throw new ShapeException($"shape: sizes must not be negative; got {Text(sizes)}. Give sizes of 0 or more.");
            _strides[i] = (nint)stride;
            count *= size;
            // The stride product ignores zero sizes so that an empty tensor cannot hide an absurd shape.
            stride *= Math.Max(size, 1);
            if (stride > MaxCount)
                throw new ShapeException($"shape: at most {MaxCount} elements are possible; got {Text(sizes)}. Split the tensor.");
        }
        Count = count;
    }

    private const long MaxCount = int.MaxValue;

    /// <summary>The shape of a scalar.</summary>
    public static readonly Shape Scalar = new([]);

    /// <summary>A shape of the given sizes.</summary>
    public static Shape Of(params ReadOnlySpan<int> sizes) => sizes.Length == 0 ? Scalar : new(sizes.ToArray());

    /// <summary>A shape of the sizes in a list.</summary>
    public static Shape Of(IEnumerable<int> sizes) => Of((ReadOnlySpan<int>)[.. sizes]);

    /// <summary>The number of axes.</summary>
    public int Rank => _sizes.Length;

    /// <summary>The number of elements: the product of the sizes (1 of a scalar).</summary>
    public long Count { get; }

    int IReadOnlyCollection<int>.Count => _sizes.Length;

    /// <summary>The size of an axis; negative axes count from the end.</summary>
    public int this[int axis] => _sizes[axis < 0 ? axis + _sizes.Length : axis];

    /// <summary>The sizes, outermost first.</summary>
    public ReadOnlySpan<int> Sizes => _sizes;

    /// <summary>Row-major strides in elements. One array per shape, so that "is contiguous" is often a reference comparison.</summary>
    internal nint[] RowMajor => _strides;

    public bool Equals(Shape? other) =>
        ReferenceEquals(this, other) || (other is not null && _sizes.AsSpan().SequenceEqual(other._sizes));

    public override bool Equals(object? obj) => Equals(obj as Shape);

    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (var size in _sizes) hash.Add(size);
        return hash.ToHashCode();
    }

    public static bool operator ==(Shape? a, Shape? b) => a is null ? b is null : a.Equals(b);

    public static bool operator !=(Shape? a, Shape? b) => !(a == b);

    public int[] ToArray() => [.. _sizes];

    public IEnumerator<int> GetEnumerator() => ((IEnumerable<int>)_sizes).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary><c>[2, 3]</c></summary>
    public override string ToString() => Text(_sizes);

    internal static string Text(ReadOnlySpan<int> sizes) => $"[{string.Join(", ", sizes.ToArray())}]";
}
