using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Discrete Fourier transforms of rows of n real numbers, and their adjoints: the tables for one length and the way of computing it. The arithmetic of a
/// row depends on n alone, so that its bits depend neither on other rows nor on threads.</summary>
internal abstract unsafe class Fourier<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Longer rows are cut. Side by side they would be a tenth faster up to twice this length, but a single one many times slower.</summary>
    private const nint Longest = 2048;

    /// <summary>Bytes of tables that are kept for the next transform of their length; more than that are made each time.</summary>
    private const nint Kept = 128 << 20;

    private static readonly Dictionary<nint, Fourier<T>> Known = [];
    private static nint _kept;

    private protected Fourier(nint n, nint bytes) => (N, Half, Bytes) = (n, n / 2 + 1, bytes);

    internal nint N { get; }

    /// <summary>Elements of a spectrum.</summary>
    internal nint Half { get; }

    /// <summary>What the tables take.</summary>
    private nint Bytes { get; }

    /// <summary><c>re[r, k] + i·im[r, k] = Σ x[r, j]·e^(−2πijk/n)</c> for k = 0 … ⌊n/2⌋; all contiguous.</summary>
    internal abstract void Forward(nint rows, T* x, T* re, T* im);

    /// <summary><c>x[r, j] = Re Σ (re[r, k] + i·im[r, k])·e^(2πijk/n)</c> over k = 0 … ⌊n/2⌋; all contiguous.</summary>
    internal abstract void Adjoint(nint rows, T* re, T* im, T* x);

    internal static Fourier<T> Of(nint n)
    {
        lock (Known)
            if (Known.TryGetValue(n, out var known))
                return known;
        // Outside of the lock: a chirp needs the tables of another length.
        Fourier<T> made = ComplexLines<T>.LargestPrime(n) > Butterflies<T>.MostPrime ? new ChirpFourier<T>(n)
            : n > Longest ? new LongFourier<T>(n)
            : new ShortFourier<T>(n, new RealLines<T>(n));
        lock (Known)
        {
            if (made.Bytes > Kept || Known.ContainsKey(n)) return made;
            if (_kept + made.Bytes > Kept)
            {
                Known.Clear();
                _kept = 0;
            }
            Known.Add(n, made);
            _kept += made.Bytes;
        }
        return made;
    }

    /// <summary>Rows become lines side by side, element j of them at to + j·step. Lanes without a row are zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private protected static void TurnIn(nint rows, nint n, T* from, nint stride, T* to, nint step)
    {
        nint w = Vector512<T>.Count;
        if (rows < w)
            for (nint j = 0; j < n; j++) Vector512<T>.Zero.Store(to + j * step);
        for (nint j = 0; j < n; j += Transposition.Tile)
            Transposition.Strip(Math.Min(Transposition.Tile, n - j), rows, from + j, stride, to + j * step, step);
    }
}

/// <summary>Rows that are turned, as many at a time as a vector has lanes, so that they lie side by side.</summary>
internal sealed unsafe class ShortFourier<T>(nint n, RealLines<T> lines) : Fourier<T>(n, lines.Bytes) where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly RealLines<T> _lines = lines;

    internal override void Forward(nint rows, T* x, T* re, T* im) => Share(rows, new Kernel { Lines = _lines, Rows = rows, X = x, Re = re, Im = im });

    internal override void Adjoint(nint rows, T* re, T* im, T* x) =>
        Share(rows, new Kernel { Lines = _lines, Rows = rows, X = x, Re = re, Im = im, Back = true });

    private void Share(nint rows, Kernel kernel)
    {
        nint w = Vector512<T>.Count;
        Rowwise.ForRows((rows + w - 1) / w, N * w, kernel);
        GC.KeepAlive(this);
    }

    private struct Kernel : Rowwise.IItems
    {
        public RealLines<T> Lines;
        public nint Rows;
        public T* X, Re, Im;
        public bool Back;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            nint w = Vector512<T>.Count, n = Lines.N, half = n / 2 + 1;
            T* real = (T*)Scratch.Get(2 * Lines.Size * sizeof(T)), complex = real + Lines.Size;
            for (nint row = first * w; row < Math.Min(end * w, Rows); row += w)
            {
                nint rows = Math.Min(w, Rows - row);
                T* x = X + row * n, re = Re + row * half, im = Im + row * half;
                if (Back)
                {
                    TurnIn(rows, half, re, half, complex, 2 * w);
                    TurnIn(rows, half, im, half, complex + w, 2 * w);
                    Lines.Adjoint(complex, real);
                    Transposition.Strip(rows, n, complex, w, x, n);
                }
                else
                {
                    TurnIn(rows, n, x, n, real, Lines.Step);
                    Lines.Forward(real, complex);
                    Transposition.Strip(rows, half, complex, 2 * w, re, half);
                    Transposition.Strip(rows, half, complex + w, 2 * w, im, half);
                }
            }
        }
    }
}
