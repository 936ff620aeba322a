using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>The memory of one parameter in a step: the parameter, its gradient and up to three arrays of moments.</summary>
internal unsafe struct Part
{
    public void* Parameter, Gradient, First, Second, Third;
    public nint Count;
}

/// <summary>
/// Optimiser steps in place, one pass over the memory of all parameters p, gradients g and moments together. Scalars that
/// depend on the step's number are computed by the caller. Coupled decay enters the gradient, <c>g ← g + decay·p</c>;
/// decoupled decay shrinks the parameter beforehand, <c>p ← p·(1 − shrink)</c>.
/// </summary>
internal static unsafe class Updates
{
    // Small enough that two threads share a hundred thousand parameters evenly, large enough to hide the claiming.
    private const nint Smallest = 4096;

    // Elements whose parameters, gradients and moments the cores hold in their caches.
    private const nint Resident = 1 << 20;

    /// <summary><c>p ← p − rate·g</c>.</summary>
    public static void Sgd<T>(ReadOnlySpan<Part> parts, double rate, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run<T, SgdStep<T>>(parts, new() { Rate = Scalar<T>(rate), Decay = Scalar<T>(decay), Keep = Scalar<T>(1 - shrink) });

    /// <summary>
    /// <c>v ← momentum·v + (1 − dampening)·g; p ← p − rate·v</c>, or with Nesterov <c>p ← p − rate·(g + momentum·v)</c>;
    /// v is the first moment. The usual first step, v = g, is dampening 0 on a zero v.
    /// </summary>
    public static void Momentum<T>(ReadOnlySpan<Part> parts, double rate, double momentum, double dampening = 0,
        bool nesterov = false, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run<T, MomentumStep<T>>(parts, new()
        {
            Rate = Scalar<T>(rate),
            Momentum = Scalar<T>(momentum),
            Gain = Scalar<T>(1 - dampening),
            Nesterov = nesterov,
            Decay = Scalar<T>(decay),
            Keep = Scalar<T>(1 - shrink),
        });

    /// <summary>
    /// <c>v ← alpha·v + (1 − alpha)·g²; u = g/(√v + epsilon); p ← p − rate·u</c>; v is the first moment. Where there is a
    /// second (centred) <c>mean ← alpha·mean + (1 − alpha)·g</c> and v − mean² stands under the root; where there is a
    /// third <c>velocity ← momentum·velocity + u</c> is what is stepped by.
    /// </summary>
    public static void RmsProp<T>(ReadOnlySpan<Part> parts, double rate, double alpha, double epsilon, double momentum = 0,
        double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run<T, RmsPropStep<T>>(parts, new()
        {
            Rate = Scalar<T>(rate),
            Alpha = Scalar<T>(alpha),
            Rest = Scalar<T>(1 - alpha),
            Epsilon = Scalar<T>(epsilon),
            Momentum = Scalar<T>(momentum),
            Decay = Scalar<T>(decay),
            Keep = Scalar<T>(1 - shrink),
            Centred = parts.Length > 0 && parts[0].Second != null,
            Moving = parts.Length > 0 && parts[0].Third != null,
        });

    /// <summary>
    /// <c>m ← beta1·m + (1 − beta1)·g; v ← beta2·v + (1 − beta2)·g²; p ← p − rate·m/(√v·rootScale + epsilon)</c> with
    /// rate = η/(1 − beta1ᵗ) and rootScale = 1/√(1 − beta2ᵗ); m and v are the first two moments. Where there is a third
    /// (amsgrad) <c>largest ← max(largest, v)</c> stands under the root. AdamW is shrink = η·decay.
    /// </summary>
    public static void Adam<T>(ReadOnlySpan<Part> parts, double rate, double rootScale, double beta1, double beta2,
        double epsilon, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Run<T, AdamStep<T>>(parts, new()
        {
            Rate = Scalar<T>(rate),
            RootScale = Scalar<T>(rootScale),
            Beta1 = Scalar<T>(beta1),
            Rest1 = Scalar<T>(1 - beta1),
            Beta2 = Scalar<T>(beta2),
            Rest2 = Scalar<T>(1 - beta2),
            Epsilon = Scalar<T>(epsilon),
            Decay = Scalar<T>(decay),
            Keep = Scalar<T>(1 - shrink),
            Largest = parts.Length > 0 && parts[0].Third != null,
        });

    /// <summary>One vector's step. Its numbers are kept in the type of the parameters: a conversion in the loop would cost as much as the step of SGD.</summary>
    private interface IUpdate<T> where T : unmanaged
    {
        void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> a, ref Vector512<T> b, ref Vector512<T> c);
    }

    /// <summary>The gradient with coupled decay, and the parameter with decoupled decay.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Decayed<T>(ref Vector512<T> p, Vector512<T> g, T decay, T keep) where T : unmanaged
    {
        g = Fma(Vector512.Create(decay), p, g);
        p *= Vector512.Create(keep);
        return g;
    }

    /// <summary>Numbers too small for the full precision as 0. The moment of a parameter that is no longer used fades for ever without reaching 0, and
    /// arithmetic on such numbers takes a hundred times as long. Beside c = 2⁻¹⁰², whose last place is the smallest normal number, nothing smaller
    /// survives; numbers above 2²⁴·c do not change.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Normal<T>(Vector512<T> v) where T : unmanaged
    {
        var c = Splat<T>(typeof(T) == typeof(float) ? 1.9721522630525295e-31 : 2.004168360008973e-292);
        return v + c - c;
    }

    private struct SgdStep<T> : IUpdate<T> where T : unmanaged
    {
        public T Rate, Decay, Keep;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> a, ref Vector512<T> b, ref Vector512<T> c)
        {
            g = Decayed(ref p, g, Decay, Keep);
            p = Fma(-Vector512.Create(Rate), g, p);
        }
    }

    private struct MomentumStep<T> : IUpdate<T> where T : unmanaged
    {
        public T Rate, Momentum, Gain, Decay, Keep;
        public bool Nesterov;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> v, ref Vector512<T> b, ref Vector512<T> c)
        {
            g = Decayed(ref p, g, Decay, Keep);
            v = Normal(Fma(Vector512.Create(Momentum), v, Vector512.Create(Gain) * g));
            p = Fma(-Vector512.Create(Rate), Nesterov ? Fma(Vector512.Create(Momentum), v, g) : v, p);
        }
    }

    private struct RmsPropStep<T> : IUpdate<T> where T : unmanaged
    {
        public T Rate, Alpha, Rest, Epsilon, Momentum, Decay, Keep;
        public bool Centred, Moving;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> v, ref Vector512<T> mean, ref Vector512<T> velocity)
        {
            g = Decayed(ref p, g, Decay, Keep);
            var rest = Vector512.Create(Rest);
            v = Normal(Fma(Vector512.Create(Alpha), v, rest * g * g));
            var square = v;
            if (Centred)
            {
                mean = Normal(Fma(Vector512.Create(Alpha), mean, rest * g));
                // rounding may take a variance of 0 below it
                square = Vector512.Max(Fma(-mean, mean, v), Vector512<T>.Zero);
            }
            var u = g / (Vector512.Sqrt(square) + Vector512.Create(Epsilon));
            if (Moving) u = velocity = Normal(Fma(Vector512.Create(Momentum), velocity, u));
            p = Fma(-Vector512.Create(Rate), u, p);
        }
    }

