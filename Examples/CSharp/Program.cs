// The C# examples: dotnet run -c Release --project Examples/CSharp -- NAME [--data DIR] [--epochs N] [--seed N] [--small]
using Functional.Examples;
using Functional.Files;

var examples = new Dictionary<string, Action<Settings>>
{
    ["spirals"] = settings => Spirals.Run(settings),
    ["cifar-cnn"] = settings => CifarCnn.Run(settings),
    ["mnist-lstm"] = settings => MnistLstm.Run(settings),
};

var (name, options) = args is [var first, ..] && !first.StartsWith('-') ? (first, args[1..]) : ("spirals", args);
if (!examples.TryGetValue(name, out var run))
{
    Console.Error.WriteLine($"examples: the name must be one of {string.Join(", ", examples.Keys)}; got '{name}'. Choose one of them.");
    return 2;
}

try
{
    run(Settings.Parse(options));
    return 0;
}
catch (Exception error) when (error is ArgumentException or DataFormatException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine(error.Message);
    return 2;
}
