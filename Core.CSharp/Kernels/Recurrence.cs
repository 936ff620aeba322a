using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>The cell of a recurrent network: how a state follows from the one before it.</summary>
internal enum Cell
{
    /// <summary>h′ = tanh(x·Wx + bx + h·Wh + bh) (Elman 1990).</summary>
    Simple,

    /// <summary>c′ = f·c + i·g, h′ = o·tanh c′ with i, f, o = σ, g = tanh of x·Wx + bx + h·Wh + bh (Hochreiter &amp; Schmidhuber 1997; Gers et al. 2000).</summary>
    Lstm,

    /// <summary>h′ = (1 − z)·n + z·h, n = tanh(xₙ + r·hₙ), with r, z = σ; the reset gate applies after the product (Cho et al. 2014).</summary>
    Gru,
}

/// <summary>What a recurrence reads and writes. Rows are examples; all arrays are contiguous: x [N, T, F], weights [F, G·H] and [H, G·H], states [N, T, H].</summary>
internal unsafe struct RecurrenceArrays<T> where T : unmanaged
{
    internal T* X, H0, C0, Wx, Wh, Bx, Bh;

    /// <summary>The states h, the cells c of an LSTM, the gates [N, T, G·H], and hₙ of a GRU.</summary>
    internal T* Y, C, Gates, Hidden;

    /// <summary>How many steps of each example count, or null for all: after them its state stays as it is.</summary>
    internal long* Lengths;
}

/// <summary>Cotangents of the outputs, null where there is none, and the buffers and results of the backward pass, null where not wanted.</summary>
internal unsafe struct RecurrenceGradients<T> where T : unmanaged
{
    internal T* Y, C, Gates, Hidden;

    /// <summary>The cotangents of all gates before their activation [N·T, <see cref="Recurrence{T}.Columns"/>], rows at this distance: as the inputs see them, and behind
    /// them, for a GRU, those of its new gate as the hidden states see them.</summary>
    internal T* Sums;

    internal nint Stride;

    /// <summary>Of the first state and cell; written or added to.</summary>
    internal T* H0, C0;

    internal bool AccumulateH0, AccumulateC0;
}

