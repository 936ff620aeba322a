using System.Numerics;
using System.Runtime.CompilerServices;

namespace Functional.Kernels;

// The adjoint with respect to the input, which is also the transposed convolution. An input element i with i + before = J·stride + phase is reached by the taps t
// with t·dilation = q·stride + phase, from the output J − q. So each phase is a convolution of the output with some of the taps, without products by zero.
internal static unsafe partial class Convolution<T>
{
    /// <summary>The inputs of one phase along one axis: J = First … Last.</summary>
    private readonly struct PhaseAxis
    {
        internal readonly int First, Last;
        private readonly int _phase;

        internal PhaseAxis(in WindowAxis axis, int phase)
        {
            _phase = phase;
            First = -FloorDivide(phase - axis.Before, axis.Stride);
            Last = FloorDivide(axis.Input - 1 + axis.Before - phase, axis.Stride);
        }

        internal int Input(in WindowAxis axis, int j) => j * axis.Stride + _phase - axis.Before;

        internal bool Reaches(in WindowAxis axis, int tap) => tap * axis.Dilation % axis.Stride == _phase;

        private static int FloorDivide(int a, int b) => a >= 0 ? a / b : -((b - 1 - a) / b);
    }

    private struct Phase
    {
        internal int D, H, W, Depth;
        internal nint Table, Weights;
    }

    private struct InputJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal Lattice Lattice;
        internal T* Y, Weights, X;
        internal nint* Tables;
        internal Phase[] Phases;
        internal int Bands, Banded, Length, Start, Images;
        internal bool Accumulate;

        public readonly void Run(int chunk)
        {
            var first = chunk / Bands * Images;
            for (var image = first; image < Math.Min(Sizes.Batch, first + Images); image++) Run(image, chunk % Bands);
        }

        private readonly void Run(int image, int band)
        {
            var axes = Sizes.Axes;
            // The band's J along its axis.
            var from = Start + band * Length;
            var lattice = Lattice;
            lattice.Axes[Banded].Origin = from - Reach(axes[Banded]);
            nint row = axes[2].Input, plane = row * axes[1].Input;
            var (source, target) = (Sizes.Target, Sizes.Source);
            // Every other column of a row comes from another phase: they meet in a place of their own.
            var paired = axes[2].Stride == 2 && Banded != 2;
            nint columns = paired ? Sizes.Inputs * lattice.Axes[0].Count * lattice.Axes[1].Count * row : 0;
            var staged = Correlation<T>.StageSize(lattice.Axes[1].Count, lattice.Axes[2].Count, lattice.Row);
            var buffer = (T*)Scratch.Get((Sizes.Outputs * lattice.Channel + Slack(lattice) + staged + columns) * sizeof(T));
            var stage = buffer + Sizes.Outputs * lattice.Channel + Slack(lattice);
            var panels = new Panels(Sizes.Inputs, Height);
            for (var group = 0; group < Sizes.Groups; group++)
            {
                var y = Y + ((nint)image * Sizes.Groups + group) * Sizes.Outputs * source;
                lattice.Fill(y, source, Sizes.Outputs, buffer);
                var ahead = Next(image, Sizes.Batch, Images, Bands, y, Sizes.Groups * Sizes.Outputs * source);
                var x = X + ((nint)image * Sizes.Groups + group) * Sizes.Inputs * target;
                for (var number = 0; number < Phases.Length; number += axes[2].Stride)
                {
                    // Phases that differ along the last axis alone.
                    var (d, h) = (new PhaseAxis(axes[0], Phases[number].D), new PhaseAxis(axes[1], Phases[number].H));
                    var (d0, d1) = Within(0, d, from);
                    var (h0, h1) = Within(1, h, from);
                    if (d0 > d1 || h0 > h1) continue;
                    var corner = x + d.Input(axes[0], d0) * plane + h.Input(axes[1], h0) * row;
                    T* even = stage + staged, odd = even;
                    for (var v = 0; v < axes[2].Stride; v++)
                    {
                        var phase = Phases[number + v];
                        var w = new PhaseAxis(axes[2], phase.W);
                        var (w0, w1) = Within(2, w, from);
                        if (w0 > w1) continue;
                        var correlation = new Correlation<T>
                        {
                            Ahead = &ahead,
                            Buffer = buffer + (d0 - Reach(axes[0]) - lattice.Axes[0].Origin) * lattice.Plane + (h0 - Reach(axes[1]) - lattice.Axes[1].Origin) * lattice.Row
                                + (w0 - Reach(axes[2]) - lattice.Axes[2].Origin),
                            Stage = stage,
                            Table = Tables + phase.Table,
                            Depth = phase.Depth,
                            Weights = Weights + phase.Weights + group * Sizes.Inputs * (nint)phase.Depth,
                            Panels = panels,
                            Planes = d1 - d0 + 1,
                            Rows = h1 - h0 + 1,
                            Columns = w1 - w0 + 1,
                            BufferPlane = lattice.Plane,
                            BufferRow = lattice.Row,
                            Target = corner + w.Input(axes[2], w0),
                            TargetChannel = target,
                            TargetPlane = plane * axes[0].Stride,
                            TargetRow = row * axes[1].Stride,
                            TargetElement = axes[2].Stride,
                            Accumulate = Accumulate,
                        };
                        if (paired)
                        {
                            // The even columns first: there is one of them more where their number is odd.
                            var first = w.Input(axes[2], w0) == 0;
                            var size = (nint)correlation.Planes * correlation.Rows * correlation.Columns;
                            correlation.Target = first ? even : even + Sizes.Inputs * (nint)correlation.Planes * correlation.Rows * ((axes[2].Input + 1) / 2);
                            if (!first) odd = correlation.Target;
                            correlation.TargetChannel = size;
                            correlation.TargetRow = correlation.Columns;
                            correlation.TargetPlane = (nint)correlation.Rows * correlation.Columns;
                            correlation.TargetElement = 1;
                            correlation.Accumulate = false;
                        }
                        correlation.Run();
                    }
                    if (paired) Merge(even, odd, (d1 - d0 + 1, h1 - h0 + 1), corner, (target, plane * axes[0].Stride, row * axes[1].Stride));
                }
            }
        }

