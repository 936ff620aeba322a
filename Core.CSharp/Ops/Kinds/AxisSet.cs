using Functional.Autodiff;

namespace Functional.Ops;

/// <summary>The axes that an operation reduces: none named means all, negative ones count from the end.</summary>
internal sealed class AxisSet(string op, int[] axes, bool keepAxes)
{
    // A caller may change its array later; the operation must not.
    private readonly int[] _axes = [.. axes];

    /// <summary>The operation's name, for its refusals.</summary>
    internal string Op => op;

    /// <summary>The axes as they were named.</summary>
    internal int[] Axes => _axes;

    /// <summary>The output's shape.</summary>
    internal Shape Of(Shape shape) => shape.Reduce(shape.AxisMask(op, _axes), keepAxes);

    /// <summary>The output's shape where every output needs an element to look at.</summary>
    internal Shape OfNonEmpty(Shape shape)
    {
        if (Count(shape) == 0)
            throw Shape.Refuse(op, "at least one element is needed along the reduced axes", $"axes {Shape.Text(_axes)} of {shape}", "Reduce a tensor that is not empty there");
        return Of(shape);
    }

    /// <summary>Axis i is reduced where bit i is set.</summary>
    internal ulong Bits(Shape shape)
    {
        var mask = shape.AxisMask(op, _axes);
        var bits = 0UL;
        for (var i = 0; i < mask.Length; i++)
            if (mask[i]) bits |= 1UL << i;
        return bits;
    }

    /// <summary>The number of elements that make one output.</summary>
    internal long Count(Shape shape)
    {
        var mask = shape.AxisMask(op, _axes);
        long count = 1;
        for (var i = 0; i < mask.Length; i++)
            if (mask[i]) count *= shape[i];
        return count;
    }

    /// <summary>Repeats the output y over the reduced axes of the input's shape.</summary>
    internal Tensor Spread(Tensor y, Shape shape) => Kept(y, shape).ExpandTo(shape);

    /// <summary>The output y with the reduced axes kept as 1.</summary>
    internal Tensor Kept(Tensor y, Shape shape) =>
        keepAxes ? y : y.Reshape(shape.Reduce(shape.AxisMask(op, _axes), keepAxes: true).ToArray());

    /// <summary><see cref="Spread"/> of a plain tensor, by strides alone.</summary>
    internal Tensor SpreadView(Tensor y, Shape shape)
    {
        var mask = shape.AxisMask(op, _axes);
        var strides = new nint[shape.Rank];
        var next = 0;
        for (var i = 0; i < strides.Length; i++)
            if (!mask[i]) strides[i] = y.Strides[next++];
            else if (keepAxes) next++;
        return y.View(shape, strides, y.Offset);
    }

    /// <summary>Any set of the axes of a shape, named from either end.</summary>
    internal static AxisSet Draw(string op, Draw draw, Shape shape)
    {
        var axes = new List<int>();
        for (var i = 0; i < shape.Rank; i++)
            if (draw.Chance()) axes.Add(draw.Chance(0.3) ? i - shape.Rank : i);
        return new(op, [.. axes], draw.Chance());
    }

    /// <summary>One axis of a shape of rank 1 or more, named from either end.</summary>
    internal static int DrawOne(Draw draw, Shape shape) => draw.Int(-shape.Rank, shape.Rank - 1);

    /// <summary>The rule of a reduction for many examples: the same axes, one further in.</summary>
    internal Batching Batching(Func<AxisSet, Op> make) => new Batching.By((_, x, _, examples) =>
        x[0].Rank > 1 ? make(new(op, Vmapping.Shifted(_axes, x[0].Rank - 1), keepAxes)).Apply(x)
            // A scalar has no axes; that of size 1 stands for none.
            : make(new(op, [1], false)).Apply(x[0].Reshape(examples, 1)));

    /// <summary>The attributes as a person would write them.</summary>
    public override string ToString() => $"axes = {Shape.Text(_axes)}, keepAxes = {(keepAxes ? "true" : "false")}";
}
