using Functional.Files;
using Functional.Fluent;

namespace Functional.Examples;

/// <summary>A convolutional network on CIFAR-10, on the layer library.</summary>
internal static class CifarCnn
{
    private static readonly string[] Classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

    public static void Run(Settings settings)
    {
        var start = Weights.FanInUniform;

        // Sizes are inferred; a shape that does not fit is refused on the line where it is written.
        var network = Network.Input([3, 32, 32])
            .Conv(6, kernel: 5, weights: start, biases: start).Relu().MaxPool(2)
            .Conv(16, kernel: 5, weights: start, biases: start).Relu().MaxPool(2)
            .Flatten()
            .Dense(120, weights: start, biases: start).Relu()
            .Dense(84, weights: start, biases: start).Relu()
            .Dense(10, weights: start, biases: start);
        Console.WriteLine($"{network}\n");

        var training = Load(settings, Enumerable.Range(1, 5).Select(i => settings.TryFile("cifar-10", $"data_batch_{i}.bin")).OfType<string>());
        var test = Load(settings, [settings.File("cifar-10", "test_batch.bin")]);

        var run = network.Fit(
            training,
            Optimisers.Adam(1e-3),
            Loss.crossEntropy,
            Key.OfSeed(settings.Seed),
            epochs: settings.Epochs ?? (settings.Small ? 2 : 10),
            batchSize: 64,
            metrics: [Measures.Accuracy]);

        Console.WriteLine($"test accuracy {run.Evaluate(test, Loss.crossEntropy, Measures.Accuracy).Metrics["accuracy"]:P1}");
        var (images, labels) = test.Batches(8).First();
        Console.WriteLine($"the first are      {Names(labels)}");
        Console.WriteLine($"the network reads  {Names(run.Predict(images).ArgMax(-1))}");
    }

    private static string Names(Tensor classes) => string.Join(' ', classes.ToArray<long>().Select(c => Classes[c]));

    /// <summary>All images of some files, pixels in −1 … 1.</summary>
    private static Dataset Load(Settings settings, IEnumerable<string> paths)
    {
        var parts = paths.Select(path => Cifar.Read(path)).ToList();
        if (parts.Count == 0) throw new FileNotFoundException("cifar-10: at least data_batch_1.bin is needed; got none of the five. Give the folder that holds cifar-10 with --data or in $FUNCTIONAL_DATA.");
        byte[] images = [.. parts.SelectMany(part => part.Images)], labels = [.. parts.SelectMany(part => part.Labels)];
        return Data.FromBytes([3, 32, 32], images, labels)
            .Take(settings.Small ? labels.Length / 10 : labels.Length)
            .Scale(2 / 255.0, shift: -1);
    }
}
