using System.Collections.Concurrent;
using System.Globalization;
using System.Numerics;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Text;

namespace Functional.Kernels;

/// <summary>One operation of a fused loop: its functor, and what it takes – the loop's inputs are numbered first, then the operations in order.</summary>
internal sealed record FusedStep(object Body, int[] Operands, bool IsBool);

/// <summary>Several elementwise operations as one emitted loop: every input is read once, what lies between stays in registers, every output is written once.
/// Booleans are bytes in memory and lanes of all or no bits within.</summary>
internal sealed unsafe class FusedLoop<T> where T : unmanaged, INumber<T>
{
    /// <summary>The whole vectors of n elements, a multiple of a vector's.</summary>
    private delegate void Vectors(nint n, byte** operands, object[] bodies);

    // The code depends on the functors' types and not on their values: a leaky ReLU of any slope is one.
    private static readonly ConcurrentDictionary<string, Vectors> Compiled = new();

    private const int MostCompiled = 512;

    /// <summary>The most inputs.</summary>
    internal const int MostInputs = 128;

    private readonly bool[] _inputIsBool;
    private readonly FusedStep[] _steps;
    private readonly int[] _outputs;
    private readonly object[] _bodies;
    private readonly string _signature;
    private readonly ConcurrentDictionary<(UInt128 Repeated, bool Around), Vectors> _byRepeated = new();

    /// <summary>Whether loops can be emitted, and vectors are wide enough that the compiler puts the functors' bodies into them.</summary>
    internal static bool Available => RuntimeFeature.IsDynamicCodeCompiled && Vector256.IsHardwareAccelerated;

    internal FusedLoop(bool[] inputIsBool, FusedStep[] steps, int[] outputs)
    {
        _inputIsBool = inputIsBool;
        _steps = steps;
        _outputs = outputs;
        _bodies = Array.ConvertAll(steps, s => s.Body);
        var text = new StringBuilder();
        foreach (var isBool in inputIsBool) text.Append(isBool ? 'b' : 't');
        foreach (var (body, operands, isBool) in steps)
            text.Append(isBool ? '?' : ':').Append(body.GetType().TypeHandle.Value).Append('(').AppendJoin(',', operands).Append(')');
        _signature = text.Append('>').AppendJoin(',', outputs).ToString();
    }

    private int Operands => _inputIsBool.Length + _outputs.Length;

    private bool IsBool(int value) => value < _inputIsBool.Length ? _inputIsBool[value] : _steps[value - _inputIsBool.Length].IsBool;

    /// <summary>Bytes of an element of operand i, inputs first.</summary>
    internal int Size(int operand) =>
        IsBool(operand < _inputIsBool.Length ? operand : _outputs[operand - _inputIsBool.Length]) ? 1 : sizeof(T);

    // ---- running ----

    /// <summary>Runs over all elements of a shape. <paramref name="pointers"/> are those of the inputs, then of the outputs; <paramref name="strides"/> has for each axis,
    /// outermost first, every operand's stride in elements. Along the innermost axis it is 0 or 1, of outputs 1.</summary>
    internal void Run(ReadOnlySpan<int> sizes, nint* strides, byte** pointers)
    {
        var operands = Operands;
        var lengths = stackalloc nint[sizes.Length + 1];
        var steps = stackalloc nint[(sizes.Length + 1) * operands];
        var rank = 0;
        nint count = 1;
        for (var axis = 0; axis < sizes.Length; axis++)
        {
            count *= sizes[axis];
            if (sizes[axis] == 1) continue;
            var continues = rank > 0;
            for (var i = 0; i < operands && continues; i++) continues = steps[(rank - 1) * operands + i] == sizes[axis] * strides[axis * operands + i];
            if (continues) lengths[rank - 1] *= sizes[axis];
            else lengths[rank++] = sizes[axis];
            for (var i = 0; i < operands; i++) steps[(rank - 1) * operands + i] = strides[axis * operands + i];
        }
        if (count == 0) return;
        if (rank == 0)
        {
            lengths[rank++] = 1;
            for (var i = 0; i < operands; i++) steps[i] = 1;
        }
        UInt128 repeated = 0;
        for (var i = 0; i < _inputIsBool.Length; i++)
            if (steps[(rank - 1) * operands + i] == 0) repeated |= UInt128.One << i;
        for (var i = 0; i < rank * operands; i++) steps[i] *= Size(i % operands);

        var inner = lengths[rank - 1];
        var job = new Job
        {
            Loop = this,
            Vectors = _byRepeated.GetOrAdd((repeated, IsStreamed(count, rank == 1 ? 0 : inner, pointers)), static (kind, loop) => loop.Get(kind.Repeated, kind.Around), this),
            Repeated = repeated,
            Rank = rank,
            Lengths = lengths,
            Steps = steps,
            Pointers = pointers,
            Rows = count / inner,
        };
        if (count < 2 * Loops.Chunk)
        {
            job.Size = rank == 1 ? inner : job.Rows;
            job.Run(0);
            return;
        }
        var chunks = Loops.Chunks(count);
        // One long row is cut between vectors, many rows between rows.
        job.Size = rank == 1 ? ((inner + chunks - 1) / chunks + 63) & ~(nint)63 : (job.Rows + chunks - 1) / chunks;
        Workers.For(chunks, ref job);
    }

