using System.Numerics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    // Recurrent networks over whole sequences x [N, T, F] with weights wx [F, G·H], wh [H, G·H] and biases bx, bh [G·H], one block of H columns per gate.
    // A first state that is not given is zero. With lengths [N], an example's state stays as it is after its last step.
    public sealed partial class Tensor
    {
        /// <summary>h′ = tanh(x·wx + bx + h·wh + bh): all states [N, T, H] (Elman 1990).</summary>
        public static Tensor Rnn(Tensor x, Tensor wx, Tensor wh, Tensor bx, Tensor bh, Tensor? h0 = null, Tensor? lengths = null) =>
            Recurrences.Run(Recurrences.Simple, "rnn", 1, x, wx, wh, bx, bh, h0, null, lengths)[0];

        /// <summary>Long short-term memory with gates in the order input, forget, cell, output: all states and all cells, [N, T, H] each
        /// (Hochreiter &amp; Schmidhuber 1997).</summary>
        public static (Tensor States, Tensor Cells) Lstm(Tensor x, Tensor wx, Tensor wh, Tensor bx, Tensor bh, Tensor? h0 = null, Tensor? c0 = null, Tensor? lengths = null)
        {
            var y = Recurrences.Run(Recurrences.LongShortTerm, "lstm", 4, x, wx, wh, bx, bh, h0, c0, lengths, withCells: true);
            return (y[0], y[1]);
        }

        /// <summary>The gated recurrent unit with gates in the order reset, update, new; the reset gate applies after the product with wh: all states [N, T, H]
        /// (Cho et al. 2014).</summary>
        public static Tensor Gru(Tensor x, Tensor wx, Tensor wh, Tensor bx, Tensor bh, Tensor? h0 = null, Tensor? lengths = null) =>
            Recurrences.Run(Recurrences.Gated, "gru", 3, x, wx, wh, bx, bh, h0, null, lengths)[0];
    }
}

namespace Functional.Ops
{
    /// <summary>Recurrent networks: one operation for a whole sequence. Inputs x, wx, wh, bx, bh, h0, for an LSTM c0, and lengths where there are some;
    /// outputs the states and what the backward pass reads: an LSTM's cells and gates, a GRU's gates and hidden products.</summary>
    public static unsafe class Recurrences
    {
        public static readonly Op Simple = Make("rnn", Cell.Simple);

        public static readonly Op LongShortTerm = Make("lstm", Cell.Lstm);

        public static readonly Op Gated = Make("gru", Cell.Gru);

        private const int X = 0, Wx = 1, Wh = 2, Bx = 3, Bh = 4, H0 = 5, C0 = 6;

        internal static Tensor[] Run(Op op, string name, int gates, Tensor x, Tensor wx, Tensor wh, Tensor bx, Tensor bh, Tensor? h0, Tensor? c0, Tensor? lengths, bool withCells = false)
        {
            if (x.Rank != 3) throw Shape.Refuse(name, "the input must be [N, T, F]", x.Shape.ToString(), "Reshape it; a single sequence is a batch of one");
            if (wh.Rank != 2 || wh.Shape[1] != gates * wh.Shape[0])
                throw Shape.Refuse(name, $"the hidden weight must be [H, {gates}·H]", wh.Shape.ToString(), "Correct it");
            var first = Shape.Of(x.Shape[0], wh.Shape[0]);
            var inputs = new List<Tensor> { x, wx, wh, bx, bh, h0 ?? Tensor.Zeros(first, x.DType) };
            if (withCells) inputs.Add(c0 ?? Tensor.Zeros(first, x.DType));
            if (lengths is not null) inputs.Add(lengths);
            return op.Apply([.. inputs]);
        }

        private static int FloatInputs(Cell cell) => cell == Cell.Lstm ? 7 : 6;

