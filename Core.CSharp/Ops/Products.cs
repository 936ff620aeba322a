using System.Numerics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>The matrix product by NumPy's rule: C[…, m, n] = A[…, m, k]·B[…, k, n]; a 1-d operand is a row or a column, leading axes broadcast.</summary>
        public Tensor Matmul(Tensor b)
        {
            var shape = Shape.Matmul("matmul", Shape, b.Shape);
            var x = Rank == 1 ? Reshape(1, Shape[0]) : this;
            var y = b.Rank == 1 ? b.Reshape(b.Shape[0], 1) : b;
            // One matrix for a whole batch is a taller product: no broadcast, and its gradient needs no sum.
            if (y.Rank == 2 && x.Rank > 2) x = x.Reshape(-1, x.Shape[-1]);
            else if (x.Rank != y.Rank || x.Rank > 2)
            {
                var batch = Shape.Broadcast("matmul", Shape.Of(x.Shape.Sizes[..^2]), Shape.Of(y.Shape.Sizes[..^2]));
                x = x.Expand([.. batch.Sizes, x.Shape[-2], x.Shape[-1]]);
                y = y.Expand([.. batch.Sizes, y.Shape[-2], y.Shape[-1]]);
            }
            var product = Products.Matmul.Call(x, y);
            return product.Shape == shape ? product : product.Reshape([.. shape.Sizes]);
        }

        /// <summary>y = activation(x·w + b) in one pass: x [.., in], w [in, out], b [out] or null → [.., out].</summary>
        public static Tensor Linear(Tensor x, Tensor w, Tensor? b = null, Activation activation = Activation.None)
        {
            var op = Products.Linear(activation);
            if (x.Rank == 2) return b is null ? op.Call(x, w) : op.Call(x, w, b);
            if (x.Rank == 0) throw Shape.Refuse("linear", "the input needs a feature axis", x.Describe(), "Reshape it");
            var rows = x.Reshape(-1, x.Shape[-1]);
            var y = b is null ? op.Call(rows, w) : op.Call(rows, w, b);
            return y.Reshape([.. x.Shape.Sizes[..^1], w.Shape[-1]]);
        }

        /// <summary>Sums of products over <paramref name="axes"/> of this tensor and <paramref name="others"/> of b, paired in order; what remains of this tensor's axes
        /// comes first. For other orders see <see cref="Einsum"/>.</summary>
        public Tensor TensorDot(Tensor b, int[] axes, int[] others)
        {
            int[] mine = [.. axes.Select(a => Shape.Axis("tensorDot", a))], theirs = [.. others.Select(a => b.Shape.Axis("tensorDot", a))];
            if (mine.Distinct().Count() != mine.Length || theirs.Distinct().Count() != theirs.Length
                || !mine.Select(a => Shape[a]).SequenceEqual(theirs.Select(a => b.Shape[a])))
                throw Shape.Refuse("tensorDot", "each axis needs a partner of its size", $"axes {Shape.Text(axes)} of {Shape} and {Shape.Text(others)} of {b.Shape}", "Name as many axes of both, each once");
            int[] rows = [.. Enumerable.Range(0, Rank).Except(mine)], columns = [.. Enumerable.Range(0, b.Rank).Except(theirs)];
            int[] outer = [.. rows.Select(a => Shape[a])], inner = [.. columns.Select(a => b.Shape[a])];
            var (m, k, n) = (outer.Aggregate(1, (p, q) => p * q), mine.Aggregate(1, (p, a) => p * Shape[a]), inner.Aggregate(1, (p, q) => p * q));
            return Permute([.. rows, .. mine]).Reshape(m, k).Matmul(b.Permute([.. theirs, .. columns]).Reshape(k, n)).Reshape([.. outer, .. inner]);
        }

        /// <summary>All products of two vectors' elements: C[i, j] = a[i]·b[j].</summary>
        public Tensor Outer(Tensor b)
        {
            if (Rank != 1 || b.Rank != 1) throw Shape.Refuse("outer", "both operands must be vectors", $"{Shape} and {b.Shape}", "Flatten them");
            return Reshape(-1, 1).Matmul(b.Reshape(1, -1));
        }

        /// <summary>The inner product of two vectors.</summary>
        public Tensor Dot(Tensor b)
        {
            if (Rank != 1 || b.Rank != 1) throw Shape.Refuse("dot", "both operands must be vectors", $"{Shape} and {b.Shape}", "Flatten them");
            return Matmul(b);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Matrix products.</summary>
    public static unsafe class Products
    {
        /// <summary>C[…, m, n] = A[…, m, k]·B[…, k, n] with equal leading axes.</summary>
        public static readonly Op Matmul = new()
        {
            Name = "matmul",
            Batching = new Batching.By(static (op, x, mapped, examples) =>
            {
                // One right matrix for all: the examples' rows make one product.
                if (mapped[1] || x[1].Rank != 2) return op.Apply(Vmapping.Expanded(x, mapped, examples));
                var (m, k, n) = (x[0].Shape[1], x[0].Shape[2], x[1].Shape[1]);
                return [op.Call(x[0].Reshape(examples * m, k), x[1]).Reshape(examples, m, n)];
            }),
            Shape = static x =>
            {
                var (a, b) = (x[0], x[1]);
                Shape.Float("matmul", a);
                Shape.SameDType("matmul", a, b);
                var shape = Shape.Matmul("matmul", a.Shape, b.Shape);
                if (a.Rank < 2 || a.Rank != b.Rank || shape.Rank != a.Rank)
                    throw Shape.Refuse("matmul", "operands must be matrices or equal batches of them", $"{a.Shape} and {b.Shape}", "Use Tensor.Matmul, which broadcasts");
                return [new(a.DType, shape)];
            },
            Forward = new Forward.Into(static (x, y) => Multiply(x[0], x[1], y[0], accumulate: false)),
            Flop = static (x, y) => 2 * y[0].Shape.Count * x[0].Shape[-1],
            Vjp = static (x, _, g, i) => i == 0 ? Matmul!.Call(g[0], x[1].T) : Matmul!.Call(x[0].T, g[0]),
            VjpInto = static (x, _, g, dx) =>
            {
                if (dx[0] is { } a) Multiply(g[0], x[1], a.Open(out var accumulate), accumulate, turnB: true);
                if (dx[1] is { } b) Multiply(x[0], g[0], b.Open(out var accumulate), accumulate, turnA: true);
            },
            Jvp = static (x, _, dx) =>
            {
                var a = dx[0] is null ? null : Matmul!.Call(dx[0]!, x[1]);
                var b = dx[1] is null ? null : Matmul!.Call(x[0], dx[1]!);
                return [a is null ? b! : b is null ? a : a + b];
            },
            Reads = Reads.Inputs,
            Sample = static draw =>
            {
                var batch = draw.Shape(0, 1);
                var (m, k, n) = (draw.Axis(), draw.Axis(), draw.Axis());
                return new(Matmul!, draw.Tensor(Shape.Of([.. batch.Sizes, m, k])), draw.Tensor(Shape.Of([.. batch.Sizes, k, n])));
            },
        };

        private static readonly Op[] Linears = Array.ConvertAll(Enum.GetValues<Activation>(), MakeLinear);

        /// <summary>y = activation(x·w + b) for x [rows, in], w [in, out] and, where given, b [out].</summary>
        public static Op Linear(Activation activation) => Enum.IsDefined(activation) ? Linears[(int)activation]
            : throw Shape.Refuse("linear", "an activation is needed", $"{activation}", "Choose one of Activation's values");

        /// <summary>The exemplar of <see cref="Linear(Activation)"/>.</summary>
        public static readonly Op LinearExample = Linear(Activation.None) with { };

        private static Op MakeLinear(Activation activation) => new()
        {
            Name = "linear",
            Batching = Batching.Folded,
            Shape = static x =>
            {
                Shape.Float("linear", x[0]);
                Shape.SameDType("linear", x[0], x[1]);
                if (x[0].Rank != 2 || x[1].Rank != 2 || x[0].Shape[1] != x[1].Shape[0])
                    throw Shape.Refuse("linear", "the input's features must be the weight's rows", $"{x[0].Shape} and weight {x[1].Shape}", "Transpose or reshape one of them");
                if (x.Length > 2)
                {
                    Shape.SameDType("linear", x[0], x[2]);
                    if (x[2].Rank != 1 || x[2].Shape[0] != x[1].Shape[1])
                        throw Shape.Refuse("linear", "the bias must have one value per output", $"weight {x[1].Shape} and bias {x[2].Shape}", "Correct the bias");
                }
                return [new(x[0].DType, Shape.Of(x[0].Shape[0], x[1].Shape[1]))];
            },
            Forward = new Forward.Into((x, y) => Affine(x[0], x[1], x.Length > 2 ? x[2] : null, y[0], activation)),
            Flop = static (x, y) => 2 * y[0].Shape.Count * x[0].Shape[1],
            Vjp = (x, y, g, i) =>
            {
                var pre = Activations.Backward(activation, y[0], g[0]);
                return i switch
                {
                    0 => Matmul!.Call(pre, x[1].T),
                    1 => Matmul!.Call(x[0].T, pre),
                    _ => pre.Sum(0),
                };
            },
            VjpInto = (x, y, g, dx) =>
            {
                var pre = activation == Activation.None ? g[0] : Activations.BackwardPlain(activation, y[0], g[0]);
                if (dx[0] is { } a) Multiply(pre, x[1], a.Open(out var accumulate), accumulate, turnB: true);
                if (dx[1] is { } w) Multiply(x[0], pre, w.Open(out var accumulate), accumulate, turnA: true);
                if (x.Length > 2 && dx[2] is { } b) ColumnSums(pre, b.Open(out var accumulate), accumulate);
            },
            Reads = activation == Activation.None ? Reads.Inputs : Reads.All,
            Sample = static draw =>
            {
                var (m, k, n) = (draw.Axis(), draw.Axis(), draw.Axis());
                var drawn = draw.OneOf(Enum.GetValues<Activation>());
                for (var attempt = 0; ; attempt++)
                {
                    var (x, w) = (draw.Tensor(Shape.Of(m, k)), draw.Tensor(Shape.Of(k, n)));
                    Tensor[] inputs = draw.Chance(0.25) ? [x, w] : [x, w, draw.Tensor(Shape.Of(n))];
                    // The kink of relu must stay away from every sum.
                    if (drawn == Activation.Relu && Array.Exists(Linear(Activation.None).Call(inputs).ToDoubles(), v => Math.Abs(v) < 0.1))
                    {
                        if (attempt == 20) drawn = Activation.Tanh;
                        continue;
                    }
                    return new(Linear(drawn), inputs) { Attributes = $"activation={drawn}{(inputs.Length == 2 ? ", no bias" : "")}" };
                }
            },
        };

        // ---- on plain tensors ----

        /// <summary>c (+)= a·b, matrix by matrix, or with aᵀ or bᵀ in their place; a and b may be any views.</summary>
        private static void Multiply(Tensor a, Tensor b, Tensor c, bool accumulate, bool turnA = false, bool turnB = false)
        {
            if (c.DType == DType.Float32) Multiply<float>(a, b, c, accumulate, turnA, turnB);
            else Multiply<double>(a, b, c, accumulate, turnA, turnB);
            GC.KeepAlive(a);
            GC.KeepAlive(b);
        }

        private static void Multiply<T>(Tensor a, Tensor b, Tensor c, bool accumulate, bool turnA, bool turnB) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            if (c.Count == 0) return;
            nint m = c.Shape[-2], k = a.Shape[turnA ? -2 : -1], n = c.Shape[-1];
            var (aRow, aColumn, bRow, bColumn, cRow) = (a.Strides[^2], a.Strides[^1], b.Strides[^2], b.Strides[^1], c.Strides[^2]);
            if (turnA) (aRow, aColumn) = (aColumn, aRow);
            if (turnB) (bRow, bColumn) = (bColumn, bRow);
            if (c.Rank == 2)
            {
                Gemm<T>.Run(m, n, k, a.Pointer<T>(), aRow, aColumn, b.Pointer<T>(), bRow, bColumn, c.Pointer<T>(), cRow, accumulate, default);
                return;
            }
            var batch = (int)(c.Count / (m * n));
            // Three offsets per matrix, in scratch when they are many.
            var offsets = batch <= 256 ? stackalloc nint[3 * batch] : new nint[3 * batch];
            fixed (nint* first = offsets)
            {
                Offsets(a, first, batch);
                Offsets(b, first + batch, batch);
                Offsets(c, first + 2 * batch, batch);
                Gemm<T>.RunBatch(batch, first, first + batch, first + 2 * batch, m, n, k, a.Pointer<T>(), aRow, aColumn, b.Pointer<T>(), bRow, bColumn, c.Pointer<T>(), cRow, accumulate);
            }
        }

        /// <summary>Where each matrix of a batch starts, relative to the first.</summary>
        internal static void Offsets(Tensor x, nint* offsets, int batch)
        {
            for (var matrix = 0; matrix < batch; matrix++)
            {
                nint offset = 0;
                var rest = matrix;
                for (var axis = x.Rank - 3; axis >= 0; axis--)
                {
                    offset += rest % x.Shape[axis] * x.Strides[axis];
                    rest /= x.Shape[axis];
                }
                offsets[matrix] = offset;
            }
        }

        /// <summary>y = activation(x·w + b)</summary>
        private static void Affine(Tensor x, Tensor w, Tensor? b, Tensor y, Activation activation)
        {
            if (y.DType == DType.Float32) Affine<float>(x, w, b, y, activation);
            else Affine<double>(x, w, b, y, activation);
            if (activation is Activation.Tanh or Activation.Sigmoid) Activations.ApplyPlain(activation, y);
            GC.KeepAlive(x);
            GC.KeepAlive(w);
            GC.KeepAlive(b);
        }

        private static void Affine<T>(Tensor x, Tensor w, Tensor? b, Tensor y, Activation activation) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var bias = b is null || b.Count == 0 ? null : Pointwise.Contiguous(b);
            var end = new Epilogue<T> { Bias = bias is null ? null : bias.Pointer<T>(), Relu = activation == Activation.Relu };
            Gemm<T>.Run(x.Shape[0], w.Shape[1], x.Shape[1], x.Pointer<T>(), x.Strides[0], x.Strides[1], w.Pointer<T>(), w.Strides[0], w.Strides[1], y.Pointer<T>(), y.Strides[0], false, in end);
            GC.KeepAlive(bias);
        }

        /// <summary>y (+)= the sum of x's rows</summary>
        private static void ColumnSums(Tensor x, Tensor y, bool accumulate)
        {
            var walks = Reduced.Of(x.Shape.Sizes, x.Strides, 1);
            if (x.DType == DType.Float32) Functional.Kernels.Reductions.Sum(in walks, x.Pointer<float>(), y.Pointer<float>(), accumulate);
            else Functional.Kernels.Reductions.Sum(in walks, x.Pointer<double>(), y.Pointer<double>(), accumulate);
            GC.KeepAlive(x);
        }
    }
}
