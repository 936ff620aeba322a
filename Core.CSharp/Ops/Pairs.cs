using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;
using static Functional.Kernels.Lanes;
using static Functional.Ops.Elementwise;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>The angle of the points (x, y) of which this is y: arctan y/x, in (−π, π] by the signs of both. At the origin the gradient is 0.</summary>
        public Tensor Atan2(Tensor x) => Broadcast(Pairs.Atan2, this, x);

        /// <summary>√(x² + y²) without overflow. Where both are 0 the gradient is 0.</summary>
        public Tensor Hypot(Tensor y) => Broadcast(Pairs.Hypot, this, y);

        /// <summary>ln(eˣ + eʸ) without overflow.</summary>
        public Tensor LogAddExp(Tensor y) => Broadcast(Pairs.LogAddExp, this, y);
    }
}

namespace Functional.Ops
{
    /// <summary>Functions of two numbers of a float type.</summary>
    public static class Pairs
    {
        /// <summary>z = arctan y/x of (y, x); ∂z/∂y = x/(x² + y²), ∂z/∂x = −y/(x² + y²)</summary>
        public static readonly Op Atan2 = Map2("atan2", default(Atan2F),
            static (x, _, g, i) => Chain.Call(g, (i == 0 ? x[1] : -x[0]) / OneForZero(x[0].Square() + x[1].Square())),
            Fused(default(Atan2ByY), default(Atan2ByX), static (x, _) => x[0], static (x, _) => x[1]),
            AwayFromZero, infer: SameFloats("atan2"));

        /// <summary>z = √(x² + y²); ∂z/∂x = x/z</summary>
        public static readonly Op Hypot = Map2("hypot", default(HypotF),
            static (x, z, g, i) => Chain.Call(g, x[i] / OneForZero(z)),
            static (x, z, g, dx) =>
            {
                for (var i = 0; i < 2; i++)
                    if (dx[i] is { } slot) Pointwise.Map3(g[0], x[i], z[0], slot.Open(out var accumulate), accumulate, default(HypotByX));
            },
            AwayFromZero, Reads.All, SameFloats("hypot"));

        /// <summary>z = ln(eˣ + eʸ); ∂z/∂x = e^(x − z)</summary>
        public static readonly Op LogAddExp = Map2("logaddexp", default(LogAddExpF),
            static (x, z, g, i) => Chain.Call(g, Tensor.Where(x[i].Equal(z), Weak("logaddexp", z, 1), (x[i] - z).Exp())),
            static (x, z, g, dx) =>
            {
                for (var i = 0; i < 2; i++)
                    if (dx[i] is { } slot) Pointwise.Map3(g[0], x[i], z[0], slot.Open(out var accumulate), accumulate, default(LogAddExpByX));
            },
            static (draw, shape) => [draw.Tensor(shape), draw.Tensor(shape)], Reads.All, SameFloats("logaddexp"));

        private static Infer SameFloats(string name) => x =>
        {
            Shape.Float(name, x[0]);
            return [Same(name, x[0], x[1])];
        };

        private static Tensor OneForZero(Tensor x) => Tensor.Where(x.Equal(0), Weak("where", x, 1), x);

        private static Tensor[] AwayFromZero(Draw draw, Shape shape) => [draw.Tensor(shape, -2, 2, 0.2, 0), draw.Tensor(shape, -2, 2, 0.2, 0)];

        private readonly struct Atan2F : IMap2
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => VectorMath.Atan2(x, y);
        }

        private readonly struct HypotF : IMap2
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => VectorMath.Hypot(x, y);
        }

        private readonly struct LogAddExpF : IMap2
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> => VectorMath.LogAddExp(x, y);
        }

        /// <summary>g·x/(x² + y²) of (g, y, x), 0 at the origin</summary>
        private readonly struct Atan2ByY : IMap3
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> y, Vector512<T> x) where T : unmanaged, INumber<T> => Quotient(g, x, Fma(x, x, y * y));
        }

        /// <summary>−g·y/(x² + y²) of (g, y, x), 0 at the origin</summary>
        private readonly struct Atan2ByX : IMap3
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> y, Vector512<T> x) where T : unmanaged, INumber<T> => Quotient(g, -y, Fma(x, x, y * y));
        }

        /// <summary>g·x/z of (g, x, z), 0 at the origin</summary>
        private readonly struct HypotByX : IMap3
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> x, Vector512<T> z) where T : unmanaged, INumber<T> => Quotient(g, x, z);
        }

        /// <summary>g·e^(x − z) of (g, x, z), g where x is all of z</summary>
        private readonly struct LogAddExpByX : IMap3
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> g, Vector512<T> x, Vector512<T> z) where T : unmanaged, INumber<T> =>
                Chained(g, Vector512.ConditionalSelect(Vector512.Equals(x, z), Vector512<T>.One, VectorMath.Exp(x - z)));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<T> Quotient<T>(Vector512<T> g, Vector512<T> x, Vector512<T> y) where T : unmanaged, INumber<T> =>
            Chained(g, Vector512.AndNot(x / y, Vector512.Equals(y, Vector512<T>.Zero)));
    }
}
