namespace Functional.Kernels;

/// <summary>
/// A reduction's two walks: <see cref="Kept"/> over the axes that stay (operand 0 the input, operand 1 the contiguous
/// output) and <see cref="Gone"/> over the axes summed away (operand 0 the input). Lives on the stack.
/// </summary>
internal struct Reduced
{
    public Geometry Kept;
    public Geometry Gone;

    /// <summary>Splits an input of the given sizes and strides (outermost first); axis i is reduced where bit i of <paramref name="axes"/> is set.</summary>
    public static Reduced Of(ReadOnlySpan<int> sizes, ReadOnlySpan<nint> strides, ulong axes)
    {
        var r = new Reduced { Kept = Geometry.Start(), Gone = Geometry.Start() };
        nint output = 1;
        for (int i = 0; i < sizes.Length; i++)
            if ((axes >> i & 1) == 0) output *= sizes[i];
        for (int i = 0; i < sizes.Length; i++)
        {
            if ((axes >> i & 1) != 0) r.Gone.Append(sizes[i], strides[i], 0);
            else
            {
                if (sizes[i] > 0) output /= sizes[i];
                r.Kept.Append(sizes[i], strides[i], output);
            }
        }
        return r;
    }

    /// <summary>Rows of <paramref name="length"/> contiguous elements, each reduced to one: the last axis of a contiguous matrix.</summary>
    public static Reduced Rows(nint rows, nint length)
    {
        var r = new Reduced { Kept = Geometry.Start(), Gone = Geometry.Start() };
        r.Kept.Append(rows, length, 1);
        r.Gone.Append(length, 1, 0);
        return r;
    }

    /// <summary>The first axis of a contiguous matrix of rows × columns reduced away.</summary>
    public static Reduced Columns(nint rows, nint columns)
    {
        var r = new Reduced { Kept = Geometry.Start(), Gone = Geometry.Start() };
        r.Kept.Append(columns, 1, 1);
        r.Gone.Append(rows, columns, 0);
        return r;
    }

    /// <summary>Whether neighbouring outputs are neighbours in the input and the reduced elements are not, or there is only one of them:
    /// then vectors lie across outputs.</summary>
    internal readonly bool Across =>
        Kept.Rank > 0 && Kept.Stride(0, 0) == 1 && Kept.Size(0) > 1 && (Gone.Rank == 0 || Gone.Stride(0, 0) != 1);
}
