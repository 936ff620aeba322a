using System.Numerics;
using Functional.Kernels;

namespace Functional;

/// <summary>Free blocks by size class, most recently freed first: a warm block costs a twentieth of a fresh one.</summary>
internal static class Pool
{
    // Four classes per doubling bound the waste at 25 %.
    private const int Smallest = 64;
    private const int Classes = 4 * 31;
    private const long CollectAfter = 64L << 20;

    private sealed class FreeList
    {
        private Block?[] _blocks = new Block?[8];
        private int _count;
        private int _lock;

        private void Enter()
        {
            var spin = new SpinWait();
            while (Interlocked.Exchange(ref _lock, 1) != 0) spin.SpinOnce();
        }

        internal void Push(Block block)
        {
            Enter();
            if (_count == _blocks.Length) Array.Resize(ref _blocks, 2 * _count);
            _blocks[_count++] = block;
            Volatile.Write(ref _lock, 0);
        }

        internal Block? Pop()
        {
            if (Volatile.Read(ref _count) == 0) return null;
            Enter();
            Block? block = null;
            if (_count > 0)
            {
                block = _blocks[--_count];
                _blocks[_count] = null;
            }
            Volatile.Write(ref _lock, 0);
            return block;
        }
    }

    private static readonly FreeList[] Free = MakeLists();
    private static long _systemBytes;
    private static long _collectAt = CollectAfter;

    /// <summary>Bytes taken from the system and not given back to it.</summary>
    internal static long SystemBytes => Volatile.Read(ref _systemBytes);

    private static FreeList[] MakeLists()
    {
        var lists = new FreeList[Classes];
        for (var i = 0; i < Classes; i++) lists[i] = new FreeList();
        return lists;
    }

    internal static long BytesOf(int sizeClass) => (long)(4 + (sizeClass & 3)) << ((sizeClass >> 2) + 4);

    internal static int ClassOf(long bytes)
    {
        if (bytes <= Smallest) return 0;
        var log = 63 - BitOperations.LeadingZeroCount((ulong)(bytes - 1));
        // sizes in (2^log, 2^(log+1)] fall in quarters of 2^(log-2)
        var quarter = (int)((bytes - 1) >> (log - 2)) - 3;
        return 4 * (log - 6) + quarter;
    }

    /// <summary>A block of at least <paramref name="bytes"/> bytes with arbitrary content, tracked by the current scope.</summary>
    internal static Block Rent(long bytes)
    {
        var sizeClass = ClassOf(bytes);
        var block = NativePages.Fenced is { } fenced ? Borrow(fenced, bytes) : Free[sizeClass].Pop() ?? Allocate(sizeClass);
        block.Shared = false;
        Scope.Current?.Track(block);
        return block;
    }

    internal static void Return(Block block)
    {
        block.Generation++;
        block.Owner = null;
        if (block.SizeClass != Block.Borrowed) Free[block.SizeClass].Push(block);
    }

    private static unsafe Block Borrow(Func<nint, nint> lend, long bytes) => new((void*)lend((nint)bytes));

    private static Block Allocate(int sizeClass)
    {
        var bytes = BytesOf(sizeClass);
        // Unreachable tensors hold blocks until a collection finds them: look before asking the system for much more.
        if (Volatile.Read(ref _systemBytes) + bytes > Volatile.Read(ref _collectAt))
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            if (Free[sizeClass].Pop() is { } recycled) return recycled;
            Trim();
            Volatile.Write(ref _collectAt, Math.Max(CollectAfter, (Volatile.Read(ref _systemBytes) + bytes) * 3 / 2));
        }
        try
        {
            var block = new Block(sizeClass);
            Interlocked.Add(ref _systemBytes, bytes);
            return block;
        }
        catch (OutOfMemoryException)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            Trim();
            var block = new Block(sizeClass);
            Interlocked.Add(ref _systemBytes, bytes);
            return block;
        }
    }

    /// <summary>Gives every free block back to the system.</summary>
    internal static void Trim()
    {
        for (var i = 0; i < Classes; i++)
            while (Free[i].Pop() is { } block)
            {
                block.Free();
                Interlocked.Add(ref _systemBytes, -BytesOf(i));
            }
    }
}
