using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

// The weight's gradient where each channel meets windows of its own. There is no product of matrices in it, only one dot product per tap, as long as the image:
// the sums of some taps stay in registers while a plane and its cotangent are walked once. Every tap's vector of sums goes from image to image, and its lanes are added last.
internal static unsafe partial class Convolution<T>
{
    /// <summary>Taps whose sums are kept at once: enough to hide an addition's latency, and with narrower vectors all of them have registers.</summary>
    private const int TapsAtOnce = 5;

    /// <summary>Whether each group has one input and few outputs. A channel's windows would fill a matrix of a handful of rows.</summary>
    internal static bool IsDepthwise(in ConvolutionSizes sizes) => sizes.Groups > 1 && sizes.Inputs == 1 && sizes.Outputs <= 4;

    private struct DepthwiseWeightJob : IJob
    {
        internal ConvolutionSizes Sizes;
        internal Lattice Lattice;
        internal T* X, Y, W;

        /// <summary>Where the taps lie, in elements; the last one again up to a multiple of <see cref="TapsAtOnce"/>.</summary>
        internal nint* Table;
        internal int Padded, GroupsPerChunk, Banded, Length;
        internal bool Accumulate;

        public readonly void Run(int chunk)
        {
            var (first, last) = (chunk * GroupsPerChunk, Math.Min(Sizes.Groups, (chunk + 1) * GroupsPerChunk));
            nint lanes = Vector512<T>.Count, perGroup = (nint)Sizes.Outputs * Padded * lanes;
            var sums = (T*)Scratch.Get(((last - first) * perGroup + Lattice.Channel + Slack(Lattice)) * sizeof(T));
            var buffer = sums + (last - first) * perGroup;
            for (nint i = 0; i < (last - first) * perGroup; i += lanes) Vector512<T>.Zero.Store(sums + i);
            // Groups inside: their planes follow each other in memory.
            for (nint n = 0; n < Sizes.Batch; n++)
                for (nint group = first; group < last; group++)
                    for (var from = 0; from < Sizes.Axes[Banded].Output; from += Length)
                        Band(n * Sizes.Groups + group, from, buffer, sums + (group - first) * perGroup);
            for (nint group = first; group < last; group++)
                for (nint o = 0; o < Sizes.Outputs; o++)
                {
                    var w = W + (group * Sizes.Outputs + o) * Sizes.Taps;
                    var sum = sums + ((group - first) * Sizes.Outputs + o) * Padded * lanes;
                    for (nint t = 0; t < Sizes.Taps; t++)
                    {
                        var value = Vector512.Sum(Vector512.Load(sum + t * lanes));
                        w[t] = Accumulate ? w[t] + value : value;
                    }
                }
        }

        private readonly void Band(nint channel, int from, T* buffer, T* sums)
        {
            var (axes, lattice) = (Sizes.Axes, Lattice);
            axes[Banded].Output = Math.Min(Length, axes[Banded].Output - from);
            lattice.Axes[Banded].Origin += from * axes[Banded].Stride;
            lattice.Fill(X + channel * Sizes.Source, Sizes.Source, 1, buffer);
            nint row = Sizes.Axes[2].Output, plane = row * Sizes.Axes[1].Output;
            var y = Y + channel * Sizes.Outputs * Sizes.Target + from * (Banded == 0 ? plane : Banded == 1 ? row : 1);
            for (nint o = 0; o < Sizes.Outputs; o++)
                for (nint t = 0; t < Padded; t += TapsAtOnce)
                    for (var d = 0; d < axes[0].Output; d++)
                        Dots(axes[1].Output, axes[2].Output, y + o * Sizes.Target + d * plane, row, buffer + d * lattice.Plane, lattice.Row, Table + t,
                            sums + (o * Padded + t) * Vector512<T>.Count);
        }

