namespace Functional;

/// <summary>Elementwise loops over tensors: picks the element type and the walk, then hands pointers to a kernel.
/// The destination is contiguous; the inputs may be any views of its shape.</summary>
internal static unsafe class Pointwise
{
    internal static void Add(Tensor x, Tensor y, Tensor z)
    {
        Copy(x, z);
        Accumulate(y, z);
    }

    internal static void Copy(Tensor x, Tensor y)
    {
        var values = x.ToDoubles();
        for (var i = 0; i < values.Length; i++)
            if (y.DType == DType.Float32) y.Pointer<float>()[i] = (float)values[i];
            else y.Pointer<double>()[i] = values[i];
    }

    internal static void Accumulate(Tensor x, Tensor y)
    {
        var values = x.ToDoubles();
        for (var i = 0; i < values.Length; i++)
            if (y.DType == DType.Float32) y.Pointer<float>()[i] += (float)values[i];
            else y.Pointer<double>()[i] += values[i];
    }
}
