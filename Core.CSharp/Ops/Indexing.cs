using System.Numerics;
using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Elements chosen by integer tensors. An index outside its axis is an error that names it.
    public sealed partial class Tensor
    {
        /// <summary>The parts of this tensor at the given places of an axis, which may repeat: the indices' axes stand in place of that axis.</summary>
        public Tensor Take(Tensor indices, int axis = 0) => Ops.Indexing.TakeAlong(axis, null).Call(this, indices);

        /// <summary>Rows of a table of vectors by number; the row <paramref name="padding"/> gets no gradient.</summary>
        public static Tensor Embedding(Tensor table, Tensor indices, int? padding = null) =>
            Ops.Indexing.TakeAlong(0, padding).Call(table, indices);

        /// <summary>y[i, j] = x[index[i, j], j] for axis 0, and so on; the index may be smaller than x along the other axes.</summary>
        public Tensor Gather(Tensor index, int axis) => Ops.Indexing.GatherAlong(axis).Call(Covered("gather", index.Shape, axis), index);

        /// <summary>A copy of this tensor with source added: y[index[i, j], j] += source[i, j] for axis 0, and so on. The index may be smaller
        /// than source, and than this tensor along the other axes.</summary>
        public Tensor ScatterAdd(Tensor index, Tensor source, int axis)
        {
            source = source.Corner("scatterAdd", index.Shape, -1);
            var covered = Covered("scatterAdd", index.Shape, axis);
            var op = Ops.Indexing.ScatterAddAlong(axis);
            if (ReferenceEquals(covered, this)) return op.Call(this, index, source);
            var added = op.Call(Autodiff.Level.ZerosLike(covered), index, source);
            return this + Ops.Slices.Place(Shape, new int[Rank], null, 0).Call(added);
        }

        /// <summary>1 where the last, new axis equals the index, else 0.</summary>
        public Tensor OneHot(int classes, DType dtype = DType.Float32) => Ops.Indexing.OneHotOf(classes, dtype, null).Call(this);

        /// <summary>The lower triangle of the last two axes, zeros elsewhere; element (i, j) stays where j − i ≤ diagonal.</summary>
        public Tensor Tril(int diagonal = 0) => Ops.Triangles.Keep(lower: true, diagonal).Call(this);

        /// <summary>The upper triangle of the last two axes, zeros elsewhere; element (i, j) stays where j − i ≥ diagonal.</summary>
        public Tensor Triu(int diagonal = 0) => Ops.Triangles.Keep(lower: false, diagonal).Call(this);

        private Tensor Covered(string op, Shape index, int axis) => Corner(op, index, Shape.Axis(op, axis));

        // The part that an index of the given shape reaches: all of `axis`, the first elements of the others.
        private Tensor Corner(string op, Shape index, int axis)
        {
            var fits = index.Rank == Rank;
            var stops = Shape.ToArray();
            for (var i = 0; fits && i < Rank; i++)
            {
                if (i == axis) continue;
                fits = index[i] <= Shape[i];
                stops[i] = index[i];
            }
            if (!fits) throw Shape.Refuse(op, "the index must have as many axes and be no larger", $"index {index} for {Shape}", "Reshape, expand or slice the index");
            return Ops.Slices.Slice(Shape, new int[Rank], stops, null) is { } slice ? slice.Call(this) : this;
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Taking, gathering, scattering and one-hot.</summary>
    public static unsafe class Indexing
    {
        public static readonly Op Take = TakeAlong(0, null);

        public static readonly Op PutBack = PutBackAlong(0, Shape.Scalar, null);

        public static readonly Op Gather = GatherAlong(0);

        public static readonly Op ScatterAdd = ScatterAddAlong(0);

        public static readonly Op OneHot = OneHotOf(2, DType.Float64, null);

        /// <summary>y = x[…, indices, …] at the axis; no gradient goes to the place <paramref name="padding"/>.</summary>
        internal static Op TakeAlong(int axis, int? padding)
        {
            Op? op = null;
            return op = new()
            {
                Name = "take",
                // One table for all: the indices are taken as they are.
                Batching = new Batching.By((op, x, mapped, _) => mapped[0] || axis != 0 ? null : op.Apply(x)),
                Shape = x =>
                {
                    Shape.Integer("take", x[1]);
                    var a = x[0].Shape.Axis("take", axis);
                    if (padding is { } p && (p < 0 || p >= x[0].Shape[a]))
                        throw Shape.Refuse("take", $"the padding index must lie in 0 … {x[0].Shape[a] - 1}", $"{p}", "Correct it");
                    return [new(x[0].DType, Shape.Of([.. x[0].Shape.Sizes[..a], .. x[1].Shape.Sizes, .. x[0].Shape.Sizes[(a + 1)..]]))];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    var (outer, n, inner) = Softmax.Around(x[0].Shape, axis);
                    var index = Checked("take", x[1], n);
                    var source = Pointwise.Contiguous(x[0]);
                    var m = (nint)index.Count;
                    switch (source.DType.Size())
                    {
                        case 4: Kernels.Indexing.Take(outer, n, inner, source.Pointer<int>(), m, index.Pointer<long>(), y[0].Pointer<int>()); break;
                        case 8: Kernels.Indexing.Take(outer, n, inner, source.Pointer<long>(), m, index.Pointer<long>(), y[0].Pointer<long>()); break;
                        default: Kernels.Indexing.Take(outer, n, inner, source.Pointer<byte>(), m, index.Pointer<long>(), y[0].Pointer<byte>()); break;
                    }
                    GC.KeepAlive(index);
                    GC.KeepAlive(source);
                }),
                Vjp = (x, _, g, i) => i == 0 ? PutBackAlong(axis, x[0].Shape, padding).Call(g[0], x[1]) : null,
                VjpInto = (x, _, g, dx) =>
                {
                    if (dx[0] is not { } slot) return;
                    var table = x[0].Shape;
                    if (table.Axis("take", axis) == 0 && x[1].Count < table[0] && slot.AddRows(g[0], Checked("take", x[1], table[0]), padding ?? -1)) return;
                    var destination = slot.Open(out var accumulate);
                    if (!accumulate) Slices.Fill(destination, 0);
                    AddBack(g[0], x[1], destination, axis, padding);
                },
                Jvp = (x, _, dx) => [op!.Call(dx[0]!, x[1])],
                Reads = Reads.Inputs,
                Sample = static draw =>
                {
                    var shape = draw.Shape(1, 3);
                    var axis = AxisSet.DrawOne(draw, shape);
                    var index = draw.Integers(draw.Shape(0, 2, empty: true), 0, shape[axis] - 1, draw.OneOf(DType.Int32, DType.Int64));
                    return new(TakeAlong(axis, null), draw.Tensor(shape), index) { Attributes = $"axis = {axis}" };
                },
            };
        }

        /// <summary>The adjoint of take: parts g added into zeros of the shape <paramref name="into"/>.</summary>
        private static Op PutBackAlong(int axis, Shape into, int? padding)
        {
            Op? op = null;
            return op = new()
            {
                Name = "putBack",
                Shape = x =>
                {
                    Shape.Integer("putBack", x[1]);
                    Reductions.NotBool("putBack", x[0]);
                    var a = into.Axis("putBack", axis);
                    var expected = Shape.Of([.. into.Sizes[..a], .. x[1].Shape.Sizes, .. into.Sizes[(a + 1)..]]);
                    if (x[0].Shape != expected)
                        throw Shape.Refuse("putBack", $"the parts must be {expected}", $"{x[0].Shape}", "Reshape them");
                    return [new(x[0].DType, into)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    Slices.Fill(y[0], 0);
                    AddBack(x[0], x[1], y[0], axis, padding);
                }),
                Vjp = (x, _, g, i) =>
                {
                    if (i != 0) return null;
                    var back = TakeAlong(axis, null).Call(g[0], x[1]);
                    if (padding is not { } p) return back;
                    // What was left out has no influence.
                    var a = axis < 0 ? axis + into.Rank : axis;
                    var kept = x[1].NotEqual(p).Cast(back.DType);
                    return back * kept.Reshape([.. Enumerable.Repeat(1, a), .. x[1].Shape, .. Enumerable.Repeat(1, into.Rank - a - 1)]);
                },
                Jvp = (x, _, dx) => [op!.Call(dx[0]!, x[1])],
                Reads = Reads.Inputs,
                Sample = static draw =>
                {
                    var into = draw.Shape(1, 3);
                    var axis = AxisSet.DrawOne(draw, into);
                    var a = axis < 0 ? axis + into.Rank : axis;
                    var index = draw.Integers(draw.Shape(0, 2), 0, into[a] - 1);
                    int? padding = draw.Chance() ? draw.Int(0, into[a] - 1) : null;
                    var parts = draw.Tensor(Shape.Of([.. into.Sizes[..a], .. index.Shape.Sizes, .. into.Sizes[(a + 1)..]]));
                    return new(PutBackAlong(axis, into, padding), parts, index) { Attributes = $"axis = {axis}, into = {into}, padding = {padding?.ToString() ?? "none"}" };
                },
            };
        }

        private static void AddBack(Tensor g, Tensor indices, Tensor dx, int axis, int? padding)
        {
            var (outer, n, inner) = Softmax.Around(dx.Shape, axis);
            var index = Checked("take", indices, n);
            var parts = Pointwise.Contiguous(g);
            var (m, skip) = ((nint)index.Count, padding ?? -1);
            switch (dx.DType)
            {
                case DType.Float32: Kernels.Indexing.PutBack(outer, n, inner, dx.Pointer<float>(), m, index.Pointer<long>(), parts.Pointer<float>(), skip); break;
                case DType.Float64: Kernels.Indexing.PutBack(outer, n, inner, dx.Pointer<double>(), m, index.Pointer<long>(), parts.Pointer<double>(), skip); break;
                case DType.Int32: Kernels.Indexing.PutBack(outer, n, inner, dx.Pointer<int>(), m, index.Pointer<long>(), parts.Pointer<int>(), skip); break;
                case DType.Int64: Kernels.Indexing.PutBack(outer, n, inner, dx.Pointer<long>(), m, index.Pointer<long>(), parts.Pointer<long>(), skip); break;
                default: throw Shape.Refuse("putBack", "numbers are needed", g.Describe(), "Convert them with Cast");
            }
            GC.KeepAlive(index);
            GC.KeepAlive(parts);
        }

        /// <summary>y[…, i, …] = x[…, index[…, i, …], …]; x and index agree but for the axis.</summary>
        internal static Op GatherAlong(int axis)
        {
            Op? op = null;
            return op = new()
            {
                Name = "gather",
                Batching = Vmapping.Along(axis, GatherAlong),
                Shape = x =>
                {
                    Agree("gather", x[0], x[1], axis);
                    return [new(x[0].DType, x[1].Shape)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    switch (x[0].DType)
                    {
                        case DType.Float32: Gathered<float>(x[0], x[1], y[0], axis, false); break;
                        case DType.Float64: Gathered<double>(x[0], x[1], y[0], axis, false); break;
                        case DType.Int32: Gathered<int>(x[0], x[1], y[0], axis, false); break;
                        case DType.Int64: Gathered<long>(x[0], x[1], y[0], axis, false); break;
                        default: Gathered<byte>(x[0], x[1], y[0], axis, false); break;
                    }
                }),
                Vjp = (x, _, g, i) => i == 0 ? ScatterAddAlong(axis).Call(Level.ZerosLike(x[0]), x[1], g[0]) : null,
                VjpInto = (x, _, g, dx) =>
                {
                    if (dx[0] is not { } slot) return;
                    var destination = slot.Open(out var accumulate);
                    if (!accumulate) Slices.Fill(destination, 0);
                    Scatter(destination, x[1], g[0], axis);
                },
                Jvp = (x, _, dx) => [op!.Call(dx[0]!, x[1])],
                Reads = Reads.Inputs,
                Sample = static draw =>
                {
                    var (x, index, axis) = DrawIndexed(draw);
                    return new(GatherAlong(axis), draw.Tensor(x), index) { Attributes = $"axis = {axis}" };
                },
            };
        }

        /// <summary>y = x, then y[…, index[…, i, …], …] += s[…, i, …].</summary>
        internal static Op ScatterAddAlong(int axis)
        {
            Op? op = null;
            return op = new()
            {
                Name = "scatterAdd",
                Batching = Vmapping.Along(axis, ScatterAddAlong),
                Shape = x =>
                {
                    Agree("scatterAdd", x[0], x[1], axis);
                    Shape.SameDType("scatterAdd", x[0], x[2]);
                    Reductions.NotBool("scatterAdd", x[0]);
                    if (x[2].Shape != x[1].Shape)
                        throw Shape.Refuse("scatterAdd", "index and source must agree", $"{x[1].Shape} and {x[2].Shape}", "Slice or expand one of them");
                    return [new(x[0].DType, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    Pointwise.Copy(x[0], y[0]);
                    Scatter(y[0], x[1], x[2], axis);
                }),
                Vjp = (x, _, g, i) => i == 0 ? g[0] : i == 2 ? GatherAlong(axis).Call(g[0], x[1]) : null,
                VjpInto = (x, _, g, dx) =>
                {
                    dx[0]?.Add(op!, g[0]);
                    if (dx[2] is not { } slot) return;
                    var destination = slot.Open(out var accumulate);
                    if (destination.DType == DType.Float32) Gathered<float>(g[0], x[1], destination, axis, accumulate);
                    else Gathered<double>(g[0], x[1], destination, axis, accumulate);
                },
                Jvp = (x, _, dx) => [op!.Call(dx[0] ?? Level.ZerosLike(x[0]), x[1], dx[2] ?? Level.ZerosLike(x[2]))],
                Reads = Reads.Inputs,
                Sample = static draw =>
                {
                    var (x, index, axis) = DrawIndexed(draw);
                    return new(ScatterAddAlong(axis), draw.Tensor(x), index, draw.Tensor(index.Shape)) { Attributes = $"axis = {axis}" };
                },
            };
        }

        private static void Gathered<T>(Tensor x, Tensor indices, Tensor y, int axis, bool accumulate) where T : unmanaged, INumber<T>
        {
            var (outer, n, inner) = Softmax.Around(x.Shape, axis);
            var index = Checked("gather", indices, n);
            x = Pointwise.Contiguous(x);
            Kernels.Indexing.Gather(outer, n, inner, x.Pointer<T>(), Softmax.Around(index.Shape, axis).N, index.Pointer<long>(), y.Pointer<T>(), accumulate);
            GC.KeepAlive(index);
            GC.KeepAlive(x);
        }

        private static void Scatter(Tensor x, Tensor indices, Tensor source, int axis)
        {
            var (outer, n, inner) = Softmax.Around(x.Shape, axis);
            var index = Checked("scatterAdd", indices, n);
            source = Pointwise.Contiguous(source);
            var m = Softmax.Around(index.Shape, axis).N;
            switch (x.DType)
            {
                case DType.Float32: Kernels.Indexing.ScatterAdd(outer, n, inner, x.Pointer<float>(), m, index.Pointer<long>(), source.Pointer<float>()); break;
                case DType.Float64: Kernels.Indexing.ScatterAdd(outer, n, inner, x.Pointer<double>(), m, index.Pointer<long>(), source.Pointer<double>()); break;
                case DType.Int32: Kernels.Indexing.ScatterAdd(outer, n, inner, x.Pointer<int>(), m, index.Pointer<long>(), source.Pointer<int>()); break;
                default: Kernels.Indexing.ScatterAdd(outer, n, inner, x.Pointer<long>(), m, index.Pointer<long>(), source.Pointer<long>()); break;
            }
            GC.KeepAlive(index);
            GC.KeepAlive(source);
        }

        internal static void Agree(string op, Tensor x, Tensor index, int axis)
        {
            Shape.Integer(op, index);
            var a = x.Shape.Axis(op, axis);
            var fits = x.Rank == index.Rank;
            for (var i = 0; fits && i < x.Rank; i++) fits = i == a || x.Shape[i] == index.Shape[i];
            if (!fits) throw Shape.Refuse(op, $"tensor and index must agree except along axis {a}", $"{x.Shape} and {index.Shape}", "Slice or expand one of them");
        }

        internal static (Shape X, Tensor Index, int Axis) DrawIndexed(Draw draw)
        {
            var shape = draw.Shape(1, 3);
            var axis = AxisSet.DrawOne(draw, shape);
            var sizes = shape.ToArray();
            sizes[axis < 0 ? axis + shape.Rank : axis] = draw.Axis(empty: true);
            return (shape, draw.Integers(Shape.Of(sizes), 0, shape[axis] - 1), axis);
        }

        /// <summary>A new last axis of the given size: 1 at the index, else 0. A row whose index is <paramref name="ignore"/> is 0 throughout.</summary>
        internal static Op OneHotOf(int classes, DType dtype, long? ignore) => new()
        {
            Name = "oneHot",
            Batching = Batching.Whole,
            Shape = x =>
            {
                Shape.Integer("oneHot", x[0]);
                if (classes < 1) throw Shape.Refuse("oneHot", "there must be 1 or more classes", $"{classes}", "Give their number");
                return [new(dtype, Shape.Of([.. x[0].Shape.Sizes, classes]))];
            },
            Forward = new Forward.Into((x, y) =>
            {
                var index = Checked("oneHot", x[0], classes, ignore);
                Slices.Fill(y[0], 0);
                switch (dtype)
                {
                    case DType.Float32: Mark<float>(index, classes, y[0]); break;
                    case DType.Float64: Mark<double>(index, classes, y[0]); break;
                    case DType.Int32: Mark<int>(index, classes, y[0]); break;
                    case DType.Int64: Mark<long>(index, classes, y[0]); break;
                    default: Mark<byte>(index, classes, y[0]); break;
                }
            }),
            Vjp = Op.NotDifferentiable,
            Reads = Reads.None,
            Sample = static draw =>
            {
                var classes = draw.Int(1, 6);
                return new(OneHotOf(classes, draw.DType, null), draw.Integers(draw.Shape(0, 2, empty: true), 0, classes - 1)) { Attributes = $"classes = {classes}" };
            },
        };

        private static void Mark<T>(Tensor index, nint classes, Tensor y) where T : unmanaged, INumber<T>
        {
            var at = index.Pointer<long>();
            var to = y.Pointer<T>();
            for (nint i = 0; i < (nint)index.Count; i++)
                if (at[i] >= 0)
                    to[i * classes + (nint)at[i]] = T.One;
            GC.KeepAlive(index);
        }

        /// <summary>The indices as contiguous int64, each in 0 … n − 1, or −1 in place of <paramref name="ignore"/>.</summary>
        internal static Tensor Checked(string op, Tensor indices, nint n, long? ignore = null, string noun = "indices")
        {
            var index = Pointwise.Contiguous(Reducing.Converted(indices, DType.Int64));
            var from = index.Pointer<long>();
            var count = (nint)index.Count;
            if (ignore is not { } ignored)
            {
                var outside = Kernels.Indexing.FirstOutside(count, from, n);
                return outside < 0 ? index : throw Outside(outside);
            }
            var mapped = Tensor.Allocate(DType.Int64, index.Shape);
            var to = mapped.Pointer<long>();
            for (nint i = 0; i < count; i++)
                to[i] = from[i] == ignored ? -1 : (ulong)from[i] < (ulong)n ? from[i] : throw Outside(i);
            GC.KeepAlive(index);
            return mapped;

            ShapeException Outside(nint i) => Shape.Refuse(op, n == 0 ? "there is nothing to index along an empty axis" : $"{noun} must lie in 0 … {n - 1}",
                $"{index.Pointer<long>()[i]} at {Place(indices.Shape, i)}", "Correct it");
        }

        private static string Place(Shape shape, nint position)
        {
            var place = new int[shape.Rank];
            for (var i = shape.Rank - 1; i >= 0; i--)
            {
                place[i] = (int)(position % shape[i]);
                position /= shape[i];
            }
            return Shape.Text(place);
        }
    }
}
