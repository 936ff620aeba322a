namespace Functional.Files;

/// <summary>Files that appear whole or not at all.</summary>
public static class AtomicFile
{
    /// <summary>Writes beside the target and renames at the end: whatever fails on the way, the old file is still there.
    /// Where the disk is full or gone, an <see cref="IOException"/> says so.</summary>
    public static void Write(string path, Action<Stream> write) => Write(path, write, file => file);

    /// <summary>The same through another stream that is made of the file's.</summary>
    internal static void Write(string path, Action<Stream> write, Func<Stream, Stream> through)
    {
        string target = Path.GetFullPath(path);
        string folder = Path.GetDirectoryName(target)!;
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"write: the folder of '{path}' must exist; got '{folder}', which does not. Make it first.");
        string temporary = Path.Combine(folder, $"{Prefix(target)}{Path.GetRandomFileName()}{Suffix}");
        try
        {
            // Sharing nothing but its deletion keeps a lock, which tells that it is no leftover.
            using var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.Delete, 1 << 16);
            write(through(stream));
            // The rename must not reach the disk before the bytes do.
            stream.Flush(flushToDisk: true);
            File.Move(temporary, target, overwrite: true);
        }
        catch (IOException error)
        {
            string before = File.Exists(target) ? "The old file is as it was. " : "";
            throw new IOException(
                $"write: '{path}' must be written whole; got \"{error.Message.Split(" : '")[0].TrimEnd('.')}\". {before}Make room, or choose another place.", error);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>Removes what writers of this file left behind when they were killed; what someone is writing now stays.</summary>
    internal static void RemoveLeftovers(string path)
    {
        string target = Path.GetFullPath(path);
        string prefix = Prefix(target);
        int length = prefix.Length + Path.GetRandomFileName().Length + Suffix.Length;
        foreach (string file in Directory.EnumerateFiles(Path.GetDirectoryName(target)!))
        {
            string name = Path.GetFileName(file);
            if (name.Length != length || !name.StartsWith(prefix, StringComparison.Ordinal) || !name.EndsWith(Suffix, StringComparison.Ordinal))
                continue;
            try
            {
                using (new FileStream(file, FileMode.Open, FileAccess.ReadWrite, FileShare.None))
                {
                }
                File.Delete(file);
            }
            catch (IOException)
            {
                // Its writer is alive.
            }
        }
    }

    private const string Suffix = ".tmp";

    private static string Prefix(string target) => $".{Path.GetFileName(target)}.";
}
