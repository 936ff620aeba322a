using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <content>The same along an axis that is not the last: tiles of neighbouring columns, a vector per sixteen of them.</content>
internal static unsafe partial class Rowwise
{
    private struct SoftmaxTiles<T> : IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N, Inner;
        public T* X, Y;
        public bool Logarithm;

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            T* max = stackalloc T[Columns], sum = stackalloc T[Columns];
            double* wide = stackalloc double[Columns];
            nint w = Vector512<T>.Count;
            for (nint item = first; item < end; item++)
            {
                nint at = Start(item, N, Inner, out nint k);
                T* x = X + at, y = Y + at;
                new Span<T>(max, Columns).Fill(T.NegativeInfinity);
                new Span<double>(wide, Columns).Clear();
                Reductions.FoldRows(max, x, Inner, N, k, default(Reductions.QuickMaxFold));
                Reductions.SumRows(sum, wide, x, Inner, N, k, max, default(Reductions.ShiftedExp));
                for (nint i = 0; i < k; i++)
                    sum[i] = T.CreateTruncating(Logarithm ? Math.Log(wide[i]) : 1 / wide[i]);
                for (nint r = 0; r < N; r++, x += Inner, y += Inner)
                {
                    for (nint c = 0; c < k; c += w)
                    {
                        nint m = Math.Min(w, k - c);
                        var v = Load(x + c, m) - Vector512.Load(max + c);
                        v = Logarithm ? v - Vector512.Load(sum + c) : VectorMath.Exp(v) * Vector512.Load(sum + c);
                        Store(v, y + c, m);
                    }
                }
            }
        }
    }

    private struct BackwardTiles<T> : IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N, Inner;
        public T* Y, G, Dx;
        public bool Accumulate, Logarithm;

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            nint w = Vector512<T>.Count;
            for (nint item = first; item < end; item++)
            {
                nint at = Start(item, N, Inner, out nint k);
                for (nint c = 0; c < k; c += w)
                {
                    nint m = Math.Min(w, k - c);
                    T* y = Y + at + c, g = G + at + c, dx = Dx + at + c;
                    // the sum in double where T is narrower: two vectors of it
                    var low = Vector512<double>.Zero;
                    var high = Vector512<double>.Zero;
                    for (nint r = 0; r < N; r++)
                    {
                        var term = Load(g + r * Inner, m);
                        if (!Logarithm) term *= Load(y + r * Inner, m);
                        if (typeof(T) == typeof(float))
                        {
                            var (l, h) = Vector512.Widen(term.As<T, float>());
                            low += l;
                            high += h;
                        }
                        else low += term.As<T, double>();
                    }
                    var s = typeof(T) == typeof(float) ? Vector512.Narrow(low, high).As<float, T>() : low.As<double, T>();
                    for (nint r = 0; r < N; r++)
                    {
                        var vy = Load(y + r * Inner, m);
                        var vg = Load(g + r * Inner, m);
                        var v = Logarithm ? Fma(-VectorMath.Exp(vy), s, vg) : (vg - s) * vy;
                        if (Accumulate) v += Load(dx + r * Inner, m);
                        Store(v, dx + r * Inner, m);
                    }
                }
            }
        }
    }

    /// <summary>Where tile number <paramref name="item"/> of [outer, n, inner] starts, and its number of columns.</summary>
    private static nint Start(nint item, nint n, nint inner, out nint k)
    {
        nint tiles = Tiles(inner), plane = item / tiles, first = (item - plane * tiles) * Columns;
        k = Math.Min(Columns, inner - first);
        return plane * n * inner + first;
    }
}
