namespace Functional;

/// <summary>The type of a tensor's elements. There is no silent promotion between float widths.</summary>
public enum DType
{
    Float32,
    Float64,
    Int32,
    Int64,
    Bool,
}

/// <summary>Facts about element types.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this DType dtype) => dtype switch
    {
        DType.Float32 or DType.Int32 => 4,
        DType.Float64 or DType.Int64 => 8,
        _ => 1,
    };

    /// <summary>True of float32 and float64, the types that have derivatives.</summary>
    public static bool IsFloat(this DType dtype) => dtype <= DType.Float64;

    /// <summary>True of int32 and int64.</summary>
    public static bool IsInteger(this DType dtype) => dtype is DType.Int32 or DType.Int64;

    /// <summary>The name as users write it: float32, int64, bool …</summary>
    public static string Text(this DType dtype) => dtype switch
    {
        DType.Float32 => "float32",
        DType.Float64 => "float64",
        DType.Int32 => "int32",
        DType.Int64 => "int64",
        _ => "bool",
    };

    /// <summary>The dtype whose elements are <typeparamref name="T"/>: float, double, int, long or bool.</summary>
    public static DType Of<T>() where T : unmanaged
    {
        if (typeof(T) == typeof(float)) return DType.Float32;
        if (typeof(T) == typeof(double)) return DType.Float64;
        if (typeof(T) == typeof(int)) return DType.Int32;
        if (typeof(T) == typeof(long)) return DType.Int64;
        if (typeof(T) == typeof(bool) || typeof(T) == typeof(byte)) return DType.Bool;
        throw new ArgumentException($"dtype: elements must be float, double, int, long or bool; got {typeof(T).Name}. Convert them first.");
    }
}
