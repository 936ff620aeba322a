using System.Numerics;
using System.Runtime.Intrinsics;

namespace Functional.Kernels;

/// <summary>One operand of a batch: rows whose elements lie side by side, a row stride, and where each matrix begins, in elements.</summary>
internal unsafe struct Rows<T> where T : unmanaged
{
    internal T* Data;
    internal nint Stride;
    internal nint* Offsets;

    internal readonly T* Of(nint matrix, nint row) => Data + Offsets[matrix] + row * Stride;
}

/// <summary>What is added to the scores, or which of them count: [queries, keys] for each matrix, by two strides, either of which may be 0.</summary>
internal unsafe struct ScoreMask
{
    /// <summary>Null where every query sees every key.</summary>
    internal void* Data;

    /// <summary>Bytes, true where a query sees a key; otherwise numbers of the scores' type.</summary>
    internal bool IsBool;

    internal nint Row, Column;
    internal nint* Offsets;
}

/// <summary>Sizes and operands of an attention: y = softmax(scale·q·kᵀ + mask)·v for each matrix of a batch.</summary>
internal unsafe struct AttentionArrays<T> where T : unmanaged
{
    internal nint Batch, Queries, Keys, Features, Values;
    internal bool Causal;
    internal T Scale;

    /// <summary>[queries, features], [keys, features], [keys, values] and [queries, values].</summary>
    internal Rows<T> Q, K, V, Y;

    internal ScoreMask Mask;

    /// <summary>Each query's logsumexp [batch, queries], 0 for a query that sees no key.</summary>
    internal T* Lse;

    /// <summary>The weights [batch, queries, keys], or null where they are not kept.</summary>
    internal T* Weights;
}

/// <summary>One gradient: no data where not wanted; <see cref="Fresh"/> where nothing is in it to add to.</summary>
internal unsafe struct Gradient<T> where T : unmanaged
{
    internal Rows<T> Rows;
    internal bool Fresh;

    internal readonly bool IsWanted => Rows.Data != null;
}

/// <summary>Cotangents and gradients of an attention.</summary>
internal unsafe struct AttentionGradients<T> where T : unmanaged
{
    internal Rows<T> Y;

    /// <summary>[batch, queries], or null for none.</summary>
    internal T* Lse;

    /// <summary>[batch, queries, keys], or null for none.</summary>
    internal T* Weights;

    internal Gradient<T> Q, K, V, Mask;

    /// <summary>Whether two of the gradients are one memory, which only one thread at a time may add to.</summary>
    internal bool Shared;
}

