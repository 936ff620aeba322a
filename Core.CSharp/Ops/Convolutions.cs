using System.Numerics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>Cross-correlation, as deep learning calls convolution, then the activation, in one pass:
        /// y[n, o] = activation(Σ_c x[n, c] ⋆ w[o, c] + b[o]) for x [N, C, spatial…], w [O, C/groups, kernel…], b [O] or null, with one to three spatial axes.</summary>
        public static Tensor Convolution(Tensor x, Tensor w, Tensor? b = null, Window? window = null, Activation activation = Activation.None)
        {
            var op = Convolutions.Convolve(window ?? Window.Default, activation);
            return b is null ? op.Call(x, w) : op.Call(x, w, b);
        }

        /// <summary>The transposed convolution: the adjoint of the convolution with the same weight, stride and padding, as an operation of its own.
        /// x [N, C, spatial…], w [C, O/groups, kernel…], b [O] or null; an axis becomes (size − 1)·stride + extent − padding + <paramref name="outputPadding"/>
        /// (Dumoulin &amp; Visin 2016, A guide to convolution arithmetic for deep learning).</summary>
        public static Tensor ConvolutionTransposed(Tensor x, Tensor w, Tensor? b = null, Window? window = null, PerAxis outputPadding = default)
        {
            window ??= Window.Default;
            Convolutions.CheckRanks("convolutionTransposed", x, w);
            var spatial = window.Transposed("convolutionTransposed", x.Shape.Sizes[2..], w.Shape.Sizes[2..], outputPadding);
            var y = Convolutions.Transpose(window, spatial).Call(x, w);
            if (b is null) return y;
            if (b.Rank != 1 || b.Shape[0] != y.Shape[1])
                throw Shape.Refuse("convolutionTransposed", "the bias must have one value per output channel", $"{y.Shape[1]} channels and bias {b.Shape}", "Correct the bias");
            return y + b.Reshape([-1, .. Enumerable.Repeat(1, spatial.Length)]);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>The convolution and its two adjoints. All three are bilinear, and each is made of the others' derivatives:
    /// y = x ⋆ w, x̄ = ȳ transposed with w, w̄ = x correlated with ȳ – so derivatives of any order run on the same kernels.</summary>
    public static unsafe class Convolutions
    {
        public static readonly Op Convolution = Convolve(Window.Default, Activation.None);

        public static readonly Op Transposed = Transpose(Window.Default, [1]);

        public static readonly Op WeightGradient = Correlate(Window.Default, [1]);

        /// <summary>y = activation(x ⋆ w + b)</summary>
        public static Op Convolve(Window window, Activation activation) => new()
        {
            Name = "convolution",
            Batching = Batching.Folded,
            Shape = x =>
            {
                var sizes = Sizes("convolution", window, x[0], x[1]);
                var outputs = x[1].Shape[0];
                if (x.Length > 2)
                {
                    Shape.SameDType("convolution", x[0], x[2]);
                    if (x[2].Rank != 1 || x[2].Shape[0] != outputs)
                        throw Shape.Refuse("convolution", "the bias must have one value per output channel", $"{outputs} channels and bias {x[2].Shape}", "Correct the bias");
                }
                return [new(x[0].DType, Shape.Of([x[0].Shape[0], outputs, .. Spatial(sizes.Axes, x[0].Rank - 2, output: true)]))];
            },
            Forward = new Forward.Into((x, y) =>
            {
                if (y[0].DType == DType.Float32) Forward<float>(window, activation, x, y[0]);
                else Forward<double>(window, activation, x, y[0]);
                if (activation is Activation.Tanh or Activation.Sigmoid) Activations.ApplyPlain(activation, y[0]);
            }),
            Flop = static (x, y) => FlopOf(y[0].Shape, x[1].Shape),
            Vjp = (x, y, g, i) =>
            {
                var pre = Activations.Backward(activation, y[0], g[0]);
                return i switch
                {
                    0 => Transpose(window, x[0].Shape.Sizes[2..].ToArray()).Call(pre, x[1]),
                    1 => Correlate(window, x[1].Shape.Sizes[2..].ToArray()).Call(x[0], pre),
                    _ => pre.Sum(ButChannels(pre.Rank)),
                };
            },
            VjpInto = (x, y, g, dx) =>
            {
                var pre = activation == Activation.None ? Pointwise.Contiguous(g[0]) : Activations.BackwardPlain(activation, y[0], g[0]);
                if (dx[0] is { } image) Input(window, pre, x[1], image.Open(out var accumulate), accumulate);
                if (dx[1] is { } weight) Weight(window, x[0], pre, weight.Open(out var accumulate), accumulate);
                if (x.Length > 2 && dx[2] is { } bias) Reducing.Sum(pre, new AxisSet("sum", ButChannels(pre.Rank), false), bias.Open(out var accumulate), accumulate);
            },
            Reads = activation == Activation.None ? Reads.Inputs : Reads.All,
            Sample = static draw =>
            {
                var (drawn, x, w, _) = Draw(draw);
                var activation = draw.OneOf(Enum.GetValues<Activation>());
                Tensor[] inputs = draw.Chance(0.3) ? [x, w] : [x, w, draw.Tensor(Shape.Of(w.Shape[0]))];
                // The kink of relu must stay away from every sum.
                if (activation == Activation.Relu && Array.Exists(Convolve(drawn, Activation.None).Call(inputs).ToDoubles(), v => Math.Abs(v) < 0.05)) activation = Activation.Tanh;
                return new(Convolve(drawn, activation), inputs) { Attributes = $"activation = {activation}, {drawn}" };
            },
        };

        /// <summary>The adjoint of x ↦ x ⋆ w for inputs of the given spatial sizes.</summary>
        public static Op Transpose(Window window, int[] spatial) => new()
        {
            Name = "convolutionTransposed",
            Batching = Batching.Folded,
            Shape = y =>
            {
                CheckRanks("convolutionTransposed", y[0], y[1]);
                var (channels, n) = (y[1].Shape[1] * (long)window.Groups, y[0].Rank - 2);
                if (channels > int.MaxValue) throw Shape.Refuse("convolutionTransposed", "the result has too many channels", $"{channels}", "Use fewer groups");
                var x = Tensor.Meta(y[0].DType, Shape.Of([y[0].Shape[0], (int)channels, .. spatial]));
                var sizes = Sizes("convolutionTransposed", window, x, y[1]);
                var made = Shape.Of([y[0].Shape[0], y[1].Shape[0], .. Spatial(sizes.Axes, n, output: true)]);
                if (made != y[0].Shape)
                    throw Shape.Refuse("convolutionTransposed", "the input must be what the convolution makes of the result", $"input {y[0].Shape}, result {x.Shape} and weight {y[1].Shape}", "Correct the sizes");
                return [new(y[0].DType, x.Shape)];
            },
            Forward = new Forward.Into((y, x) => Input(window, y[0], y[1], x[0], accumulate: false)),
            Flop = static (y, _) => FlopOf(y[0].Shape, y[1].Shape),
            Vjp = (y, _, g, i) => i == 0
                ? Convolve(window, Activation.None).Call(g[0], y[1])
                : Correlate(window, y[1].Shape.Sizes[2..].ToArray()).Call(g[0], y[0]),
            VjpInto = (y, _, g, dy) =>
            {
                if (dy[0] is { } image) AddForward(window, g[0], y[1], image);
                if (dy[1] is { } weight) Weight(window, g[0], y[0], weight.Open(out var accumulate), accumulate);
            },
            Reads = Reads.Inputs,
            Sample = static draw =>
            {
                var (drawn, x, w, y) = Draw(draw);
                var spatial = x.Shape.Sizes[2..].ToArray();
                return new(Transpose(drawn, spatial), y, w) { Attributes = $"spatial = {Shape.Text(spatial)}, {drawn}" };
            },
        };

        /// <summary>The adjoint of w ↦ x ⋆ w for kernels of the given sizes.</summary>
        public static Op Correlate(Window window, int[] kernel) => new()
        {
            Name = "convolutionWeight",
            Shape = x =>
            {
                CheckRanks("convolutionWeight", x[0], x[1]);
                Groups("convolutionWeight", window, x[0].Shape[1], x[1].Shape[1]);
                var w = Tensor.Meta(x[0].DType, Shape.Of([x[1].Shape[1], x[0].Shape[1] / window.Groups, .. kernel]));
                var sizes = Sizes("convolutionWeight", window, x[0], w);
                var made = Shape.Of([x[0].Shape[0], w.Shape[0], .. Spatial(sizes.Axes, x[0].Rank - 2, output: true)]);
                if (made != x[1].Shape)
                    throw Shape.Refuse("convolutionWeight", "the second input must be what the convolution makes of the first", $"{x[0].Shape} and {x[1].Shape}", "Correct the sizes");
                return [new(x[0].DType, w.Shape)];
            },
            Forward = new Forward.Into((x, w) => Weight(window, x[0], x[1], w[0], accumulate: false)),
            Flop = static (x, w) => FlopOf(x[1].Shape, w[0].Shape),
            Vjp = (x, _, g, i) => i == 0
                ? Transpose(window, x[0].Shape.Sizes[2..].ToArray()).Call(x[1], g[0])
                : Convolve(window, Activation.None).Call(x[0], g[0]),
            VjpInto = (x, _, g, dx) =>
            {
                if (dx[0] is { } image) Input(window, x[1], g[0], image.Open(out var accumulate), accumulate);
                if (dx[1] is { } output) AddForward(window, x[0], g[0], output);
            },
            Reads = Reads.Inputs,
            Sample = static draw =>
            {
                var (drawn, x, w, y) = Draw(draw);
                var kernel = w.Shape.Sizes[2..].ToArray();
                return new(Correlate(drawn, kernel), x, y) { Attributes = $"kernel = {Shape.Text(kernel)}, {drawn}" };
            },
        };

        /// <summary>Windows over an image, its weight, and an output of theirs.</summary>
        private static (Window Window, Tensor X, Tensor W, Tensor Y) Draw(Draw draw)
        {
            while (true)
            {
                var (axes, groups) = (draw.Int(1, 3), draw.OneOf(1, 1, 2));
                var most = axes == 1 ? 2 * draw.Size : axes == 2 ? draw.Size : Math.Min(draw.Size, 3);
                int[] Each(int low, int high) => [.. Enumerable.Range(0, axes).Select(_ => draw.Int(low, high))];
                var (spatial, kernel) = (Each(1, most + 1), Each(1, axes == 3 ? 2 : 3));
                var window = new Window
                {
                    Stride = Each(1, draw.OneOf(1, 1, 3)),
                    Padding = draw.Chance(0.3) ? Padding.Same : Padding.Of(Each(0, 2), Each(0, 2)),
                    Dilation = Each(1, draw.OneOf(1, 1, 2)),
                    Groups = groups,
                };
                var (x, w) = (Shape.Of([draw.Int(1, 2), groups * draw.Int(1, 2), .. spatial]), Shape.Of([groups * draw.Int(1, 2), 0, .. kernel]));
                w = Shape.Of([w[0], x[1] / groups, .. kernel]);
                try
                {
                    var y = Convolve(window, Activation.None).Shape([Tensor.Meta(draw.DType, x), Tensor.Meta(draw.DType, w)])[0].Shape;
                    return (window, draw.Tensor(x), draw.Tensor(w), draw.Tensor(y));
                }
                catch (ShapeException)
                {
                    // The window did not fit: draw again.
                }
            }
        }

        // ---- shapes ----

        internal static void CheckRanks(string op, Tensor x, Tensor w)
        {
            Shape.Float(op, x);
            Shape.SameDType(op, x, w);
            if (x.Rank is < 3 or > 5 || w.Rank != x.Rank)
                throw Shape.Refuse(op, "input [N, C, spatial…] and weight need one to three spatial axes, as many each", $"{x.Shape} and {w.Shape}", "Reshape them; a single image is a batch of one");
        }

        private static void Groups(string op, Window window, int inputs, int outputs)
        {
            if (window.Groups < 1 || inputs % window.Groups != 0 || outputs % window.Groups != 0)
                throw Shape.Refuse(op, "the channels must divide into the groups", $"{inputs} and {outputs} channels in {window.Groups} groups", "Correct the groups");
        }

        private static ConvolutionSizes Sizes(string op, Window window, Tensor x, Tensor w)
        {
            CheckRanks(op, x, w);
            Groups(op, window, x.Shape[1], w.Shape[0]);
            if (x.Shape[1] / window.Groups != w.Shape[1])
                throw Shape.Refuse(op, "the weight must have as many input channels as a group of the input",
                    $"input {x.Shape}, weight {w.Shape} and {window.Groups} {(window.Groups == 1 ? "group" : "groups")}", "Correct one of them");
            return new()
            {
                Batch = x.Shape[0],
                Groups = window.Groups,
                Inputs = w.Shape[1],
                Outputs = w.Shape[0] / window.Groups,
                Axes = window.Over(op, x.Shape.Sizes[2..], w.Shape.Sizes[2..]),
            };
        }

        private static int[] Spatial(in WindowAxes axes, int count, bool output)
        {
            var sizes = new int[count];
            for (var i = 0; i < count; i++)
            {
                var axis = axes[WindowAxes.Count - count + i];
                sizes[i] = output ? axis.Output : axis.Input;
            }
            return sizes;
        }

        /// <summary>Each element of a convolution's result meets the weight of one output channel once, those beyond the image's edge included.</summary>
        private static long FlopOf(Shape y, Shape w) => w.Count == 0 ? 0 : 2 * y.Count * (w.Count / w[0]);

        /// <summary>The batch and all spatial axes.</summary>
        private static int[] ButChannels(int rank) => [0, .. Enumerable.Range(2, rank - 2)];

        // ---- on plain tensors ----

        private static void Forward<T>(Window window, Activation activation, Tensor[] input, Tensor y) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (x, w, b) = (Pointwise.Contiguous(input[0]), Pointwise.Contiguous(input[1]), input.Length > 2 ? Pointwise.Contiguous(input[2]) : null);
            var (sizes, relu) = (Sizes("convolution", window, x, w), activation == Activation.Relu);
            var bias = b is null ? null : b.Pointer<T>();
            if (Winograd<T>.Serves(sizes)) Winograd<T>.Forward(sizes, x.Pointer<T>(), w.Pointer<T>(), bias, y.Pointer<T>(), relu);
            else if (Convolution<T>.InPixels(sizes)) Convolution<T>.ForwardPixels(sizes, x.Pointer<T>(), w.Pointer<T>(), bias, y.Pointer<T>(), relu);
            else Convolution<T>.Forward(sizes, x.Pointer<T>(), w.Pointer<T>(), bias, y.Pointer<T>(), relu);
            GC.KeepAlive(x);
            GC.KeepAlive(w);
            GC.KeepAlive(b);
        }

        private static void AddForward(Window window, Tensor x, Tensor w, Slot slot)
        {
            var op = Convolve(window, Activation.None);
            slot.Add(op, op.Call(x, w));
        }

        private static void Input(Window window, Tensor y, Tensor w, Tensor x, bool accumulate)
        {
            if (x.DType == DType.Float32) Input<float>(window, y, w, x, accumulate);
            else Input<double>(window, y, w, x, accumulate);
        }

        private static void Input<T>(Window window, Tensor y, Tensor w, Tensor x, bool accumulate) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            (y, w) = (Pointwise.Contiguous(y), Pointwise.Contiguous(w));
            var sizes = Sizes("convolutionTransposed", window, x, w);
            if (Winograd<T>.Serves(sizes)) Winograd<T>.Input(sizes, y.Pointer<T>(), w.Pointer<T>(), x.Pointer<T>(), accumulate);
            else if (Convolution<T>.InPixelsBack(sizes)) Convolution<T>.InputPixels(sizes, y.Pointer<T>(), w.Pointer<T>(), x.Pointer<T>(), accumulate);
            else Convolution<T>.Input(sizes, y.Pointer<T>(), w.Pointer<T>(), x.Pointer<T>(), accumulate);
            GC.KeepAlive(y);
            GC.KeepAlive(w);
        }

        private static void Weight(Window window, Tensor x, Tensor y, Tensor w, bool accumulate)
        {
            if (w.DType == DType.Float32) Weight<float>(window, x, y, w, accumulate);
            else Weight<double>(window, x, y, w, accumulate);
        }

        private static void Weight<T>(Window window, Tensor x, Tensor y, Tensor w, bool accumulate) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            (x, y) = (Pointwise.Contiguous(x), Pointwise.Contiguous(y));
            var sizes = Sizes("convolutionWeight", window, x, w);
            if (Winograd<T>.Serves(sizes)) Winograd<T>.Weight(sizes, x.Pointer<T>(), y.Pointer<T>(), w.Pointer<T>(), accumulate);
            else Convolution<T>.Weight(sizes, x.Pointer<T>(), y.Pointer<T>(), w.Pointer<T>(), accumulate);
            GC.KeepAlive(x);
            GC.KeepAlive(y);
        }
    }
}
