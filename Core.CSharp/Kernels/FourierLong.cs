using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>A long row as a matrix of n₁ rows and n₂ columns: transforms of its columns, which lie side by side as they are, a product by roots of unity, and
/// transforms of the rows (Gentleman and Sande, 1966; Bailey, 1990). With j = j₁·n₂ + j₂ and k = k₁ + n₁·k₂
/// <code>X[k] = Σ_j₂ e^(−2πi·j₂k₂/n₂) · e^(−2πi·j₂k₁/n) · Σ_j₁ x[j]·e^(−2πi·j₁k₁/n₁).</code>
/// The columns are real, so that rows k₁ = 0 … ⌊n₁/2⌋ are enough: the others are conjugates. Memory is walked twice, whatever n is.</summary>
internal sealed unsafe class LongFourier<T> : Fourier<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly RealLines<T> _columns;
    private readonly ComplexLines<T> _rows;

    /// <summary>e^(−2πi·j₂k₁/n) as [k₁, real and imaginary parts, j₂].</summary>
    private readonly FourierTable<T> _roots;

    internal LongFourier(nint n) : this(n, Cut(n)) { }

    private LongFourier(nint n, nint columns) : this(n, new RealLines<T>(n / columns), new ComplexLines<T>(columns), new FourierTable<T>((n / columns / 2 + 1) * 2 * columns))
    {
    }

    private LongFourier(nint n, RealLines<T> columns, ComplexLines<T> rows, FourierTable<T> roots) : base(n, columns.Bytes + rows.Bytes + roots.Bytes)
    {
        (_columns, _rows, _roots) = (columns, rows, roots);
        T* root = roots.Pointer;
        for (nint k = 0; k < Height; k++, root += 2 * Width)
            for (nint j = 0; j < Width; j++) Circle.Point(j * k, n, root + j, root + Width + j);
    }

    /// <summary>n₂</summary>
    private nint Width => _rows.Length;

    /// <summary>⌊n₁/2⌋ + 1</summary>
    private nint Height => _columns.N / 2 + 1;

    /// <summary>n₂: the divisor nearest to √n that leaves columns of even length, if n is even.</summary>
    private static nint Cut(nint n)
    {
        nint least = (nint)Math.Sqrt(n);
        while (n % least != 0) least--;
        return n / least % 2 == n % 2 ? least : n / least;
    }

    internal override void Forward(nint rows, T* x, T* re, T* im) => Run(rows, x, re, im, back: false);

    internal override void Adjoint(nint rows, T* re, T* im, T* x) => Run(rows, x, re, im, back: true);

    /// <summary>One row after the other, each by all threads.</summary>
    private void Run(nint rows, T* x, T* re, T* im, bool back)
    {
        nint w = Vector512<T>.Count;
        var shared = SharedScratch.Rent(Height * 2 * Width * sizeof(T));
        for (; rows > 0; rows--, x += N, re += Half, im += Half)
        {
            var kernel = new Kernel { Plan = this, X = x, Re = re, Im = im, Matrix = (T*)shared.Pointer, Back = back };
            for (int step = 0; step < 2; step++)
            {
                kernel.ByColumns = step == 0 != back;
                if (kernel.ByColumns) Rowwise.ForRows((Width + w - 1) / w, _columns.N * w, kernel);
                else Rowwise.ForRows((Height + w - 1) / w, Width * w, kernel);
            }
        }
        SharedScratch.Return(shared);
        GC.KeepAlive(this);
    }

    private struct Kernel : Rowwise.IItems
    {
        public LongFourier<T> Plan;
        public T* X, Re, Im, Matrix;
        public bool Back, ByColumns;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            nint w = Vector512<T>.Count, length = ByColumns ? Plan._columns.Size : Plan.Width * Butterflies<T>.Element;
            T* one = (T*)Scratch.Get(2 * length * sizeof(T)), other = one + length;
            for (nint group = first * w; group < end * w; group += w)
                switch (ByColumns, Back)
                {
                    case (true, false): Plan.Columns(group, X, Matrix, one, other); break;
                    case (true, true): Plan.ColumnsBack(group, Matrix, X, one, other); break;
                    case (false, false): Plan.Rows(group, Matrix, Re, Im, one); break;
                    default: Plan.RowsBack(group, Re, Im, Matrix, one, other); break;
                }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Columns(nint first, T* x, T* matrix, T* real, T* complex)
    {
        nint w = Vector512<T>.Count, count = Math.Min(w, Width - first);
        for (nint j = 0; j < _columns.N; j++) Lanes.Load(x + j * Width + first, count).Store(real + j * _columns.Step);
        _columns.Forward(real, complex);
        for (nint k = 0; k < Height; k++)
        {
            T* z = complex + 2 * w * k, root = _roots.Pointer + 2 * Width * k + first, to = matrix + 2 * Width * k + first;
            var (re, im, wr, wi) = (Vector512.Load(z), Vector512.Load(z + w), Lanes.Load(root, count), Lanes.Load(root + Width, count));
            Lanes.Store(Fma(-im, wi, re * wr), to, count);
            Lanes.Store(Fma(im, wr, re * wi), to + Width, count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ColumnsBack(nint first, T* matrix, T* x, T* complex, T* work)
    {
        nint w = Vector512<T>.Count, count = Math.Min(w, Width - first);
        for (nint k = 0; k < Height; k++)
        {
            T* from = matrix + 2 * Width * k + first, root = _roots.Pointer + 2 * Width * k + first, z = complex + 2 * w * k;
            var (re, im) = (Lanes.Load(from, count), Lanes.Load(from + Width, count));
            var (wr, wi) = (Lanes.Load(root, count), Lanes.Load(root + Width, count));
            Fma(im, wi, re * wr).Store(z);
            Fma(im, wr, -(re * wi)).Store(z + w);
        }
        _columns.Adjoint(complex, work);
        for (nint j = 0; j < _columns.N; j++) Lanes.Store(Vector512.Load(complex + w * j), x + j * Width + first, count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Rows(nint first, T* matrix, T* re, T* im, T* z)
    {
        nint w = Vector512<T>.Count, count = Math.Min(w, Height - first);
        T* from = matrix + 2 * Width * first;
        TurnIn(count, Width, from, 2 * Width, z, 2 * w);
        TurnIn(count, Width, from + Width, 2 * Width, z + w, 2 * w);
        _rows.Transform(z);
        for (nint j = 0; j < Width; j++) Scatter(first, count, first + _columns.N * j, z + 2 * w * _rows.Place[j], re, im);
    }

    /// <summary>Real and imaginary parts are exchanged until they are in the matrix, which makes the transform that of the opposite direction.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void RowsBack(nint first, T* re, T* im, T* matrix, T* z, T* sorted)
    {
        nint w = Vector512<T>.Count, count = Math.Min(w, Height - first);
        for (nint j = 0; j < Width; j++) Gather(first, count, first + _columns.N * j, re, im, z + 2 * w * j);
        _rows.Transform(z);
        for (nint j = 0; j < Width; j++)
        {
            T* from = z + 2 * w * _rows.Place[j], to = sorted + 2 * w * j;
            Vector512.Load(from + w).Store(to);
            Vector512.Load(from).Store(to + w);
        }
        T* rows = matrix + 2 * Width * first;
        Transposition.Strip(count, Width, sorted, 2 * w, rows, 2 * Width);
        Transposition.Strip(count, Width, sorted + w, 2 * w, rows + Width, 2 * Width);
    }

    /// <summary>Whether an element beyond the middle is the one whose conjugate lies before it: rows 0 and n₁/2 hold their conjugates themselves.</summary>
    private bool IsMirrored(nint row) => row != 0 && 2 * row != _columns.N;

    /// <summary>Elements k, k + 1, … of the transform, which are in rows <paramref name="row"/>, row + 1, …; beyond the middle as the conjugates of n − k, n − k − 1, …</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Scatter(nint row, nint count, nint k, T* z, T* re, T* im)
    {
        nint w = Vector512<T>.Count, mirror = N - k - w + 1;
        if (2 * (k + count - 1) <= N)
        {
            Lanes.Store(Vector512.Load(z), re + k, count);
            Lanes.Store(Vector512.Load(z + w), im + k, count);
        }
        else if (2 * k > N && count == w && row > 0 && 2 * (row + w) <= _columns.N)
        {
            Reversed(Vector512.Load(z)).Store(re + mirror);
            Reversed(-Vector512.Load(z + w)).Store(im + mirror);
        }
        else
            for (nint i = 0; i < count; i++)
            {
                if (2 * (k + i) <= N) (re[k + i], im[k + i]) = (z[i], z[w + i]);
                else if (IsMirrored(row + i)) (re[N - k - i], im[N - k - i]) = (z[i], -z[w + i]);
            }
    }

    /// <summary>The adjoint of <see cref="Scatter"/>, exchanged.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Gather(nint row, nint count, nint k, T* re, T* im, T* z)
    {
        nint w = Vector512<T>.Count, mirror = N - k - w + 1;
        if (2 * (k + count - 1) <= N)
        {
            Lanes.Load(im + k, count).Store(z);
            Lanes.Load(re + k, count).Store(z + w);
        }
        else if (2 * k > N && count == w && row > 0 && 2 * (row + w) <= _columns.N)
        {
            Reversed(-Vector512.Load(im + mirror)).Store(z);
            Reversed(Vector512.Load(re + mirror)).Store(z + w);
        }
        else
            for (nint i = 0; i < w; i++)
            {
                bool direct = i < count && 2 * (k + i) <= N, mirrored = i < count && !direct && IsMirrored(row + i);
                z[i] = direct ? im[k + i] : mirrored ? -im[N - k - i] : T.Zero;
                z[w + i] = direct ? re[k + i] : mirrored ? re[N - k - i] : T.Zero;
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Reversed(Vector512<T> v) => sizeof(T) == 4
        ? Vector512.Shuffle(v.As<T, int>(), Vector512.Create(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)).As<int, T>()
        : Vector512.Shuffle(v.As<T, long>(), Vector512.Create(7L, 6, 5, 4, 3, 2, 1, 0)).As<long, T>();
}
