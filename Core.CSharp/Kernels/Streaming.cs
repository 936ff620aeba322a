using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Stores around the caches, for results that no cache holds: their lines need not be read before they are written.</summary>
internal static unsafe class Streaming
{
    /// <summary>Bytes of a result from which on it is written around the caches.</summary>
    internal const nint Least = 16 << 20;

    /// <summary>Whether rows of <paramref name="rowBytes"/> from <paramref name="y"/> on are worth it, and whole cache lines.</summary>
    internal static bool Pays(void* y, nint rows, nint rowBytes) =>
        Sse2.IsSupported && rows * rowBytes >= Least && ((nint)y | rowBytes) % sizeof(Vector512<byte>) == 0;

    /// <summary>How a loop stores its whole vectors; fixed when it is compiled, so that no branch stays in it.</summary>
    internal interface IStore
    {
        static abstract void Store<T>(Vector512<T> v, T* p) where T : unmanaged;
    }

    internal readonly struct Through : IStore
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store<T>(Vector512<T> v, T* p) where T : unmanaged => v.Store(p);
    }

    /// <summary>To whole cache lines only.</summary>
    internal readonly struct Around : IStore
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store<T>(Vector512<T> v, T* p) where T : unmanaged => v.StoreAlignedNonTemporal(p);
    }

    /// <summary>Lets other threads see what was stored; at the end of each piece of work.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Finish()
    {
        if (Sse.IsSupported) Sse.StoreFence();
    }
}
