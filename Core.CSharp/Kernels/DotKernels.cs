using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>All dot products of the rows of A with the rows of B, along which k lies: sums[i, j] is a vector whose lanes are parts of Σ a[i, k]·b[j, k].
/// <paramref name="vectors"/> whole vectors of k are followed by one of which only the lanes of the mask are read; strides are in bytes.</summary>
internal unsafe delegate void DotKernel(nint vectors, void* a, nint aRow, void* b, nint bRow, void* sums, void* mask);

/// <summary>The family of emitted dot kernels: tiles of up to 5 x 5 rows keep 25 sums and the 6 vectors of a step of k in 32 registers, 4 x 3 in 16.</summary>
internal static unsafe class DotKernels<T> where T : unmanaged
{
    private static int Registers => Avx512F.IsSupported ? 32 : 16;

    /// <summary>The most rows of B in a tile.</summary>
    internal static int MostColumns => Avx512F.IsSupported ? 5 : 3;

    /// <summary>The most rows of A beside so many of B: the sums, a step's vectors of B and one of A fill the registers.</summary>
    internal static int MostRows(int columns) => Math.Min(MicroKernels<T>.MaxRows, (Registers - 1 - columns) / columns);

    /// <summary>Elements of the sums of a tile, with room to read on to a whole number of squares.</summary>
    internal static int Sums => Registers * Emitter<T>.Lanes;

    private static readonly DotKernel?[] Family = new DotKernel?[15 * 6];

    internal static DotKernel Get(int rows, int columns) => Family[rows * 6 + columns] ??= Emit(rows, columns);

    // Argument numbers of DotKernel.
    private const int Vectors = 0, A = 1, ARow = 2, B = 3, BRow = 4, Target = 5, MaskArgument = 6;

    private static DotKernel Emit(int rows, int columns)
    {
        var method = new DynamicMethod($"dots{rows}x{columns}", typeof(void),
            [typeof(nint), typeof(void*), typeof(nint), typeof(void*), typeof(nint), typeof(void*), typeof(void*)], typeof(DotKernels<T>).Module, skipVisibility: true);
        var e = new Emitter<T>(method.GetILGenerator());
        var bytes = Emitter<T>.Lanes * sizeof(T);
        var (mask, x) = (e.NewVector(), e.NewVector());
        e.Argument(MaskArgument);
        e.Load();
        e.Set(mask);
        var sums = new LocalBuilder[rows, columns];
        for (var i = 0; i < rows; i++)
            for (var j = 0; j < columns; j++)
            {
                sums[i, j] = e.NewVector();
                e.Zero();
                e.Set(sums[i, j]);
            }
        var row = new LocalBuilder[columns];
        for (var j = 0; j < columns; j++) row[j] = e.NewVector();
        var (toA, toB) = (Distances(ARow, rows), Distances(BRow, columns));
        e.Loop(Vectors, () =>
        {
            Step(() => e.Load());
            Advance(A);
            Advance(B);
        });
        Step(() => e.MaskLoad(mask));
        for (var i = 0; i < rows; i++)
            for (var j = 0; j < columns; j++)
            {
                e.Get(sums[i, j]);
                e.Argument(Target);
                e.Plus((i * columns + j) * bytes);
                e.Store();
            }
        e.Return();
        return method.CreateDelegate<DotKernel>();

        void Step(Action load)
        {
            for (var j = 0; j < columns; j++)
            {
                At(B, toB[j]);
                load();
                e.Set(row[j]);
            }
            for (var i = 0; i < rows; i++)
            {
                At(A, toA[i]);
                load();
                e.Set(x);
                for (var j = 0; j < columns; j++)
                {
                    e.Get(x);
                    e.Get(row[j]);
                    e.Get(sums[i, j]);
                    e.Fma();
                    e.Set(sums[i, j]);
                }
            }
        }

        // From the first row to the others.
        LocalBuilder?[] Distances(int stride, int count)
        {
            var distances = new LocalBuilder?[count];
            for (var i = 1; i < count; i++)
            {
                distances[i] = e.NewOffset();
                e.Argument(stride);
                e.Constant(i);
                e.Multiply();
                e.Set(distances[i]!);
            }
            return distances;
        }

        void At(int pointer, LocalBuilder? distance)
        {
            e.Argument(pointer);
            if (distance == null) return;
            e.Get(distance);
            e.Add();
        }

        void Advance(int pointer)
        {
            e.Argument(pointer);
            e.Plus(bytes);
            e.SetArgument(pointer);
        }
    }

    /// <summary>totals[i] = the lanes of vectors[i], added up in pairs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Totals(T* vectors, int count, T* totals)
    {
        if (Avx512F.IsSupported && sizeof(T) == 4)
            for (var i = 0; i < count; i += Vector512<float>.Count)
                Sixteen((float*)vectors + i * Vector512<float>.Count).Store((float*)totals + i);
        else if (Avx512F.IsSupported)
            for (var i = 0; i < count; i++) totals[i] = Vector512.Sum(Vector512.Load(vectors + i * Vector512<T>.Count));
        else
            for (var i = 0; i < count; i++) totals[i] = Vector256.Sum(Vector256.Load(vectors + i * Vector256<T>.Count));
    }

    /// <summary>The sums of sixteen vectors' lanes, each addition halving the number of vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Sixteen(float* p)
    {
        var (a, b, c, d) = (Four(p), Four(p + 64), Four(p + 128), Four(p + 192));
        // In each lane of 128 bits, now: the parts of four neighbours' sums.
        var ab = Avx512F.Shuffle4x128(a, b, 0x88) + Avx512F.Shuffle4x128(a, b, 0xDD);
        var cd = Avx512F.Shuffle4x128(c, d, 0x88) + Avx512F.Shuffle4x128(c, d, 0xDD);
        return Avx512F.Shuffle4x128(ab, cd, 0x88) + Avx512F.Shuffle4x128(ab, cd, 0xDD);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Four(float* p)
    {
        var (a, b, c, d) = (Vector512.Load(p), Vector512.Load(p + 16), Vector512.Load(p + 32), Vector512.Load(p + 48));
        var ab = (Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b)).AsDouble();
        var cd = (Avx512F.UnpackLow(c, d) + Avx512F.UnpackHigh(c, d)).AsDouble();
        return Avx512F.UnpackLow(ab, cd).AsSingle() + Avx512F.UnpackHigh(ab, cd).AsSingle();
    }
}
