namespace Functional.Examples;

/// <summary>What the command line asks for.</summary>
internal sealed record Settings(string? Data = null, int? Epochs = null, long Seed = 1, bool Small = false)
{
    public static Settings Parse(ReadOnlySpan<string> options)
    {
        var settings = new Settings();
        for (var i = 0; i < options.Length; i++)
        {
            var option = options[i];
            string Value(ReadOnlySpan<string> all) => ++i < all.Length ? all[i] : throw new ArgumentException($"examples: {option} needs a value; got none.");
            settings = option switch
            {
                "--small" => settings with { Small = true },
                "--data" => settings with { Data = Value(options) },
                "--epochs" => settings with { Epochs = (int)Number(option, Value(options), 1, 1_000_000) },
                "--seed" => settings with { Seed = Number(option, Value(options), long.MinValue, long.MaxValue) },
                _ => throw new ArgumentException($"examples: the option must be --data, --epochs, --seed or --small; got '{option}'."),
            };
        }
        return settings;
    }

    private static long Number(string option, string text, long least, long most) =>
        long.TryParse(text, out var number) && number >= least && number <= most
            ? number
            : throw new ArgumentException($"examples: {option} needs a whole number from {least} to {most}; got '{text}'.");

    /// <summary>The path of a data file, plain or gzip: in the folder given, in $FUNCTIONAL_DATA or in ./data.</summary>
    public string File(string folder, string name) => TryFile(folder, name) ?? throw new FileNotFoundException(
        $"{folder}: {name} is needed, plain or .gz; looked in {string.Join(", ", Folders)}. Give the folder that holds {folder} with --data or in $FUNCTIONAL_DATA.");

    /// <summary>The same, or null where there is no such file.</summary>
    public string? TryFile(string folder, string name) =>
        Folders.Select(root => Path.Combine(root, folder, name))
            .SelectMany(path => new[] { path, path + ".gz" })
            .FirstOrDefault(System.IO.File.Exists);

    private IEnumerable<string> Folders =>
        new[] { Data, Environment.GetEnvironmentVariable("FUNCTIONAL_DATA"), "data" }.Where(folder => !string.IsNullOrEmpty(folder)).Select(folder => folder!);
}
