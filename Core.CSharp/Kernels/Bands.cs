using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>A matrix of few elements, neighbours in each row: row i has <see cref="Weights"/>[Starts[i] … Starts[i + 1]] from column <see cref="Firsts"/>[i] on.</summary>
internal sealed class Band
{
    internal required int Columns { get; init; }

    internal required int[] Firsts { get; init; }

    internal required int[] Starts { get; init; }

    internal required double[] Weights { get; init; }

    internal int Rows => Firsts.Length;

    /// <summary>The transposed matrix, of which the elements of each row must be neighbours, too.</summary>
    internal Band Transposed()
    {
        var starts = new int[Columns + 1];
        for (var i = 0; i < Rows; i++)
            for (var k = Starts[i]; k < Starts[i + 1]; k++) starts[Firsts[i] + k - Starts[i] + 1]++;
        for (var j = 0; j < Columns; j++) starts[j + 1] += starts[j];
        var (firsts, weights, filled) = (new int[Columns], new double[Weights.Length], new int[Columns]);
        for (var i = 0; i < Rows; i++)
            for (var k = Starts[i]; k < Starts[i + 1]; k++)
            {
                var j = Firsts[i] + k - Starts[i];
                if (filled[j] == 0) firsts[j] = i;
                weights[starts[j] + filled[j]++] = Weights[k];
            }
        return new() { Columns = Rows, Firsts = firsts, Starts = starts, Weights = weights };
    }
}

/// <summary>Products of a band with one axis of contiguous arrays.</summary>
internal static unsafe class Bands
{
    // Rows of the array that share what is read of the band.
    private const int Together = 8;

    /// <summary>y[o, i, :] = Σ weight[i, j]·x[o, j, :] for x [outer, columns, inner] and y [outer, rows, inner].</summary>
    internal static void Apply<T>(Band band, nint outer, nint inner, T* x, T* y) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        fixed (int* firsts = band.Firsts, starts = band.Starts)
        fixed (double* weights = band.Weights)
            Rowwise.ForRows(inner == 1 ? (outer + Together - 1) / Together : outer, band.Rows * (inner == 1 ? Together : inner), new Job<T>
            {
                Outer = outer,
                Inner = inner,
                Rows = band.Rows,
                Columns = band.Columns,
                Firsts = firsts,
                Starts = starts,
                Weights = weights,
                X = x,
                Y = y,
            });
    }

    private struct Job<T> : Rowwise.IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        internal nint Outer, Inner, Rows, Columns;
        internal int* Firsts, Starts;
        internal double* Weights;
        internal T* X, Y;

        public readonly void Run(nint first, nint end)
        {
            for (var item = first; item < end; item++)
                if (Inner > 1) Across(X + item * Columns * Inner, Y + item * Rows * Inner);
                else if (Outer - item * Together >= Together) AlongMany(X + item * Together * Columns, Y + item * Together * Rows);
                else
                    for (var row = item * Together; row < Outer; row++) Along(X + row * Columns, Y + row * Rows);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Across(T* x, T* y)
        {
            nint w = Vector512<T>.Count;
            for (nint i = 0; i < Rows; i++, y += Inner)
            {
                var from = x + Firsts[i] * Inner;
                double* weight = Weights + Starts[i], last = Weights + Starts[i + 1];
                for (nint c = 0; c < Inner; c += w)
                {
                    var sum = Vector512<T>.Zero;
                    var rest = Inner - c;
                    var at = from + c;
                    for (var k = weight; k < last; k++, at += Inner) sum = Fma(SplatVariable<T>(*k), rest < w ? Load(at, rest) : Vector512.Load(at), sum);
                    if (rest < w) Store(sum, y + c, rest);
                    else sum.Store(y + c);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Along(T* x, T* y)
        {
            for (nint i = 0; i < Rows; i++)
            {
                var at = x + Firsts[i];
                var sum = T.Zero;
                for (nint k = Starts[i]; k < Starts[i + 1]; k++, at++) sum = T.FusedMultiplyAdd(T.CreateTruncating(Weights[k]), *at, sum);
                y[i] = sum;
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void AlongMany(T* x, T* y)
        {
            nint n = Columns, m = Rows;
            for (nint i = 0; i < m; i++, y++)
            {
                var at = x + Firsts[i];
                T a = T.Zero, b = a, c = a, d = a, e = a, f = a, g = a, h = a;
                for (nint k = Starts[i]; k < Starts[i + 1]; k++, at++)
                {
                    var weight = T.CreateTruncating(Weights[k]);
                    a = T.FusedMultiplyAdd(weight, at[0], a);
                    b = T.FusedMultiplyAdd(weight, at[n], b);
                    c = T.FusedMultiplyAdd(weight, at[2 * n], c);
                    d = T.FusedMultiplyAdd(weight, at[3 * n], d);
                    e = T.FusedMultiplyAdd(weight, at[4 * n], e);
                    f = T.FusedMultiplyAdd(weight, at[5 * n], f);
                    g = T.FusedMultiplyAdd(weight, at[6 * n], g);
                    h = T.FusedMultiplyAdd(weight, at[7 * n], h);
                }
                (y[0], y[m], y[2 * m], y[3 * m]) = (a, b, c, d);
                (y[4 * m], y[5 * m], y[6 * m], y[7 * m]) = (e, f, g, h);
            }
        }
    }
}
