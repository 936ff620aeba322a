using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>What a micro-kernel needs to know of its tile besides the three matrices: what follows the last product, and where B's vectors lie.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Tile
{
    internal const int Accumulate = 1, AddBias = 2, ApplyRelu = 4;

    /// <summary>Which of the three to do.</summary>
    internal nint Flags;

    /// <summary>The bias of the tile's first column; of its first row where B is gathered.</summary>
    internal void* Bias;

    /// <summary>A vector of which the lanes that exist in the tile's last vector are set.</summary>
    internal void* Mask;

    /// <summary>Bytes from vector to vector of a gathered row of B.</summary>
    internal nint Vector;

    /// <summary>Bytes from vector to vector of a row of C, where B is gathered.</summary>
    internal nint TargetVector;

    /// <summary>Bytes between the pieces of which a gathered vector consists.</summary>
    internal nint Piece;

    /// <summary>The address of what a kernel that looks ahead asks for, a cache line for each step of k.</summary>
    internal void* Ahead;

    /// <summary>Bytes between those lines.</summary>
    internal nint AheadStep;

    /// <summary>Where a kernel that keeps B writes what it reads, row after row, each as wide as the widest tile.</summary>
    internal void* Keep;
}

/// <summary>C[rows, columns] (+)= A·B for one tile held in registers: A by two strides, B and C by rows; strides in bytes. When not accumulating, C is never read.
/// Where B is gathered, A is a packed panel or lies in rows, and <paramref name="bStep"/> is the address of a table: for every k the bytes from <paramref name="b"/> to B's row.</summary>
internal unsafe delegate void MicroKernel(nint k, void* a, nint aRow, nint aStep, void* b, nint bStep, void* c, nint cRow, Tile* tile);

/// <summary>The family of emitted micro-kernels: 1 … MaxRows rows times one or two vectors (few rows: up to 24), with or without a mask on the last vector.
/// 14 x 2 vectors of 512 bits use 28 accumulators of 32 registers; 6 x 2 of 256 bits use 12 of 16.
/// A matrix product steps through B's rows by a stride. A convolution gathers them: each row of B is a window's tap, somewhere in the image,
/// and a vector may consist of 2 or 4 pieces where the image's rows are shorter than a vector.</summary>
internal static unsafe class MicroKernels<T> where T : unmanaged
{
    /// <summary>Whether kernels can be emitted here; otherwise plain loops answer.</summary>
    internal static readonly bool Available =
        RuntimeFeature.IsDynamicCodeCompiled && (Avx512F.IsSupported || (Fma.IsSupported && Avx2.IsSupported));

    internal static readonly int MaxRows = Avx512F.IsSupported ? 14 : 6;

    // Where the rows of B come from, and how A lies.
    private const int Strided = 0, GatheredWhole = 1, GatheredHalves = 2, GatheredQuarters = 3, GatheredRows = 4, StridedAhead = 5, Pixels = 6, EverySecondPixel = 7, StridedKeeping = 8;

    private const int Sources = 9, Widths = 24;

    private static readonly MicroKernel?[] Family = new MicroKernel?[(14 + 1) * Sources * Widths * 2];

    // Row i holds the mask of i lanes, for float as for double: all bits set below lane i.
    private static readonly T* Masks = MakeMasks();

    private static int Lanes => Emitter<T>.Lanes;

    /// <summary>The kernel of a matrix product; one that looks ahead asks for the memory that the next ones will read.</summary>
    internal static MicroKernel Get(int rows, int vectors, bool masked, bool ahead) => Get(rows, vectors, masked, ahead ? StridedAhead : Strided);

    /// <summary>The kernel that packs B while it reads it: each row of B is kept, and the cache lines of a later one are asked for.</summary>
    internal static MicroKernel Keeping(int rows, int vectors, bool masked) => Get(rows, vectors, masked, StridedKeeping);