        /// <summary>sums[t] += y·x[table[t] + …] over a plane of rows, lane by lane.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Dots(nint rows, nint columns, T* y, nint yRow, T* x, nint xRow, nint* table, T* sums)
        {
            nint lanes = Vector512<T>.Count, whole = columns / lanes * lanes, left = columns - whole;
            var mask = Lanes.First<T>(left);
            var (s0, s1, s2, s3, s4) = (Vector512.Load(sums), Vector512.Load(sums + lanes), Vector512.Load(sums + 2 * lanes), Vector512.Load(sums + 3 * lanes), Vector512.Load(sums + 4 * lanes));
            T* x0 = x + table[0], x1 = x + table[1], x2 = x + table[2], x3 = x + table[3], x4 = x + table[4];
            for (nint r = 0; r < rows; r++)
            {
                for (nint j = 0; j < whole; j += lanes)
                {
                    var v = Vector512.Load(y + j);
                    s0 = Lanes.Fma(v, Vector512.Load(x0 + j), s0);
                    s1 = Lanes.Fma(v, Vector512.Load(x1 + j), s1);
                    s2 = Lanes.Fma(v, Vector512.Load(x2 + j), s2);
                    s3 = Lanes.Fma(v, Vector512.Load(x3 + j), s3);
                    s4 = Lanes.Fma(v, Vector512.Load(x4 + j), s4);
                }
                if (left > 0)
                {
                    // What lies beyond a row of the lattice is another's, and may be infinite.
                    var v = Lanes.Load(y + whole, left);
                    s0 = Lanes.Fma(v, Vector512.Load(x0 + whole) & mask, s0);
                    s1 = Lanes.Fma(v, Vector512.Load(x1 + whole) & mask, s1);
                    s2 = Lanes.Fma(v, Vector512.Load(x2 + whole) & mask, s2);
                    s3 = Lanes.Fma(v, Vector512.Load(x3 + whole) & mask, s3);
                    s4 = Lanes.Fma(v, Vector512.Load(x4 + whole) & mask, s4);
                }
                y += yRow;
                x0 += xRow;
                x1 += xRow;
                x2 += xRow;
                x3 += xRow;
                x4 += xRow;
            }
            s0.Store(sums);
            s1.Store(sums + lanes);
            s2.Store(sums + 2 * lanes);
            s3.Store(sums + 3 * lanes);
            s4.Store(sums + 4 * lanes);
        }
    }

    /// <summary>w (+)= the adjoint of w ↦ x ⋆ w at y, for the sizes of <see cref="IsDepthwise"/>.</summary>
    private static void DepthwiseWeight(in ConvolutionSizes sizes, T* x, T* y, T* w, bool accumulate)
    {
        var job = new DepthwiseWeightJob { Sizes = sizes, X = x, Y = y, W = w, Accumulate = accumulate, Banded = sizes.Axes.Outermost };
        Lattice lattice = default;
        for (var i = 0; i < WindowAxes.Count; i++) lattice.Axes[i] = LatticeAxis.Of(sizes.Axes[i], sizes.Axes[i].Output);
        var banded = sizes.Axes[job.Banded];
        // Bands cut the sums, hence their length depends on the sizes alone.
        job.Length = (int)Math.Clamp(BandBytes / Math.Max(1, lattice.Channel * sizeof(T) / lattice.Axes[job.Banded].Count), 1, banded.Output);
        lattice.Axes[job.Banded] = LatticeAxis.Of(banded, job.Length);
        job.Lattice = lattice;
        job.Padded = (sizes.Taps + TapsAtOnce - 1) / TapsAtOnce * TapsAtOnce;
        job.GroupsPerChunk = Math.Clamp(sizes.Groups / (4 * Workers.Count), 1, 32);
        var memory = SharedScratch.Rent(job.Padded * sizeof(nint));
        job.Table = (nint*)memory.Pointer;
        var (h, v) = (sizes.Axes[1], sizes.Axes[2]);
        for (var i = 0; i < job.Padded; i++)
        {
            var t = Math.Min(i, sizes.Taps - 1);
            job.Table[i] = lattice.Tap(t / v.Kernel / h.Kernel, t / v.Kernel % h.Kernel, t % v.Kernel);
        }
        Each((sizes.Groups + job.GroupsPerChunk - 1) / job.GroupsPerChunk, sizes.Work, ref job);
        SharedScratch.Return(memory);
    }
}
