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
        /// <summary>Each element is 0 with probability <paramref name="rate"/>, else x/(1 − rate), so that the mean stays. The key alone decides which.</summary>
        public Tensor Dropout(double rate, Key key) => rate == 0 ? this : Dropouts.DropoutOf(rate, key).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Dropout: a linear map that is its own transpose. Its mask is drawn again from the key in the backward pass instead of being kept.</summary>
    public static class Dropouts
    {
        /// <summary>Half of the elements.</summary>
        public static readonly Op Dropout = DropoutOf(0.5, Key.OfSeed(0)) with
        {
            Sample = static draw =>
            {
                var (rate, seed) = (draw.Uniform(0, 1), draw.Int(0, 1000));
                return new(DropoutOf(rate, Key.OfSeed(seed)), draw.Tensor(draw.Shape(empty: true))) { Attributes = $"rate={rate}, seed={seed}" };
            },
        };

        /// <summary>y = x·m/(1 − rate) with m = 0 or 1 from the key</summary>
        public static Op DropoutOf(double rate, Key key)
        {
            if (!(rate >= 0 && rate <= 1)) throw Shape.Refuse("dropout", "the rate must lie in 0 … 1", $"{rate}", "Correct it");
            Op op = null!;
            return op = new()
            {
                Name = "dropout",
                Shape = static x =>
                {
                    Shape.Float("dropout", x[0]);
                    return [new(x[0].DType, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) => Drop(x[0], y[0], accumulate: false, rate, key)),
                Vjp = (_, _, g, _) => op.Call(g[0]),
                VjpInto = (_, _, g, dx) =>
                {
                    if (dx[0] is { } slot) Drop(g[0], slot.Open(out var accumulate), accumulate, rate, key);
                },
                Jvp = (_, _, dx) => [op.Call(dx[0]!)],
                Reads = Reads.None,
                Sample = static draw => Dropout!.Sample(draw),
            };
        }

        private static void Drop(Tensor x, Tensor y, bool accumulate, double rate, Key key)
        {
            // Both float widths draw the same numbers, hence drop the same elements.
            var u = Reducing.Converted(key.Uniform(x.Shape), x.DType);
            Pointwise.Map2(x, u, y, accumulate, new DropF(rate));
            Pool.Return(u.Block!);
        }

        private readonly struct DropF(double rate) : IMap2
        {
            private readonly double _scale = rate < 1 ? 1 / (1 - rate) : 0;

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public Vector512<T> Invoke<T>(Vector512<T> x, Vector512<T> u) where T : unmanaged, INumber<T> =>
                Vector512.AndNot(x * SplatVariable<T>(_scale), Vector512.LessThan(u, SplatVariable<T>(rate)));
        }
    }
}
