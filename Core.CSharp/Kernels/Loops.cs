using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>
/// Elementwise loops, written once per number of operands; the body is a struct that the JIT inlines. An element's value
/// never depends on its position: the last partial vector runs through the same body under a mask. The destination may be
/// one of the inputs (same walk), but must not overlap one otherwise.
/// The kernels are not inlined into what runs their chunks: the JIT would then have nothing left to spend on the bodies, and call them vector by vector.
/// </summary>
internal static unsafe partial class Loops
{
    /// <summary>Elements per parallel chunk; a call with fewer than two of them stays on its thread.</summary>
    public const nint Chunk = 16384;

    /// <summary>Elements of a strided operand gathered at a time.</summary>
    private const int Gathered = 256;

    /// <summary>Whether no cache holds a result of n elements: it is then written around them. Such a walk is always cut into chunks, and each ends with <see cref="Streaming.Finish"/>.</summary>
    private static bool Large<T>(nint n) where T : unmanaged => n * sizeof(T) >= Streaming.Least;

    private static bool IsOnLine<T>(T* p, nint stride) where T : unmanaged => ((nint)p | stride * sizeof(T)) % sizeof(Vector512<byte>) == 0;

    // ---- one input ----

    /// <summary><c>y[i] = f(x[i])</c>, or <c>y[i] += f(x[i])</c>, for n contiguous elements.</summary>
    public static void Map1<T, F>(nint n, T* x, T* y, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        if (n < 2 * Chunk) Kernel1<T, F, Streaming.Through>(n, 1, x, 1, 0, y, 0, accumulate, f);
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
                Kernel1<T, F, Streaming.Through>(m, rows, x, StepX == 0 ? 0 : 1, rowX, Y + o1 + c, AxisY, Accumulate, Body);
            }
        }
    }

    private struct Row1<T, F> : IRows where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        public T* X, Y;
        public nint StepX, StepY;
        public bool Accumulate, Streamed;
        public F Body;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Run(nint n, nint rows, in Offsets at, in Offsets step)
        {
            T* x = X + at.O0, y = Y + at.O1;
            if (!Plain(StepX) || StepY != 1)
                for (nint r = 0; r < rows; r++) Gathering(n, x + r * step.O0, y + r * step.O1);
            else if (Streamed && IsOnLine(y, step.O1)) Kernel1<T, F, Streaming.Around>(n, rows, x, StepX, step.O0, y, step.O1, accumulate: false, Body);
            else Kernel1<T, F, Streaming.Through>(n, rows, x, StepX, step.O0, y, step.O1, Accumulate, Body);
        }

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Gathering(nint n, T* x, T* y)
        {
            T* bx = stackalloc T[Gathered], by = stackalloc T[Gathered];
            for (; n > 0; n -= Gathered)
            {
                nint m = Math.Min(n, Gathered);
                T* px = Gather(x, StepX, bx, m), py = Destination(y, StepY, by, m, Accumulate);
                Kernel1<T, F, Streaming.Through>(m, 1, px, StepX == 0 ? 0 : 1, 0, py, 0, Accumulate, Body);
                if (py != y) Scatter(by, y, StepY, m);
                x += m * StepX;
                y += m * StepY;
            }
        }
    }

    /// <summary>Rows of n elements: <paramref name="stepX"/> is x's stride along a row, 0 or 1, <paramref name="rowX"/> that from row to row.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Kernel1<T, F, TStore>(nint n, nint rows, T* x, nint stepX, nint rowX, T* y, nint rowY, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap1 where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count;
        Unsafe.SkipInit(out Vector512<T> splat);
        for (; rows > 0; rows--, x += rowX, y += rowY)
        {
            T* px = x, py = y;
            if (stepX == 0)
            {
                splat = Vector512.Create(*x);
                px = (T*)&splat;
            }
            // The step is computed here, not in the loop: with nothing between the branch and the loop the JIT enters it from both sides, and then keeps no constants in registers.
            nint left = n, next = stepX * w;
            // One vector at a time: the processor looks further ahead than any unrolling, which made exp and tanh 2 to 3 % slower.
            for (; left >= w; left -= w)
            {
                var v = f.Invoke(Vector512.Load(px));
                if (accumulate) v += Vector512.Load(py);
                TStore.Store(v, py);
                px += next;
                py += w;
            }
            if (left > 0)
            {
                var v = f.Invoke(Lanes.Load(px, left));
                if (accumulate) v += Lanes.Load(py, left);
                Lanes.Store(v, py, left);
            }
        }
    }

    // ---- two inputs ----

    /// <summary><c>z[i] = f(x[i], y[i])</c>, or <c>z[i] += …</c>, for n contiguous elements.</summary>
    public static void Map2<T, F>(nint n, T* x, T* y, T* z, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        if (n < 2 * Chunk) Kernel2<T, F, Streaming.Through>(n, 1, x, 1, 0, y, 1, 0, z, 0, accumulate, f);
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
                Kernel2<T, F, Streaming.Through>(m, rows, x, StepX == 0 ? 0 : 1, rowX, y, StepY == 0 ? 0 : 1, rowY, Z + o2 + c, AxisZ, Accumulate, Body);
            }
        }
    }

    private struct Row2<T, F> : IRows where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        public T* X, Y, Z;
        public nint StepX, StepY, StepZ;
        public bool Accumulate, Streamed;
        public F Body;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Run(nint n, nint rows, in Offsets at, in Offsets step)
        {
            T* x = X + at.O0, y = Y + at.O1, z = Z + at.O2;
            if (!Plain(StepX) || !Plain(StepY) || StepZ != 1)
                for (nint r = 0; r < rows; r++) Gathering(n, x + r * step.O0, y + r * step.O1, z + r * step.O2);
            else if (Streamed && IsOnLine(z, step.O2)) Kernel2<T, F, Streaming.Around>(n, rows, x, StepX, step.O0, y, StepY, step.O1, z, step.O2, accumulate: false, Body);
            else Kernel2<T, F, Streaming.Through>(n, rows, x, StepX, step.O0, y, StepY, step.O1, z, step.O2, Accumulate, Body);
        }

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Gathering(nint n, T* x, T* y, T* z)
        {
            T* bx = stackalloc T[Gathered], by = stackalloc T[Gathered], bz = stackalloc T[Gathered];
            for (; n > 0; n -= Gathered)
            {
                nint m = Math.Min(n, Gathered);
                T* px = Gather(x, StepX, bx, m), py = Gather(y, StepY, by, m), pz = Destination(z, StepZ, bz, m, Accumulate);
                Kernel2<T, F, Streaming.Through>(m, 1, px, StepX == 0 ? 0 : 1, 0, py, StepY == 0 ? 0 : 1, 0, pz, 0, Accumulate, Body);
                if (pz != z) Scatter(bz, z, StepZ, m);
                x += m * StepX;
                y += m * StepY;
                z += m * StepZ;
            }
        }
    }

    /// <summary>Rows of n elements, each operand with its stride along a row, 0 or 1, and that from row to row.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Kernel2<T, F, TStore>(nint n, nint rows, T* x, nint stepX, nint rowX, T* y, nint stepY, nint rowY, T* z, nint rowZ, bool accumulate, F f)
        where T : unmanaged, INumber<T> where F : struct, IMap2 where TStore : struct, Streaming.IStore
    {
        nint w = Vector512<T>.Count;
        Unsafe.SkipInit(out Vector512<T> splatX);
        Unsafe.SkipInit(out Vector512<T> splatY);
        for (; rows > 0; rows--, x += rowX, y += rowY, z += rowZ)
        {
            T* px = x, py = y, pz = z;
            // a repeated operand is a vector in the stack frame read with stride 0: one loop for every combination
            if (stepX == 0)
            {
                splatX = Vector512.Create(*x);
                px = (T*)&splatX;
            }
            if (stepY == 0)
            {
                splatY = Vector512.Create(*y);
                py = (T*)&splatY;
            }
            nint left = n, nextX = stepX * w, nextY = stepY * w;
            for (; left >= 2 * w; left -= 2 * w)
            {
                var a = f.Invoke(Vector512.Load(px), Vector512.Load(py));
                var b = f.Invoke(Vector512.Load(px + nextX), Vector512.Load(py + nextY));
                if (accumulate)
                {
                    a += Vector512.Load(pz);
                    b += Vector512.Load(pz + w);
                }
                TStore.Store(a, pz);
                TStore.Store(b, pz + w);
                px += 2 * nextX;
                py += 2 * nextY;
                pz += 2 * w;
            }
            for (; left > 0; left -= w)
            {
                nint m = Math.Min(left, w);
                var a = f.Invoke(Lanes.Load(px, m), Lanes.Load(py, m));
                if (accumulate) a += Lanes.Load(pz, m);
                Lanes.Store(a, pz, m);
                px += nextX;
                py += nextY;
                pz += w;
            }
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
