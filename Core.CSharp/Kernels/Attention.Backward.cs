using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

// Backward: with the weights p = e^(s − lse) and ḡ·vᵀ as the weights' cotangents, the scores' are s̄ = p·(ḡ·vᵀ − δ), where δ = Σ ḡ·y − l̄ of each query.
// Then v̄ = pᵀ·ḡ, k̄ = scale·s̄ᵀ·q and q̄ = scale·s̄·k, and a mask that was added has s̄ itself.
internal static unsafe partial class Attention<T>
{
    /// <summary>A rectangle of one matrix's scores, and which gradients it is to give: those of the keys need all queries, those of the queries all keys.</summary>
    private struct Rectangle
    {
        internal nint Matrix, FirstQuery, EndQuery, FirstKey, EndKey;
        internal bool ToQueries, ToKeys;
    }

    private struct BackwardJob : IJob
    {
        internal AttentionArrays<T> Arrays;
        internal AttentionGradients<T> Gradients;
        internal nint MatricesPerChunk, KeyParts, PartKeys, QueryParts, PartQueries;

        public readonly void Run(int chunk)
        {
            var whole = new Rectangle { EndQuery = Arrays.Queries, EndKey = Arrays.Keys, ToQueries = true, ToKeys = true };
            if (KeyParts == 0)
            {
                var end = Math.Min(Arrays.Batch, (chunk + 1) * MatricesPerChunk);
                for (var matrix = chunk * MatricesPerChunk; matrix < end; matrix++) Sweep(Arrays, Gradients, whole with { Matrix = matrix });
                return;
            }
            var parts = KeyParts + QueryParts;
            nint part = chunk % parts;
            whole.Matrix = chunk / parts;
            if (part < KeyParts)
            {
                nint first = part * PartKeys;
                Sweep(Arrays, Gradients, whole with { FirstKey = first, EndKey = Math.Min(Arrays.Keys, first + PartKeys), ToQueries = false });
            }
            else
            {
                var first = (part - KeyParts) * PartQueries;
                Sweep(Arrays, Gradients, whole with { FirstQuery = first, EndQuery = Math.Min(Arrays.Queries, first + PartQueries), ToKeys = false });
            }
        }
    }

    /// <summary>The gradients that are wanted. Keys and queries swept apart compute the weights twice, seven products instead of five:
    /// worth it where whole matrices would leave threads idle for longer.</summary>
    internal static void Backward(in AttentionArrays<T> arrays, in AttentionGradients<T> gradients)
    {
        if (arrays.Batch == 0) return;
        nint threads = Workers.Count, batch = arrays.Batch;
        var job = new BackwardJob { Arrays = arrays, Gradients = gradients, MatricesPerChunk = MatricesPerChunk(arrays) };
        var chunks = (batch + job.MatricesPerChunk - 1) / job.MatricesPerChunk;
        nint keyBlock = Math.Max(1, KeyBlock(arrays)), keyBlocks = (arrays.Keys + keyBlock - 1) / keyBlock,
            queryBlock = QueryBlock(arrays.Causal), queryBlocks = (arrays.Queries + queryBlock - 1) / queryBlock;
        var idle = (batch + threads - 1) / threads * (double)threads / batch;
        if (!gradients.Shared && IsLarge(arrays) && idle > 1.4 && keyBlocks > 1 && queryBlocks > 1)
        {
            var parts = (4 * threads + batch - 1) / batch;
            job.PartKeys = (keyBlocks + Math.Min(parts, keyBlocks) - 1) / Math.Min(parts, keyBlocks) * keyBlock;
            job.PartQueries = (queryBlocks + Math.Min(parts, queryBlocks) - 1) / Math.Min(parts, queryBlocks) * queryBlock;
            job.KeyParts = (arrays.Keys + job.PartKeys - 1) / job.PartKeys;
            job.QueryParts = (arrays.Queries + job.PartQueries - 1) / job.PartQueries;
            chunks = batch * (job.KeyParts + job.QueryParts);
        }
        Workers.For((int)chunks, ref job);
    }

