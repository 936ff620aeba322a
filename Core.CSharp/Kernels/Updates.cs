using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>
/// Optimiser steps in place, one pass over memory: parameters p, gradient g and up to three arrays of moments. Scalars
/// that depend on the step's number are computed by the caller.
/// </summary>
internal static unsafe class Updates
{
    /// <summary>
    /// <c>g ← g + decay·p; p ← p − rate·g</c>. Coupled weight decay enters the gradient; decoupled decay is
    /// <c>p ← p·(1 − shrink)</c> beforehand.
    /// </summary>
    public static void Sgd<T>(nint n, T* p, T* g, double rate, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run(n, p, g, null, null, null, new SgdStep { Rate = rate, Decay = decay, Keep = 1 - shrink });

    /// <summary>
    /// <c>g ← g + decay·p; v ← momentum·v + (1 − dampening)·g; p ← p − rate·v</c>, or with Nesterov
    /// <c>p ← p − rate·(g + momentum·v)</c>. The usual first step, v = g, is dampening 0 on a zero v.
    /// </summary>
    public static void Momentum<T>(nint n, T* p, T* g, T* v, double rate, double momentum, double dampening = 0,
        bool nesterov = false, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run(n, p, g, v, null, null, new MomentumStep
        {
            Rate = rate,
            Momentum = momentum,
            Gain = 1 - dampening,
            Nesterov = nesterov,
            Decay = decay,
            Keep = 1 - shrink,
        });

    /// <summary>
    /// <c>v ← alpha·v + (1 − alpha)·g²; u = g/(√v + epsilon); p ← p − rate·u</c>. With <paramref name="mean"/> (centred)
    /// <c>mean ← alpha·mean + (1 − alpha)·g</c> and v − mean² stands under the root; with <paramref name="velocity"/>
    /// <c>velocity ← momentum·velocity + u</c> is what is stepped by.
    /// </summary>
    public static void RmsProp<T>(nint n, T* p, T* g, T* v, T* mean, T* velocity, double rate, double alpha, double epsilon,
        double momentum = 0, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run(n, p, g, v, mean, velocity, new RmsPropStep
        {
            Rate = rate,
            Alpha = alpha,
            Epsilon = epsilon,
            Momentum = momentum,
            Decay = decay,
            Keep = 1 - shrink,
            Centred = mean != null,
            Moving = velocity != null,
        });

    /// <summary>
    /// <c>m ← beta1·m + (1 − beta1)·g; v ← beta2·v + (1 − beta2)·g²; p ← p − rate·m/(√v·rootScale + epsilon)</c> with
    /// rate = η/(1 − beta1ᵗ) and rootScale = 1/√(1 − beta2ᵗ). With <paramref name="largest"/> (amsgrad)
    /// <c>largest ← max(largest, v)</c> stands under the root. AdamW is shrink = η·decay.
    /// </summary>
    public static void Adam<T>(nint n, T* p, T* g, T* m, T* v, T* largest, double rate, double rootScale, double beta1, double beta2,
        double epsilon, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run(n, p, g, m, v, largest, new AdamStep
        {
            Rate = rate,
            RootScale = rootScale,
            Beta1 = beta1,
            Beta2 = beta2,
            Epsilon = epsilon,
            Decay = decay,
            Keep = 1 - shrink,
            Largest = largest != null,
        });

    private interface IUpdate
    {
        void Invoke<T>(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> a, ref Vector512<T> b, ref Vector512<T> c) where T : unmanaged;
    }

    /// <summary>The gradient with coupled decay, and the parameter with decoupled decay.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Decayed<T>(ref Vector512<T> p, Vector512<T> g, double decay, double keep) where T : unmanaged
    {
        g = Fma(Splat<T>(decay), p, g);
        p *= Splat<T>(keep);
        return g;
    }

    private struct SgdStep : IUpdate
    {
        public double Rate, Decay, Keep;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke<T>(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> a, ref Vector512<T> b, ref Vector512<T> c) where T : unmanaged
        {
            g = Decayed(ref p, g, Decay, Keep);
            p = Fma(Splat<T>(-Rate), g, p);
        }
    }

    private struct MomentumStep : IUpdate
    {
        public double Rate, Momentum, Gain, Decay, Keep;
        public bool Nesterov;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke<T>(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> v, ref Vector512<T> b, ref Vector512<T> c) where T : unmanaged
        {
            g = Decayed(ref p, g, Decay, Keep);
            v = Fma(Splat<T>(Momentum), v, Splat<T>(Gain) * g);
            p = Fma(Splat<T>(-Rate), Nesterov ? Fma(Splat<T>(Momentum), v, g) : v, p);
        }
    }

    private struct RmsPropStep : IUpdate
    {
        public double Rate, Alpha, Epsilon, Momentum, Decay, Keep;
        public bool Centred, Moving;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke<T>(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> v, ref Vector512<T> mean, ref Vector512<T> velocity) where T : unmanaged
        {
            g = Decayed(ref p, g, Decay, Keep);
            var rest = Splat<T>(1 - Alpha);
            v = Fma(Splat<T>(Alpha), v, rest * g * g);
            var square = v;
            if (Centred)
            {
                mean = Fma(Splat<T>(Alpha), mean, rest * g);
                // rounding may take a variance of 0 below it
                square = Vector512.Max(Fma(-mean, mean, v), Vector512<T>.Zero);
            }
            var u = g / (Vector512.Sqrt(square) + Splat<T>(Epsilon));
            if (Moving) u = velocity = Fma(Splat<T>(Momentum), velocity, u);
            p = Fma(Splat<T>(-Rate), u, p);
        }
    }

    private struct AdamStep : IUpdate
    {
        public double Rate, RootScale, Beta1, Beta2, Epsilon, Decay, Keep;
        public bool Largest;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke<T>(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> m, ref Vector512<T> v, ref Vector512<T> largest) where T : unmanaged
        {
            g = Decayed(ref p, g, Decay, Keep);
            m = Fma(Splat<T>(Beta1), m, Splat<T>(1 - Beta1) * g);
            v = Fma(Splat<T>(Beta2), v, Splat<T>(1 - Beta2) * g * g);
            var square = v;
            if (Largest) square = largest = Vector512.Max(largest, v);
            var root = Fma(Vector512.Sqrt(square), Splat<T>(RootScale), Splat<T>(Epsilon));
            p = Fma(Splat<T>(-Rate), m / root, p);
        }
    }

    private static void Run<T, U>(nint n, T* p, T* g, T* a, T* b, T* c, U update) where T : unmanaged where U : struct, IUpdate
    {
        var job = new UpdateJob<T, U> { P = p, G = g, A = a, B = b, C = c, Count = n, Update = update, Size = n };
        if (n < 2 * Loops.Chunk)
        {
            job.Run(0);
            return;
        }
        int chunks = Loops.Chunks(n);
        job.Size = ((n + chunks - 1) / chunks + 63) & ~(nint)63;
        Workers.For(chunks, ref job);
    }

    private struct UpdateJob<T, U> : IJob where T : unmanaged where U : struct, IUpdate
    {
        public T* P, G, A, B, C;
        public nint Count, Size;
        public U Update;

        public readonly void Run(int chunk)
        {
            nint i = chunk * Size, n = Math.Min(Size, Count - i);
            if (n > 0) Kernel(n, P + i, G + i, A == null ? null : A + i, B == null ? null : B + i, C == null ? null : C + i, Update);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Kernel<T, U>(nint n, T* p, T* g, T* a, T* b, T* c, U update) where T : unmanaged where U : struct, IUpdate
    {
        nint w = Vector512<T>.Count;
        for (nint i = 0; i < n; i += w)
        {
            nint k = Math.Min(w, n - i);
            var vp = Load(p + i, k);
            var va = a == null ? Vector512<T>.Zero : Load(a + i, k);
            var vb = b == null ? Vector512<T>.Zero : Load(b + i, k);
            var vc = c == null ? Vector512<T>.Zero : Load(c + i, k);
            update.Invoke(ref vp, Load(g + i, k), ref va, ref vb, ref vc);
            Store(vp, p + i, k);
            if (a != null) Store(va, a + i, k);
            if (b != null) Store(vb, b + i, k);
            if (c != null) Store(vc, c + i, k);
        }
    }
}
