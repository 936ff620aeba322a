using System.Runtime.InteropServices;

namespace Functional.Kernels;

/// <summary>Native memory aligned to cache lines; from two megabytes on also to large pages, which Linux is asked to use: a matrix of 16 MiB then
/// takes 8 entries of the translation cache instead of 4,096.</summary>
internal static unsafe partial class NativePages
{
    private const nuint CacheLine = 64;
    private const nuint LargePage = 2 << 20;
    private const int AdviseHugePages = 14;

    private static readonly bool Advises = OperatingSystem.IsLinux();

    /// <summary>Set by tests that want every tensor and every buffer in memory of theirs, where the bytes before and behind it are out of reach: gives the
    /// address of so many bytes and keeps them. Null in all other programs.</summary>
    internal static Func<nint, nint>? Fenced;

    /// <summary>The size of a buffer that is read again and again: from a quarter of a megabyte on whole large pages, since small ones lie anywhere in
    /// physical memory and share sets of the second cache.</summary>
    internal static nuint Whole(nuint bytes) => bytes < LargePage / 8 ? bytes : (bytes + LargePage - 1) / LargePage * LargePage;

    /// <summary>Memory with arbitrary content; <see cref="NativeMemory.AlignedFree"/> gives it back. What fills three quarters of its large pages gets the whole of them:
    /// a weight of 1.6 MB in small ones finds no room in a second cache of two.</summary>
    internal static void* Allocate(nuint bytes)
    {
        var whole = Whole(bytes);
        if (bytes >= whole - whole / 4) bytes = whole;
        if (bytes < LargePage || !Advises) return NativeMemory.AlignedAlloc(bytes, CacheLine);
        var memory = NativeMemory.AlignedAlloc(bytes, LargePage);
        // Only whole large pages: the rest belongs to others, too. A refusal costs speed alone.
        _ = Advise(memory, bytes / LargePage * LargePage, AdviseHugePages);
        return memory;
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint bytes, int advice);
}
