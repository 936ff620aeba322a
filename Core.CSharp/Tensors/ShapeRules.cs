namespace Functional;

// Shape arithmetic: each rule gives the resulting shape or a sentence that says what was required, what came and what to do.
public sealed partial class Shape
{
    /// <summary>A refusal: <c>op: requirement; got …. Do this.</c></summary>
    internal static ShapeException Refuse(string op, string requirement, string got, string advice) =>
        new($"{op}: {requirement}; got {got}. {advice}.");

    internal static string Describe(DType dtype, Shape shape) => $"{dtype.Text()}{shape}";

    /// <summary>The axis as 0 … rank-1; negative axes count from the end.</summary>
    internal int Axis(string op, int axis)
    {
        if (axis < -Rank || axis >= Rank)
            throw Refuse(op, Rank == 0 ? "a scalar has no axes" : $"axis must lie in {-Rank} … {Rank - 1}", $"axis {axis} of {this}", "Choose an existing axis");
        return axis < 0 ? axis + Rank : axis;
    }

    /// <summary>Which axes are meant: none given means all; duplicates are refused.</summary>
    internal bool[] AxisMask(string op, ReadOnlySpan<int> axes)
    {
        var mask = new bool[Rank];
        if (axes.Length == 0) Array.Fill(mask, true);
        foreach (var axis in axes)
        {
            var a = Axis(op, axis);
            if (mask[a]) throw Refuse(op, "each axis may be named once", $"axes {Text(axes)} of {this}", "Drop the repeated axis");
            mask[a] = true;
        }
        return mask;
    }

    /// <summary>NumPy's broadcasting: aligned at the last axis, sizes agree or one of them is 1.</summary>
    internal static Shape Broadcast(string op, Shape a, Shape b)
    {
        if (a.Equals(b)) return a;
        var rank = Math.Max(a.Rank, b.Rank);
        var sizes = new int[rank];
        for (var i = 1; i <= rank; i++)
        {
            var p = i <= a.Rank ? a[-i] : 1;
            var q = i <= b.Rank ? b[-i] : 1;
            if (p != q && p != 1 && q != 1)
                throw Refuse(op, "shapes must agree or be 1 axis by axis, aligned at the end", $"{a} and {b}", "Reshape or expand one of them");
            sizes[rank - i] = p == 1 ? q : p;
        }
        var shape = Of(sizes);
        return shape.Equals(a) ? a : shape.Equals(b) ? b : shape;
    }

    /// <summary>Whether this shape broadcasts to <paramref name="target"/> without changing it.</summary>
    internal bool BroadcastsTo(Shape target)
    {
        if (Rank > target.Rank) return false;
        for (var i = 1; i <= Rank; i++)
            if (this[-i] != target[-i] && this[-i] != 1)
                return false;
        return true;
    }

    /// <summary>The shape after reducing the masked axes, kept as 1 or dropped.</summary>
    internal Shape Reduce(ReadOnlySpan<bool> mask, bool keepAxes)
    {
        var sizes = new List<int>(Rank);
        for (var i = 0; i < Rank; i++)
            if (!mask[i]) sizes.Add(this[i]);
            else if (keepAxes) sizes.Add(1);
        return Of(sizes.ToArray());
    }

    /// <summary>The shape of a reshape; one size may be -1 and is inferred.</summary>
    internal Shape Reshape(string op, ReadOnlySpan<int> sizes)
    {
        var inferred = -1;
        long known = 1;
        for (var i = 0; i < sizes.Length; i++)
        {
            if (sizes[i] == -1)
            {
                if (inferred >= 0) throw Refuse(op, "at most one size may be -1", Text(sizes), "Give all sizes but one");
                inferred = i;
            }
            else if (sizes[i] < 0) throw Refuse(op, "sizes must be 0 or more, or -1 once", Text(sizes), "Correct the size");
            else if ((known *= sizes[i]) > MaxCount) throw Refuse(op, "the element count must stay the same", $"{this} and {Text(sizes)}", "Correct the sizes");
        }
        var result = sizes.ToArray();
        if (inferred >= 0)
        {
            if (known == 0 || Count % known != 0)
                throw Refuse(op, "the element count must be divisible by the given sizes", $"{this} and {Text(sizes)}", "Correct the sizes");
            result[inferred] = (int)(Count / known);
        }
        else if (known != Count) throw Refuse(op, "the element count must stay the same", $"{this} and {Text(sizes)}", "Correct the sizes or use -1 once");
        return Of(result);
    }

