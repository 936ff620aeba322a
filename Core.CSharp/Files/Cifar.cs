namespace Functional.Files;

/// <summary>Images [count, 3, 32, 32] – planes red, green, blue – and their labels, a byte each.</summary>
public sealed record CifarBytes(byte[] Images, byte[] Labels);

/// <summary>The binary version of CIFAR-10, plain or gzip: records of one label and 3,072 bytes of an image, to the end of the file
/// (Krizhevsky 2009, Learning multiple layers of features from tiny images).</summary>
public static class Cifar
{
    private const int ImageLength = 3 * 32 * 32, RecordLength = 1 + ImageLength, Classes = 10;

    /// <summary>All records of a file.</summary>
    /// <param name="path">the file, plain or gzip</param>
    /// <param name="count">how many records there must be, where that is known</param>
    /// <param name="sha256">the checksum of the file as it lies on disk, where that is known; it is checked first</param>
    public static CifarBytes Read(string path, int? count = null, string? sha256 = null) =>
        Gzipped.Read(path, sha256, file => Parse(file, path, count));

    private static CifarBytes Parse(Gzipped file, string path, int? count)
    {
        var length = file.Promised;
        if (length == 0 || length % RecordLength != 0 || length / RecordLength > Array.MaxLength / ImageLength || !file.CanHold(length))
            throw new DataFormatException(path, $"a CIFAR-10 file consists of records of {RecordLength} bytes", $"{length} bytes");
        var records = (int)(length / RecordLength);
        if (count is { } expected && records != expected)
            throw new DataFormatException(path, $"it must hold {expected} records", $"{records}");
        var (images, labels) = (new byte[(long)records * ImageLength], new byte[records]);
        for (var i = 0; i < records; i++)
        {
            var label = file.Bytes.ReadByte();
            var read = file.Bytes.ReadAtLeast(images.AsSpan(i * ImageLength, ImageLength), ImageLength, throwOnEndOfStream: false);
            if (label < 0 || read < ImageLength)
                throw new DataFormatException(path, $"{records} records need {length} bytes", $"{(long)i * RecordLength + Math.Sign(label + 1) + read} (truncated)");
            if (label >= Classes)
                throw new DataFormatException(path, $"labels lie in 0 … {Classes - 1}", $"{label} in record {i}");
            labels[i] = (byte)label;
        }
        if (file.Bytes.ReadByte() >= 0)
            throw new DataFormatException(path, $"{records} records need {length} bytes", "more (too long)");
        return new CifarBytes(images, labels);
    }
}
