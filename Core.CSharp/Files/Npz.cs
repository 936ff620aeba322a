using System.IO.Compression;

namespace Functional.Files;

/// <summary>NumPy's .npz: a zip archive whose entries `name.npy` are arrays.</summary>
public static class Npz
{
    private const string Extension = ".npy";

    /// <summary>Reads all arrays, in the order of the archive.</summary>
    public static IReadOnlyList<NamedArray> Read(string path)
    {
        using FileStream stream = File.OpenRead(path);
        try
        {
            using var archive = new ZipArchive(stream, ZipArchiveMode.Read);
            // Entries that share their compressed bytes could promise any amount of data.
            long compressed = archive.Entries.Sum(entry => entry.CompressedLength);
            if (compressed > stream.Length)
                throw new DataFormatException(path, $"the entries must share {stream.Length} bytes", $"{compressed} (an overlap)");

            var arrays = new List<NamedArray>(archive.Entries.Count);
            var names = new HashSet<string>();
            foreach (ZipArchiveEntry entry in archive.Entries)
            {
                if (!entry.FullName.EndsWith(Extension, StringComparison.Ordinal))
                    throw new DataFormatException(path, $"every entry of an npz file must end in {Extension}", $"'{entry.FullName}'");
                string name = entry.FullName[..^Extension.Length];
                if (!names.Add(name))
                    throw new DataFormatException(path, "every name must occur once", $"'{name}' twice");
                arrays.Add(ReadEntry(entry, $"{path}/{entry.FullName}", name));
            }
            return arrays;
        }
        catch (InvalidDataException damaged)
        {
            throw new DataFormatException(
                path, "an npz file must be a whole zip archive", "damaged or truncated data", damaged);
        }
    }

    /// <summary>Writes arrays, whole or not at all; names must differ.</summary>
    public static void Write(string path, IEnumerable<NamedArray> arrays, bool compress = false)
    {
        List<NamedArray> list = [.. arrays];
        var names = new HashSet<string>();
        foreach (NamedArray array in list)
        {
            if (!names.Add(array.Name))
                throw new ArgumentException($"Npz.Write: names must differ; got '{array.Name}' twice.");
        }
        CompressionLevel level = compress ? CompressionLevel.Optimal : CompressionLevel.NoCompression;
        AtomicFile.Write(path, stream =>
        {
            using var archive = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true);
            foreach (NamedArray array in list)
            {
                ZipArchiveEntry entry = archive.CreateEntry(array.Name + Extension, level);
                // The same arrays give the same bytes, whenever they are written.
                entry.LastWriteTime = new DateTimeOffset(1980, 1, 1, 0, 0, 0, TimeSpan.Zero);
                using Stream data = entry.Open();
                Npy.Write(data, array);
            }
        });
    }

    private static NamedArray ReadEntry(ZipArchiveEntry entry, string file, string name)
    {
        if (entry.Length > Gzipped.MaxDeflateRatio * Math.Max(entry.CompressedLength, 1))
            throw new DataFormatException(
                file, $"{entry.CompressedLength} compressed bytes can hold at most {Gzipped.MaxDeflateRatio} times as many", $"{entry.Length}");
        using var stream = new ChecksummedStream(entry.Open());
        NamedArray array = Npy.Read(stream, entry.Length, file, name);
        if (stream.ReadByte() >= 0)
            throw new DataFormatException(file, $"the archive's directory says {entry.Length} bytes", "more (too long)");
        if (stream.Crc32 != entry.Crc32)
            throw new DataFormatException(file, $"the CRC-32 checksum must be {entry.Crc32:x8}", $"{stream.Crc32:x8}");
        return array;
    }

    /// <summary>Passes bytes on and keeps the CRC-32 of what has passed (the zip reader compares lengths only).</summary>
    private sealed class ChecksummedStream(Stream inner) : Stream
    {
        private static readonly uint[] Table = MakeTable();
        private uint _state = uint.MaxValue;

        public uint Crc32 => ~_state;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(Span<byte> buffer)
        {
            int read = inner.Read(buffer);
            foreach (byte value in buffer[..read])
                _state = Table[(byte)(_state ^ value)] ^ (_state >> 8);
            return read;
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override void Flush() => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                inner.Dispose();
            base.Dispose(disposing);
        }

        private static uint[] MakeTable()
        {
            var table = new uint[256];
            for (uint value = 0; value < 256; value++)
            {
                uint row = value;
                for (int bit = 0; bit < 8; bit++)
                    row = (row & 1) != 0 ? (row >> 1) ^ 0xEDB88320u : row >> 1;
                table[value] = row;
            }
            return table;
        }
    }
}
