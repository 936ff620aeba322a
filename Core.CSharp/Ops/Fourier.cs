using System.Numerics;
using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Discrete Fourier transforms of real numbers along the last axis, in the precision of their type. Complex results are two tensors.
    public sealed partial class Tensor
    {
        /// <summary>Xₖ = Σ xⱼ·e^(−2πijk/n) for k = 0 … ⌊n/2⌋ along the last axis, cut or filled with zeros to the length n where one is given; the other half
        /// are conjugates. Zeros may fill at most 2²⁷ elements, or four times as many as there were; more are refused.</summary>
        public (Tensor Real, Tensor Imaginary) RealFft(int? n = null) =>
            Ops.Fourier.RealFft.Apply(n is { } length ? Ops.Fourier.Fitted("rfft", this, length, length) : this) is [var real, var imaginary] ? (real, imaginary) : default;

        /// <summary>The n real numbers whose transform is given: the inverse of <see cref="RealFft"/>. Without n an even number of them; with another n than the
        /// transform's the higher frequencies are cut, or 0. What cannot come from real numbers – imaginary parts of the mean and, for an even n, of the last
        /// element – has no influence.</summary>
        public static Tensor InverseRealFft(Tensor real, Tensor imaginary, int? length = null)
        {
            Elementwise.Alike("inverseRealFft", real, imaginary);
            if (real.Rank == 0) throw Shape.Refuse("inverseRealFft", "the last axis must have elements", real.Shape.ToString(), "Reshape to a vector of 1 or more");
            var n = length ?? 2 * (real.Shape[-1] - 1);
            if (n < 1)
                throw Shape.Refuse("inverseRealFft", "the length must be positive", length is null ? $"none and {real.Shape}" : $"{n}", "Give the length that was transformed");
            (real, imaginary) = (Ops.Fourier.Fitted("inverseRealFft", real, n / 2 + 1, n), Ops.Fourier.Fitted("inverseRealFft", imaginary, n / 2 + 1, n));
            Ops.Fourier.Halves("inverseRealFft", [real, imaginary], n);
            // All but the mean and the highest frequency of an even n stand for two.
            var weights = new double[n / 2 + 1];
            for (var k = 0; k < weights.Length; k++) weights[k] = (k == 0 || 2 * k == n ? 1.0 : 2.0) / n;
            var weight = FromDoubles(weights, Shape.Of(weights.Length), real.DType);
            return Ops.Fourier.Adjoint(n).Call(real * weight, imaginary * weight);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>The transform of real numbers and its adjoint; every other direction follows from these two.</summary>
    public static unsafe class Fourier
    {
        public static readonly Op RealFft = new()
        {
            Name = "rfft",
            Shape = static x =>
            {
                Shape.Float("rfft", x[0]);
                if (x[0].Rank == 0 || x[0].Shape[-1] == 0)
                    throw Shape.Refuse("rfft", "the last axis must have elements", x[0].Shape.ToString(), "Reshape to a vector of 1 or more");
                var half = new Spec(x[0].DType, Shape.Of([.. x[0].Shape.Sizes[..^1], x[0].Shape[-1] / 2 + 1]));
                return [half, half];
            },
            Forward = new Forward.Into(static (x, y) =>
            {
                if (x[0].DType == DType.Float32) Forward<float>(x[0], y[0], y[1]);
                else Forward<double>(x[0], y[0], y[1]);
            }),
            Vjp = static (x, _, g, _) => Adjoint(x[0].Shape[-1]).Call(g[0], g[1]),
            Jvp = static (_, _, dx) => RealFft!.Apply(dx[0]!),
            Reads = Reads.None,
            Batching = Batching.Whole,
            Sample = static draw => new(RealFft!, draw.Tensor(draw.Shape(1))),
        };

        public static readonly Op RealFftAdjoint = Adjoint(1);

        /// <summary>xⱼ = Σ Reₖ·cos(2πjk/n) − Imₖ·sin(2πjk/n) over k = 0 … ⌊n/2⌋</summary>
        internal static Op Adjoint(int n)
        {
            Op? op = null;
            return op = new()
            {
                Name = "rfftAdjoint",
                Shape = x =>
                {
                    Halves("rfftAdjoint", x, n);
                    return [new(x[0].DType, Shape.Of([.. x[0].Shape.Sizes[..^1], n]))];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    if (y[0].DType == DType.Float32) Back<float>(x[0], x[1], y[0]);
                    else Back<double>(x[0], x[1], y[0]);
                }),
                Vjp = (_, _, g, i) => RealFft.Apply(g[0])[i],
                Jvp = (x, _, dx) => [op!.Call(dx[0] ?? Level.ZerosLike(x[0]), dx[1] ?? Level.ZerosLike(x[1]))],
                Reads = Reads.None,
                Batching = Batching.Whole,
                Sample = static draw =>
                {
                    var shape = draw.Shape(1);
                    var n = 2 * (shape[-1] - 1) + draw.Int(0, 1);
                    if (n == 0) n = 1;
                    return new(Adjoint(n), draw.Tensor(shape), draw.Tensor(shape)) { Attributes = $"n = {n}" };
                },
            };
        }

        /// <summary>More than so many elements are not made of zeros.</summary>
        private const long MostFilled = 1L << 27;

        /// <summary>The last axis cut or filled with zeros to a number of elements, for transforms of length n.</summary>
        internal static Tensor Fitted(string op, Tensor x, int elements, int n)
        {
            if (x.Rank == 0 || n < 1) throw Shape.Refuse(op, "the last axis must have elements", n < 1 ? $"n = {n}" : x.Shape.ToString(), "Give a length of 1 or more");
            var length = x.Shape[-1];
            if (elements <= length) return elements == length ? x : x.Slice(-1, 0, elements);
            var rows = 1.0;
            foreach (var size in x.Shape.Sizes[..^1]) rows *= size;
            if (rows * elements > MostFilled && elements > 4.0 * length)
                throw Shape.Refuse(op, $"zeros must not fill more than {MostFilled} elements, unless that is four times as many as there are", $"n = {n} and {x.Shape}", "Correct the length, or take fewer rows at a time");
            var after = new int[x.Rank];
            after[^1] = elements - length;
            return x.Pad(new int[x.Rank], after);
        }

        /// <summary>Refuses what is not the half of a transform of n real numbers.</summary>
        internal static void Halves(string op, Tensor[] x, int n)
        {
            Elementwise.Alike(op, x[0], x[1]);
            Shape.Float(op, x[0]);
            if (n < 1 || x[0].Rank == 0 || x[0].Shape[-1] != n / 2 + 1)
                throw Shape.Refuse(op, "n real numbers have a transform of ⌊n/2⌋ + 1", $"n = {n} and {x[0].Shape}", "Give the length that was transformed");
        }

        private static void Forward<T>(Tensor x, Tensor re, Tensor im) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            nint n = x.Shape[-1];
            x = Pointwise.Contiguous(x);
            Kernels.Fourier<T>.Of(n).Forward((nint)x.Count / n, x.Pointer<T>(), re.Pointer<T>(), im.Pointer<T>());
            GC.KeepAlive(x);
        }

        private static void Back<T>(Tensor re, Tensor im, Tensor x) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            nint n = x.Shape[-1];
            (re, im) = (Pointwise.Contiguous(re), Pointwise.Contiguous(im));
            Kernels.Fourier<T>.Of(n).Adjoint((nint)x.Count / n, re.Pointer<T>(), im.Pointer<T>(), x.Pointer<T>());
            GC.KeepAlive(re);
            GC.KeepAlive(im);
        }
    }
}
