using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

// The additions around the products, a vector of channels at a time. Lanes beyond the last channel hold anything and are never delivered.
//
//       ⎡1  0 −1  0⎤       ⎡ 1   0   0 ⎤
//  Bᵀ = ⎢0  1  1  0⎥   G = ⎢ ½   ½   ½ ⎥   Aᵀ = ⎡1  1  1  0⎤
//       ⎢0 −1  1  0⎥       ⎢ ½  −½   ½ ⎥        ⎣0  1 −1 −1⎦
//       ⎣0  1  0 −1⎦       ⎣ 0   0   1 ⎦
internal static unsafe partial class Winograd<T>
{
    /// <summary>Bᵀ d B of each tile of an image with its channels last: tile t of row r has its corner at (2r, 2t).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FromInputs(T* image, nint row, nint pixel, int rows, int columns, T* v, nint plane)
    {
        for (nint r = 0; r < rows; r++)
            for (nint c = 0; c < pixel; c += Width)
            {
                T* d = image + 2 * r * row + c, to = v + r * columns * pixel + c;
                // Two columns of a tile are its right neighbour's first: they are brought along.
                var (x0, x1, x2, x3) = (Vector512.Load(d), Vector512.Load(d + row), Vector512.Load(d + 2 * row), Vector512.Load(d + 3 * row));
                Vector512<T> a0 = x0 - x2, a1 = x1 + x2, a2 = x2 - x1, a3 = x1 - x3;
                d += pixel;
                (x0, x1, x2, x3) = (Vector512.Load(d), Vector512.Load(d + row), Vector512.Load(d + 2 * row), Vector512.Load(d + 3 * row));
                Vector512<T> b0 = x0 - x2, b1 = x1 + x2, b2 = x2 - x1, b3 = x1 - x3;
                for (nint t = 0; t < columns; t++)
                {
                    d += pixel;
                    (x0, x1, x2, x3) = (Vector512.Load(d), Vector512.Load(d + row), Vector512.Load(d + 2 * row), Vector512.Load(d + 3 * row));
                    Vector512<T> c0 = x0 - x2, c1 = x1 + x2, c2 = x2 - x1, c3 = x1 - x3;
                    d += pixel;
                    (x0, x1, x2, x3) = (Vector512.Load(d), Vector512.Load(d + row), Vector512.Load(d + 2 * row), Vector512.Load(d + 3 * row));
                    Vector512<T> e0 = x0 - x2, e1 = x1 + x2, e2 = x2 - x1, e3 = x1 - x3;
                    var at = to;
                    (a0 - c0).Store(at);
                    (b0 + c0).Store(at += plane);
                    (c0 - b0).Store(at += plane);
                    (b0 - e0).Store(at += plane);
                    (a1 - c1).Store(at += plane);
                    (b1 + c1).Store(at += plane);
                    (c1 - b1).Store(at += plane);
                    (b1 - e1).Store(at += plane);
                    (a2 - c2).Store(at += plane);
                    (b2 + c2).Store(at += plane);
                    (c2 - b2).Store(at += plane);
                    (b2 - e2).Store(at += plane);
                    (a3 - c3).Store(at += plane);
                    (b3 + c3).Store(at += plane);
                    (c3 - b3).Store(at += plane);
                    (b3 - e3).Store(at + plane);
                    (a0, a1, a2, a3) = (c0, c1, c2, c3);
                    (b0, b1, b2, b3) = (e0, e1, e2, e3);
                    to += pixel;
                }
            }
    }

