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
        nint keyBlock = KeyBlock(arrays.Features), keyBlocks = (arrays.Keys + keyBlock - 1) / keyBlock, queryBlocks = (arrays.Queries + QueryBlock - 1) / QueryBlock;
        var idle = (batch + threads - 1) / threads * (double)threads / batch;
        if (!gradients.Shared && IsLarge(arrays) && idle > 1.4 && keyBlocks > 1 && queryBlocks > 1)
        {
            var parts = (4 * threads + batch - 1) / batch;
            job.PartKeys = (keyBlocks + Math.Min(parts, keyBlocks) - 1) / Math.Min(parts, keyBlocks) * keyBlock;
            job.PartQueries = (queryBlocks + Math.Min(parts, queryBlocks) - 1) / Math.Min(parts, queryBlocks) * QueryBlock;
            job.KeyParts = (arrays.Keys + job.PartKeys - 1) / job.PartKeys;
            job.QueryParts = (arrays.Queries + job.PartQueries - 1) / job.PartQueries;
            chunks = batch * (job.KeyParts + job.QueryParts);
        }
        Workers.For((int)chunks, ref job);
    }

    private static void Sweep(in AttentionArrays<T> arrays, in AttentionGradients<T> gradients, in Rectangle part)
    {
        nint features = arrays.Features, values = arrays.Values, keys = arrays.Keys, queries = arrays.Queries, matrix = part.Matrix;
        var (dq, dmask) = part.ToQueries ? (gradients.Q, gradients.Mask) : default;
        var (dk, dv) = part.ToKeys ? (gradients.K, gradients.V) : default;
        Clear(dq, matrix * queries + part.FirstQuery, part.EndQuery - part.FirstQuery, features);
        Clear(dmask, matrix * queries + part.FirstQuery, part.EndQuery - part.FirstQuery, keys);
        Clear(dk, matrix * keys + part.FirstKey, part.EndKey - part.FirstKey, features);
        Clear(dv, matrix * keys + part.FirstKey, part.EndKey - part.FirstKey, values);
        var scored = dq.Memory != null || dmask.Memory != null || dk.Memory != null;
        if (!scored && dv.Memory == null) return;

        nint keyBlock = Math.Min(keys, KeyBlock(features)), stride = RowStride(keyBlock), rows = part.EndQuery - part.FirstQuery;
        nint sizeK = Gemm<T>.PackedSize(keyBlock, features), sizeV = Gemm<T>.PackedSize(keyBlock, values), sizeRows = Gemm<T>.PackedSize(features, keyBlock),
            sizeQ = Gemm<T>.PackedSize(features, QueryBlock), sizeG = Gemm<T>.PackedSize(values, QueryBlock);
        var arena = new Arena(Arena.Bytes(sizeK) + Arena.Bytes(sizeV) + Arena.Bytes(sizeRows) + Arena.Bytes(sizeQ) + Arena.Bytes(sizeG)
            + Arena.Bytes(QueryBlock * features) + 2 * Arena.Bytes(QueryBlock * stride) + Arena.Bytes(rows));
        T* packedK = arena.Take(sizeK), packedV = arena.Take(sizeV), packedRows = arena.Take(sizeRows), packedQ = arena.Take(sizeQ), packedG = arena.Take(sizeG),
            q = arena.Take(QueryBlock * features), weights = arena.Take(QueryBlock * stride), cotangents = arena.Take(QueryBlock * stride), delta = arena.Take(rows);
        for (nint r = 0; r < rows; r++)
        {
            var row = matrix * queries + part.FirstQuery + r;
            var dot = Rowwise.Dot(arrays.Y + row * values, gradients.Y.Of(matrix, part.FirstQuery + r), values);
            delta[r] = T.CreateTruncating(dot) - (gradients.Lse == null ? T.Zero : gradients.Lse[row]);
        }

        var seen = arrays.Causal ? Math.Min(part.EndKey, part.EndQuery) : part.EndKey;
        for (var j = part.FirstKey; j < seen; j += keyBlock)
        {
            var block = Math.Min(keyBlock, seen - j);
            Gemm<T>.Pack(block, features, arrays.K.Of(matrix, j), 1, arrays.K.Stride, packedK);
            if (scored) Gemm<T>.Pack(block, values, arrays.V.Of(matrix, j), 1, arrays.V.Stride, packedV);
            if (dq.Memory != null) Gemm<T>.Pack(features, block, arrays.K.Of(matrix, j), arrays.K.Stride, 1, packedRows);
            for (var i = arrays.Causal ? Math.Max(part.FirstQuery, j / QueryBlock * QueryBlock) : part.FirstQuery; i < part.EndQuery; i += QueryBlock)
            {
                var height = Math.Min(QueryBlock, part.EndQuery - i);
                var width = Math.Min(block, (arrays.Causal ? Math.Min(seen, i + height) : seen) - j);
                if (width <= 0) continue;
                Scaled(arrays.Q.Of(matrix, i), arrays.Q.Stride, height, features, arrays.Scale, q);
                Gemm<T>.RunOn(packedK, features, height, width, features, q, features, 1, weights, stride, false, default);
                var g = gradients.Y.Of(matrix, i);
                if (scored) Gemm<T>.RunOn(packedV, values, height, width, values, g, gradients.Y.Stride, 1, cotangents, stride, false, default);
                for (nint r = 0; r < height; r++)
                {
                    T* p = weights + r * stride, s = cotangents + r * stride;
                    var visible = arrays.Causal ? Math.Clamp(i + r + 1 - j, 0, width) : width;
                    new Span<T>(p + visible, (int)(width - visible)).Clear();
                    new Span<T>(s + visible, (int)(width - visible)).Clear();
                    if (arrays.Mask.Memory != null) Apply(arrays.Mask, matrix, i + r, j, p, visible);
                    var target = dmask.Memory == null ? null : dmask.Memory + (matrix * queries + i + r) * keys + j;
                    Backward(p, s, target, visible, arrays.Lse[matrix * queries + i + r], delta[i - part.FirstQuery + r], arrays.Scale);
                }
                if (dv.Memory != null)
                {
                    Gemm<T>.Pack(values, height, g, gradients.Y.Stride, 1, packedG);
                    Gemm<T>.RunOn(packedG, height, width, values, height, weights, 1, stride, dv.Memory + (matrix * keys + j) * values, values, true, default);
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

    /// <summary>Scores become weights, weights' cotangents the scores' times the scale; a mask's gradient is added to.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Backward(T* p, T* s, T* mask, nint n, T lse, T delta, T scale)
    {
        var (shift, less, factor) = (Vector512.Create(lse), Vector512.Create(delta), Vector512.Create(scale));
        nint i = 0;
        for (; i <= n - Width; i += Width)
        {
            var weight = VectorMath.Exp(Vector512.Load(p + i) - shift);
            weight.Store(p + i);
            var cotangent = weight * (Vector512.Load(s + i) - less);
            if (mask != null) (Vector512.Load(mask + i) + cotangent).Store(mask + i);
            (cotangent * factor).Store(s + i);
        }
        if (i < n)
        {
            var rest = n - i;
            var weight = VectorMath.Exp(Load(p + i, rest) - shift);
            Store(weight, p + i, rest);
            var cotangent = weight * (Load(s + i, rest) - less);
            if (mask != null) Store(Load(mask + i, rest) + cotangent, mask + i, rest);
            Store(cotangent * factor, s + i, rest);
        }
    }
}
