using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>Rows of a length with a large prime factor. With w[j] = e^(−πij²/n) and jk = (j² + k² − (k − j)²)/2
/// <code>X[k] = w[k] · Σ (x[j]·w[j]) · w*[k − j],</code>
/// a convolution (Bluestein, 1970), which is a product of spectra of a length M that has small factors only and room for all the differences k − j. Real and
/// imaginary parts are rows of their own: with P + iQ = (u + iv)∗(c + is) the spectrum of P is UC − VS, that of Q is US + VC.</summary>
internal sealed unsafe class ChirpFourier<T> : Fourier<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>M up to which a group of rows stays in the second-level cache.</summary>
    private const nint Near = 4096;

    private readonly Fourier<T> _transform;

    /// <summary>w as real parts, imaginary parts; the spectra of c and s as real parts of C, imaginary parts of C, the same of S.</summary>
    private readonly FourierTable<T> _chirp, _spectra;

    internal ChirpFourier(nint n) : this(n, Fourier<T>.Of(Room(n)), new FourierTable<T>(2 * n)) { }

    private ChirpFourier(nint n, Fourier<T> transform, FourierTable<T> chirp) : this(n, transform, chirp, new FourierTable<T>(4 * transform.Half)) { }

    private ChirpFourier(nint n, Fourier<T> transform, FourierTable<T> chirp, FourierTable<T> spectra) : base(n, chirp.Bytes + spectra.Bytes)
    {
        (_transform, _chirp, _spectra) = (transform, chirp, spectra);
        T* w = chirp.Pointer;
        for (nint j = 0; j < n; j++) Circle.Point((long)((Int128)j * j % (2 * n)), 2 * n, w + j, w + n + j);
        // In double, whatever T is, so that the tables are rounded once. Differences run from −(n − 1) to ⌊n/2⌋.
        var wide = Fourier<double>.Of(transform.N);
        nint length = wide.N, half = wide.Half;
        var table = new FourierTable<double>(2 * length + 4 * half);
        double* c = table.Pointer, s = c + length, parts = s + length;
        for (nint d = 0; d < length; d++)
        {
            nint distance = d < Half ? d : length - d;
            var (re, im) = distance < n ? Circle.Point((long)((Int128)distance * distance % (2 * n)), 2 * n) : default;
            (c[d], s[d]) = (re, -im);
        }
        wide.Forward(1, c, parts, parts + half);
        wide.Forward(1, s, parts + 2 * half, parts + 3 * half);
        // The way back adds each frequency but the mean and the highest once, where a spectrum of real numbers has it twice.
        for (nint i = 0; i < 4 * half; i++)
            spectra.Pointer[i] = Scalar<T>(parts[i] * (i % half == 0 || 2 * (i % half) == length ? 1 : 2) / length);
        GC.KeepAlive(table);
    }

    /// <summary>The next even length from n + ⌊n/2⌋ on whose factors are 2, 3 and 5.</summary>
    private static nint Room(nint n)
    {
        nint length = (n + n / 2 + 1) & ~1;
        while (ComplexLines<T>.LargestPrime(length) > 5) length += 2;
        return length;
    }

    internal override void Forward(nint rows, T* x, T* re, T* im) => Share(new Job { Plan = this, Rows = rows, X = x, Re = re, Im = im });

    internal override void Adjoint(nint rows, T* re, T* im, T* x) => Share(new Job { Plan = this, Rows = rows, X = x, Re = re, Im = im, Back = true });

    /// <summary>Half a vector's lanes of rows at a time, whose parts fill it; long rows one by one, each by all threads.</summary>
    private void Share(Job job)
    {
        job.Group = _transform.N <= Near ? Vector512<T>.Count / 2 : 1;
        nint groups = (job.Rows + job.Group - 1) / job.Group;
        job.Chunks = _transform.N <= Near ? (int)Math.Min(groups, 4 * Workers.Count) : 1;
        job.Size = 2 * job.Group * (_transform.N + 2 * _transform.Half);
        var shared = SharedScratch.Rent(job.Chunks * job.Size * sizeof(T));
        job.Work = (T*)shared.Pointer;
        Workers.For(job.Chunks, ref job);
        SharedScratch.Return(shared);
        GC.KeepAlive(this);
    }

    private struct Job : IJob
    {
        public ChirpFourier<T> Plan;
        public nint Rows, Group, Size;
        public int Chunks;
        public T* X, Re, Im, Work;
        public bool Back;

        public readonly void Run(int chunk)
        {
            nint half = Plan.Half, n = Plan.N;
            for (nint row = chunk * Group; row < Rows; row += Chunks * Group)
                Plan.Run(Math.Min(Group, Rows - row), X + row * n, Re + row * half, Im + row * half, Work + chunk * Size, Back);
        }
    }

    /// <summary>Rows by convolution: the real parts of all, then the imaginary parts of all.</summary>
    private void Run(nint rows, T* x, T* re, T* im, T* work, bool back)
    {
        nint length = _transform.N, half = _transform.Half;
        T* u = work, v = u + rows * length, fr = work + 2 * rows * length, fi = fr + 2 * rows * half;
        for (nint r = 0; r < rows; r++)
        {
            if (back) Times(Half, re + r * Half, im + r * Half, u + r * length, v + r * length);
            else Times(N, x + r * N, null, u + r * length, v + r * length);
        }
        _transform.Forward(2 * rows, u, fr, fi);
        for (nint r = 0; r < rows; r++) Convolve(fr + r * half, fi + r * half, rows * half, back);
        _transform.Adjoint(2 * rows, fr, fi, u);
        for (nint r = 0; r < rows; r++)
        {
            if (back) Finish(N, u + r * length, v + r * length, x + r * N, null);
            else Finish(Half, u + r * length, v + r * length, re + r * Half, im + r * Half);
        }
    }

    /// <summary>u + iv = (x − iy)·w, then zeros to the end: the adjoint is the transform of conjugates. There may be no y.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Times(nint count, T* x, T* y, T* u, T* v)
    {
        nint w = Vector512<T>.Count;
        T* wr = _chirp.Pointer, wi = wr + N;
        for (nint j = 0; j < _transform.N; j += w)
        {
            nint here = Math.Clamp(count - j, 0, w), room = Math.Min(w, _transform.N - j);
            var (a, cosine, sine) = (Lanes.Load(x + j, here), Lanes.Load(wr + j, here), Lanes.Load(wi + j, here));
            var (p, q) = (a * cosine, a * sine);
            if (y != null)
            {
                var b = Lanes.Load(y + j, here);
                (p, q) = (Fma(b, sine, p), Fma(-b, cosine, q));
            }
            Lanes.Store(p, u + j, room);
            Lanes.Store(q, v + j, room);
        }
    }

    /// <summary>The spectra of u and v become those of P and Q. Convolved with the chirp turned around, whose spectrum is the conjugate, where inputs and outputs
    /// have changed sides.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Convolve(T* re, T* im, nint distance, bool back)
    {
        nint w = Vector512<T>.Count, half = _transform.Half;
        T* table = _spectra.Pointer;
        var sign = Splat<T>(back ? -1 : 1);
        for (nint k = 0; k < half; k += w)
        {
            nint here = Math.Min(w, half - k);
            T* ur = re + k, ui = im + k, vr = ur + distance, vi = ui + distance, t = table + k;
            var (a, b, c, d) = (Lanes.Load(ur, here), Lanes.Load(ui, here), Lanes.Load(vr, here), Lanes.Load(vi, here));
            var (cr, ci) = (Lanes.Load(t, here), Lanes.Load(t + half, here) * sign);
            var (sr, si) = (Lanes.Load(t + 2 * half, here), Lanes.Load(t + 3 * half, here) * sign);
            Lanes.Store(Fma(a, cr, Fma(-b, ci, Fma(-c, sr, d * si))), ur, here);
            Lanes.Store(Fma(a, ci, Fma(b, cr, -Fma(c, si, d * sr))), ui, here);
            Lanes.Store(Fma(a, sr, Fma(-b, si, Fma(c, cr, -(d * ci)))), vr, here);
            Lanes.Store(Fma(a, si, Fma(b, sr, Fma(c, ci, d * cr))), vi, here);
        }
    }

    /// <summary>x + iy = (u + iv)·w; y may be of no interest.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Finish(nint count, T* u, T* v, T* x, T* y)
    {
        nint w = Vector512<T>.Count;
        T* wr = _chirp.Pointer, wi = wr + N;
        for (nint k = 0; k < count; k += w)
        {
            nint here = Math.Min(w, count - k);
            var (a, b, cosine, sine) = (Lanes.Load(u + k, here), Lanes.Load(v + k, here), Lanes.Load(wr + k, here), Lanes.Load(wi + k, here));
            Lanes.Store(Fma(-b, sine, a * cosine), x + k, here);
            if (y != null) Lanes.Store(Fma(b, cosine, a * sine), y + k, here);
        }
    }
}
