using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    /// <summary>What an indexer takes of one axis: a place, which drops the axis, or a range of places.</summary>
    public readonly struct AxisSelection
    {
        private AxisSelection(Range range, bool drops) => (Range, Drops) = (range, drops);

        internal Range Range { get; }

        /// <summary>Whether the axis is dropped.</summary>
        internal bool Drops { get; }

        public static implicit operator AxisSelection(int place) => place < 0 ? new Index(-Math.Max(place, -int.MaxValue), fromEnd: true) : new Index(place);

        public static implicit operator AxisSelection(Index place) => new(new(place, place), drops: true);

        public static implicit operator AxisSelection(Range range) => new(range, drops: false);
    }

    // Parts of a tensor, as views, and their adjoint: a tensor put into a larger one.
    public sealed partial class Tensor
    {
        /// <summary>x[1.., ^1]: ranges keep their axis, places drop it; axes that are not mentioned stay whole.</summary>
        public Tensor this[params AxisSelection[] selections]
        {
            get
            {
                var part = Selected(selections);
                var x = Ops.Slices.Slice(Shape, part.Starts, part.Stops, null) is { } op ? op.Call(this) : this;
                return x.Reshape(part.Kept.ToArray());
            }
        }

        /// <summary>A part of a tensor: where it begins and ends along every axis, its shape, and its shape without the axes that places drop.</summary>
        private sealed record Part(int[] Starts, int[] Stops, Shape Shape, Shape Kept)
        {
            /// <summary>Puts a tensor of the part's shape among zeros.</summary>
            internal Op Into(Shape whole) => Ops.Slices.Place(whole, Starts, null, 0);
        }

        private Part Selected(AxisSelection[] selections)
        {
            if (selections.Length > Rank)
                throw Shape.Refuse("slice", $"at most {Rank} axes can be selected", $"{selections.Length} selections of {Shape}", "Drop some");
            var (starts, stops, kept) = (new int[Rank], Shape.ToArray(), new List<int>());
            for (var axis = 0; axis < Rank; axis++)
            {
                if (axis < selections.Length)
                {
                    var (size, range, drops) = (Shape[axis], selections[axis].Range, selections[axis].Drops);
                    starts[axis] = range.Start.GetOffset(size);
                    stops[axis] = drops ? starts[axis] + 1 : range.End.GetOffset(size);
                    if (drops && (starts[axis] < 0 || starts[axis] >= size))
                        throw Shape.Refuse("slice", $"a place along axis {axis} must lie in {-size} … {size - 1}", $"{(range.Start.IsFromEnd ? -range.Start.Value : range.Start.Value)} of {Shape}", "Choose an existing place");
                    if (starts[axis] < 0 || stops[axis] < starts[axis] || stops[axis] > size)
                        throw Shape.Refuse("slice", $"0 ≤ start ≤ stop ≤ {size} must hold along axis {axis}", $"{starts[axis]} … {stops[axis]} of {Shape}", "Choose a range inside the axis");
                    if (drops) continue;
                }
                kept.Add(stops[axis] - starts[axis]);
            }
            return new(starts, stops, Shape.Of([.. stops.Zip(starts, (stop, start) => stop - start)]), Shape.Of([.. kept]));
        }

        /// <summary>Every step-th element from start up to but not including stop, along one axis. Negative positions count from the end; no stop means the end.</summary>
        public Tensor Slice(int axis, int start, int? stop = null, int step = 1)
        {
            var a = Shape.Axis("slice", axis);
            var (starts, stops, steps) = (new int[Rank], Shape.ToArray(), new int[Rank]);
            Array.Fill(steps, 1);
            starts[a] = start < 0 ? start + Shape[a] : start;
            stops[a] = stop is not { } end ? Shape[a] : end < 0 ? end + Shape[a] : end;
            steps[a] = step;
            return Ops.Slices.Slice(Shape, starts, stops, steps) is { } op ? op.Call(this) : this;
        }

        /// <summary>The same along all axes at once: starts, stops and steps of each.</summary>
        public Tensor Slice(int[] starts, int[] stops, int[]? steps = null)
        {
            if (starts.Length != Rank || stops.Length != Rank || (steps is not null && steps.Length != Rank))
                throw Shape.Refuse("slice", "every axis needs a start and a stop", $"{starts.Length} starts and {stops.Length} stops for {Shape}", $"Give {Rank} of each");
            return Ops.Slices.Slice(Shape, [.. starts.Select((s, i) => s < 0 ? s + Shape[i] : s)], [.. stops.Select((s, i) => s < 0 ? s + Shape[i] : s)], steps) is { } op ? op.Call(this) : this;
        }

        /// <summary>The part at one place of an axis, which is dropped.</summary>
        public Tensor Select(int axis, int place)
        {
            var a = Shape.Axis("select", axis);
            if (place < -Shape[a] || place >= Shape[a])
                throw Shape.Refuse("select", $"the place must lie in {-Shape[a]} … {Shape[a] - 1}", $"{place} along axis {a} of {Shape}", "Choose an existing place");
            var at = place < 0 ? place + Shape[a] : place;
            return Slice(a, at, at + 1).Reshape([.. Shape.Sizes[..a], .. Shape.Sizes[(a + 1)..]]);
        }

        /// <summary>A border of one value: before[i] and after[i] elements along axis i.</summary>
        public Tensor Pad(int[] before, int[] after, double value = 0)
        {
            if (before.Length != Rank || after.Length != Rank || before.Concat(after).Any(n => n < 0))
                throw Shape.Refuse("pad", "every axis needs two widths of 0 or more", $"{Shape.Text(before)} and {Shape.Text(after)} for {Shape}", $"Give {Rank} of each; slice to make a tensor smaller");
            if (before.Concat(after).All(n => n == 0)) return this;
            var sizes = new int[Rank];
            for (var i = 0; i < Rank; i++)
            {
                var size = (long)before[i] + Shape[i] + after[i];
                if (size > int.MaxValue) throw Shape.Refuse("pad", $"an axis has at most {int.MaxValue} elements", $"{size} along axis {i}", "Give narrower borders");
                sizes[i] = (int)size;
            }
            return Ops.Slices.Place(Shape.Of(sizes), [.. before], null, value).Call(this);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Slices with steps and their adjoint, which puts a tensor into a larger one.</summary>
    public static class Slices
    {
        public static readonly Op Cut = Slice([], [], []);

        public static readonly Op Pad = Place(Shape.Scalar, [], null, 0);

        /// <summary>The slice of a shape, refused where it does not fit; null where it is the whole.</summary>
        internal static Op? Slice(Shape shape, int[] starts, int[] stops, int[]? steps)
        {
            var counts = new int[shape.Rank];
            var whole = true;
            for (var i = 0; i < counts.Length; i++)
            {
                var (start, stop, step) = (starts[i], stops[i], steps?[i] ?? 1);
                if (start < 0 || stop < start || stop > shape[i])
                    throw Shape.Refuse("slice", $"0 ≤ start ≤ stop ≤ {shape[i]} must hold along axis {i}", $"{start} … {stop} of {shape}", "Choose a range inside the axis");
                if (step < 1)
                    throw Shape.Refuse("slice", "steps must be 1 or more", $"{step} along axis {i}", "Use Flip to reverse an axis");
                counts[i] = (stop - start + step - 1) / step;
                whole &= counts[i] == shape[i];
            }
            return whole ? null : Slice(starts, counts, steps);
        }

        /// <summary>counts[i] elements from starts[i] on, steps[i] apart.</summary>
        private static Op Slice(int[] starts, int[] counts, int[]? steps)
        {
            Op? op = null;
            return op = new()
            {
                Name = "slice",
                Batching = new Batching.By((_, x, _, examples) => Slice([0, .. starts], [examples, .. counts], steps is null ? null : [1, .. steps]).Apply(x)),
                Shape = x =>
                {
                    var shape = x[0].Shape;
                    var fits = shape.Rank == starts.Length;
                    for (var i = 0; fits && i < starts.Length; i++)
                        fits = counts[i] == 0 ? starts[i] <= shape[i] : starts[i] + (long)(counts[i] - 1) * (steps?[i] ?? 1) < shape[i];
                    if (!fits)
                        throw Shape.Refuse("slice", "the part must lie inside", $"{Shape.Text(counts)} elements from {Shape.Text(starts)} on of {shape}", "Choose a smaller part");
                    return [new(x[0].DType, Shape.Of(counts))];
                },
                Forward = new Forward.View((x, _) => Within(x, starts, steps)),
                Vjp = (x, _, g, _) => Place(x[0].Shape, starts, steps, 0).Call(g[0]),
                // Only the part is written, once the rest holds what it must.
                VjpInto = (x, _, g, dx) =>
                {
                    if (dx[0] is not { } slot) return;
                    var whole = slot.Open(out var accumulate);
                    var part = Part(whole, g[0].Shape, starts, steps);
                    if (accumulate) Pointwise.Accumulate(g[0], part);
                    else
                    {
                        Fill(whole, 0);
                        Pointwise.Copy(g[0], part);
                    }
                },
                Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw =>
                {
                    var shape = draw.Shape(1, 3);
                    var (starts, stops, steps) = DrawPart(draw, shape);
                    return new(Slice(starts, [.. stops.Select((s, i) => (s - starts[i] + steps[i] - 1) / steps[i])], steps), draw.Tensor(shape))
                    {
                        Attributes = $"starts = {Shape.Text(starts)}, stops = {Shape.Text(stops)}, steps = {Shape.Text(steps)}",
                    };
                },
            };
        }

        /// <summary>A tensor full of <paramref name="value"/> into which the input is put, from starts[i] on, steps[i] apart.</summary>
        internal static Op Place(Shape into, int[] starts, int[]? steps, double value) => new()
        {
            Name = "pad",
            Batching = new Batching.By((_, x, _, examples) => Place(Shape.Of([examples, .. into]), [0, .. starts], steps is null ? null : [1, .. steps], value).Apply(x)),
            Shape = x =>
            {
                var fits = x[0].Rank == into.Rank;
                for (var i = 0; fits && i < into.Rank; i++)
                    fits = x[0].Shape[i] == 0 ? starts[i] <= into[i] : starts[i] + (long)(x[0].Shape[i] - 1) * (steps?[i] ?? 1) < into[i];
                if (!fits)
                    throw Shape.Refuse("pad", "the tensor must fit into the result", $"{x[0].Shape} from {Shape.Text(starts)} on in {into}", "Give wider borders");
                return [new(x[0].DType, into)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                Fill(y[0], value);
                Pointwise.Copy(x[0], Part(y[0], x[0].Shape, starts, steps));
            }),
            Vjp = (x, _, g, _) => Slice(starts, x[0].Shape.ToArray(), steps).Call(g[0]),
            VjpInto = (x, _, g, dx) => dx[0]?.Add(Pad, Part(g[0], x[0].Shape, starts, steps)),
            Jvp = (_, _, dx) => [Place(into, starts, steps, 0).Call(dx[0]!)],
            Reads = Reads.None,
            Sample = static draw =>
            {
                var into = draw.Shape(0, 3);
                var (starts, stops, steps) = DrawPart(draw, into);
                var shape = Shape.Of([.. stops.Select((s, i) => (s - starts[i] + steps[i] - 1) / steps[i])]);
                var value = draw.OneOf(0, 1.5);
                return new(Place(into, starts, steps, value), draw.Tensor(shape))
                {
                    Attributes = $"into = {into}, starts = {Shape.Text(starts)}, steps = {Shape.Text(steps)}, value = {value}",
                };
            },
        };

        private static (int[] Starts, int[] Stops, int[] Steps) DrawPart(Draw draw, Shape shape)
        {
            var (starts, stops, steps) = (new int[shape.Rank], new int[shape.Rank], new int[shape.Rank]);
            for (var i = 0; i < shape.Rank; i++)
            {
                starts[i] = draw.Int(0, shape[i]);
                stops[i] = draw.Int(starts[i], shape[i]);
                // An empty part is worth a case now and then, not most of them.
                if (stops[i] == starts[i] && draw.Chance(0.8)) (starts[i], stops[i]) = (0, shape[i]);
                steps[i] = draw.Int(1, 3);
            }
            return (starts, stops, steps);
        }

        private static Layout Within(Tensor x, int[] starts, int[]? steps)
        {
            var strides = new nint[starts.Length];
            var offset = x.Offset;
            for (var i = 0; i < strides.Length; i++)
            {
                strides[i] = x.Strides[i] * (steps?[i] ?? 1);
                offset += x.Strides[i] * starts[i];
            }
            return new(strides, offset);
        }

        /// <summary>The view of a part of a plain tensor.</summary>
        internal static Tensor Part(Tensor x, Shape shape, int[] starts, int[]? steps)
        {
            var (strides, offset) = Within(x, starts, steps);
            return x.View(shape, strides, offset);
        }

        /// <summary>The view of count elements along one axis of a plain tensor.</summary>
        internal static Tensor Part(Tensor x, int axis, int start, int count)
        {
            var sizes = x.Shape.ToArray();
            sizes[axis] = count;
            return x.View(Shape.Of(sizes), x.Strides, x.Offset + x.Strides[axis] * start);
        }

        /// <summary>Fills a fresh contiguous tensor.</summary>
        internal static unsafe void Fill(Tensor y, double value)
        {
            var n = (nint)y.Count;
            switch (y.DType)
            {
                case DType.Float32: Loops.Fill(n, y.Pointer<float>(), (float)value); break;
                case DType.Float64: Loops.Fill(n, y.Pointer<double>(), value); break;
                case DType.Int32: Loops.Fill(n, y.Pointer<int>(), (int)value); break;
                case DType.Int64: Loops.Fill(n, y.Pointer<long>(), (long)value); break;
                default: Loops.Fill(n, y.Pointer<byte>(), (byte)(value != 0 ? 1 : 0)); break;
            }
        }
    }
}
