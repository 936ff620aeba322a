using Functional.Autodiff;

namespace Functional.Ops;

/// <summary>The largest and smallest elements, and where they stand.</summary>
public static class Extremes
{
    public static readonly Op Max = Over(new AxisSet("max", [], false));

    public static readonly Op Min = Over(new AxisSet("min", [], false));

    public static readonly Op MaxWithIndices = Along("max", 0, false);

    public static readonly Op MinWithIndices = Along("min", 0, false);

    public static readonly Op ArgMax = Position("argmax", null, false);

    public static readonly Op ArgMin = Position("argmin", null, false);

    /// <summary>"max" or "min" over any axes, values only.</summary>
    internal static Op Over(string name, int[] axes, bool keepAxes) => Over(new AxisSet(name, axes, keepAxes));

    private static Op Over(AxisSet axes) => new()
    {
        Name = axes.Op,
        Batching = axes.Batching(Over),
        Shape = x =>
        {
            Reductions.NotBool(axes.Op, x[0]);
            return [new(x[0].DType, axes.OfNonEmpty(x[0].Shape))];
        },
        Forward = new Forward.Into((x, y) => Reducing.Extreme(x[0], axes, y[0], axes.Op == "max")),
        Vjp = (x, y, g, _) => axes.Spread(g[0], x[0].Shape) * Shares(x[0], y[0], axes),
        Jvp = (x, y, dx) => [(Shares(x[0], y[0], axes) * dx[0]!).Sum(axes.Axes, keepAxes: true).Reshape(y[0].Shape.ToArray())],
        Sample = draw =>
        {
            var shape = draw.Shape();
            var drawn = AxisSet.Draw(axes.Op, draw, shape);
            return new(Over(drawn), draw.Distinct(shape)) { Attributes = drawn.ToString() };
        },
    };

    // 1 where the extreme stands; k of them have 1/k each.
    private static Tensor Shares(Tensor x, Tensor y, AxisSet axes)
    {
        var hit = x.Equal(axes.Spread(y, x.Shape)).Cast(x.DType);
        return hit / hit.Sum(axes.Axes, keepAxes: true);
    }

    /// <summary>"max" or "min" along one axis with two outputs: values and int64 indices.</summary>
    internal static Op Along(string name, int axis, bool keepAxes)
    {
        var full = name + "WithIndices";
        var axes = new AxisSet(full, [axis], keepAxes);
        return new()
        {
            Name = full,
            Batching = Vmapping.Along(axis, a => Along(name, a, keepAxes)),
            Shape = x =>
            {
                Reductions.NotBool(full, x[0]);
                var shape = axes.OfNonEmpty(x[0].Shape);
                return [new(x[0].DType, shape), new(DType.Int64, shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                Reducing.Extreme(x[0], axes, y[0], name == "max");
                Reducing.Position(x[0], axes, y[1], name == "max");
            }),
            Vjp = (x, y, g, _) => Level.ZerosLike(x[0]).ScatterAdd(axes.Kept(y[1], x[0].Shape), axes.Kept(g[0], x[0].Shape), axis),
            Jvp = (x, y, dx) => [dx[0]!.Gather(axes.Kept(y[1], x[0].Shape), axis).Reshape(y[0].Shape.ToArray()), y[1]],
            Reads = Reads.Outputs,
            Sample = draw =>
            {
                var shape = draw.Shape(1);
                var (a, keep) = (AxisSet.DrawOne(draw, shape), draw.Chance());
                return new(Along(name, a, keep), draw.Distinct(shape)) { Attributes = $"axis = {a}, keepAxes = {(keep ? "true" : "false")}" };
            },
        };
    }

    /// <summary>"argmax" or "argmin" along an axis, or over the flattened tensor.</summary>
    internal static Op Position(string name, int? axis, bool keepAxes)
    {
        var axes = new AxisSet(name, axis is { } a ? [a] : [], keepAxes);
        return new()
        {
            Name = name,
            Batching = axis is { } one ? Vmapping.Along(one, shifted => Position(name, shifted, keepAxes)) : Batching.Loop,
            Shape = x =>
            {
                Reductions.NotBool(name, x[0]);
                return [new(DType.Int64, axes.OfNonEmpty(x[0].Shape))];
            },
            Forward = new Forward.Into((x, y) => Reducing.Position(x[0], axes, y[0], name == "argmax")),
            Vjp = Op.NotDifferentiable,
            Reads = Reads.None,
            Sample = draw =>
            {
                var shape = draw.Shape();
                int? one = shape.Rank > 0 && draw.Chance(0.7) ? AxisSet.DrawOne(draw, shape) : null;
                var keep = draw.Chance();
                return new(Position(name, one, keep), draw.Distinct(shape))
                {
                    Attributes = $"axis = {(one is { } chosen ? chosen.ToString() : "all")}, keepAxes = {(keep ? "true" : "false")}",
                };
            },
        };
    }
}