        private static Op Make(string name, Cell cell)
        {
            var gates = cell switch { Cell.Lstm => 4, Cell.Gru => 3, _ => 1 };
            Op? op = null;
            return op = new()
            {
                Name = name,
                Shape = x => Check(name, cell, gates, x),
                Forward = new Forward.Into((x, y) =>
                {
                    if (y[0].DType == DType.Float32) Forward<float>(name, cell, x, y);
                    else Forward<double>(name, cell, x, y);
                }),
                Flop = static (x, _) => 2L * x[X].Shape[0] * x[X].Shape[1] * (x[Wx].Shape.Count + x[Wh].Shape.Count),
                // The steps written out in tensor operations: differentiable to any order.
                Vjp = (x, y, g, i) =>
                {
                    var floats = FloatInputs(cell);
                    if (i >= floats) return null;
                    var lengths = x.Length > floats ? x[floats] : null;
                    var (_, pullback) = Diff.Vjp(inputs => Unrolled(cell, inputs, lengths), x[..floats]);
                    return pullback(g)[i];
                },
                VjpInto = (x, y, g, dx) =>
                {
                    if (x[0].DType == DType.Float32) Backward<float>(name, cell, x, y, g, dx);
                    else Backward<double>(name, cell, x, y, g, dx);
                },
                Sample = draw =>
                {
                    var most = Math.Min(3, draw.Size);
                    // Many examples' inputs are multiplied in another place than those of few.
                    var n = draw.Chance(0.1) ? draw.Int(27, 33) : draw.Int(1, most);
                    var (t, f, h) = (draw.Int(1, most), draw.Int(1, most), draw.Int(1, most));
                    var inputs = new List<Tensor>
                    {
                        draw.Tensor(Shape.Of(n, t, f)),
                        draw.Tensor(Shape.Of(f, gates * h), -1, 1),
                        draw.Tensor(Shape.Of(h, gates * h), -1, 1),
                        draw.Tensor(Shape.Of(gates * h), -1, 1),
                        draw.Tensor(Shape.Of(gates * h), -1, 1),
                        draw.Tensor(Shape.Of(n, h), -1, 1),
                    };
                    if (cell == Cell.Lstm) inputs.Add(draw.Tensor(Shape.Of(n, h), -1, 1));
                    if (draw.Chance(0.4)) inputs.Add(draw.Integers(Shape.Of(n), 0, t, draw.OneOf(DType.Int32, DType.Int64)));
                    return new(op!, [.. inputs]);
                },
            };
        }

        private static Spec[] Check(string name, Cell cell, int gates, Tensor[] x)
        {
            var floats = FloatInputs(cell);
            for (var i = 0; i < floats; i++)
            {
                Shape.Float(name, x[i]);
                Shape.SameDType(name, x[0], x[i]);
            }
            if (x[X].Rank != 3 || x[X].Shape[1] == 0)
                throw Shape.Refuse(name, "the input must be [N, T, F] with at least one step", x[X].Shape.ToString(), "Give a sequence that is not empty");
            var (batch, steps, features) = (x[X].Shape[0], x[X].Shape[1], x[X].Shape[2]);
            var units = x[Wh].Rank == 2 ? x[Wh].Shape[0] : -1;
            Demand(Wx, "the input weight", features, gates * units);
            Demand(Wh, "the hidden weight", units, gates * units);
            Demand(Bx, "the input bias", gates * units);
            Demand(Bh, "the hidden bias", gates * units);
            Demand(H0, "the first state", batch, units);
            if (cell == Cell.Lstm) Demand(C0, "the first cell", batch, units);
            if (x.Length > floats)
            {
                Shape.Integer(name, x[floats]);
                Demand(floats, "the lengths", batch);
            }
            var dtype = x[0].DType;
            Spec states = new(dtype, Shape.Of(batch, steps, units)), all = new(dtype, Shape.Of(batch, steps, gates * units));
            return cell switch { Cell.Lstm => [states, states, all], Cell.Gru => [states, all, states], _ => [states] };

            void Demand(int input, string what, params ReadOnlySpan<int> sizes)
            {
                if (x[input].Shape != Shape.Of(Positive(sizes)))
                    throw Shape.Refuse(name, $"{what} must be {Shape.Text(sizes)} for {features} features and {units} units", x[input].Shape.ToString(), "Correct the sizes");
            }

            // A negative size stands for a weight that is no matrix; no shape equals it.
            static int[] Positive(ReadOnlySpan<int> sizes) => Array.ConvertAll(sizes.ToArray(), size => size < 0 ? int.MaxValue : size);
        }

