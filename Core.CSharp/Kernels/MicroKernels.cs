using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>What happens to a tile of C after the last product.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TileEnd
{
    internal const int Accumulate = 1, AddBias = 2, ApplyRelu = 4;

    /// <summary>Which of the three to do.</summary>
    internal nint Flags;

    /// <summary>The bias of the tile's first column.</summary>
    internal void* Bias;

    /// <summary>A vector of which the lanes that exist in the tile's last vector are set.</summary>
    internal void* Mask;
}

/// <summary>C[rows, columns] (+)= A·B for one tile held in registers: A by two strides, B and C by rows; strides in bytes. When not accumulating, C is never read.</summary>
internal unsafe delegate void MicroKernel(nint k, void* a, nint aRow, nint aStep, void* b, nint bStep, void* c, nint cRow, TileEnd* end);

/// <summary>The family of emitted micro-kernels: 1 … MaxRows rows times one or two vectors, with or without a mask on the last vector.
/// 14 x 2 vectors of 512 bits use 28 accumulators of 32 registers; 6 x 2 of 256 bits use 12 of 16.</summary>
internal static unsafe class MicroKernels<T> where T : unmanaged
{
    /// <summary>Whether kernels can be emitted here; otherwise plain loops answer.</summary>
    internal static readonly bool Available =
        RuntimeFeature.IsDynamicCodeCompiled && (Avx512F.IsSupported || (Fma.IsSupported && Avx2.IsSupported));

    internal static readonly int MaxRows = Avx512F.IsSupported ? 14 : 6;

    private static readonly MicroKernel?[] Family = new MicroKernel?[4 * (14 + 1)];

    // Row i holds the mask of i lanes, for float as for double: all bits set below lane i.
    private static readonly T* Masks = MakeMasks();

    private static int Lanes => Emitter<T>.Lanes;

    internal static MicroKernel Get(int rows, int vectors, bool masked)
    {
        var index = 4 * rows + 2 * (vectors - 1) + (masked ? 1 : 0);
        // Two threads may emit the same kernel at once; either is right.
        return Family[index] ??= Emit(rows, vectors, masked);
    }

    internal static T* Mask(int lanes) => Masks + lanes * Lanes;

    private static T* MakeMasks()
    {
        if (!Available) return null;
        var masks = (byte*)NativeMemory.AlignedAlloc((nuint)((Lanes + 1) * Lanes * sizeof(T)), 64);
        for (var i = 0; i <= Lanes; i++)
            for (var lane = 0; lane < Lanes * sizeof(T); lane++)
                masks[i * Lanes * sizeof(T) + lane] = lane < i * sizeof(T) ? (byte)0xff : (byte)0;
        return (T*)masks;
    }

    // Argument numbers of MicroKernel.
    private const int K = 0, A = 1, ARow = 2, AStep = 3, B = 4, BStep = 5, C = 6, CRow = 7, End = 8;

