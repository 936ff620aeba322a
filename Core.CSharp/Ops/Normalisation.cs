using System.Numerics;
using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Gain and bias may be missing. ε keeps the root away from zero.
    public sealed partial class Tensor
    {
        /// <summary>(x − mean)/√(variance + ε)·gain + bias over the last axes, as many as <paramref name="axes"/>; gain and bias have their sizes
        /// (Ba, Kiros &amp; Hinton 2016, Layer normalization).</summary>
        public Tensor LayerNorm(Tensor? gain = null, Tensor? bias = null, int axes = 1, double epsilon = 1e-5)
        {
            if (axes < 1 || axes > Rank)
                throw Shape.Refuse("layerNorm", $"the normalised axes must be 1 … {Rank} in number", $"{axes} of {Shape}", "Correct the number");
            var sizes = Shape.Sizes[^axes..].ToArray();
            foreach (var parameter in (Tensor?[])[gain, bias])
                if (parameter is not null && parameter.Shape != Shape.Of(sizes))
                    throw Shape.Refuse("layerNorm", $"gain and bias must have the sizes of the last {(axes == 1 ? "axis" : $"{axes} axes")}", $"{parameter.Shape} for {Shape}", "Correct them");
            return Normalisation.Centred(this, axes, gain, bias, epsilon);
        }

        /// <summary>x/√(mean x² + ε)·gain over the last axis (Zhang &amp; Sennrich 2019, Root mean square layer normalization).</summary>
        public Tensor RmsNorm(Tensor? gain = null, double epsilon = 1e-5)
        {
            var op = Normalisation.Rows(centred: false, gain is not null, bias: false, epsilon);
            return (gain is null ? op.Apply(this) : op.Apply(this, gain))[0];
        }

        /// <summary>Groups of channels of [N, C, …], each brought to mean 0 and variance 1, then ·gain + bias per channel
        /// (Wu &amp; He 2018, Group normalization).</summary>
        public Tensor GroupNorm(int groups, Tensor? gain = null, Tensor? bias = null, double epsilon = 1e-5)
        {
            var inputs = new List<Tensor> { this };
            if (gain is not null) inputs.Add(gain);
            if (bias is not null) inputs.Add(bias);
            return Normalisation.Groups(groups, gain is not null, bias is not null, epsilon).Apply([.. inputs])[0];
        }

        /// <summary>Every channel of every example of [N, C, …] on its own: <see cref="GroupNorm"/> with as many groups as channels
        /// (Ulyanov, Vedaldi &amp; Lempitsky 2016, Instance normalization).</summary>
        public Tensor InstanceNorm(Tensor? gain = null, Tensor? bias = null, double epsilon = 1e-5) =>
            GroupNorm(Rank < 2 ? 1 : Math.Max(1, Shape[1]), gain, bias, epsilon);

        /// <summary>Each channel of [N, C, …] normalised over batch and positions, ·gain + bias, + residual of the same shape, then relu where asked; with it the
        /// batch's mean and biased variance (Ioffe &amp; Szegedy 2015, Batch normalization). For inference see <see cref="BatchNormInference"/>.</summary>
        public (Tensor Y, Tensor Mean, Tensor Variance) BatchNorm(Tensor? gain = null, Tensor? bias = null, double epsilon = 1e-5, bool relu = false, Tensor? residual = null)
        {
            var inputs = new List<Tensor> { this };
            if (gain is not null) inputs.Add(gain);
            if (bias is not null) inputs.Add(bias);
            if (residual is not null) inputs.Add(residual);
            var y = Normalisation.Channels(gain is not null, bias is not null, residual is not null, epsilon, relu).Apply([.. inputs]);
            return (y[0], y[1], y[2]);
        }

        /// <summary>(x − mean)/√(variance + ε)·gain + bias per channel of [N, C, …] for a mean and variance that are given.</summary>
        public Tensor BatchNormInference(Tensor mean, Tensor variance, Tensor? gain = null, Tensor? bias = null, double epsilon = 1e-5)
        {
            if (Rank < 2) throw Shape.Refuse("batchNorm", "the input must be [N, C, …]", Shape.ToString(), "Reshape it");
            foreach (var parameter in (Tensor?[])[mean, variance, gain, bias])
                if (parameter is not null && (parameter.Rank != 1 || parameter.Shape[0] != Shape[1]))
                    throw Shape.Refuse("batchNorm", "mean, variance, gain and bias must have one value per channel", $"{parameter.Shape} for {Shape}", "Correct them");
            int[] perChannel = [-1, .. Enumerable.Repeat(1, Rank - 2)];
            var scale = (variance + epsilon).Rsqrt();
            if (gain is not null) scale *= gain;
            var y = (this - mean.Reshape(perChannel)) * scale.Reshape(perChannel);
            return bias is null ? y : y + bias.Reshape(perChannel);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Normalisation to mean 0 and variance 1. The statistics are outputs, too: the backward pass reads them, and a derivative of any order may.</summary>
    public static unsafe partial class Normalisation
    {
        public static readonly Op GroupNorm = Groups(1, gain: true, bias: true, 1e-5);

        public static readonly Op LayerNorm = Rows(centred: true, gain: true, bias: true, 1e-5);

        public static readonly Op RmsNorm = Rows(centred: false, gain: true, bias: false, 1e-5);

        public static readonly Op BatchNorm = Channels(gain: true, bias: true, residual: false, 1e-5, relu: false);

        /// <summary>Layer normalisation over the last axes: as one axis for the op.</summary>
        internal static Tensor Centred(Tensor x, int axes, Tensor? gain, Tensor? bias, double epsilon)
        {
            var rows = axes == 1 ? x : x.Reshape([.. x.Shape.Sizes[..^axes], (int)Shape.Of(x.Shape.Sizes[^axes..]).Count]);
            var inputs = new List<Tensor> { rows };
            if (gain is not null) inputs.Add(axes == 1 ? gain : gain.Reshape((int)gain.Count));
            if (bias is not null) inputs.Add(axes == 1 ? bias : bias.Reshape((int)bias.Count));
            var y = Rows(centred: true, gain is not null, bias is not null, epsilon).Apply([.. inputs])[0];
            return axes == 1 ? y : y.Reshape(x.Shape.ToArray());
        }

        /// <summary>y = (x − m)·r·gain + bias along the last axis, r = 1/√(mean (x − m)² + ε), where m is the mean or, if not centred, 0.
        /// Outputs y, r and, if centred, m.</summary>
        internal static Op Rows(bool centred, bool gain, bool bias, double epsilon)
        {
            var name = centred ? "layerNorm" : "rmsNorm";
            var (gainAt, biasAt) = (gain ? 1 : -1, bias ? gain ? 2 : 1 : -1);
            return new()
            {
                Name = name,
                Shape = x =>
                {
                    CheckEpsilon(name, epsilon);
                    Shape.Float(name, x[0]);
                    if (x[0].Rank == 0 || x[0].Shape[-1] == 0)
                        throw Shape.Refuse(name, "a last axis with elements is needed", x[0].Shape.ToString(), "Reshape the input");
                    foreach (var parameter in x.AsSpan(1))
                    {
                        Shape.SameDType(name, x[0], parameter);
                        if (parameter.Rank != 1 || parameter.Shape[0] != x[0].Shape[-1])
                            throw Shape.Refuse(name, "gain and bias must have the size of the last axis", $"{parameter.Shape} for {x[0].Shape}", "Correct them");
                    }
                    var rows = Shape.Of(x[0].Shape.Sizes[..^1]);
                    return centred ? [new(x[0].DType, x[0].Shape), new(x[0].DType, rows), new(x[0].DType, rows)] : [new(x[0].DType, x[0].Shape), new(x[0].DType, rows)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    if (y[0].DType == DType.Float32) Forward<float>(x, gainAt, biasAt, epsilon, y);
                    else Forward<double>(x, gainAt, biasAt, epsilon, y);
                }),
                Vjp = (x, y, g, i) =>
                {
                    var r = y[1].Unsqueeze(-1);
                    var normal = (centred ? x[0] - y[2].Unsqueeze(-1) : x[0]) * r;
                    if (i == gainAt) return OverRows(g[0] * normal);
                    if (i == biasAt) return OverRows(g[0]);
                    var n = x[0].Shape[-1];
                    var a = gain ? g[0] * x[gainAt] : g[0];
                    // r falls as the deviations grow: ∂r/∂x = −r²·x̂/n.
                    var inner = a - normal * (a * normal).Mean([-1], keepAxes: true);
                    if (centred) inner -= a.Mean([-1], keepAxes: true);
                    var dx = r * (inner - normal * r * (g[1].Unsqueeze(-1) / n));
                    return centred ? dx + g[2].Unsqueeze(-1) / n : dx;
                },
                VjpInto = (x, y, g, dx) =>
                {
                    if (x[0].DType == DType.Float32) Backward<float>(x, y, g, dx, gainAt, biasAt);
                    else Backward<double>(x, y, g, dx, gainAt, biasAt);
                    AddStatistics(LayerNorm, x[0], y, g, dx[0], centred);
                },
                Sample = draw =>
                {
                    var (n, e) = (draw.Int(1, 6), draw.OneOf(1e-5, 0.1));
                    var shape = Shape.Of([.. draw.Shape(0, 2, empty: true).Sizes, n]);
                    var (withGain, withBias) = (draw.Chance(0.7), centred && draw.Chance(0.7));
                    var inputs = new List<Tensor> { Spread(draw, shape, i => i / n, centred, e) };
                    if (withGain) inputs.Add(draw.Tensor(Shape.Of(n)));
                    if (withBias) inputs.Add(draw.Tensor(Shape.Of(n)));
                    return new(Rows(centred, withGain, withBias, e), [.. inputs])
                    {
                        Attributes = $"gain = {(withGain ? "true" : "false")}, bias = {(withBias ? "true" : "false")}, epsilon = {e}",
                    };
                },
            };
        }

        /// <summary>y = (x − mean)/√(variance + ε)·gain + bias per channel of [N, C, …] + residual, then relu where asked. Outputs y, mean and variance.</summary>
        internal static Op Channels(bool gain, bool bias, bool residual, double epsilon, bool relu)
        {
            const string name = "batchNorm";
            var (gainAt, biasAt) = (gain ? 1 : -1, bias ? gain ? 2 : 1 : -1);
            var residualAt = residual ? 1 + Math.Max(0, Math.Max(gainAt, biasAt)) : -1;
            return new()
            {
                Name = name,
                Shape = x =>
                {
                    CheckEpsilon(name, epsilon);
                    Shape.Float(name, x[0]);
                    if (x[0].Rank < 2) throw Shape.Refuse(name, "the input must be [N, C, …]", x[0].Shape.ToString(), "Reshape it");
                    var channels = x[0].Shape[1];
                    for (var i = 1; i < x.Length; i++)
                    {
                        Shape.SameDType(name, x[0], x[i]);
                        if (i == residualAt && x[i].Shape != x[0].Shape)
                            throw Shape.Refuse(name, "a residual must have the input's shape", $"{x[i].Shape} for {x[0].Shape}", "Correct it");
                        if (i != residualAt && (x[i].Rank != 1 || x[i].Shape[0] != channels))
                            throw Shape.Refuse(name, "gain and bias must have one value per channel", $"{x[i].Shape} for {x[0].Shape}", "Correct them");
                    }
                    if (channels > 0 && x[0].Count == channels)
                        throw Shape.Refuse(name, "a channel needs more than one value to have a variance in training", x[0].Shape.ToString(), "Use a larger batch");
                    var statistics = Shape.Of(channels);
                    return [new(x[0].DType, x[0].Shape), new(x[0].DType, statistics), new(x[0].DType, statistics)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    if (y[0].DType == DType.Float32) ForwardChannels<float>(x, gainAt, biasAt, residualAt, epsilon, relu, y);
                    else ForwardChannels<double>(x, gainAt, biasAt, residualAt, epsilon, relu, y);
                }),
                Vjp = (x, y, g, i) =>
                {
                    int[] axes = [0, .. Enumerable.Range(2, x[0].Rank - 2)], perChannel = [-1, .. Enumerable.Repeat(1, x[0].Rank - 2)];
                    var a = Activations.Backward(relu ? Activation.Relu : Activation.None, y[0], g[0]);
                    if (i == residualAt) return a;
                    if (i == biasAt) return a.Sum(axes);
                    var r = (y[2] + epsilon).Rsqrt().Reshape(perChannel);
                    var centred = x[0] - y[1].Reshape(perChannel);
                    var normal = centred * r;
                    if (i == gainAt) return (a * normal).Sum(axes);
                    double n = x[0].Count / Math.Max(1, x[0].Shape[1]);
                    if (gain) a *= x[gainAt].Reshape(perChannel);
                    var dx = r * (a - a.Mean(axes, keepAxes: true) - normal * (a * normal).Mean(axes, keepAxes: true));
                    return dx + g[1].Reshape(perChannel) / n + centred * (g[2].Reshape(perChannel) * (2 / n));
                },
                VjpInto = (x, y, g, dx) =>
                {
                    if (x[0].DType == DType.Float32) BackwardChannels<float>(x, y, g, dx, gainAt, biasAt, residualAt, epsilon, relu);
                    else BackwardChannels<double>(x, y, g, dx, gainAt, biasAt, residualAt, epsilon, relu);
                    AddMoments(x[0], y, g, dx[0]);
                },
                Sample = draw =>
                {
                    var (channels, e) = (draw.Int(1, 3), draw.OneOf(1e-5, 0.1));
                    var shape = Shape.Of([draw.Int(2, 4), channels, .. draw.Shape(0, 2).Sizes]);
                    var (withGain, withBias) = (draw.Chance(0.7), draw.Chance(0.7));
                    var size = (int)Shape.Of(shape.Sizes[2..]).Count;
                    var inputs = new List<Tensor> { Spread(draw, shape, i => i / size % channels, centred: true, e) };
                    if (withGain) inputs.Add(draw.Tensor(Shape.Of(channels)));
                    if (withBias) inputs.Add(draw.Tensor(Shape.Of(channels)));
                    var withResidual = draw.Chance(0.4);
                    if (withResidual) inputs.Add(draw.Tensor(shape));
                    // The kink of relu must stay away from every element.
                    var withRelu = draw.Chance(0.4);
                    if (withRelu && Array.Exists(Channels(withGain, withBias, withResidual, e, false).Apply([.. inputs])[0].ToDoubles(), v => Math.Abs(v) < 0.05)) withRelu = false;
                    return new(Channels(withGain, withBias, withResidual, e, withRelu), [.. inputs])
                    {
                        Attributes = $"gain = {(withGain ? "true" : "false")}, bias = {(withBias ? "true" : "false")}, residual = {(withResidual ? "true" : "false")}, epsilon = {e}, "
                            + $"relu = {(withRelu ? "true" : "false")}",
                    };
                },
            };
        }

        /// <summary>Values of which no group is nearly constant: 1/√(variance + ε) turns within √ε of there, where differences see a kink.</summary>
        private static Tensor Spread(Draw draw, Shape shape, Func<int, int> groupOf, bool centred, double epsilon)
        {
            var values = new double[shape.Count];
            foreach (var members in Enumerable.Range(0, values.Length).GroupBy(groupOf))
            {
                double variance;
                do
                {
                    foreach (var i in members) values[i] = draw.Uniform(-2, 2);
                    var mean = centred ? members.Average(i => values[i]) : 0;
                    variance = members.Average(i => (values[i] - mean) * (values[i] - mean));
                }
                // One value alone has no deviation to differ.
                while (variance + epsilon < 0.01 && !(centred && members.Count() == 1));
            }
            return draw.Arrange(values, shape);
        }

        private static void CheckEpsilon(string op, double epsilon)
        {
            if (!(epsilon >= 0)) throw Shape.Refuse(op, "epsilon must be 0 or more", $"{epsilon}", "Correct it");
        }

        /// <summary>The sum over all axes but the last.</summary>
        private static Tensor OverRows(Tensor x) => x.Rank == 1 ? x : x.Sum([.. Enumerable.Range(0, x.Rank - 1)]);

        // ---- on plain tensors ----

        private static T* Pointer<T>(Tensor? x) where T : unmanaged => x is null ? null : x.Pointer<T>();

        private static Tensor? Part(Tensor[] x, int at) => at < 0 ? null : Pointwise.Contiguous(x[at]);

        private static void Forward<T>(Tensor[] input, int gainAt, int biasAt, double epsilon, Tensor[] y) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (x, gain, bias) = (Pointwise.Contiguous(input[0]), Part(input, gainAt), Part(input, biasAt));
            Kernels.Normalisation<T>.Rows((nint)y[1].Count, x.Shape[-1], x.Pointer<T>(), Pointer<T>(gain), Pointer<T>(bias), epsilon, y[0].Pointer<T>(),
                y.Length > 2 ? y[2].Pointer<T>() : null, y[1].Pointer<T>());
            GC.KeepAlive(x);
            GC.KeepAlive(gain);
            GC.KeepAlive(bias);
        }

        private static void Backward<T>(Tensor[] input, Tensor[] y, Tensor[] g, Slot?[] dx, int gainAt, int biasAt) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (x, gain, cotangent) = (Pointwise.Contiguous(input[0]), Part(input, gainAt), Pointwise.Contiguous(g[0]));
            var (add, addGain, addBias) = (false, false, false);
            var image = dx[0]?.Open(out add);
            var dGain = gainAt < 0 ? null : dx[gainAt]?.Open(out addGain);
            var dBias = biasAt < 0 ? null : dx[biasAt]?.Open(out addBias);
            Kernels.Normalisation<T>.RowsBackward((nint)y[1].Count, x.Shape[-1], x.Pointer<T>(), Pointer<T>(gain), cotangent.Pointer<T>(),
                y.Length > 2 ? y[2].Pointer<T>() : null, y[1].Pointer<T>(), Pointer<T>(image), add, Pointer<T>(dGain), addGain, Pointer<T>(dBias), addBias);
            GC.KeepAlive(x);
            GC.KeepAlive(gain);
            GC.KeepAlive(cotangent);
        }

        // Seldom does anything use the statistics; their cotangents are then one stored zero.
        internal static bool IsZero(Tensor g) =>
            g.Count == 0 || (Array.TrueForAll(g.Strides, s => s == 0) && g.View(Shape.Scalar, [], g.Offset).ToDouble() == 0);

        /// <summary>What comes back through r and the mean of <paramref name="rows"/>, the input as rows along its last axis.</summary>
        private static void AddStatistics(Op op, Tensor rows, Tensor[] y, Tensor[] g, Slot? slot, bool centred)
        {
            if (slot is null) return;
            double n = rows.Shape[-1];
            var shape = slot.Primal.Shape.ToArray();
            if (!IsZero(g[1]))
            {
                var r = y[1].Unsqueeze(-1);
                slot.Add(op, ((centred ? rows - y[2].Unsqueeze(-1) : rows) * (r * r * r * (g[1].Unsqueeze(-1) / -n))).Reshape(shape));
            }
            if (centred && !IsZero(g[2])) slot.Add(op, (g[2].Unsqueeze(-1) / n).ExpandTo(rows.Shape).Reshape(shape));
        }

        private static void ForwardChannels<T>(Tensor[] input, int gainAt, int biasAt, int residualAt, double epsilon, bool relu, Tensor[] y)
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (x, gain, bias, residual) = (Pointwise.Contiguous(input[0]), Part(input, gainAt), Part(input, biasAt), Part(input, residualAt));
            Kernels.Normalisation<T>.Channels(x.Shape[0], x.Shape[1], Positions(x), x.Pointer<T>(), Pointer<T>(gain), Pointer<T>(bias), Pointer<T>(residual), epsilon, relu,
                y[0].Pointer<T>(), y[1].Pointer<T>(), y[2].Pointer<T>());
            GC.KeepAlive(x);
            GC.KeepAlive(gain);
            GC.KeepAlive(bias);
            GC.KeepAlive(residual);
        }

        private static void BackwardChannels<T>(Tensor[] input, Tensor[] y, Tensor[] g, Slot?[] dx, int gainAt, int biasAt, int residualAt, double epsilon, bool relu)
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (x, gain, bias, cotangent) = (Pointwise.Contiguous(input[0]), Part(input, gainAt), Part(input, biasAt), Pointwise.Contiguous(g[0]));
            var (add, addGain, addBias, addResidual) = (false, false, false, false);
            // First: where the residual is the input itself, what is written there is added to.
            var dResidual = residualAt < 0 ? null : dx[residualAt]?.Open(out addResidual);
            var image = dx[0]?.Open(out add);
            var dGain = gainAt < 0 ? null : dx[gainAt]?.Open(out addGain);
            var dBias = biasAt < 0 ? null : dx[biasAt]?.Open(out addBias);
            Kernels.Normalisation<T>.ChannelsBackward(x.Shape[0], x.Shape[1], Positions(x), x.Pointer<T>(), Pointer<T>(gain), Pointer<T>(bias), cotangent.Pointer<T>(),
                relu && residualAt > 0 ? y[0].Pointer<T>() : null, relu, y[1].Pointer<T>(), y[2].Pointer<T>(), epsilon, Pointer<T>(image), add, Pointer<T>(dGain), addGain,
                Pointer<T>(dBias), addBias, Pointer<T>(dResidual), addResidual);
            GC.KeepAlive(x);
            GC.KeepAlive(gain);
            GC.KeepAlive(bias);
            GC.KeepAlive(cotangent);
        }

        private static void AddMoments(Tensor x, Tensor[] y, Tensor[] g, Slot? slot)
        {
            if (slot is null) return;
            int[] perChannel = [-1, .. Enumerable.Repeat(1, x.Rank - 2)];
            double n = x.Count / Math.Max(1, x.Shape[1]);
            if (!IsZero(g[1])) slot.Add(BatchNorm, (g[1].Reshape(perChannel) / n).ExpandTo(x.Shape));
            if (!IsZero(g[2])) slot.Add(BatchNorm, (x - y[1].Reshape(perChannel)) * (g[2].Reshape(perChannel) * (2 / n)));
        }

        private static nint Positions(Tensor x) => (nint)(x.Count / Math.Max(1, (long)x.Shape[0] * x.Shape[1]));
    }
}
