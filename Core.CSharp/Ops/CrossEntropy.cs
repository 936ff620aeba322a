using System.Numerics;
using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>−ln softmax(logits)[label] along the last axis: logits […, C] and labels […] give losses […]. Smoothing ε mixes the target
        /// with the uniform distribution, (1 − ε)·target + ε/C. A label equal to <paramref name="ignore"/> has loss and gradient 0.
        /// Float labels […, C] are target probabilities.</summary>
        public static Tensor SoftmaxCrossEntropy(Tensor logits, Tensor labels, double smoothing = 0, int? ignore = null) =>
            labels.DType.IsFloat()
                ? Ops.CrossEntropy.WithTargets(smoothing).Call(logits, labels)
                : Ops.CrossEntropy.WithLabels(smoothing, ignore, mean: false).Call(logits, labels);

        /// <summary>The mean of <see cref="SoftmaxCrossEntropy"/> over the labels that are not ignored.</summary>
        public static Tensor CrossEntropy(Tensor logits, Tensor labels, double smoothing = 0, int? ignore = null) =>
            labels.DType.IsFloat()
                ? SoftmaxCrossEntropy(logits, labels, smoothing).Mean()
                : (smoothing == 0 && ignore is null ? Ops.CrossEntropy.MeanOfLabels : Ops.CrossEntropy.WithLabels(smoothing, ignore, mean: true)).Call(logits, labels);
    }
}

namespace Functional.Ops
{
    /// <summary>Softmax cross-entropy, fused: outputs are the loss and, for the backward pass, each row's logsumexp.</summary>
    public static unsafe class CrossEntropy
    {
        public static readonly Op Labels = WithLabels(0, null, mean: false);

        public static readonly Op MeanOfLabels = WithLabels(0, null, mean: true);

        public static readonly Op Targets = WithTargets(0);

        /// <summary>Losses, or their mean, of logits […, C] for integer labels […].</summary>
        internal static Op WithLabels(double smoothing, long? ignore, bool mean)
        {
            var name = mean ? "crossEntropy" : "softmaxCrossEntropy";
            return new()
            {
                Name = name,
                Shape = x =>
                {
                    var rows = Rows(name, x[0], smoothing);
                    Shape.Integer(name, x[1]);
                    if (x[1].Shape != rows)
                        throw Shape.Refuse(name, "every row of logits needs one label", $"logits {x[0].Shape} and labels {x[1].Shape}", "Give labels of the logits' shape without the last axis");
                    return [new(x[0].DType, mean ? Shape.Scalar : rows), new(x[0].DType, rows)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    if (x[0].DType == DType.Float32) Forward<float>(name, x[0], x[1], smoothing, ignore, mean, y);
                    else Forward<double>(name, x[0], x[1], smoothing, ignore, mean, y);
                }),
                Vjp = (x, y, g, i) =>
                {
                    if (i != 0) return null;
                    var (classes, dtype) = (x[0].Shape[-1], x[0].DType);
                    var probabilities = (x[0] - y[1].Unsqueeze(-1)).Exp();
                    var target = Indexing.OneHotOf(classes, dtype, ignore).Call(x[1]);
                    if (smoothing != 0) target = target * (1 - smoothing) + smoothing / classes;
                    var loss = g[0];
                    if (ignore is { } ignored)
                    {
                        var valid = x[1].NotEqual(ignored).Cast(dtype);
                        loss = loss * (mean ? valid / valid.Sum() : valid);
                    }
                    else if (mean) loss = loss * (1.0 / y[1].Count);
                    if (loss.Rank == 0) loss = loss.ExpandTo(y[1].Shape);
                    return probabilities * (loss + g[1]).Unsqueeze(-1) - target * loss.Unsqueeze(-1);
                },
                VjpInto = (x, y, g, dx) =>
                {
                    if (dx[0] is not { } slot) return;
                    if (x[0].DType == DType.Float32) Backward<float>(name, x[0], x[1], smoothing, ignore, mean, y[1], g, slot);
                    else Backward<double>(name, x[0], x[1], smoothing, ignore, mean, y[1], g, slot);
                },
                Sample = draw =>
                {
                    var rows = mean ? draw.Shape(0, 2) : draw.Shape(0, 2, empty: true);
                    var (classes, s) = (draw.Int(1, 6), draw.OneOf(0, 0.1));
                    // Never ignore all: their mean would be 0/0.
                    int? skip = classes > 1 && rows.Count > 0 && draw.Chance(0.3) ? 1 : null;
                    var labels = draw.Integers(rows, 0, classes - 1, draw.OneOf(DType.Int32, DType.Int64));
                    if (skip is not null && mean && Array.TrueForAll(labels.ToDoubles(), l => l == 1)) skip = null;
                    return new(WithLabels(s, skip, mean), draw.Tensor(Shape.Of([.. rows.Sizes, classes])), labels)
                    {
                        Attributes = $"smoothing = {s}, ignore = {skip?.ToString() ?? "none"}",
                    };
                },
            };
        }

