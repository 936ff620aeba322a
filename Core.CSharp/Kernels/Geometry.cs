using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>
/// An n-dimensional walk over up to four operands: collapsed sizes and each operand's strides in elements, innermost
/// axis first. Stride 0 repeats an operand along an axis. It lives on the stack; axes are appended outermost first, and
/// those that continue one another in every operand are merged as they arrive.
/// </summary>
internal unsafe struct Geometry
{
    /// <summary>The most axes that remain after merging.</summary>
    public const int MaxRank = 8;

    /// <summary>The most operands.</summary>
    public const int MaxOperands = 4;

    private fixed long _sizes[MaxRank];
    private fixed long _strides[MaxRank * MaxOperands];
    private int _rank;

    /// <summary>The number of axes left after merging; 0 for a single element.</summary>
    public readonly int Rank => _rank;

    /// <summary>The number of elements of the walk.</summary>
    public nint Count { get; private set; }

    [SkipLocalsInit]
    private Geometry(int rank)
    {
        Unsafe.SkipInit(out this);
        _rank = rank;
        Count = 1;
    }

    /// <summary>The empty walk of one element, to which axes are appended.</summary>
    public static Geometry Start() => new(0);

    /// <summary>A walk over <paramref name="n"/> contiguous elements of every operand.</summary>
    public static Geometry Flat(nint n)
    {
        var g = Start();
        g.Append(n, 1, 1, 1, 1);
        return g;
    }

    /// <summary>The walk over <paramref name="sizes"/> (outermost axis first) with the operands' strides in elements; an unused operand's may be empty.</summary>
    public static Geometry Of(ReadOnlySpan<int> sizes, ReadOnlySpan<nint> s0, ReadOnlySpan<nint> s1,
        ReadOnlySpan<nint> s2 = default, ReadOnlySpan<nint> s3 = default)
    {
        var g = Start();
        for (int i = 0; i < sizes.Length; i++)
            g.Append(sizes[i], At(s0, i), At(s1, i), At(s2, i), At(s3, i));
        return g;

        static nint At(ReadOnlySpan<nint> s, int i) => s.IsEmpty ? 0 : s[i];
    }

    /// <summary>Adds the next inner axis, or lengthens the present innermost one where every operand's strides continue.</summary>
    public void Append(nint size, nint s0, nint s1, nint s2 = 0, nint s3 = 0)
    {
        Count *= size;
        if (size == 1) return;
        if (_rank > 0 && Stride(0, 0) == size * s0 && Stride(1, 0) == size * s1 &&
            Stride(2, 0) == size * s2 && Stride(3, 0) == size * s3)
        {
            _sizes[_rank - 1] *= size;
        }
        else
        {
            if (_rank == MaxRank) TooManyAxes();
            _sizes[_rank++] = size;
        }
        int at = (_rank - 1) * MaxOperands;
        _strides[at] = s0;
        _strides[at + 1] = s1;
        _strides[at + 2] = s2;
        _strides[at + 3] = s3;
    }

    /// <summary>The length of axis <paramref name="axis"/>, 0 being the innermost.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly nint Size(int axis) => (nint)_sizes[_rank - 1 - axis];

    /// <summary>The stride of <paramref name="operand"/> along <paramref name="axis"/>, 0 being the innermost.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly nint Stride(int operand, int axis) => (nint)_strides[(_rank - 1 - axis) * MaxOperands + operand];

    /// <summary>The same walk in another order: the axis along which <paramref name="operand"/> has stride 1 innermost.</summary>
    public readonly Geometry Oriented(int operand)
    {
        for (int inner = 1; inner < _rank; inner++)
        {
            if (Stride(operand, inner) != 1) continue;
            var g = Start();
            for (int d = _rank - 1; d >= 0; d--)
                if (d != inner) g.Append(Size(d), Stride(0, d), Stride(1, d), Stride(2, d), Stride(3, d));
            g.Append(Size(inner), Stride(0, inner), Stride(1, inner), Stride(2, inner), Stride(3, inner));
            return g;
        }
        return this;
    }

    private static void TooManyAxes() => throw new ArgumentException(
        $"elementwise: at most {MaxRank} axes that do not merge; got more. Make the operands contiguous first.");
}
