using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>Images moved by whole numbers of pixels, each its own way, in contiguous arrays [images, channels, height, width].</summary>
internal static unsafe class Images
{
    /// <summary>
    /// <c>y[n, c, i, j] = x[n, c, i + a, j + b]</c> with <c>(a, b, m) = moves[n, :]</c>, and <c>x[n, c, i + a, b − j]</c> where m is not 0; zero outside
    /// of x. <paramref name="back"/> moves what came from there to its place again.
    /// </summary>
    public static void Move<T>(nint images, nint channels, nint height, nint width, T* x, long* moves, bool back, T* y) where T : unmanaged
    {
        nint planes = images * channels, plane = height * width;
        if (planes == 0 || plane == 0) return;
        var job = new MoveJob<T> { Planes = planes, Channels = channels, Height = height, Width = width, X = x, Moves = moves, Back = back, Y = y };
        job.Size = Math.Max(Math.Max(1, Loops.Chunk / plane), (planes + 15) / 16);
        nint chunks = (planes + job.Size - 1) / job.Size;
        if (chunks == 1) job.Run(0);
        else Workers.For((int)chunks, ref job);
    }

    private struct MoveJob<T> : IJob where T : unmanaged
    {
        public nint Planes, Channels, Height, Width, Size;
        public T* X, Y;
        public long* Moves;
        public bool Back;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int chunk)
        {
            nint end = Math.Min(Planes, (chunk + 1) * Size);
            for (nint plane = chunk * Size; plane < end; plane++)
            {
                long* move = Moves + 3 * (plane / Channels);
                bool mirrored = move[2] != 0;
                // Beyond these bounds nothing is left to see, and no sum overflows within them.
                nint down = (nint)Math.Clamp(move[0], -Height, Height), right = (nint)Math.Clamp(move[1], -Width, 2 * Width);
                if (Back)
                {
                    down = -down;
                    // Mirroring about a column undoes itself.
                    if (!mirrored) right = -right;
                }
                T* from = X + plane * Height * Width, to = Y + plane * Height * Width;
                for (nint i = 0; i < Height; i++, to += Width)
                {
                    nint row = i + down;
                    if (row < 0 || row >= Height) new Span<T>(to, (int)Width).Clear();
                    else if (mirrored) Mirrored(from + row * Width, right, to);
                    else Shifted(from + row * Width, right, to);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Shifted(T* x, nint right, T* y)
        {
            nint first = Math.Clamp(-right, 0, Width), last = Math.Clamp(Width - right, first, Width);
            Around(y, first, last);
            if (last > first) Unsafe.CopyBlockUnaligned(y + first, x + first + right, (uint)((last - first) * sizeof(T)));
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Mirrored(T* x, nint right, T* y)
        {
            nint first = Math.Clamp(right - Width + 1, 0, Width), last = Math.Clamp(right + 1, first, Width);
            Around(y, first, last);
            nint j = first;
            if (sizeof(T) == 4)
            {
                var backwards = Vector256.Create(7, 6, 5, 4, 3, 2, 1, 0);
                for (; j + 8 <= last; j += 8)
                    Vector256.Store(Vector256.Shuffle(Vector256.Load((int*)(x + right - j - 7)), backwards), (int*)(y + j));
            }
            for (; j < last; j++) y[j] = x[right - j];
        }

        // Few elements: a loop is shorter than a call.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Around(T* y, nint first, nint last)
        {
            for (nint j = 0; j < first; j++) y[j] = default;
            for (nint j = last; j < Width; j++) y[j] = default;
        }
    }
}
