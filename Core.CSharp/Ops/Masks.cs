using System.Numerics;
using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Elements chosen by masks, and tensors with some elements replaced: the tensor itself never changes.
    public sealed partial class Tensor
    {
        /// <summary>A number where the mask is true, else this tensor's element.</summary>
        public Tensor MaskedFill(Tensor mask, double value) => Where(mask, value, this);

        /// <summary>The elements where a mask is true, in row-major order, as a vector; mask and tensor broadcast. How many there are depends on the mask's values,
        /// which must therefore be known.</summary>
        public Tensor MaskedSelect(Tensor mask)
        {
            Shape.Bool("maskedSelect", mask);
            var shape = Shape.Broadcast("maskedSelect", Shape, mask.Shape);
            return ExpandTo(shape).Flatten().Take(From(TrueAt(mask.ExpandTo(shape))));
        }

        /// <summary>The places of the elements that are not 0, one row of int64 for each, in row-major order.</summary>
        public Tensor NonZero()
        {
            var flat = TrueAt(DType == DType.Bool ? this : NotEqual(0));
            var places = new long[flat.Length * Rank];
            for (var i = 0; i < flat.Length; i++)
            {
                var rest = flat[i];
                for (var axis = Rank - 1; axis >= 0; axis--)
                {
                    places[i * Rank + axis] = rest % Shape[axis];
                    rest /= Shape[axis];
                }
            }
            return FromSpan<long>(places, Shape.Of(flat.Length, Rank));
        }

        /// <summary>This tensor with y[index[i, j], j] = source[i, j] for axis 0, and so on; where places repeat the last one counts. The index may be smaller
        /// than source, and than this tensor along the other axes.</summary>
        public Tensor Scatter(Tensor index, Tensor source, int axis)
        {
            source = source.Corner("scatter", index.Shape, -1);
            var covered = Covered("scatter", index.Shape, axis);
            var scattered = Masks.ScatterAlong(axis).Call(covered, index, source);
            if (ReferenceEquals(covered, this)) return scattered;
            return WithPart(scattered, [.. covered.Shape.Select(n => (AxisSelection)(..n))]);
        }

        /// <summary>This tensor with the selected part replaced: <c>x.WithPart(0, 1.., ^1)</c> sets x[1.., ^1] to 0. The value broadcasts to the part.</summary>
        public Tensor WithPart(double value, params AxisSelection[] selections) => WithPart(Elementwise.Weak("withPart", this[selections], value), selections);

        /// <summary>This tensor with the selected part replaced by a value that broadcasts to it.</summary>
        public Tensor WithPart(Tensor value, params AxisSelection[] selections)
        {
            var part = Selected(selections);
            Shape.SameDType("withPart", this, value);
            var mask = part.Into(Shape).Call(Full(part.Shape, 1, DType.Bool));
            return Where(mask, part.Into(Shape).Call(Broadcastable("withPart", value, part).Reshape(part.Shape.ToArray())), this);
        }

        /// <summary>This tensor with a value that broadcasts added to the selected part.</summary>
        public Tensor WithPartAdded(Tensor value, params AxisSelection[] selections)
        {
            var part = Selected(selections);
            return this + part.Into(Shape).Call(Broadcastable("withPartAdded", value, part).Reshape(part.Shape.ToArray()));
        }

        private static Tensor Broadcastable(string op, Tensor value, Part part)
        {
            if (value.Rank > part.Kept.Rank || Shape.Broadcast(op, value.Shape, part.Kept) != part.Kept)
                throw Shape.Refuse(op, "the value must broadcast to the part", $"{value.Shape} and {part.Kept}", "Reshape it");
            return value.ExpandTo(part.Kept);
        }

        private static long[] TrueAt(Tensor mask)
        {
            var places = new List<long>();
            var values = mask.ToArray<bool>();
            for (var i = 0; i < values.Length; i++)
                if (values[i]) places.Add(i);
            return [.. places];
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Replacing elements by index.</summary>
    public static unsafe class Masks
    {
        public static readonly Op Scatter = ScatterAlong(0);

        /// <summary>y = x, then y[…, index[…, i, …], …] = s[…, i, …], in the order of i.</summary>
        internal static Op ScatterAlong(int axis)
        {
            Op? op = null;
            return op = new()
            {
                Name = "scatter",
                Batching = Vmapping.Along(axis, ScatterAlong),
                Shape = x =>
                {
                    Indexing.Agree("scatter", x[0], x[1], axis);
                    Shape.SameDType("scatter", x[0], x[2]);
                    if (x[2].Shape != x[1].Shape)
                        throw Shape.Refuse("scatter", "index and source must agree", $"{x[1].Shape} and {x[2].Shape}", "Slice or expand one of them");
                    return [new(x[0].DType, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    Pointwise.Copy(x[0], y[0]);
                    switch (x[0].DType.Size())
                    {
                        case 4: Put<int>(y[0], x[1], x[2], axis); break;
                        case 8: Put<long>(y[0], x[1], x[2], axis); break;
                        default: Put<byte>(y[0], x[1], x[2], axis); break;
                    }
                }),
                // What was replaced, by the tensor's element or by a later one, has no influence.
                Vjp = (x, _, g, i) => i switch
                {
                    0 => op!.Call(g[0], x[1], Level.ZerosLike(x[2])),
                    2 => g[0].Gather(x[1], axis) * Last(x[0].Shape, x[1], axis, g[0].DType),
                    _ => null,
                },
                Jvp = (x, _, dx) => [op!.Call(dx[0] ?? Level.ZerosLike(x[0]), x[1], dx[2] ?? Level.ZerosLike(x[2]))],
                Reads = Reads.Inputs,
                Sample = static draw =>
                {
                    var (x, index, axis) = Indexing.DrawIndexed(draw);
                    return new(ScatterAlong(axis), draw.Tensor(x), index, draw.Tensor(index.Shape)) { Attributes = $"axis = {axis}" };
                },
            };
        }

        // 1 where no later index along the axis points to the same place, else 0.
        private static Tensor Last(Shape shape, Tensor index, int axis, DType dtype)
        {
            var numbers = Tensor.Arange(0, index.Count, dtype: DType.Int64).Reshape(index.Shape.ToArray());
            var winners = ScatterAlong(axis).Call(Tensor.Constant(shape, -1, DType.Int64), index, numbers);
            return winners.Gather(index, axis).Equal(numbers).Cast(dtype);
        }

        private static void Put<T>(Tensor y, Tensor indices, Tensor source, int axis) where T : unmanaged, INumber<T>
        {
            var (outer, n, inner) = Softmax.Around(y.Shape, axis);
            var index = Indexing.Checked("scatter", indices, n);
            source = Pointwise.Contiguous(source);
            Kernels.Indexing.Scatter(outer, n, inner, y.Pointer<T>(), Softmax.Around(index.Shape, axis).N, index.Pointer<long>(), source.Pointer<T>());
            GC.KeepAlive(index);
            GC.KeepAlive(source);
        }
    }
}
