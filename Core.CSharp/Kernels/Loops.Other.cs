using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <content>Loops whose operands differ in type: comparison, selection by a mask, conversion; and filling.</content>
internal static unsafe partial class Loops
{
    /// <summary><c>z = 1 where f(x, y), else 0</c> over a walk of (x, y, z), one byte per element of z.</summary>
    public static void Compare<T, F>(in Geometry g, T* x, T* y, byte* z, F f)
        where T : unmanaged, INumber<T> where F : struct, ICompare
    {
        var row = new CompareRow<T, F> { X = x, Y = y, Z = z, Body = f };
        (row.StepX, row.StepY, row.StepZ) = g.Rank > 0 ? (g.Stride(0, 0), g.Stride(1, 0), g.Stride(2, 0)) : (1, 1, 1);
        WalkEach(in g, row);
    }

    /// <summary><c>z[i] = 1 where f(x[i], y[i]), else 0</c> for n contiguous elements.</summary>
    public static void Compare<T, F>(nint n, T* x, T* y, byte* z, F f)
        where T : unmanaged, INumber<T> where F : struct, ICompare
    {
        var g = Geometry.Flat(n);
        Compare(in g, x, y, z, f);
    }

    private struct CompareRow<T, F> : IRow where T : unmanaged, INumber<T> where F : struct, ICompare
    {
        public T* X, Y;
        public byte* Z;
        public nint StepX, StepY, StepZ;
        public F Body;

