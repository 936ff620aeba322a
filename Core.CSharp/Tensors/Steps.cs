using Functional.Kernels;

namespace Functional;

/// <summary>Optimiser steps that overwrite parameters and moments, all of them in one pass. The memory must be contiguous and belong to
/// the caller alone; gradients may be views of any strides. Moments come in groups like the parameters, in the order in which
/// <see cref="Updates"/> names them; a group that is not in use is null.</summary>
internal static unsafe class Steps
{
    private const int OnStack = 128;

    /// <summary>Calls one of the kernels for the parameters of one dtype.</summary>
    private interface IStep
    {
        void Run(DType dtype, ReadOnlySpan<Part> parts);
    }

    /// <inheritdoc cref="Updates.Sgd"/>
    internal static void Sgd(Tensor[] p, Tensor[] g, double rate, double decay)
    {
        // Without decay a row that has no gradient stays as it is, and need not be touched.
        if (decay == 0 && g.Length == p.Length && Array.Exists(g, t => t.Trace is SparseRows))
        {
            var rest = Array.FindAll(Enumerable.Range(0, p.Length).ToArray(), i => !SgdByRows(p[i], g[i], rate));
            (p, g) = (Array.ConvertAll(rest, i => p[i]), Array.ConvertAll(rest, i => g[i]));
        }
        Take("sgd", p, g, null, null, null, new SgdStep(rate, decay));
    }

    private static bool SgdByRows(Tensor p, Tensor g, double rate)
    {
        if (g.Trace is not SparseRows sparse || g.Shape != p.Shape || g.DType != p.DType || !p.IsContiguous) return false;
        var (places, sums) = sparse.Distinct();
        var (count, width) = ((nint)places.Count, (nint)(p.Count / p.Shape[0]));
        if (p.DType == DType.Float32) Updates.SgdRows(count, width, p.Pointer<float>(), places.Pointer<long>(), sums.Pointer<float>(), rate);
        else Updates.SgdRows(count, width, p.Pointer<double>(), places.Pointer<long>(), sums.Pointer<double>(), rate);
        GC.KeepAlive(p);
        GC.KeepAlive(places);
        GC.KeepAlive(sums);
        return true;
    }

    /// <inheritdoc cref="Updates.Momentum"/>
    internal static void Momentum(Tensor[] p, Tensor[] g, Tensor[] v, double rate, double momentum, double dampening, bool nesterov, double decay) =>
        Take("momentum", p, g, v, null, null, new MomentumStep(rate, momentum, dampening, nesterov, decay));

    /// <inheritdoc cref="Updates.RmsProp"/>
    internal static void RmsProp(Tensor[] p, Tensor[] g, Tensor[] v, Tensor[]? mean, Tensor[]? velocity, double rate, double alpha, double epsilon, double momentum, double decay) =>
        Take("rmsProp", p, g, v, mean, velocity, new RmsPropStep(rate, alpha, epsilon, momentum, decay));

    /// <inheritdoc cref="Updates.Adam"/>
    internal static void Adam(Tensor[] p, Tensor[] g, Tensor[] m, Tensor[] v, Tensor[]? largest, double rate, double rootScale, double beta1, double beta2, double epsilon, double decay, double shrink) =>
        Take("adam", p, g, m, v, largest, new AdamStep(rate, rootScale, beta1, beta2, epsilon, decay, shrink));

    private readonly record struct SgdStep(double Rate, double Decay) : IStep
    {
        public void Run(DType dtype, ReadOnlySpan<Part> parts)
        {
            if (dtype == DType.Float32) Updates.Sgd<float>(parts, Rate, Decay);
            else Updates.Sgd<double>(parts, Rate, Decay);
        }
    }

    private readonly record struct MomentumStep(double Rate, double Momentum, double Dampening, bool Nesterov, double Decay) : IStep
    {
        public void Run(DType dtype, ReadOnlySpan<Part> parts)
        {
            if (dtype == DType.Float32) Updates.Momentum<float>(parts, Rate, Momentum, Dampening, Nesterov, Decay);
            else Updates.Momentum<double>(parts, Rate, Momentum, Dampening, Nesterov, Decay);
        }
    }

