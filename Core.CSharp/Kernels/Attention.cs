using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

/// <summary>One operand of a batch: rows whose elements lie side by side, a row stride, and where each matrix begins, in elements.</summary>
internal unsafe struct Rows<T> where T : unmanaged
{
    internal T* Memory;
    internal nint Stride;
    internal nint* Offsets;

    internal readonly T* Of(nint matrix, nint row) => Memory + Offsets[matrix] + row * Stride;
}

/// <summary>What is added to the scores, or which of them count: [queries, keys] for each matrix, by two strides, either of which may be 0.</summary>
internal unsafe struct ScoreMask
{
    /// <summary>Null where every query sees every key.</summary>
    internal void* Memory;

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

    /// <summary>[queries, features], [keys, features] and [keys, values].</summary>
    internal Rows<T> Q, K, V;

    internal ScoreMask Mask;

    /// <summary>[batch, queries, values] and each query's logsumexp [batch, queries], 0 for a query that sees no key.</summary>
    internal T* Y, Lse;
}

/// <summary>One gradient: null where not wanted; <see cref="Fresh"/> where nothing is in it to add to.</summary>
internal unsafe struct Gradient<T> where T : unmanaged
{
    internal T* Memory;
    internal bool Fresh;
}

/// <summary>Cotangents and gradients of an attention.</summary>
internal unsafe struct AttentionGradients<T> where T : unmanaged
{
    internal Rows<T> Y;

    /// <summary>[batch, queries], or null for none.</summary>
    internal T* Lse;

    internal Gradient<T> Q, K, V, Mask;

    /// <summary>Whether two of the gradients are one memory, which only one thread at a time may add to.</summary>
    internal bool Shared;
}

