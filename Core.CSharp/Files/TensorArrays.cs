using System.Runtime.InteropServices;

namespace Functional.Files;

/// <summary>Tensors as the arrays of files, and back.</summary>
public static class TensorArrays
{
    /// <summary>A copy of the elements in row-major order, under a name.</summary>
    public static NamedArray Named(this Tensor tensor, string name)
    {
        var bytes = new byte[checked(tensor.Count * tensor.DType.Size())];
        Copy(tensor, bytes);
        return new NamedArray(name, tensor.DType.InFiles(), [.. tensor.Shape], bytes);
    }

    /// <summary>The name of a type in files: F32, F64, I32, I64 or BOOL.</summary>
    internal static string InFiles(this DType dtype) => dtype switch
    {
        DType.Float32 => "F32",
        DType.Float64 => "F64",
        DType.Int32 => "I32",
        DType.Int64 => "I64",
        _ => "BOOL",
    };

    /// <summary>A tensor of the same elements; F32, F64, I32, I64 and BOOL have one.</summary>
    public static Tensor ToTensor(this NamedArray array)
    {
        Shape shape = Shape.Of(array.Shape);
        ReadOnlySpan<byte> bytes = array.Data.Span;
        return array.DType switch
        {
            "F32" => Tensor.FromSpan(MemoryMarshal.Cast<byte, float>(bytes), shape),
            "F64" => Tensor.FromSpan(MemoryMarshal.Cast<byte, double>(bytes), shape),
            "I32" => Tensor.FromSpan(MemoryMarshal.Cast<byte, int>(bytes), shape),
            "I64" => Tensor.FromSpan(MemoryMarshal.Cast<byte, long>(bytes), shape),
            "BOOL" => Tensor.FromSpan(MemoryMarshal.Cast<byte, bool>(bytes), shape),
            _ => throw new NotSupportedException(
                $"tensor: the array's type must be F32, F64, I32, I64 or BOOL; got {array}. Convert it where it was written."),
        };
    }

    private static void Copy(Tensor tensor, Span<byte> bytes)
    {
        switch (tensor.DType)
        {
            case DType.Float32: tensor.CopyTo(MemoryMarshal.Cast<byte, float>(bytes)); break;
            case DType.Float64: tensor.CopyTo(MemoryMarshal.Cast<byte, double>(bytes)); break;
            case DType.Int32: tensor.CopyTo(MemoryMarshal.Cast<byte, int>(bytes)); break;
            case DType.Int64: tensor.CopyTo(MemoryMarshal.Cast<byte, long>(bytes)); break;
            default: tensor.CopyTo(MemoryMarshal.Cast<byte, bool>(bytes)); break;
        }
    }
}
