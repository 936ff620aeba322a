using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    /// <summary>What stands in a border around a tensor.</summary>
    public enum Border
    {
        /// <summary>The elements mirrored at the edge, which itself is not repeated: c b | a b c | b a.</summary>
        Reflect,

        /// <summary>The element at the edge again and again: a a | a b c | c c.</summary>
        Edge,

        /// <summary>The tensor repeated: b c | a b c | a b.</summary>
        Wrap,
    }

    public sealed partial class Tensor
    {
        /// <summary>A border made of the tensor's own elements: before[i] and after[i] of them along axis i. For a border of one value see
        /// <see cref="Pad(int[], int[], double)"/>.</summary>
        public Tensor PadBorder(int[] before, int[] after, Border border) => Borders.Around(before, after, border).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Borders made of a tensor's own elements.</summary>
    public static class Borders
    {
        public static readonly Op PadBorder = Around([], [], Border.Edge);

        internal static Op Around(int[] before, int[] after, Border border)
        {
            (before, after) = ([.. before], [.. after]);
            return Composition.Of("padBorder", x =>
            {
                var shape = x[0].Shape;
                if (before.Length != shape.Rank || after.Length != shape.Rank || before.Concat(after).Any(n => n < 0))
                    throw Shape.Refuse("pad", "every axis needs two widths of 0 or more", $"{Shape.Text(before)} and {Shape.Text(after)} for {shape}", $"Give {shape.Rank} of each; slice to make a tensor smaller");
                var y = x[0];
                // Refused here if it has too many elements, before places are made for them.
                _ = Shape.Of([.. shape.Select((n, i) => (int)Math.Min(int.MaxValue, (long)before[i] + n + after[i]))]);
                for (var axis = 0; axis < shape.Rank; axis++)
                {
                    var (left, right, n) = (before[axis], after[axis], shape[axis]);
                    if (left == 0 && right == 0) continue;
                    var most = border == Border.Reflect ? n - 1 : border == Border.Wrap ? n : n == 0 ? 0 : int.MaxValue;
                    if (left > most || right > most)
                        throw Shape.Refuse("pad", $"a border of the kind {border} has at most {Math.Max(0, most)} elements here", $"{left} and {right} along axis {axis} of {shape}", "Make it narrower");
                    var places = new long[left + n + right];
                    for (var i = 0; i < places.Length; i++)
                    {
                        var at = i - left;
                        places[i] = border switch
                        {
                            Border.Reflect => at < 0 ? -at : at >= n ? 2 * (n - 1) - at : at,
                            Border.Edge => Math.Clamp(at, 0, n - 1),
                            _ => (at + n) % n,
                        };
                    }
                    y = y.Take(Tensor.From(places), axis);
                }
                return [y];
            }, static draw =>
            {
                var shape = draw.Shape(1);
                var border = draw.OneOf(Enum.GetValues<Border>());
                int[] Widths() => [.. shape.Select(n => draw.Int(0, Math.Min(2, border == Border.Reflect ? n - 1 : n)))];
                var (before, after) = (Widths(), Widths());
                return new(Around(before, after, border), draw.Tensor(shape)) { Attributes = $"before = {Shape.Text(before)}, after = {Shape.Text(after)}, border = {border}" };
            });
        }
    }
}