        /// <summary>The same outputs, step by step in tensor operations.</summary>
        private static Tensor[] Unrolled(Cell cell, Tensor[] x, Tensor? lengths)
        {
            var (h, c) = (x[H0], cell == Cell.Lstm ? x[C0] : x[H0]);
            int steps = x[X].Shape[1], units = x[Wh].Shape[0];
            List<Tensor> states = [], cells = [], all = [], products = [];
            for (var t = 0; t < steps; t++)
            {
                var input = x[X].Select(1, t).Matmul(x[Wx]) + x[Bx];
                var hidden = h.Matmul(x[Wh]) + x[Bh];
                Tensor next, cellNext = c, gates, product = hidden;
                if (cell == Cell.Lstm)
                {
                    var sum = input + hidden;
                    Tensor i = Part(sum, 0).Sigmoid(), f = Part(sum, 1).Sigmoid(), g = Part(sum, 2).Tanh(), o = Part(sum, 3).Sigmoid();
                    cellNext = f * c + i * g;
                    next = o * cellNext.Tanh();
                    gates = Tensor.Concat(1, i, f, g, o);
                }
                else if (cell == Cell.Gru)
                {
                    Tensor r = (Part(input, 0) + Part(hidden, 0)).Sigmoid(), z = (Part(input, 1) + Part(hidden, 1)).Sigmoid();
                    product = Part(hidden, 2);
                    var n = (Part(input, 2) + r * product).Tanh();
                    next = n + z * (h - n);
                    gates = Tensor.Concat(1, r, z, n);
                }
                else gates = next = (input + hidden).Tanh();
                if (lengths is not null)
                {
                    var counts = lengths.Greater(t).Unsqueeze(1);
                    next = Tensor.Where(counts, next, h);
                    cellNext = Tensor.Where(counts, cellNext, c);
                    gates = Tensor.Where(counts, gates, 0);
                    product = Tensor.Where(counts, product, 0);
                }
                (h, c) = (next, cellNext);
                states.Add(h);
                cells.Add(c);
                all.Add(gates);
                products.Add(product);
            }
            var y = Tensor.Stack(1, [.. states]);
            return cell switch
            {
                Cell.Lstm => [y, Tensor.Stack(1, [.. cells]), Tensor.Stack(1, [.. all])],
                Cell.Gru => [y, Tensor.Stack(1, [.. all]), Tensor.Stack(1, [.. products])],
                _ => [y],
            };

            Tensor Part(Tensor sum, int gate) => sum.Slice(1, gate * units, (gate + 1) * units);
        }

        // ---- on plain tensors ----

        private static RecurrenceArrays<T> Arrays<T>(string name, Cell cell, Tensor[] x, Tensor[] y, List<Tensor> alive) where T : unmanaged
        {
            T* Input(int i)
            {
                var contiguous = Pointwise.Contiguous(x[i]);
                alive.Add(contiguous);
                return contiguous.Pointer<T>();
            }

            var arrays = new RecurrenceArrays<T> { X = Input(X), Wx = Input(Wx), Wh = Input(Wh), Bx = Input(Bx), Bh = Input(Bh), H0 = Input(H0), Y = y[0].Pointer<T>() };
            if (cell == Cell.Lstm)
            {
                arrays.C0 = Input(C0);
                arrays.C = y[1].Pointer<T>();
                arrays.Gates = y[2].Pointer<T>();
            }
            if (cell == Cell.Gru)
            {
                arrays.Gates = y[1].Pointer<T>();
                arrays.Hidden = y[2].Pointer<T>();
            }
            var floats = FloatInputs(cell);
            if (x.Length > floats)
            {
                // A length is one more than an index: 0 … T.
                var lengths = Indexing.Checked(name, x[floats], x[X].Shape[1] + 1, null, "lengths");
                alive.Add(lengths);
                arrays.Lengths = lengths.Pointer<long>();
            }
            return arrays;
        }

