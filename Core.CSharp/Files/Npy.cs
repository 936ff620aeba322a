using System.Buffers.Binary;
using System.Text;

namespace Functional.Files;

/// <summary>
/// NumPy's .npy: `\x93NUMPY`, version, header length, a Python dictionary `{'descr', 'fortran_order', 'shape'}`, the data.
/// Little-endian bool, 8 to 64 bit integers and floats; Fortran order is transposed to row-major on reading.
/// </summary>
public static class Npy
{
    private const int MaxHeaderLength = 65_536;
    private const int Alignment = 64;

    private static readonly (string Descr, string DType)[] Types =
    [
        ("|b1", "BOOL"), ("|u1", "U8"), ("|i1", "I8"), ("<i2", "I16"), ("<u2", "U16"), ("<f2", "F16"),
        ("<i4", "I32"), ("<u4", "U32"), ("<f4", "F32"), ("<i8", "I64"), ("<u8", "U64"), ("<f8", "F64"),
    ];

    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>Reads one array, named after its file.</summary>
    public static NamedArray Read(string path)
    {
        using FileStream stream = File.OpenRead(path);
        return Read(stream, stream.Length, path, Path.GetFileNameWithoutExtension(path));
    }

    /// <summary>Writes one array, whole or not at all.</summary>
    public static void Write(string path, NamedArray array)
    {
        byte[] header = MakeHeader(array);
        AtomicFile.Write(path, stream => Write(stream, header, array));
    }

    /// <summary>Reads one array from a stream of known length; `file` stands for it in messages, `name` names the array.</summary>
    internal static NamedArray Read(Stream stream, long length, string file, string name)
    {
        Span<byte> start = stackalloc byte[12];
        int read = stream.ReadAtLeast(start[..10], 10, throwOnEndOfStream: false);
        if (!start[..Math.Min(read, 6)].SequenceEqual(Magic[..Math.Min(read, 6)]))
            throw new DataFormatException(file, "an npy file starts with \\x93NUMPY", $"bytes {Convert.ToHexString(start[..Math.Min(read, 6)])}");
        if (read < 10)
            throw new DataFormatException(file, "an npy file starts with 10 bytes of magic, version and length", $"{read} (truncated)");
        int major = start[6];
        if (major is < 1 or > 3)
            throw new DataFormatException(file, "the npy version must be 1, 2 or 3", $"{major}");
        int prefix = major == 1 ? 10 : 12;
        if (prefix == 12 && stream.ReadAtLeast(start[10..], 2, throwOnEndOfStream: false) < 2)
            throw new DataFormatException(file, "an npy file of version 2 starts with 12 bytes", "10 (truncated)");
        uint headerLength = major == 1
            ? BinaryPrimitives.ReadUInt16LittleEndian(start[8..])
            : BinaryPrimitives.ReadUInt32LittleEndian(start[8..]);
        if (headerLength > MaxHeaderLength)
            throw new DataFormatException(file, $"the header must have at most {MaxHeaderLength} bytes", $"{headerLength}");

        var header = new byte[headerLength];
        read = stream.ReadAtLeast(header, header.Length, throwOnEndOfStream: false);
        if (read < header.Length)
            throw new DataFormatException(file, $"the header must have {headerLength} bytes", $"{read} (truncated)");
        (string descr, bool fortran, int[] shape) = new NpyHeader(Encoding.Latin1.GetString(header), file).Parse();

        string? dtype = Array.Find(Types, type => type.Descr == descr).DType;
        if (dtype is null)
            throw new DataFormatException(file, $"descr must be one of {string.Join(", ", Types.Select(type => type.Descr))}", $"'{descr}'");
        int size = NamedArray.ElementSize(dtype)!.Value;
        if (NamedArray.ByteCount(size, shape) is not { } bytes)
            throw new DataFormatException(
                file, $"the extents must be non-negative and the data at most {Array.MaxLength} bytes", $"{dtype}{NamedArray.Text(shape)}");
        long rest = length - prefix - headerLength;
        if (rest != bytes)
            throw new DataFormatException(
                file, $"{dtype}{NamedArray.Text(shape)} needs {bytes} bytes of data", $"{rest} ({(rest < bytes ? "truncated" : "too long")})");

        var data = new byte[bytes];
        read = stream.ReadAtLeast(data, data.Length, throwOnEndOfStream: false);
        if (read < data.Length)
            throw new DataFormatException(file, $"{dtype}{NamedArray.Text(shape)} needs {bytes} bytes of data", $"{read} (truncated)");
        NamedArray.CheckValues(file, name, dtype, data);
        return new NamedArray(name, dtype, shape, fortran ? RowMajor(data, size, shape) : data);
    }

    /// <summary>Writes one array into a stream.</summary>
    internal static void Write(Stream stream, NamedArray array) => Write(stream, MakeHeader(array), array);

    private static void Write(Stream stream, byte[] header, NamedArray array)
    {
        stream.Write(header);
        stream.Write(array.Data.Span);
    }

    private static byte[] MakeHeader(NamedArray array)
    {
        string? descr = Array.Find(Types, type => type.DType == array.DType).Descr;
        if (descr is null)
            throw new ArgumentException($"Npy.Write: the type must be one that npy knows; got {array}.");
        string shape = array.Shape.Length == 1 ? $"({array.Shape[0]},)" : $"({string.Join(", ", array.Shape)})";
        string text = $"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}";
        // Version 1 holds 65,535 bytes, far more than the largest rank writes; the data starts at a multiple of 64.
        int length = (10 + text.Length + 1 + Alignment - 1) / Alignment * Alignment;
        var header = new byte[length];
        Magic.CopyTo(header);
        header[6] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(8), (ushort)(length - 10));
        Encoding.Latin1.GetBytes(text.PadRight(length - 11) + "\n", header.AsSpan(10));
        return header;
    }

    /// <summary>Element (i₀ … iₙ) lies at Σ iₖ·∏ⱼ﹤ₖ shapeⱼ in Fortran order; this walks the row-major order and gathers.</summary>
    private static byte[] RowMajor(byte[] data, int size, int[] shape)
    {
        var result = new byte[data.Length];
        var index = new int[shape.Length];
        var stride = new long[shape.Length];
        long step = size;
        for (int axis = 0; axis < shape.Length; axis++)
        {
            stride[axis] = step;
            step *= shape[axis];
        }
        long source = 0;
        for (int target = 0; target < result.Length; target += size)
        {
            data.AsSpan((int)source, size).CopyTo(result.AsSpan(target));
            for (int axis = shape.Length - 1; axis >= 0; axis--)
            {
                source += stride[axis];
                if (++index[axis] < shape[axis])
                    break;
                source -= stride[axis] * shape[axis];
                index[axis] = 0;
            }
        }
        return result;
    }
}
