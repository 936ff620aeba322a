using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Running results along one axis of contiguous arrays seen as [outer, n, inner]. Each line is walked in order, so that its bits are always the
/// same; vectors lie across lines. Where the lines are rows, blocks of them are turned on the way in and on the way out.</summary>
internal static unsafe class Scans
{
    /// <summary><c>y₀ = x₀</c>, <c>yᵢ = f(yᵢ₋₁, aᵢ, xᵢ)</c>, from the last element to the first where <paramref name="reverse"/> says so.</summary>
    public static void Run<T, F>(nint outer, nint n, nint inner, T* a, T* x, T* y, bool reverse, F f) where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        if (outer * n * inner == 0) return;
        nint w = Vector512<T>.Count;
        if (inner == 1 && typeof(F) == typeof(Plus) && Avx512F.IsSupported && sizeof(T) >= 4)
        {
            Rowwise.ForRows(outer, n, new SumsKernel<T> { N = n, X = x, Y = y, Reverse = reverse, Streamed = Streaming.Pays(y, outer, n * sizeof(T)) });
            return;
        }
        if (inner == 1)
        {
            var rows = new RowsKernel<T, F> { Lines = outer, N = n, A = a, X = x, Y = y, Reverse = reverse, Streamed = Streaming.Pays(y, outer, n * sizeof(T)), Step = f };
            Rowwise.ForRows((outer + w - 1) / w, n * Math.Min(outer, w), rows);
            return;
        }
        // Memory is fast along whole rows alone; what caches hold may be cut into strips, so that every thread has some.
        bool streamed = Streaming.Pays(y, outer * n, inner * sizeof(T));
        nint width = Math.Min(inner, streamed || outer >= 8 ? MostColumns : MostColumns / 8), tiles = (inner + width - 1) / width;
        var columns = new ColumnsKernel<T, F> { N = n, Inner = inner, Width = width, Tiles = tiles, A = a, X = x, Y = y, Reverse = reverse, Streamed = streamed, Step = f };
        Rowwise.ForRows(outer * tiles, n * width, columns);
    }

    /// <summary>Columns walked side by side: the results that the next row needs stay in the first-level cache.</summary>
    private const int MostColumns = 2048;

    private struct ColumnsKernel<T, F> : Rowwise.IItems where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        public nint N, Inner, Width, Tiles;
        public T* A, X, Y;
        public bool Reverse, Streamed;
        public F Step;

        [SkipLocalsInit]
        public readonly void Run(nint first, nint end)
        {
            T* carried = stackalloc T[MostColumns];
            for (nint item = first; item < end; item++)
            {
                nint plane = item / Tiles, column = (item - plane * Tiles) * Width, k = Math.Min(Width, Inner - column);
                nint at = plane * N * Inner + column, step = Inner;
                if (Reverse)
                {
                    at += (N - 1) * Inner;
                    step = -step;
                }
                if (Streamed) Around(at, step, k, carried);
                else Walk(at, step, k);
            }
            if (Streamed) Streaming.Finish();
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Walk(nint at, nint step, nint k)
        {
            nint w = Vector512<T>.Count;
            Unsafe.CopyBlockUnaligned(Y + at, X + at, (uint)(k * sizeof(T)));
            for (nint i = 1; i < N; i++)
            {
                T* before = Y + at;
                at += step;
                T* a = A + at, x = X + at, y = Y + at;
                nint c = 0;
                for (; c + w <= k; c += w)
                    Step.Invoke(Vector512.Load(before + c), Vector512.Load(a + c), Vector512.Load(x + c)).Store(y + c);
                if (c < k) Lanes.Store(Step.Invoke(Lanes.Load(before + c, k - c), Lanes.Load(a + c, k - c), Lanes.Load(x + c, k - c)), y + c, k - c);
            }
        }

        /// <summary>The same with results in whole cache lines written around the caches; the row before is kept apart.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Around(nint at, nint step, nint k, T* carried)
        {
            nint w = Vector512<T>.Count;
            Unsafe.CopyBlockUnaligned(Y + at, X + at, (uint)(k * sizeof(T)));
            Unsafe.CopyBlockUnaligned(carried, X + at, (uint)(k * sizeof(T)));
            for (nint i = 1; i < N; i++)
            {
                at += step;
                T* a = A + at, x = X + at, y = Y + at;
                for (nint c = 0; c < k; c += w)
                {
                    var v = Step.Invoke(Vector512.Load(carried + c), Vector512.Load(a + c), Vector512.Load(x + c));
                    v.Store(carried + c);
                    v.StoreAlignedNonTemporal(y + c);
                }
            }
        }
    }

    /// <summary>Running sums.</summary>
    internal readonly struct Plus : IMap3
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> y, Vector512<T> a, Vector512<T> x) where T : unmanaged, INumber<T> => y + x;
    }

    /// <summary>Running sums along rows: within a vector by shifts of 1, 2, 4 … lanes, then the sum of all vectors before it is added.</summary>
    private struct SumsKernel<T> : Rowwise.IItems where T : unmanaged, INumber<T>
    {
        public nint N;
        public T* X, Y;
        public bool Reverse, Streamed;

        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                if (Streamed) Walk<Streaming.Around>(X + r * N, Y + r * N, N, Reverse);
                else Walk<Streaming.Through>(X + r * N, Y + r * N, N, Reverse);
            }
            if (Streamed) Streaming.Finish();
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Walk<TStore>(T* x, T* y, nint n, bool reverse) where TStore : struct, Streaming.IStore
        {
            nint w = Vector512<T>.Count, at = reverse ? n - w : 0, step = reverse ? -w : w;
            var before = Vector512<T>.Zero;
            for (; n >= w; n -= w, at += step)
            {
                var v = reverse ? Backwards(Vector512.Load(x + at)) : Forwards(Vector512.Load(x + at));
                v += before;
                before = Everywhere(v, reverse ? 0 : (int)w - 1);
                TStore.Store(v, y + at);
            }
            if (n == 0) return;
            if (reverse) at = 0;
            var rest = Lanes.Load(x + at, n);
            Lanes.Store((reverse ? Backwards(rest) : Forwards(rest)) + before, y + at, n);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<T> Forwards(Vector512<T> v)
        {
            var zero = Vector512<T>.Zero;
            if (sizeof(T) == 4)
            {
                v += Avx512F.AlignRight32(v.AsInt32(), zero.AsInt32(), 15).As<int, T>();
                v += Avx512F.AlignRight32(v.AsInt32(), zero.AsInt32(), 14).As<int, T>();
                v += Avx512F.AlignRight32(v.AsInt32(), zero.AsInt32(), 12).As<int, T>();
                return v + Avx512F.AlignRight32(v.AsInt32(), zero.AsInt32(), 8).As<int, T>();
            }
            v += Avx512F.AlignRight64(v.AsInt64(), zero.AsInt64(), 7).As<long, T>();
            v += Avx512F.AlignRight64(v.AsInt64(), zero.AsInt64(), 6).As<long, T>();
            return v + Avx512F.AlignRight64(v.AsInt64(), zero.AsInt64(), 4).As<long, T>();
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<T> Backwards(Vector512<T> v)
        {
            var zero = Vector512<T>.Zero;
            if (sizeof(T) == 4)
            {
                v += Avx512F.AlignRight32(zero.AsInt32(), v.AsInt32(), 1).As<int, T>();
                v += Avx512F.AlignRight32(zero.AsInt32(), v.AsInt32(), 2).As<int, T>();
                v += Avx512F.AlignRight32(zero.AsInt32(), v.AsInt32(), 4).As<int, T>();
                return v + Avx512F.AlignRight32(zero.AsInt32(), v.AsInt32(), 8).As<int, T>();
            }
            v += Avx512F.AlignRight64(zero.AsInt64(), v.AsInt64(), 1).As<long, T>();
            v += Avx512F.AlignRight64(zero.AsInt64(), v.AsInt64(), 2).As<long, T>();
            return v + Avx512F.AlignRight64(zero.AsInt64(), v.AsInt64(), 4).As<long, T>();
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<T> Everywhere(Vector512<T> v, int lane) => sizeof(T) == 4
            ? Avx512F.PermuteVar16x32(v.AsInt32(), Vector512.Create(lane)).As<int, T>()
            : Avx512F.PermuteVar8x64(v.AsInt64(), Vector512.Create((long)lane)).As<long, T>();
    }

    private struct RowsKernel<T, F> : Rowwise.IItems where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        public nint Lines, N;
        public T* A, X, Y;
        public bool Reverse, Streamed;
        public F Step;

        /// <summary>The most elements of a row that are asked for at once.</summary>
        private const int LongestStretch = 1024;

        private static int Tile => Transposition.Tile;

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            nint w = Vector512<T>.Count;
            Vector512<T>* turned = stackalloc Vector512<T>[2 * Transposition.Tile];
            for (nint group = first; group < end; group++)
            {
                if (Streamed) Walk<Streaming.Around>(group * w, turned, turned + Tile);
                else Walk<Streaming.Through>(group * w, turned, turned + Tile);
            }
            if (Streamed) Streaming.Finish();
        }

        /// <summary>Memory is slow where it gives a line of each row: with each block a part of the next stretch of all these rows, or of the next ones, is asked for,
        /// row by row.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Ask(nint line, nint done, nint stretch)
        {
            if (!Sse.IsSupported) return;
            nint w = Vector512<T>.Count, start = done / stretch * stretch, next = start + stretch;
            if (next >= N)
            {
                next = 0;
                line += w;
            }
            nint asked = (done - start) * w, row = asked / stretch, at = asked - row * stretch, lines = Math.Min(w, Lines - line), step = 64 / sizeof(T);
            for (nint i = 0; i < Tile * w && row < lines; i += step)
            {
                if (next + at < N)
                {
                    nint element = (line + row) * N + (Reverse ? N - 1 - next - at : next + at);
                    Sse.Prefetch1(X + element);
                    if (A != X) Sse.Prefetch1(A + element);
                    if (!Streamed) Sse.Prefetch1(Y + element);
                }
                at += step;
                if (at < stretch) continue;
                at = 0;
                row++;
            }
        }

        /// <summary>A vector's worth of rows, a block of elements at a time.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Walk<TStore>(nint line, Vector512<T>* x, Vector512<T>* a) where TStore : struct, Streaming.IStore
        {
            nint w = Vector512<T>.Count, lines = Math.Min(w, Lines - line), at = line * N;
            nint stretches = (N + LongestStretch - 1) / LongestStretch, stretch = ((N + stretches - 1) / stretches + Tile - 1) / Tile * Tile;
            if (A == X) a = x;
            var y = Vector512<T>.Zero;
            for (nint done = 0; done < N; done += Tile)
            {
                nint k = Math.Min(Tile, N - done), from = at + (Reverse ? N - done - k : done);
                Ask(line, done, stretch);
                Transposition.Strip(k, lines, X + from, N, (T*)x, w);
                if (A != X) Transposition.Strip(k, lines, A + from, N, (T*)a, w);
                nint i = Reverse ? k - 1 : 0, step = Reverse ? -1 : 1, left = k;
                if (done == 0)
                {
                    y = x[i];
                    i += step;
                    left--;
                }
                for (; left > 0; left--, i += step)
                {
                    y = Step.Invoke(y, a[i], x[i]);
                    x[i] = y;
                }
                Transposition.Strip<T, TStore>(lines, k, (T*)x, w, Y + from, N);
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
