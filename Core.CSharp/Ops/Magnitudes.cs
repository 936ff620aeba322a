using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>x²</summary>
        public Tensor Square() => Magnitudes.Square.Call(this);

        /// <summary>1/x</summary>
        public Tensor Reciprocal() => Magnitudes.Reciprocal.Call(this);

        /// <summary>|x|, whose derivative at 0 is 0</summary>
        public Tensor Abs() => Magnitudes.Abs.Call(this);

        /// <summary>−1, 0 or 1</summary>
        public Tensor Sign() => Magnitudes.Sign.Call(this);

        /// <summary>The largest whole number not above x</summary>
        public Tensor Floor() => Magnitudes.Floor.Call(this);

        /// <summary>The smallest whole number not below x</summary>
        public Tensor Ceil() => Magnitudes.Ceil.Call(this);

        /// <summary>The nearest whole number, halves to even</summary>
        public Tensor Round() => Magnitudes.Round.Call(this);

        /// <summary>The nearest whole number towards 0</summary>
        public Tensor Trunc() => Where(Less(0), Ceil(), Floor());
    }
}

namespace Functional.Ops
{
    /// <summary>Squares, magnitudes, signs and rounding.</summary>
    public static class Magnitudes
    {
        /// <summary>y = x²; y′ = 2x</summary>
        public static readonly Op Square = Elementwise.Map("square", default(SquareF), default(Twice), static (x, _) => 2 * x, Domain.Everywhere,
            Reads.Inputs, Elementwise.Numbers("square"));

        /// <summary>y = 1/x; y′ = −y²</summary>
        public static readonly Op Reciprocal = Elementwise.Map("reciprocal", default(ReciprocalF), default(MinusSquare), static (_, y) => -y.Square(),
            new(-3, 3, -0.25, -0.15, -0.05, 0.05, 0.15, 0.25), Reads.Outputs);

        /// <summary>y = |x|; y′ = sign x</summary>
        public static readonly Op Abs = Elementwise.Map("abs", default(AbsF), default(SignF), static (x, _) => x.Sign(), new(-2, 2, 0),
            Reads.Inputs, Elementwise.Numbers("abs"));

        /// <summary>y = −1, 0 or 1; NaN stays</summary>
        public static readonly Op Sign = Elementwise.Step("sign", default(SignF), new(-2, 2, 0), Elementwise.Numbers("sign"));

        /// <summary>y = ⌊x⌋</summary>
        public static readonly Op Floor = Elementwise.Step("floor", default(FloorF), new(-2, 2, -2, -1, 0, 1, 2), Elementwise.Floats("floor"));

        /// <summary>y = ⌈x⌉</summary>
        public static readonly Op Ceil = Elementwise.Step("ceil", default(CeilF), new(-2, 2, -2, -1, 0, 1, 2), Elementwise.Floats("ceil"));

        /// <summary>y = x rounded, halves to even</summary>
        public static readonly Op Round = Elementwise.Step("round", default(RoundF), new(-2, 2, -1.5, -0.5, 0.5, 1.5), Elementwise.Floats("round"));

        private readonly struct SquareF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                x * x;
        }

        private readonly struct Twice : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                x + x;
        }

        private readonly struct ReciprocalF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / x;
        }

        private readonly struct MinusSquare : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                -(x * x);
        }

        private readonly struct SignF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T>
            {
                var (zero, one) = (Vector512<T>.Zero, Vector512<T>.One);
                var sign = (one & Vector512.GreaterThan(x, zero)) | ((zero - one) & Vector512.LessThan(x, zero));
                return Vector512.ConditionalSelect(Vector512.Equals(x, x), sign, x);
            }
        }

        private readonly struct FloorF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                typeof(T) == typeof(float) ? Vector512.Floor(x.AsSingle()).As<float, T>() : Vector512.Floor(x.AsDouble()).As<double, T>();
        }

        private readonly struct CeilF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                typeof(T) == typeof(float) ? Vector512.Ceiling(x.AsSingle()).As<float, T>() : Vector512.Ceiling(x.AsDouble()).As<double, T>();
        }

        private readonly struct RoundF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                typeof(T) == typeof(float) ? Vector512.Round(x.AsSingle()).As<float, T>() : Vector512.Round(x.AsDouble()).As<double, T>();
        }
    }
}
