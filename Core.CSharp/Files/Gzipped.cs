using System.Buffers.Binary;
using System.IO.Compression;

namespace Functional.Files;

/// <summary>The bytes of a file that is plain or gzip, and how many it promises.</summary>
internal sealed class Gzipped
{
    /// <summary>deflate cannot do better than 1032:1, so a small file that promises more is refused before a byte is taken.</summary>
    internal const long MaxDeflateRatio = 1032;

    private readonly long _promised, _fileLength;

    private Gzipped(Stream bytes, bool isCompressed, long promised, long fileLength) =>
        (Bytes, IsCompressed, _promised, _fileLength) = (bytes, isCompressed, promised, fileLength);

    /// <summary>The bytes, to be read once.</summary>
    internal Stream Bytes { get; }

    internal bool IsCompressed { get; }

    /// <summary>Reads a file after its checksum, where one is given; a damaged gzip stream is refused.</summary>
    internal static T Read<T>(string path, string? sha256, Func<Gzipped, T> read)
    {
        using FileStream file = File.OpenRead(path);
        if (sha256 is not null)
            Checksum.Verify(file, path, sha256);

        Span<byte> start = stackalloc byte[2];
        bool gzip = file.ReadAtLeast(start, 2, throwOnEndOfStream: false) == 2 && start[0] == 0x1f && start[1] == 0x8b;
        long promised = gzip ? Trailer(file) : file.Length;
        file.Position = 0;
        try
        {
            using Stream bytes = gzip ? new GZipStream(file, CompressionMode.Decompress) : file;
            return read(new Gzipped(bytes, gzip, promised, file.Length));
        }
        catch (InvalidDataException damaged)
        {
            throw new DataFormatException(
                path, "the gzip stream must be whole", "damaged data", damaged);
        }
    }

    /// <summary>Whether the file promises so many bytes and can keep the promise: of a plain file its size counts, of a gzip file its trailer, which a
    /// forger could write – hence the bound by what deflate can do.</summary>
    internal bool CanHold(long length) => _promised == length && (!IsCompressed || length <= MaxDeflateRatio * _fileLength);

    /// <summary>How many bytes there are in truth, when so many were read; counted no further than one beyond what was expected.</summary>
    internal long Length(long read, long expected) => IsCompressed ? read + Count(Bytes, expected + 1) : _promised;

    /// <summary>What the file promises to hold.</summary>
    internal long Promised => _promised;

    /// <summary>The last four bytes of a gzip file: the length of what it holds, modulo 2³².</summary>
    private static long Trailer(FileStream file)
    {
        Span<byte> trailer = stackalloc byte[4];
        if (file.Length < 18)
            return 0;
        file.Position = file.Length - 4;
        file.ReadExactly(trailer);
        return BinaryPrimitives.ReadUInt32LittleEndian(trailer);
    }

    /// <summary>How many bytes are still to come, counted up to a limit and kept nowhere.</summary>
    private static long Count(Stream bytes, long limit)
    {
        var buffer = new byte[1 << 14];
        long count = 0;
        while (count < limit && bytes.Read(buffer, 0, (int)Math.Min(buffer.Length, limit - count)) is > 0 and int read)
            count += read;
        return count;
    }
}