    /// <summary>Vectors of a row of B that a product with so many rows takes at a time, its sums filling the registers. Few rows wait for B, and memory is
    /// fast where long pieces of it are read.</summary>
    internal static int Widest(int rows) => Math.Max(2, (Avx512F.IsSupported ? 24 : 12) / rows);

    /// <summary>Vectors of a gathered row: four where there are few rows, whose sums alone would not keep the multipliers busy.</summary>
    internal static int MostVectors(int rows) => rows <= (Avx512F.IsSupported ? 6 : 2) ? 4 : Avx512F.IsSupported && rows <= 8 ? 3 : 2;

    /// <summary>The kernel that gathers B's rows by a table, each vector in 1, 2 or 4 pieces.</summary>
    internal static MicroKernel Gathering(int rows, int vectors, bool masked, int pieces) => Get(rows, vectors, masked, pieces == 4 ? GatheredQuarters : pieces);

    /// <summary>The kernel that gathers B's rows by a table and reads A's rows, whose elements lie side by side, where they are.</summary>
    internal static MicroKernel GatheringRows(int rows, int vectors, bool masked) => Get(rows, vectors, masked, GatheredRows);

    /// <summary>The kernel whose rows of A are neighbouring pixels, <paramref name="step"/> (1 or 2) elements apart: for every k a table, whose address is aStep,
    /// has the bytes from A to the first row's element. B is a packed panel, up to three vectors wide, C as wide.</summary>
    internal static MicroKernel OfPixels(int rows, int vectors, int step) => Get(rows, vectors, masked: false, step == 1 ? Pixels : EverySecondPixel);

    private static MicroKernel Get(int rows, int vectors, bool masked, int source)
    {
        var index = ((rows * Sources + source) * Widths + vectors - 1) * 2 + (masked ? 1 : 0);
        // Two threads may emit the same kernel at once; either is right.
        return Family[index] ??= Emit(rows, vectors, masked, source);
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
    private const int K = 0, A = 1, ARow = 2, AStep = 3, B = 4, BStep = 5, C = 6, CRow = 7, TileArgument = 8;

    private static MicroKernel Emit(int rows, int vectors, bool masked, int source)
    {
        var pixels = source is Pixels or EverySecondPixel;
        var gathered = source is not (Strided or StridedAhead or StridedKeeping) && !pixels;
        var method = new DynamicMethod($"{(gathered ? $"gather{source}_" : pixels ? $"pixels{source - Pixels + 1}_" : "gemm")}{rows}x{vectors * Lanes}{(masked ? "masked" : "")}", typeof(void),
            [typeof(nint), typeof(void*), typeof(nint), typeof(nint), typeof(void*), typeof(nint), typeof(void*), typeof(nint), typeof(Tile*)],
            typeof(MicroKernels<T>).Module, skipVisibility: true);
        var e = new Emitter<T>(method.GetILGenerator());
        var bytes = Lanes * sizeof(T);

        var mask = e.NewVector();
        if (masked)
        {
            Field(nameof(Tile.Mask));
            e.Load();
            e.Set(mask);
        }

        // From the first vector of a row of B, and of C, to the others.
        var (fromB, fromC) = (new LocalBuilder?[vectors], new LocalBuilder?[vectors]);
        for (var v = 1; v < vectors && gathered; v++)
        {
            fromB[v] = Distance(nameof(Tile.Vector), v);
            fromC[v] = Distance(nameof(Tile.TargetVector), v);
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
                Target(v);
                e.Prefetch();
            }
            NextRow();
        }

        var row = new LocalBuilder[vectors];
        for (var v = 0; v < vectors; v++) row[v] = e.NewVector();
        var x = e.NewVector();
        if (gathered) GatheredProducts();
        else if (pixels) PixelProducts();
        else if (rows < vectors) FewRowsProducts();
        else StridedProducts();

        Flag(Tile.Accumulate, () => EachTile((i, v, last) =>
        {
            e.Get(acc[i, v]);
            Target(v);
            if (last) e.MaskLoad(mask);
            else e.Load();
            e.AddVectors();
            e.Set(acc[i, v]);
        }));
        Flag(Tile.AddBias, () =>
        {
            // Rows are channels where B is gathered, columns elsewhere.
            for (var v = 0; v < vectors && !gathered; v++)
            {
                Field(nameof(Tile.Bias));
                e.Plus(v * bytes);
                if (masked && v == vectors - 1) e.MaskLoad(mask);
                else e.Load();
                e.Set(x);
                for (var i = 0; i < rows; i++) AddTo(acc[i, v]);
            }
            for (var i = 0; i < rows && gathered; i++)
            {
                Field(nameof(Tile.Bias));
                e.Plus(i * sizeof(T));
                e.Broadcast();
                e.Set(x);
                for (var v = 0; v < vectors; v++) AddTo(acc[i, v]);
            }
        });
        Flag(Tile.ApplyRelu, () =>
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
            if (last)
            {
                Target(v);
                e.MaskStore(mask, acc[i, v]);
            }
            else
            {
                e.Get(acc[i, v]);
                Target(v);
                e.Store();
            }
        });
        e.Return();
        return method.CreateDelegate<MicroKernel>();

