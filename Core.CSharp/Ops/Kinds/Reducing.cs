using System.Numerics;
using Functional.Kernels;

namespace Functional.Ops;

/// <summary>Reductions of tensors: picks the element type and the walk, then hands pointers to a kernel. The output is contiguous.</summary>
internal static unsafe class Reducing
{
    /// <summary>y = scale·Σ x, or y += …; integers and booleans are added as int64.</summary>
    internal static void Sum(Tensor x, AxisSet axes, Tensor y, bool accumulate = false, double scale = 1)
    {
        if (!x.DType.IsFloat()) x = Converted(x, DType.Int64);
        var plan = Plan(x, axes);
        switch (x.DType)
        {
            case DType.Float32: Kernels.Reductions.Sum(in plan, x.Pointer<float>(), y.Pointer<float>(), accumulate, scale); break;
            case DType.Float64: Kernels.Reductions.Sum(in plan, x.Pointer<double>(), y.Pointer<double>(), accumulate, scale); break;
            default: Kernels.Reductions.SumIntegers(in plan, x.Pointer<long>(), y.Pointer<long>(), accumulate); break;
        }
        GC.KeepAlive(x);
    }

    /// <summary>y = max x, or min x.</summary>
    internal static void Extreme(Tensor x, AxisSet axes, Tensor y, bool largest)
    {
        switch (x.DType)
        {
            case DType.Float32: Extreme<float>(x, axes, y, largest); break;
            case DType.Float64: Extreme<double>(x, axes, y, largest); break;
            case DType.Int32: Extreme<int>(x, axes, y, largest); break;
            default: Extreme<long>(x, axes, y, largest); break;
        }
    }

    private static void Extreme<T>(Tensor x, AxisSet axes, Tensor y, bool largest) where T : unmanaged, INumber<T>
    {
        var plan = Plan(x, axes);
        if (largest) Kernels.Reductions.Max(in plan, x.Pointer<T>(), y.Pointer<T>());
        else Kernels.Reductions.Min(in plan, x.Pointer<T>(), y.Pointer<T>());
    }

    /// <summary>y = where the first largest, or smallest, element stands among the reduced ones.</summary>
    internal static void Position(Tensor x, AxisSet axes, Tensor y, bool largest)
    {
        switch (x.DType)
        {
            case DType.Float32: Position<float>(x, axes, y, largest); break;
            case DType.Float64: Position<double>(x, axes, y, largest); break;
            case DType.Int32: Position<int>(x, axes, y, largest); break;
            default: Position<long>(x, axes, y, largest); break;
        }
    }

    private static void Position<T>(Tensor x, AxisSet axes, Tensor y, bool largest) where T : unmanaged, INumber<T>
    {
        var plan = Plan(x, axes);
        if (largest) Kernels.Reductions.ArgMax(in plan, x.Pointer<T>(), y.Pointer<long>());
        else Kernels.Reductions.ArgMin(in plan, x.Pointer<T>(), y.Pointer<long>());
    }

    /// <summary>y = Π x</summary>
    internal static void Product(Tensor x, AxisSet axes, Tensor y)
    {
        var plan = Plan(x, axes);
        switch (x.DType)
        {
            case DType.Float32: Kernels.Reductions.Product(in plan, x.Pointer<float>(), y.Pointer<float>()); break;
            case DType.Float64: Kernels.Reductions.Product(in plan, x.Pointer<double>(), y.Pointer<double>()); break;
            case DType.Int32: Kernels.Reductions.Product(in plan, x.Pointer<int>(), y.Pointer<int>()); break;
            default: Kernels.Reductions.Product(in plan, x.Pointer<long>(), y.Pointer<long>()); break;
        }
    }

    /// <summary>y = Σ(x − mean)²/(n − correction)</summary>
    internal static void Variance(Tensor x, AxisSet axes, Tensor y, double correction)
    {
        var plan = Plan(x, axes);
        var mean = Tensor.Allocate(y.DType, y.Shape);
        if (x.DType == DType.Float32)
            Kernels.Reductions.Variance(in plan, x.Pointer<float>(), mean.Pointer<float>(), y.Pointer<float>(), correction);
        else
            Kernels.Reductions.Variance(in plan, x.Pointer<double>(), mean.Pointer<double>(), y.Pointer<double>(), correction);
        GC.KeepAlive(mean);
    }

    /// <summary>y = ln Σ eˣ</summary>
    internal static void LogSumExp(Tensor x, AxisSet axes, Tensor y)
    {
        var plan = Plan(x, axes);
        var max = Tensor.Allocate(y.DType, y.Shape);
        if (x.DType == DType.Float32)
            Kernels.Reductions.LogSumExp(in plan, x.Pointer<float>(), max.Pointer<float>(), y.Pointer<float>());
        else
            Kernels.Reductions.LogSumExp(in plan, x.Pointer<double>(), max.Pointer<double>(), y.Pointer<double>());
        GC.KeepAlive(max);
    }

    /// <summary>y = whether any, or every, x is true.</summary>
    internal static void Logical(Tensor x, AxisSet axes, Tensor y, bool every)
    {
        var plan = Plan(x, axes);
        if (every) Kernels.Reductions.All(in plan, x.Pointer<byte>(), y.Pointer<byte>());
        else Kernels.Reductions.Any(in plan, x.Pointer<byte>(), y.Pointer<byte>());
    }

    /// <summary>The elements in another type.</summary>
    internal static Tensor Converted(Tensor x, DType dtype)
    {
        if (x.DType == dtype) return x;
        var y = Tensor.Allocate(dtype, x.Shape);
        Pointwise.Convert(x, y);
        return y;
    }

    private static Reduced Plan(Tensor x, AxisSet axes) => Reduced.Of(x.Shape.Sizes, x.Strides, axes.Bits(x.Shape));
}