/// <summary>Scaled dot-product attention in blocks of keys times blocks of queries. The block of scores stays in the nearest caches; of the whole matrix
/// nothing is kept but one number per query, its logsumexp, from which the backward pass computes the weights again.
/// Blocks depend on the sizes alone and each sum runs over them in order, so neither the split nor the number of threads changes a bit.
/// (Milakov &amp; Gimelshein 2018, Online normalizer calculation for softmax; Dao et al. 2022, FlashAttention.)</summary>
internal static unsafe partial class Attention<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    // Three panels of 14 rows or seven of 6.
    private const int QueryBlock = 42;

    // Packed keys and values of a block together should leave room in L2.
    private static int KeyBlock(nint features) => (features <= 128 ? 1024 : 512) / sizeof(T);

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

        internal double* TakeDoubles(nint elements) => (double*)Take(elements * (sizeof(double) / sizeof(T)));

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
        nint threads = Workers.Count, blocks = (arrays.Queries + QueryBlock - 1) / QueryBlock;
        // Few matrices: their rows are shared out in whole blocks, and the keys packed for each part anew.
        if (threads > 1 && arrays.Batch < 4 * threads && IsLarge(arrays))
        {
            var parts = Math.Min(blocks, (4 * threads + arrays.Batch - 1) / arrays.Batch);
            job.PartRows = (blocks + parts - 1) / parts * QueryBlock;
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

    /// <summary>The queries first … end of one matrix: for each block of keys, all blocks of queries that see some of it. What is behind a query's block of keys
    /// has been scaled by the largest score so far; a larger one scales it down.</summary>
    private static void Matrix(in AttentionArrays<T> arrays, nint matrix, nint first, nint end)
    {
        nint features = arrays.Features, values = arrays.Values, keys = arrays.Keys;
        nint keyBlock = Math.Min(keys, KeyBlock(features)), stride = RowStride(keyBlock), rows = end - first;
        var (sizeK, sizeV) = (Gemm<T>.PackedSize(keyBlock, features), Gemm<T>.PackedSize(values, keyBlock));
        var arena = new Arena(Arena.Bytes(sizeK) + Arena.Bytes(sizeV) + Arena.Bytes(QueryBlock * features) + Arena.Bytes(QueryBlock * stride)
            + Arena.Bytes(rows) + Arena.Bytes(rows * (sizeof(double) / sizeof(T))));
        T* packedK = arena.Take(sizeK), packedV = arena.Take(sizeV), q = arena.Take(QueryBlock * features), scores = arena.Take(QueryBlock * stride), largest = arena.Take(rows);
        var sums = arena.TakeDoubles(rows);
        T* y = arrays.Y + (matrix * arrays.Queries + first) * values, lse = arrays.Lse + matrix * arrays.Queries + first;
        new Span<double>(sums, (int)rows).Clear();
        new Span<T>(largest, (int)rows).Fill(T.NegativeInfinity);
        if (keys == 0) new Span<T>(lse, (int)rows).Clear();
        if (keys == 0 && values > 0) new Span<T>(y, (int)(rows * values)).Clear();

        var seen = arrays.Causal ? Math.Min(keys, end) : keys;
        for (nint j = 0; j < seen; j += keyBlock)
        {
            var block = Math.Min(keyBlock, seen - j);
            Gemm<T>.Pack(block, features, arrays.K.Of(matrix, j), 1, arrays.K.Stride, packedK);
            Gemm<T>.Pack(values, block, arrays.V.Of(matrix, j), arrays.V.Stride, 1, packedV);
            for (var i = arrays.Causal ? Math.Max(first, j / QueryBlock * QueryBlock) : first; i < end; i += QueryBlock)
            {
                var height = Math.Min(QueryBlock, end - i);
                var lastKey = arrays.Causal ? Math.Min(seen, i + height) : seen;
                var width = Math.Min(block, lastKey - j);
                if (width <= 0) continue;
                Scaled(arrays.Q.Of(matrix, i), arrays.Q.Stride, height, features, arrays.Scale, q);
                Gemm<T>.RunOn(packedK, features, height, width, features, q, features, 1, scores, stride, false, default);
                T* target = y + (i - first) * values, m = largest + (i - first);
                var sum = sums + (i - first);
                for (nint r = 0; r < height; r++)
                {
                    var row = scores + r * stride;
                    var visible = arrays.Causal ? Math.Clamp(i + r + 1 - j, 0, width) : width;
                    if (visible < width) new Span<T>(row + visible, (int)(width - visible)).Clear();
                    if (visible == 0) continue;
                    if (arrays.Mask.Memory != null) Apply(arrays.Mask, matrix, i + r, j, row, visible);
                    var before = m[r];
                    var now = T.Max(before, Reductions.FoldStretch(row, visible, default(Reductions.QuickMaxFold)));
                    // Nothing seen so far: e^(−∞ − 0) = 0 is what such a row is to add.
                    var shift = T.IsNegativeInfinity(now) ? T.Zero : now;
                    var added = Rowwise.ExpStretch(row, row, visible, shift);
                    if (now != before && j > 0)
                    {
                        var shrink = Math.Exp(double.CreateTruncating(before - shift));
                        sum[r] *= shrink;
                        Multiply(target + r * values, values, T.CreateTruncating(shrink));
                    }
                    sum[r] += added;
                    m[r] = now;
                }
                Gemm<T>.RunOn(packedV, block, height, values, width, scores, stride, 1, target, values, j > 0, default);
                if (j + block >= lastKey) Finish(target, lse + (i - first), sum, m, height, values);
            }
        }
    }

    /// <summary>Rows divided by their sums, and their logsumexps.</summary>
    private static void Finish(T* y, T* lse, double* sums, T* largest, nint rows, nint values)
    {
        for (nint r = 0; r < rows; r++, y += values)
        {
            var sum = sums[r];
            if (sum == 0)
            {
                // No key was visible.
                if (values > 0) new Span<T>(y, (int)values).Clear();
                lse[r] = T.Zero;
                continue;
            }
            Multiply(y, values, T.CreateTruncating(1 / sum));
            lse[r] = largest[r] + T.CreateTruncating(Math.Log(sum));
        }
    }

    // ---- rows ----

    /// <summary>A block of queries times the scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scaled(T* q, nint stride, nint rows, nint features, T scale, T* target)
    {
        var factor = Vector512.Create(scale);
        for (nint r = 0; r < rows; r++, q += stride, target += features)
        {
            nint i = 0;
            for (; i <= features - Width; i += Width) (Vector512.Load(q + i) * factor).Store(target + i);
            if (i < features) Store(Load(q + i, features - i) * factor, target + i, features - i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(T* y, nint n, T factor)
    {
        var v = Vector512.Create(factor);
        nint i = 0;
        for (; i <= n - Width; i += Width) (Vector512.Load(y + i) * v).Store(y + i);
        if (i < n) Store(Load(y + i, n - i) * v, y + i, n - i);
    }

    /// <summary>A query's scores of n keys from <paramref name="key"/> on: −∞ where the mask hides them, or the mask added.</summary>
    private static void Apply(in ScoreMask mask, nint matrix, nint query, nint key, T* row, nint n)
    {
        var at = mask.Offsets[matrix] + query * mask.Row + key * mask.Column;
        if (!mask.IsBool) Add((T*)mask.Memory + at, mask.Column, row, n);
        else if (mask.Column == 1) Hide((byte*)mask.Memory + at, row, n);
        else
            for (nint i = 0; i < n; i++)
                if (((byte*)mask.Memory)[at + i * mask.Column] == 0)
                    row[i] = T.NegativeInfinity;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(T* mask, nint step, T* row, nint n)
    {
        nint i = 0;
        if (step == 1)
        {
            for (; i <= n - Width; i += Width) (Vector512.Load(row + i) + Vector512.Load(mask + i)).Store(row + i);
        }
        for (; i < n; i++) row[i] += mask[i * step];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Hide(byte* mask, T* row, nint n)
    {
        nint i = 0;
        var hidden = Splat<T>(double.NegativeInfinity);
        for (; i <= n - Width; i += Width)
            Vector512.ConditionalSelect(Vector512.Equals(Widened(mask + i), Vector512<T>.Zero), hidden, Vector512.Load(row + i)).Store(row + i);
        for (; i < n; i++)
            if (mask[i] == 0)
                row[i] = T.NegativeInfinity;
    }

    /// <summary>A vector's worth of bytes, 0 where the byte is: what bits the others get does not matter as long as they are no float's 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<T> Widened(byte* p)
    {
        if (sizeof(T) == 4)
        {
            var (low, high) = Vector128.Widen(Vector128.Load(p));
            var (a, b) = Vector128.Widen(low);
            var (c, d) = Vector128.Widen(high);
            return Vector512.ConvertToSingle(Vector512.Create(Vector256.Create(a, b), Vector256.Create(c, d)).AsInt32()).As<float, T>();
        }
        var eight = Vector128.WidenLower(Vector128.CreateScalar(Unsafe.ReadUnaligned<ulong>(p)).AsByte());
        var (front, back) = Vector128.Widen(eight);
        return Vector512.ConvertToDouble(Vector512.Create(Vector256.Create(Vector128.WidenLower(front), Vector128.WidenUpper(front)),
            Vector256.Create(Vector128.WidenLower(back), Vector128.WidenUpper(back))).AsInt64()).As<double, T>();
    }
}
