using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <content>Three inputs.</content>
internal static unsafe partial class Loops
{
    /// <summary><c>z[i] = f(a[i], b[i], c[i])</c>, or <c>z[i] += …</c>, for n contiguous elements.</summary>
    public static void Map3<T, F>(nint n, T* a, T* b, T* c, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        if (n < 2 * Chunk) Kernel3(n, a, 1, b, 1, c, 1, z, accumulate, f);
        else
        {
            var row = new Row3<T, F>
            {
                A = a,
                B = b,
                C = c,
                Z = z,
                StepA = 1,
                StepB = 1,
                StepC = 1,
                StepZ = 1,
                Accumulate = accumulate,
                Body = f,
            };
            Split(n, ref row);
        }
    }

    /// <summary><c>z = f(a, b, c)</c>, or <c>z += f(a, b, c)</c>, over a walk of (a, b, c, z).</summary>
    public static void Map3<T, F>(in Geometry g, T* a, T* b, T* c, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        var row = new Row3<T, F> { A = a, B = b, C = c, Z = z, Accumulate = accumulate, Body = f };
        if (g.Rank > 0) (row.StepA, row.StepB, row.StepC, row.StepZ) = (g.Stride(0, 0), g.Stride(1, 0), g.Stride(2, 0), g.Stride(3, 0));
        else (row.StepA, row.StepB, row.StepC, row.StepZ) = (1, 1, 1, 1);
        Walk(in g, ref row);
    }

    private struct Row3<T, F> : IRow where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        public T* A, B, C, Z;
        public nint StepA, StepB, StepC, StepZ;
        public bool Accumulate;
        public F Body;

        [SkipLocalsInit]
        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3)
        {
            T* a = A + o0, b = B + o1, c = C + o2, z = Z + o3;
            if (Plain(StepA) && Plain(StepB) && Plain(StepC) && StepZ == 1)
            {
                Kernel3(n, a, StepA, b, StepB, c, StepC, z, Accumulate, Body);
                return;
            }
            T* ba = stackalloc T[Gathered], bb = stackalloc T[Gathered], bc = stackalloc T[Gathered], bz = stackalloc T[Gathered];
            for (; n > 0; n -= Gathered)
            {
                nint m = Math.Min(n, Gathered);
                T* pa = Gather(a, StepA, ba, m), pb = Gather(b, StepB, bb, m), pc = Gather(c, StepC, bc, m);
                T* pz = Destination(z, StepZ, bz, m, Accumulate);
                Kernel3(m, pa, StepA == 0 ? 0 : 1, pb, StepB == 0 ? 0 : 1, pc, StepC == 0 ? 0 : 1, pz, Accumulate, Body);
                if (pz != z) Scatter(bz, z, StepZ, m);
                a += m * StepA;
                b += m * StepB;
                c += m * StepC;
                z += m * StepZ;
            }
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Kernel3<T, F>(nint n, T* a, nint stepA, T* b, nint stepB, T* c, nint stepC, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        nint w = Vector512<T>.Count;
        Unsafe.SkipInit(out Vector512<T> splatA);
        Unsafe.SkipInit(out Vector512<T> splatB);
        Unsafe.SkipInit(out Vector512<T> splatC);
        if (stepA == 0)
        {
            splatA = Vector512.Create(*a);
            a = (T*)&splatA;
        }
        if (stepB == 0)
        {
            splatB = Vector512.Create(*b);
            b = (T*)&splatB;
        }
        if (stepC == 0)
        {
            splatC = Vector512.Create(*c);
            c = (T*)&splatC;
        }
        stepA *= w;
        stepB *= w;
        stepC *= w;
        for (; n >= w; n -= w)
        {
            var v = f.Invoke(Vector512.Load(a), Vector512.Load(b), Vector512.Load(c));
            if (accumulate) v += Vector512.Load(z);
            v.Store(z);
            a += stepA;
            b += stepB;
            c += stepC;
            z += w;
        }
        if (n > 0)
        {
            var v = f.Invoke(Lanes.Load(a, n), Lanes.Load(b, n), Lanes.Load(c, n));
            if (accumulate) v += Lanes.Load(z, n);
            Lanes.Store(v, z, n);
        }
    }
}
