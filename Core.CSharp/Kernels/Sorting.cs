using System.Buffers;
using System.Numerics;

namespace Functional.Kernels;

/// <summary>Lines of contiguous arrays seen as [outer, n, inner], put in order along the middle axis.</summary>
internal static unsafe class Sorting
{
    /// <summary><c>y = x[order]</c> along every line, equal elements in the order in which they stand; NaN counts as the largest.</summary>
    public static void Sort<T>(nint outer, nint n, nint inner, T* x, T* y, long* order, bool descending) where T : unmanaged, INumber<T>
    {
        if (n == 0) return;
        var job = new Job<T> { N = (int)n, Inner = inner, X = x, Y = y, Order = order, Descending = descending, Lines = outer * inner };
        job.Size = Math.Max(Math.Max(1, 1024 / n), (job.Lines + 63) / 64);
        if (job.Lines > 0) Workers.For((int)((job.Lines + job.Size - 1) / job.Size), ref job);
    }

    private struct Job<T> : IJob where T : unmanaged, INumber<T>
    {
        public int N;
        public nint Inner, Lines, Size;
        public T* X, Y;
        public long* Order;
        public bool Descending;

        public readonly void Run(int chunk)
        {
            var (keys, places) = (ArrayPool<long>.Shared.Rent(N), ArrayPool<long>.Shared.Rent(N));
            var end = Math.Min(Lines, (chunk + 1) * Size);
            for (var line = chunk * Size; line < end; line++)
            {
                var start = line / Inner * N * Inner + line % Inner;
                for (var i = 0; i < N; i++)
                {
                    var key = Rank(X[start + i * Inner]);
                    keys[i] = Descending ? ~key : key;
                    places[i] = i;
                }
                Array.Sort(keys, places, 0, N);
                // The sort does not keep the order of equals, so it is restored.
                for (int i = 0, next; i < N; i = next)
                {
                    for (next = i + 1; next < N && keys[next] == keys[i];) next++;
                    if (next - i > 1) Array.Sort(places, i, next - i);
                }
                for (var i = 0; i < N; i++)
                {
                    Order[start + i * Inner] = places[i];
                    Y[start + i * Inner] = X[start + (nint)places[i] * Inner];
                }
            }
            ArrayPool<long>.Shared.Return(keys);
            ArrayPool<long>.Shared.Return(places);
        }
    }

    // Integers in the order of the numbers: the bits of a float read as a sign and a magnitude.
    private static long Rank<T>(T value) where T : unmanaged, INumber<T>
    {
        if (typeof(T) != typeof(float) && typeof(T) != typeof(double)) return long.CreateTruncating(value);
        if (T.IsNaN(value)) return long.MaxValue;
        // −0 + 0 is 0.
        var bits = BitConverter.DoubleToInt64Bits(double.CreateTruncating(value) + 0.0);
        return bits ^ ((bits >> 63) & long.MaxValue);
    }

    /// <summary>For each value how many of the n ascending edges lie below it or, to the right, do not lie above it.</summary>
    public static void Search<T>(nint n, T* edges, nint count, T* values, long* y, bool right) where T : unmanaged, INumber<T>
    {
        for (nint i = 0; i < count; i++)
        {
            nint low = 0, high = n;
            while (low < high)
            {
                var middle = low + (high - low) / 2;
                if (right ? !(values[i] < edges[middle]) : edges[middle] < values[i] || T.IsNaN(values[i])) low = middle + 1;
                else high = middle;
            }
            y[i] = low;
        }
    }
}
