using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

// The additions around the products, a vector along the row at a time, for the points 0, ±1, ±2 and infinity.
//
//       ⎡4  0 −5  0  1  0⎤       ⎡ 1/4    0     0 ⎤
//       ⎢0 −4 −4  1  1  0⎥       ⎢−1/6  −1/6  −1/6⎥        ⎡1  1  1  1  1  0⎤
//  Bᵀ = ⎢0  4 −4 −1  1  0⎥   G = ⎢−1/6   1/6  −1/6⎥   Aᵀ = ⎢0  1 −1  2 −2  0⎥
//       ⎢0 −2 −1  2  1  0⎥       ⎢1/24  1/12   1/6⎥        ⎢0  1  1  4  4  0⎥
//       ⎢0  2 −1 −2  1  0⎥       ⎢1/24 −1/12   1/6⎥        ⎣0  1 −1  8 −8  1⎦
//       ⎣0  4  0 −5  0  1⎦       ⎣  0     0     1 ⎦
internal static unsafe partial class Winograd<T>
{
    /// <summary>Bᵀ d of each row of tiles of one channel, rows that do not exist read as zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FromRows(T* x, nint first, nint height, nint width, nint rows, T* zeros, T* v, nint step, nint plane)
    {
        for (nint r = 0; r < rows; r++, first += TileRows, v += step)
        {
            T* d0 = Row(first), d1 = Row(first + 1), d2 = Row(first + 2), d3 = Row(first + 3), d4 = Row(first + 4), d5 = Row(first + 5);
            if (width < Width)
            {
                Turn(Lanes.Load(d0, width), Lanes.Load(d1, width), Lanes.Load(d2, width), Lanes.Load(d3, width), Lanes.Load(d4, width), Lanes.Load(d5, width),
                    out var v0, out var v1, out var v2, out var v3, out var v4, out var v5);
                var to = v;
                Lanes.Store(v0, to, width);
                Lanes.Store(v1, to += plane, width);
                Lanes.Store(v2, to += plane, width);
                Lanes.Store(v3, to += plane, width);
                Lanes.Store(v4, to += plane, width);
                Lanes.Store(v5, to + plane, width);
                continue;
            }
            for (nint i = 0; i < width; i += Width)
            {
                // The last vector may overlap the one before it.
                if (i + Width > width) i = width - Width;
                Turn(Vector512.Load(d0 + i), Vector512.Load(d1 + i), Vector512.Load(d2 + i), Vector512.Load(d3 + i), Vector512.Load(d4 + i), Vector512.Load(d5 + i),
                    out var v0, out var v1, out var v2, out var v3, out var v4, out var v5);
                var to = v + i;
                v0.Store(to);
                v1.Store(to += plane);
                v2.Store(to += plane);
                v3.Store(to += plane);
                v4.Store(to += plane);
                v5.Store(to + plane);
            }
        }

        T* Row(nint i) => (nuint)i < (nuint)height ? x + i * width : zeros;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Turn(Vector512<T> d0, Vector512<T> d1, Vector512<T> d2, Vector512<T> d3, Vector512<T> d4, Vector512<T> d5,
        out Vector512<T> v0, out Vector512<T> v1, out Vector512<T> v2, out Vector512<T> v3, out Vector512<T> v4, out Vector512<T> v5)
    {
        Vector512<T> two = Lanes.Splat<T>(2), four = Lanes.Splat<T>(4), less = Lanes.Splat<T>(-4), five = Lanes.Splat<T>(-5);
        v0 = Lanes.Fma(four, d0, Lanes.Fma(five, d2, d4));
        v5 = Lanes.Fma(four, d1, Lanes.Fma(five, d3, d5));
        Vector512<T> even = Lanes.Fma(less, d2, d4), odd = Lanes.Fma(less, d1, d3);
        v1 = even + odd;
        v2 = even - odd;
        even = d4 - d2;
        odd = two * (d3 - d1);
        v3 = even + odd;
        v4 = even - odd;
    }

    /// <summary>Aᵀ m of each row of tiles of one channel, then bias and relu; of the rows of outputs the first <paramref name="height"/> exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ToRows(T* m, nint plane, nint rows, nint width, T bias, bool relu, bool accumulate, T* y, nint height)
    {
        Vector512<T> two = Lanes.Splat<T>(2), four = Lanes.Splat<T>(4), eight = Lanes.Splat<T>(8), b = Vector512.Create(bias);
        for (nint r = 0; r < rows; r++, height -= TileRows, y += TileRows * width)
            for (nint i = 0; i < width; i += Width)
            {
                var from = m + r * width + i;
                Vector512<T> m0 = Vector512.Load(from), m1 = Vector512.Load(from += plane), m2 = Vector512.Load(from += plane);
                Vector512<T> m3 = Vector512.Load(from += plane), m4 = Vector512.Load(from += plane), m5 = Vector512.Load(from + plane);
                Vector512<T> s = m1 + m2, d = m1 - m2, t = m3 + m4, e = m3 - m4;
                Vector512<T> y0 = m0 + s + t, y1 = Lanes.Fma(two, e, d), y2 = Lanes.Fma(four, t, s), y3 = Lanes.Fma(eight, e, d) + m5;
                (y0, y1, y2, y3) = (y0 + b, y1 + b, y2 + b, y3 + b);
                if (relu)
                {
                    var zero = Vector512<T>.Zero;
                    (y0, y1, y2, y3) = (Vector512.Max(y0, zero), Vector512.Max(y1, zero), Vector512.Max(y2, zero), Vector512.Max(y3, zero));
                }
                var count = Math.Min(Width, width - i);
                Put(y0, y + i, count, accumulate);
                if (height > 1) Put(y1, y + i + width, count, accumulate);
                if (height > 2) Put(y2, y + i + 2 * width, count, accumulate);
                if (height > 3) Put(y3, y + i + 3 * width, count, accumulate);
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(Vector512<T> v, T* y, nint count, bool accumulate)
    {
        if (count == Width)
        {
            if (accumulate) v += Vector512.Load(y);
            v.Store(y);
            return;
        }
        if (accumulate) v += Lanes.Load(y, count);
        Lanes.Store(v, y, count);
    }

    /// <summary>A y of each row of tiles of one channel of outputs: the adjoint of <see cref="ToRows"/>. Rows from <paramref name="height"/> on are zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FromOutputs(T* y, nint height, nint width, nint rows, T* zeros, T* d, nint plane)
    {
        Vector512<T> two = Lanes.Splat<T>(2), four = Lanes.Splat<T>(4);
        for (nint r = 0; r < rows; r++, height -= TileRows, y += TileRows * width, d += width)
        {
            T* row1 = height > 1 ? y + width : zeros, row2 = height > 2 ? y + 2 * width : zeros, row3 = height > 3 ? y + 3 * width : zeros;
            for (nint i = 0; i < width; i += Width)
            {
                var count = Math.Min(Width, width - i);
                Vector512<T> y0 = Get(y + i, count), y1 = Get(row1 + i, count), y2 = Get(row2 + i, count), y3 = Get(row3 + i, count);
                // What a vector stores beyond its row is the beginning of the next, which comes after it.
                var to = d + i;
                Vector512<T> even = y0 + y2, odd = y1 + y3;
                y0.Store(to);
                (even + odd).Store(to += plane);
                (even - odd).Store(to += plane);
                even = Lanes.Fma(four, y2, y0);
                odd = two * Lanes.Fma(four, y3, y1);
                (even + odd).Store(to += plane);
                (even - odd).Store(to += plane);
                y3.Store(to + plane);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Get(T* p, nint count) => count == Width ? Vector512.Load(p) : Lanes.Load(p, count);

    /// <summary>Gᵀ u for a vector of channels, u the sum over the chunks: three rows of taps.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ToWeights(T* u, nint plane, int chunks, nint channels, T* taps, nint down)
    {
        Vector512<T> quarter = Lanes.Splat<T>(0.25), half = Lanes.Splat<T>(0.5), sixth = Vector512.Create(T.One / T.CreateTruncating(6));
        Vector512<T> u0 = Sum(0), u1 = Sum(1), u2 = Sum(2), u3 = Sum(3), u4 = Sum(4), u5 = Sum(5);
        Vector512<T> near = u1 + u2, far = u3 + u4;
        Lanes.Fma(sixth, Lanes.Fma(quarter, far, -near), quarter * u0).Store(taps);
        (sixth * Lanes.Fma(half, u3 - u4, u2 - u1)).Store(taps + down);
        Lanes.Fma(sixth, far - near, u5).Store(taps + 2 * down);

        Vector512<T> Sum(nint k)
        {
            var sum = Get(u + k * plane, channels);
            for (nint chunk = 1; chunk < chunks; chunk++) sum += Get(u + (chunk * Planes + k) * plane, channels);
            return sum;
        }
    }

    /// <summary>G g of [inner, 3, kernel, outer], turned by 180 degrees where <paramref name="flipped"/>: for each plane the panels of outer channels that the kernels read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FromWeights(T* taps, nint row, int inner, int kernel, int outer, T* u, bool flipped)
    {
        Vector512<T> quarter = Lanes.Splat<T>(0.25), sixth = Vector512.Create(T.One / T.CreateTruncating(6)), twelfth = Vector512.Create(T.One / T.CreateTruncating(12));
        var plane = WeightPlane(inner, kernel, outer);
        var panels = new Panels(outer, MicroKernels<T>.MaxRows);
        // Turned around, the taps are read backwards.
        nint along = flipped ? -row : row, down = kernel * along;
        for (nint panel = 0; panel < panels.Count; panel++)
        {
            nint height = panels.Height(panel);
            for (nint c = 0; c < inner; c++)
            {
                var g = taps + c * 3 * kernel * row + (flipped ? (3 * kernel - 1) * row : 0);
                for (nint t = 0; t < kernel; t++, g += along, u += height)
                    // What a vector stores beyond the panel's height is written again, the last in each plane to nowhere.
                    for (nint i = 0; i < height; i += Width)
                    {
                        Vector512<T> g0 = Vector512.Load(g + i), g1 = Vector512.Load(g + down + i), g2 = Vector512.Load(g + 2 * down + i);
                        var to = u + i;
                        (quarter * g0).Store(to);
                        var sum = g0 + g2;
                        (-sixth * (sum + g1)).Store(to += plane);
                        (sixth * (g1 - sum)).Store(to += plane);
                        sum = Lanes.Fma(quarter, g0, g2) * sixth;
                        var middle = g1 * twelfth;
                        (sum + middle).Store(to += plane);
                        (sum - middle).Store(to += plane);
                        g2.Store(to + plane);
                    }
            }
            taps += height;
        }
    }
}
