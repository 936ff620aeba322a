using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>
/// The counter-based generator Philox4x32-10 (Salmon et al., 2011): four words are a function of a 64-bit key and a
/// 128-bit counter. Here the counter's low half numbers the blocks of one array and its high half is the caller's
/// stream, so element k of an array never depends on the array's length, the vector width or the threads.
/// </summary>
internal static unsafe class Philox
{
    private const uint M0 = 0xD2511F53, M1 = 0xCD9E8D57, W0 = 0x9E3779B9, W1 = 0xBB67AE85;

    /// <summary>Words made at a time: eight blocks.</summary>
    private const int Group = 32;

    /// <summary>The four words of one counter under one key.</summary>
    public static (uint, uint, uint, uint) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = (ulong)M0 * c0, p1 = (ulong)M1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += W0;
            k1 += W1;
        }
        return (c0, c1, c2, c3);
    }

    /// <summary><c>y[4i … 4i + 3]</c> = the words of block i.</summary>
    public static void Bits(nint n, uint* y, ulong key, ulong stream) => Fill(n, y, key, stream, default(BitsOf));

    /// <summary>Uniform in [0, 1): 24 random bits for float (word k), 53 for double (words 2k and 2k + 1).</summary>
    public static void Uniform<T>(nint n, T* y, ulong key, ulong stream) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) Fill(n, (float*)y, key, stream, default(UniformSingle));
        else Fill(n, (double*)y, key, stream, default(UniformDouble));
    }

    /// <summary>
    /// Standard normal by Box and Muller: in every 128 bytes of words the first half gives the radii √(−2 ln u), u in (0, 1],
    /// the second half the angles; the cosines come first, then the sines.
    /// </summary>
    public static void Normal<T>(nint n, T* y, ulong key, ulong stream) where T : unmanaged
    {
        if (typeof(T) == typeof(float)) Fill(n, (float*)y, key, stream, default(NormalSingle));
        else Fill(n, (double*)y, key, stream, default(NormalDouble));
    }

    /// <summary>Turns 32 words into 32 numbers of 4 bytes or 16 of 8.</summary>
    private interface IDraw<T> where T : unmanaged
    {
        void Invoke(uint* words, T* y);
    }

    private readonly struct BitsOf : IDraw<uint>
    {
        public void Invoke(uint* words, uint* y)
        {
            Vector512.Load(words).Store(y);
            Vector512.Load(words + 16).Store(y + 16);
        }
    }

    private readonly struct UniformSingle : IDraw<float>
    {
        public void Invoke(uint* words, float* y)
        {
            for (int i = 0; i < Group; i += 16)
                (Vector512.ConvertToSingle((Vector512.Load(words + i) >>> 8).AsInt32()) * Vector512.Create(5.9604644775390625e-8f)).Store(y + i);
        }
    }

    private readonly struct UniformDouble : IDraw<double>
    {
        public void Invoke(uint* words, double* y)
        {
            for (int i = 0; i < Group / 2; i += 8)
                Fraction((ulong*)words + i).Store(y + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<double> Fraction(ulong* words) =>
        Vector512.ConvertToDouble((Vector512.Load(words) >>> 11).AsInt64()) * Vector512.Create(1.1102230246251565e-16);

    private readonly struct NormalSingle : IDraw<float>
    {
        public void Invoke(uint* words, float* y)
        {
            // u = (w + ½)·2⁻³² in (0, 1], keeping the small values that the tails are made of
            var half = Vector512.Load(words) >>> 1;
            var u = Lanes.Fma(Vector512.ConvertToSingle(half.AsInt32()), Vector512.Create(4.656612873e-10f), Vector512.Create(2.328306437e-10f));
            var r = Vector512.Sqrt(Vector512.Create(-2f) * VectorMath.Log(Vector512.Min(u, Vector512<float>.One)));
            var angle = Vector512.ConvertToSingle((Vector512.Load(words + 16) >>> 8).AsInt32()) * Vector512.Create(3.74507039e-7f);
            (r * VectorMath.Cos(angle)).Store(y);
            (r * VectorMath.Sin(angle)).Store(y + 16);
        }
    }

    private readonly struct NormalDouble : IDraw<double>
    {
        public void Invoke(uint* words, double* y)
        {
            var u = Vector512<double>.One - Fraction((ulong*)words);
            var r = Vector512.Sqrt(Vector512.Create(-2.0) * VectorMath.Log(u));
            var angle = Fraction((ulong*)words + 8) * Vector512.Create(2 * Math.PI);
            (r * VectorMath.Cos(angle)).Store(y);
            (r * VectorMath.Sin(angle)).Store(y + 8);
        }
    }

    private static void Fill<T, D>(nint n, T* y, ulong key, ulong stream, D draw) where T : unmanaged where D : struct, IDraw<T>
    {
        var job = new FillJob<T, D> { Y = y, Count = n, Key = key, Stream = stream, Draw = draw };
        int chunks = Loops.Chunks(n);
        nint per = Group * 4 / sizeof(T);
        job.Size = n < Loops.Chunk ? n : ((n + chunks - 1) / chunks + per - 1) / per * per;
        if (n < Loops.Chunk) job.Run(0);
        else Workers.For(chunks, ref job);
    }

    private struct FillJob<T, D> : IJob where T : unmanaged where D : struct, IDraw<T>
    {
        public T* Y;
        public nint Count, Size;
        public ulong Key, Stream;
        public D Draw;

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int chunk)
        {
            nint per = Group * 4 / sizeof(T), i = chunk * Size, end = Math.Min(Count, i + Size);
            uint* words = stackalloc uint[Group];
            T* last = stackalloc T[Group];
            for (; i < end; i += per)
            {
                EightBlocks((ulong)(i / per) * 8, Stream, Key, words);
                if (end - i >= per) Draw.Invoke(words, Y + i);
                else
                {
                    Draw.Invoke(words, last);
                    for (nint j = i; j < end; j++) Y[j] = last[j - i];
                }
            }
        }
    }

    /// <summary>The 32 words of the blocks first … first + 7.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void EightBlocks(ulong first, ulong stream, ulong key, uint* words)
    {
        uint k0 = (uint)key, k1 = (uint)(key >> 32);
        if (!Avx512F.IsSupported)
        {
            for (uint i = 0; i < 8; i++, words += 4)
            {
                ulong block = first + i;
                (words[0], words[1], words[2], words[3]) =
                    Block((uint)block, (uint)(block >> 32), (uint)stream, (uint)(stream >> 32), k0, k1);
            }
            return;
        }
        // one block per lane of 64 bits, whose upper halves the multiplication ignores
        var counter = Vector512.Create(first) + Vector512<ulong>.Indices;
        var c0 = counter;
        var c1 = counter >>> 32;
        var c2 = Vector512.Create(stream);
        var c3 = Vector512.Create(stream >> 32);
        for (int round = 0; round < 10; round++)
        {
            var p0 = Avx512F.Multiply(c0.AsUInt32(), Vector512.Create((ulong)M0).AsUInt32());
            var p1 = Avx512F.Multiply(c2.AsUInt32(), Vector512.Create((ulong)M1).AsUInt32());
            c0 = (p1 >>> 32) ^ c1 ^ Vector512.Create((ulong)k0);
            c2 = (p0 >>> 32) ^ c3 ^ Vector512.Create((ulong)k1);
            c1 = p1;
            c3 = p0;
            k0 += W0;
            k1 += W1;
        }
        var low = Vector512.Create(0xFFFFFFFFUL);
        var a = (c0 & low) | (c1 << 32);
        var b = (c2 & low) | (c3 << 32);
        Avx512F.PermuteVar8x64x2(a, Vector512.Create(0UL, 8, 1, 9, 2, 10, 3, 11), b).Store((ulong*)words);
        Avx512F.PermuteVar8x64x2(a, Vector512.Create(4UL, 12, 5, 13, 6, 14, 7, 15), b).Store((ulong*)words + 8);
    }
}
