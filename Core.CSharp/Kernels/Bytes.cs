using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Rows of bytes – pixels – on their way to floats.</summary>
internal static unsafe class Bytes
{
    /// <summary>y[i, j] = x[rows[i], j]·scale[j] + shift[j]; with <paramref name="one"/> scale and shift are one number each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Convert(byte* x, int* rows, nint count, nint width, float* y, float* scale, float* shift, bool one)
    {
        var (s, t) = (Vector512.Create(scale[0]), Vector512.Create(shift[0]));
        for (nint i = 0; i < count; i++)
        {
            var row = x + rows[i] * width;
            nint j = 0;
            for (; j <= width - 16; j += 16)
            {
                if (!one) (s, t) = (Vector512.Load(scale + j), Vector512.Load(shift + j));
                Vector512.Store(Vector512.FusedMultiplyAdd(Widen(row + j), s, t), y + j);
            }
            for (; j < width; j++) y[j] = float.FusedMultiplyAdd(row[j], scale[one ? 0 : j], shift[one ? 0 : j]);
            y += width;
        }
    }

    /// <summary>Sixteen bytes as floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Widen(byte* p) => Vector512.ConvertToSingle(Integers(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Integers(byte* p)
    {
        var (low, high) = Vector128.Widen(Vector128.Load(p));
        var (a, b) = Vector128.Widen(low);
        var (c, d) = Vector128.Widen(high);
        return Vector512.Create(Vector256.Create(a, b), Vector256.Create(c, d)).AsInt32();
    }

    /// <summary>Adds each column's sum and sum of squares over the rows: exact, in integers.</summary>
    internal static void AddMoments(byte* x, int* rows, nint count, nint width, ulong* sum, ulong* squares)
    {
        const int columns = 256;
        // 65,000 squares of a byte fit 32 bits.
        const int block = 65_000;
        var a = stackalloc uint[columns];
        var b = stackalloc uint[columns];
        for (nint from = 0; from < count; from += block)
            for (nint first = 0; first < width; first += columns)
            {
                var n = Math.Min(columns, width - first);
                new Span<uint>(a, columns).Clear();
                new Span<uint>(b, columns).Clear();
                for (var i = from; i < Math.Min(count, from + block); i++) Add(x + rows[i] * width + first, n, a, b);
                for (nint j = 0; j < n; j++)
                {
                    sum[first + j] += a[j];
                    squares[first + j] += b[j];
                }
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(byte* row, nint n, uint* a, uint* b)
    {
        nint j = 0;
        for (; j <= n - 16; j += 16)
        {
            var v = Integers(row + j).AsUInt32();
            Vector512.Store(Vector512.Load(a + j) + v, a + j);
            Vector512.Store(Vector512.Load(b + j) + v * v, b + j);
        }
        for (; j < n; j++)
        {
            a[j] += row[j];
            b[j] += (uint)row[j] * row[j];
        }
    }
}
