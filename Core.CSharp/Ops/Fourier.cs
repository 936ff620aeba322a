using System.Numerics;
using Functional.Autodiff;
using Functional.Ops;
using MathNet.Numerics.IntegralTransforms;

namespace Functional
{
    // Discrete Fourier transforms of real numbers along the last axis, by MathNet.Numerics, in double precision. Complex results are two tensors.
    public sealed partial class Tensor
    {
        /// <summary>Xₖ = Σ xⱼ·e^(−2πijk/n) for k = 0 … ⌊n/2⌋ along the last axis of length n; the other half are conjugates.</summary>
        public (Tensor Real, Tensor Imaginary) RealFft() => Ops.Fourier.RealFft.Apply(this) is [var real, var imaginary] ? (real, imaginary) : default;

        /// <summary>The n real numbers whose transform is given: the inverse of <see cref="RealFft"/>. What cannot come from real numbers – imaginary parts
        /// of the mean and, for an even n, of the last element – has no influence.</summary>
        public static Tensor InverseRealFft(Tensor real, Tensor imaginary, int n)
        {
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
                int n = x[0].Shape[-1], half = n / 2 + 1;
                var values = x[0].ToDoubles();
                var (real, imaginary) = (new double[y[0].Count], new double[y[0].Count]);
                var (transform, line) = (new Transform(n), new Complex[n]);
                for (var row = 0; row * n < values.Length; row++)
                {
                    for (var j = 0; j < n; j++) line[j] = values[row * n + j];
                    transform.Forward(line);
                    for (var k = 0; k < half; k++) (real[row * half + k], imaginary[row * half + k]) = (line[k].Real, line[k].Imaginary);
                }
                Store(real, y[0]);
                Store(imaginary, y[1]);
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
                    var half = n / 2 + 1;
                    var (real, imaginary, values) = (x[0].ToDoubles(), x[1].ToDoubles(), new double[y[0].Count]);
                    var (transform, line) = (new Transform(n), new Complex[n]);
                    for (var row = 0; row * n < values.Length; row++)
                    {
                        // The real part of the inverse is that of the forward transform of the conjugates.
                        for (var k = 0; k < n; k++) line[k] = k < half ? new(real[row * half + k], -imaginary[row * half + k]) : Complex.Zero;
                        transform.Forward(line);
                        for (var j = 0; j < n; j++) values[row * n + j] = line[j].Real;
                    }
                    Store(values, y[0]);
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

        /// <summary>Refuses what is not the half of a transform of n real numbers.</summary>
        internal static void Halves(string op, Tensor[] x, int n)
        {
            Elementwise.Alike(op, x[0], x[1]);
            Shape.Float(op, x[0]);
            if (n < 1 || x[0].Rank == 0 || x[0].Shape[-1] != n / 2 + 1)
                throw Shape.Refuse(op, "n real numbers have a transform of ⌊n/2⌋ + 1", $"n = {n} and {x[0].Shape}", "Give the length that was transformed");
        }

        /// <summary>Transforms of one length. Where that is no power of two: Xₖ = wₖ·Σ xⱼwⱼ·w̄ₖ₋ⱼ with wⱼ = e^(−πij²/n), a convolution by transforms whose length is one
        /// (Bluestein 1970). The angle is reduced as an integer: πj²/n itself would lose as many digits as n has.</summary>
        private sealed class Transform
        {
            private readonly Complex[]? _chirp, _spectrum, _work;

            internal Transform(int n)
            {
                if (BitOperations.IsPow2(n)) return;
                var length = (int)BitOperations.RoundUpToPowerOf2((uint)(2 * n - 1));
                (_chirp, _spectrum, _work) = (new Complex[n], new Complex[length], new Complex[length]);
                for (var j = 0; j < n; j++)
                {
                    _chirp[j] = Complex.FromPolarCoordinates(1, -Math.PI * ((long)j * j % (2L * n)) / n);
                    _spectrum[j] = _spectrum[(length - j) % length] = Complex.Conjugate(_chirp[j]);
                }
                MathNet.Numerics.IntegralTransforms.Fourier.Forward(_spectrum, FourierOptions.NoScaling);
            }

            /// <summary>Xₖ = Σ xⱼ·e^(−2πijk/n) in place of the x.</summary>
            internal void Forward(Complex[] x)
            {
                if (_chirp is null || _spectrum is null || _work is null)
                {
                    MathNet.Numerics.IntegralTransforms.Fourier.Forward(x, FourierOptions.NoScaling);
                    return;
                }
                for (var j = 0; j < x.Length; j++) _work[j] = x[j] * _chirp[j];
                Array.Clear(_work, x.Length, _work.Length - x.Length);
                MathNet.Numerics.IntegralTransforms.Fourier.Forward(_work, FourierOptions.NoScaling);
                for (var k = 0; k < _work.Length; k++) _work[k] *= _spectrum[k];
                MathNet.Numerics.IntegralTransforms.Fourier.Inverse(_work, FourierOptions.NoScaling);
                for (var k = 0; k < x.Length; k++) x[k] = _work[k] * _chirp[k] / _work.Length;
            }
        }

        private static void Store(double[] values, Tensor y) => Pointwise.Convert(Tensor.FromDoubles(values, y.Shape, DType.Float64), y);
    }
}
