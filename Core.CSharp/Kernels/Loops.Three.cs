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
        if (n < 2 * Chunk) Kernel3<T, F, Streaming.Through>(n, 1, a, 1, 0, b, 1, 0, c, 1, 0, z, 0, accumulate, f);
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
                Streamed = !accumulate && z != a && z != b && z != c && Large<T>(n),
                Body = f,
            };
            Split(n, ref row);
        }
    }

    /// <summary><c>z = f(a, b, c)</c>, or <c>z += f(a, b, c)</c>, over a walk of (a, b, c, z).</summary>
    public static void Map3<T, F>(in Geometry g, T* a, T* b, T* c, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        var row = new Row3<T, F> { A = a, B = b, C = c, Z = z, Accumulate = accumulate, Streamed = !accumulate && z != a && z != b && z != c && Large<T>(g.Count), Body = f };
        if (g.Rank > 0) (row.StepA, row.StepB, row.StepC, row.StepZ) = (g.Stride(0, 0), g.Stride(1, 0), g.Stride(2, 0), g.Stride(3, 0));
        else (row.StepA, row.StepB, row.StepC, row.StepZ) = (1, 1, 1, 1);
        Walk(in g, ref row);
    }

    private struct Row3<T, F> : IRows where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        public T* A, B, C, Z;
        public nint StepA, StepB, StepC, StepZ;
        public bool Accumulate, Streamed;
        public F Body;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Run(nint n, nint rows, in Offsets at, in Offsets step)
        {
            T* a = A + at.O0, b = B + at.O1, c = C + at.O2, z = Z + at.O3;
            if (!Plain(StepA) || !Plain(StepB) || !Plain(StepC) || StepZ != 1)
                for (nint r = 0; r < rows; r++) Gathering(n, a + r * step.O0, b + r * step.O1, c + r * step.O2, z + r * step.O3);
            else if (Streamed && IsOnLine(z, step.O3))
                Kernel3<T, F, Streaming.Around>(n, rows, a, StepA, step.O0, b, StepB, step.O1, c, StepC, step.O2, z, step.O3, accumulate: false, Body);
            else Kernel3<T, F, Streaming.Through>(n, rows, a, StepA, step.O0, b, StepB, step.O1, c, StepC, step.O2, z, step.O3, Accumulate, Body);
        }

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Gathering(nint n, T* a, T* b, T* c, T* z)
        {
            T* ba = stackalloc T[Gathered], bb = stackalloc T[Gathered], bc = stackalloc T[Gathered], bz = stackalloc T[Gathered];
            for (; n > 0; n -= Gathered)
            {
                nint m = Math.Min(n, Gathered);
                T* pa = Gather(a, StepA, ba, m), pb = Gather(b, StepB, bb, m), pc = Gather(c, StepC, bc, m);
                T* pz = Destination(z, StepZ, bz, m, Accumulate);
                Kernel3<T, F, Streaming.Through>(m, 1, pa, StepA == 0 ? 0 : 1, 0, pb, StepB == 0 ? 0 : 1, 0, pc, StepC == 0 ? 0 : 1, 0, pz, 0, Accumulate, Body);
                if (pz != z) Scatter(bz, z, StepZ, m);
                a += m * StepA;
                b += m * StepB;
                c += m * StepC;
                z += m * StepZ;
            }
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Kernel3<T, F, TStore>(nint n, nint rows, T* a, nint stepA, nint rowA, T* b, nint stepB, nint rowB, T* c, nint stepC, nint rowC, T* z, nint rowZ,
        bool accumulate, F f) where T : unmanaged, INumber<T> where F : struct, IMap3 where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count;
        Unsafe.SkipInit(out Vector512<T> splatA);
        Unsafe.SkipInit(out Vector512<T> splatB);
        Unsafe.SkipInit(out Vector512<T> splatC);
        for (; rows > 0; rows--, a += rowA, b += rowB, c += rowC, z += rowZ)
        {
            T* pa = a, pb = b, pc = c, pz = z;
            if (stepA == 0)
            {
                splatA = Vector512.Create(*a);
                pa = (T*)&splatA;
            }
            if (stepB == 0)
            {
                splatB = Vector512.Create(*b);
                pb = (T*)&splatB;
            }
            if (stepC == 0)
            {
                splatC = Vector512.Create(*c);
                pc = (T*)&splatC;
            }
            nint left = n, nextA = stepA * w, nextB = stepB * w, nextC = stepC * w;
            for (; left >= w; left -= w)
            {
                var v = f.Invoke(Vector512.Load(pa), Vector512.Load(pb), Vector512.Load(pc));
                if (accumulate) v += Vector512.Load(pz);
                TStore.Store(v, pz);
                pa += nextA;
                pb += nextB;
                pc += nextC;
                pz += w;
            }
            if (left > 0)
            {
                var v = f.Invoke(Lanes.Load(pa, left), Lanes.Load(pb, left), Lanes.Load(pc, left));
                if (accumulate) v += Lanes.Load(pz, left);
                Lanes.Store(v, pz, left);
            }
        }
    }
}