        /// <summary>Losses of logits […, C] for target probabilities […, C]: Σ q·(lse − x) with q = (1 − ε)·t + ε/C.</summary>
        internal static Op WithTargets(double smoothing)
        {
            const string name = "softmaxCrossEntropyTargets";
            return new()
            {
                Name = name,
                Shape = x =>
                {
                    var rows = Rows(name, x[0], smoothing);
                    Shape.SameDType(name, x[0], x[1]);
                    if (x[0].Shape != x[1].Shape)
                        throw Shape.Refuse(name, "logits and target probabilities must agree", $"{x[0].Shape} and {x[1].Shape}", "Give one probability for each class");
                    return [new(x[0].DType, rows), new(x[0].DType, rows)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    if (x[0].DType == DType.Float32) Forward<float>(x[0], x[1], smoothing, y);
                    else Forward<double>(x[0], x[1], smoothing, y);
                }),
                Vjp = (x, y, g, i) =>
                {
                    var above = y[1].Unsqueeze(-1) - x[0];
                    if (i == 1) return above * (g[0] * (1 - smoothing)).Unsqueeze(-1);
                    var target = x[1];
                    if (smoothing != 0) target = target * (1 - smoothing) + smoothing / x[0].Shape[-1];
                    return (-above).Exp() * (g[0].Unsqueeze(-1) * target.Sum([-1], keepAxes: true) + g[1].Unsqueeze(-1)) - target * g[0].Unsqueeze(-1);
                },
                Sample = static draw =>
                {
                    var shape = Shape.Of([.. draw.Shape(0, 2, empty: true).Sizes, draw.Int(1, 6)]);
                    var s = draw.OneOf(0, 0.1);
                    return new(WithTargets(s), draw.Tensor(shape), draw.Tensor(shape, 0.05, 1)) { Attributes = $"smoothing = {s}" };
                },
                VjpInto = (x, y, g, dx) =>
                {
                    if (x[0].DType == DType.Float32) Backward<float>(x[0], x[1], smoothing, y[1], g, dx);
                    else Backward<double>(x[0], x[1], smoothing, y[1], g, dx);
                },
            };
        }

        private static Shape Rows(string name, Tensor logits, double smoothing)
        {
            Shape.Float(name, logits);
            if (logits.Rank == 0 || logits.Shape[-1] == 0)
                throw Shape.Refuse(name, "logits need a last axis of classes", logits.Shape.ToString(), "Reshape them");
            if (!(smoothing >= 0 && smoothing <= 1))
                throw Shape.Refuse(name, "smoothing must lie in 0 … 1", $"{smoothing}", "Correct it");
            return Shape.Of(logits.Shape.Sizes[..^1]);
        }

        private static void Forward<T>(string name, Tensor logits, Tensor labels, double smoothing, long? ignore, bool mean, Tensor[] y)
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            nint classes = logits.Shape[-1], rows = (nint)y[1].Count;
            var index = Indexing.Checked(name, labels, classes, ignore, "labels");
            var x = Pointwise.Contiguous(logits);
            var losses = mean ? Tensor.Allocate(logits.DType, y[1].Shape) : y[0];
            Kernels.CrossEntropy.Forward(rows, classes, x.Pointer<T>(), index.Pointer<long>(), smoothing, losses.Pointer<T>(), y[1].Pointer<T>());
            if (mean) Reducing.Sum(losses, Everything, y[0], scale: 1.0 / Counted(index, ignore));
            GC.KeepAlive(index);
            GC.KeepAlive(x);
            GC.KeepAlive(losses);
        }

