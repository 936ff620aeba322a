namespace Functional.Autodiff;

/// <summary>Draws attributes and inputs from an operation's domain: the same seed and size give the same example, and a smaller size smaller shapes,
/// so that a failing case can shrink. Values are float64 unless asked otherwise, because differences are blind in float32.</summary>
public sealed class Draw(ulong seed, int size)
{
    private ulong _state = seed;

    /// <summary>Bounds the sizes of the axes.</summary>
    public int Size { get; } = Math.Max(1, size);

    /// <summary>The dtype of the float tensors drawn.</summary>
    public DType DType { get; init; } = DType.Float64;

    /// <summary>Whether tensors may be strided views (transposed, sliced) instead of contiguous.</summary>
    public bool Views { get; init; } = true;

    // SplitMix64 (Steele, Lea, Flood 2014).
    private ulong Next()
    {
        var z = _state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>An integer in low … high, both included.</summary>
    public int Int(int low, int high) => low + (int)(Next() % (ulong)(high - low + 1));

    /// <summary>True with the given probability.</summary>
    public bool Chance(double probability = 0.5) => Uniform(0, 1) < probability;

    /// <summary>A number in [low, high).</summary>
    public double Uniform(double low, double high) => low + (high - low) * ((Next() >> 11) * (1.0 / (1UL << 53)));

    /// <summary>One of the given values.</summary>
    public T OneOf<T>(params ReadOnlySpan<T> values) => values[Int(0, values.Length - 1)];

    /// <summary>The size of an axis: 1 … Size+1, seldom 0.</summary>
    public int Axis(bool empty = false) => empty && Chance(0.04) ? 0 : Int(1, Math.Min(Size, 6) + 1);

    /// <summary>A shape of the given ranks, with axes of size 1 and (if allowed) 0 among them.</summary>
    public Shape Shape(int minRank = 0, int maxRank = 3, bool empty = false)
    {
        var rank = Int(minRank, Math.Max(minRank, Math.Min(maxRank, minRank + Size)));
        var sizes = new int[rank];
        for (var i = 0; i < rank; i++) sizes[i] = Chance(0.15) ? 1 : Axis(empty);
        return Functional.Shape.Of(sizes);
    }

    /// <summary>A shape that broadcasts with <paramref name="shape"/>: leading axes dropped, some axes set to 1.</summary>
    public Shape Broadcastable(Shape shape)
    {
        var sizes = shape.Sizes[Int(0, shape.Rank)..].ToArray();
        for (var i = 0; i < sizes.Length; i++)
            if (Chance(0.3)) sizes[i] = 1;
        return Functional.Shape.Of(sizes);
    }

    /// <summary>A tensor of values in [low, high), none nearer to a kink than <paramref name="gap"/>; sometimes a strided view.</summary>
    public Tensor Tensor(Shape shape, double low = -2, double high = 2, double gap = 0.05, params double[] kinks)
    {
        var values = new double[shape.Count];
        for (var i = 0; i < values.Length; i++)
            do values[i] = Uniform(low, high);
            while (Array.Exists(kinks, k => Math.Abs(values[i] - k) < gap));
        return Arrange(values, shape);
    }

    /// <summary>A tensor whose values are all different, at least <paramref name="gap"/> apart: for maxima, medians, sorts.</summary>
    public Tensor Distinct(Shape shape, double gap = 0.05)
    {
        var values = new double[shape.Count];
        for (var i = 0; i < values.Length; i++) values[i] = (i - values.Length / 2.0 + Uniform(0, 0.5)) * 2 * gap;
        for (var i = values.Length - 1; i > 0; i--)
        {
            var j = Int(0, i);
            (values[i], values[j]) = (values[j], values[i]);
        }
        return Arrange(values, shape);
    }

    /// <summary>Integers in low … high, both included.</summary>
    public Tensor Integers(Shape shape, int low, int high, DType dtype = DType.Int64)
    {
        var values = new double[shape.Count];
        for (var i = 0; i < values.Length; i++) values[i] = Int(low, high);
        return Functional.Tensor.FromDoubles(values, shape, dtype);
    }

    /// <summary>A mask of true and false.</summary>
    public Tensor Mask(Shape shape) => Integers(shape, 0, 1, DType.Bool);

    /// <summary>Values in row-major order as a tensor of the draw's dtype; where views are allowed sometimes a transposed, reversed-axes or sliced one.</summary>
    public Tensor Arrange(double[] values, Shape shape)
    {
        var kind = Views && shape.Rank > 0 && shape.Count > 0 ? Int(0, 3) : 0;
        if (kind < 2) return Functional.Tensor.FromDoubles(values, shape, DType);
        if (kind == 2)
        {
            // The axes stored in reverse order: a transposed view.
            var strides = new nint[shape.Rank];
            nint stride = 1;
            for (var i = 0; i < shape.Rank; i++)
            {
                strides[i] = stride;
                stride *= shape[i];
            }
            return Scatter(values, shape, strides, 0, (int)shape.Count);
        }
        // Every other element of a wider last axis: a sliced view.
        var wide = shape.RowMajor.Select(s => 2 * s).ToArray();
        return Scatter(values, shape, wide, 1, 2 * (int)shape.Count);
    }

    private Tensor Scatter(double[] values, Shape shape, nint[] strides, nint offset, int length)
    {
        var stored = new double[length];
        Array.Fill(stored, double.NaN);
        var view = Functional.Tensor.Meta(DType, shape).View(shape, strides, offset);
        var i = 0;
        foreach (var at in view.Positions()) stored[offset + at] = values[i++];
        return Functional.Tensor.FromDoubles(stored, Functional.Shape.Of(length), DType).View(shape, strides, offset);
    }
}
