using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Running results along one axis of contiguous arrays seen as [outer, n, inner]: the lines lie side by side in vectors and are shared
/// out among threads; each is walked in order, so that its bits are always the same.</summary>
internal static unsafe class Scans
{
    /// <summary><c>y₀ = x₀</c>, <c>yᵢ = f(yᵢ₋₁, aᵢ, xᵢ)</c>, from the last element to the first where <paramref name="reverse"/> says so.</summary>
    public static void Run<T, F>(nint outer, nint n, nint inner, T* a, T* x, T* y, bool reverse, F f) where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        if (outer * n * inner == 0) return;
        var width = Vector512<T>.Count;
        nint tiles = (inner + width - 1) / width;
        var job = new Job<T, F> { N = n, Inner = inner, Tiles = tiles, Lines = outer * tiles, A = a, X = x, Y = y, Reverse = reverse, Step = f };
        job.Size = Math.Max(1, Math.Max(Loops.Chunk / (n * Math.Min(inner, width)), (job.Lines + 63) / 64));
        var chunks = (job.Lines + job.Size - 1) / job.Size;
        if (chunks == 1) job.Run(0);
        else Workers.For((int)chunks, ref job);
    }

    private struct Job<T, F> : IJob where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        public nint N, Inner, Tiles, Lines, Size;
        public T* A, X, Y;
        public bool Reverse;
        public F Step;

        public readonly void Run(int chunk)
        {
            var end = Math.Min(Lines, (chunk + 1) * Size);
            for (var line = chunk * Size; line < end; line++)
            {
                var outer = line / Tiles;
                var column = (line - outer * Tiles) * Vector512<T>.Count;
                var at = outer * N * Inner + column;
                var width = Math.Min(Vector512<T>.Count, Inner - column);
                if (Reverse) Walk(at + (N - 1) * Inner, -Inner, width);
                else Walk(at, Inner, width);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Walk(nint at, nint step, nint width)
        {
            var y = Lanes.Load(X + at, width);
            Lanes.Store(y, Y + at, width);
            for (nint i = 1; i < N; i++)
            {
                at += step;
                y = Step.Invoke(y, Lanes.Load(A + at, width), Lanes.Load(X + at, width));
                Lanes.Store(y, Y + at, width);
            }
        }
    }

    /// <summary>The largest element so far, or the smallest, and where it first stood; NaN stays from where it first appears.</summary>
    public static void Extreme<T>(nint outer, nint n, nint inner, T* x, T* y, long* places, bool largest) where T : unmanaged, INumber<T>
    {
        for (nint line = 0; line < outer * inner; line++)
        {
            var at = line / inner * n * inner + line % inner;
            long place = 0;
            for (nint i = 0; i < n; i++, at += inner)
            {
                T best = i == 0 ? x[at] : y[at - inner], next = x[at];
                var better = !T.IsNaN(best) && (T.IsNaN(next) || (largest ? next > best : next < best));
                if (better) place = i;
                y[at] = better ? next : best;
                places[at] = place;
            }
        }
    }
}
