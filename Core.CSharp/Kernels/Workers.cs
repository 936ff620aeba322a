using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Work that falls into numbered, independent chunks.</summary>
internal interface IJob
{
    void Run(int chunk);
}

/// <summary>Threads that claim chunks by compare-and-swap, spin for a while and then park. The caller drains whatever no worker has claimed, so a busy neighbour
/// costs speed but never a wait for a thread that has not started.</summary>
internal static unsafe class Workers
{
    // About 0.3 ms: longer than the pause between two kernels of a training step, shorter than a script's pause for thought.
    private const int SpinsBeforeParking = 20_000;
    private const int MostChunks = 0xffff;

    /// <summary>One cache line per field that different threads write.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 512)]
    private struct Board
    {
        /// <summary>job number « 32 | next chunk « 16 | chunks: a claim is valid only while all three are unchanged.</summary>
        [FieldOffset(64)] public long Word;
        [FieldOffset(72)] public delegate*<void*, int, void> Function;
        [FieldOffset(80)] public void* Job;
        [FieldOffset(128)] public int Done;
        [FieldOffset(192)] public int Parked;
        [FieldOffset(256)] public int Busy;
    }

    private static readonly Board* Shared = MakeBoard();
    private static readonly SemaphoreSlim Bell = new(0);
    [ThreadStatic] private static bool _isAside;
    private static int _started;
    private static int _count = Math.Max(1, Environment.ProcessorCount);

    /// <summary>Threads in use, the caller included.</summary>
    internal static int Count
    {
        get => _count;
        set => _count = value >= 1
            ? value
            : throw new ArgumentOutOfRangeException(nameof(value), $"threads: at least one is needed; got {value}. Give 1 or more.");
    }

    private static Board* MakeBoard()
    {
        var board = (Board*)NativeMemory.AlignedAlloc((nuint)sizeof(Board), 64);
        NativeMemory.Clear(board, (nuint)sizeof(Board));
        return board;
    }

    /// <summary>True of a thread whose work must not keep the workers from those who need them more: its jobs run on it alone.</summary>
    internal static bool IsAside
    {
        get => _isAside;
        set => _isAside = value;
    }

    /// <summary>Runs chunks 0 … chunks-1 once each, on any threads, and returns when all are done. The job must be a local variable: workers see it by address.
    /// A call from inside a chunk, or while another thread's job runs, runs on the calling thread alone.</summary>
    internal static void For<TJob>(int chunks, ref TJob job) where TJob : struct, IJob
    {
        var board = Shared;
        if (chunks <= 1 || chunks > MostChunks || _count == 1 || _isAside || Interlocked.CompareExchange(ref board->Busy, 1, 0) != 0)
        {
            for (var chunk = 0; chunk < chunks; chunk++) job.Run(chunk);
            return;
        }
        if (_started < _count - 1) Start();
        board->Function = &Invoke<TJob>;
        board->Job = Unsafe.AsPointer(ref job);
        board->Done = 0;
        var number = (board->Word >> 32) + 1;
        Interlocked.Exchange(ref board->Word, (number << 32) | (uint)chunks);
        var parked = Volatile.Read(ref board->Parked);
        if (parked > 0 && Interlocked.Exchange(ref board->Parked, 0) is var sleepers and > 0) Bell.Release(sleepers);
        Drain(board);
        var spins = 0;
        while (Volatile.Read(ref board->Done) != chunks)
        {
            Pause();
            if (++spins > 2_000)
            {
                // A worker that holds a chunk may have lost its core.
                Thread.Yield();
                spins = 1_000;
            }
        }
        Volatile.Write(ref board->Busy, 0);
    }

    private static void Invoke<TJob>(void* job, int chunk) where TJob : struct, IJob => Unsafe.AsRef<TJob>(job).Run(chunk);

    private static void Start()
    {
        for (; _started < _count - 1; _started++)
        {
            var index = _started + 1;
            new Thread(() => Loop(index)) { IsBackground = true, Name = $"Functional worker {index}" }.Start();
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Drain(Board* board)
    {
        while (true)
        {
            var word = Volatile.Read(ref board->Word);
            var next = (int)(word >> 16) & MostChunks;
            if (next >= ((int)word & MostChunks)) return;
            var function = board->Function;
            var job = board->Job;
            if (Interlocked.CompareExchange(ref board->Word, word + 0x10000, word) != word) continue;
            function(job, next);
            Interlocked.Increment(ref board->Done);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Loop(int index)
    {
        var board = Shared;
        while (true)
        {
            var spins = 0;
            while (!HasWork(board) || index >= Volatile.Read(ref _count))
            {
                Pause();
                if (++spins <= SpinsBeforeParking) continue;
                Interlocked.Increment(ref board->Parked);
                // Work that was posted between the last look and the line above rings no bell.
                if (HasWork(board) && index < Volatile.Read(ref _count)) Interlocked.CompareExchange(ref board->Parked, 0, 1);
                else Bell.Wait();
                spins = 0;
            }
            Drain(board);
        }
    }

    private static bool HasWork(Board* board)
    {
        var word = Volatile.Read(ref board->Word);
        return ((int)(word >> 16) & MostChunks) < ((int)word & MostChunks);
    }

    private static void Pause()
    {
        if (X86Base.IsSupported) X86Base.Pause();
        else Thread.SpinWait(1);
    }
}
