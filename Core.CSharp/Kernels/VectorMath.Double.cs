using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static System.Runtime.Intrinsics.Vector512;
using V = System.Runtime.Intrinsics.Vector512<double>;

namespace Functional.Kernels;

/// <content>Double precision: the same reductions as single, longer polynomials; rare functions go lane by lane.</content>
internal static unsafe partial class VectorMath
{
    private const double Magic = 6755399441055744; // 1.5·2⁵²
    private const long MagicBits = 0x4338000000000000;
    private const double Log2E = 1.4426950408889634;
    private const double Ln2High = 0.693147180369123816490;
    private const double Ln2Low = 1.90821492927058770002e-10;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V ReduceLn2(V x, out V n, out V t)
    {
        t = FusedMultiplyAdd(x, Create(Log2E), Create(Magic));
        n = t - Create(Magic);
        return FusedMultiplyAdd(n, Create(-Ln2Low), FusedMultiplyAdd(n, Create(-Ln2High), x));
    }

    /// <summary>eʳ − 1 for |r| ≤ ln2/2 as r + r²·P(r); 0.01 ½ulp.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V ExpMinus1Reduced(V r)
    {
        var p = Create(2.0915442297780116e-09);
        p = FusedMultiplyAdd(p, r, Create(2.5106274733573296e-08));
        p = FusedMultiplyAdd(p, r, Create(2.75572718102198e-07));
        p = FusedMultiplyAdd(p, r, Create(2.755725283351691e-06));
        p = FusedMultiplyAdd(p, r, Create(2.4801587327007187e-05));
        p = FusedMultiplyAdd(p, r, Create(0.00019841269876864356));
        p = FusedMultiplyAdd(p, r, Create(0.0013888888888883327));
        p = FusedMultiplyAdd(p, r, Create(0.008333333333325544));
        p = FusedMultiplyAdd(p, r, Create(0.04166666666666667));
        p = FusedMultiplyAdd(p, r, Create(0.1666666666666667));
        p = FusedMultiplyAdd(p, r, Create(0.5));
        return FusedMultiplyAdd(p, r * r, r);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Scale(V p, V n, V t)
    {
        if (Avx512F.IsSupported) return Avx512F.Scale(p, n);
        // the halves on the double side: narrower machines have no arithmetic shift of 64 bits
        var half = FusedMultiplyAdd(n, Create(0.5), Create(Magic));
        var rest = (t.AsInt64() - half.AsInt64() + Create(MagicBits)).AsDouble();
        return p * Pow2OfCarrier(half) * Pow2OfCarrier(rest);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Pow2OfCarrier(V t) => ((t.AsInt64() << 52) + Create(0x3FF0000000000000)).AsDouble();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Exp(V x)
    {
        x = MaxNative(Create(-746.0), MinNative(Create(710.0), x));
        var r = ReduceLn2(x, out var n, out var t);
        return Scale(V.One + ExpMinus1Reduced(r), n, t);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V HalfExp(V x)
    {
        x = MinNative(Create(712.0), x);
        var r = ReduceLn2(x, out var n, out var t);
        return Scale(V.One + ExpMinus1Reduced(r), n - V.One, (t.AsInt64() - Vector512<long>.One).AsDouble());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V ExpMinus1Bounded(V x)
    {
        var r = ReduceLn2(x, out _, out var t);
        var s = Pow2OfCarrier(t);
        return FusedMultiplyAdd(s, ExpMinus1Reduced(r), s - V.One);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Expm1(V x)
    {
        var bounded = MaxNative(Create(-40.0), MinNative(Create(710.0), x));
        var r = ReduceLn2(bounded, out _, out var t);
        var s = Pow2OfCarrier((t.AsInt64() - Vector512<long>.One).AsDouble());
        var y = FusedMultiplyAdd(s, ExpMinus1Reduced(r), s - Create(0.5));
        return ConditionalSelect(LessThan(Abs(x), Create(1e-20)), x, y + y);
    }

    /// <summary>
    /// ln(u + c) as in single precision, with s = f/(2 + f) and ln(1 + f) = f − f²/2 + s·(f²/2 + s²·P(s²)); 0.04 ½ulp.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V LogReduced(V u, V c, V shift, bool corrected)
    {
        var bits = u.AsInt64();
        var e = (bits + Create(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)) >>> 52;
        var m = (bits - (e << 52) + Create(0x3FF0000000000000)).AsDouble();
        var f = m - V.One;
        if (corrected) f += c * (Max(Create(2046L) - e, Vector512<long>.Zero) << 52).AsDouble();
        // e < 2¹² in the low bits of 2⁵²: conversion by or and subtraction
        var k = (e | Create(0x4330000000000000)).AsDouble() - Create(4503599627370496.0 + 1023.0) - shift;
        var s = f / (Create(2.0) + f);
        var z = s * s;
        var p = Create(0.14617807153417325);
        p = FusedMultiplyAdd(p, z, Create(0.15331611722055008));
        p = FusedMultiplyAdd(p, z, Create(0.1818289243253687));
        p = FusedMultiplyAdd(p, z, Create(0.22222211089379496));
        p = FusedMultiplyAdd(p, z, Create(0.28571428626253836));
        p = FusedMultiplyAdd(p, z, Create(0.3999999999989889));
        p = FusedMultiplyAdd(p, z, Create(0.666666666666667));
        var h = Create(0.5) * f * f;
        var y = FusedMultiplyAdd(s, FusedMultiplyAdd(p, z, h), k * Create(Ln2Low));
        return FusedMultiplyAdd(k, Create(Ln2High), f - (h - y));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V LogSpecial(V x, V y)
    {
        var special = ConditionalSelect(Vector512.Equals(x, V.Zero), Create(double.NegativeInfinity),
            ConditionalSelect(LessThan(x, V.Zero), Create(double.NaN), x));
        return ConditionalSelect(GreaterThan(x, V.Zero) & LessThan(x, Create(double.PositiveInfinity)), y, special);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Log(V x)
    {
        var denormal = LessThan(x, Create(2.2250738585072014e-308));
        var u = ConditionalSelect(denormal, x * Create(18014398509481984.0), x);
        return LogSpecial(x, LogReduced(u, V.Zero, denormal & Create(54.0), false));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Log1p(V x)
    {
        var u = V.One + x;
        var b = u - V.One;
        var c = (V.One - (u - b)) + (x - b);
        var y = LogSpecial(u, LogReduced(u, c, V.Zero, true));
        return ConditionalSelect(LessThan(Abs(x), Create(1e-20)), x, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Log1pUnit(V x)
    {
        var u = V.One + x;
        return LogReduced(u, x - (u - V.One), V.Zero, true);
    }

    private const double LargeAngle = 1048576;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V ReduceHalfPi(V x, out Vector512<long> t)
    {
        var carrier = FusedMultiplyAdd(x, Create(0.6366197723675814), Create(Magic));
        var n = carrier - Create(Magic);
        t = carrier.AsInt64();
        var r = FusedMultiplyAdd(n, Create(-1.5707963267948966), x);
        r = FusedMultiplyAdd(n, Create(-6.123233995736766e-17), r);
        return FusedMultiplyAdd(n, Create(1.4973849048591833e-33), r);
    }

    /// <summary>sin r or cos r by quadrant; 0.06 and 0.01 ½ulp.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Sine(V r, Vector512<long> quadrant)
    {
        var z = r * r;
        var s = FusedMultiplyAdd(Create(-7.585486485235938e-13), z, Create(1.6058510875319195e-10));
        s = FusedMultiplyAdd(s, z, Create(-2.505210610025599e-08));
        s = FusedMultiplyAdd(s, z, Create(2.7557319218954762e-06));
        s = FusedMultiplyAdd(s, z, Create(-0.00019841269841264567));
        s = FusedMultiplyAdd(s, z, Create(0.008333333333333331));
        s = FusedMultiplyAdd(s, z, Create(-0.16666666666666666));
        s = FusedMultiplyAdd(s * z, r, r);
        var c = FusedMultiplyAdd(Create(4.745198807202876e-14), z, Create(-1.1470449354466773e-11));
        c = FusedMultiplyAdd(c, z, Create(2.0876755717584403e-09));
        c = FusedMultiplyAdd(c, z, Create(-2.75573192211891e-07));
        c = FusedMultiplyAdd(c, z, Create(2.4801587301584367e-05));
        c = FusedMultiplyAdd(c, z, Create(-0.0013888888888888887));
        c = FusedMultiplyAdd(c, z, Create(0.041666666666666664));
        c = FusedMultiplyAdd(c, z * z, FusedMultiplyAdd(Create(-0.5), z, V.One));
        var odd = Vector512.Equals(quadrant & Vector512<long>.One, Vector512<long>.One).AsDouble();
        return ConditionalSelect(odd, c, s) ^ ((quadrant & Create(2L)) << 62).AsDouble();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Sin(V x)
    {
        var a = Abs(x);
        var r = ReduceHalfPi(a, out var t);
        var y = Sine(r, t) ^ (x & Create(-0.0));
        var large = GreaterThan(a, Create(LargeAngle));
        return large == V.Zero ? y : Patch(y, large, x, &Math.Sin);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Cos(V x)
    {
        var a = Abs(x);
        var r = ReduceHalfPi(a, out var t);
        var y = Sine(r, t + Vector512<long>.One);
        var large = GreaterThan(a, Create(LargeAngle));
        return large == V.Zero ? y : Patch(y, large, x, &Math.Cos);
    }

    private static V Tan(V x) => Each(x, &Math.Tan);

    private static V Asin(V x) => Each(x, &Math.Asin);

    private static V Acos(V x) => Each(x, &Math.Acos);

    private static V Atan(V x) => Each(x, &Math.Atan);

    /// <summary>sinh x for 0 ≤ x ≤ 1 as x + x³P(x²); 0.07 ½ulp.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V SinhSmall(V x)
    {
        var z = x * x;
        var p = FusedMultiplyAdd(Create(2.8445264169895285e-15), z, Create(7.646625361656657e-13));
        p = FusedMultiplyAdd(p, z, Create(1.6059048396350562e-10));
        p = FusedMultiplyAdd(p, z, Create(2.505210836405804e-08));
        p = FusedMultiplyAdd(p, z, Create(2.755731922404034e-06));
        p = FusedMultiplyAdd(p, z, Create(0.00019841269841269773));
        p = FusedMultiplyAdd(p, z, Create(0.008333333333333333));
        p = FusedMultiplyAdd(p, z, Create(0.16666666666666666));
        return FusedMultiplyAdd(p * z, x, x);
    }

    /// <summary>erf x for 0 ≤ x ≤ 1 as x·P(x²); 0.14 ½ulp.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V ErfSmall(V x)
    {
        var z = x * x;
        var p = FusedMultiplyAdd(Create(5.957176147748911e-11), z, Create(-1.1372848856791674e-09));
        p = FusedMultiplyAdd(p, z, Create(1.4659775274047436e-08));
        p = FusedMultiplyAdd(p, z, Create(-1.6350312701054695e-07));
        p = FusedMultiplyAdd(p, z, Create(1.6461000484121368e-06));
        p = FusedMultiplyAdd(p, z, Create(-1.4925595266831182e-05));
        p = FusedMultiplyAdd(p, z, Create(0.0001205533111164271));
        p = FusedMultiplyAdd(p, z, Create(-0.000854832698083379));
        p = FusedMultiplyAdd(p, z, Create(0.0052239776248180145));
        p = FusedMultiplyAdd(p, z, Create(-0.026866170645076792));
        p = FusedMultiplyAdd(p, z, Create(0.11283791670954879));
        p = FusedMultiplyAdd(p, z, Create(-0.3761263890318375));
        p = FusedMultiplyAdd(p, z, Create(1.1283791670955126));
        return p * x;
    }

    /// <summary>erfc a for a ≥ 0 as e^(−a²)/(1 + 2a)·P((a − 4)/(a + 4)); 0.5 ½ulp.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V ErfcPositive(V a)
    {
        a = MinNative(Create(28.0), a);
        var t = (a - Create(4.0)) / (a + Create(4.0));
        var p = FusedMultiplyAdd(Create(-1.8206098680308682e-09), t, Create(-1.3670989863347383e-08));
        p = FusedMultiplyAdd(p, t, Create(-7.71541861441783e-09));
        p = FusedMultiplyAdd(p, t, Create(1.1534943745754157e-07));
        p = FusedMultiplyAdd(p, t, Create(6.270727157198311e-08));
        p = FusedMultiplyAdd(p, t, Create(-8.351619688696847e-07));
        p = FusedMultiplyAdd(p, t, Create(3.0135049944875397e-07));
        p = FusedMultiplyAdd(p, t, Create(5.7178872846321855e-06));
        p = FusedMultiplyAdd(p, t, Create(-1.1224789135154701e-05));
        p = FusedMultiplyAdd(p, t, Create(-2.4403169244974074e-05));
        p = FusedMultiplyAdd(p, t, Create(0.000150622243948303));
        p = FusedMultiplyAdd(p, t, Create(-0.00019925550755614952));
        p = FusedMultiplyAdd(p, t, Create(-0.00075777334141333));
        p = FusedMultiplyAdd(p, t, Create(0.005031969755895426));
        p = FusedMultiplyAdd(p, t, Create(-0.016197734059115006));
        p = FusedMultiplyAdd(p, t, Create(0.03716751556249286));
        p = FusedMultiplyAdd(p, t, Create(-0.06633036581152939));
        p = FusedMultiplyAdd(p, t, Create(0.09373283499679412));
        p = FusedMultiplyAdd(p, t, Create(-0.10103906603635213));
        p = FusedMultiplyAdd(p, t, Create(0.06809705425473732));
        p = FusedMultiplyAdd(p, t, Create(0.01537965210262074));
        p = FusedMultiplyAdd(p, t, Create(-0.1396211168405629));
        p = FusedMultiplyAdd(p, t, Create(1.2329951186255526));
        var s = a * a;
        var d = FusedMultiplyAdd(a, a, -s);
        var e = Exp(-s);
        e = FusedMultiplyAdd(-d, e, e);
        return e * (p / FusedMultiplyAdd(Create(2.0), a, V.One));
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static V Erf(V x)
    {
        var a = Abs(x);
        var y = ConditionalSelect(LessThan(a, V.One), ErfSmall(a), V.One - ErfcPositive(a));
        return WithSign(y, x);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static V Erfc(V x)
    {
        var y = ErfcPositive(Abs(x));
        return ConditionalSelect(LessThan(x, V.Zero), Create(2.0) - y, y);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static V Pow(V x, V y)
    {
        double* p = (double*)&x;
        double* q = (double*)&y;
        for (int i = 0; i < V.Count; i++) p[i] = Math.Pow(p[i], q[i]);
        return x;
    }
}
