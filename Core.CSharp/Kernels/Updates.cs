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
        Run<T, SgdStep<T>>(parts, new(rate, decay, shrink));

    /// <summary><c>p[places[i], :] ← p[places[i], :] − rate·g[i, :]</c> for rows of <paramref name="width"/> elements; no place comes twice.</summary>
    public static void SgdRows<T>(nint count, nint width, T* p, long* places, T* g, double rate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var job = new RowsJob<T>
        {
            Count = count,
            Width = width,
            Size = Math.Max(1, Smallest / Math.Max(1, width)),
            P = p,
            Places = places,
            G = g,
            Numbers = new(rate, 0, 0),
        };
        job.Size = Math.Max(job.Size, (count + 63) / 64);
        Workers.For((int)((count + job.Size - 1) / job.Size), ref job);
    }

    private struct RowsJob<T> : IJob where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint Count, Width, Size;
        public T* P, G;
        public long* Places;
        public Numbers<T> Numbers;

        public readonly void Run(int chunk)
        {
            nint end = Math.Min(Count, (chunk + 1) * Size);
            for (nint i = chunk * Size; i < end; i++)
                Kernel<T, SgdStep<T>>(0, Width, new() { Parameter = P + (nint)Places[i] * Width, Gradient = G + i * Width }, Numbers);
        }
    }

    /// <summary>
    /// <c>v ← momentum·v + (1 − dampening)·g; p ← p − rate·v</c>, or with Nesterov <c>p ← p − rate·(g + momentum·v)</c>;
    /// v is the first moment. The usual first step, v = g, is dampening 0 on a zero v.
    /// </summary>
    public static void Momentum<T>(ReadOnlySpan<Part> parts, double rate, double momentum, double dampening = 0,
        bool nesterov = false, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var numbers = new Numbers<T>(rate, decay, shrink, momentum, 1 - dampening);
        if (nesterov) Run<T, MomentumStep<T, Yes>>(parts, numbers);
        else Run<T, MomentumStep<T, No>>(parts, numbers);
    }

    /// <summary>
    /// <c>v ← alpha·v + (1 − alpha)·g²; u = g/(√v + epsilon); p ← p − rate·u</c>; v is the first moment. Where there is a
    /// second (centred) <c>mean ← alpha·mean + (1 − alpha)·g</c> and v − mean² stands under the root; where there is a
    /// third <c>velocity ← momentum·velocity + u</c> is what is stepped by.
    /// </summary>
    public static void RmsProp<T>(ReadOnlySpan<Part> parts, double rate, double alpha, double epsilon, double momentum = 0,
        double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var numbers = new Numbers<T>(rate, decay, shrink, alpha, 1 - alpha, epsilon, momentum);
        bool centred = parts.Length > 0 && parts[0].Second != null, moving = parts.Length > 0 && parts[0].Third != null;
        if (centred && moving) Run<T, RmsPropStep<T, Yes, Yes>>(parts, numbers);
        else if (centred) Run<T, RmsPropStep<T, Yes, No>>(parts, numbers);
        else if (moving) Run<T, RmsPropStep<T, No, Yes>>(parts, numbers);
        else Run<T, RmsPropStep<T, No, No>>(parts, numbers);
    }

    /// <summary>
    /// <c>m ← beta1·m + (1 − beta1)·g; v ← beta2·v + (1 − beta2)·g²; p ← p − rate·m/(√v·rootScale + epsilon)</c> with
    /// rate = η/(1 − beta1ᵗ) and rootScale = 1/√(1 − beta2ᵗ); m and v are the first two moments. Where there is a third
    /// (amsgrad) <c>largest ← max(largest, v)</c> stands under the root. AdamW is shrink = η·decay.
    /// </summary>
    public static void Adam<T>(ReadOnlySpan<Part> parts, double rate, double rootScale, double beta1, double beta2,
        double epsilon, double decay = 0, double shrink = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var numbers = new Numbers<T>(rate, decay, shrink, beta1, 1 - beta1, beta2, 1 - beta2, rootScale, epsilon);
        if (parts.Length > 0 && parts[0].Third != null) Run<T, AdamStep<T, Yes>>(parts, numbers);
        else Run<T, AdamStep<T, No>>(parts, numbers);
    }

    /// <summary>
    /// A rule's numbers in the type of the parameters: first those that all rules have, then its own by their place. The loop
    /// spreads them over vectors before it begins and hands them on one by one, because a structure of ten would live in memory,
    /// and reading it again for each vector took a fifth of Adam's time.
    /// </summary>
    private readonly struct Numbers<T>(double rate, double decay, double shrink,
        double a = 0, double b = 0, double c = 0, double d = 0, double e = 0, double f = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public readonly T Rate = Scalar<T>(-rate), Decay = Scalar<T>(decay), Keep = Scalar<T>(1 - shrink);
        public readonly T A = Scalar<T>(a), B = Scalar<T>(b), C = Scalar<T>(c), D = Scalar<T>(d), E = Scalar<T>(e), F = Scalar<T>(f);
    }

    /// <summary>A choice that is made before the loop is compiled.</summary>
    private interface IChoice
    {
        static abstract bool Is { get; }
    }

    private readonly struct Yes : IChoice
    {
        public static bool Is => true;
    }

    private readonly struct No : IChoice
    {
        public static bool Is => false;
    }

    /// <summary>One vector's step of the parameters p, after decay, along rate: x, y and z are the moments that there are, the letters
    /// behind it the rule's own numbers.</summary>
    private interface IUpdate<T> where T : unmanaged
    {
        static abstract bool First { get; }

        static abstract bool Second { get; }

        static abstract bool Third { get; }

        static abstract void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> x, ref Vector512<T> y, ref Vector512<T> z, Vector512<T> rate,
            Vector512<T> a, Vector512<T> b, Vector512<T> c, Vector512<T> d, Vector512<T> e, Vector512<T> f);
    }

    /// <summary>Beside this number nothing too small for the full precision survives, and numbers above 2²⁴ times as large do not change:
    /// 2⁻¹⁰², whose last place is the smallest normal number. The moment of a parameter that is no longer used fades for ever without
    /// reaching 0, and arithmetic on such numbers takes a hundred times as long: so moments are computed with this added, and it is taken away.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Threshold<T>() where T : unmanaged => Splat<T>(typeof(T) == typeof(float) ? 1.9721522630525295e-31 : 2.004168360008973e-292);

    /// <summary><c>share·old + term</c>, or 0 where that is too small.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Blend<T>(Vector512<T> share, Vector512<T> old, Vector512<T> weight, Vector512<T> term) where T : unmanaged =>
        Fma(share, old, Fma(weight, term, Threshold<T>())) - Threshold<T>();

    private readonly struct SgdStep<T> : IUpdate<T> where T : unmanaged
    {
        public static bool First => false;

        public static bool Second => false;

        public static bool Third => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> x, ref Vector512<T> y, ref Vector512<T> z, Vector512<T> rate,
            Vector512<T> a, Vector512<T> b, Vector512<T> c, Vector512<T> d, Vector512<T> e, Vector512<T> f) => p = Fma(rate, g, p);
    }

    private readonly struct MomentumStep<T, TNesterov> : IUpdate<T> where T : unmanaged where TNesterov : struct, IChoice
    {
        public static bool First => true;

        public static bool Second => false;

        public static bool Third => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> v, ref Vector512<T> y, ref Vector512<T> z, Vector512<T> rate,
            Vector512<T> momentum, Vector512<T> gain, Vector512<T> c, Vector512<T> d, Vector512<T> e, Vector512<T> f)
        {
            v = Blend(momentum, v, gain, g);
            p = Fma(rate, TNesterov.Is ? Fma(momentum, v, g) : v, p);
        }
    }

    private readonly struct RmsPropStep<T, TCentred, TMoving> : IUpdate<T> where T : unmanaged where TCentred : struct, IChoice where TMoving : struct, IChoice
    {
        public static bool First => true;

        public static bool Second => TCentred.Is;

        public static bool Third => TMoving.Is;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> v, ref Vector512<T> mean, ref Vector512<T> velocity, Vector512<T> rate,
            Vector512<T> alpha, Vector512<T> rest, Vector512<T> epsilon, Vector512<T> momentum, Vector512<T> e, Vector512<T> f)
        {
            v = Blend(alpha, v, rest * g, g);
            var square = v;
            if (TCentred.Is)
            {
                mean = Blend(alpha, mean, rest, g);
                // rounding may take a variance of 0 below it
                square = Vector512.Max(Fma(-mean, mean, v), Vector512<T>.Zero);
            }
            var u = g / (Vector512.Sqrt(square) + epsilon);
            if (TMoving.Is) u = velocity = Blend(momentum, velocity, Vector512<T>.One, u);
            p = Fma(rate, u, p);
        }
    }

    private readonly struct AdamStep<T, TLargest> : IUpdate<T> where T : unmanaged where TLargest : struct, IChoice
    {
        public static bool First => true;

        public static bool Second => true;

        public static bool Third => TLargest.Is;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Invoke(ref Vector512<T> p, Vector512<T> g, ref Vector512<T> m, ref Vector512<T> v, ref Vector512<T> largest, Vector512<T> rate,
            Vector512<T> beta1, Vector512<T> rest1, Vector512<T> beta2, Vector512<T> rest2, Vector512<T> rootScale, Vector512<T> epsilon)
        {
            m = Blend(beta1, m, rest1, g);
            v = Blend(beta2, v, rest2 * g, g);
            var square = v;
            if (TLargest.Is) square = largest = Vector512.Max(largest, v);
            p = Fma(rate, m / Fma(Vector512.Sqrt(square), rootScale, epsilon), p);
        }
    }

    private static void Run<T, U>(ReadOnlySpan<Part> parts, Numbers<T> numbers)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> where U : struct, IUpdate<T>
    {
        nint total = 0;
        foreach (var part in parts) total += part.Count;
        fixed (Part* first = parts)
        {
            var job = new UpdateJob<T, U> { First = first, End = first + parts.Length, Size = total, Numbers = numbers };
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
    private struct UpdateJob<T, U> : IJob where T : unmanaged, IBinaryFloatingPointIeee754<T> where U : struct, IUpdate<T>
    {
        public Part* First, End;
        public nint Size;
        public Numbers<T> Numbers;

        public readonly void Run(int chunk)
        {
            nint from = chunk * Size, to = from + Size, start = 0;
            for (var part = First; part < End && start < to; part++)
            {
                nint lo = Math.Max(from, start) - start, hi = Math.Min(to - start, part->Count);
                if (lo < hi) Kernel<T, U>(lo, hi, *part, Numbers);
                start += part->Count;
            }
        }
    }

    /// <summary>Coupled decay changes the gradient, decoupled decay the parameter, before the rule sees them. Inlined into whatever runs the chunks, as the JIT would
    /// have it, the loop exceeds what it is willing to inline there, and each multiply-add becomes a call.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Kernel<T, U>(nint i, nint end, Part part, in Numbers<T> numbers)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> where U : struct, IUpdate<T>
    {
        T* p = (T*)part.Parameter, g = (T*)part.Gradient, x = (T*)part.First, y = (T*)part.Second, z = (T*)part.Third;
        Vector512<T> rate = Vector512.Create(numbers.Rate), decay = Vector512.Create(numbers.Decay), keep = Vector512.Create(numbers.Keep);
        Vector512<T> a = Vector512.Create(numbers.A), b = Vector512.Create(numbers.B), c = Vector512.Create(numbers.C);
        Vector512<T> d = Vector512.Create(numbers.D), e = Vector512.Create(numbers.E), f = Vector512.Create(numbers.F);
        nint w = Vector512<T>.Count;
        for (; i <= end - w; i += w)
        {
            var vp = Vector512.Load(p + i);
            var vx = U.First ? Vector512.Load(x + i) : Vector512<T>.Zero;
            var vy = U.Second ? Vector512.Load(y + i) : Vector512<T>.Zero;
            var vz = U.Third ? Vector512.Load(z + i) : Vector512<T>.Zero;
            var vg = Fma(decay, vp, Vector512.Load(g + i));
            vp *= keep;
            U.Invoke(ref vp, vg, ref vx, ref vy, ref vz, rate, a, b, c, d, e, f);
            vp.Store(p + i);
            if (U.First) vx.Store(x + i);
            if (U.Second) vy.Store(y + i);
            if (U.Third) vz.Store(z + i);
        }
        if (i < end)
        {
            nint k = end - i;
            var vp = Load(p + i, k);
            var vx = U.First ? Load(x + i, k) : Vector512<T>.Zero;
            var vy = U.Second ? Load(y + i, k) : Vector512<T>.Zero;
            var vz = U.Third ? Load(z + i, k) : Vector512<T>.Zero;
            var vg = Fma(decay, vp, Load(g + i, k));
            vp *= keep;
            U.Invoke(ref vp, vg, ref vx, ref vy, ref vz, rate, a, b, c, d, e, f);
            Store(vp, p + i, k);
            if (U.First) Store(vx, x + i, k);
            if (U.Second) Store(vy, y + i, k);
            if (U.Third) Store(vz, z + i, k);
        }
    }
}
