using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Asks for memory that the next piece of work will read, some lines at a time, while this piece computes.</summary>
internal unsafe struct Prefetch
{
    private const int Line = 64;

    private byte* _at, _end;
    private readonly int _lines;

    /// <summary><paramref name="bytes"/> from <paramref name="from"/> on, spread evenly over a number of steps.</summary>
    internal Prefetch(void* from, nint bytes, nint steps)
    {
        _at = (byte*)from;
        _end = _at + bytes;
        _lines = (int)((bytes / Line + steps) / Math.Max(1, steps)) + 1;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Step()
    {
        if (_at >= _end || !Sse.IsSupported) return;
        var last = _at + Line * _lines;
        if (last > _end) last = _end;
        for (; _at < last; _at += Line) Sse.Prefetch1(_at);
    }
}