        private static void Forward<T>(string name, Cell cell, Tensor[] x, Tensor[] y) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var alive = new List<Tensor>();
            var arrays = Arrays<T>(name, cell, x, y, alive);
            Recurrence<T>.Forward(cell, x[X].Shape[0], x[X].Shape[1], x[X].Shape[2], x[Wh].Shape[0], arrays);
            GC.KeepAlive(alive);
        }

        private static void Backward<T>(string name, Cell cell, Tensor[] x, Tensor[] y, Tensor[] g, Slot?[] dx) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var alive = new List<Tensor>();
            var arrays = Arrays<T>(name, cell, x, y, alive);
            int batch = x[X].Shape[0], steps = x[X].Shape[1], features = x[X].Shape[2], units = x[Wh].Shape[0], width = x[Wh].Shape[1];
            nint rows = (nint)batch * steps;
            Tensor Fresh(int size)
            {
                var fresh = Tensor.Allocate(x[0].DType, Shape.Of(batch, steps, size));
                alive.Add(fresh);
                return fresh;
            }

            T* Cotangent(int i)
            {
                if (Normalisation.IsZero(g[i])) return null;
                var contiguous = Pointwise.Contiguous(g[i]);
                alive.Add(contiguous);
                return contiguous.Pointer<T>();
            }

            var (columns, stride) = ((int)Recurrence<T>.Columns(cell, units), (int)Recurrence<T>.Spaced(Recurrence<T>.Columns(cell, units)));
            var sums = Fresh(stride);
            var gradients = new RecurrenceGradients<T> { Y = Cotangent(0), Sums = sums.Pointer<T>(), Stride = stride };
            if (cell == Cell.Lstm)
            {
                gradients.C = Cotangent(1);
                gradients.Gates = Cotangent(2);
            }
            if (cell == Cell.Gru)
            {
                gradients.Gates = Cotangent(1);
                gradients.Hidden = Cotangent(2);
            }
            if (dx[H0] is { } first) gradients.H0 = first.Open(out gradients.AccumulateH0).Pointer<T>();
            if (cell == Cell.Lstm && dx[C0] is { } firstCell) gradients.C0 = firstCell.Open(out gradients.AccumulateC0).Pointer<T>();
            Recurrence<T>.Backward(cell, batch, steps, units, arrays, gradients);

            var all = gradients.Sums;
            if (dx[X] is { } input)
                Gemm<T>.Run(rows, features, width, all, stride, 1, arrays.Wx, 1, width, input.Open(out var add).Pointer<T>(), features, add, default);
            if (dx[Wx] is { } inputWeight)
                Gemm<T>.Run(features, width, rows, arrays.X, 1, features, all, stride, 1, inputWeight.Open(out var add).Pointer<T>(), width, add, default);
            // Of a GRU the states see another cotangent of the new gate.
            int shared = cell == Cell.Gru ? 2 * units : width, apart = width - shared;
            if (dx[Wh] is { } hiddenWeight)
            {
                var before = Fresh(units).Pointer<T>();
                Recurrence<T>.Shift(batch, steps, units, arrays.H0, arrays.Y, before);
                var target = hiddenWeight.Open(out var add).Pointer<T>();
                Gemm<T>.Run(units, shared, rows, before, 1, units, all, stride, 1, target, width, add, default);
                Gemm<T>.Run(units, apart, rows, before, 1, units, all + width, stride, 1, target + shared, width, add, default);
            }
            if (dx[Bx] is not null || dx[Bh] is not null)
            {
                var totals = stackalloc T[columns];
                var walks = Reduced.Of([(int)rows, columns], [stride, 1], 1);
                Kernels.Reductions.Sum(in walks, all, totals, accumulate: false);
                if (dx[Bx] is { } inputBias) Recurrence<T>.Deliver(totals, inputBias.Open(out var add).Pointer<T>(), width, add);
                if (dx[Bh] is { } hiddenBias)
                {
                    var target = hiddenBias.Open(out var add).Pointer<T>();
                    Recurrence<T>.Deliver(totals, target, shared, add);
                    Recurrence<T>.Deliver(totals + width, target + shared, apart, add);
                }
            }
            GC.KeepAlive(alive);
        }
    }
}
