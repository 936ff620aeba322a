using System.Runtime.InteropServices;

namespace Functional.Files;

/// <summary>
/// A named array as files know it: row-major, contiguous, little-endian bytes of a type and a shape.
/// The type goes by its safetensors name (`F32`, `F64`, `I32`, `I64`, `BOOL`, `U8` …); shape [] is a scalar.
/// </summary>
public sealed class NamedArray
{
    /// <summary>Refuses a shape whose bytes are not as many as the data has.</summary>
    public NamedArray(string name, string dtype, int[] shape, ReadOnlyMemory<byte> data)
    {
        if (ElementSize(dtype) is not { } size)
            throw new ArgumentException($"NamedArray: the type must be one of {KnownTypes}; got {dtype} for '{name}'.");
        if (ByteCount(size, shape) != data.Length)
            throw new ArgumentException(
                $"NamedArray: the data must fill its shape; got {data.Length} bytes and {dtype}{Text(shape)} for '{name}'.");
        Name = name;
        DType = dtype;
        Shape = shape;
        Data = data;
    }

    /// <summary>The name, unique in its file.</summary>
    public string Name { get; }

    /// <summary>The element type, `F32` and so on.</summary>
    public string DType { get; }

    /// <summary>The extents, outermost first.</summary>
    public int[] Shape { get; }

    /// <summary>The elements' bytes.</summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>An array of float, double, int, long, short, bool, byte or sbyte as a named array; the values are copied.</summary>
    public static NamedArray Of<T>(string name, ReadOnlySpan<T> values, params int[] shape) where T : unmanaged =>
        new(name, NameOf<T>(), shape, MemoryMarshal.AsBytes(values).ToArray());

    /// <summary>The same from an array.</summary>
    public static NamedArray Of<T>(string name, T[] values, params int[] shape) where T : unmanaged =>
        Of<T>(name, values.AsSpan(), shape);

    /// <summary>The elements as they are stored; the type asked for must be the type stored.</summary>
    public T[] To<T>() where T : unmanaged
    {
        if (NameOf<T>() != DType)
            throw new InvalidOperationException(
                $"NamedArray.To: the type must be the one stored; got {NameOf<T>()} for '{Name}', which is {DType}.");
        return MemoryMarshal.Cast<byte, T>(Data.Span).ToArray();
    }

    /// <summary>`'w' F32[2, 3]`</summary>
    public override string ToString() => $"'{Name}' {DType}{Text(Shape)}";

    internal const int MaxRank = 64;

    internal const string KnownTypes = "BOOL, U8, I8, I16, U16, F16, BF16, I32, U32, F32, I64, U64, F64";

    /// <summary>Bytes of one element, or null for a type that is not known.</summary>
    internal static int? ElementSize(string dtype) => dtype switch
    {
        "BOOL" or "U8" or "I8" => 1,
        "I16" or "U16" or "F16" or "BF16" => 2,
        "I32" or "U32" or "F32" => 4,
        "I64" or "U64" or "F64" => 8,
        _ => null,
    };

    /// <summary>size · ∏ shape, or null where an extent is negative, the rank absurd or the product beyond one array.</summary>
    internal static long? ByteCount(int size, ReadOnlySpan<int> shape)
    {
        if (shape.Length > MaxRank)
            return null;
        // A zero extent makes the product 0 whatever the others are, so it is looked for before anything can overflow.
        bool empty = false;
        foreach (int extent in shape)
        {
            if (extent < 0)
                return null;
            empty |= extent == 0;
        }
        if (empty)
            return 0;
        long bytes = size;
        foreach (int extent in shape)
        {
            bytes *= extent;
            if (bytes > Array.MaxLength)
                return null;
        }
        return bytes;
    }

    /// <summary>`[2, 3]`</summary>
    internal static string Text(ReadOnlySpan<int> shape) => $"[{string.Join(", ", shape.ToArray())}]";

    /// <summary>A byte that is no truth value would make a bool that is neither true nor false.</summary>
    internal static void CheckValues(string file, string name, string dtype, ReadOnlySpan<byte> data)
    {
        if (dtype == "BOOL" && data.IndexOfAnyExceptInRange((byte)0, (byte)1) is >= 0 and int at)
            throw new DataFormatException(file, $"'{name}' is BOOL, each byte 0 or 1", $"{data[at]} at element {at}");
    }

    private static string NameOf<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? "F32"
        : typeof(T) == typeof(double) ? "F64"
        : typeof(T) == typeof(int) ? "I32"
        : typeof(T) == typeof(long) ? "I64"
        : typeof(T) == typeof(bool) ? "BOOL"
        : typeof(T) == typeof(byte) ? "U8"
        : typeof(T) == typeof(sbyte) ? "I8"
        : typeof(T) == typeof(short) ? "I16"
        : typeof(T) == typeof(ushort) ? "U16"
        : typeof(T) == typeof(uint) ? "U32"
        : typeof(T) == typeof(ulong) ? "U64"
        : typeof(T) == typeof(Half) ? "F16"
        : throw new NotSupportedException($"NamedArray: the element type must be one of {KnownTypes}; got {typeof(T).Name}.");
}
