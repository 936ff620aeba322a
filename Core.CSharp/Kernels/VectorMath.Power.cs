using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector512;
using D = System.Runtime.Intrinsics.Vector512<double>;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace Functional.Kernels;

/// <content>xʸ = 2^(y·log₂|x|) in single precision: the exponent in double, of which the whole part and the fraction, too small for its rounding to
/// matter, go on in single precision. In double precision it goes number by number.</content>
internal static unsafe partial class VectorMath
{
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static V Pow(V x, V y)
    {
        var a = Abs(x);
        var (al, ah) = Widen(a);
        var (yl, yh) = Widen(y);
        // Far enough beyond both ends of the range.
        var tl = MaxNative(Create(-200.0), MinNative(Create(200.0), yl * Log2Moderate(al)));
        var th = MaxNative(Create(-200.0), MinNative(Create(200.0), yh * Log2Moderate(ah)));
        D nl = tl + Create(Magic) - Create(Magic), nh = th + Create(Magic) - Create(Magic);
        var n = Narrow(nl, nh);
        var r = Narrow(tl - nl, th - nh);
        // 2ʳ = 1 + r·Q(r) for |r| ≤ ½
        var q = Create(0.00015461448f);
        q = FusedMultiplyAdd(q, r, Create(0.0013390867f));
        q = FusedMultiplyAdd(q, r, Create(0.009618057f));
        q = FusedMultiplyAdd(q, r, Create(0.05550357f));
        q = FusedMultiplyAdd(q, r, Create(0.2402265f));
        q = FusedMultiplyAdd(q, r, Create(0.6931472f));
        var power = Scale(FusedMultiplyAdd(q, r, V.One), n, n + Create(MagicF));
        power = ConditionalSelect(Vector512.Equals(y, V.Zero) | Vector512.Equals(a, V.One), V.One, power);
        var whole = Vector512.Equals(Truncate(y), y);
        // a number beyond 2²⁴ is even, and so is infinity: halving and truncating tells
        var half = y * Create(0.5f);
        power ^= x & AndNot(whole, Vector512.Equals(Truncate(half), half)) & Create(-0f);
        var invalid = LessThan(x, V.Zero) & AndNot(GreaterThan(x, Create(float.NegativeInfinity)), whole);
        // 1 and only 1 ignores a NaN exponent; y = 0 ignores a NaN base
        var nan = AndNot(~Vector512.Equals(x, x), Vector512.Equals(y, V.Zero)) | AndNot(~Vector512.Equals(y, y), Vector512.Equals(x, V.One));
        return ConditionalSelect(invalid | nan, Create(float.NaN), power);
    }

    /// <summary>log₂ a to about 2⁻⁴⁵, for a that is 0 or a positive number of single precision, widened: with a = 2ᵏ·m and s = (m − 1)/(m + 1) it is k + s·P(s²).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static D Log2Moderate(D a)
    {
        var bits = a.AsInt64();
        var e = (bits + Create(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)) >>> 52;
        var m = (bits - (e << 52) + Create(0x3FF0000000000000)).AsDouble();
        var k = (e | Create(0x4330000000000000)).AsDouble() - Create(4503599627370496.0 + 1023.0);
        var s = (m - D.One) / (m + D.One);
        var z = s * s;
        var p = Create(0.28289890804285206);
        p = FusedMultiplyAdd(p, z, Create(0.3199058014778308));
        p = FusedMultiplyAdd(p, z, Create(0.4122092493728542));
        p = FusedMultiplyAdd(p, z, Create(0.5770779423993969));
        p = FusedMultiplyAdd(p, z, Create(0.9617966941132092));
        p = FusedMultiplyAdd(p, z, Create(2.885390081777851));
        var y = FusedMultiplyAdd(p, s, k);
        var special = ConditionalSelect(Vector512.Equals(a, D.Zero), Create(double.NegativeInfinity), a);
        return ConditionalSelect(GreaterThan(a, D.Zero) & LessThan(a, Create(double.PositiveInfinity)), y, special);
    }
}
