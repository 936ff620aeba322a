using System.Runtime.InteropServices;
using Functional.Kernels;

namespace Functional;

/// <summary>A piece of 64-byte-aligned native memory and the right to use it. Handle and memory are recycled together;
/// the generation tells a tensor whether its block is still its own.</summary>
internal sealed unsafe class Block
{
    internal const int Borrowed = -1;

    internal void* Pointer;
    internal readonly int SizeClass;

    /// <summary>Counts how often the block was given back.</summary>
    internal uint Generation;

    /// <summary>The scope that gives the block back at its end; null when the collector does.</summary>
    internal Scope? Owner;

    /// <summary>True once a second holder shares the block, which then lives to the end of its scope.</summary>
    internal bool Shared;

    internal Block(int sizeClass)
    {
        SizeClass = sizeClass;
        Pointer = NativePages.Allocate((nuint)Pool.BytesOf(sizeClass));
    }

    /// <summary>Another's memory, which no pool takes.</summary>
    internal Block(void* borrowed)
    {
        SizeClass = Borrowed;
        Pointer = borrowed;
        GC.SuppressFinalize(this);
    }

    // An unreachable block goes back to the pool, handle and all, instead of to the system.
    ~Block()
    {
        if (Pointer == null) return;
        GC.ReRegisterForFinalize(this);
        Pool.Return(this);
    }

    internal void Free()
    {
        NativeMemory.AlignedFree(Pointer);
        Pointer = null;
        GC.SuppressFinalize(this);
    }
}
