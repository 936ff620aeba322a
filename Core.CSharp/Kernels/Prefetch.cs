using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Memory that the next piece of work will read: kernels ask for it while this piece is computed, a cache line for each step of k.</summary>
internal unsafe struct Prefetch
{
    internal const int Line = 64;

    // Few enough to be on their way before the next are asked for.
    private const int Few = 4;

    private byte* _at;
    private readonly byte* _end;

    /// <summary><paramref name="bytes"/> from <paramref name="from"/> on.</summary>
    internal Prefetch(void* from, nint bytes)
    {
        _at = (byte*)from;
        _end = _at + bytes;
    }

    /// <summary>Where the next so many lines begin; null where all have been asked for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void* Take(nint lines)
    {
        if (_at >= _end) return null;
        var at = _at;
        _at += lines * Line;
        return at;
    }

    /// <summary>Asks for a few lines, where kernels cannot.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Ask()
    {
        for (var i = 0; i < Few && _at < _end && Sse.IsSupported; i++, _at += Line) Sse.Prefetch1(_at);
    }
}