        // One pointer per three rows of A, and the row stride once and twice, address all rows with two-register modes.
        (LocalBuilder[] Pointers, LocalBuilder Twice) RowPointers()
        {
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
            return (pointers, twice);
        }

        void Row(int i, LocalBuilder[] pointers, LocalBuilder twice)
        {
            e.Get(pointers[i / 3]);
            if (i % 3 == 1) e.Argument(ARow);
            if (i % 3 == 2) e.Get(twice);
            if (i % 3 != 0) e.Add();
        }

        // A by two strides.
        void StridedProducts()
        {
            var (pointers, twice) = RowPointers();
            var (ahead, aheadStep, keep) = (e.NewPointer(), e.NewOffset(), e.NewPointer());
            if (source != Strided)
            {
                Field(nameof(Tile.Ahead));
                e.Set(ahead);
                Field(nameof(Tile.AheadStep));
                e.Set(aheadStep);
            }
            if (source == StridedKeeping)
            {
                Field(nameof(Tile.Keep));
                e.Set(keep);
            }
            e.Loop(K, () =>
            {
                if (source != Strided)
                {
                    for (var v = 0; v < (source == StridedKeeping ? vectors : 1); v++)
                    {
                        e.Get(ahead);
                        e.Plus(v * bytes);
                        e.Prefetch();
                    }
                    e.Get(ahead);
                    e.Get(aheadStep);
                    e.Add();
                    e.Set(ahead);
                }
                for (var v = 0; v < vectors; v++)
                {
                    LoadB(v);
                    e.Set(row[v]);
                    if (source != StridedKeeping) continue;
                    e.Get(row[v]);
                    e.Get(keep);
                    e.Plus(v * bytes);
                    e.Store();
                }
                if (source == StridedKeeping)
                {
                    e.Get(keep);
                    e.Plus(2 * bytes);
                    e.Set(keep);
                }
                for (var i = 0; i < rows; i++)
                {
                    Row(i, pointers, twice);
                    MultiplyAdd(i);
                }
                NextStep(pointers);
            });
        }

        // A by two strides, its elements in registers and B's vectors one after the other.
        void FewRowsProducts()
        {
            var (pointers, twice) = RowPointers();
            var elements = new LocalBuilder[rows];
            for (var i = 0; i < rows; i++) elements[i] = e.NewVector();
            e.Loop(K, () =>
            {
                for (var i = 0; i < rows; i++)
                {
                    Row(i, pointers, twice);
                    e.Broadcast();
                    e.Set(elements[i]);
                }
                for (var v = 0; v < vectors; v++)
                {
                    // A single row reads B from memory within the multiply-add.
                    if (rows > 1)
                    {
                        LoadB(v);
                        e.Set(x);
                    }
                    for (var i = 0; i < rows; i++)
                    {
                        e.Get(elements[i]);
                        if (rows > 1) e.Get(x);
                        else LoadB(v);
                        e.Get(acc[i, v]);
                        e.Fma();
                        e.Set(acc[i, v]);
                    }
                }
                NextStep(pointers);
            });
        }

