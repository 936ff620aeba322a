using Functional.Files;
using Functional.Fluent;

namespace Functional.Examples;

/// <summary>A long short-term memory that reads MNIST row by row, on the layer library.</summary>
internal static class MnistLstm
{
    public static void Run(Settings settings)
    {
        // An image of 28 rows is a sequence of 28 steps.
        var network = Network.Input([28, 28])
            .Lstm(128)
            .LastState()
            .Dense(10, weights: Weights.FanInUniform, biases: Weights.FanInUniform);
        Console.WriteLine($"{network}\n");

        var training = Load(settings, "train", 60_000);
        var test = Load(settings, "t10k", 10_000);

        var run = network.Fit(
            training,
            Optimisers.Adam(1e-3),
            Loss.crossEntropy,
            Key.OfSeed(settings.Seed),
            epochs: settings.Epochs ?? 2,
            batchSize: 64,
            metrics: [Measures.Accuracy]);

        Console.WriteLine($"test accuracy {run.Evaluate(test, Loss.crossEntropy, Measures.Accuracy).Metrics["accuracy"]:P1}");
        var (images, labels) = test.Batches(20).First();
        Console.WriteLine($"the first are      {Digits(labels)}");
        Console.WriteLine($"the network reads  {Digits(run.Predict(images).ArgMax(-1))}");
    }

    private static string Digits(Tensor classes) => string.Join(' ', classes.ToArray<long>());

    private static Dataset Load(Settings settings, string part, int count)
    {
        var images = Idx.ReadImages(settings.File("mnist", $"{part}-images-idx3-ubyte"), count).Data;
        var labels = Idx.ReadLabels(settings.File("mnist", $"{part}-labels-idx1-ubyte"), count);
        return Data.FromBytes([28, 28], images, labels)
            .Take(settings.Small ? count / 10 : count)
            .Scale(1 / 255.0);
    }
}
