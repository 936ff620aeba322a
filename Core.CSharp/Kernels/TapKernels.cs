using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>sums[i, j] (a vector each) += Σₛ x[table[s].X + taps[i]]·y[table[s].Y + j·yRow] for a window's taps i, output channels j and steps s of a vector of positions;
/// distances in bytes. A masked kernel reads only the mask's lanes of every vector.</summary>
internal unsafe delegate void TapKernel(nint steps, void* x, nint* taps, void* y, nint yRow, nint* table, void* sums, void* mask);

/// <summary>The family of emitted kernels that correlate an image with a cotangent, positions in the lanes: 9 taps times 3 outputs keep 27 sums, the outputs' vectors
/// and a tap's in 32 registers, 4 times 3 in 16.</summary>
internal static unsafe class TapKernels<T> where T : unmanaged
{
    /// <summary>The most output channels of a tile.</summary>
    internal const int MostOutputs = 3;

    /// <summary>The most taps of a tile.</summary>
    internal static int MostTaps => Emitter<T>.Is512 ? 9 : 4;

    /// <summary>The sums of a tile, with room for a whole number of vectors of their totals.</summary>
    internal const int MostSums = 32;

    private static readonly TapKernel?[] Family = new TapKernel?[10 * (MostOutputs + 1) * 2];

    internal static TapKernel Get(int taps, int outputs, bool masked) =>
        Family[(taps * (MostOutputs + 1) + outputs) * 2 + (masked ? 1 : 0)] ??= Emit(taps, outputs, masked);

    // Argument numbers of TapKernel.
    private const int Steps = 0, X = 1, Taps = 2, Y = 3, YRow = 4, Table = 5, Sums = 6, MaskArgument = 7;

    private static TapKernel Emit(int taps, int outputs, bool masked)
    {
        var method = new DynamicMethod($"taps{taps}x{outputs}{(masked ? "masked" : "")}", typeof(void),
            [typeof(nint), typeof(void*), typeof(nint*), typeof(void*), typeof(nint), typeof(nint*), typeof(void*), typeof(void*)], typeof(TapKernels<T>).Module, skipVisibility: true);
        var e = new Emitter<T>(method.GetILGenerator());
        var bytes = Emitter<T>.Lanes * sizeof(T);
        var (mask, x) = (e.NewVector(), e.NewVector());
        if (masked)
        {
            e.Argument(MaskArgument);
            e.Load();
            e.Set(mask);
        }
        var sums = new LocalBuilder[taps, outputs];
        EachSum((i, j) =>
        {
            sums[i, j] = e.NewVector();
            Sum(i, j);
            e.Load();
            e.Set(sums[i, j]);
        });
        var (distances, outputRows, row) = (new LocalBuilder[taps], new LocalBuilder[outputs], new LocalBuilder[outputs]);
        for (var i = 0; i < taps; i++)
        {
            distances[i] = e.NewOffset();
            e.Argument(Taps);
            e.Plus(i * sizeof(nint));
            e.ReadNative();
            e.Set(distances[i]);
        }
        for (var j = 0; j < outputs; j++)
        {
            row[j] = e.NewVector();
            outputRows[j] = e.NewOffset();
            e.Argument(YRow);
            e.Constant(j);
            e.Multiply();
            e.Set(outputRows[j]);
        }
        var (fromX, fromY, next, nextSums) = (e.NewPointer(), e.NewPointer(), e.NewOffset(), e.NewPointer());
        e.Argument(YRow);
        e.Constant(outputs);
        e.Multiply();
        e.Set(next);
        e.Argument(Sums);
        e.Plus(taps * outputs * bytes);
        e.Set(nextSums);
        e.Loop(Steps, () =>
        {
            At(X, 0, fromX);
            At(Y, sizeof(nint), fromY);
            for (var j = 0; j < outputs; j++)
            {
                Read(fromY, j == 0 ? null : outputRows[j]);
                e.Set(row[j]);
            }
            if (Emitter<T>.Is512) AskForNext();
            for (var i = 0; i < taps; i++)
            {
                Read(fromX, distances[i]);
                e.Set(x);
                for (var j = 0; j < outputs; j++)
                {
                    e.Get(x);
                    e.Get(row[j]);
                    e.Get(sums[i, j]);
                    e.Fma();
                    e.Set(sums[i, j]);
                }
            }
            e.Argument(Table);
            e.Plus(2 * sizeof(nint));
            e.SetArgument(Table);
        });
        EachSum((i, j) =>
        {
            e.Get(sums[i, j]);
            Sum(i, j);
            e.Store();
        });
        e.Return();
        return method.CreateDelegate<TapKernel>();

        // What the tile of the next outputs reads and adds to arrives while the products run.
        void AskForNext()
        {
            e.Get(fromY);
            e.Get(next);
            e.Add();
            e.Set(fromY);
            for (var j = 0; j < outputs; j++)
            {
                e.Get(fromY);
                if (j > 0)
                {
                    e.Get(outputRows[j]);
                    e.Add();
                }
                e.Prefetch();
            }
            e.Get(nextSums);
            e.Prefetch();
            e.Get(nextSums);
            e.Plus(bytes);
            e.Set(nextSums);
        }

        void EachSum(Action<int, int> body)
        {
            for (var i = 0; i < taps; i++)
                for (var j = 0; j < outputs; j++) body(i, j);
        }

        void Sum(int i, int j)
        {
            e.Argument(Sums);
            e.Plus((i * outputs + j) * bytes);
        }

        // An operand's place in this step.
        void At(int pointer, int entry, LocalBuilder at)
        {
            e.Argument(pointer);
            e.Argument(Table);
            e.Plus(entry);
            e.ReadNative();
            e.Add();
            e.Set(at);
        }

        void Read(LocalBuilder pointer, LocalBuilder? distance)
        {
            e.Get(pointer);
            if (distance != null)
            {
                e.Get(distance);
                e.Add();
            }
            if (masked) e.MaskLoad(mask);
            else e.Load();
        }
    }
}
