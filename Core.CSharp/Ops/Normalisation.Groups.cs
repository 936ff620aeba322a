using System.Numerics;
using Functional.Autodiff;

namespace Functional.Ops;

public static unsafe partial class Normalisation
{
    /// <summary>y = (x − m)·r·gain + bias, m and r = 1/√(variance + ε) of each group of channels of each example of [N, C, …], gain and bias per channel.
    /// Outputs y, r and m.</summary>
    internal static Op Groups(int groups, bool gain, bool bias, double epsilon)
    {
        const string name = "groupNorm";
        var (gainAt, biasAt) = (gain ? 1 : -1, bias ? gain ? 2 : 1 : -1);
        return new()
        {
            Name = name,
            Batching = Batching.Folded,
            Shape = x =>
            {
                CheckEpsilon(name, epsilon);
                Shape.Float(name, x[0]);
                if (x[0].Rank < 2 || groups < 1 || x[0].Shape[1] % groups != 0)
                    throw Shape.Refuse(name, "the channels of [N, C, …] must divide into the groups", $"{x[0].Shape} and {groups} groups", "Correct the groups");
                if (x[0].Shape.Sizes[1..].Contains(0))
                    throw Shape.Refuse(name, "groups with elements are needed", $"{x[0].Shape}", "Leave the operation out");
                foreach (var parameter in x.AsSpan(1))
                {
                    Shape.SameDType(name, x[0], parameter);
                    if (parameter.Rank != 1 || parameter.Shape[0] != x[0].Shape[1])
                        throw Shape.Refuse(name, "gain and bias must have one value per channel", $"{parameter.Shape} for {x[0].Shape}", "Correct them");
                }
                var statistics = Shape.Of(x[0].Shape[0], groups);
                return [new(x[0].DType, x[0].Shape), new(x[0].DType, statistics), new(x[0].DType, statistics)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                if (y[0].DType == DType.Float32) ForwardGroups<float>(x, groups, gainAt, biasAt, epsilon, y);
                else ForwardGroups<double>(x, groups, gainAt, biasAt, epsilon, y);
            }),
            Vjp = (x, y, g, i) =>
            {
                var shape = x[0].Shape.ToArray();
                int[] axes = [0, .. Enumerable.Range(2, shape.Length - 2)], perChannel = [-1, .. Enumerable.Repeat(1, shape.Length - 2)];
                if (i == biasAt) return g[0].Sum(axes);
                var r = y[1].Unsqueeze(-1);
                var normal = (Members(x[0], groups) - y[2].Unsqueeze(-1)) * r;
                if (i == gainAt) return (g[0] * normal.Reshape(shape)).Sum(axes);
                double n = normal.Shape[-1];
                var a = Members(gain ? g[0] * x[gainAt].Reshape(perChannel) : g[0], groups);
                var inner = a - a.Mean([-1], keepAxes: true) - normal * (a * normal).Mean([-1], keepAxes: true);
                return (r * (inner - normal * r * (g[1].Unsqueeze(-1) / n)) + g[2].Unsqueeze(-1) / n).Reshape(shape);
            },
            VjpInto = (x, y, g, dx) =>
            {
                if (x[0].DType == DType.Float32) BackwardGroups<float>(x, y, g, dx, groups, gainAt, biasAt);
                else BackwardGroups<double>(x, y, g, dx, groups, gainAt, biasAt);
                AddStatistics(GroupNorm, Members(x[0], groups), y, g, dx[0], centred: true);
            },
            Sample = static draw =>
            {
                var (groups, wide, e) = (draw.Int(1, 3), draw.Int(1, 2), draw.OneOf(1e-5, 0.1));
                var shape = Shape.Of([draw.Int(1, 2), groups * wide, .. draw.Shape(0, 2).Sizes]);
                var (withGain, withBias) = (draw.Chance(0.7), draw.Chance(0.7));
                var size = (int)(shape.Count / shape[0] / groups);
                var inputs = new List<Tensor> { Spread(draw, shape, i => i / size, centred: true, e) };
                if (withGain) inputs.Add(draw.Tensor(Shape.Of(groups * wide)));
                if (withBias) inputs.Add(draw.Tensor(Shape.Of(groups * wide)));
                return new(Groups(groups, withGain, withBias, e), [.. inputs])
                {
                    Attributes = $"groups = {groups}, gain = {(withGain ? "true" : "false")}, bias = {(withBias ? "true" : "false")}, epsilon = {e}",
                };
            },
        };
    }

    /// <summary>[N, C, …] → [N, groups, members]</summary>
    private static Tensor Members(Tensor x, int groups) => x.Reshape(x.Shape[0], groups, (int)(x.Count / Math.Max(1, (long)x.Shape[0] * groups)));

    private static void ForwardGroups<T>(Tensor[] input, int groups, int gainAt, int biasAt, double epsilon, Tensor[] y) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var (x, gain, bias) = (Pointwise.Contiguous(input[0]), Part(input, gainAt), Part(input, biasAt));
        Kernels.Normalisation<T>.Groups(x.Shape[0], groups, x.Shape[1] / groups, Positions(x), x.Pointer<T>(), Pointer<T>(gain), Pointer<T>(bias), epsilon,
            y[0].Pointer<T>(), y[2].Pointer<T>(), y[1].Pointer<T>());
        GC.KeepAlive(x);
        GC.KeepAlive(gain);
        GC.KeepAlive(bias);
    }

    private static void BackwardGroups<T>(Tensor[] input, Tensor[] y, Tensor[] g, Slot?[] dx, int groups, int gainAt, int biasAt) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var (x, gain, cotangent) = (Pointwise.Contiguous(input[0]), Part(input, gainAt), Pointwise.Contiguous(g[0]));
        var (add, addGain, addBias) = (false, false, false);
        var image = dx[0]?.Open(out add);
        var dGain = gainAt < 0 ? null : dx[gainAt]?.Open(out addGain);
        var dBias = biasAt < 0 ? null : dx[biasAt]?.Open(out addBias);
        Kernels.Normalisation<T>.GroupsBackward(x.Shape[0], groups, x.Shape[1] / groups, Positions(x), x.Pointer<T>(), Pointer<T>(gain), cotangent.Pointer<T>(),
            y[2].Pointer<T>(), y[1].Pointer<T>(), Pointer<T>(image), add, Pointer<T>(dGain), addGain, Pointer<T>(dBias), addBias);
        GC.KeepAlive(x);
        GC.KeepAlive(gain);
        GC.KeepAlive(cotangent);
    }
}