    /// <summary>Whether no cache holds an output, and all of them, booleans apart, are made of whole cache lines, row by row where there are several.</summary>
    private bool IsStreamed(nint count, nint inner, byte** pointers)
    {
        if (count * sizeof(T) < Streaming.Least || inner * sizeof(T) % sizeof(Vector512<T>) != 0) return false;
        for (var i = _inputIsBool.Length; i < Operands; i++)
            if (Size(i) == sizeof(T) && (nint)pointers[i] % sizeof(Vector512<T>) != 0)
                return false;
        return true;
    }

    private struct Job : IJob
    {
        internal FusedLoop<T> Loop;
        internal Vectors Vectors;
        internal UInt128 Repeated;
        internal int Rank;
        internal nint* Lengths, Steps;
        internal byte** Pointers;
        internal nint Rows, Size;

        public readonly void Run(int chunk)
        {
            var operands = Loop.Operands;
            var at = stackalloc byte*[operands];
            var start = chunk * Size;
            if (Rank == 1)
            {
                for (var i = 0; i < operands; i++) at[i] = Pointers[i] + start * Steps[i];
                var n = Math.Min(Size, Lengths[0] - start);
                if (n > 0) Row(n, at);
                Streaming.Finish();
                return;
            }
            for (var row = start; row < Math.Min(Rows, start + Size); row++)
            {
                for (var i = 0; i < operands; i++) at[i] = Pointers[i];
                var rest = row;
                for (var axis = Rank - 2; axis >= 0; axis--)
                {
                    var index = rest;
                    // What is left belongs to the outermost axis.
                    if (axis > 0) (rest, index) = Math.DivRem(rest, Lengths[axis]);
                    for (var i = 0; i < operands; i++) at[i] += index * Steps[axis * operands + i];
                }
                Row(Lengths[Rank - 1], at);
            }
            Streaming.Finish();
        }

        private readonly void Row(nint n, byte** at)
        {
            nint lanes = Vector512<T>.Count, whole = n & -lanes, rest = n - whole;
            if (whole > 0) Vectors(whole, at, Loop._bodies);
            if (rest > 0) Tail(whole, rest, at);
        }

        // The last few elements go through the same code in a vector of their own: an element's bits do not depend on its place.
        private readonly void Tail(nint done, nint rest, byte** at)
        {
            int operands = Loop.Operands, inputs = Loop._inputIsBool.Length;
            var buffers = stackalloc byte[operands * sizeof(Vector512<T>)];
            var padded = stackalloc byte*[operands];
            for (var i = 0; i < operands; i++)
            {
                var size = Loop.Size(i);
                padded[i] = buffers + i * sizeof(Vector512<T>);
                if (i >= inputs) continue;
                if ((Repeated >> i & 1) != 0) padded[i] = at[i];
                else
                {
                    Unsafe.InitBlockUnaligned(padded[i], 0, (uint)sizeof(Vector512<T>));
                    Unsafe.CopyBlockUnaligned(padded[i], at[i] + done * size, (uint)(rest * size));
                }
            }
            Vectors(Vector512<T>.Count, padded, Loop._bodies);
            for (var i = inputs; i < operands; i++)
                Unsafe.CopyBlockUnaligned(at[i] + done * Loop.Size(i), padded[i], (uint)(rest * Loop.Size(i)));
        }
    }

    // ---- emitting ----

    private Vectors Get(UInt128 repeated, bool around)
    {
        if (Compiled.Count >= MostCompiled) Compiled.Clear();
        return Compiled.GetOrAdd($"{_signature} {repeated.ToString(CultureInfo.InvariantCulture)} {around}", _ => Emit(repeated, around));
    }