/// <summary>Recurrent networks over whole sequences. Each thread takes some examples through all steps, since examples do not see each other:
/// no thread waits for another.</summary>
internal static unsafe class Recurrence<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    internal static int Gates(Cell cell) => cell switch { Cell.Lstm => 4, Cell.Gru => 3, _ => 1 };

    /// <summary>Cotangents of one example and step.</summary>
    internal static nint Columns(Cell cell, nint units) => cell switch { Cell.Simple => units, _ => 4 * units };

    /// <summary>Elements from one row of gates to the next where rows may lie apart: at powers of two their columns would fall into few sets of the caches.</summary>
    internal static nint Spaced(nint columns) => (columns + Width - 1) / Width * Width + (columns / Width % 2 == 0 ? Width : 2 * Width);

    private static int Width => Vector512<T>.Count;

    private struct Sizes
    {
        internal Cell Cell;
        internal nint Batch, Steps, Units;

        internal readonly nint GateWidth => Gates(Cell) * Units;

        /// <summary>Gates that see the state through one product; the new gate of a GRU does not.</summary>
        internal readonly nint Inner => Cell == Cell.Gru ? 2 * Units : GateWidth;
    }

    // ---- forward ----

    private struct ForwardJob : IJob
    {
        internal Sizes Sizes;
        internal RecurrenceArrays<T> Arrays;
        internal T* PackedWx, PackedWh, PackedHidden, Bias;
        internal nint Features, Step;

        public readonly void Run(int chunk)
        {
            nint first = chunk * Step, rows = Math.Min(Sizes.Batch - first, Step);
            nint units = Sizes.Units, steps = Sizes.Steps, width = Sizes.GateWidth, stride = Spaced(width), stateRow = Spaced(units);
            // A step's sums and the states before it stay in the nearer caches; rows of Y and of the gates lie a whole sequence apart.
            var sums = (T*)Scratch.Get(rows * (stride + stateRow) * sizeof(T));
            var states = sums + rows * stride;
            for (nint row = 0; row < rows; row++) Copy(Arrays.H0 + (first + row) * units, states + row * stateRow, units);
            for (nint t = 0; t < steps; t++)
            {
                var start = first * steps + t;
                if (PackedWx != null)
                    Gemm<T>.RunOn(PackedWx, rows, width, Features, Arrays.X + start * Features, steps * Features, sums, stride, false, new Epilogue<T> { Bias = Bias });
                else
                    for (nint row = 0; row < rows; row++) Copy(Arrays.Gates + (start + row * steps) * width, sums + row * stride, width);
                Gemm<T>.RunOn(PackedWh, rows, Sizes.Inner, units, states, stateRow, sums, stride, true, default);
                if (Sizes.Cell == Cell.Gru)
                    Gemm<T>.RunOn(PackedHidden, rows, units, units, states, stateRow, Arrays.Hidden + start * units, steps * units, false, new Epilogue<T> { Bias = Arrays.Bh + 2 * units });
                for (nint row = 0; row < rows; row++)
                {
                    var at = start + row * steps;
                    T* h = Arrays.Y + at * units, gates = Arrays.Gates + at * width, sum = sums + row * stride, state = states + row * stateRow;
                    T* c = Arrays.C + at * units, cBefore = t == 0 ? Arrays.C0 + (first + row) * units : c - units;
                    if (Arrays.Lengths != null && t >= Arrays.Lengths[first + row])
                    {
                        if (Sizes.Cell != Cell.Simple) Clear(gates, width);
                        if (Sizes.Cell == Cell.Lstm) Copy(cBefore, c, units);
                        if (Sizes.Cell == Cell.Gru) Clear(Arrays.Hidden + at * units, units);
                    }
                    else if (Sizes.Cell == Cell.Lstm) LstmStep(sum, gates, cBefore, c, state, units);
                    else if (Sizes.Cell == Cell.Gru) GruStep(sum, gates, Arrays.Hidden + at * units, state, units);
                    else TanhStep(sum, state, units);
                    Copy(state, h, units);
                }
            }
        }
    }

    /// <summary>All states, and what the backward pass needs. The gates of a simple cell are its states.</summary>
    internal static void Forward(Cell cell, nint batch, nint steps, nint features, nint units, in RecurrenceArrays<T> arrays)
    {
        var sizes = new Sizes { Cell = cell, Batch = batch, Steps = steps, Units = units };
        var width = sizes.GateWidth;
        if (batch == 0 || steps == 0 || units == 0) return;
        var job = new ForwardJob { Sizes = sizes, Arrays = arrays, Step = RowsPerChunk(batch) };
        if (cell == Cell.Simple) job.Arrays.Gates = arrays.Y;
        var inner = sizes.Inner;
        // Many examples' inputs are multiplied when their sums are wanted, which then need no way through memory; few leave a step too little to do, and large weights
        // would be read again at each step: there one product serves all steps. The number of threads has no say, because it must not change a bit.
        var inputs = Gemm<T>.PackedSize(width, features);
        var together = batch < RowsForProduct || inputs * sizeof(T) > LargeWeights;
        if (together) inputs = 0;
        nint packed = Gemm<T>.PackedSize(inner, units), hidden = Gemm<T>.PackedSize(units, units);
        var memory = SharedScratch.Rent((packed + hidden + inputs + width) * sizeof(T));
        job.PackedWh = (T*)memory.Pointer;
        job.PackedHidden = job.PackedWh + packed;
        // Behind what was packed, all of it whole vectors.
        job.Bias = job.PackedHidden + hidden + inputs;
        for (nint i = 0; i < width; i++) job.Bias[i] = arrays.Bx[i] + (i < inner ? arrays.Bh[i] : T.Zero);
        Gemm<T>.Pack(inner, units, arrays.Wh, width, 1, job.PackedWh);
        if (cell == Cell.Gru) Gemm<T>.Pack(units, units, arrays.Wh + inner, width, 1, job.PackedHidden);
        if (together) Gemm<T>.Run(batch * steps, width, features, arrays.X, features, 1, arrays.Wx, width, 1, job.Arrays.Gates, width, false, new Epilogue<T> { Bias = job.Bias });
        else
        {
            job.PackedWx = job.PackedHidden + hidden;
            job.Features = features;
            Gemm<T>.Pack(width, features, arrays.Wx, width, 1, job.PackedWx);
        }
        Workers.For((int)((batch + job.Step - 1) / job.Step), ref job);
        SharedScratch.Return(memory);
    }

    // Two tiles of a kernel; bytes of inputs' weights that stay in a second cache beside those of the states.
    private const int RowsForProduct = 28, LargeWeights = 1 << 20;

    // On the way back the gates of the second next example are asked for: from one to the next it is a whole sequence, too far for the processor to guess.
    private const int Ahead = 2;

    /// <summary>Examples that one thread takes at a time. How many does not change a bit: a row's products do not depend on its neighbours.</summary>
    private static nint RowsPerChunk(nint batch)
    {
        nint threads = Workers.Count;
        return Math.Min((batch + threads - 1) / threads, 64);
    }

    // ---- backward through time ----

    private struct BackwardJob : IJob
    {
        internal Sizes Sizes;
        internal RecurrenceArrays<T> Arrays;
        internal RecurrenceGradients<T> Gradients;
        internal T* PackedWh;
        internal nint Step;

        public readonly void Run(int chunk)
        {
            nint first = chunk * Step, rows = Math.Min(Sizes.Batch - first, Step);
            nint units = Sizes.Units, steps = Sizes.Steps, width = Sizes.GateWidth, stride = Spaced(width), columns = Columns(Sizes.Cell, units);
            var dh = (T*)Scratch.Get((2 * units + stride) * rows * sizeof(T));
            // One step's cotangents as the states see them: the product reads them from the nearer caches.
            T* dc = dh + rows * units, sums = dc + rows * units;
            Clear(dh, 2 * rows * units);
            for (var t = steps - 1; t >= 0; t--)
            {
                for (nint row = 0; row < rows; row++)
                {
                    var at = (first + row) * steps + t;
                    T* rowH = dh + row * units, rowC = dc + row * units, sum = sums + row * stride, all = Gradients.Sums + at * Gradients.Stride;
                    if (Gradients.Y != null) Add(Gradients.Y + at * units, rowH, units);
                    if (Gradients.C != null) Add(Gradients.C + at * units, rowC, units);
                    if (Arrays.Lengths != null && t >= Arrays.Lengths[first + row])
                    {
                        // The state was passed on: so is its cotangent.
                        Clear(sum, width);
                        Clear(all, columns);
                        continue;
                    }
                    T* h = Arrays.Y + at * units, before = t == 0 ? Arrays.H0 + (first + row) * units : h - units;
                    var gates = Gradients.Gates == null ? null : Gradients.Gates + at * width;
                    if (Sizes.Cell == Cell.Lstm)
                    {
                        T* c = Arrays.C + at * units, cBefore = t == 0 ? Arrays.C0 + (first + row) * units : c - units;
                        LstmBack(Arrays.Gates + at * width, cBefore, c, gates, rowH, rowC, sum, units, Ahead * steps);
                        Copy(sum, all, width);
                    }
                    else if (Sizes.Cell == Cell.Gru)
                    {
                        GruBack(Arrays.Gates + at * width, Arrays.Hidden + at * units, before, gates, Gradients.Hidden == null ? null : Gradients.Hidden + at * units, rowH, sum, all + 2 * units, units);
                        Copy(sum, all, 2 * units);
                        Copy(sum + 2 * units, all + 3 * units, units);
                    }
                    else
                    {
                        TanhBack(h, rowH, sum, units);
                        Copy(sum, all, width);
                    }
                }
                Gemm<T>.RunOn(PackedWh, rows, units, width, sums, stride, dh, units, true, default);
            }
            if (Gradients.H0 != null) Deliver(dh, Gradients.H0 + first * units, rows * units, Gradients.AccumulateH0);
            if (Gradients.C0 != null) Deliver(dc, Gradients.C0 + first * units, rows * units, Gradients.AccumulateC0);
        }
    }

    /// <summary>The cotangents of all gates, and of the first state.</summary>
    internal static void Backward(Cell cell, nint batch, nint steps, nint units, in RecurrenceArrays<T> arrays, in RecurrenceGradients<T> gradients)
    {
        var sizes = new Sizes { Cell = cell, Batch = batch, Steps = steps, Units = units };
        var width = sizes.GateWidth;
        if (batch == 0 || steps == 0 || units == 0) return;
        var job = new BackwardJob { Sizes = sizes, Arrays = arrays, Gradients = gradients, Step = RowsPerChunk(batch) };
        var memory = SharedScratch.Rent(Gemm<T>.PackedSize(units, width) * sizeof(T));
        job.PackedWh = (T*)memory.Pointer;
        Gemm<T>.Pack(units, width, arrays.Wh, 1, width, job.PackedWh);
        Workers.For((int)((batch + job.Step - 1) / job.Step), ref job);
        SharedScratch.Return(memory);
    }

    /// <summary>before[n, t] = h0[n] at the first step, else y[n, t − 1].</summary>
    internal static void Shift(nint batch, nint steps, nint units, T* h0, T* y, T* before)
    {
        for (nint n = 0; n < batch; n++)
        {
            Copy(h0 + n * units, before + n * steps * units, units);
            Copy(y + n * steps * units, before + (n * steps + 1) * units, (steps - 1) * units);
        }
    }

    // ---- one example, one step ----

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> At(T* p, nint i, nint n) => n - i >= Width ? Vector512.Load(p + i) : Load(p + i, n - i);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(Vector512<T> v, T* p, nint i, nint n)
    {
        if (n - i >= Width) v.Store(p + i);
        else Store(v, p + i, n - i);
    }

    private static void Clear(T* x, nint n) => new Span<T>(x, (int)n).Clear();

    private static void Copy(T* from, T* to, nint n) => new Span<T>(from, (int)n).CopyTo(new Span<T>(to, (int)n));

    private static void Add(T* x, T* y, nint n) => Plain.AddScaled(T.One, x, y, n);

    /// <summary>to (+)= from</summary>
    internal static void Deliver(T* from, T* to, nint n, bool accumulate)
    {
        if (accumulate) Add(from, to, n);
        else Copy(from, to, n);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TanhStep(T* sums, T* h, nint n)
    {
        for (nint i = 0; i < n; i += Width) Put(VectorMath.Tanh(At(sums, i, n)), h, i, n);
    }

    /// <summary>The part of dh that does not pass through the gates stays in its place; here none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TanhBack(T* h, T* dh, T* gates, nint n)
    {
        for (nint i = 0; i < n; i += Width)
        {
            var v = At(h, i, n);
            Put(At(dh, i, n) * (Vector512<T>.One - v * v), gates, i, n);
            Put(Vector512<T>.Zero, dh, i, n);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LstmStep(T* sums, T* gates, T* before, T* c, T* h, nint n)
    {
        for (nint k = 0; k < n; k += Width)
        {
            var i = VectorMath.Sigmoid(At(sums, k, n));
            var f = VectorMath.Sigmoid(At(sums + n, k, n));
            var g = VectorMath.Tanh(At(sums + 2 * n, k, n));
            var o = VectorMath.Sigmoid(At(sums + 3 * n, k, n));
            var cell = Fma(f, At(before, k, n), i * g);
            Put(i, gates, k, n);
            Put(f, gates + n, k, n);
            Put(g, gates + 2 * n, k, n);
            Put(o, gates + 3 * n, k, n);
            Put(cell, c, k, n);
            Put(o * VectorMath.Tanh(cell), h, k, n);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void LstmBack(T* gates, T* before, T* c, T* cotangent, T* dh, T* dc, T* to, nint n, nint ahead)
    {
        var one = Vector512<T>.One;
        for (nint k = 0; k < n; k += Width)
        {
            if (Sse.IsSupported)
            {
                var next = gates + ahead * 4 * n + k;
                Sse.Prefetch0(next);
                Sse.Prefetch0(next + n);
                Sse.Prefetch0(next + 2 * n);
                Sse.Prefetch0(next + 3 * n);
                Sse.Prefetch0(before + ahead * n + k);
            }
            Vector512<T> i = At(gates, k, n), f = At(gates + n, k, n), g = At(gates + 2 * n, k, n), o = At(gates + 3 * n, k, n);
            var tanh = VectorMath.Tanh(At(c, k, n));
            var d = At(dh, k, n);
            var cell = Fma(d * o, one - tanh * tanh, At(dc, k, n));
            Vector512<T> di = cell * g, df = cell * At(before, k, n), dg = cell * i, dO = d * tanh;
            if (cotangent != null)
            {
                di += At(cotangent, k, n);
                df += At(cotangent + n, k, n);
                dg += At(cotangent + 2 * n, k, n);
                dO += At(cotangent + 3 * n, k, n);
            }
            Put(di * i * (one - i), to, k, n);
            Put(df * f * (one - f), to + n, k, n);
            Put(dg * (one - g * g), to + 2 * n, k, n);
            Put(dO * o * (one - o), to + 3 * n, k, n);
            Put(cell * f, dc, k, n);
            Put(Vector512<T>.Zero, dh, k, n);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GruStep(T* sums, T* gates, T* hidden, T* h, nint n)
    {
        for (nint k = 0; k < n; k += Width)
        {
            var r = VectorMath.Sigmoid(At(sums, k, n));
            var z = VectorMath.Sigmoid(At(sums + n, k, n));
            var m = VectorMath.Tanh(Fma(r, At(hidden, k, n), At(sums + 2 * n, k, n)));
            Put(r, gates, k, n);
            Put(z, gates + n, k, n);
            Put(m, gates + 2 * n, k, n);
            // n + z·(h − n) = (1 − z)·n + z·h
            Put(Fma(z, At(h, k, n) - m, m), h, k, n);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GruBack(T* gates, T* hidden, T* before, T* cotangent, T* hiddenCotangent, T* dh, T* to, T* toInput, nint n)
    {
        var one = Vector512<T>.One;
        for (nint k = 0; k < n; k += Width)
        {
            Vector512<T> r = At(gates, k, n), z = At(gates + n, k, n), m = At(gates + 2 * n, k, n), d = At(dh, k, n), product = At(hidden, k, n);
            Vector512<T> dm = d * (one - z), dz = d * (At(before, k, n) - m);
            if (cotangent != null)
            {
                dz += At(cotangent + n, k, n);
                dm += At(cotangent + 2 * n, k, n);
            }
            dm *= one - m * m;
            var dr = dm * product;
            if (cotangent != null) dr += At(cotangent, k, n);
            dr *= r * (one - r);
            dz *= z * (one - z);
            var dp = dm * r;
            if (hiddenCotangent != null) dp += At(hiddenCotangent, k, n);
            Put(dr, to, k, n);
            Put(dz, to + n, k, n);
            Put(dp, to + 2 * n, k, n);
            Put(dm, toInput, k, n);
            Put(d * z, dh, k, n);
        }
    }
}
