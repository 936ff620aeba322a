using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>Numbers that live as long as this object.</summary>
internal sealed unsafe class FourierTable<T>(nint count) where T : unmanaged
{
    ~FourierTable() => NativeMemory.AlignedFree(Pointer);

    internal T* Pointer { get; } = (T*)NativePages.Allocate((nuint)Math.Max(1, count * sizeof(T)));

    internal nint Bytes => count * sizeof(T);
}

/// <summary>Complex lines of one length without large prime factors, as many side by side as a vector has lanes, so that all arithmetic is that of whole vectors:
/// element j is two vectors, the real parts and the imaginary parts. Transforms of any length n₁·n₂ come from those of n₁ and n₂ (Cooley and Tukey, 1965).</summary>
internal sealed unsafe class ComplexLines<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Bytes of lines that go through all their passes in the first-level cache; longer ones go through one and then part by part.</summary>
    private const nint Near = 24 << 10;

    private readonly int[] _radices;
    private readonly nint[] _starts;
    private readonly FourierTable<T> _roots;
    private readonly FourierTable<int> _place;

    internal ComplexLines(nint length)
    {
        Length = length;
        _radices = Radices(length);
        _starts = new nint[_radices.Length];
        nint count = 0, m = length;
        for (int level = 0; level < _radices.Length; level++)
        {
            m /= _radices[level];
            _starts[level] = count;
            count += 2 * Butterflies<T>.Roots(_radices[level], m);
        }
        _roots = new FourierTable<T>(count);
        _place = new FourierTable<int>(length);
        T* root = _roots.Pointer;
        nint size = length;
        foreach (int radix in _radices)
        {
            if (Butterflies<T>.HasRoots(radix))
                for (int q = 0; q < radix; q++, root += 2) Circle.Point(q, radix, root, root + 1);
            for (nint p = 0; p < size / radix; p++)
                for (nint r = 1; r < radix; r++, root += 2) Circle.Point(p * r, size, root, root + 1);
            size /= radix;
        }
        for (nint k = 0; k < length; k++)
        {
            nint rest = k, part = length, place = 0;
            foreach (int radix in _radices)
            {
                part /= radix;
                place += rest % radix * part;
                rest /= radix;
            }
            _place.Pointer[k] = (int)place;
        }
    }

    internal nint Length { get; }

    /// <summary>Where <see cref="Transform"/> leaves element k.</summary>
    internal int* Place => _place.Pointer;

    internal nint Bytes => _roots.Bytes + _place.Bytes;

    /// <summary>The largest prime factor.</summary>
    internal static nint LargestPrime(nint length)
    {
        nint largest = 1;
        for (nint p = 2; p * p <= length; p++)
            for (; length % p == 0; length /= p) largest = p;
        return Math.Max(largest, length);
    }

    private static int[] Radices(nint length)
    {
        var radices = new List<int>();
        for (int radix = Butterflies<T>.MostPrime; radix > 2; radix -= 2)
            for (; length % radix == 0 && LargestPrime(radix) == radix; length /= radix) radices.Add(radix);
        // What is left is a power of two: eights, and fours or a two for the rest.
        for (; length >= 32 || length == 8; length /= 8) radices.Add(8);
        for (; length >= 4; length /= 4) radices.Add(4);
        if (length == 2) radices.Add(2);
        return [.. radices];
    }

    /// <summary>The transforms of the lines in their place, with element k at <see cref="Place"/>[k].</summary>
    internal void Transform(T* z) => Passes(z, Length, 0);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Passes(T* z, nint length, int level)
    {
        if (level == _radices.Length) return;
        nint part = length / _radices[level];
        if (length * Butterflies<T>.Element * sizeof(T) > Near)
        {
            Butterflies<T>.Pass(_radices[level], z, part, 1, _roots.Pointer + _starts[level]);
            for (nint end = length * Butterflies<T>.Element, at = 0; at < end; at += part * Butterflies<T>.Element) Passes(z + at, part, level + 1);
            return;
        }
        for (nint blocks = 1; ; part /= _radices[level])
        {
            Butterflies<T>.Pass(_radices[level], z, part, blocks, _roots.Pointer + _starts[level]);
            blocks *= _radices[level];
            if (++level == _radices.Length) return;
        }
    }
}

