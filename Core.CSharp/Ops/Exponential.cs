using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;
using static Functional.Kernels.Lanes;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>eˣ</summary>
        public Tensor Exp() => Exponentials.Exp.Call(this);

        /// <summary>eˣ − 1, accurate near 0</summary>
        public Tensor Expm1() => Exponentials.Expm1.Call(this);

        /// <summary>The natural logarithm ln x</summary>
        public Tensor Log() => Exponentials.Log.Call(this);

        /// <summary>ln(1 + x), accurate near 0</summary>
        public Tensor Log1p() => Exponentials.Log1p.Call(this);

        /// <summary>2ˣ</summary>
        public Tensor Exp2() => (this * Math.Log(2)).Exp();

        /// <summary>The logarithm to base 2</summary>
        public Tensor Log2() => Log() * (1 / Math.Log(2));

        /// <summary>The logarithm to base 10</summary>
        public Tensor Log10() => Log() * (1 / Math.Log(10));

        /// <summary>√x</summary>
        public Tensor Sqrt() => Exponentials.Sqrt.Call(this);

        /// <summary>1/√x</summary>
        public Tensor Rsqrt() => Exponentials.Rsqrt.Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Exponentials, logarithms and roots.</summary>
    public static class Exponentials
    {
        /// <summary>y = eˣ; y′ = y</summary>
        public static readonly Op Exp = Elementwise.Map("exp", default(ExpF), default(OfY), static (_, y) => y, Domain.Everywhere, Reads.Outputs);

        /// <summary>y = eˣ − 1; y′ = y + 1</summary>
        public static readonly Op Expm1 = Elementwise.Map("expm1", default(Expm1F), default(OnePlus), static (_, y) => y + 1, Domain.Everywhere, Reads.Outputs);

        /// <summary>y = ln x; y′ = 1/x</summary>
        public static readonly Op Log = Elementwise.Map("log", default(LogF), default(Inverse), static (x, _) => x.Reciprocal(), Domain.Positive);

        /// <summary>y = ln(1 + x); y′ = 1/(1 + x)</summary>
        public static readonly Op Log1p = Elementwise.Map("log1p", default(Log1pF), default(InverseOnePlus), static (x, _) => (x + 1).Reciprocal(), new(-0.8, 3));

        /// <summary>y = √x; y′ = 1/2y</summary>
        public static readonly Op Sqrt = Elementwise.Map("sqrt", default(SqrtF), default(HalfInverse), static (_, y) => 0.5 / y, Domain.Positive, Reads.Outputs);

        /// <summary>y = 1/√x; y′ = −y³/2</summary>
        public static readonly Op Rsqrt = Elementwise.Map("rsqrt", default(RsqrtF), default(MinusHalfCube), static (_, y) => -0.5 * y * y.Square(), Domain.Positive, Reads.Outputs);

        private readonly struct ExpF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Exp(x);
        }

        private readonly struct OfY : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                x;
        }

        private readonly struct Expm1F : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Expm1(x);
        }

        private readonly struct OnePlus : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                x + Vector512<T>.One;
        }

        private readonly struct LogF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Log(x);
        }

        private readonly struct Inverse : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / x;
        }

        private readonly struct Log1pF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Log1p(x);
        }

        private readonly struct InverseOnePlus : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / (x + Vector512<T>.One);
        }

        private readonly struct SqrtF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512.Sqrt(x);
        }

        private readonly struct HalfInverse : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Splat<T>(0.5) / x;
        }

        private readonly struct RsqrtF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / Vector512.Sqrt(x);
        }

        private readonly struct MinusHalfCube : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Splat<T>(-0.5) * x * (x * x);
        }
    }
}
