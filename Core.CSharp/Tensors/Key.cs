using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Kernels;
using static Functional.Kernels.Lanes;

namespace Functional;

/// <summary>Where random numbers come from: a value, never a hidden state. A key gives the same numbers each time it is used, on any machine and any
/// number of threads; for other numbers split it or fold something into it, and use each key for one draw.</summary>
public readonly record struct Key
{
    // The counter-based generator's key, and the upper half of its counter; draws count through the lower half.
    private readonly ulong _key;
    private readonly ulong _stream;

    private Key(ulong key, ulong stream) => (_key, _stream) = (key, stream);

    /// <summary>The key of a seed.</summary>
    public static Key OfSeed(long seed) => new((ulong)seed, 0);

    /// <summary>n keys, independent of one another, of this one and of those that folding gives.</summary>
    public Key[] Split(int n = 2)
    {
        if (n < 0) throw Shape.Refuse("key", "a key is split into 0 or more", $"{n}", "Give a positive number");
        var keys = new Key[n];
        for (var i = 0; i < n; i++) keys[i] = Child((uint)i, 1);
        return keys;
    }

    /// <summary>The key that belongs to this one and a number: an epoch, a step, a layer's index.</summary>
    public Key Fold(int data) => Child((uint)data, 2);

    /// <summary>The key that belongs to this one and a name.</summary>
    public Key Fold(string name)
    {
        // Fowler, Noll, Vo (1a).
        var hash = 14695981039346656037;
        foreach (var letter in name) hash = (hash ^ letter) * 1099511628211;
        return Child((uint)hash, 3).Child((uint)(hash >> 32), 3);
    }

    // Draws leave the counter's second word below 2³¹, so what is derived never repeats what is drawn.
    private Key Child(uint data, uint purpose)
    {
        var (a, b, c, d) = Philox.Block(data, 0x80000000 | purpose, (uint)_stream, (uint)(_stream >> 32), (uint)_key, (uint)(_key >> 32));
        return new(a | (ulong)b << 32, c | (ulong)d << 32);
    }

    /// <summary>Numbers evenly distributed over [low, high).</summary>
    public unsafe Tensor Uniform(Shape shape, double low = 0, double high = 1, DType dtype = DType.Float32)
    {
        Float("uniform", dtype);
        if (!(low < high) || !double.IsFinite(high - low)) throw Shape.Refuse("uniform", "the range must be finite and not empty", $"[{low}, {high})", "Give low < high");
        var y = Tensor.Allocate(dtype, shape);
        if (dtype == DType.Float32) Philox.Uniform((nint)y.Count, y.Pointer<float>(), _key, _stream);
        else Philox.Uniform((nint)y.Count, y.Pointer<double>(), _key, _stream);
        if (low == 0 && high == 1) return y;
        // Rounding may reach the open end.
        var last = dtype == DType.Float32 ? MathF.BitDecrement((float)high) : Math.BitDecrement(high);
        Pointwise.Map1(y, y, accumulate: false, new AffineF(high - low, low, last));
        return y;
    }

    /// <summary>Normally distributed numbers.</summary>
    public unsafe Tensor Normal(Shape shape, double mean = 0, double deviation = 1, DType dtype = DType.Float32)
    {
        Float("normal", dtype);
        if (!(deviation >= 0)) throw Shape.Refuse("normal", "the deviation must not be negative", $"{deviation}", "Give 0 or more");
        var y = Tensor.Allocate(dtype, shape);
        if (dtype == DType.Float32) Philox.Normal((nint)y.Count, y.Pointer<float>(), _key, _stream);
        else Philox.Normal((nint)y.Count, y.Pointer<double>(), _key, _stream);
        if (mean != 0 || deviation != 1) Pointwise.Map1(y, y, accumulate: false, new AffineF(deviation, mean, double.PositiveInfinity));
        return y;
    }

    /// <summary>True with the given probability.</summary>
    public Tensor Bernoulli(Shape shape, double probability = 0.5)
    {
        if (!(probability >= 0 && probability <= 1)) throw Shape.Refuse("bernoulli", "the probability must lie in 0 … 1", $"{probability}", "Correct it");
        var u = Uniform(shape, dtype: DType.Float64);
        var y = Tensor.Allocate(DType.Bool, shape);
        Pointwise.Compare(u, Tensor.Constant(shape, probability, DType.Float64), y, default(LessF));
        Pool.Return(u.Block!);
        return y;
    }

    /// <summary>Whole numbers from low to high − 1, equally likely.</summary>
    public unsafe Tensor Integers(Shape shape, long low, long high, DType dtype = DType.Int64)
    {
        if (!dtype.IsInteger()) throw Shape.Refuse("integers", "the dtype must be int32 or int64", dtype.Text(), "Cast the result");
        if (low >= high || (dtype == DType.Int32 && (low < int.MinValue || high - 1 > int.MaxValue)))
            throw Shape.Refuse("integers", $"the range must hold a number and fit {dtype.Text()}", $"[{low}, {high})", "Give low < high");
        var words = Words(shape.Count);
        var y = Tensor.Allocate(dtype, shape);
        var random = (ulong*)words.Pointer<long>();
        for (var i = 0; i < y.Count; i++)
        {
            var value = low + (long)Below(random[i], (ulong)(high - low));
            if (dtype == DType.Int32) y.Pointer<int>()[i] = (int)value;
            else y.Pointer<long>()[i] = value;
        }
        Pool.Return(words.Block!);
        return y;
    }

    /// <summary>The numbers 0 … n − 1 in random order, as int64.</summary>
    public unsafe Tensor Permutation(int n)
    {
        var words = Words(n);
        var y = Tensor.Allocate(DType.Int64, Shape.Of(n));
        var random = (ulong*)words.Pointer<long>();
        var p = y.Pointer<long>();
        for (var i = 0; i < n; i++)
        {
            // Fisher and Yates, from the front.
            var j = (long)Below(random[i], (ulong)i + 1);
            p[i] = p[j];
            p[j] = i;
        }
        Pool.Return(words.Block!);
        return y;
    }

    /// <summary>64 random bits per element.</summary>
    private unsafe Tensor Words(long count)
    {
        var words = Tensor.Allocate(DType.Int64, Shape.Of((int)count));
        Philox.Bits((nint)(2 * count), (uint*)words.Pointer<long>(), _key, _stream);
        return words;
    }

    /// <summary>The i-th of a sequence of numbers strictly between 0 and 1.</summary>
    internal double Open(int i)
    {
        var (low, high, _, _) = Philox.Block((uint)i, 0, (uint)_stream, (uint)(_stream >> 32), (uint)_key, (uint)(_key >> 32));
        return ((low | (ulong)high << 32) >> 12) * (1.0 / (1UL << 52)) + 1.0 / (1UL << 53);
    }

    // ⌊random·n / 2⁶⁴⌋: the bias is below n / 2⁶⁴.
    private static ulong Below(ulong random, ulong n) => Math.BigMul(random, n, out _);

    private static void Float(string op, DType dtype)
    {
        if (!dtype.IsFloat()) throw Shape.Refuse(op, "the dtype must be float32 or float64", dtype.Text(), "Draw Integers or Bernoulli instead");
    }

    /// <summary>All of its bits as 32 digits: keys are equal where these are.</summary>
    internal string Digits => $"{_key:x16}{_stream:x16}";

    /// <summary>A few digits that tell keys apart.</summary>
    public override string ToString() => $"key {_key ^ BitOperations.RotateLeft(_stream, 1):x16}";

    /// <summary>min(scale·x + shift, last)</summary>
    private readonly struct AffineF(double scale, double shift, double last) : IMap1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
            Vector512.Min(Fma(x, SplatVariable<T>(scale), SplatVariable<T>(shift)), SplatVariable<T>(last));
    }
}
