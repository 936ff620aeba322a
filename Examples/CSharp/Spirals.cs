namespace Functional.Examples;

/// <summary>Three spirals told apart by a small network, with the core alone.</summary>
internal static class Spirals
{
    public static void Run(Settings settings)
    {
        var (points, arms) = Points(perArm: 200, Key.OfSeed(settings.Seed));
        var model = Mlp.Create(Key.OfSeed(2), inputs: 2, hidden: 64, outputs: 3);

        // Any record of tensors can be differentiated; the gradient is a record of the same type.
        var lossAndGradient = Diff.ValueAndGrad<Mlp>(m => Tensor.CrossEntropy(m.Apply(points), arms));

        for (var step = 1; step <= 1000; step++)
        {
            var (loss, gradient) = lossAndGradient(model);
            model = model.Minus(gradient, rate: 0.5);
            if (step % 200 == 0) Console.WriteLine($"step {step,4}   loss {loss.ToDouble():F4}   accuracy {Accuracy(model):P1}");
        }

        double Accuracy(Mlp m) => m.Apply(points).ArgMax(1).Equal(arms).Cast(DType.Float32).Mean().ToDouble();
    }

    /// <summary>Points along arms that wind around the origin, and the arm of each.</summary>
    private static (Tensor Points, Tensor Arms) Points(int perArm, Key key)
    {
        const int arms = 3;
        var noise = key.Normal(Shape.Of(arms * perArm), 0, 0.1).ToArray<float>();
        var points = new float[arms * perArm, 2];
        var labels = new long[arms * perArm];
        for (var i = 0; i < labels.Length; i++)
        {
            labels[i] = i % arms;
            var radius = 0.1f + 0.9f * i / labels.Length;
            var angle = 5 * radius + 2 * MathF.PI * labels[i] / arms + noise[i];
            (points[i, 0], points[i, 1]) = (radius * MathF.Cos(angle), radius * MathF.Sin(angle));
        }
        return (Tensor.From(points), Tensor.From(labels));
    }
}

internal sealed record Dense(Tensor Weight, Tensor Bias)
{
    public static Dense Create(Key key, int inputs, int outputs)
    {
        var bound = Math.Sqrt(6.0 / (inputs + outputs));
        return new(key.Uniform(Shape.Of(inputs, outputs), -bound, bound), Tensor.Zeros(Shape.Of(outputs)));
    }

    public Tensor Apply(Tensor x, Activation activation = Activation.None) => Tensor.Linear(x, Weight, Bias, activation);

    public Dense Minus(Dense gradient, double rate) => new(Weight - rate * gradient.Weight, Bias - rate * gradient.Bias);
}

internal sealed record Mlp(Dense First, Dense Second, Dense Output)
{
    public static Mlp Create(Key key, int inputs, int hidden, int outputs) => new(
        Dense.Create(key.Fold("first"), inputs, hidden),
        Dense.Create(key.Fold("second"), hidden, hidden),
        Dense.Create(key.Fold("output"), hidden, outputs));

    public Tensor Apply(Tensor x) => Output.Apply(Second.Apply(First.Apply(x, Activation.Relu), Activation.Relu));

    public Mlp Minus(Mlp gradient, double rate) => new(
        First.Minus(gradient.First, rate), Second.Minus(gradient.Second, rate), Output.Minus(gradient.Output, rate));
}