        private static void Backward<T>(string name, Tensor logits, Tensor labels, double smoothing, long? ignore, bool mean, Tensor lse, Tensor[] g, Slot slot)
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            nint classes = logits.Shape[-1], rows = (nint)lse.Count;
            var index = Indexing.Checked(name, labels, classes, ignore, "labels");
            var (x, loss) = (Pointwise.Contiguous(logits), mean ? g[0] : Pointwise.Contiguous(g[0]));
            var dx = slot.Open(out var accumulate);
            Kernels.CrossEntropy.Backward(rows, classes, x.Pointer<T>(), lse.Pointer<T>(), index.Pointer<long>(), smoothing,
                loss.Pointer<T>(), mean ? 0 : 1, mean ? 1.0 / Counted(index, ignore) : 1, dx.Pointer<T>(), accumulate);
            AddLogSumExp(x, lse, g[1], dx);
            GC.KeepAlive(index);
            GC.KeepAlive(x);
            GC.KeepAlive(loss);
        }

        private static void Forward<T>(Tensor logits, Tensor targets, double smoothing, Tensor[] y) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (x, t) = (Pointwise.Contiguous(logits), Pointwise.Contiguous(targets));
            Kernels.CrossEntropy.Forward((nint)y[1].Count, x.Shape[-1], x.Pointer<T>(), t.Pointer<T>(), smoothing, y[0].Pointer<T>(), y[1].Pointer<T>());
            GC.KeepAlive(x);
            GC.KeepAlive(t);
        }

        private static void Backward<T>(Tensor logits, Tensor targets, double smoothing, Tensor lse, Tensor[] g, Slot?[] dx)
            where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (x, t, loss) = (Pointwise.Contiguous(logits), Pointwise.Contiguous(targets), Pointwise.Contiguous(g[0]));
            if (dx[0] is { } slot)
            {
                var destination = slot.Open(out var accumulate);
                Kernels.CrossEntropy.Backward((nint)lse.Count, x.Shape[-1], x.Pointer<T>(), lse.Pointer<T>(), t.Pointer<T>(), smoothing,
                    loss.Pointer<T>(), 1, 1, destination.Pointer<T>(), accumulate);
                AddLogSumExp(x, lse, g[1], destination);
            }
            if (dx[1] is { } target)
                Pointwise.Map3(x, Repeated(lse, x.Shape), Repeated(loss, x.Shape), target.Open(out var accumulate), accumulate, new Surplus { Scale = 1 - smoothing });
            GC.KeepAlive(x);
            GC.KeepAlive(t);
            GC.KeepAlive(loss);
        }

        // The derivative of logsumexp is softmax. Seldom does anything use that output; its cotangent is then one stored zero.
        private static void AddLogSumExp(Tensor x, Tensor lse, Tensor g, Tensor dx)
        {
            if (Array.TrueForAll(g.Strides, s => s == 0) && g.Count > 0 && g.View(Shape.Scalar, [], g.Offset).ToDouble() == 0) return;
            Pointwise.Map3(x, Repeated(lse, x.Shape), Repeated(g, x.Shape), dx, accumulate: true, default(ShiftedExpTimes));
        }

        private static Tensor Repeated(Tensor row, Shape shape) => row.View(shape, [.. row.Strides, 0], row.Offset);

        private static long Counted(Tensor index, long? ignore)
        {
            if (ignore is null) return index.Count;
            long counted = 0;
            var p = index.Pointer<long>();
            for (nint i = 0; i < (nint)index.Count; i++)
                if (p[i] >= 0)
                    counted++;
            return counted;
        }

        private static readonly AxisSet Everything = new("mean", [], false);

        /// <summary><c>scale·(lse − x)·g</c></summary>
        private readonly struct Surplus : Kernels.IMap3
        {
            internal double Scale { get; init; }

            [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
            public System.Runtime.Intrinsics.Vector512<T> Invoke<T>(System.Runtime.Intrinsics.Vector512<T> x, System.Runtime.Intrinsics.Vector512<T> lse, System.Runtime.Intrinsics.Vector512<T> g)
                where T : unmanaged, INumber<T> => Kernels.Lanes.Splat<T>(Scale) * (lse - x) * g;
        }
    }
}
