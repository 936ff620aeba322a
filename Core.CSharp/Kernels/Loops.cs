using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>One innermost stretch of a walk: n elements starting at the given element offsets of the operands.</summary>
internal interface IRow
{
    void Run(nint n, nint o0, nint o1, nint o2, nint o3);
}

/// <summary>
/// Elementwise loops, written once per number of operands; the body is a struct that the JIT inlines. An element's value
/// never depends on its position: the last partial vector runs through the same body under a mask. The destination may be
/// one of the inputs (same walk), but must not overlap one otherwise.
/// </summary>
internal static unsafe partial class Loops
{
    /// <summary>Elements per parallel chunk; a call with fewer than two of them stays on its thread.</summary>
    public const nint Chunk = 16384;

    /// <summary>Elements of a strided operand gathered at a time.</summary>
    private const int Gathered = 256;

    /// <summary>Whether no cache holds a result of n elements: it is then written around them. Such a walk is always cut into chunks, and each ends with <see cref="Streaming.Finish"/>.</summary>
    private static bool Large<T>(nint n) where T : unmanaged => n * sizeof(T) >= Streaming.Least;

    private static bool IsOnLine(void* p) => (nint)p % sizeof(Vector512<byte>) == 0;

    // ---- one input ----

    /// <summary><c>y[i] = f(x[i])</c>, or <c>y[i] += f(x[i])</c>, for n contiguous elements.</summary>
    public static void Map1<T, F>(nint n, T* x, T* y, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        if (n < 2 * Chunk) Kernel1<T, F, Streaming.Through>(n, x, 1, y, accumulate, f);
        else
        {
            var row = new Row1<T, F> { X = x, Y = y, StepX = 1, StepY = 1, Accumulate = accumulate, Streamed = !accumulate && x != y && Large<T>(n), Body = f };
            Split(n, ref row);
        }
    }

    /// <summary><c>y = f(x)</c>, or <c>y += f(x)</c>, over a walk of (x, y).</summary>
    public static void Map1<T, F>(in Geometry g, T* x, T* y, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        var row = new Row1<T, F> { X = x, Y = y, Accumulate = accumulate, Streamed = !accumulate && x != y && Large<T>(g.Count), Body = f };
        if (g.Rank > 0) (row.StepX, row.StepY) = (g.Stride(0, 0), g.Stride(1, 0));
        else (row.StepX, row.StepY) = (1, 1);
        if (g.Rank >= 2 && (row.StepY != 1 || !Plain(row.StepX)) && Tiled1(in g, x, y, accumulate, f)) return;
        Walk(in g, ref row);
    }

    /// <summary>Tries the walk in tiles; false where no operand gains from it.</summary>
    private static bool Tiled1<T, F>(in Geometry g, T* x, T* y, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        var turned = g.Stride(1, 0) == 1 ? g : g.Oriented(1);
        if (turned.Stride(1, 0) != 1) return false;
        if (!TileAxis(in turned, 0, out int axis))
        {
            if (g.Stride(1, 0) == 1) return false;
            Map1(in turned, x, y, accumulate, f);
            return true;
        }
        var tile = new Tile1<T, F>
        {
            X = x,
            Y = y,
            N = turned.Size(0),
            Accumulate = accumulate,
            Body = f,
            StepX = turned.Stride(0, 0),
            AxisX = turned.Stride(0, axis),
            AxisY = turned.Stride(1, axis),
        };
        Tiles(in turned, axis, ref tile);
        return true;
    }

    private struct Tile1<T, F> : ITile where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        public T* X, Y;
        public nint N, StepX, AxisX, AxisY;
        public bool Accumulate;
        public F Body;