/// <summary>Lines of n real numbers, as many side by side as a vector has lanes. Where n is even, neighbours are the parts of n/2 complex numbers, and
/// <code>X[k] = E + P,  X[n/2 − k]* = E − P  with  E = (Z[k] + Z[n/2 − k]*)/2,  P = −i·e^(−2πik/n)·(Z[k] − Z[n/2 − k]*)/2.</code></summary>
internal sealed unsafe class RealLines<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly ComplexLines<T> _lines;
    private readonly FourierTable<T>? _turns;

    internal RealLines(nint n)
    {
        N = n;
        _lines = new ComplexLines<T>(n % 2 == 0 ? n / 2 : n);
        if (n % 2 != 0) return;
        _turns = new FourierTable<T>(n / 2 + 2);
        // −i = e^(−2πi(n/4)/n); the half is exact.
        for (nint k = 0; k <= n / 4; k++)
        {
            T* turn = _turns.Pointer + 2 * k;
            Circle.Point(4 * k + n, 4 * n, turn, turn + 1);
            turn[0] *= Scalar<T>(0.5);
            turn[1] *= Scalar<T>(0.5);
        }
    }

    internal nint N { get; }

    internal nint Bytes => _lines.Bytes + (_turns?.Bytes ?? 0);

    /// <summary>Numbers from one real vector of an input to the next.</summary>
    internal nint Step => _turns is null ? Butterflies<T>.Element : Vector512<T>.Count;

    /// <summary>Numbers that an input or a spectrum takes: elements 0 … ⌊n/2⌋, two vectors each.</summary>
    internal nint Size => (_turns is null ? N : N / 2 + 1) * Butterflies<T>.Element;

    /// <summary>The spectra of the lines, whose real vectors are <see cref="Step"/> apart and are lost.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Forward(T* x, T* spectrum)
    {
        nint w = Vector512<T>.Count;
        if (_turns is null)
            for (nint j = 0; j < N; j++) Vector512<T>.Zero.Store(x + 2 * j * w + w);
        _lines.Transform(x);
        if (_turns is not null)
        {
            Fold(x, spectrum, inverse: false);
            return;
        }
        for (nint k = 0; k <= N / 2; k++)
        {
            T* from = x + 2 * w * _lines.Place[k], to = spectrum + 2 * w * k;
            Vector512.Load(from).Store(to);
            Vector512.Load(from + w).Store(to + w);
        }
    }

    /// <summary><c>x[j] = Re Σ spectrum[k]·e^(2πijk/n)</c> over k = 0 … ⌊n/2⌋, one vector each, in place of the spectrum. The opposite direction is that of
    /// <see cref="Forward"/> with real and imaginary parts exchanged, before and after.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Adjoint(T* spectrum, T* work)
    {
        nint w = Vector512<T>.Count;
        if (_turns is not null)
        {
            Fold(spectrum, work, inverse: true);
            _lines.Transform(work);
            for (nint j = 0; j < N / 2; j++)
            {
                T* from = work + 2 * w * _lines.Place[j], to = spectrum + 2 * w * j;
                Vector512.Load(from + w).Store(to);
                Vector512.Load(from).Store(to + w);
            }
            return;
        }
        for (nint k = 0; k < N; k++)
        {
            T* from = spectrum + 2 * w * k, to = work + 2 * w * k;
            (k <= N / 2 ? Vector512.Load(from + w) : Vector512<T>.Zero).Store(to);
            (k <= N / 2 ? Vector512.Load(from) : Vector512<T>.Zero).Store(to + w);
        }
        _lines.Transform(work);
        for (nint j = 0; j < N; j++) Vector512.Load(work + 2 * w * _lines.Place[j] + w).Store(spectrum + w * j);
    }

    /// <summary>From the transform of n/2 complex numbers, in its places, to the spectrum of n real ones; or, the same with other roots, back, exchanged.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Fold(T* from, T* to, bool inverse)
    {
        nint w = Vector512<T>.Count, count = N / 2;
        int* place = inverse ? null : _lines.Place;
        T* turn = _turns!.Pointer;
        T* re = inverse ? to + w : to, im = inverse ? to : to + w;
        var half = Splat<T>(0.5);
        var sign = Splat<T>(inverse ? -1 : 1);
        var first = Vector512.Load(from);
        var other = Vector512.Load(inverse ? from + 2 * w * count : from + w);
        (first + other).Store(re);
        if (inverse) (first - other).Store(im);
        else
        {
            Vector512<T>.Zero.Store(im);
            (first - other).Store(re + 2 * w * count);
            Vector512<T>.Zero.Store(im + 2 * w * count);
        }
        for (nint k = 1; 2 * k <= count; k++)
        {
            nint l = count - k;
            T* a = from + 2 * w * (place == null ? k : place[k]), b = from + 2 * w * (place == null ? l : place[l]);
            var (ar, ai, br, bi) = (Vector512.Load(a), Vector512.Load(a + w), Vector512.Load(b), Vector512.Load(b + w));
            var (er, ei, dr, di) = ((ar + br) * half, (ai - bi) * half, ar - br, ai + bi);
            var (tr, ti) = (Vector512.Create(turn[2 * k]), Vector512.Create(turn[2 * k + 1]) * sign);
            var (pr, pi) = (Fma(-di, ti, dr * tr), Fma(di, tr, dr * ti));
            (er + pr).Store(re + 2 * w * k);
            (ei + pi).Store(im + 2 * w * k);
            (er - pr).Store(re + 2 * w * l);
            (pi - ei).Store(im + 2 * w * l);
        }
    }
}

/// <summary>Points of the unit circle.</summary>
internal static unsafe class Circle
{
    /// <summary>Real and imaginary part of e^(−2πij/n). The angle is reduced as an integer, and to an eighth of the circle: a product of 2π/n by a large j
    /// would lose as many digits as j has.</summary>
    internal static (double Re, double Im) Point(long j, long n)
    {
        j %= n;
        long quarter = 4 * j / n, rest = 4 * j - quarter * n;
        var (sin, cos) = Math.SinCos(Math.PI / 2 * Math.Min(rest, n - rest) / n);
        if (2 * rest > n) (sin, cos) = (cos, sin);
        return quarter switch
        {
            0 => (cos, -sin),
            1 => (-sin, -cos),
            2 => (-cos, sin),
            _ => (sin, cos),
        };
    }

    internal static void Point<T>(long j, long n, T* re, T* im) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var (x, y) = Point(j, n);
        (*re, *im) = (Scalar<T>(x), Scalar<T>(y));
    }
}
