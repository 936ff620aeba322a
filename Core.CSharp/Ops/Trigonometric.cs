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
        /// <summary>The sine</summary>
        public Tensor Sin() => Trigonometry.Sin.Call(this);

        /// <summary>The cosine</summary>
        public Tensor Cos() => Trigonometry.Cos.Call(this);

        /// <summary>The tangent</summary>
        public Tensor Tan() => Trigonometry.Tan.Call(this);

        /// <summary>The inverse sine</summary>
        public Tensor Asin() => Trigonometry.Asin.Call(this);

        /// <summary>The inverse cosine</summary>
        public Tensor Acos() => Trigonometry.Acos.Call(this);

        /// <summary>The inverse tangent</summary>
        public Tensor Atan() => Trigonometry.Atan.Call(this);

        /// <summary>The hyperbolic sine</summary>
        public Tensor Sinh() => Trigonometry.Sinh.Call(this);

        /// <summary>The hyperbolic cosine</summary>
        public Tensor Cosh() => Trigonometry.Cosh.Call(this);

        /// <summary>The hyperbolic tangent</summary>
        public Tensor Tanh() => Trigonometry.Tanh.Call(this);

        /// <summary>The inverse hyperbolic sine</summary>
        public Tensor Asinh() => Trigonometry.Asinh.Call(this);

        /// <summary>The inverse hyperbolic cosine, NaN below 1</summary>
        public Tensor Acosh() => Trigonometry.Acosh.Call(this);

        /// <summary>The inverse hyperbolic tangent, ±∞ at ±1 and NaN beyond</summary>
        public Tensor Atanh() => Trigonometry.Atanh.Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Circular and hyperbolic functions.</summary>
    public static class Trigonometry
    {
        /// <summary>y = sin x; y′ = cos x</summary>
        public static readonly Op Sin = Elementwise.Map("sin", default(SinF), default(CosF), static (x, _) => x.Cos(), Domain.Everywhere);

        /// <summary>y = cos x; y′ = −sin x</summary>
        public static readonly Op Cos = Elementwise.Map("cos", default(CosF), default(MinusSin), static (x, _) => -x.Sin(), Domain.Everywhere);

        /// <summary>y = tan x; y′ = 1 + y²</summary>
        public static readonly Op Tan = Elementwise.Map("tan", default(TanF), default(OnePlusSquare), static (_, y) => 1 + y.Square(), new(-1.2, 1.2), Reads.Outputs);

        /// <summary>y = arcsin x; y′ = 1/√(1 − x²)</summary>
        public static readonly Op Asin = Elementwise.Map("asin", default(AsinF), default(AsinSlope), static (x, _) => ((1 - x) * (1 + x)).Rsqrt(), new(-0.9, 0.9));

        /// <summary>y = arccos x; y′ = −1/√(1 − x²)</summary>
        public static readonly Op Acos = Elementwise.Map("acos", default(AcosF), default(AcosSlope), static (x, _) => -((1 - x) * (1 + x)).Rsqrt(), new(-0.9, 0.9));

        /// <summary>y = arctan x; y′ = 1/(1 + x²)</summary>
        public static readonly Op Atan = Elementwise.Map("atan", default(AtanF), default(AtanSlope), static (x, _) => (1 + x.Square()).Reciprocal(), Domain.Everywhere);

        /// <summary>y = sinh x; y′ = cosh x</summary>
        public static readonly Op Sinh = Elementwise.Map("sinh", default(SinhF), default(CoshF), static (x, _) => x.Cosh(), Domain.Everywhere);

        /// <summary>y = cosh x; y′ = sinh x</summary>
        public static readonly Op Cosh = Elementwise.Map("cosh", default(CoshF), default(SinhF), static (x, _) => x.Sinh(), Domain.Everywhere);

        /// <summary>y = tanh x; y′ = 1 − y²</summary>
        public static readonly Op Tanh = Elementwise.Map("tanh", default(TanhF), default(OneMinusSquare), static (_, y) => 1 - y.Square(), Domain.Everywhere, Reads.Outputs);

        /// <summary>y = arsinh x; y′ = 1/√(1 + x²)</summary>
        public static readonly Op Asinh = Elementwise.Map("asinh", default(AsinhF), default(AsinhSlope), static (x, _) => (1 + x.Square()).Rsqrt(), Domain.Everywhere);

        /// <summary>y = arcosh x; y′ = 1/√(x² − 1)</summary>
        public static readonly Op Acosh = Elementwise.Map("acosh", default(AcoshF), default(AcoshSlope), static (x, _) => ((x - 1) * (x + 1)).Rsqrt(), new(1.2, 4));

        /// <summary>y = artanh x; y′ = 1/(1 − x²)</summary>
        public static readonly Op Atanh = Elementwise.Map("atanh", default(AtanhF), default(AtanhSlope), static (x, _) => ((1 - x) * (1 + x)).Reciprocal(), new(-0.9, 0.9));

        private readonly struct SinF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Sin(x);
        }

        private readonly struct CosF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Cos(x);
        }

        private readonly struct TanF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Tan(x);
        }

        private readonly struct AsinF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Asin(x);
        }

        private readonly struct AcosF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Acos(x);
        }

        private readonly struct AtanF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Atan(x);
        }

        private readonly struct SinhF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Sinh(x);
        }

        private readonly struct CoshF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Cosh(x);
        }

        internal readonly struct TanhF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Tanh(x);
        }

        private readonly struct MinusSin : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                -VectorMath.Sin(x);
        }

        private readonly struct OnePlusSquare : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Fma(x, x, Vector512<T>.One);
        }

        internal readonly struct OneMinusSquare : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                (Vector512<T>.One - x) * (Vector512<T>.One + x);
        }

        private readonly struct AsinSlope : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / Vector512.Sqrt((Vector512<T>.One - x) * (Vector512<T>.One + x));
        }

        private readonly struct AcosSlope : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                -Vector512<T>.One / Vector512.Sqrt((Vector512<T>.One - x) * (Vector512<T>.One + x));
        }

        private readonly struct AtanSlope : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / Fma(x, x, Vector512<T>.One);
        }

        private readonly struct AsinhF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Asinh(x);
        }

        private readonly struct AcoshF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Acosh(x);
        }

        private readonly struct AtanhF : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                VectorMath.Atanh(x);
        }

        private readonly struct AsinhSlope : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / Vector512.Sqrt(Fma(x, x, Vector512<T>.One));
        }

        private readonly struct AcoshSlope : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / Vector512.Sqrt((x - Vector512<T>.One) * (x + Vector512<T>.One));
        }

        private readonly struct AtanhSlope : IMap1
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x) where T : unmanaged, INumber<T> =>
                Vector512<T>.One / ((Vector512<T>.One - x) * (Vector512<T>.One + x));
        }
    }
}