        /// <summary>Rows of even and of odd columns, channel by channel, become whole rows of the image.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Merge(T* even, T* odd, (nint Planes, nint Rows) count, T* corner, (nint Channel, nint Plane, nint Row) step)
        {
            nint columns = Sizes.Axes[2].Input, more = (columns + 1) / 2;
            for (nint c = 0; c < Sizes.Inputs; c++)
                for (nint d = 0; d < count.Planes; d++)
                    for (nint h = 0; h < count.Rows; h++)
                    {
                        Lattice.MergeRow(even, odd, corner + c * step.Channel + d * step.Plane + h * step.Row, columns, Accumulate);
                        even += more;
                        odd += columns - more;
                    }
        }

        /// <summary>The phase's J along an axis that fall into the band.</summary>
        private readonly (int From, int To) Within(int axis, in PhaseAxis phase, int from) =>
            axis == Banded ? (Math.Max(phase.First, from), Math.Min(phase.Last, from + Length - 1)) : (phase.First, phase.Last);
    }

    /// <summary>How many outputs before J a tap may reach.</summary>
    private static int Reach(in WindowAxis axis) => (axis.Kernel - 1) * axis.Dilation / axis.Stride;

    /// <summary>x (+)= the adjoint of x ↦ x ⋆ w at y.</summary>
    internal static void Input(in ConvolutionSizes sizes, T* y, T* w, T* x, bool accumulate)
    {
        if (sizes.Batch == 0 || sizes.Source == 0 || sizes.Inputs == 0) return;
        if (FoldPays(sizes))
        {
            RunFold(sizes, y, w, x, accumulate);
            return;
        }
        var job = new InputJob { Sizes = sizes, Y = y, X = x, Accumulate = accumulate, Banded = Widest(sizes.Axes) };
        Lattice lattice = default;
        for (var i = 0; i < WindowAxes.Count; i++)
        {
            var axis = sizes.Axes[i];
            var (first, last) = (int.MaxValue, int.MinValue);
            for (var phase = 0; phase < axis.Stride; phase++)
            {
                var p = new PhaseAxis(axis, phase);
                if (p.First > p.Last) continue;
                (first, last) = (Math.Min(first, p.First), Math.Max(last, p.Last));
            }
            lattice.Axes[i] = new LatticeAxis { Input = axis.Output, Origin = first - Reach(axis), Stride = 1, Dilation = 1, Slots = 1, Count = last - first + 1 + Reach(axis) };
        }
        var banded = sizes.Axes[job.Banded];
        job.Start = lattice.Axes[job.Banded].Origin + Reach(banded);
        var extent = lattice.Axes[job.Banded].Count - Reach(banded);
        job.Length = BandLength(extent, sizes.Batch, sizes.Outputs * lattice.Channel * sizeof(T) / lattice.Axes[job.Banded].Count, sizes.Work);
        job.Bands = (extent + job.Length - 1) / job.Length;
        lattice.Axes[job.Banded].Count = job.Length + Reach(banded);
        job.Lattice = lattice;

        nint taps = sizes.Taps, all = sizes.Outputs * taps;
        var memory = SharedScratch.Rent(all * sizeof(nint) + sizes.Groups * sizes.Inputs * all * sizeof(T) + taps * sizeof(int));
        job.Tables = (nint*)memory.Pointer;
        job.Weights = (T*)(job.Tables + all);
        job.Phases = MakePhases(sizes, lattice, w, job.Tables, job.Weights, (int*)(job.Weights + sizes.Groups * sizes.Inputs * all));
        job.Images = ImagesPerChunk(sizes.Batch, sizes.Work);
        Each((sizes.Batch + job.Images - 1) / job.Images * job.Bands, sizes.Work, ref job);
        SharedScratch.Return(memory);
    }

    /// <summary>The first axis with more than one input.</summary>
    private static int Widest(in WindowAxes axes)
    {
        for (var i = 0; i < WindowAxes.Count; i++)
            if (axes[i].Input > 1)
                return i;
        return WindowAxes.Count - 1;
    }

    private static Phase[] MakePhases(in ConvolutionSizes sizes, in Lattice lattice, T* w, nint* tables, T* weights, int* taps)
    {
        var (d, h, v) = (sizes.Axes[0], sizes.Axes[1], sizes.Axes[2]);
        var phases = new Phase[d.Stride * h.Stride * v.Stride];
        nint table = 0, packed = 0;
        for (var number = 0; number < phases.Length; number++)
        {
            ref var phase = ref phases[number];
            phase = new Phase { D = number / v.Stride / h.Stride, H = number / v.Stride % h.Stride, W = number % v.Stride, Table = table, Weights = packed };
            var (pd, ph, pw) = (new PhaseAxis(d, phase.D), new PhaseAxis(h, phase.H), new PhaseAxis(v, phase.W));
            var count = 0;
            for (var t0 = 0; t0 < d.Kernel; t0++)
                for (var t1 = 0; t1 < h.Kernel; t1++)
                    for (var t2 = 0; t2 < v.Kernel; t2++)
                        if (pd.Reaches(d, t0) && ph.Reaches(h, t1) && pw.Reaches(v, t2))
                            taps[count++] = (t0 * h.Kernel + t1) * v.Kernel + t2;
            phase.Depth = sizes.Outputs * count;
            for (var o = 0; o < sizes.Outputs; o++)
                for (var t = 0; t < count; t++)
                {
                    var (t0, t1, t2) = (taps[t] / v.Kernel / h.Kernel, taps[t] / v.Kernel % h.Kernel, taps[t] % v.Kernel);
                    tables[table + (nint)o * count + t] = sizeof(T) * (o * lattice.Channel + (Reach(d) - t0 * d.Dilation / d.Stride) * lattice.Plane
                        + (Reach(h) - t1 * h.Dilation / h.Stride) * lattice.Row + Reach(v) - t2 * v.Dilation / v.Stride);
                }
            for (nint group = 0; group < sizes.Groups; group++)
            {
                PackWeights(w + group * sizes.Outputs * sizes.Inputs * sizes.Taps, sizes.Taps, (nint)sizes.Inputs * sizes.Taps, sizes.Outputs, taps, count,
                    new Panels(sizes.Inputs, Height), weights + packed);
                packed += (nint)sizes.Inputs * phase.Depth;
            }
            table += phase.Depth;
        }
        return phases;
    }
}