    private static void Sweep(in AttentionArrays<T> arrays, in AttentionGradients<T> gradients, in Rectangle part)
    {
        nint features = arrays.Features, values = arrays.Values, keys = arrays.Keys, queries = arrays.Queries, queryBlock = QueryBlock(arrays.Causal), matrix = part.Matrix;
        var (dq, dmask) = part.ToQueries ? (gradients.Q, gradients.Mask) : default;
        var (dk, dv) = part.ToKeys ? (gradients.K, gradients.V) : default;
        Clear(dq, matrix * queries + part.FirstQuery, part.EndQuery - part.FirstQuery, features);
        Clear(dmask, matrix * queries + part.FirstQuery, part.EndQuery - part.FirstQuery, keys);
        Clear(dk, matrix * keys + part.FirstKey, part.EndKey - part.FirstKey, features);
        Clear(dv, matrix * keys + part.FirstKey, part.EndKey - part.FirstKey, values);
        var scored = dq.Memory != null || dmask.Memory != null || dk.Memory != null;
        if (!scored && dv.Memory == null) return;

        nint keyBlock = KeyBlock(arrays), stride = RowStride(keyBlock), rows = part.EndQuery - part.FirstQuery;
        nint sizeK = Gemm<T>.PackedSize(keyBlock, features), sizeV = Gemm<T>.PackedSize(keyBlock, values), sizeRows = Gemm<T>.PackedSize(features, keyBlock),
            sizeQ = Gemm<T>.PackedSize(features, queryBlock), sizeG = Gemm<T>.PackedSize(values, queryBlock);
        var arena = new Arena(Arena.Bytes(sizeK) + Arena.Bytes(sizeV) + Arena.Bytes(sizeRows) + Arena.Bytes(sizeQ) + Arena.Bytes(sizeG)
            + Arena.Bytes(queryBlock * features) + 2 * Arena.Bytes(queryBlock * stride) + Arena.Bytes(rows));
        T* packedK = arena.Take(sizeK), packedV = arena.Take(sizeV), packedRows = arena.Take(sizeRows), packedQ = arena.Take(sizeQ), packedG = arena.Take(sizeG),
            q = arena.Take(queryBlock * features), weights = arena.Take(queryBlock * stride), cotangents = arena.Take(queryBlock * stride), delta = arena.Take(rows);
        var kept = arrays.Weights != null;
        nint firstRow = matrix * queries + part.FirstQuery;
        Deltas(arrays.Y + firstRow * values, gradients.Y.Of(matrix, part.FirstQuery), gradients.Y.Stride, rows, values, gradients.Lse == null ? null : gradients.Lse + firstRow, delta);

        var seen = arrays.Causal ? Math.Min(part.EndKey, part.EndQuery) : part.EndKey;
        for (var j = part.FirstKey; j < seen; j += keyBlock)
        {
            var block = Math.Min(keyBlock, seen - j);
            if (!kept) Gemm<T>.Pack(block, features, arrays.K.Of(matrix, j), 1, arrays.K.Stride, packedK);
            if (scored) Gemm<T>.Pack(block, values, arrays.V.Of(matrix, j), 1, arrays.V.Stride, packedV);
            if (dq.Memory != null) Gemm<T>.Pack(features, block, arrays.K.Of(matrix, j), arrays.K.Stride, 1, packedRows);
            for (var i = arrays.Causal ? Math.Max(part.FirstQuery, j / queryBlock * queryBlock) : part.FirstQuery; i < part.EndQuery; i += queryBlock)
            {
                var height = Math.Min(queryBlock, part.EndQuery - i);
                var tile = new ScoreTile { Scores = weights, Stride = stride, Rows = height, Grows = arrays.Causal ? 1 : 0 };
                var width = tile.Width = Math.Min(block, (arrays.Causal ? Math.Min(seen, i + height) : seen) - j);
                if (width <= 0) continue;
                tile.Visible = arrays.Causal ? i + 1 - j : width;
                var g = gradients.Y.Of(matrix, i);
                if (scored) Gemm<T>.RunOn(packedV, values, height, width, values, g, gradients.Y.Stride, 1, cotangents, stride, false, default);
                var row = matrix * queries + i;
                var target = dmask.Memory == null ? null : dmask.Memory + row * keys + j;
                if (kept)
                {
                    tile.Scores = arrays.Weights + row * keys;
                    tile.Stride = keys;
                    if (scored) Backward(tile, cotangents, stride, gradients.Weights == null ? null : gradients.Weights + row * keys, delta + (i - part.FirstQuery), arrays.Scale, target);
                }
                else
                {
                    Scaled(arrays.Q.Of(matrix, i), arrays.Q.Stride, height, features, arrays.Scale, q);
                    Gemm<T>.RunOn(packedK, features, height, width, features, q, features, 1, weights, stride, false, default);
                    if (arrays.Mask.Memory != null) Apply(arrays.Mask, matrix, i, j, tile);
                    Backward(tile, cotangents, arrays.Lse + row, delta + (i - part.FirstQuery), arrays.Scale, target, keys);
                }
                if (dv.Memory != null)
                {
                    Gemm<T>.Pack(values, height, g, gradients.Y.Stride, 1, packedG);
                    Gemm<T>.RunOn(packedG, height, width, values, height, tile.Scores, 1, tile.Stride, dv.Memory + (matrix * keys + j) * values, values, true, default);
                }
                if (dk.Memory != null)
                {
                    Gemm<T>.Pack(features, height, arrays.Q.Of(matrix, i), arrays.Q.Stride, 1, packedQ);
                    Gemm<T>.RunOn(packedQ, height, width, features, height, cotangents, 1, stride, dk.Memory + (matrix * keys + j) * features, features, true, default);
                }
                if (dq.Memory != null)
                    Gemm<T>.RunOn(packedRows, block, height, features, width, cotangents, stride, 1, dq.Memory + (matrix * queries + i) * features, features, true, default);
            }
        }
    }

