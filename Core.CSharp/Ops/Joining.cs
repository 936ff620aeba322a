using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Tensors joined, parted, repeated and turned around.
    public sealed partial class Tensor
    {
        /// <summary>Tensors joined along an existing axis.</summary>
        public static Tensor Concat(int axis, params Tensor[] tensors)
        {
            if (tensors.Length == 0) throw Shape.Refuse("concat", "at least one tensor is needed", "none", "Give the tensors to join");
            tensors[0].Shape.Axis("concat", axis);
            return tensors.Length == 1 ? tensors[0] : Ops.Joining.ConcatAlong(axis).Call([.. tensors]);
        }

        /// <summary>Tensors of one shape joined along a new axis.</summary>
        public static Tensor Stack(int axis, params Tensor[] tensors)
        {
            if (tensors.Length == 0) throw Shape.Refuse("stack", "at least one tensor is needed", "none", "Give the tensors to join");
            foreach (var t in tensors)
                if (t.Shape != tensors[0].Shape)
                    throw Shape.Refuse("stack", "shapes must agree", $"{tensors[0].Shape} and {t.Shape}", "Reshape one of them, or use Concat");
            var at = axis < 0 ? axis + tensors[0].Rank + 1 : axis;
            return Concat(at, Array.ConvertAll(tensors, t => t.Unsqueeze(at)));
        }

        /// <summary>Parts of the given sizes along an axis.</summary>
        public Tensor[] Split(int[] sizes, int axis = 0) => Ops.Joining.SplitInto(sizes, axis).Apply(this);

        /// <summary>Parts of one size along an axis; the last may be smaller.</summary>
        public Tensor[] Split(int size, int axis = 0)
        {
            var n = Shape[Shape.Axis("split", axis)];
            if (size < 1) throw Shape.Refuse("split", "the size of the parts must be 1 or more", $"{size}", "Give a positive size");
            return Split([.. Enumerable.Range(0, Math.Max(1, (n + size - 1) / size)).Select(i => Math.Min(size, n - i * size))], axis);
        }

        /// <summary>The whole tensor repeated counts[i] times along axis i; more counts than axes add axes in front.</summary>
        public Tensor Repeat(params int[] counts)
        {
            if (counts.Length < Rank || counts.Any(c => c < 0))
                throw Shape.Refuse("repeat", "every axis needs a count of 0 or more", $"{Shape.Text(counts)} for {Shape}", $"Give at least {Rank} counts, or use Tile");
            var extra = counts.Length - Rank;
            var (apart, spread, joined) = (new List<int>(), new List<int>(), new int[counts.Length]);
            for (var i = 0; i < counts.Length; i++)
            {
                var size = i < extra ? 1 : Shape[i - extra];
                apart.AddRange([1, size]);
                spread.AddRange([counts[i], size]);
                joined[i] = (int)Math.Min(int.MaxValue, (long)counts[i] * size);
            }
            // Refused here if it has too many elements.
            _ = Shape.Of([.. joined]);
            return Reshape([.. apart]).ExpandTo(Shape.Of([.. spread])).Reshape(joined);
        }

        /// <summary>Repeat, where counts may be fewer than axes and then belong to the last ones.</summary>
        public Tensor Tile(params int[] counts) =>
            counts.Length >= Rank ? Repeat(counts) : Repeat([.. Enumerable.Repeat(1, Rank - counts.Length), .. counts]);

        /// <summary>Every part of an axis <paramref name="count"/> times in a row: a a b b c c.</summary>
        public Tensor RepeatEach(int count, int axis)
        {
            var a = Shape.Axis("repeatEach", axis);
            if (count < 0) throw Shape.Refuse("repeatEach", "the count must be 0 or more", $"{count}", "Give how often each part is to come");
            int[] counts = [.. Enumerable.Repeat(1, Rank + 1)];
            counts[a + 1] = count;
            int[] sizes = [.. Shape];
            // What is too large is refused by its true size.
            sizes[a] = (int)Math.Min(int.MaxValue, (long)sizes[a] * count);
            return Unsqueeze(a + 1).Repeat(counts).Reshape(sizes);
        }

        /// <summary>The order reversed along the given axes; none named means all.</summary>
        public Tensor Flip(params int[] axes) => Ops.Joining.FlipAlong(axes).Call(this);

        /// <summary>A circular shift: element i moves to (i + shift) mod n.</summary>
        public Tensor Roll(int shift, int axis)
        {
            var n = Shape[Shape.Axis("roll", axis)];
            if (n == 0 || shift % n == 0) return this;
            var cut = n - ((shift % n + n) % n);
            return Concat(axis, Slice(axis, cut), Slice(axis, 0, cut));
        }

        /// <summary>Circular shifts along several axes.</summary>
        public Tensor Roll(int[] shifts, int[] axes)
        {
            if (shifts.Length != axes.Length)
                throw Shape.Refuse("roll", "every axis needs one shift", $"{Shape.Text(shifts)} and axes {Shape.Text(axes)}", "Give as many of both");
            var result = this;
            for (var i = 0; i < axes.Length; i++) result = result.Roll(shifts[i], axes[i]);
            return result;
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Concat, its adjoint split, and flip.</summary>
    public static class Joining
    {
        public static readonly Op Concat = ConcatAlong(0);

        public static readonly Op Split = SplitInto([], 0);

        public static readonly Op Flip = FlipAlong([]);

        /// <summary>Any number of tensors joined along an axis.</summary>
        public static Op ConcatAlong(int axis)
        {
            Op? op = null;
            return op = new()
            {
                Name = "concat",
                Batching = Vmapping.Along(axis, ConcatAlong),
                Shape = x =>
                {
                    foreach (var t in x) Shape.SameDType("concat", x[0], t);
                    return [new(x[0].DType, Shape.Concat("concat", Array.ConvertAll(x, t => t.Shape), axis))];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    var (a, at) = (Absolute(axis, y[0]), 0);
                    foreach (var t in x)
                    {
                        Pointwise.Copy(t, Slices.Part(y[0], a, at, t.Shape[a]));
                        at += t.Shape[a];
                    }
                }),
                Vjp = (x, _, g, i) =>
                {
                    var (a, at) = (Absolute(axis, g[0]), 0);
                    for (var j = 0; j < i; j++) at += x[j].Shape[a];
                    return g[0].Slice(a, at, at + x[i].Shape[a]);
                },
                VjpInto = (x, _, g, dx) =>
                {
                    var (a, at) = (Absolute(axis, g[0]), 0);
                    for (var i = 0; i < x.Length; i++)
                    {
                        dx[i]?.Add(op!, Slices.Part(g[0], a, at, x[i].Shape[a]));
                        at += x[i].Shape[a];
                    }
                },
                Jvp = (x, _, dx) => [op!.Call([.. dx.Select((t, i) => t ?? Level.ZerosLike(x[i]))])],
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var shape = draw.Shape(1, 3);
                    var axis = AxisSet.DrawOne(draw, shape);
                    var inputs = new Tensor[draw.Int(1, 4)];
                    for (var i = 0; i < inputs.Length; i++)
                    {
                        var sizes = shape.ToArray();
                        sizes[axis < 0 ? axis + shape.Rank : axis] = draw.Axis(empty: true);
                        inputs[i] = draw.Tensor(Shape.Of(sizes));
                    }
                    return new(ConcatAlong(axis), inputs) { Attributes = $"axis = {axis}" };
                },
            };
        }

        /// <summary>Parts of the given sizes, one output each, as views.</summary>
        public static Op SplitInto(int[] sizes, int axis)
        {
            int[] parts = [.. sizes];
            Op? op = null;
            Infer shapes = x =>
            {
                var a = x[0].Shape.Axis("split", axis);
                if (parts.Any(s => s < 0) || parts.Sum(s => (long)s) != x[0].Shape[a])
                    throw Shape.Refuse("split", $"the parts must add up to the size of axis {a}", $"{Shape.Text(parts)} of {x[0].Shape}", "Correct the sizes");
                return Array.ConvertAll(parts, s =>
                {
                    var part = x[0].Shape.ToArray();
                    part[a] = s;
                    return new Spec(x[0].DType, Shape.Of(part));
                });
            };
            return op = new()
            {
                Name = "split",
                Batching = Vmapping.Along(axis, a => SplitInto(parts, a)),
                Shape = shapes,
                Forward = new Forward.Composite(x =>
                {
                    var specs = shapes(x);
                    if (x[0].IsMeta) return Array.ConvertAll(specs, s => Tensor.Meta(s.DType, s.Shape));
                    var (a, at) = (Absolute(axis, x[0]), 0);
                    return Array.ConvertAll(parts, s =>
                    {
                        var part = Slices.Part(x[0], a, at, s);
                        at += s;
                        return part;
                    });
                }),
                Vjp = (_, _, g, _) => Tensor.Concat(axis, g),
                VjpInto = (x, _, g, dx) =>
                {
                    if (dx[0] is not { } slot) return;
                    var whole = slot.Open(out var accumulate);
                    var (a, at) = (Absolute(axis, whole), 0);
                    foreach (var part in g)
                    {
                        var destination = Slices.Part(whole, a, at, part.Shape[a]);
                        if (accumulate) Pointwise.Accumulate(part, destination);
                        else Pointwise.Copy(part, destination);
                        at += part.Shape[a];
                    }
                },
                Jvp = (_, _, dx) => op!.Apply(dx[0]!),
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var shape = draw.Shape(1, 3);
                    var axis = AxisSet.DrawOne(draw, shape);
                    var sizes = new List<int>();
                    for (var left = shape[axis]; left > 0; left -= sizes[^1]) sizes.Add(draw.Int(1, left));
                    return new(SplitInto([.. sizes], axis), draw.Tensor(shape)) { Attributes = $"sizes = {Shape.Text([.. sizes])}, axis = {axis}" };
                },
            };
        }

        /// <summary>The order reversed along the given axes, as a copy: kernels need not know of negative strides.</summary>
        public static Op FlipAlong(int[] axes)
        {
            int[] flipped = [.. axes];
            Op? op = null;
            return op = new()
            {
                Name = "flip",
                Batching = new Batching.By((_, x, _, _) => x[0].Rank == 1 ? x : FlipAlong(Vmapping.Shifted(flipped, x[0].Rank - 1)).Apply(x)),
                Shape = x =>
                {
                    x[0].Shape.AxisMask("flip", flipped);
                    return [new(x[0].DType, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    if (x[0].Count > 0) Pointwise.Copy(Reversed(x[0], flipped), y[0]);
                }),
                Vjp = (_, _, g, _) => op!.Call(g[0]),
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var shape = draw.Shape(0, 3, empty: true);
                    var drawn = AxisSet.Draw("flip", draw, shape).Axes;
                    return new(FlipAlong(drawn), draw.Tensor(shape)) { Attributes = $"axes = {Shape.Text(drawn)}" };
                },
            };
        }

        private static Tensor Reversed(Tensor x, int[] axes)
        {
            var mask = x.Shape.AxisMask("flip", axes);
            nint[] strides = [.. x.Strides];
            var offset = x.Offset;
            for (var i = 0; i < strides.Length; i++)
                if (mask[i])
                {
                    offset += strides[i] * (x.Shape[i] - 1);
                    strides[i] = -strides[i];
                }
            return x.View(x.Shape, strides, offset);
        }

        private static int Absolute(int axis, Tensor x) => axis < 0 ? axis + x.Rank : axis;
    }
}
