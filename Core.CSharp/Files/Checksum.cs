using System.Security.Cryptography;

namespace Functional.Files;

/// <summary>SHA-256 sums of files, written as 64 lower-case hexadecimal digits.</summary>
public static class Checksum
{
    /// <summary>The SHA-256 sum of a file.</summary>
    public static string Sha256(string path)
    {
        using FileStream stream = File.OpenRead(path);
        return Sha256(stream);
    }

    /// <summary>Refuses a file whose SHA-256 sum is not the expected one.</summary>
    public static void Verify(string path, string expected)
    {
        using FileStream stream = File.OpenRead(path);
        Verify(stream, path, expected);
    }

    /// <summary>The same for an open stream, which is left at its start.</summary>
    internal static void Verify(Stream stream, string name, string expected)
    {
        string found = Sha256(stream);
        stream.Position = 0;
        if (!found.Equals(expected, StringComparison.OrdinalIgnoreCase))
            throw new DataFormatException(name, $"the SHA-256 checksum must be {expected}", found);
    }

    private static string Sha256(Stream stream) => Convert.ToHexStringLower(SHA256.HashData(stream));
}
