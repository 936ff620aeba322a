using System.Reflection.Emit;
using System.Runtime.InteropServices;

namespace Functional.Kernels;

/// <content>How a micro-kernel is written: sums held in registers, a loop over k that each source of B steps through in its own way, then what follows the last product.</content>
internal static unsafe partial class MicroKernels<T>
{
    // Argument numbers of MicroKernel.
    private const int K = 0, A = 1, ARow = 2, AStep = 3, B = 4, BStep = 5, C = 6, CRow = 7, TileArgument = 8;

    // Steps of k in a round of the loop: counting and moving pointers take instructions, too.
    private const int Unrolled = 4;

    private static MicroKernel Emit(int rows, int vectors, bool masked, int source, bool looksAhead)
    {
        var pixels = source is Pixels or EverySecondPixel;
        var gathered = source is GatheredWhole or GatheredHalves or GatheredQuarters or GatheredRows;
        var method = new DynamicMethod($"{(gathered ? $"gather{source - GatheredWhole + 1}_" : pixels ? $"pixels{source - Pixels + 1}_" : "gemm")}{rows}x{vectors * Lanes}{(masked ? "masked" : "")}", typeof(void),
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

        // From the first vector of a row of C to the others.
        var fromC = new LocalBuilder?[vectors];
        for (var v = 1; v < vectors && gathered; v++) fromC[v] = Distance(nameof(Tile.TargetVector), v);

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
                // The tile of C arrives while the products run. Images are written, not read: asking for them, a line for each row of a plane, costs more than it saves.
                if (source is GatheredWhole or GatheredHalves or GatheredQuarters) continue;
                Target(v);
                e.Prefetch();
            }
            NextRow();
        }

