using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>
/// Softmax cross-entropy of logits x[rows, n] fused with its softmax. The forward pass writes each row's loss and its
/// logsumexp, all that the backward pass needs beside x. A label outside 0 … n − 1 marks a row to ignore: loss and
/// gradient 0. Label smoothing ε mixes the target with the uniform distribution: (1 − ε)·target + ε/n.
/// </summary>
internal static unsafe class CrossEntropy
{
    /// <summary><c>loss[r] = lse(x[r]) − (1 − ε)·x[r, label] − ε/n·Σ x[r]</c>; lse[r] is kept.</summary>
    public static void Forward<T, TLabel>(nint rows, nint n, T* x, TLabel* labels, double smoothing, T* loss, T* lse)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> where TLabel : unmanaged, IBinaryInteger<TLabel> =>
        Rowwise.ForRows(rows, n, new ForwardLabels<T, TLabel> { N = n, X = x, Labels = labels, Smoothing = smoothing, Loss = loss, Lse = lse });

    /// <summary><c>dx = (e^(x − lse) − (1 − ε)·onehot(label) − ε/n)·scale·g[r·stepG]</c>, or <c>dx += …</c>; stepG is 0 for one g for all rows.</summary>
    public static void Backward<T, TLabel>(nint rows, nint n, T* x, T* lse, TLabel* labels, double smoothing,
        T* g, nint stepG, double scale, T* dx, bool accumulate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> where TLabel : unmanaged, IBinaryInteger<TLabel> =>
        Rowwise.ForRows(rows, n, new BackwardLabels<T, TLabel>
        {
            N = n,
            X = x,
            Lse = lse,
            Labels = labels,
            Smoothing = smoothing,
            G = g,
            StepG = stepG,
            Scale = scale,
            Dx = dx,
            Accumulate = accumulate,
        });

    /// <summary><c>loss[r] = Σ q·(lse − x)</c> for target probabilities t[rows, n], q = (1 − ε)·t + ε/n; a q of 0 contributes 0.</summary>
    public static void Forward<T>(nint rows, nint n, T* x, T* target, double smoothing, T* loss, T* lse)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Rowwise.ForRows(rows, n, new ForwardTargets<T> { N = n, X = x, Target = target, Smoothing = smoothing, Loss = loss, Lse = lse });

    /// <summary><c>dx = (e^(x − lse)·Σq − q)·scale·g[r·stepG]</c>, or <c>dx += …</c>.</summary>
    public static void Backward<T>(nint rows, nint n, T* x, T* lse, T* target, double smoothing,
        T* g, nint stepG, double scale, T* dx, bool accumulate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Rowwise.ForRows(rows, n, new BackwardTargets<T>
        {
            N = n,
            X = x,
            Lse = lse,
            Target = target,
            Smoothing = smoothing,
            G = g,
            StepG = stepG,
            Scale = scale,
            Dx = dx,
            Accumulate = accumulate,
        });

    private struct ForwardLabels<T, TLabel> : Rowwise.IItems
        where T : unmanaged, IBinaryFloatingPointIeee754<T> where TLabel : unmanaged, IBinaryInteger<TLabel>
    {
        public nint N;
        public T* X, Loss, Lse;
        public TLabel* Labels;
        public double Smoothing;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                T* x = X + r * N;
                T lse = Rowwise.LogSumExp(x, N);
                Lse[r] = lse;
                ulong label = ulong.CreateTruncating(Labels[r]);
                if (label >= (ulong)N) Loss[r] = T.Zero;
                else if (Smoothing == 0) Loss[r] = lse - x[label];
                else
                {
                    double mean = Reductions.SumStretch(x, N, T.Zero, default(Reductions.PlainTerm)) / N;
                    Loss[r] = T.CreateTruncating(double.CreateTruncating(lse) - (1 - Smoothing) * double.CreateTruncating(x[label]) - Smoothing * mean);
                }
            }
        }
    }

