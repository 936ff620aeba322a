using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Unicode;

namespace Functional.Files;

/// <summary>What a safetensors file holds: arrays in the order of its header, and its metadata.</summary>
public sealed record SafetensorsContent(IReadOnlyList<NamedArray> Arrays, IReadOnlyDictionary<string, string> Metadata);

/// <summary>
/// The safetensors layout: 8 bytes header length (unsigned, little-endian), a JSON object
/// `name → {dtype, shape, data_offsets: [begin, end]}` padded with spaces, then the data to the end of the file.
/// Every byte of the data belongs to exactly one array.
/// </summary>
public static class Safetensors
{
    private const int MaxHeaderLength = 100_000_000;
    private const int MaxHeaderDepth = 8;
    private const string MetadataKey = "__metadata__";

    private sealed record Entry(string Name, string DType, int[] Shape, long Begin, long End);

    /// <summary>Reads a whole file; nothing is allocated for data before the header has been found sound.</summary>
    public static SafetensorsContent Read(string path)
    {
        using FileStream stream = File.OpenRead(path);
        return Read(stream, path);
    }

    /// <summary>The same from a stream that can seek; `name` stands for the file in messages.</summary>
    public static SafetensorsContent Read(Stream stream, string name)
    {
        byte[] header = ReadHeader(stream, name);
        var entries = new List<Entry>();
        var metadata = new Dictionary<string, string>();
        try
        {
            ParseHeader(header, name, entries, metadata);
        }
        // GetString refuses escaped half surrogates with an InvalidOperationException.
        catch (Exception malformed) when (malformed is JsonException or InvalidOperationException)
        {
            throw new DataFormatException(
                name, "the header must be a JSON object of arrays", $"malformed JSON ({malformed.Message.TrimEnd('.')})", malformed);
        }

        long dataStart = 8L + header.Length;
        CheckCover(entries, name, stream.Length - dataStart);

        var arrays = new List<NamedArray>(entries.Count);
        foreach (Entry entry in entries)
        {
            var data = new byte[entry.End - entry.Begin];
            stream.Position = dataStart + entry.Begin;
            stream.ReadExactly(data);
            NamedArray.CheckValues(name, entry.Name, entry.DType, data);
            arrays.Add(new NamedArray(entry.Name, entry.DType, entry.Shape, data));
        }
        return new SafetensorsContent(arrays, metadata);
    }

    /// <summary>Writes a file, whole or not at all; names must differ.</summary>
    public static void Write(
        string path, IEnumerable<NamedArray> arrays, IReadOnlyDictionary<string, string>? metadata = null)
    {
        // Checked before the disk is touched.
        List<NamedArray> list = [.. arrays];
        byte[] header = MakeHeader(list, metadata, out IReadOnlyList<NamedArray> placed);
        AtomicFile.Write(path, stream => Write(stream, header, placed));
    }

    /// <summary>The same into a stream.</summary>
    public static void Write(
        Stream stream, IEnumerable<NamedArray> arrays, IReadOnlyDictionary<string, string>? metadata = null)
    {
        List<NamedArray> list = [.. arrays];
        byte[] header = MakeHeader(list, metadata, out IReadOnlyList<NamedArray> placed);
        Write(stream, header, placed);
    }

    // ---- reading ----