    /// <summary>A y Aᵀ of each tile of outputs with their channels last: the adjoint of <see cref="ToOutputs"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FromOutputs(T* image, nint row, nint pixel, int rows, int columns, T* d, nint plane)
    {
        for (nint r = 0; r < rows; r++)
            for (nint t = 0; t < columns; t++)
            {
                T* y = image + 2 * r * row + 2 * t * pixel, to = d + (r * columns + t) * pixel;
                for (nint c = 0; c < pixel; c += Width)
                {
                    var (y0, y1) = (Vector512.Load(y + c), Vector512.Load(y + pixel + c));
                    var (z0, z1) = (Vector512.Load(y + row + c), Vector512.Load(y + row + pixel + c));
                    var at = to + c;
                    Row(y0, y1, ref at, plane);
                    Row(y0 + z0, y1 + z1, ref at, plane);
                    Row(y0 - z0, y1 - z1, ref at, plane);
                    Row(-z0, -z1, ref at, plane);
                }
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Row(Vector512<T> left, Vector512<T> right, ref T* at, nint plane)
    {
        left.Store(at);
        (left + right).Store(at + plane);
        (left - right).Store(at + 2 * plane);
        (-right).Store(at + 3 * plane);
        at += 4 * plane;
    }

    /// <summary>Aᵀ m A of each tile, then bias and relu, as an image of <paramref name="height"/> times <paramref name="width"/> outputs with their channels last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ToOutputs(T* m, nint plane, int channels, nint pixel, int rows, int columns, T* bias, bool relu, T* y, int height, int width)
    {
        for (var r = 0; r < rows; r++)
            for (var t = 0; t < columns; t++)
            {
                var to = y + ((nint)2 * r * width + 2 * t) * pixel;
                bool below = 2 * r + 1 < height, beside = 2 * t + 1 < width;
                for (nint c = 0; c < pixel; c += Width)
                {
                    var p = m + c;
                    var (s0, u0) = Down(p, plane);
                    var (s1, u1) = Down(p + plane, plane);
                    var (s2, u2) = Down(p + 2 * plane, plane);
                    var (s3, u3) = Down(p + 3 * plane, plane);
                    Vector512<T> y00 = s0 + s1 + s2, y01 = s1 - s2 - s3, y10 = u0 + u1 + u2, y11 = u1 - u2 - u3;
                    if (bias != null)
                    {
                        var b = Lanes.Load(bias + c, Math.Min(Width, channels - c));
                        (y00, y01, y10, y11) = (y00 + b, y01 + b, y10 + b, y11 + b);
                    }
                    if (relu)
                    {
                        var zero = Vector512<T>.Zero;
                        (y00, y01, y10, y11) = (Vector512.Max(y00, zero), Vector512.Max(y01, zero), Vector512.Max(y10, zero), Vector512.Max(y11, zero));
                    }
                    y00.Store(to + c);
                    if (beside) y01.Store(to + pixel + c);
                    if (below) y10.Store(to + width * pixel + c);
                    if (below && beside) y11.Store(to + (width + 1) * pixel + c);
                }
                m += pixel;
            }
    }

    /// <summary>One column of Aᵀ m.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector512<T> Upper, Vector512<T> Lower) Down(T* p, nint plane)
    {
        Vector512<T> m0 = Vector512.Load(p), m1 = Vector512.Load(p + 4 * plane), m2 = Vector512.Load(p + 8 * plane), m3 = Vector512.Load(p + 12 * plane);
        return (m0 + m1 + m2, m1 - m2 - m3);
    }

    /// <summary>G g Gᵀ of [outer, 9 taps, channels]: 16 planes of [outer, channels].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FromWeights(T* taps, nint outer, nint channels, nint pixel, T* u, nint plane, bool flipped)
    {
        var half = Vector512.Create(T.CreateTruncating(0.5));
        // Turned by 180 degrees the taps are read backwards.
        nint step = flipped ? -pixel : pixel;
        for (nint o = 0; o < outer; o++)
            for (nint c = 0; c < channels; c += Width)
            {
                T* g = taps + o * 9 * pixel + (flipped ? 8 * pixel : 0) + c, to = u + o * pixel + c;
                Vector512<T> g00 = Vector512.Load(g), g01 = Vector512.Load(g + step), g02 = Vector512.Load(g + 2 * step);
                Vector512<T> g10 = Vector512.Load(g + 3 * step), g11 = Vector512.Load(g + 4 * step), g12 = Vector512.Load(g + 5 * step);
                Vector512<T> g20 = Vector512.Load(g + 6 * step), g21 = Vector512.Load(g + 7 * step), g22 = Vector512.Load(g + 8 * step);
                Across(g00, g01, g02, half, to, plane);
                Across((g00 + g20 + g10) * half, (g01 + g21 + g11) * half, (g02 + g22 + g12) * half, half, to + 4 * plane, plane);
                Across((g00 + g20 - g10) * half, (g01 + g21 - g11) * half, (g02 + g22 - g12) * half, half, to + 8 * plane, plane);
                Across(g20, g21, g22, half, to + 12 * plane, plane);
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Across(Vector512<T> left, Vector512<T> middle, Vector512<T> right, Vector512<T> half, T* to, nint plane)
    {
        left.Store(to);
        ((left + right + middle) * half).Store(to + plane);
        ((left + right - middle) * half).Store(to + 2 * plane);
        right.Store(to + 3 * plane);
    }

    /// <summary>Gᵀ u G for a vector of channels, u the sum over the chunks: 9 taps of one vector each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ToWeights(T* u, nint plane, int chunks, T* taps)
    {
        var half = Vector512.Create(T.CreateTruncating(0.5));
        for (nint j = 0; j < 4; j++)
        {
            Vector512<T> u0 = Sum(u + j * plane, plane, chunks), u1 = Sum(u + (4 + j) * plane, plane, chunks);
            Vector512<T> u2 = Sum(u + (8 + j) * plane, plane, chunks), u3 = Sum(u + (12 + j) * plane, plane, chunks);
            Vector512<T> sum = (u1 + u2) * half, difference = (u1 - u2) * half;
            Spread(u0 + sum, taps, j, half);
            Spread(difference, taps + 3 * Width, j, half);
            Spread(sum + u3, taps + 6 * Width, j, half);
        }
    }

    /// <summary>Adds column j of a row to the three taps that it reaches.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Spread(Vector512<T> v, T* taps, nint j, Vector512<T> half)
    {
        if (j == 0)
        {
            v.Store(taps);
            return;
        }
        var h = v * half;
        if (j == 1)
        {
            (Vector512.Load(taps) + h).Store(taps);
            h.Store(taps + Width);
            h.Store(taps + 2 * Width);
        }
        else if (j == 2)
        {
            (Vector512.Load(taps) + h).Store(taps);
            (Vector512.Load(taps + Width) - h).Store(taps + Width);
            (Vector512.Load(taps + 2 * Width) + h).Store(taps + 2 * Width);
        }
        else (Vector512.Load(taps + 2 * Width) + v).Store(taps + 2 * Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Sum(T* u, nint plane, int chunks)
    {
        var sum = Vector512.Load(u);
        for (nint chunk = 1; chunk < chunks; chunk++) sum += Vector512.Load(u + chunk * Planes * plane);
        return sum;
    }
}