    /// <summary>The permutation with negative axes resolved.</summary>
    internal int[] Permutation(string op, ReadOnlySpan<int> axes)
    {
        if (axes.Length != Rank) throw Refuse(op, "every axis must be named once", $"axes {Text(axes)} of {this}", $"Name all {Rank} axes");
        AxisMask(op, axes);
        var result = new int[Rank];
        for (var i = 0; i < Rank; i++) result[i] = Axis(op, axes[i]);
        return result;
    }

    /// <summary>C = A·B by NumPy's rule: 1-d operands are a row and a column, leading axes broadcast.</summary>
    internal static Shape Matmul(string op, Shape a, Shape b)
    {
        if (a.Rank == 0 || b.Rank == 0)
            throw Refuse(op, "operands need at least one axis", $"{a} and {b}", "Use * to scale by a scalar");
        var (k, inner) = (a[-1], b.Rank == 1 ? b[0] : b[-2]);
        if (k != inner)
            throw Refuse(op, "inner sizes must agree", $"{a} and {b}", "Transpose or reshape one of them");
        var batch = Broadcast(op, a.Rank > 2 ? Of(a.Sizes[..^2]) : Scalar, b.Rank > 2 ? Of(b.Sizes[..^2]) : Scalar);
        var sizes = new List<int>(batch);
        if (a.Rank > 1) sizes.Add(a[-2]);
        if (b.Rank > 1) sizes.Add(b[-1]);
        return Of(sizes.ToArray());
    }

    /// <summary>The shape of tensors joined along an existing axis.</summary>
    internal static Shape Concat(string op, ReadOnlySpan<Shape> shapes, int axis)
    {
        if (shapes.Length == 0) throw Refuse(op, "at least one tensor is needed", "none", "Give the tensors to join");
        var first = shapes[0];
        var a = first.Axis(op, axis);
        var sizes = first.ToArray();
        foreach (var shape in shapes[1..])
        {
            var fits = shape.Rank == first.Rank;
            for (var i = 0; fits && i < first.Rank; i++) fits = i == a || shape[i] == first[i];
            if (!fits) throw Refuse(op, $"shapes must agree except along axis {a}", $"{first} and {shape}", "Reshape or slice one of them");
            if ((long)sizes[a] + shape[a] > MaxCount) throw Refuse(op, "the result has too many elements", $"{first} and {shape}", "Join fewer tensors");
            sizes[a] += shape[a];
        }
        return Of(sizes);
    }

    /// <summary>Refuses two inputs of different dtypes.</summary>
    internal static void SameDType(string op, Tensor a, Tensor b)
    {
        if (a.DType != b.DType)
            throw Refuse(op, "dtypes must agree", $"{Describe(a.DType, a.Shape)} and {Describe(b.DType, b.Shape)}", "Convert one of them with Cast");
    }

    /// <summary>Refuses a tensor that is not float32 or float64.</summary>
    internal static void Float(string op, Tensor x)
    {
        if (!x.DType.IsFloat())
            throw Refuse(op, "the input must be float32 or float64", Describe(x.DType, x.Shape), "Convert it with Cast");
    }

    /// <summary>Refuses a bool tensor.</summary>
    internal static void Number(string op, Tensor x)
    {
        if (x.DType == DType.Bool)
            throw Refuse(op, "numbers are needed", Describe(x.DType, x.Shape), "Convert it with Cast");
    }

    /// <summary>Refuses a tensor that is not int32 or int64.</summary>
    internal static void Integer(string op, Tensor x)
    {
        if (!x.DType.IsInteger())
            throw Refuse(op, "indices must be int32 or int64", Describe(x.DType, x.Shape), "Convert it with Cast");
    }

    /// <summary>Refuses a tensor that is not bool.</summary>
    internal static void Bool(string op, Tensor x)
    {
        if (x.DType != DType.Bool)
            throw Refuse(op, "the condition must be bool", Describe(x.DType, x.Shape), "Compare it, for instance with 0");
    }
}