    private static byte[] ReadHeader(Stream stream, string name)
    {
        Span<byte> prefix = stackalloc byte[8];
        long fileLength = stream.Length;
        stream.Position = 0;
        if (stream.ReadAtLeast(prefix, 8, throwOnEndOfStream: false) < 8)
            throw new DataFormatException(name, "a safetensors file starts with 8 bytes of header length", $"a file of {fileLength} bytes (truncated)");
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length is < 2 or > MaxHeaderLength)
            throw new DataFormatException(name, $"the header must have 2 to {MaxHeaderLength} bytes", $"{length}");
        if ((long)length > fileLength - 8)
            throw new DataFormatException(name, $"the header must have {length} bytes", $"{fileLength - 8} (truncated)");
        var header = new byte[length];
        stream.ReadExactly(header);
        if (!Utf8.IsValid(header))
            throw new DataFormatException(name, "the header must be UTF-8", "bytes that are not");
        return header;
    }

    private static void ParseHeader(byte[] header, string file, List<Entry> entries, Dictionary<string, string> metadata)
    {
        var reader = new Utf8JsonReader(header, new JsonReaderOptions { MaxDepth = MaxHeaderDepth });
        reader.Read();
        Expect(ref reader, JsonTokenType.StartObject, file, "the header");
        var names = new HashSet<string>();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = reader.GetString()!;
            if (!names.Add(name))
                throw new DataFormatException(file, "every name must occur once in the header", $"'{name}' twice");
            reader.Read();
            if (name == MetadataKey)
                ParseMetadata(ref reader, file, metadata);
            else
                entries.Add(ParseEntry(ref reader, file, name));
        }
        // The padding behind the object is white space; anything else makes the reader throw.
        while (reader.Read())
        {
        }
    }

    private static void ParseMetadata(ref Utf8JsonReader reader, string file, Dictionary<string, string> metadata)
    {
        Expect(ref reader, JsonTokenType.StartObject, file, MetadataKey);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            reader.Read();
            Expect(ref reader, JsonTokenType.String, file, $"{MetadataKey} '{key}'");
            if (!metadata.TryAdd(key, reader.GetString()!))
                throw new DataFormatException(file, $"every key must occur once in {MetadataKey}", $"'{key}' twice");
        }
    }

    private static Entry ParseEntry(ref Utf8JsonReader reader, string file, string name)
    {
        Expect(ref reader, JsonTokenType.StartObject, file, $"'{name}'");
        string? dtype = null;
        List<long>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            bool twice = key switch { "dtype" => dtype is not null, "shape" => shape is not null, "data_offsets" => offsets is not null, _ => false };
            if (twice)
                throw new DataFormatException(file, $"every key must occur once in '{name}'", $"'{key}' twice");
            reader.Read();
            switch (key)
            {
                case "dtype":
                    Expect(ref reader, JsonTokenType.String, file, $"the dtype of '{name}'");
                    dtype = reader.GetString();
                    break;
                case "shape":
                    shape = ParseIntegers(ref reader, file, $"the shape of '{name}'", NamedArray.MaxRank);
                    break;
                case "data_offsets":
                    offsets = ParseIntegers(ref reader, file, $"data_offsets of '{name}'", 2);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (dtype is null || shape is null || offsets is not [long begin, long end])
            throw new DataFormatException(
                file,
                $"'{name}' must have dtype, shape and two data_offsets",
                dtype is null ? "no dtype" : shape is null ? "no shape" : $"{offsets?.Count ?? 0} offsets");
        if (NamedArray.ElementSize(dtype) is not { } size)
            throw new DataFormatException(file, $"the dtype of '{name}' must be one of {NamedArray.KnownTypes}", $"'{dtype}'");

        int[]? extents = shape.TrueForAll(extent => extent is >= 0 and <= int.MaxValue) ? [.. shape.Select(extent => (int)extent)] : null;
        if (extents is null || NamedArray.ByteCount(size, extents) is not { } bytes)
            throw new DataFormatException(
                file, $"the extents of '{name}' must be non-negative and its bytes at most {Array.MaxLength}", $"{dtype}[{string.Join(", ", shape)}]");
        if (begin < 0 || end < begin || end - begin != bytes)
            throw new DataFormatException(file, $"'{name}' {dtype}{NamedArray.Text(extents)} needs {bytes} bytes", $"data_offsets [{begin}, {end}]");
        return new Entry(name, dtype, extents, begin, end);
    }

    private static List<long> ParseIntegers(ref Utf8JsonReader reader, string file, string what, int most)
    {
        Expect(ref reader, JsonTokenType.StartArray, file, what);
        var values = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out long value))
                throw new DataFormatException(file, $"{what} must be integers", $"{reader.TokenType} at byte {8 + reader.TokenStartIndex}");
            if (values.Count == most)
                throw new DataFormatException(file, $"{what} must have at most {most} numbers", "more");
            values.Add(value);
        }
        return values;
    }

    private static void Expect(ref Utf8JsonReader reader, JsonTokenType token, string file, string what)
    {
        if (reader.TokenType != token)
            throw new DataFormatException(file, $"{what} must be a JSON {Word(token)}", $"{Word(reader.TokenType)} at byte {8 + reader.TokenStartIndex}");
    }

    private static string Word(JsonTokenType token) => token switch
    {
        JsonTokenType.StartObject => "object",
        JsonTokenType.StartArray => "array",
        JsonTokenType.String => "string",
        JsonTokenType.Number => "number",
        _ => token.ToString(),
    };

    /// <summary>The arrays, in order of their offsets, must cover [0, length) without overlap or hole.</summary>
    private static void CheckCover(List<Entry> entries, string file, long length)
    {
        long covered = 0;
        string before = "the header";
        foreach (Entry entry in entries.OrderBy(entry => entry.Begin).ThenBy(entry => entry.End))
        {
            if (entry.End > length)
                throw new DataFormatException(file, $"'{entry.Name}' ends at byte {entry.End} of the data", $"{length} bytes of data (truncated)");
            if (entry.Begin != covered)
                throw new DataFormatException(
                    file,
                    $"'{entry.Name}' must begin at byte {covered} of the data, where {before} ends",
                    $"{entry.Begin} ({(entry.Begin < covered ? "an overlap" : "a hole")})");
            covered = entry.End;
            before = $"'{entry.Name}'";
        }
        if (covered != length)
            throw new DataFormatException(file, $"the data must have {covered} bytes", $"{length} (too long)");
    }

    // ---- writing ----

    private static byte[] MakeHeader(
        List<NamedArray> arrays, IReadOnlyDictionary<string, string>? metadata, out IReadOnlyList<NamedArray> placed)
    {
        var names = new HashSet<string>();
        foreach (NamedArray array in arrays)
        {
            if (array.Name == MetadataKey || !names.Add(array.Name))
                throw new ArgumentException($"Safetensors.Write: names must differ and not be {MetadataKey}; got '{array.Name}'.");
        }

        // The widest elements come first, so that every array starts at a multiple of its element's size;
        // the header keeps the caller's order.
        placed = [.. arrays.OrderByDescending(array => NamedArray.ElementSize(array.DType))];
        var begin = new Dictionary<string, long>();
        long offset = 0;
        foreach (NamedArray array in placed)
        {
            begin[array.Name] = offset;
            offset += array.Data.Length;
        }

        using var json = new MemoryStream();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                writer.WriteStartObject(MetadataKey);
                foreach ((string key, string value) in metadata)
                    writer.WriteString(key, value);
                writer.WriteEndObject();
            }
            foreach (NamedArray array in arrays)
            {
                writer.WriteStartObject(array.Name);
                writer.WriteString("dtype", array.DType);
                writer.WriteStartArray("shape");
                foreach (int extent in array.Shape)
                    writer.WriteNumberValue(extent);
                writer.WriteEndArray();
                writer.WriteStartArray("data_offsets");
                writer.WriteNumberValue(begin[array.Name]);
                writer.WriteNumberValue(begin[array.Name] + array.Data.Length);
                writer.WriteEndArray();
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }

        while (json.Length % 8 != 0)
            json.WriteByte((byte)' ');
        if (json.Length > MaxHeaderLength)
            throw new ArgumentException($"Safetensors.Write: the header must have at most {MaxHeaderLength} bytes; got {json.Length}.");
        return json.ToArray();
    }

    private static void Write(Stream stream, byte[] header, IReadOnlyList<NamedArray> placed)
    {
        Span<byte> prefix = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)header.Length);
        stream.Write(prefix);
        stream.Write(header);
        foreach (NamedArray array in placed)
            stream.Write(array.Data.Span);
    }
}