        [SkipLocalsInit]
        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3)
        {
            T* x = X + o0, y = Y + o1;
            byte* z = Z + o2;
            T* bx = stackalloc T[Gathered], by = stackalloc T[Gathered];
            for (; n > 0; n -= Gathered)
            {
                nint m = Math.Min(n, Gathered);
                T* px = Gather(x, StepX, bx, m), py = Gather(y, StepY, by, m);
                CompareKernel(m, px, StepX == 0 ? 0 : 1, py, StepY == 0 ? 0 : 1, z, StepZ, Body);
                x += m * StepX;
                y += m * StepY;
                z += m * StepZ;
            }
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void CompareKernel<T, F>(nint n, T* x, nint stepX, T* y, nint stepY, byte* z, nint stepZ, F f)
        where T : unmanaged, INumber<T> where F : struct, ICompare
    {
        nint w = Vector512<T>.Count;
        Unsafe.SkipInit(out Vector512<T> splatX);
        Unsafe.SkipInit(out Vector512<T> splatY);
        if (stepX == 0)
        {
            splatX = Vector512.Create(*x);
            x = (T*)&splatX;
        }
        if (stepY == 0)
        {
            splatY = Vector512.Create(*y);
            y = (T*)&splatY;
        }
        for (; n > 0; n -= w)
        {
            nint m = Math.Min(n, w);
            var holds = f.Invoke(Lanes.Load(x, m), Lanes.Load(y, m));
            if (sizeof(T) == 4 && m == w && stepZ == 1)
            {
                // a lane of ones is −1: two narrowings keep it, the lowest bit is the answer
                var ints = holds.As<T, int>();
                var shorts = Vector256.Narrow(ints.GetLower(), ints.GetUpper());
                (Vector128.Narrow(shorts.GetLower(), shorts.GetUpper()).AsByte() & Vector128<byte>.One).Store(z);
            }
            else
            {
                ulong bits = holds.ExtractMostSignificantBits();
                for (nint i = 0; i < m; i++) z[i * stepZ] = (byte)((bits >> (int)i) & 1);
            }
            x += stepX * w;
            y += stepY * w;
            z += stepZ * w;
        }
    }

    /// <summary><c>z = a where mask, else b</c> over a walk of (mask, a, b, z); the operand not taken is never computed with.</summary>
    public static void Select<T>(in Geometry g, byte* mask, T* a, T* b, T* z, bool accumulate) where T : unmanaged, INumber<T>
    {
        var row = new SelectRow<T> { Mask = mask, A = a, B = b, Z = z, Accumulate = accumulate };
        (row.StepMask, row.StepA, row.StepB, row.StepZ) =
            g.Rank > 0 ? (g.Stride(0, 0), g.Stride(1, 0), g.Stride(2, 0), g.Stride(3, 0)) : (1, 1, 1, 1);
        WalkEach(in g, row);
    }

    private struct SelectRow<T> : IRow where T : unmanaged, INumber<T>
    {
        public byte* Mask;
        public T* A, B, Z;
        public nint StepMask, StepA, StepB, StepZ;
        public bool Accumulate;

        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3) =>
            SelectKernel(n, Mask + o0, StepMask, A + o1, StepA, B + o2, StepB, Z + o3, StepZ, Accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void SelectKernel<T>(nint n, byte* mask, nint stepMask, T* a, nint stepA, T* b, nint stepB, T* z, nint stepZ, bool accumulate)
        where T : unmanaged, INumber<T>
    {
        nint w = Vector512<T>.Count;
        if (sizeof(T) == 4 && stepMask == 1 && Plain(stepA) && Plain(stepB) && stepZ == 1 && !accumulate)
        {
            for (; n >= w; n -= w)
            {
                var wide = Vector256.WidenLower(Vector128.Load(mask).ToVector256Unsafe());
                var taken = Vector512.Create(Vector256.WidenLower(wide.AsUInt16()), Vector256.WidenUpper(wide.AsUInt16()));
                var va = stepA == 0 ? Vector512.Create(*a) : Vector512.Load(a);
                var vb = stepB == 0 ? Vector512.Create(*b) : Vector512.Load(b);
                Vector512.ConditionalSelect(Vector512.Equals(taken, Vector512<uint>.Zero).As<uint, T>(), vb, va).Store(z);
                mask += w;
                a += stepA * w;
                b += stepB * w;
                z += w;
            }
        }
        for (nint i = 0; i < n; i++)
        {
            T v = mask[i * stepMask] != 0 ? a[i * stepA] : b[i * stepB];
            z[i * stepZ] = accumulate ? z[i * stepZ] + v : v;
        }
    }

    /// <summary>
    /// <c>y = (TTo)x</c> over a walk of (x, y). Floats are cut towards zero and saturate into integers (NaN gives 0);
    /// into bytes standing for booleans any non-zero gives 1.
    /// </summary>
    public static void Convert<TFrom, TTo>(in Geometry g, TFrom* x, TTo* y)
        where TFrom : unmanaged, INumber<TFrom> where TTo : unmanaged, INumber<TTo>
    {
        var row = new ConvertRow<TFrom, TTo> { X = x, Y = y };
        (row.StepX, row.StepY) = g.Rank > 0 ? (g.Stride(0, 0), g.Stride(1, 0)) : (1, 1);
        WalkEach(in g, row);
    }

    /// <summary><c>y[i] = (TTo)x[i]</c> for n contiguous elements.</summary>
    public static void Convert<TFrom, TTo>(nint n, TFrom* x, TTo* y)
        where TFrom : unmanaged, INumber<TFrom> where TTo : unmanaged, INumber<TTo>
    {
        var g = Geometry.Flat(n);
        Convert(in g, x, y);
    }

    private struct ConvertRow<TFrom, TTo> : IRow where TFrom : unmanaged, INumber<TFrom> where TTo : unmanaged, INumber<TTo>
    {
        public TFrom* X;
        public TTo* Y;
        public nint StepX, StepY;

        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3) => ConvertKernel(n, X + o0, StepX, Y + o1, StepY);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void ConvertKernel<TFrom, TTo>(nint n, TFrom* x, nint stepX, TTo* y, nint stepY)
        where TFrom : unmanaged, INumber<TFrom> where TTo : unmanaged, INumber<TTo>
    {
        nint w = 16;
        if (stepX == 1 && stepY == 1 && typeof(TTo) == typeof(float))
        {
            for (; n >= w; n -= w)
            {
                Vector512<float> v;
                if (typeof(TFrom) == typeof(byte))
                {
                    var wide = Vector256.WidenLower(Vector128.Load((byte*)x).ToVector256Unsafe());
                    v = Vector512.ConvertToSingle(Vector512.Create(Vector256.WidenLower(wide), Vector256.WidenUpper(wide)).AsInt32());
                }
                else if (typeof(TFrom) == typeof(int)) v = Vector512.ConvertToSingle(Vector512.Load((int*)x));
                else if (typeof(TFrom) == typeof(double)) v = Vector512.Narrow(Vector512.Load((double*)x), Vector512.Load((double*)x + 8));
                else break;
                v.Store((float*)y);
                x += w;
                y += w;
            }
        }
        else if (stepX == 1 && stepY == 1 && typeof(TFrom) == typeof(float) && typeof(TTo) == typeof(double))
        {
            for (; n >= w; n -= w)
            {
                var (low, high) = Vector512.Widen(Vector512.Load((float*)x));
                low.Store((double*)y);
                high.Store((double*)y + 8);
                x += w;
                y += w;
            }
        }
        for (nint i = 0; i < n; i++)
        {
            TFrom v = x[i * stepX];
            y[i * stepY] = typeof(TTo) == typeof(byte)
                ? TFrom.IsZero(v) ? TTo.Zero : TTo.One
                : TTo.CreateSaturating(v);
        }
    }

    /// <summary><c>y[i] = value</c> for n contiguous elements.</summary>
    public static void Fill<T>(nint n, T* y, T value) where T : unmanaged
    {
        var rows = new EachRow<FillRow<T>> { Row = new FillRow<T> { Y = y, Value = value } };
        if (n < 2 * Chunk) rows.Run(n, 1, default, default);
        else Split(n, ref rows);
    }

    private struct FillRow<T> : IRow where T : unmanaged
    {
        public T* Y;
        public T Value;

        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3) => new Span<T>(Y + o0, (int)n).Fill(Value);
    }
}
