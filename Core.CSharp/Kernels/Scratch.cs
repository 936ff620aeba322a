using System.Runtime.InteropServices;

namespace Functional.Kernels;

/// <summary>Native memory that a thread keeps for packing: 64-byte aligned, grows, never shrinks.</summary>
internal sealed unsafe class Scratch
{
    [ThreadStatic] private static Scratch? _mine;

    private void* _memory;
    private nuint _bytes;

    ~Scratch() => NativeMemory.AlignedFree(_memory);

    /// <summary>At least <paramref name="bytes"/> bytes of this thread's memory; the next call may hand out the same.</summary>
    internal static void* Get(nint bytes)
    {
        if (NativePages.Fenced is { } fenced) return (void*)fenced(bytes);
        var mine = _mine ??= new Scratch();
        if (mine._bytes < (nuint)bytes)
        {
            // Empty until the larger block is here: a refused request must not leave a freed pointer behind.
            NativeMemory.AlignedFree(mine._memory);
            mine._memory = null;
            mine._bytes = 0;
            var grown = NativePages.Whole((nuint)bytes + ((nuint)bytes >> 2));
            mine._memory = NativePages.Allocate(grown);
            mine._bytes = grown;
        }
        return mine._memory;
    }
}

/// <summary>Native memory that the threads of one job share, kept for the next job.</summary>
internal sealed unsafe class SharedScratch
{
    // Two, because a job that has rented memory may run products that rent their own.
    private static SharedScratch? _idle, _other;

    private nuint _bytes;
    private readonly bool _borrowed;

    internal void* Pointer { get; private set; }

    private SharedScratch() { }

    // Another's memory: never kept, never freed.
    private SharedScratch(void* pointer)
    {
        Pointer = pointer;
        _borrowed = true;
        GC.SuppressFinalize(this);
    }

    ~SharedScratch() => NativeMemory.AlignedFree(Pointer);

    /// <summary>At least <paramref name="bytes"/> bytes; give them back with <see cref="Return"/>.</summary>
    internal static SharedScratch Rent(nint bytes)
    {
        if (NativePages.Fenced is { } fenced) return new SharedScratch((void*)fenced(bytes));
        var memory = Interlocked.Exchange(ref _idle, null) ?? Interlocked.Exchange(ref _other, null) ?? new SharedScratch();
        if (memory._bytes < (nuint)bytes)
        {
            NativeMemory.AlignedFree(memory.Pointer);
            memory.Pointer = null;
            memory._bytes = 0;
            var whole = NativePages.Whole((nuint)bytes);
            memory.Pointer = NativePages.Allocate(whole);
            memory._bytes = whole;
        }
        return memory;
    }

    internal static void Return(SharedScratch memory)
    {
        if (memory._borrowed) return;
        if (Interlocked.CompareExchange(ref _idle, memory, null) is not null) Volatile.Write(ref _other, memory);
    }
}
