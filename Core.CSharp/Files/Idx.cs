using System.Buffers.Binary;

namespace Functional.Files;

/// <summary>The unsigned bytes of an idx file and their extents, outermost first.</summary>
public sealed record IdxBytes(int[] Shape, byte[] Data);

/// <summary>
/// The idx format of the MNIST family, plain or gzip, unsigned bytes only. All integers are big-endian:
/// magic 0x000008RR with RR the number of axes, one int32 per axis, then the bytes, row-major, to the end of the file.
/// </summary>
public static class Idx
{
    /// <summary>Images [count, rows, columns], magic 0x00000803.</summary>
    /// <param name="path">the file, plain or gzip</param>
    /// <param name="count">how many images there must be, where that is known</param>
    /// <param name="sha256">the checksum of the file as it lies on disk, where that is known; it is checked first</param>
    public static IdxBytes ReadImages(string path, int? count = null, string? sha256 = null) =>
        Read(path, axes: 3, "images", count, sha256);

    /// <summary>Labels [count], magic 0x00000801.</summary>
    /// <param name="path">the file, plain or gzip</param>
    /// <param name="count">how many labels there must be, where that is known</param>
    /// <param name="sha256">the checksum of the file as it lies on disk, where that is known; it is checked first</param>
    public static byte[] ReadLabels(string path, int? count = null, string? sha256 = null) =>
        Read(path, axes: 1, "labels", count, sha256).Data;

    private static IdxBytes Read(string path, int axes, string what, int? count, string? sha256) =>
        Gzipped.Read(path, sha256, file => Parse(file, path, axes, what, count));

    private static IdxBytes Parse(Gzipped file, string path, int axes, string what, int? count)
    {
        var bytes = file.Bytes;
        int headerLength = 4 + 4 * axes;
        Span<byte> header = stackalloc byte[headerLength];
        int read = bytes.ReadAtLeast(header, headerLength, throwOnEndOfStream: false);

        int magic = 0x0800 + axes;
        if (read >= 4 && BinaryPrimitives.ReadInt32BigEndian(header) is var found && found != magic)
            throw new DataFormatException(path, $"an idx file of {what} starts with magic 0x{magic:x8}", $"0x{found:x8}");
        if (read < headerLength)
            throw new DataFormatException(path, $"an idx file of {what} has a header of {headerLength} bytes", $"a file truncated after {read}");

        var shape = new int[axes];
        for (int axis = 0; axis < axes; axis++)
            shape[axis] = BinaryPrimitives.ReadInt32BigEndian(header[(4 + 4 * axis)..]);
        if (NamedArray.ByteCount(1, shape) is not { } length)
            throw new DataFormatException(
                path, $"the extents must be non-negative and their product at most {Array.MaxLength}", NamedArray.Text(shape));
        if (count is { } expected && shape[0] != expected)
            throw new DataFormatException(path, $"it must hold {expected} {what}", $"{shape[0]}");

        // The promised length is known before anything is allocated.
        if (!file.CanHold(headerLength + length))
        {
            long there = file.Length(headerLength, length);
            string state = there < headerLength + length ? "truncated"
                : there > headerLength + length ? "too long"
                : "with a gzip trailer that says otherwise";
            throw Refused($"{there}{(there > headerLength + length && file.IsCompressed ? " or more" : "")} ({state})");
        }

        var data = new byte[length];
        int filled = bytes.ReadAtLeast(data, data.Length, throwOnEndOfStream: false);
        if (filled < data.Length)
            throw Refused($"{headerLength + filled} (truncated)");
        // Reading past the end also makes the decompressor compare its own checksum.
        if (bytes.ReadByte() >= 0)
            throw Refused("more (too long)");
        return new IdxBytes(shape, data);

        DataFormatException Refused(string got) =>
            new(path, $"{what} {NamedArray.Text(shape)} need {headerLength + length} bytes", got);
    }
}
