using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>Writes a kernel's IL in a kernel's words – load, broadcast, fma, store, loop – for vectors of <typeparamref name="T"/> of the machine's width.
/// The JIT does the rest: instruction selection, registers, addressing modes.</summary>
internal sealed class Emitter<T> where T : unmanaged
{
    private readonly ILGenerator _il;

    internal static bool Is512 => Avx512F.IsSupported;

    internal static Type Vector => Is512 ? typeof(Vector512<T>) : typeof(Vector256<T>);

    /// <summary>Elements of one vector.</summary>
    internal static int Lanes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Is512 ? Vector512<T>.Count : Vector256<T>.Count;
    }

    internal static int Size => typeof(T) == typeof(float) ? 4 : 8;

    private static readonly Type Scalar = typeof(T);
    private static readonly Type Pointer = typeof(T).MakePointerType();
    private static readonly Type Static = Is512 ? typeof(Vector512) : typeof(Vector256);

    internal Emitter(ILGenerator il) => _il = il;

    // ---- the methods behind the words ----

    private static MethodInfo Exact(Type type, string name, params Type[] parameters) =>
        type.GetMethod(name, BindingFlags.Public | BindingFlags.Static, parameters)
        ?? throw new MissingMethodException(type.FullName, name);

    private static MethodInfo Generic(string name, int parameters) =>
        Static.GetMethods().First(m => m.Name == name && m.IsGenericMethodDefinition && m.GetParameters().Length == parameters).MakeGenericMethod(Scalar);

    private static readonly MethodInfo LoadMethod = Generic("Load", 1);
    private static readonly MethodInfo StoreMethod = Generic("Store", 2);
    private static readonly MethodInfo AddMethod = Generic("Add", 2);
    private static readonly MethodInfo MaxMethod = Exact(Is512 ? typeof(Avx512F) : typeof(Avx), "Max", Vector, Vector);
    // Asked of a delegate: a search by name reads the signatures of all the overloads, 16 ms in a new process.
    private static readonly MethodInfo CreateMethod =
        Is512 ? ((Func<T, Vector512<T>>)Vector512.Create<T>).Method : ((Func<T, Vector256<T>>)Vector256.Create<T>).Method;
    private static readonly MethodInfo CreateBitsMethod = (typeof(T) == typeof(float), Is512) switch
    {
        (true, true) => ((Func<int, Vector512<int>>)Vector512.Create<int>).Method,
        (true, false) => ((Func<int, Vector256<int>>)Vector256.Create<int>).Method,
        (false, true) => ((Func<long, Vector512<long>>)Vector512.Create<long>).Method,
        (false, false) => ((Func<long, Vector256<long>>)Vector256.Create<long>).Method,
    };
    private static readonly MethodInfo FromBitsMethod = (typeof(T) == typeof(float), Is512) switch
    {
        (true, true) => ((Func<Vector512<int>, Vector512<float>>)Vector512.As<int, float>).Method,
        (true, false) => ((Func<Vector256<int>, Vector256<float>>)Vector256.As<int, float>).Method,
        (false, true) => ((Func<Vector512<long>, Vector512<double>>)Vector512.As<long, double>).Method,
        (false, false) => ((Func<Vector256<long>, Vector256<double>>)Vector256.As<long, double>).Method,
    };
    private static readonly MethodInfo ZeroMethod = Vector.GetProperty("Zero")!.GetMethod!;
    private static readonly MethodInfo FmaMethod = Is512
        ? Exact(typeof(Avx512F), "FusedMultiplyAdd", Vector, Vector, Vector)
        : Exact(typeof(Fma), "MultiplyAdd", Vector, Vector, Vector);
    private static readonly MethodInfo MaskLoadMethod = Is512
        ? Exact(typeof(Avx512F), "MaskLoad", Pointer, Vector, Vector)
        : Exact(typeof(Avx), "MaskLoad", Pointer, Vector);
    private static readonly MethodInfo MaskStoreMethod = Exact(Is512 ? typeof(Avx512F) : typeof(Avx), "MaskStore", Pointer, Vector, Vector);
    private static readonly MethodInfo PrefetchMethod = Exact(typeof(Sse), "Prefetch0", typeof(void).MakePointerType());
    private static readonly MethodInfo PrefetchSecondMethod = Exact(typeof(Sse), "Prefetch1", typeof(void).MakePointerType());

    // ---- variables ----

    internal LocalBuilder NewVector() => _il.DeclareLocal(Vector);

    internal LocalBuilder NewPointer() => _il.DeclareLocal(Pointer);

    internal LocalBuilder NewOffset() => _il.DeclareLocal(typeof(nint));

    internal void Argument(int index) => _il.Emit(OpCodes.Ldarg, index);

    /// <summary>An argument of which the JIT does not know that it has been read before: addresses computed from it are computed again, not kept on the stack.</summary>
    internal void ArgumentAgain(int index)
    {
        _il.Emit(OpCodes.Ldarga, index);
        _il.Emit(OpCodes.Volatile);
        _il.Emit(OpCodes.Ldind_I);
    }

    internal void SetArgument(int index) => _il.Emit(OpCodes.Starg, index);

    internal void Get(LocalBuilder local) => _il.Emit(OpCodes.Ldloc, local);

    internal void Set(LocalBuilder local) => _il.Emit(OpCodes.Stloc, local);

    /// <summary>Adds a constant number of bytes to the pointer on the stack.</summary>
    internal void Plus(int bytes)
    {
        if (bytes == 0) return;
        Constant(bytes);
        Add();
    }

    internal void Constant(int value)
    {
        _il.Emit(OpCodes.Ldc_I4, value);
        _il.Emit(OpCodes.Conv_I);
    }

    internal void Add() => _il.Emit(OpCodes.Add);

    internal void Subtract() => _il.Emit(OpCodes.Sub);

    internal void Multiply() => _il.Emit(OpCodes.Mul);

    internal void And() => _il.Emit(OpCodes.And);

    /// <summary>Reads the field at a byte offset from the pointer on the stack.</summary>
    internal void ReadNative() => _il.Emit(OpCodes.Ldind_I);

    // ---- vectors: operands come from the stack, results go there ----

    internal void Load() => _il.Emit(OpCodes.Call, LoadMethod);

    /// <summary>A vector of 1, 2 or 4 pieces that lie a stride apart, the first at <paramref name="origin"/> + <paramref name="offset"/>.</summary>
    internal void LoadPieces(LocalBuilder origin, LocalBuilder offset, LocalBuilder stride, int pieces)
    {
        var type = Vector;
        for (var n = pieces; n > 1; n /= 2) type = Half(type);
        Piece(0, pieces, type);

        void Piece(int first, int count, Type piece)
        {
            if (count > 1)
            {
                // The upper half goes from memory into the register of the lower.
                var half = Half(Whole(count));
                Piece(first, count / 2, piece);
                _il.Emit(OpCodes.Call, Only(Facade(half), Whole(count) == typeof(Vector512<T>) ? "ToVector512Unsafe" : "ToVector256Unsafe"));
                Piece(first + count / 2, count / 2, piece);
                _il.Emit(OpCodes.Call, Only(Facade(Whole(count)), "WithUpper"));
                return;
            }
            Get(origin);
            Get(offset);
            Add();
            if (first > 0)
            {
                Get(stride);
                Constant(first);
                Multiply();
                Add();
            }
            _il.Emit(OpCodes.Call, Only(Facade(piece), "Load"));
        }

        static MethodInfo Only(Type facade, string name) => facade.GetMethods().First(m => m.Name == name && m.IsGenericMethodDefinition).MakeGenericMethod(Scalar);

        Type Whole(int count)
        {
            var whole = type;
            for (var n = 1; n < count; n *= 2) whole = whole == typeof(Vector128<T>) ? typeof(Vector256<T>) : typeof(Vector512<T>);
            return whole;
        }
    }

    private static Type Half(Type vector) => vector == typeof(Vector512<T>) ? typeof(Vector256<T>) : typeof(Vector128<T>);

    private static Type Facade(Type vector) =>
        vector == typeof(Vector512<T>) ? typeof(Vector512) : vector == typeof(Vector256<T>) ? typeof(Vector256) : typeof(Vector128);

    internal void Store() => _il.Emit(OpCodes.Call, StoreMethod);

    internal void Zero() => _il.Emit(OpCodes.Call, ZeroMethod);

    internal void Fma() => _il.Emit(OpCodes.Call, FmaMethod);

    internal void AddVectors() => _il.Emit(OpCodes.Call, AddMethod);

    /// <summary>The larger of two; the second where they are equal or one is not a number.</summary>
    internal void MaxVectors() => _il.Emit(OpCodes.Call, MaxMethod);

    internal void Prefetch() => _il.Emit(OpCodes.Call, PrefetchMethod);

    /// <summary>The same, no nearer than the second cache.</summary>
    internal void PrefetchSecond() => _il.Emit(OpCodes.Call, PrefetchSecondMethod);

    /// <summary>The scalar behind the pointer on the stack in every lane.</summary>
    internal void Broadcast()
    {
        _il.Emit(typeof(T) == typeof(float) ? OpCodes.Ldind_R4 : OpCodes.Ldind_R8);
        _il.Emit(OpCodes.Call, CreateMethod);
    }

    /// <summary>The same, read as an integer: where <see cref="Broadcast"/> has read it before, the JIT would keep that in a register, and now reads it again within
    /// the instruction that takes it.</summary>
    internal void BroadcastAgain()
    {
        _il.Emit(typeof(T) == typeof(float) ? OpCodes.Ldind_I4 : OpCodes.Ldind_I8);
        _il.Emit(OpCodes.Call, CreateBitsMethod);
        _il.Emit(OpCodes.Call, FromBitsMethod);
    }

    /// <summary>Loads the lanes of the mask; the others are zero and their memory is not touched.</summary>
    internal void MaskLoad(LocalBuilder mask)
    {
        Get(mask);
        if (Is512) Zero();
        _il.Emit(OpCodes.Call, MaskLoadMethod);
    }

    /// <summary>Stores the lanes of the mask at the address on the stack.</summary>
    internal void MaskStore(LocalBuilder mask, LocalBuilder value)
    {
        Get(mask);
        Get(value);
        _il.Emit(OpCodes.Call, MaskStoreMethod);
    }

    // ---- control ----

    /// <summary>Repeats the body while argument <paramref name="counter"/>, counted down by one, is above zero.</summary>
    internal void Loop(int counter, Action body) => Loop(counter, 1, body);

    /// <summary>The same in steps: each runs the body so many times, numbered from zero, and then what <paramref name="advance"/> does for as many;
    /// what is left over is done one by one.</summary>
    internal void Loop(int counter, int times, Action<int> body, Action<int> advance)
    {
        Steps(times);
        if (times > 1) Steps(1);

        void Steps(int count) => Loop(counter, count, () =>
        {
            for (var i = 0; i < count; i++) body(i);
            advance(count);
        });
    }

    private void Loop(int counter, int by, Action body)
    {
        var (top, end) = (_il.DefineLabel(), _il.DefineLabel());
        Argument(counter);
        Constant(by);
        _il.Emit(OpCodes.Blt, end);
        _il.MarkLabel(top);
        body();
        Argument(counter);
        Constant(by);
        Subtract();
        SetArgument(counter);
        Argument(counter);
        Constant(by);
        _il.Emit(OpCodes.Bge, top);
        _il.MarkLabel(end);
    }

    /// <summary>Runs the body if the integer on the stack is not zero.</summary>
    internal void If(Action body)
    {
        var end = _il.DefineLabel();
        _il.Emit(OpCodes.Brfalse, end);
        body();
        _il.MarkLabel(end);
    }

    internal void Return() => _il.Emit(OpCodes.Ret);
}