    private static MicroKernel Emit(int rows, int vectors, bool masked)
    {
        var method = new DynamicMethod($"gemm{rows}x{vectors * Lanes}{(masked ? "masked" : "")}", typeof(void),
            [typeof(nint), typeof(void*), typeof(nint), typeof(nint), typeof(void*), typeof(nint), typeof(void*), typeof(nint), typeof(TileEnd*)],
            typeof(MicroKernels<T>).Module, skipVisibility: true);
        var e = new Emitter<T>(method.GetILGenerator());
        var bytes = Lanes * sizeof(T);

        var mask = e.NewVector();
        if (masked)
        {
            e.Argument(End);
            e.Plus((int)Marshal.OffsetOf<TileEnd>(nameof(TileEnd.Mask)));
            e.ReadNative();
            e.Load();
            e.Set(mask);
        }

        var acc = new LocalBuilder[rows, vectors];
        var c = e.NewPointer();
        e.Argument(C);
        e.Set(c);
        for (var i = 0; i < rows; i++)
        {
            for (var v = 0; v < vectors; v++)
            {
                acc[i, v] = e.NewVector();
                e.Zero();
                e.Set(acc[i, v]);
                // The tile of C arrives while the products run.
                e.Get(c);
                e.Plus(v * bytes);
                e.Prefetch();
            }
            NextRow();
        }

        // One pointer per three rows, and the row stride once and twice, address all rows with two-register modes.
        var pointers = new LocalBuilder[(rows + 2) / 3];
        var twice = e.NewOffset();
        e.Argument(ARow);
        e.Constant(2);
        e.Multiply();
        e.Set(twice);
        for (var p = 0; p < pointers.Length; p++)
        {
            pointers[p] = e.NewPointer();
            e.Argument(A);
            e.Argument(ARow);
            e.Constant(3 * p);
            e.Multiply();
            e.Add();
            e.Set(pointers[p]);
        }

        var row = new LocalBuilder[vectors];
        for (var v = 0; v < vectors; v++) row[v] = e.NewVector();
        var x = e.NewVector();
        e.Loop(K, () =>
        {
            for (var v = 0; v < vectors; v++)
            {
                e.Argument(B);
                e.Plus(v * bytes);
                if (masked && v == vectors - 1) e.MaskLoad(mask);
                else e.Load();
                e.Set(row[v]);
            }
            for (var i = 0; i < rows; i++)
            {
                e.Get(pointers[i / 3]);
                if (i % 3 == 1) e.Argument(ARow);
                if (i % 3 == 2) e.Get(twice);
                if (i % 3 != 0) e.Add();
                e.Broadcast();
                e.Set(x);
                for (var v = 0; v < vectors; v++)
                {
                    e.Get(x);
                    e.Get(row[v]);
                    e.Get(acc[i, v]);
                    e.Fma();
                    e.Set(acc[i, v]);
                }
            }
            foreach (var pointer in pointers)
            {
                e.Get(pointer);
                e.Argument(AStep);
                e.Add();
                e.Set(pointer);
            }
            e.Argument(B);
            e.Argument(BStep);
            e.Add();
            e.SetArgument(B);
        });

        Flag(TileEnd.Accumulate, () => EachTile((i, v, last) =>
        {
            e.Get(acc[i, v]);
            e.Get(c);
            e.Plus(v * bytes);
            if (last) e.MaskLoad(mask);
            else e.Load();
            e.AddVectors();
            e.Set(acc[i, v]);
        }));
        Flag(TileEnd.AddBias, () =>
        {
            for (var v = 0; v < vectors; v++)
            {
                e.Argument(End);
                e.Plus((int)Marshal.OffsetOf<TileEnd>(nameof(TileEnd.Bias)));
                e.ReadNative();
                e.Plus(v * bytes);
                if (masked && v == vectors - 1) e.MaskLoad(mask);
                else e.Load();
                e.Set(x);
                for (var i = 0; i < rows; i++)
                {
                    e.Get(acc[i, v]);
                    e.Get(x);
                    e.AddVectors();
                    e.Set(acc[i, v]);
                }
            }
        });
        Flag(TileEnd.ApplyRelu, () =>
        {
            for (var i = 0; i < rows; i++)
                for (var v = 0; v < vectors; v++)
                {
                    e.Get(acc[i, v]);
                    e.Zero();
                    e.MaxVectors();
                    e.Set(acc[i, v]);
                }
        });
        EachTile((i, v, last) =>
        {
            if (last) e.MaskStore(c, v * bytes, mask, acc[i, v]);
            else
            {
                e.Get(acc[i, v]);
                e.Get(c);
                e.Plus(v * bytes);
                e.Store();
            }
        });
        e.Return();
        return method.CreateDelegate<MicroKernel>();

        void NextRow()
        {
            e.Get(c);
            e.Argument(CRow);
            e.Add();
            e.Set(c);
        }

        void EachTile(Action<int, int, bool> body)
        {
            e.Argument(C);
            e.Set(c);
            for (var i = 0; i < rows; i++)
            {
                for (var v = 0; v < vectors; v++) body(i, v, masked && v == vectors - 1);
                NextRow();
            }
        }

        void Flag(int flag, Action body)
        {
            e.Argument(End);
            e.ReadNative();
            e.Constant(flag);
            e.And();
            e.If(body);
        }
    }
}
