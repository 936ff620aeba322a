using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Functional.Kernels;

/// <summary>One spatial axis of pooling. A window's elements are From, From + Step, … below To.</summary>
internal struct PoolAxis
{
    internal int Input, Output, Kernel, Stride, Before, Step;

    /// <summary>Whether the windows are those that make Output of Input, from ⌊o·Input/Output⌋ to ⌈(o + 1)·Input/Output⌉, instead of all alike.</summary>
    internal bool Adaptive;

    internal static PoolAxis Of(in WindowAxis a) => new()
    {
        Input = a.Input,
        Output = a.Output,
        Kernel = a.Kernel,
        Stride = a.Stride,
        Before = a.Before,
        Step = a.Dilation,
    };

    /// <summary>The elements of window <paramref name="o"/> that lie inside the input.</summary>
    internal readonly (int From, int To) Window(int o)
    {
        if (Adaptive) return ((int)((long)o * Input / Output), (int)(((o + 1L) * Input + Output - 1) / Output));
        var from = o * Stride - Before;
        var to = from + (Kernel - 1) * Step + 1;
        if (from < 0) from += (Step - 1 - from) / Step * Step;
        return (from, Math.Min(to, Input));
    }

    /// <summary>Whether any window reaches beyond the input.</summary>
    internal readonly bool Padded => Before > 0 || (Output - 1) * Stride - Before + (Kernel - 1) * Step >= Input;

    /// <summary>The outputs, from one to before another, whose windows are all alike and lie inside the input.</summary>
    internal readonly (nint First, nint Last) Whole
    {
        get
        {
            if (Adaptive) return (0, 0);
            var room = Input + Before - (Kernel - 1) * Step - 1;
            return ((Before + Stride - 1) / Stride, room < 0 ? 0 : Math.Min(Output, room / Stride + 1));
        }
    }

    /// <summary>Whether windows of two lie side by side and none is cut.</summary>
    internal readonly bool Pairs => !Adaptive && Kernel == 2 && Stride == 2 && Before == 0 && Step == 1 && Input >= 2 * Output;
}

[InlineArray(WindowAxes.Count)]
internal struct PoolAxes
{
    private PoolAxis _axis;

    internal readonly nint Source => (nint)this[0].Input * this[1].Input * this[2].Input;

    internal readonly nint Target => (nint)this[0].Output * this[1].Output * this[2].Output;

    /// <summary>Windows of 2 x 2 that tile a plane.</summary>
    internal readonly bool Squares => this[0].Input == 1 && this[0].Output == 1 && this[1].Pairs && this[2].Pairs;
}

