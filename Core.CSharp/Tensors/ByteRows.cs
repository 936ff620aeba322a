using Functional.Kernels;

namespace Functional;

/// <summary>Examples kept as bytes, a quarter of their size as floats, and converted when a batch of them is needed: value = byte·scale + shift,
/// with one scale and shift for all features or one per feature.</summary>
public sealed unsafe class ByteRows
{
    private readonly byte[] _data;
    private readonly float[] _scale;
    private readonly float[] _shift;

    /// <summary>The shape of one example.</summary>
    public Shape Row { get; }

    /// <summary>The number of examples.</summary>
    public int Count { get; }

    private ByteRows(byte[] data, Shape row, float[] scale, float[] shift)
    {
        (_data, Row, _scale, _shift) = (data, row, scale, shift);
        Count = row.Count == 0 ? 0 : (int)(data.Length / row.Count);
    }

    /// <summary>Examples of a shape, one after the other; the array is kept, not copied.</summary>
    public ByteRows(byte[] data, Shape row) : this(data, row, [1], [0])
    {
        if (row.Count == 0 || data.Length % row.Count != 0)
            throw Shape.Refuse("bytes", "the data must be whole examples", $"{data.Length} bytes and examples of {row}", "Correct the shape");
    }

    /// <summary>The same examples with each value v as v·scale + shift.</summary>
    public ByteRows Scaled(double scale, double shift) =>
        new(_data, Row, Array.ConvertAll(_scale, s => (float)(s * scale)), Array.ConvertAll(_shift, t => (float)(t * scale + shift)));

    /// <summary>The same examples with each feature j as (v − mean[j]) / deviation[j].</summary>
    public ByteRows Standardised(ReadOnlySpan<double> mean, ReadOnlySpan<double> deviation)
    {
        if (mean.Length != Row.Count || deviation.Length != Row.Count)
            throw Shape.Refuse("standardise", "one mean and one deviation per feature are needed", $"{mean.Length} and {deviation.Length} for examples of {Row}", "Take them from the same data");
        var (scale, shift) = (new float[mean.Length], new float[mean.Length]);
        for (var j = 0; j < mean.Length; j++)
        {
            var (s, t) = ((double)_scale[_scale.Length == 1 ? 0 : j], (double)_shift[_shift.Length == 1 ? 0 : j]);
            scale[j] = (float)(s / deviation[j]);
            shift[j] = (float)((t - mean[j]) / deviation[j]);
        }
        return new(_data, Row, scale, shift);
    }

    /// <summary>Mean and sample deviation (n − 1) of each feature over the given examples.</summary>
    public (double[] Mean, double[] Deviation) Statistics(int[] rows)
    {
        Check(rows);
        var width = (int)Row.Count;
        var (sum, squares) = (new ulong[width], new ulong[width]);
        fixed (byte* x = _data)
        fixed (int* r = rows)
        fixed (ulong* a = sum, b = squares)
            Bytes.AddMoments(x, r, rows.Length, width, a, b);
        var (mean, deviation) = (new double[width], new double[width]);
        double n = rows.Length;
        for (var j = 0; j < width; j++)
        {
            var (scale, shift) = (_scale[_scale.Length == 1 ? 0 : j], _shift[_shift.Length == 1 ? 0 : j]);
            var m = sum[j] / n;
            mean[j] = m * scale + shift;
            // Σx² − (Σx)²/n in exact integers before the one division.
            var spread = (double)((UInt128)squares[j] * (ulong)rows.Length - (UInt128)sum[j] * sum[j]) / n;
            deviation[j] = Math.Sqrt(spread / Math.Max(1, n - 1)) * Math.Abs(scale);
        }
        return (mean, deviation);
    }

    /// <summary>The examples rows[from], rows[from + 1], … as float32[count, …].</summary>
    public Tensor Take(int[] rows, int from, int count)
    {
        var part = rows.AsSpan(from, count);
        Check(part);
        var y = Tensor.Allocate(DType.Float32, Shape.Of((ReadOnlySpan<int>)[count, .. Row]));
        fixed (byte* x = _data)
        fixed (int* r = part)
        fixed (float* scale = _scale, shift = _shift)
            if (count > 0) Bytes.Convert(x, r, count, (nint)Row.Count, y.Pointer<float>(), scale, shift, _scale.Length == 1);
        return y;
    }

    private void Check(ReadOnlySpan<int> rows)
    {
        foreach (var row in rows)
            if ((uint)row >= (uint)Count)
                throw Shape.Refuse("bytes", "rows must lie in the data", $"row {row} of {Count}", "Correct the index");
    }
}