    private static void Clear(in Gradient<T> gradient, nint firstRow, nint rows, nint width)
    {
        if (gradient.Memory != null && gradient.Fresh) NativeMemory.Clear(gradient.Memory + firstRow * width, (nuint)(rows * width * sizeof(T)));
    }

    /// <summary>δ = Σ ḡ·y − l̄ of each row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Deltas(T* y, T* g, nint stride, nint rows, nint values, T* lse, T* delta)
    {
        for (nint r = 0; r < rows; r++, y += values, g += stride)
        {
            var sum = Vector512<double>.Zero;
            for (nint i = 0; i < values;)
            {
                // So many products at a time are added up in the narrow type.
                var end = Math.Min(values, i + 32 * Width);
                var s = Vector512<T>.Zero;
                for (; i <= end - Width; i += Width) s = Fma(Vector512.Load(y + i), Vector512.Load(g + i), s);
                if (i < end)
                {
                    s = Fma(Load(y + i, end - i), Load(g + i, end - i), s);
                    i = end;
                }
                sum += Reductions.Widened(s);
            }
            var dot = T.CreateTruncating(Reductions.Total(sum));
            delta[r] = lse == null ? dot : dot - lse[r];
        }
    }

    /// <summary>Scores become weights, the weights' cotangents those of the scores times the scale; a mask's gradient is added to.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward(in ScoreTile tile, T* cotangents, T* lse, T* deltas, T scale, T* mask, nint maskRow)
    {
        var factor = Vector512.Create(scale);
        for (nint r = 0; r < tile.Rows; r++)
        {
            T* p = tile.Scores + r * tile.Stride, s = cotangents + r * tile.Stride, m = mask + r * maskRow;
            var n = tile.Seen(r);
            var (shift, delta) = (Vector512.Create(lse[r]), Vector512.Create(deltas[r]));
            nint i = 0;
            for (; i <= n - Width; i += Width)
            {
                var weight = VectorMath.Exp(Vector512.Load(p + i) - shift);
                weight.Store(p + i);
                var cotangent = weight * (Vector512.Load(s + i) - delta);
                if (mask != null) (Vector512.Load(m + i) + cotangent).Store(m + i);
                (cotangent * factor).Store(s + i);
            }
            if (i < n)
            {
                var weight = VectorMath.Exp(Vector512.Load(p + i) - shift) & First<T>(n - i);
                weight.Store(p + i);
                var cotangent = weight * (Vector512.Load(s + i) - delta) & First<T>(n - i);
                if (mask != null) Store(Load(m + i, n - i) + cotangent, m + i, n - i);
                (cotangent * factor).Store(s + i);
                i += Width;
            }
            for (; i < tile.Width; i += Width)
            {
                Vector512<T>.Zero.Store(p + i);
                Vector512<T>.Zero.Store(s + i);
            }
        }
    }

    /// <summary>The same with weights that were kept, which have cotangents of their own where <paramref name="more"/> is not null; rows of these and of the mask
    /// follow each other as the weights' do.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward(in ScoreTile weights, T* cotangents, nint stride, T* more, T* deltas, T scale, T* mask)
    {
        var factor = Vector512.Create(scale);
        for (nint r = 0; r < weights.Rows; r++)
        {
            T* p = weights.Scores + r * weights.Stride, s = cotangents + r * stride, m = mask + r * weights.Stride;
            var delta = Vector512.Create(deltas[r]);
            if (more != null)
            {
                // What is not seen has weight 0, whatever its cotangent.
                Plain.AddScaled(T.One, more + r * weights.Stride, s, weights.Width);
                delta += Vector512.Create(T.CreateTruncating(Rowwise.Dot(p, more + r * weights.Stride, weights.Width)));
            }
            nint i = 0;
            for (; i <= weights.Width - Width; i += Width)
            {
                var cotangent = Vector512.Load(p + i) * (Vector512.Load(s + i) - delta);
                if (mask != null) (Vector512.Load(m + i) + cotangent).Store(m + i);
                (cotangent * factor).Store(s + i);
            }
            if (i < weights.Width)
            {
                var rest = weights.Width - i;
                var cotangent = Load(p + i, rest) * (Load(s + i, rest) - delta);
                if (mask != null) Store(Load(m + i, rest) + cotangent, m + i, rest);
                Store(cotangent * factor, s + i, rest);
            }
        }
    }
}
