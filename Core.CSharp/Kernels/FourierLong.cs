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
    /// <summary>Bytes of a matrix up to which it is one thread's.</summary>
    private const nint MostAlone = 1 << 20;

    private readonly RealLines<T> _columns;
    private readonly ComplexLines<T> _rows;

    /// <summary>e^(−2πi·j₂k₁/n), in the order of the matrix: strips of as many columns as a vector has lanes, of ⌊n₁/2⌋ + 1 rows, of real and imaginary parts.</summary>
    private readonly FourierTable<T> _roots;

    internal LongFourier(nint n) : this(n, Cut(n)) { }

    private LongFourier(nint n, nint width) : this(n, new RealLines<T>(n / width), new ComplexLines<T>(width)) { }

    private LongFourier(nint n, RealLines<T> columns, ComplexLines<T> rows)
        : this(n, columns, rows, new FourierTable<T>(Strips(rows.Length) * (columns.N / 2 + 1) * Butterflies<T>.Element)) { }

    private LongFourier(nint n, RealLines<T> columns, ComplexLines<T> rows, FourierTable<T> roots) : base(n, columns.Bytes + rows.Bytes + roots.Bytes)
    {
        nint w = Vector512<T>.Count;
        (_columns, _rows, _roots) = (columns, rows, roots);
        T* root = roots.Pointer;
        for (nint first = 0; first < Width; first += w)
            for (nint k = 0; k < Height; k++, root += 2 * w)
                for (nint lane = 0; lane < w; lane++) Circle.Point((first + lane) * k, n, root + lane, root + w + lane);
    }

    /// <summary>n₂</summary>
    private nint Width => _rows.Length;

    /// <summary>⌊n₁/2⌋ + 1</summary>
    private nint Height => _columns.N / 2 + 1;

    private static nint Strips(nint count) => (count + Vector512<T>.Count - 1) / Vector512<T>.Count;

    /// <summary>n₂: the divisor nearest to √n that leaves columns of even length, if n is even.</summary>
    private static nint Cut(nint n)
    {
        nint least = (nint)Math.Sqrt(n);
        while (n % least != 0) least--;
        return n / least % 2 == n % 2 ? least : n / least;
    }

    internal override void Forward(nint rows, T* x, T* re, T* im) => Share(rows, new Strip { Plan = this, X = x, Re = re, Im = im });

    internal override void Adjoint(nint rows, T* re, T* im, T* x) => Share(rows, new Strip { Plan = this, X = x, Re = re, Im = im, Back = true });

    /// <summary>A thread takes whole rows, with the matrix in its own cache; all threads take one row after the other where there are few, or large ones.</summary>
    private void Share(nint rows, Strip strip)
    {
        if (rows >= 2 * Workers.Count && _roots.Bytes <= MostAlone) Rowwise.ForRows(rows, N, new Whole { Strip = strip });
        else
        {
            var shared = SharedScratch.Rent(_roots.Bytes);
            strip.Matrix = (T*)shared.Pointer;
            for (nint row = 0; row < rows; row++)
                for (int step = 0; step < 2; step++)
                {
                    strip.ByColumns = step == 0 != strip.Back;
                    Rowwise.ForRows(strip.Count, N / strip.Count, strip.Of(row));
                }
            SharedScratch.Return(shared);
        }
        GC.KeepAlive(this);
    }

    /// <summary>Numbers of two buffers of lines side by side, for columns or for rows.</summary>
    private nint Buffers => 2 * Math.Max(_columns.Size, Width * Butterflies<T>.Element);

    private struct Strip : Rowwise.IItems
    {
        public LongFourier<T> Plan;
        public T* X, Re, Im, Matrix;
        public bool Back, ByColumns;

        /// <summary>Strips of columns, or of rows.</summary>
        public readonly nint Count => Strips(ByColumns ? Plan.Width : Plan.Height);

        public readonly Strip Of(nint row) => this with { X = X + row * Plan.N, Re = Re + row * Plan.Half, Im = Im + row * Plan.Half };

        public readonly void Run(nint first, nint end) => Run(first, end, (T*)Scratch.Get(Plan.Buffers * sizeof(T)));

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end, T* one)
        {
            nint w = Vector512<T>.Count;
            T* other = one + Plan.Buffers / 2;
            for (nint at = first * w; at < end * w; at += w)
                switch (ByColumns, Back)
                {
                    case (true, false): Plan.Columns(at, X, Matrix, one, other); break;
                    case (true, true): Plan.ColumnsBack(at, Matrix, X, one, other); break;
                    case (false, false): Plan.Rows(at, Matrix, Re, Im, one); break;
                    default: Plan.RowsBack(at, Re, Im, Matrix, one, other); break;
                }
        }
    }

    private struct Whole : Rowwise.IItems
    {
        public Strip Strip;

        public readonly void Run(nint first, nint end)
        {
            nint matrix = Strip.Plan._roots.Bytes;
            byte* memory = (byte*)Scratch.Get(matrix + Strip.Plan.Buffers * sizeof(T));
            for (nint row = first; row < end; row++)
                for (int step = 0; step < 2; step++)
                {
                    var strip = Strip.Of(row) with { Matrix = (T*)memory, ByColumns = step == 0 != Strip.Back };
                    strip.Run(0, strip.Count, (T*)(memory + matrix));
                }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Columns(nint first, T* x, T* matrix, T* real, T* complex)
    {
        nint w = Vector512<T>.Count, count = Math.Min(w, Width - first);
        for (nint j = 0; j < _columns.N; j++) Lanes.Load(x + j * Width + first, count).Store(real + j * _columns.Step);
        _columns.Forward(real, complex);
        T* root = _roots.Pointer + 2 * Height * first, to = matrix + 2 * Height * first;
        for (nint at = 0; at < 2 * w * Height; at += 2 * w)
        {
            var (re, im) = (Vector512.Load(complex + at), Vector512.Load(complex + at + w));
            var (wr, wi) = (Vector512.Load(root + at), Vector512.Load(root + at + w));
            Fma(-im, wi, re * wr).Store(to + at);
            Fma(im, wr, re * wi).Store(to + at + w);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ColumnsBack(nint first, T* matrix, T* x, T* complex, T* work)
    {
        nint w = Vector512<T>.Count, count = Math.Min(w, Width - first);
        T* root = _roots.Pointer + 2 * Height * first, from = matrix + 2 * Height * first;
        for (nint at = 0; at < 2 * w * Height; at += 2 * w)
        {
            var (re, im) = (Lanes.Load(from + at, count), Lanes.Load(from + at + w, count));
            var (wr, wi) = (Vector512.Load(root + at), Vector512.Load(root + at + w));
            Fma(im, wi, re * wr).Store(complex + at);
            Fma(im, wr, -(re * wi)).Store(complex + at + w);
        }
        _columns.Adjoint(complex, work);
        for (nint j = 0; j < _columns.N; j++) Lanes.Store(Vector512.Load(complex + w * j), x + j * Width + first, count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Rows(nint first, T* matrix, T* re, T* im, T* z)
    {
        nint w = Vector512<T>.Count, count = Math.Min(w, Height - first);
        for (nint j = 0; j < Width; j += w)
        {
            T* from = matrix + 2 * (Height * j + w * first), to = z + 2 * w * j;
            TurnIn(count, Math.Min(w, Width - j), from, 2 * w, to, 2 * w);
            TurnIn(count, Math.Min(w, Width - j), from + w, 2 * w, to + w, 2 * w);
        }
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
        for (nint j = 0; j < Width; j += w)
        {
            T* from = sorted + 2 * w * j, to = matrix + 2 * (Height * j + w * first);
            Transposition.Strip(count, Math.Min(w, Width - j), from, 2 * w, to, 2 * w);
            Transposition.Strip(count, Math.Min(w, Width - j), from + w, 2 * w, to + w, 2 * w);
        }
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
