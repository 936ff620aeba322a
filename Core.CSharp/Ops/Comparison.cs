using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    // Comparisons give bool tensors by the rules of IEEE 754: NaN is unequal to everything and neither less nor greater.
    public sealed partial class Tensor
    {
        /// <summary>x = y</summary>
        public Tensor Equal(Tensor y) => Elementwise.Broadcast(Comparison.Equal, this, y);

        /// <summary>x = y</summary>
        public Tensor Equal(double y) => Comparison.Equal.Call(this, Elementwise.Weak("equal", this, y));

        /// <summary>x ≠ y</summary>
        public Tensor NotEqual(Tensor y) => Elementwise.Broadcast(Comparison.NotEqual, this, y);

        /// <summary>x ≠ y</summary>
        public Tensor NotEqual(double y) => Comparison.NotEqual.Call(this, Elementwise.Weak("notEqual", this, y));

        /// <summary>x &lt; y</summary>
        public Tensor Less(Tensor y) => Elementwise.Broadcast(Comparison.Less, this, y);

        /// <summary>x &lt; y</summary>
        public Tensor Less(double y) => Comparison.Less.Call(this, Elementwise.Weak("less", this, y));

        /// <summary>x ≤ y</summary>
        public Tensor LessEqual(Tensor y) => Elementwise.Broadcast(Comparison.LessEqual, this, y);

        /// <summary>x ≤ y</summary>
        public Tensor LessEqual(double y) => Comparison.LessEqual.Call(this, Elementwise.Weak("lessEqual", this, y));

        /// <summary>x > y</summary>
        public Tensor Greater(Tensor y) => Elementwise.Broadcast(Comparison.Greater, this, y);

        /// <summary>x > y</summary>
        public Tensor Greater(double y) => Comparison.Greater.Call(this, Elementwise.Weak("greater", this, y));

        /// <summary>x ≥ y</summary>
        public Tensor GreaterEqual(Tensor y) => Elementwise.Broadcast(Comparison.GreaterEqual, this, y);

        /// <summary>x ≥ y</summary>
        public Tensor GreaterEqual(double y) => Comparison.GreaterEqual.Call(this, Elementwise.Weak("greaterEqual", this, y));

        /// <summary>Where an element is not a number</summary>
        public Tensor IsNaN() => NotEqual(this);

        /// <summary>Where an element is ∞ or −∞; nowhere in integers</summary>
        public Tensor IsInfinite() => DType.IsFloat() ? Abs().Equal(double.PositiveInfinity) : NotEqual(this);

        /// <summary>Where an element is a finite number</summary>
        public Tensor IsFinite() => IsNaN().Or(IsInfinite()).Not();

        /// <summary>Other numbers for NaN and the infinities; without them, 0 and the largest numbers of the dtype.</summary>
        public Tensor NanToNumber(double nan = 0, double? positive = null, double? negative = null)
        {
            Shape.Float("nanToNumber", this);
            var largest = DType == DType.Float32 ? float.MaxValue : double.MaxValue;
            var x = Where(IsNaN(), nan, this);
            x = Where(x.Equal(double.PositiveInfinity), positive ?? largest, x);
            return Where(x.Equal(double.NegativeInfinity), negative ?? -largest, x);
        }

        /// <summary>Whether every |x − y| is at most <paramref name="absolute"/> + <paramref name="relative"/>·|y|; equal infinities are close, NaN is close to nothing.
        /// The values must be known.</summary>
        public bool AllClose(Tensor y, double relative = 1e-5, double absolute = 1e-8) =>
            Equal(y).Or((this - y).Abs().LessEqual(y.Abs() * relative + absolute).And(y.IsFinite())).All().ToDouble() == 1;

        /// <summary>Whether both are true</summary>
        public Tensor And(Tensor y) => Elementwise.Broadcast(Comparison.And, this, y);

        /// <summary>Whether at least one is true</summary>
        public Tensor Or(Tensor y) => Elementwise.Broadcast(Comparison.Or, this, y);

        /// <summary>Whether exactly one is true</summary>
        public Tensor Xor(Tensor y) => Elementwise.Broadcast(Comparison.Xor, this, y);

        /// <summary>True where this is false</summary>
        public Tensor Not() => Comparison.Not.Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Relations of numbers and connectives of booleans. None of them varies smoothly.</summary>
    public static class Comparison
    {
        /// <summary>z = (x = y)</summary>
        public static readonly Op Equal = Relation("equal", default(EqualF));

        /// <summary>z = (x ≠ y)</summary>
        public static readonly Op NotEqual = Relation("notEqual", default(NotEqualF));

        /// <summary>z = (x &lt; y)</summary>
        public static readonly Op Less = Relation("less", default(LessF));

        /// <summary>z = (x ≤ y)</summary>
        public static readonly Op LessEqual = Relation("lessEqual", default(LessEqualF));

        /// <summary>z = (x > y)</summary>
        public static readonly Op Greater = Relation("greater", default(GreaterF));

        /// <summary>z = (x ≥ y)</summary>
        public static readonly Op GreaterEqual = Relation("greaterEqual", default(GreaterEqualF));

        /// <summary>z = x ∧ y</summary>
        public static readonly Op And = Connective("and", default(AndF));

        /// <summary>z = x ∨ y</summary>
        public static readonly Op Or = Connective("or", default(OrF));

        /// <summary>z = x ⊕ y</summary>
        public static readonly Op Xor = Connective("xor", default(XorF));

        /// <summary>y = ¬x</summary>
        public static readonly Op Not = new()
        {
            Name = "not",
            Shape = static x =>
            {
                Shape.Bool("not", x[0]);
                return [new(DType.Bool, x[0].Shape)];
            },
            Forward = new Forward.Into(static (x, y) => Pointwise.Map1(x[0], y[0], accumulate: false, default(NotF))),
            Vjp = Op.NotDifferentiable,
            Reads = Reads.None,
            Batching = Batching.Whole,
            Body = Elementwise.Body(default(NotLanesF)),
            Sample = static draw => new(Not!, draw.Mask(draw.Shape(empty: true))),
        };

        private static Op Relation<F>(string name, F f) where F : struct, ICompare
        {
            Op op = null!;
            object body = f;
            return op = new()
            {
                Name = name,
                Shape = x =>
                {
                    Elementwise.Alike(name, x[0], x[1]);
                    return [new(DType.Bool, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) => Pointwise.Compare(x[0], x[1], y[0], f)),
                Vjp = Op.NotDifferentiable,
                Reads = Reads.None,
                Batching = Batching.Whole,
                Body = x => x[0].DType.IsFloat() ? body : null,
                Sample = draw =>
                {
                    var shape = draw.Shape(empty: true);
                    return draw.Chance() ? new(op, draw.Tensor(shape), draw.Tensor(shape)) : new(op, draw.Integers(shape, -2, 2), draw.Integers(shape, -2, 2));
                },
            };
        }

        private static Op Connective<F>(string name, F f) where F : struct, IMap2
        {
            Op op = null!;
            return op = new()
            {
                Name = name,
                Shape = x =>
                {
                    Shape.Bool(name, x[0]);
                    Elementwise.Alike(name, x[0], x[1]);
                    return [new(DType.Bool, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) => Pointwise.Map2(x[0], x[1], y[0], accumulate: false, f)),
                Vjp = Op.NotDifferentiable,
                Reads = Reads.None,
                Batching = Batching.Whole,
                Body = Elementwise.Body(f),
                Sample = draw =>
                {
                    var shape = draw.Shape(empty: true);
                    return new(op, draw.Mask(shape), draw.Mask(shape));
                },
            };
        }
    }
}
