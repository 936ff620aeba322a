namespace Functional.Files;

/// <summary>A data file that is not what it should be: one sentence names the file, what was expected and what was found.</summary>
public sealed class DataFormatException : IOException
{
    /// <summary>`file: expected; got found.`</summary>
    public DataFormatException(string file, string expected, string found, Exception? cause = null)
        : base($"{file}: {expected}; got {found}.", cause)
    {
        File = file;
        Expected = expected;
        Found = found;
    }

    /// <summary>The file, as the caller named it.</summary>
    public string File { get; }

    /// <summary>What the format, or the caller, requires.</summary>
    public string Expected { get; }

    /// <summary>What the file holds instead.</summary>
    public string Found { get; }
}