    private struct AdamStep<T> : IUpdate<T> where T : unmanaged
    {
        public T Rate, RootScale, Beta1, Rest1, Beta2, Rest2, Epsilon, Decay, Keep;
        public bool Largest;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> m, ref Vector512<T> v, ref Vector512<T> largest)
        {
            g = Decayed(ref p, g, Decay, Keep);
            m = Normal(Fma(Vector512.Create(Beta1), m, Vector512.Create(Rest1) * g));
            v = Normal(Fma(Vector512.Create(Beta2), v, Vector512.Create(Rest2) * g * g));
            var square = v;
            if (Largest) square = largest = Vector512.Max(largest, v);
            var root = Fma(Vector512.Sqrt(square), Vector512.Create(RootScale), Vector512.Create(Epsilon));
            p = Fma(-Vector512.Create(Rate), m / root, p);
        }
    }

    private static void Run<T, U>(ReadOnlySpan<Part> parts, U update) where T : unmanaged where U : struct, IUpdate<T>
    {
        nint total = 0;
        foreach (var part in parts) total += part.Count;
        fixed (Part* first = parts)
        {
            var job = new UpdateJob<T, U> { First = first, End = first + parts.Length, Size = total, Update = update };
            if (total < 2 * Smallest)
            {
                job.Run(0);
                return;
            }
            // One part for each thread, the same ones every step: what a core updated stays in its cache.
            int chunks = (int)Math.Min(total < Resident ? Workers.Count : 64, (total + Smallest - 1) / Smallest);
            job.Size = ((total + chunks - 1) / chunks + 63) & ~(nint)63;
            Workers.For(chunks, ref job);
        }
    }

    /// <summary>Elements chunk·Size … of all parts laid end to end.</summary>
    private struct UpdateJob<T, U> : IJob where T : unmanaged where U : struct, IUpdate<T>
    {
        public Part* First, End;
        public nint Size;
        public U Update;

        public readonly void Run(int chunk)
        {
            nint from = chunk * Size, to = from + Size, start = 0;
            for (var part = First; part < End && start < to; part++)
            {
                nint lo = Math.Max(from, start) - start, hi = Math.Min(to - start, part->Count);
                if (lo < hi) Kernel<T, U>(lo, hi, *part, Update);
                start += part->Count;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Kernel<T, U>(nint i, nint end, Part part, U update) where T : unmanaged where U : struct, IUpdate<T>
    {
        T* p = (T*)part.Parameter, g = (T*)part.Gradient, a = (T*)part.First, b = (T*)part.Second, c = (T*)part.Third;
        nint w = Vector512<T>.Count;
        for (; i <= end - w; i += w)
        {
            var vp = Vector512.Load(p + i);
            var va = a == null ? Vector512<T>.Zero : Vector512.Load(a + i);
            var vb = b == null ? Vector512<T>.Zero : Vector512.Load(b + i);
            var vc = c == null ? Vector512<T>.Zero : Vector512.Load(c + i);
            update.Invoke(ref vp, Vector512.Load(g + i), ref va, ref vb, ref vc);
            vp.Store(p + i);
            if (a != null) va.Store(a + i);
            if (b != null) vb.Store(b + i);
            if (c != null) vc.Store(c + i);
        }
        if (i < end)
        {
            nint k = end - i;
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
