using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static System.Runtime.Intrinsics.Vector512;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace Functional.Kernels;

/// <content>
/// Single precision by pieces: sixteen polynomials of degree five or six, each coefficient a register of sixteen numbers from which a permutation brings every lane its own.
/// Neither exponential nor quotient is left. A polynomial is the least-squares fit at Chebyshev's nodes, coefficient after coefficient from the lowest: each is rounded
/// before the rest is fitted. Its centre is the number near the piece's middle whose value is nearest to a float, so that the constant costs no digit.
/// </content>
internal static partial class VectorMath
{
    /// <summary>Whether the functions of this file can be called.</summary>
    public static bool GoesByPieces<T>() => typeof(T) == typeof(float) && Avx512F.IsSupported;

    /// <summary>The numbers of each lane's piece, the low four bits of <paramref name="piece"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Of(Vector512<int> piece, V table) => Avx512F.PermuteVar16x32(table, piece);

    /// <summary>
    /// tanh x to 1.07 units in the last place, and 1 from 9 on. The significand of 1 + |x| gives the piece, four to each power of two: narrow where the function bends.
    /// The first is x + x²·P(x), so that nothing is lost near 0.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V TanhByPieces(V x)
    {
        // min returns its second operand for NaN
        var a = MinNative(Create(9.5f), Abs(x));
        var piece = (a + V.One).AsInt32() >>> 21;
        var r = a - Of(piece, Create(
            1.2425f, 1.753625f, 2.2503438f, 2.7518125f, 3.5239375f, 4.501625f, 5.50575f, 6.4924374f,
            7.97125f, 0f, 0f, 0f, 0f, 0.37901562f, 0.62628126f, 0.8726562f));
        var p = Of(piece, Create(
            0.01514266f, 0.0020843714f, -0.0007138255f, -0.00054613705f, -0.00015614564f, -2.255084e-5f, -3.0250167e-6f, 0f,
            0f, 0f, 0f, 0f, -0.03712579f, -0.07080413f, -0.02376843f, 0.0128514515f));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            -0.02037174f, 0.003529059f, 0.003975714f, 0.0019086472f, 0.00046788141f, 6.808478e-5f, 9.174648e-6f, 1.253621e-6f,
            7.0136984e-8f, 0f, 0f, 0f, 0.14317748f, 0.017065868f, -0.05438932f, -0.058553275f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            -0.011838738f, -0.02345962f, -0.012316638f, -0.005082592f, -0.0011406196f, -0.0001635404f, -2.2001968e-5f, -3.2052285e-6f,
            -1.9057879e-7f, 0f, 0f, 0f, -0.0012040891f, 0.16850978f, 0.13754097f, 0.061484218f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0.10869258f, 0.06258748f, 0.027070804f, 0.010509371f, 0.0022998115f, 0.00032735796f, 4.3975688e-5f, 6.1182736e-6f,
            3.168112e-7f, 0f, 0f, 0f, -0.3332684f, -0.17589213f, -0.01713485f, 0.0812279f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            -0.24031274f, -0.1064574f, -0.042481873f, -0.016025057f, -0.0034650841f, -0.0004918039f, -6.603756e-5f, -9.167456e-6f,
            -4.6669504e-7f, 0f, 0f, 0f, -1.1482829e-6f, -0.3144726f, -0.38408265f, -0.35570547f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0.28400114f, 0.11303775f, 0.043435697f, 0.016156096f, 0.0034710467f, 0.0004919272f, 6.60422e-5f, 9.179014e-6f,
            4.7662778e-7f, 0f, 0f, 0f, 1f, 0.8690629f, 0.69143504f, 0.50618297f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0.8461671f, 0.9417867f, 0.97804105f, 0.99188906f, 0.998263f, 0.999754f, 0.999967f, 0.9999954f,
            0.99999976f, 1f, 1f, 1f, 0f, 0.3618523f, 0.55548626f, 0.7027212f)));
        return WithSign(p, x);
    }

    /// <summary>x·Φ(x) as x·(½ + sign x·(Φ(|x|) − ½)), in pieces of equal width; Φ to 5e-8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V GeluByPieces(V x)
    {
        // Φ is 0 below, and −∞·0 must not occur.
        x = MaxNative(Create(-6f), x);
        var a = Abs(x);
        var bounded = MinNative(Create(5.5999994f), a);
        var piece = FusedMultiplyAdd(bounded, Create(2.767857f), Create(MagicF)).AsInt32();
        var r = bounded - Of(piece, Create(
            0f, 0.36223873f, 0.7160097f, 1.0868065f, 1.4481646f, 1.8124355f, 2.173297f, 2.534429f,
            2.8991065f, 3.247029f, 3.6121356f, 3.9741485f, 4.3437486f, 4.703052f, 5.060932f, 5.419987f));
        var p = Of(piece, Create(
            0.009874983f, 0.0069203316f, 0f, -0.0048937364f, -0.006004148f, -0.0038556363f, -0.0010065226f, 0.0007354671f,
            0.0011490283f, 0.0008624807f, 0.00046420642f, 0.00019641545f, 0f, 0f, 0f, 0f));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0f, 0.01605985f, 0.02277939f, 0.01813419f, 0.007635792f, -0.001599557f, -0.0058176364f, -0.005789979f,
            -0.0038980895f, -0.0020995738f, -0.0008931018f, -0.0003183279f, -9.5308205e-5f, -2.4530666e-5f, 0f, 0f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            -0.06648788f, -0.05409737f, -0.025056876f, 0.0066717044f, 0.02556393f, 0.029399652f, 0.023338534f, 0.014529099f,
            0.0073653576f, 0.0032587606f, 0.0011760427f, 0.00036578023f, 9.7657954e-5f, 2.2874867e-5f, 4.757291e-6f, 8.3138985e-7f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0f, -0.06766653f, -0.11052723f, -0.120101f, -0.10122828f, -0.069957554f, -0.04086679f, -0.020368366f,
            -0.008650876f, -0.003326043f, -0.0010577393f, -0.00029476095f, -6.921887e-5f, -1.475065e-5f, -2.912957e-6f, -4.7932036e-7f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0.39894226f, 0.37360844f, 0.3087344f, 0.22101764f, 0.1398019f, 0.0771966f, 0.03760762f, 0.016073165f,
            0.0059679737f, 0.0020487243f, 0.0005857013f, 0.0001483604f, 3.1874602e-5f, 6.27272e-6f, 1.0913986e-6f, 1.663208e-7f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0f, 0.14141318f, 0.2630073f, 0.36143884f, 0.4262145f, 0.46504053f, 0.485121f, 0.49436846f,
            0.49812886f, 0.49941692f, 0.49984816f, 0.49996468f, 0.499993f, 0.49999872f, 0.4999998f, 0.49999997f)));
        return x * ((p ^ (x & Create(-0f))) + Create(0.5f));
    }

    /// <summary>(x·Φ(x))′ = ½ + sign x·(Φ(|x|) − ½ + |x|·φ(x)), in pieces of equal width; 1e-7.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V GeluSlopeByPieces(V x)
    {
        var a = MinNative(Create(6.1999993f), Abs(x));
        var piece = FusedMultiplyAdd(a, Create(2.5f), Create(MagicF)).AsInt32();
        var r = a - Of(piece, Create(
            0f, 0.40125f, 0.80265003f, 1.1944001f, 1.59145f, 2.0072f, 2.4016502f, 2.797725f,
            3.2084f, 3.5923998f, 3.99045f, 4.404225f, 4.7976503f, 5.191725f, 5.5899997f, 5.99f));
        var p = Of(piece, Create(
            0f, -0.020685514f, -0.0175902f, 0.00084571063f, 0.01143482f, 0.0077417362f, 0f, -0.0027079082f,
            -0.0018500343f, -0.000454476f, 0f, 0f, 0f, 0f, 0f, 0f));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0.059224498f, 0.030988604f, -0.020050537f, -0.040445916f, -0.02315235f, 0.002837061f, 0.011790863f, 0.007923775f,
            0.0019286381f, -0.0006285228f, -0.00088266254f, -0.00046569385f, -0.0001634488f, 0f, 0f, 0f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0f, 0.10002556f, 0.10952085f, 0.042241447f, -0.025687138f, -0.04489376f, -0.027168125f, -0.0063459687f,
            0.003330375f, 0.004007651f, 0.0022353844f, 0.0008222257f, 0.00024070668f, 5.4301316e-5f, 0f, 0f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            -0.26595074f, -0.17783397f, 0.0045532845f, 0.12872234f, 0.13707525f, 0.07069766f, 0.011552248f, -0.013907499f,
            -0.014662773f, -0.008407294f, -0.003385942f, -0.0009973263f, -0.00024885018f, -5.2701394e-5f, -8.081472e-6f, 0f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0f, -0.28349927f, -0.38931382f, -0.30044022f, -0.13128541f, 0.0015410029f, 0.047354672f, 0.042648576f,
            0.023431845f, 0.010059066f, 0.003307633f, 0.000830001f, 0.00018269545f, 3.3363805e-5f, 5.188083e-6f, -9.1341256e-8f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0.7978845f, 0.6769091f, 0.39191708f, 0.11209698f, -0.05990067f, -0.10797083f, -0.08404726f, -0.046420075f,
            -0.019248115f, -0.006857894f, -0.0019358791f, -0.00042593494f, -8.420031e-5f, -1.3944217e-5f, -1.9211213e-6f, -2.416998e-7f)));
        p = FusedMultiplyAdd(p, r, Of(piece, Create(
            0f, 0.30357638f, 0.5209392f, 0.61733526f, 0.6231957f, 0.58445436f, 0.5454105f, 0.5197135f,
            0.5067786f, 0.5020953f, 0.50052184f, 0.5001025f, 0.5000184f, 0.5000028f, 0.50000036f, 0.50000006f)));
        return (p ^ (x & Create(-0f))) + Create(0.5f);
    }
}
