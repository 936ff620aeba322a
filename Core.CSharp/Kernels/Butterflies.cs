using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>Fourier transforms of a few complex numbers each, for as many lines at once as a vector has lanes: an element is two vectors, the real parts and the
/// imaginary parts. A pass takes lines of radix·m elements, several blocks of them behind each other, and leaves, in place,
/// <code>z[m·r + p] ← w^(p·r) · Σ z[m·q + p]·e^(−2πiqr/radix)   with w = e^(−2πi/(radix·m)),</code>
/// so that residue r of the line's transform is the transform of its r-th part: decimation in frequency (Gentleman and Sande, 1966).</summary>
internal static unsafe class Butterflies<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Numbers of an element.</summary>
    internal static nint Element
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => 2 * Vector512<T>.Count;
    }

    /// <summary>The largest prime that has a butterfly. Beyond, a convolution takes fewer steps than p² for p elements.</summary>
    internal const int MostPrime = 127;

    /// <summary>Roots of unity that a pass reads, each as real and imaginary part: those of a radix without code of its own, then w^(p·r) for p &lt; m, 0 &lt; r &lt; radix.</summary>
    internal static nint Roots(int radix, nint m) => (HasRoots(radix) ? radix : 0) + (radix - 1) * m;

    internal static bool HasRoots(int radix) => radix > 5 && radix != 8;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Pass(int radix, T* z, nint m, nint blocks, T* roots)
    {
        // All powers of w are 1 in the last pass.
        if (m == 1) Pass<Plain>(radix, z, m, blocks, roots);
        else Pass<Turned>(radix, z, m, blocks, roots);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Pass<K>(int radix, T* z, nint m, nint blocks, T* roots) where K : struct, IResult
    {
        switch (radix)
        {
            case 2: Two<K>(z, m, blocks, roots); break;
            case 3: Three<K>(z, m, blocks, roots); break;
            case 4: Four<K>(z, m, blocks, roots); break;
            case 5: Five<K>(z, m, blocks, roots); break;
            case 8: Eight<K>(z, m, blocks, roots); break;
            default: Prime<K>(radix, z, m, blocks, roots, roots + 2 * radix); break;
        }
    }

    /// <summary>What happens to a result before it is stored; fixed when a pass is compiled.</summary>
    private interface IResult
    {
        static abstract void Put(T* at, Vector512<T> re, Vector512<T> im, T* root);
    }

    private readonly struct Plain : IResult
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Put(T* at, Vector512<T> re, Vector512<T> im, T* root) => Store(at, re, im);
    }

    private readonly struct Turned : IResult
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Put(T* at, Vector512<T> re, Vector512<T> im, T* root)
        {
            var (wr, wi) = (Vector512.Create(root[0]), Vector512.Create(root[1]));
            Store(at, Fma(-im, wi, re * wr), Fma(im, wr, re * wi));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(T* at, Vector512<T> re, Vector512<T> im)
    {
        re.Store(at);
        im.Store(at + Vector512<T>.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load(T* at, out Vector512<T> re, out Vector512<T> im)
    {
        re = Vector512.Load(at);
        im = Vector512.Load(at + Vector512<T>.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Two<K>(T* z, nint m, nint blocks, T* roots) where K : struct, IResult
    {
        nint step = m * Element;
        for (; blocks > 0; blocks--, z += step)
        {
            T* w = roots;
            for (nint p = 0; p < m; p++, z += Element, w += 2)
            {
                Load(z, out var ar, out var ai);
                Load(z + step, out var br, out var bi);
                Store(z, ar + br, ai + bi);
                K.Put(z + step, ar - br, ai - bi, w);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Three<K>(T* z, nint m, nint blocks, T* roots) where K : struct, IResult
    {
        nint step = m * Element;
        var (half, sine) = (Splat<T>(-0.5), Splat<T>(Math.Sqrt(3) / 2));
        for (; blocks > 0; blocks--, z += 2 * step)
        {
            T* w = roots;
            for (nint p = 0; p < m; p++, z += Element, w += 4)
            {
                Load(z, out var ar, out var ai);
                Load(z + step, out var br, out var bi);
                Load(z + 2 * step, out var cr, out var ci);
                var (sr, si) = (br + cr, bi + ci);
                var (dr, di) = ((br - cr) * sine, (bi - ci) * sine);
                var (ur, ui) = (Fma(sr, half, ar), Fma(si, half, ai));
                Store(z, ar + sr, ai + si);
                K.Put(z + step, ur + di, ui - dr, w);
                K.Put(z + 2 * step, ur - di, ui + dr, w + 2);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four<K>(T* z, nint m, nint blocks, T* roots) where K : struct, IResult
    {
        nint step = m * Element;
        for (; blocks > 0; blocks--, z += 3 * step)
        {
            T* w = roots;
            for (nint p = 0; p < m; p++, z += Element, w += 6)
            {
                Load(z, out var ar, out var ai);
                Load(z + step, out var br, out var bi);
                Load(z + 2 * step, out var cr, out var ci);
                Load(z + 3 * step, out var dr, out var di);
                Four(ref ar, ref ai, ref br, ref bi, ref cr, ref ci, ref dr, ref di);
                Store(z, ar, ai);
                K.Put(z + step, br, bi, w);
                K.Put(z + 2 * step, cr, ci, w + 2);
                K.Put(z + 3 * step, dr, di, w + 4);
            }
        }
    }

    /// <summary>The transform of a, b, c, d in their places.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(ref Vector512<T> ar, ref Vector512<T> ai, ref Vector512<T> br, ref Vector512<T> bi,
        ref Vector512<T> cr, ref Vector512<T> ci, ref Vector512<T> dr, ref Vector512<T> di)
    {
        var (sr, si, tr, ti) = (ar + cr, ai + ci, ar - cr, ai - ci);
        var (ur, ui, vr, vi) = (br + dr, bi + di, br - dr, bi - di);
        (ar, ai, br, bi) = (sr + ur, si + ui, tr + vi, ti - vr);
        (cr, ci, dr, di) = (sr - ur, si - ui, tr - vi, ti + vr);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Five<K>(T* z, nint m, nint blocks, T* roots) where K : struct, IResult
    {
        nint step = m * Element;
        var (c1, s1) = (Splat<T>(Math.Cos(Math.Tau / 5)), Splat<T>(Math.Sin(Math.Tau / 5)));
        var (c2, s2) = (Splat<T>(Math.Cos(2 * Math.Tau / 5)), Splat<T>(Math.Sin(2 * Math.Tau / 5)));
        for (; blocks > 0; blocks--, z += 4 * step)
        {
            T* w = roots;
            for (nint p = 0; p < m; p++, z += Element, w += 8)
            {
                Load(z, out var ar, out var ai);
                Load(z + step, out var br, out var bi);
                Load(z + 2 * step, out var cr, out var ci);
                Load(z + 3 * step, out var dr, out var di);
                Load(z + 4 * step, out var er, out var ei);
                var (beR, beI, cdR, cdI) = (br + er, bi + ei, cr + dr, ci + di);
                Store(z, ar + beR + cdR, ai + beI + cdI);
                var (ur, ui) = (Fma(beR, c1, Fma(cdR, c2, ar)), Fma(beI, c1, Fma(cdI, c2, ai)));
                var (vr, vi) = (Fma(beR, c2, Fma(cdR, c1, ar)), Fma(beI, c2, Fma(cdI, c1, ai)));
                (beR, beI, cdR, cdI) = (br - er, bi - ei, cr - dr, ci - di);
                var (gr, gi) = (Fma(beR, s1, cdR * s2), Fma(beI, s1, cdI * s2));
                var (hr, hi) = (Fma(beR, s2, -(cdR * s1)), Fma(beI, s2, -(cdI * s1)));
                K.Put(z + step, ur + gi, ui - gr, w);
                K.Put(z + 2 * step, vr + hi, vi - hr, w + 2);
                K.Put(z + 3 * step, vr - hi, vi + hr, w + 4);
                K.Put(z + 4 * step, ur - gi, ui + gr, w + 6);
            }
        }
    }

    /// <summary>Two transforms of four: of the sums of opposite elements and of their differences, turned by eighths of the circle.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Eight<K>(T* z, nint m, nint blocks, T* roots) where K : struct, IResult
    {
        nint step = m * Element;
        var diagonal = Splat<T>(Math.Sqrt(0.5));
        for (; blocks > 0; blocks--, z += 7 * step)
        {
            T* w = roots;
            for (nint p = 0; p < m; p++, z += Element, w += 14)
            {
                Load(z, out var ar, out var ai);
                Load(z + step, out var br, out var bi);
                Load(z + 2 * step, out var cr, out var ci);
                Load(z + 3 * step, out var dr, out var di);
                Load(z + 4 * step, out var er, out var ei);
                Load(z + 5 * step, out var fr, out var fi);
                Load(z + 6 * step, out var gr, out var gi);
                Load(z + 7 * step, out var hr, out var hi);
                (ar, ai, er, ei) = (ar + er, ai + ei, ar - er, ai - ei);
                (br, bi, fr, fi) = (br + fr, bi + fi, br - fr, bi - fi);
                (cr, ci, gr, gi) = (cr + gr, ci + gi, cr - gr, ci - gi);
                (dr, di, hr, hi) = (dr + hr, di + hi, dr - hr, di - hi);
                (fr, fi) = ((fr + fi) * diagonal, (fi - fr) * diagonal);
                (gr, gi) = (gi, -gr);
                (hr, hi) = ((hi - hr) * diagonal, -(hr + hi) * diagonal);
                Four(ref ar, ref ai, ref br, ref bi, ref cr, ref ci, ref dr, ref di);
                Store(z, ar, ai);
                K.Put(z + 2 * step, br, bi, w + 2);
                K.Put(z + 4 * step, cr, ci, w + 6);
                K.Put(z + 6 * step, dr, di, w + 10);
                Four(ref er, ref ei, ref fr, ref fi, ref gr, ref gi, ref hr, ref hi);
                K.Put(z + step, er, ei, w);
                K.Put(z + 3 * step, fr, fi, w + 4);
                K.Put(z + 5 * step, gr, gi, w + 8);
                K.Put(z + 7 * step, hr, hi, w + 12);
            }
        }
    }

    /// <summary>Any odd radix, by sums and differences of the elements q and radix − q: results r and radix − r share their products.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Prime<K>(int radix, T* z, nint m, nint blocks, T* unit, T* roots) where K : struct, IResult
    {
        nint step = m * Element;
        int half = radix / 2;
        Vector512<T>* pairs = stackalloc Vector512<T>[4 * (MostPrime / 2)];
        for (; blocks > 0; blocks--, z += (radix - 1) * step)
        {
            T* w = roots;
            for (nint p = 0; p < m; p++, z += Element, w += 2 * (radix - 1))
            {
                Load(z, out var ar, out var ai);
                var (sr, si) = (ar, ai);
                for (int q = 0; q < half; q++)
                {
                    Load(z + (q + 1) * step, out var br, out var bi);
                    Load(z + (radix - 1 - q) * step, out var cr, out var ci);
                    (pairs[4 * q], pairs[4 * q + 1], pairs[4 * q + 2], pairs[4 * q + 3]) = (br + cr, bi + ci, br - cr, bi - ci);
                    sr += pairs[4 * q];
                    si += pairs[4 * q + 1];
                }
                Store(z, sr, si);
                for (int r = 1; r <= half; r++)
                {
                    var (ur, ui, vr, vi) = (ar, ai, Vector512<T>.Zero, Vector512<T>.Zero);
                    int at = 0;
                    for (int q = 0; q < half; q++)
                    {
                        at += r;
                        if (at >= radix) at -= radix;
                        var (cosine, sine) = (Vector512.Create(unit[2 * at]), Vector512.Create(unit[2 * at + 1]));
                        ur = Fma(pairs[4 * q], cosine, ur);
                        ui = Fma(pairs[4 * q + 1], cosine, ui);
                        vr = Fma(pairs[4 * q + 2], sine, vr);
                        vi = Fma(pairs[4 * q + 3], sine, vi);
                    }
                    K.Put(z + r * step, ur - vi, ui + vr, w + 2 * (r - 1));
                    K.Put(z + (radix - r) * step, ur + vi, ui - vr, w + 2 * (radix - r - 1));
                }
            }
        }
    }
}