        [SkipLocalsInit]
        public readonly void Run(nint rows, nint o0, nint o1, nint o2, nint o3)
        {
            T* bx = stackalloc T[Tile * Gathered];
            for (nint c = 0; c < N; c += Gathered)
            {
                nint m = Math.Min(N - c, Gathered);
                T* x = Panel(X + o0 + c * StepX, StepX, AxisX, bx, rows, m, out nint rowX);
                for (nint r = 0; r < rows; r++)
                    Kernel1<T, F, Streaming.Through>(m, x + r * rowX, StepX == 0 ? 0 : 1, Y + o1 + c + r * AxisY, Accumulate, Body);
            }
        }
    }

    private struct Row1<T, F> : IRow where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        public T* X, Y;
        public nint StepX, StepY;
        public bool Accumulate, Streamed;
        public F Body;

        [SkipLocalsInit]
        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3)
        {
            T* x = X + o0, y = Y + o1;
            if (Plain(StepX) && StepY == 1)
            {
                if (Streamed && IsOnLine(y)) Kernel1<T, F, Streaming.Around>(n, x, StepX, y, accumulate: false, Body);
                else Kernel1<T, F, Streaming.Through>(n, x, StepX, y, Accumulate, Body);
                return;
            }
            T* bx = stackalloc T[Gathered], by = stackalloc T[Gathered];
            for (; n > 0; n -= Gathered)
            {
                nint m = Math.Min(n, Gathered);
                T* px = Gather(x, StepX, bx, m), py = Destination(y, StepY, by, m, Accumulate);
                Kernel1<T, F, Streaming.Through>(m, px, StepX == 0 ? 0 : 1, py, Accumulate, Body);
                if (py != y) Scatter(by, y, StepY, m);
                x += m * StepX;
                y += m * StepY;
            }
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Kernel1<T, F, TStore>(nint n, T* x, nint stepX, T* y, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap1 where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count;
        Unsafe.SkipInit(out Vector512<T> splat);
        if (stepX == 0)
        {
            splat = Vector512.Create(*x);
            x = (T*)&splat;
        }
        stepX *= w;
        // One vector at a time: the processor looks further ahead than any unrolling, which made exp and tanh 2 to 3 % slower.
        for (; n >= w; n -= w)
        {
            var v = f.Invoke(Vector512.Load(x));
            if (accumulate) v += Vector512.Load(y);
            TStore.Store(v, y);
            x += stepX;
            y += w;
        }
        if (n > 0)
        {
            var v = f.Invoke(Lanes.Load(x, n));
            if (accumulate) v += Lanes.Load(y, n);
            Lanes.Store(v, y, n);
        }
    }

    // ---- two inputs ----

    /// <summary><c>z[i] = f(x[i], y[i])</c>, or <c>z[i] += …</c>, for n contiguous elements.</summary>
    public static void Map2<T, F>(nint n, T* x, T* y, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        if (n < 2 * Chunk) Kernel2<T, F, Streaming.Through>(n, x, 1, y, 1, z, accumulate, f);
        else
        {
            var row = new Row2<T, F> { X = x, Y = y, Z = z, StepX = 1, StepY = 1, StepZ = 1, Accumulate = accumulate, Streamed = !accumulate && x != z && y != z && Large<T>(n), Body = f };
            Split(n, ref row);
        }
    }

    /// <summary><c>z = f(x, y)</c>, or <c>z += f(x, y)</c>, over a walk of (x, y, z).</summary>
    public static void Map2<T, F>(in Geometry g, T* x, T* y, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        var row = new Row2<T, F> { X = x, Y = y, Z = z, Accumulate = accumulate, Streamed = !accumulate && x != z && y != z && Large<T>(g.Count), Body = f };
        if (g.Rank > 0) (row.StepX, row.StepY, row.StepZ) = (g.Stride(0, 0), g.Stride(1, 0), g.Stride(2, 0));
        else (row.StepX, row.StepY, row.StepZ) = (1, 1, 1);
        if (g.Rank >= 2 && (row.StepZ != 1 || !Plain(row.StepX) || !Plain(row.StepY)) && Tiled2(in g, x, y, z, accumulate, f)) return;
        Walk(in g, ref row);
    }

    private static bool Tiled2<T, F>(in Geometry g, T* x, T* y, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        var turned = g.Stride(2, 0) == 1 ? g : g.Oriented(2);
        if (turned.Stride(2, 0) != 1) return false;
        if (!TileAxis(in turned, 0, out int axis) && !TileAxis(in turned, 1, out axis))
        {
            if (g.Stride(2, 0) == 1) return false;
            Map2(in turned, x, y, z, accumulate, f);
            return true;
        }
        var tile = new Tile2<T, F>
        {
            X = x,
            Y = y,
            Z = z,
            N = turned.Size(0),
            Accumulate = accumulate,
            Body = f,
            StepX = turned.Stride(0, 0),
            StepY = turned.Stride(1, 0),
            AxisX = turned.Stride(0, axis),
            AxisY = turned.Stride(1, axis),
            AxisZ = turned.Stride(2, axis),
        };
        Tiles(in turned, axis, ref tile);
        return true;
    }

    private struct Tile2<T, F> : ITile where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        public T* X, Y, Z;
        public nint N, StepX, StepY, AxisX, AxisY, AxisZ;
        public bool Accumulate;
        public F Body;

        [SkipLocalsInit]
        public readonly void Run(nint rows, nint o0, nint o1, nint o2, nint o3)
        {
            T* bx = stackalloc T[Tile * Gathered], by = stackalloc T[Tile * Gathered];
            for (nint c = 0; c < N; c += Gathered)
            {
                nint m = Math.Min(N - c, Gathered);
                T* x = Panel(X + o0 + c * StepX, StepX, AxisX, bx, rows, m, out nint rowX);
                T* y = Panel(Y + o1 + c * StepY, StepY, AxisY, by, rows, m, out nint rowY);
                for (nint r = 0; r < rows; r++)
                {
                    Kernel2<T, F, Streaming.Through>(m, x + r * rowX, StepX == 0 ? 0 : 1, y + r * rowY, StepY == 0 ? 0 : 1,
                        Z + o2 + c + r * AxisZ, Accumulate, Body);
                }
            }
        }
    }

    private struct Row2<T, F> : IRow where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        public T* X, Y, Z;
        public nint StepX, StepY, StepZ;
        public bool Accumulate, Streamed;
        public F Body;

        [SkipLocalsInit]
        public readonly void Run(nint n, nint o0, nint o1, nint o2, nint o3)
        {
            T* x = X + o0, y = Y + o1, z = Z + o2;
            if (Plain(StepX) && Plain(StepY) && StepZ == 1)
            {
                if (Streamed && IsOnLine(z)) Kernel2<T, F, Streaming.Around>(n, x, StepX, y, StepY, z, accumulate: false, Body);
                else Kernel2<T, F, Streaming.Through>(n, x, StepX, y, StepY, z, Accumulate, Body);
                return;
            }
            T* bx = stackalloc T[Gathered], by = stackalloc T[Gathered], bz = stackalloc T[Gathered];
            for (; n > 0; n -= Gathered)
            {
                nint m = Math.Min(n, Gathered);
                T* px = Gather(x, StepX, bx, m), py = Gather(y, StepY, by, m), pz = Destination(z, StepZ, bz, m, Accumulate);
                Kernel2<T, F, Streaming.Through>(m, px, StepX == 0 ? 0 : 1, py, StepY == 0 ? 0 : 1, pz, Accumulate, Body);
                if (pz != z) Scatter(bz, z, StepZ, m);
                x += m * StepX;
                y += m * StepY;
                z += m * StepZ;
            }
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Kernel2<T, F, TStore>(nint n, T* x, nint stepX, T* y, nint stepY, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap2 where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count;
        Unsafe.SkipInit(out Vector512<T> splatX);
        Unsafe.SkipInit(out Vector512<T> splatY);
        // a repeated operand is a vector in the stack frame read with stride 0: one loop for every combination
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
        stepX *= w;
        stepY *= w;
        for (; n >= 2 * w; n -= 2 * w)
        {
            var a = f.Invoke(Vector512.Load(x), Vector512.Load(y));
            var b = f.Invoke(Vector512.Load(x + stepX), Vector512.Load(y + stepY));
            if (accumulate)
            {
                a += Vector512.Load(z);
                b += Vector512.Load(z + w);
            }
            TStore.Store(a, z);
            TStore.Store(b, z + w);
            x += 2 * stepX;
            y += 2 * stepY;
            z += 2 * w;
        }
        for (; n > 0; n -= w)
        {
            nint m = Math.Min(n, w);
            var a = f.Invoke(Lanes.Load(x, m), Lanes.Load(y, m));
            if (accumulate) a += Lanes.Load(z, m);
            Lanes.Store(a, z, m);
            x += stepX;
            y += stepY;
            z += w;
        }
    }

    // ---- strided operands ----

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Plain(nint stride) => (nuint)stride <= 1;

    /// <summary>The operand itself where its stride is 0 or 1, a gathered copy of n elements in <paramref name="buffer"/> otherwise.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static T* Gather<T>(T* p, nint stride, T* buffer, nint n) where T : unmanaged
    {
        if (Plain(stride)) return p;
        nint i = 0;
        // Every other element of four bytes: the lower halves of eight.
        if (stride == 2 && sizeof(T) == 4 && BitConverter.IsLittleEndian)
            for (nint w = Vector512<T>.Count; i + w < n; i += w)
                Vector512.Narrow(Vector512.Load((ulong*)(p + 2 * i)), Vector512.Load((ulong*)(p + 2 * i + w))).Store((uint*)(buffer + i));
        for (; i < n; i++) buffer[i] = p[i * stride];
        return buffer;
    }

    private static T* Destination<T>(T* p, nint stride, T* buffer, nint n, bool accumulate) where T : unmanaged
    {
        if (stride == 1) return p;
        if (accumulate) Gather(p, stride, buffer, n);
        return buffer;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scatter<T>(T* buffer, T* p, nint stride, nint n) where T : unmanaged
    {
        for (nint i = 0; i < n; i++) p[i * stride] = buffer[i];
    }
}