/// <summary>The largest element, or the mean, of each window, plane by plane.</summary>
internal static unsafe partial class Pooling<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    // Elements per chunk: enough to be worth handing over.
    private const int ChunkSize = 1 << 15;

    private enum Task
    {
        Max,
        MaxBackward,
        Average,
        AverageBackward,
    }

    private struct Job : IJob
    {
        internal Task Task;
        internal PoolAxes Axes;
        internal T* Source, Target;
        internal int* Index;
        internal nint Planes, Step;
        internal bool Accumulate, CountPadding, Streamed;

        public readonly void Run(int chunk)
        {
            var (source, target) = (Axes.Source, Axes.Target);
            var buffers = (T*)Scratch.Get(Buffers(Axes) * sizeof(T));
            for (var p = chunk * Step; p < Math.Min(Planes, (chunk + 1) * Step); p++)
                switch (Task)
                {
                    case Task.Max: Max(Axes, Source + p * source, Target + p * target, Index + p * target, buffers, Streamed); break;
                    case Task.MaxBackward: MaxBackward(Axes, Target + p * target, Index + p * target, Source + p * source, Accumulate, Streamed); break;
                    case Task.Average: Average(Axes, Source + p * source, Target + p * target, CountPadding, buffers, Streamed); break;
                    default: AverageBackward(Axes, Target + p * target, Source + p * source, Accumulate, CountPadding, buffers, Streamed); break;
                }
            Streaming.Finish();
        }
    }

    private static void Run(Job job)
    {
        if (job.Planes == 0) return;
        job.Step = Math.Max(1, ChunkSize / Math.Max(1, job.Axes.Source));
        var (forward, axes) = (job.Task is Task.Max or Task.Average, job.Axes);
        job.Streamed = !job.Accumulate && (forward
            ? Streaming.Pays(job.Target, job.Planes * axes[1].Output, axes[2].Output * sizeof(T)) && (nint)job.Index % sizeof(Vector512<int>) == 0
            : Streaming.Pays(job.Source, job.Planes * axes[1].Input, axes[2].Input * sizeof(T)));
        var chunks = (job.Planes + job.Step - 1) / job.Step;
        while (chunks > 0x4000)
        {
            job.Step *= 2;
            chunks = (job.Planes + job.Step - 1) / job.Step;
        }
        Workers.For((int)chunks, ref job);
    }

    /// <summary>y = the largest element of each window, the first of equals, or the first NaN; index = its place in the plane.</summary>
    internal static void Max(nint planes, in PoolAxes axes, T* x, T* y, int* index) =>
        Run(new Job { Task = Task.Max, Axes = axes, Planes = planes, Source = x, Target = y, Index = index });

    /// <summary>x (+)= g at the places of the largest elements.</summary>
    internal static void MaxBackward(nint planes, in PoolAxes axes, T* g, int* index, T* x, bool accumulate) =>
        Run(new Job { Task = Task.MaxBackward, Axes = axes, Planes = planes, Source = x, Target = g, Index = index, Accumulate = accumulate });

    /// <summary>y = each window's sum divided by the number of its elements, zeros of the padding among them or not.</summary>
    internal static void Average(nint planes, in PoolAxes axes, T* x, T* y, bool countPadding) =>
        Run(new Job { Task = Task.Average, Axes = axes, Planes = planes, Source = x, Target = y, CountPadding = countPadding });

    /// <summary>x (+)= the adjoint of <see cref="Average(nint, in PoolAxes, T*, T*, bool)"/> at g.</summary>
    internal static void AverageBackward(nint planes, in PoolAxes axes, T* g, T* x, bool accumulate, bool countPadding) =>
        Run(new Job { Task = Task.AverageBackward, Axes = axes, Planes = planes, Source = x, Target = g, Accumulate = accumulate, CountPadding = countPadding });

    // ---- one plane ----

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Max(in PoolAxes axes, T* x, T* y, int* index, T* buffers, bool streamed)
    {
        if (typeof(T) == typeof(float) && Avx512F.IsSupported && axes.Squares)
        {
            if (streamed) MaxOfSquares<Streaming.Around>(axes[1].Output, axes[2].Output, axes[2].Input, (float*)x, (float*)y, index);
            else MaxOfSquares<Streaming.Through>(axes[1].Output, axes[2].Output, axes[2].Input, (float*)x, (float*)y, index);
            return;
        }
        MaxByRows(axes, x, y, index, buffers);
    }

    /// <summary>Sixteen windows at once: the even and odd elements of two rows, compared in row-major order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void MaxOfSquares<TStore>(nint rows, nint columns, nint width, float* x, float* y, int* index) where TStore : struct, Streaming.IStore
    {
        var (even, odd) = (Vector512<int>.Indices * 2, Vector512<int>.Indices * 2 + Vector512<int>.One);
        for (nint r = 0; r < rows; r++)
        {
            for (nint c = 0; c < columns; c += 16)
            {
                var n = Math.Min(16, columns - c);
                var at = 2 * r * width + 2 * c;
                var (a, b) = Columns(x + at, n, even, odd);
                var (d, e) = Columns(x + at + width, n, even, odd);
                var best = a;
                var place = Vector512.Create((int)at) + even;
                Better(b, Vector512<int>.One);
                Better(d, Vector512.Create((int)width));
                Better(e, Vector512.Create((int)width + 1));
                if (n == 16)
                {
                    TStore.Store(best, y + c);
                    TStore.Store(place, index + c);
                }
                else
                {
                    Lanes.Store(best, y + c, n);
                    Lanes.Store(place, index + c, n);
                }

                void Better(Vector512<float> v, Vector512<int> distance)
                {
                    // Unordered or greater, unless the best is NaN already.
                    var wins = Vector512.AndNot(Vector512.OnesComplement(Vector512.LessThanOrEqual(v, best)), Vector512.IsNaN(best));
                    best = Vector512.ConditionalSelect(wins, v, best);
                    place = Vector512.ConditionalSelect(wins.AsInt32(), Vector512.Create((int)at) + even + distance, place);
                }
            }
            y += columns;
            index += columns;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector512<float> Even, Vector512<float> Odd) Columns(float* x, nint n, Vector512<int> even, Vector512<int> odd)
    {
        var (low, high) = n == 16 ? (Vector512.Load(x), Vector512.Load(x + 16)) : (Lanes.Load(x, 2 * n), Lanes.Load(x + 16, Math.Max(0, 2 * n - 16)));
        return (Avx512F.PermuteVar16x32x2(low, even, high), Avx512F.PermuteVar16x32x2(low, odd, high));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MaxBackward(in PoolAxes axes, T* g, int* index, T* x, bool accumulate, bool streamed)
    {
        if (typeof(T) == typeof(float) && Avx512F.IsSupported && axes.Squares && !accumulate)
        {
            if (streamed) SquaresBackward<Streaming.Around>(axes, (float*)g, index, (float*)x);
            else SquaresBackward<Streaming.Through>(axes, (float*)g, index, (float*)x);
            return;
        }
        if (!accumulate) new Span<T>(x, (int)axes.Source).Clear();
        var count = axes.Target;
        for (nint i = 0; i < count; i++) x[index[i]] += g[i];
    }

    /// <summary>Writes each element of two rows once: the cotangent where the window's place is its own, zero elsewhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void SquaresBackward<TStore>(in PoolAxes axes, float* g, int* index, float* x) where TStore : struct, Streaming.IStore
    {
        nint rows = axes[1].Output, columns = axes[2].Output, width = axes[2].Input;
        var even = Vector512<int>.Indices * 2;
        var low = Vector512.Create(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        var high = low + Vector512.Create(8);
        for (nint r = 0; r < rows; r++)
        {
            for (nint c = 0; c < columns; c += 16)
            {
                var n = Math.Min(16, columns - c);
                var (v, place) = n == 16 ? (Vector512.Load(g + c), Vector512.Load(index + c)) : (Lanes.Load(g + c, n), Lanes.Load(index + c, n));
                for (var row = 0; row < 2; row++)
                {
                    var at = (2 * r + row) * width + 2 * c;
                    var here = Vector512.Create((int)at) + even;
                    var a = Vector512.ConditionalSelect(Vector512.Equals(place, here).AsSingle(), v, Vector512<float>.Zero);
                    var b = Vector512.ConditionalSelect(Vector512.Equals(place, here + Vector512<int>.One).AsSingle(), v, Vector512<float>.Zero);
                    var (first, second) = (Avx512F.PermuteVar16x32x2(a, low, b), Avx512F.PermuteVar16x32x2(a, high, b));
                    if (n == 16)
                    {
                        TStore.Store(first, x + at);
                        TStore.Store(second, x + at + 16);
                    }
                    else
                    {
                        Lanes.Store(first, x + at, Math.Min(16, 2 * n));
                        if (n > 8) Lanes.Store(second, x + at + 16, 2 * n - 16);
                    }
                }
            }
            // Columns that no window covers.
            for (var k = 2 * columns; k < width; k++) x[2 * r * width + k] = x[(2 * r + 1) * width + k] = 0;
            g += columns;
            index += columns;
        }
        var covered = 2 * rows * width;
        new Span<float>(x + covered, (int)(axes.Source - covered)).Clear();
    }

    /// <summary>How many elements a mean over an axis's window counts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Counted(in PoolAxis axis, int inside, bool countPadding) =>
        countPadding && !axis.Adaptive ? axis.Kernel : inside;
}