/// <summary>Scaled dot-product attention in blocks of keys times blocks of queries. The block of scores stays in the nearest caches; of the whole matrix
/// nothing is kept but one number per query, its logsumexp, from which the backward pass computes the weights again – unless it is asked to keep them,
/// which saves one product of seven where they are few.
/// Blocks depend on the sizes alone and each sum runs over them in order, so neither the split nor the number of threads changes a bit.
/// (Milakov &amp; Gimelshein 2018, Online normalizer calculation for softmax; Dao et al. 2022, FlashAttention.)</summary>
internal static unsafe partial class Attention<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    // Whole panels of 14 rows and of 6. Causal blocks follow the diagonal closely, and are as high as a panel of keys is wide, so that none is cut.
    private static nint QueryBlock(bool causal) => causal ? 32 : 84;

    // Packed keys and values of a block together should leave room in L2.
    private static nint KeyBlock(in AttentionArrays<T> a) => Math.Min(a.Keys, a.Weights != null ? a.Keys : (a.Features <= 128 ? 1024 : 512) / sizeof(T));

    // Below this many multiplications a second thread gains less than it costs to hand over.
    private const double ParallelAbove = 150e3;

    // A row of scores ends off the page's beat, or columns of a block would fall into few sets of L1.
    private static nint RowStride(nint keys) => (keys + Width - 1) / Width * Width + Width;

    private static int Width => Vector512<T>.Count;

    /// <summary>Memory of a chunk, handed out in whole cache lines.</summary>
    private struct Arena
    {
        private byte* _next;

        internal Arena(nint bytes) => _next = (byte*)Scratch.Get(bytes);

        internal T* Take(nint elements)
        {
            var taken = (T*)_next;
            _next += Bytes(elements);
            return taken;
        }

        internal static nint Bytes(nint elements) => (elements * sizeof(T) + 63) / 64 * 64;
    }

    // ---- forward ----

    private struct ForwardJob : IJob
    {
        internal AttentionArrays<T> Arrays;
        internal nint Parts, PartRows, MatricesPerChunk;

        public readonly void Run(int chunk)
        {
            if (Parts > 1)
            {
                nint first = chunk % Parts * PartRows;
                Matrix(Arrays, chunk / Parts, first, Math.Min(Arrays.Queries, first + PartRows));
                return;
            }
            var end = Math.Min(Arrays.Batch, (chunk + 1) * MatricesPerChunk);
            for (var matrix = chunk * MatricesPerChunk; matrix < end; matrix++) Matrix(Arrays, matrix, 0, Arrays.Queries);
        }
    }

    /// <summary>y and the logsumexps.</summary>
    internal static void Forward(in AttentionArrays<T> arrays)
    {
        if (arrays.Batch == 0 || arrays.Queries == 0) return;
        var job = new ForwardJob { Arrays = arrays, Parts = 1, MatricesPerChunk = MatricesPerChunk(arrays) };
        nint threads = Workers.Count, block = QueryBlock(arrays.Causal), blocks = (arrays.Queries + block - 1) / block;
        // Few matrices: their rows are shared out in whole blocks, and the keys packed for each part anew.
        if (threads > 1 && arrays.Batch < 4 * threads && IsLarge(arrays))
        {
            var parts = Math.Min(blocks, (4 * threads + arrays.Batch - 1) / arrays.Batch);
            job.PartRows = (blocks + parts - 1) / parts * block;
            job.Parts = (arrays.Queries + job.PartRows - 1) / job.PartRows;
        }
        var chunks = job.Parts > 1 ? arrays.Batch * job.Parts : (arrays.Batch + job.MatricesPerChunk - 1) / job.MatricesPerChunk;
        Workers.For((int)chunks, ref job);
    }

    private static bool IsLarge(in AttentionArrays<T> a) =>
        (double)a.Batch * a.Queries * a.Keys * (a.Features + a.Values) >= ParallelAbove;

    private static nint MatricesPerChunk(in AttentionArrays<T> arrays)
    {
        nint chunks = IsLarge(arrays) ? 16 * Workers.Count : 1;
        return (arrays.Batch + chunks - 1) / chunks;
    }

    /// <summary>The queries first … end of one matrix: for each block of keys, all blocks of queries that see some of it. What a query has gathered from earlier blocks
    /// was scaled by its largest score so far; a larger one scales it down.</summary>
    private static void Matrix(in AttentionArrays<T> arrays, nint matrix, nint first, nint end)
    {
        nint features = arrays.Features, values = arrays.Values, keys = arrays.Keys, queryBlock = QueryBlock(arrays.Causal);
        nint keyBlock = KeyBlock(arrays), stride = RowStride(keyBlock), rows = end - first;
        var (sizeK, sizeV) = (Gemm<T>.PackedSize(keyBlock, features), Gemm<T>.PackedSize(values, keyBlock));
        var arena = new Arena(Arena.Bytes(sizeK) + Arena.Bytes(sizeV) + Arena.Bytes(queryBlock * features) + Arena.Bytes(queryBlock * stride)
            + 2 * Arena.Bytes(rows) + 2 * Arena.Bytes(queryBlock + Width));
        T* packedK = arena.Take(sizeK), packedV = arena.Take(sizeV), q = arena.Take(queryBlock * features), scores = arena.Take(queryBlock * stride),
            largest = arena.Take(rows), sums = arena.Take(rows), shifts = arena.Take(queryBlock + Width), before = arena.Take(queryBlock + Width);
        var lse = arrays.Lse + matrix * arrays.Queries + first;
        new Span<T>(largest, (int)rows).Fill(T.NegativeInfinity);
        new Span<T>(sums, (int)rows).Clear();
        if (keys == 0) Finish(arrays.Y.Of(matrix, first), arrays.Y.Stride, lse, sums, largest, rows, values);

        var seen = arrays.Causal ? Math.Min(keys, end) : keys;
        for (nint j = 0; j < seen; j += keyBlock)
        {
            var block = Math.Min(keyBlock, seen - j);
            Gemm<T>.Pack(block, features, arrays.K.Of(matrix, j), 1, arrays.K.Stride, packedK);
            Gemm<T>.Pack(values, block, arrays.V.Of(matrix, j), arrays.V.Stride, 1, packedV);
            for (var i = arrays.Causal ? Math.Max(first, j / queryBlock * queryBlock) : first; i < end; i += queryBlock)
            {
                var height = Math.Min(queryBlock, end - i);
                var lastKey = arrays.Causal ? Math.Min(seen, i + height) : seen;
                var tile = new ScoreTile { Scores = scores, Stride = stride, Rows = height, Width = Math.Min(block, lastKey - j), Grows = arrays.Causal ? 1 : 0 };
                if (tile.Width <= 0) continue;
                tile.Visible = arrays.Causal ? i + 1 - j : tile.Width;
                Scaled(arrays.Q.Of(matrix, i), arrays.Q.Stride, height, features, arrays.Scale, q);
                Gemm<T>.RunOn(packedK, features, height, tile.Width, features, q, features, 1, scores, stride, false, default);
                if (arrays.Mask.Data != null) Apply(arrays.Mask, matrix, i, j, tile);
                var target = arrays.Y.Of(matrix, i);
                T* m = largest + (i - first), sum = sums + (i - first);
                if (arrays.Weights != null)
                {
                    // All keys at once: the weights themselves weigh the values.
                    var weights = arrays.Weights + (matrix * arrays.Queries + i) * keys;
                    Weigh(tile, m, sum, keys, weights);
                    Gemm<T>.RunOn(packedV, block, height, values, tile.Width, weights, keys, 1, target, arrays.Y.Stride, false, default);
                    Logarithms(lse + (i - first), sum, m, height);
                    for (nint r = 0; r < height; r++)
                        if (sum[r] == T.Zero) Clear(target + r * arrays.Y.Stride, values);
                    continue;
                }
                Largest(tile, m, shifts, before);
                if (j > 0) Shrink(target, arrays.Y.Stride, values, height, sum, before);
                Exponentiate(tile, shifts, sum);
                Gemm<T>.RunOn(packedV, block, height, values, tile.Width, scores, stride, 1, target, arrays.Y.Stride, j > 0, default);
                if (j + block >= lastKey) Finish(target, arrays.Y.Stride, lse + (i - first), sum, m, height, values);
            }
        }
    }
}