    private struct BackwardLabels<T, TLabel> : Rowwise.IItems
        where T : unmanaged, IBinaryFloatingPointIeee754<T> where TLabel : unmanaged, IBinaryInteger<TLabel>
    {
        public nint N, StepG;
        public T* X, Lse, G, Dx;
        public TLabel* Labels;
        public double Smoothing, Scale;
        public bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                T* x = X + r * N, dx = Dx + r * N;
                ulong label = ulong.CreateTruncating(Labels[r]);
                if (label >= (ulong)N)
                {
                    if (!Accumulate) new Span<T>(dx, (int)N).Clear();
                    continue;
                }
                double g = double.CreateTruncating(G[r * StepG]) * Scale;
                SoftmaxLess(x, null, dx, N, Lse[r], 1, Smoothing / N, 0, T.CreateTruncating(g), Accumulate);
                dx[label] -= T.CreateTruncating(g * (1 - Smoothing));
            }
        }
    }

    private struct ForwardTargets<T> : Rowwise.IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N;
        public T* X, Target, Loss, Lse;
        public double Smoothing;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                T* x = X + r * N;
                Lse[r] = Rowwise.LogSumExp(x, N);
                Loss[r] = T.CreateTruncating(Expected(x, Target + r * N, N, Lse[r], 1 - Smoothing, Smoothing / N));
            }
        }
    }

    private struct BackwardTargets<T> : Rowwise.IItems where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public nint N, StepG;
        public T* X, Lse, Target, G, Dx;
        public double Smoothing, Scale;
        public bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint first, nint end)
        {
            for (nint r = first; r < end; r++)
            {
                T* t = Target + r * N;
                double total = (1 - Smoothing) * Reductions.SumStretch(t, N, T.Zero, default(Reductions.PlainTerm)) + Smoothing;
                T g = T.CreateTruncating(double.CreateTruncating(G[r * StepG]) * Scale);
                SoftmaxLess(X + r * N, t, Dx + r * N, N, Lse[r], total, Smoothing / N, 1 - Smoothing, g, Accumulate);
            }
        }
    }

    /// <summary><c>Σ q·(lse − x)</c> with q = weight·t + floor, where q ≠ 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Expected<T>(T* x, T* t, nint n, T lse, double weight, double floor) where T : unmanaged
    {
        nint w = Vector512<T>.Count;
        var total = Vector512.Create(lse);
        var wide = Vector512<double>.Zero;
        for (; n > 0; n -= w, x += w, t += w)
        {
            nint k = Math.Min(n, w);
            var q = Fma(SplatVariable<T>(weight), Load(t, k), SplatVariable<T>(floor)) & First<T>(k);
            var term = Vector512.ConditionalSelect(Vector512.Equals(q, Vector512<T>.Zero), q, q * (total - Load(x, k)));
            wide += Reductions.Widened(term);
        }
        return Reductions.Total(wide);
    }

    /// <summary><c>dx = (e^(x − lse)·total − weight·t − floor)·g</c>; t may be null for 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SoftmaxLess<T>(T* x, T* t, T* dx, nint n, T lse, double total, double floor, double weight, T g, bool accumulate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        // A large logsumexp has lost digits: at 1000 a float's last place is 6e-5, and so would be the error of every probability. Their sum tells it.
        if (T.Abs(lse) > T.CreateTruncating(16))
        {
            var sum = Reductions.SumStretch(x, n, lse, default(Reductions.ShiftedExp));
            if (double.IsFinite(sum) && sum > 0) total /= sum;
        }
        nint w = Vector512<T>.Count;
        var vl = Vector512.Create(lse);
        var vg = Vector512.Create(g);
        for (nint i = 0; i < n; i += w)
        {
            nint k = Math.Min(w, n - i);
            var v = Fma(VectorMath.Exp(Load(x + i, k) - vl), SplatVariable<T>(total), SplatVariable<T>(-floor));
            if (t != null) v = Fma(Splat<T>(-weight), Load(t + i, k), v);
            v *= vg;
            if (accumulate) v += Load(dx + i, k);
            Store(v, dx + i, k);
        }
    }
}
