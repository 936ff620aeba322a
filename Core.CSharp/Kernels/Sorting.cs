using System.Buffers;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Lines of contiguous arrays seen as [outer, n, inner], put in order along the middle axis.</summary>
internal static unsafe class Sorting
{
    /// <summary><c>y = x[order]</c> along every line, equal elements in the order in which they stand; NaN counts as the largest.</summary>
    public static void Sort<T>(nint outer, nint n, nint inner, T* x, T* y, long* order, bool descending) where T : unmanaged, INumber<T>
    {
        if (n == 0) return;
        var job = new Job<T> { N = (int)n, Inner = inner, X = x, Y = y, To = order, Descending = descending, Lines = outer * inner };
        job.Size = Math.Max(Math.Max(1, 1024 / n), (job.Lines + 63) / 64);
        if (job.Lines > 0) Workers.For((int)((job.Lines + job.Size - 1) / job.Size), ref job);
    }

    private struct Job<T> : IJob where T : unmanaged, INumber<T>
    {
        public int N;
        public nint Inner, Lines, Size;
        public T* X, Y;
        public long* To;
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
                Order(keys, places, N);
                for (var i = 0; i < N; i++)
                {
                    To[start + i * Inner] = places[i];
                    Y[start + i * Inner] = X[start + (nint)places[i] * Inner];
                }
            }
            ArrayPool<long>.Shared.Return(keys);
            ArrayPool<long>.Shared.Return(places);
        }
    }

    /// <summary>The first n keys in ascending order, equal ones in that of their places.</summary>
    private static void Order(long[] keys, long[] places, int n)
    {
        Array.Sort(keys, places, 0, n);
        // The sort does not keep the order of equals, so it is restored.
        for (int i = 0, next; i < n; i = next)
        {
            for (next = i + 1; next < n && keys[next] == keys[i];) next++;
            if (next - i > 1) Array.Sort(places, i, next - i);
        }
    }

    /// <summary>The first k elements of every line as <see cref="Sort"/> would put them, [outer, k, inner], without putting the others in order.</summary>
    public static void Top<T>(nint outer, nint n, nint inner, nint k, T* x, T* y, long* order, bool descending) where T : unmanaged, INumber<T>
    {
        if (k == 0) return;
        var job = new TopJob<T> { N = n, K = (int)k, Inner = inner, X = x, Y = y, To = order, Descending = descending, Lines = outer * inner };
        job.Size = Math.Max(Math.Max(1, 8192 / n), (job.Lines + 63) / 64);
        if (job.Lines > 0) Workers.For((int)((job.Lines + job.Size - 1) / job.Size), ref job);
    }

    private struct TopJob<T> : IJob where T : unmanaged, INumber<T>
    {
        public nint N, Inner, Lines, Size;
        public int K;
        public T* X, Y;
        public long* To;
        public bool Descending;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            var (keys, places) = (ArrayPool<long>.Shared.Rent(K), ArrayPool<long>.Shared.Rent(K));
            var end = Math.Min(Lines, (chunk + 1) * Size);
            for (var line = chunk * Size; line < end; line++)
            {
                T* x = X + line / Inner * N * Inner + line % Inner;
                for (var i = 0; i < K; i++) (keys[i], places[i]) = (Key(x[i * Inner]), i);
                // A heap whose root is the last of the chosen: what does not come before it is passed over.
                for (var i = K / 2 - 1; i >= 0; i--) Sink(keys, places, i, K);
                nint from = K;
                if (Inner == 1)
                    for (nint width = Vector512<T>.Count; from + width <= N; from += width)
                    {
                        // NaN is in no order with others, so it goes on to its key.
                        var (values, last) = (Vector512.Load(x + from), Vector512.Create(x[places[0]]));
                        var passed = Descending ? Vector512.LessThanOrEqual(values, last) : Vector512.GreaterThanOrEqual(values, last);
                        for (var left = ~passed.ExtractMostSignificantBits() & (ulong)((1L << (int)width) - 1); left != 0; left &= left - 1)
                            Offer(keys, places, x, from + BitOperations.TrailingZeroCount(left));
                    }
                for (; from < N; from++) Offer(keys, places, x, from);
                Order(keys, places, K);
                var to = line / Inner * K * Inner + line % Inner;
                for (var i = 0; i < K; i++)
                {
                    To[to + i * Inner] = places[i];
                    Y[to + i * Inner] = x[(nint)places[i] * Inner];
                }
            }
            ArrayPool<long>.Shared.Return(keys);
            ArrayPool<long>.Shared.Return(places);
        }

        /// <summary>Takes the i-th element in place of the heap's root, if it comes before that; an equal one comes later, for it stands behind.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Offer(long[] keys, long[] places, T* x, nint i)
        {
            var key = Key(x[i * Inner]);
            if (key >= keys[0]) return;
            (keys[0], places[0]) = (key, i);
            Sink(keys, places, 0, K);
        }

        private readonly long Key(T value) => Descending ? ~Rank(value) : Rank(value);

        /// <summary>Restores the heap, whose every element comes after its two children, from the i-th element down.</summary>
        private static void Sink(long[] keys, long[] places, int i, int n)
        {
            var (key, place) = (keys[i], places[i]);
            for (int child; (child = 2 * i + 1) < n; i = child)
            {
                if (child + 1 < n && After(keys[child + 1], places[child + 1], keys[child], places[child])) child++;
                if (After(key, place, keys[child], places[child])) break;
                (keys[i], places[i]) = (keys[child], places[child]);
            }
            (keys[i], places[i]) = (key, place);
        }

        private static bool After(long key, long place, long other, long otherPlace) => key > other || (key == other && place > otherPlace);
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
