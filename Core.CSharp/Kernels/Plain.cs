using System.Numerics;

namespace Functional.Kernels;

/// <summary>The loops that answer where kernels cannot be emitted.</summary>
internal static unsafe class Plain
{
    /// <summary>y += x·b</summary>
    internal static void AddScaled<T>(T x, T* b, T* y, nint n) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        nint j = 0;
        if (Vector.IsHardwareAccelerated)
        {
            var scale = new Vector<T>(x);
            for (; j <= n - Vector<T>.Count; j += Vector<T>.Count)
                Vector.Store(Vector.Load(y + j) + scale * Vector.Load(b + j), y + j);
        }
        for (; j < n; j++) y[j] += x * b[j];
    }
}