        void LoadB(int v)
        {
            e.Argument(B);
            e.Plus(v * bytes);
            if (masked && v == vectors - 1) e.MaskLoad(mask);
            else e.Load();
        }

        void NextStep(LocalBuilder[] pointers)
        {
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
        }

        // Of a packed A the elements lie at fixed distances; the table says where B's next row is. Lanes beyond the mask are read but never stored.
        void GatheredProducts()
        {
            var pieces = source switch { GatheredHalves => 2, GatheredQuarters => 4, _ => 1 };
            var (pointers, twice) = source == GatheredRows ? RowPointers() : ([], null!);
            var (piece, at) = (e.NewOffset(), e.NewPointer());
            Field(nameof(Tile.Piece));
            e.Set(piece);
            e.Loop(K, () =>
            {
                e.Argument(B);
                e.Argument(BStep);
                e.ReadNative();
                e.Add();
                e.Set(at);
                for (var v = 0; v < vectors; v++)
                {
                    e.LoadPieces(at, fromB[v], piece, pieces);
                    e.Set(row[v]);
                }
                for (var i = 0; i < rows; i++)
                {
                    if (source == GatheredRows) Row(i, pointers, twice);
                    else
                    {
                        e.Argument(A);
                        e.Plus(i * sizeof(T));
                    }
                    MultiplyAdd(i);
                }
                foreach (var pointer in pointers)
                {
                    e.Get(pointer);
                    e.Plus(sizeof(T));
                    e.Set(pointer);
                }
                if (source != GatheredRows) Advance(A, rows * sizeof(T));
                Advance(BStep, sizeof(nint));
            });
        }

        // The table says where A's first element is; the others follow at fixed distances.
        void PixelProducts()
        {
            var at = e.NewPointer();
            e.Loop(K, () =>
            {
                e.Argument(A);
                e.Argument(AStep);
                e.ReadNative();
                e.Add();
                e.Set(at);
                for (var v = 0; v < vectors; v++)
                {
                    e.Argument(B);
                    e.Plus(v * bytes);
                    e.Load();
                    e.Set(row[v]);
                }
                for (var i = 0; i < rows; i++)
                {
                    e.Get(at);
                    e.Plus(i * (source - Pixels + 1) * sizeof(T));
                    MultiplyAdd(i);
                }
                Advance(AStep, sizeof(nint));
                Advance(B, vectors * bytes);
            });
        }

        // The element of A behind the pointer on the stack times B's row.
        void MultiplyAdd(int i)
        {
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

        void AddTo(LocalBuilder sum)
        {
            e.Get(sum);
            e.Get(x);
            e.AddVectors();
            e.Set(sum);
        }

        void Advance(int argument, int by)
        {
            e.Argument(argument);
            e.Plus(by);
            e.SetArgument(argument);
        }

        void Field(string name)
        {
            e.Argument(TileArgument);
            e.Plus((int)Marshal.OffsetOf<Tile>(name));
            e.ReadNative();
        }

        // The v-th vector of a row of C.
        void Target(int v)
        {
            e.Get(c);
            if (!gathered) e.Plus(v * bytes);
            else if (v > 0)
            {
                e.Get(fromC[v]!);
                e.Add();
            }
        }

        LocalBuilder Distance(string name, int times)
        {
            var distance = e.NewOffset();
            Field(name);
            e.Constant(times);
            e.Multiply();
            e.Set(distance);
            return distance;
        }

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
            e.Argument(TileArgument);
            e.ReadNative();
            e.Constant(flag);
            e.And();
            e.If(body);
        }
    }
}