    private Vectors Emit(UInt128 repeated, bool around)
    {
        var method = new DynamicMethod("fused", typeof(void), [typeof(nint), typeof(byte**), typeof(object[])], typeof(FusedLoop<T>).Module, skipVisibility: true);
        var il = method.GetILGenerator();
        var inputs = _inputIsBool.Length;
        var pointers = new LocalBuilder[Operands];
        for (var i = 0; i < Operands; i++)
        {
            pointers[i] = il.DeclareLocal(typeof(byte*));
            il.Emit(OpCodes.Ldarg_1);
            il.Emit(OpCodes.Ldc_I4, i * sizeof(nint));
            il.Emit(OpCodes.Conv_I);
            il.Emit(OpCodes.Add);
            il.Emit(OpCodes.Ldind_I);
            il.Emit(OpCodes.Stloc, pointers[i]);
        }
        var values = new LocalBuilder[inputs + _steps.Length];
        for (var i = 0; i < values.Length; i++) values[i] = il.DeclareLocal(typeof(Vector512<T>));
        for (var i = 0; i < inputs; i++)
            if ((repeated >> i & 1) != 0)
            {
                il.Emit(OpCodes.Ldloc, pointers[i]);
                Word(_inputIsBool[i] ? nameof(RepeatLanes) : nameof(Repeat));
                il.Emit(OpCodes.Stloc, values[i]);
            }
        // Attributes are fields of the functor; one without them is its type alone.
        var bodies = new LocalBuilder[_steps.Length];
        for (var s = 0; s < bodies.Length; s++)
        {
            var type = _steps[s].Body.GetType();
            bodies[s] = il.DeclareLocal(type);
            if (type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic).Length == 0) continue;
            il.Emit(OpCodes.Ldarg_2);
            il.Emit(OpCodes.Ldc_I4, s);
            il.Emit(OpCodes.Ldelem_Ref);
            il.Emit(OpCodes.Unbox_Any, type);
            il.Emit(OpCodes.Stloc, bodies[s]);
        }
        var index = il.DeclareLocal(typeof(nint));
        var top = il.DefineLabel();
        il.MarkLabel(top);
        for (var i = 0; i < inputs; i++)
            if ((repeated >> i & 1) == 0)
            {
                Address(i);
                Word(_inputIsBool[i] ? nameof(LoadLanes) : nameof(Load));
                il.Emit(OpCodes.Stloc, values[i]);
            }
        for (var s = 0; s < _steps.Length; s++)
        {
            var (body, operands, _) = _steps[s];
            il.Emit(OpCodes.Ldloca, bodies[s]);
            foreach (var operand in operands) il.Emit(OpCodes.Ldloc, values[operand]);
            il.Emit(OpCodes.Call, body.GetType().GetMethods().Single(m => m.Name == nameof(IMap1.Invoke)).MakeGenericMethod(typeof(T)));
            il.Emit(OpCodes.Stloc, values[inputs + s]);
        }
        for (var o = 0; o < _outputs.Length; o++)
        {
            il.Emit(OpCodes.Ldloc, values[_outputs[o]]);
            Address(inputs + o);
            Word(IsBool(_outputs[o]) ? nameof(StoreLanes) : around ? nameof(StoreAround) : nameof(Store));
        }
        il.Emit(OpCodes.Ldloc, index);
        il.Emit(OpCodes.Ldc_I4, Vector512<T>.Count);
        il.Emit(OpCodes.Conv_I);
        il.Emit(OpCodes.Add);
        il.Emit(OpCodes.Dup);
        il.Emit(OpCodes.Stloc, index);
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Blt, top);
        il.Emit(OpCodes.Ret);
        return method.CreateDelegate<Vectors>();

        void Word(string name) =>
            il.Emit(OpCodes.Call, typeof(FusedLoop<T>).GetMethod(name, BindingFlags.Static | BindingFlags.NonPublic)!);

        void Address(int operand)
        {
            il.Emit(OpCodes.Ldloc, pointers[operand]);
            il.Emit(OpCodes.Ldloc, index);
            if (Size(operand) > 1)
            {
                il.Emit(OpCodes.Ldc_I4, Size(operand));
                il.Emit(OpCodes.Conv_I);
                il.Emit(OpCodes.Mul);
            }
            il.Emit(OpCodes.Add);
        }
    }

    // ---- the words of the emitted code ----

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Load(byte* p) => Vector512.Load((T*)p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Repeat(byte* p) => Vector512.Create(*(T*)p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<T> v, byte* p) => v.Store((T*)p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreAround(Vector512<T> v, byte* p) => v.StoreAlignedNonTemporal((T*)p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> LoadLanes(byte* p)
    {
        if (sizeof(T) == 4)
        {
            var shorts = Vector256.WidenLower(Vector128.Load(p).ToVector256());
            return Vector512.GreaterThan(Vector512.WidenLower(shorts.ToVector512()), Vector512<uint>.Zero).As<uint, T>();
        }
        var (words, _) = Vector128.Widen(Vector128.CreateScalar(*(ulong*)p).AsByte());
        var (low, high) = Vector128.Widen(words);
        return Vector512.GreaterThan(Vector512.WidenLower(Vector256.Create(low, high).ToVector512()), Vector512<ulong>.Zero).As<ulong, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> RepeatLanes(byte* p) => *p != 0 ? Vector512<T>.AllBitsSet : Vector512<T>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLanes(Vector512<T> v, byte* p)
    {
        var ints = sizeof(T) == 4 ? v.As<T, int>() : Vector512.Narrow(v.As<T, long>(), Vector512<long>.Zero);
        var shorts = Vector256.Narrow(ints.GetLower(), ints.GetUpper());
        var bytes = Vector128.Narrow(shorts.GetLower(), shorts.GetUpper()).AsByte() & Vector128<byte>.One;
        if (sizeof(T) == 4) bytes.Store(p);
        else *(ulong*)p = bytes.AsUInt64().ToScalar();
    }
}