        var row = new LocalBuilder[vectors];
        for (var v = 0; v < vectors; v++) row[v] = e.NewVector();
        var x = e.NewVector();
        var (ahead, aheadStep) = (e.NewPointer(), e.NewOffset());
        if (looksAhead)
        {
            Field(nameof(Tile.Ahead));
            e.Set(ahead);
        }
        // What comes ahead of an image are its lines, one after the other.
        if (looksAhead && !gathered && !pixels)
        {
            Field(nameof(Tile.AheadStep));
            e.Set(aheadStep);
        }
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
            e.Zero();
            e.Set(x);
            for (var i = 0; i < rows; i++)
                for (var v = 0; v < vectors; v++)
                {
                    e.Get(x);
                    e.Get(acc[i, v]);
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

        // A cache line for each step of k, of a row of B as many as it has.
        void LookAhead()
        {
            if (!looksAhead) return;
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

        // The same of an image, line after line. It is needed after this tile, and L1 is full.
        void LookAtLine(int step)
        {
            if (!looksAhead) return;
            e.Get(ahead);
            e.Plus(step * Prefetch.Line);
            e.PrefetchSecond();
        }

        void PassLines(int steps)
        {
            if (looksAhead) Move([ahead], () => e.Constant(steps * Prefetch.Line));
        }

        // A by two strides, or by one where its rows or columns are whole.
        void StridedProducts()
        {
            var (pointers, twice) = source is StridedColumns or StridedCopied ? ([], null!) : RowPointers();
            var keep = e.NewPointer();
            if (source == StridedKeeping)
            {
                Field(nameof(Tile.Keep));
                e.Set(keep);
            }
            var adjacent = source is StridedRows or StridedCopied;
            e.Loop(K, adjacent ? Unrolled : 1, step =>
            {
                LookAhead();
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
                    var number = i;
                    MultiplyAdd(i, () =>
                    {
                        if (pointers.Length > 0) Row(number, pointers, twice);
                        else e.Argument(A);
                        var fixedRow = source switch { StridedColumns => 1, StridedCopied => CopiedRow, _ => 0 };
                        e.Plus((number * fixedRow + (adjacent ? step : 0)) * sizeof(T));
                    });
                }
                Step(B, BStep);
                if (source == StridedColumns) Step(A, AStep);
                if (!adjacent) Move(pointers, () => e.Argument(AStep));
            }, steps =>
            {
                if (source == StridedCopied) Advance(A, steps * sizeof(T));
                if (source == StridedRows) Move(pointers, () => e.Constant(steps * sizeof(T)));
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
                Move(pointers, () => e.Argument(AStep));
                Step(B, BStep);
            });
        }

        void LoadB(int v)
        {
            e.Argument(B);
            e.Plus(v * bytes);
            if (masked && v == vectors - 1) e.MaskLoad(mask);
            else e.Load();
        }

        void Step(int argument, int stride)
        {
            e.Argument(argument);
            e.Argument(stride);
            e.Add();
            e.SetArgument(argument);
        }

        void Move(LocalBuilder[] pointers, Action distance)
        {
            foreach (var pointer in pointers)
            {
                e.Get(pointer);
                distance();
                e.Add();
                e.Set(pointer);
            }
        }

        // Of a packed A the elements lie at fixed distances; the table says where B's next row is. Lanes beyond the mask are read but never stored.
        void GatheredProducts()
        {
            var pieces = source switch { GatheredHalves => 2, GatheredQuarters => 4, _ => 1 };
            var (pointers, twice) = source == GatheredRows ? RowPointers() : ([], null!);
            var (piece, at) = (e.NewOffset(), e.NewOffset());
            Field(nameof(Tile.Piece));
            e.Set(piece);
            var origins = new LocalBuilder[vectors];
            for (var v = 0; v < vectors; v++)
            {
                origins[v] = e.NewPointer();
                e.Argument(B);
                Field(nameof(Tile.Vector));
                e.Constant(v);
                e.Multiply();
                e.Add();
                e.Set(origins[v]);
            }
            e.Loop(K, Unrolled, step =>
            {
                LookAtLine(step);
                e.Argument(BStep);
                e.Plus(step * sizeof(nint));
                e.ReadNative();
                e.Set(at);
                for (var v = 0; v < vectors; v++)
                {
                    e.LoadPieces(origins[v], at, piece, pieces);
                    e.Set(row[v]);
                }
                for (var i = 0; i < rows; i++)
                {
                    var number = i;
                    MultiplyAdd(i, () =>
                    {
                        if (source == GatheredRows)
                        {
                            Row(number, pointers, twice);
                            e.Plus(step * sizeof(T));
                        }
                        else
                        {
                            e.Argument(A);
                            e.Plus((step * rows + number) * sizeof(T));
                        }
                    });
                }
            }, steps =>
            {
                PassLines(steps);
                Move(pointers, () => e.Constant(steps * sizeof(T)));
                if (source != GatheredRows) Advance(A, steps * rows * sizeof(T));
                Advance(BStep, steps * sizeof(nint));
            });
        }

        // The table says where A's first element is; the others follow at fixed distances.
        void PixelProducts()
        {
            var at = e.NewPointer();
            e.Loop(K, Unrolled, step =>
            {
                LookAtLine(step);
                e.Argument(A);
                e.Argument(AStep);
                e.Plus(step * sizeof(nint));
                e.ReadNative();
                e.Add();
                e.Set(at);
                for (var v = 0; v < vectors; v++)
                {
                    e.Argument(B);
                    e.Plus((step * vectors + v) * bytes);
                    e.Load();
                    e.Set(row[v]);
                }
                for (var i = 0; i < rows; i++)
                {
                    var number = i;
                    MultiplyAdd(i, () =>
                    {
                        e.Get(at);
                        e.Plus(number * (source - Pixels + 1) * sizeof(T));
                    });
                }
            }, steps =>
            {
                PassLines(steps);
                Advance(AStep, steps * sizeof(nint));
                Advance(B, steps * vectors * bytes);
            });
        }

        // The element of A at an address times B's row.
        void MultiplyAdd(int i, Action address)
        {
            // A neighbour on the same core leaves half of each cycle's instructions: some rows broadcast within the multiply-add, once for each vector, which saves one.
            // All of them would be more loads than there is time for; those with two registers in the address would be cut in two again.
            var byPointer = source is Strided or StridedRows or StridedKeeping or GatheredRows;
            var within = Emitter<T>.Is512 && (vectors == 1 || (vectors == 2 && (byPointer ? i % 3 == 0 : i % 2 == 1)));
            if (!within)
            {
                address();
                e.Broadcast();
                e.Set(x);
            }
            for (var v = 0; v < vectors; v++)
            {
                if (!within) e.Get(x);
                else
                {
                    address();
                    if (v == 0) e.Broadcast();
                    else e.BroadcastAgain();
                }
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
            e.ArgumentAgain(C);
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