    private readonly record struct RmsPropStep(double Rate, double Alpha, double Epsilon, double Momentum, double Decay) : IStep
    {
        public void Run(DType dtype, ReadOnlySpan<Part> parts)
        {
            if (dtype == DType.Float32) Updates.RmsProp<float>(parts, Rate, Alpha, Epsilon, Momentum, Decay);
            else Updates.RmsProp<double>(parts, Rate, Alpha, Epsilon, Momentum, Decay);
        }
    }

    private readonly record struct AdamStep(double Rate, double RootScale, double Beta1, double Beta2, double Epsilon, double Decay, double Shrink) : IStep
    {
        public void Run(DType dtype, ReadOnlySpan<Part> parts)
        {
            if (dtype == DType.Float32) Updates.Adam<float>(parts, Rate, RootScale, Beta1, Beta2, Epsilon, Decay, Shrink);
            else Updates.Adam<double>(parts, Rate, RootScale, Beta1, Beta2, Epsilon, Decay, Shrink);
        }
    }

    private static void Take<TStep>(string name, Tensor[] p, Tensor[] g, Tensor[]? first, Tensor[]? second, Tensor[]? third, TStep step) where TStep : struct, IStep
    {
        if (g.Length != p.Length)
            throw Shape.Refuse(name, "one gradient per parameter is needed", $"{g.Length} gradients and {p.Length} parameters", "Give them in the same order");
        var parts = p.Length <= OnStack ? stackalloc Part[p.Length] : new Part[p.Length];
        // Copies of strided gradients must outlive the pass.
        Tensor[]? copies = null;
        var floats = Gather(DType.Float32, parts);
        if (floats > 0) step.Run(DType.Float32, parts[..floats]);
        if (floats < p.Length)
        {
            var doubles = Gather(DType.Float64, parts);
            if (doubles > 0) step.Run(DType.Float64, parts[..doubles]);
        }
        GC.KeepAlive(p);
        GC.KeepAlive(g);
        GC.KeepAlive(first);
        GC.KeepAlive(second);
        GC.KeepAlive(third);
        GC.KeepAlive(copies);

        int Gather(DType dtype, Span<Part> into)
        {
            var n = 0;
            for (var i = 0; i < p.Length; i++)
            {
                if (p[i].DType != dtype || p[i].Count == 0) continue;
                if (g[i].DType != dtype || g[i].Shape != p[i].Shape)
                    throw Shape.Refuse(name, "a gradient must be like its parameter", $"{g[i].Describe()} and {p[i].Describe()}", "Differentiate with respect to these parameters");
                var gradient = g[i].Untraced;
                if (!gradient.IsContiguous)
                {
                    gradient = Pointwise.Contiguous(gradient);
                    (copies ??= new Tensor[p.Length])[i] = gradient;
                }
                into[n++] = new Part
                {
                    Parameter = Address(name, p[i], p[i]),
                    Gradient = Address(gradient),
                    First = first is null ? null : Address(name, first[i], p[i]),
                    Second = second is null ? null : Address(name, second[i], p[i]),
                    Third = third is null ? null : Address(name, third[i], p[i]),
                    Count = (nint)p[i].Count,
                };
            }
            return n;
        }
    }

    private static void* Address(Tensor tensor) => tensor.DType == DType.Float32 ? tensor.Pointer<float>() : tensor.Pointer<double>();

    /// <summary>Memory that may be overwritten in place of the parameter or as its moment.</summary>
    private static void* Address(string name, Tensor tensor, Tensor parameter)
    {
        if (tensor.DType != parameter.DType || tensor.Shape != parameter.Shape || !tensor.IsContiguous)
            throw Shape.Refuse(name, "a moment must be contiguous and like its parameter", $"{tensor.Describe()} and {parameter.Describe()}", "Start from the optimiser's own moments");
        return Address(tensor);
    }
}
