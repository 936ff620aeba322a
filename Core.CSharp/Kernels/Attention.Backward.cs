using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static Functional.Kernels.Lanes;

namespace Functional.Kernels;

// Backward: with the weights p = e^(s − lse) and ḡ·vᵀ as the weights' cotangents, the scores' are s̄ = p·(ḡ·vᵀ − δ), where δ = Σ ḡ·y − l̄ of each query.
// Then v̄ = pᵀ·ḡ, k̄ = scale·s̄ᵀ·q and q̄ = scale·s̄·k, and a mask that was added has s̄ itself.
internal static unsafe partial class Attention<T>
{
    // Few matrices: the keys of each are shared out in groups, which gather the queries' gradients apart. How many does not depend on the threads.
    private const int MostGroups = 8;

    private struct BackwardJob : IJob
    {
        internal AttentionArrays<T> Arrays;
        internal AttentionGradients<T> Gradients;
        internal nint MatricesPerChunk, Groups, GroupKeys;

        /// <summary>The queries' gradients [batch, groups, queries, features], where there are several groups.</summary>
        internal T* Apart;

        public readonly void Run(int chunk)
        {
            if (Groups > 1)
            {
                nint matrix = chunk / Groups, group = chunk % Groups;
                Sweep(Arrays, Gradients, Gradients.Q.IsWanted ? Apart + chunk * Arrays.Queries * Arrays.Features : null, Arrays.Features, fresh: true,
                    matrix, group * GroupKeys, Math.Min(Arrays.Keys, (group + 1) * GroupKeys));
                return;
            }
            var end = Math.Min(Arrays.Batch, (chunk + 1) * MatricesPerChunk);
            for (var matrix = chunk * MatricesPerChunk; matrix < end; matrix++)
                Sweep(Arrays, Gradients, Gradients.Q.IsWanted ? Gradients.Q.Rows.Of(matrix, 0) : null, Gradients.Q.Rows.Stride, Gradients.Q.Fresh, matrix, 0, Arrays.Keys);
        }
    }

    /// <summary>Adds up what the groups gathered, in their order.</summary>
    private struct GatherJob : IJob
    {
        internal BackwardJob Parts;

        public readonly void Run(int chunk)
        {
            var arrays = Parts.Arrays;
            nint block = QueryBlock(arrays.Causal), blocks = (arrays.Queries + block - 1) / block;
            nint matrix = chunk / blocks, first = chunk % blocks * block, features = arrays.Features;
            var (target, rows) = (Parts.Gradients.Q.Rows, Math.Min(arrays.Queries, first + block) - first);
            for (nint group = 0; group < Parts.Groups; group++)
            {
                // Queries before a group's first key have seen none of it.
                if (arrays.Causal && group * Parts.GroupKeys >= first + block) break;
                var source = Parts.Apart + ((matrix * Parts.Groups + group) * arrays.Queries + first) * features;
                for (nint r = 0; r < rows; r++, source += features)
                {
                    var row = target.Of(matrix, first + r);
                    if (group == 0 && Parts.Gradients.Q.Fresh) new Span<T>(source, (int)features).CopyTo(new Span<T>(row, (int)features));
                    else Plain.AddScaled(T.One, source, row, features);
                }
            }
        }
    }

    /// <summary>The gradients that are wanted.</summary>
    internal static void Backward(in AttentionArrays<T> arrays, in AttentionGradients<T> gradients)
    {
        if (arrays.Batch == 0) return;
        nint batch = arrays.Batch, keyBlock = Math.Max(1, KeyBlock(arrays)), keyBlocks = (arrays.Keys + keyBlock - 1) / keyBlock;
        var job = new BackwardJob { Arrays = arrays, Gradients = gradients, MatricesPerChunk = MatricesPerChunk(arrays), Groups = 1 };
        var groups = Math.Min(keyBlocks, MostGroups / batch);
        if (groups > 1)
        {
            job.GroupKeys = (keyBlocks + groups - 1) / groups * keyBlock;
            job.Groups = (arrays.Keys + job.GroupKeys - 1) / job.GroupKeys;
        }
        if (gradients.Shared)
        {
            // What is added to one gradient must not be cleared with another.
            Clear(ref job.Gradients.Q, batch, arrays.Queries, arrays.Features);
            Clear(ref job.Gradients.K, batch, arrays.Keys, arrays.Features);
            Clear(ref job.Gradients.V, batch, arrays.Keys, arrays.Values);
            Clear(ref job.Gradients.Mask, batch, arrays.Queries, arrays.Keys);
        }
        if (job.Groups == 1)
        {
            Workers.For((int)((batch + job.MatricesPerChunk - 1) / job.MatricesPerChunk), ref job);
            return;
        }
        var memory = !gradients.Q.IsWanted ? null : SharedScratch.Rent(batch * job.Groups * arrays.Queries * arrays.Features * sizeof(T));
        job.Apart = memory == null ? null : (T*)memory.Pointer;
        var chunks = (int)(batch * job.Groups);
        if (gradients.Shared)
            for (var chunk = 0; chunk < chunks; chunk++) job.Run(chunk);
        else Workers.For(chunks, ref job);
        if (memory == null) return;
        var gather = new GatherJob { Parts = job };
        nint block = QueryBlock(arrays.Causal);
        Workers.For((int)(batch * ((arrays.Queries + block - 1) / block)), ref gather);
        SharedScratch.Return(memory);
    }

    private static void Clear(ref Gradient<T> gradient, nint batch, nint rows, nint columns)
    {
        if (gradient.IsWanted && gradient.Fresh)
            for (nint matrix = 0; matrix < batch; matrix++) Clear(gradient, matrix, 0, rows, columns);
        gradient.Fresh = false;
    }

    private static void Clear(in Gradient<T> gradient, nint matrix, nint first, nint end, nint columns)
    {
        if (gradient.IsWanted && gradient.Fresh)
            for (; first < end; first++) Clear(gradient.Rows.Of(matrix, first), columns);
    }

    private static void Clear(T* memory, nint count) => new Span<T>(memory, (int)count).Clear();

    /// <summary>Some keys of one matrix, and all queries, whose gradient <paramref name="dq"/> is. The last block of queries sees every key that any of them sees: what it adds
    /// to the keys' gradients comes first and finds nothing there.</summary>
    private static void Sweep(in AttentionArrays<T> arrays, in AttentionGradients<T> gradients, T* dq, nint stepQ, bool fresh, nint matrix, nint firstKey, nint endKey)
    {
        nint features = arrays.Features, values = arrays.Values, keys = arrays.Keys, queries = arrays.Queries, queryBlock = QueryBlock(arrays.Causal);
        var (dk, dv, dmask) = (gradients.K, gradients.V, gradients.Mask);
        var scored = dq != null || dmask.IsWanted || dk.IsWanted;
        if (!scored && !dv.IsWanted) return;
        var seen = queries == 0 ? firstKey : Math.Max(firstKey, arrays.Causal ? Math.Min(endKey, queries) : endKey);
        Clear(dk, matrix, seen, endKey, features);
        Clear(dv, matrix, seen, endKey, values);
        if (dmask.IsWanted && dmask.Fresh)
            for (nint i = 0; i < queries; i++) Clear(dmask.Rows.Of(matrix, i) + firstKey, endKey - firstKey);
        // Queries that no key of these has come to.
        var unseen = seen == firstKey ? queries : arrays.Causal ? firstKey / queryBlock * queryBlock : 0;
        if (dq != null && fresh)
            for (nint i = 0; i < unseen; i++) Clear(dq + i * stepQ, features);

        nint keyBlock = KeyBlock(arrays), stride = RowStride(keyBlock);
        nint sizeK = Gemm<T>.PackedSize(keyBlock, features), sizeV = Gemm<T>.PackedSize(keyBlock, values), sizeRows = Gemm<T>.PackedSize(features, keyBlock),
            sizeQ = Gemm<T>.PackedSize(features, queryBlock), sizeG = Gemm<T>.PackedSize(values, queryBlock);
        var arena = new Arena(Arena.Bytes(sizeK) + Arena.Bytes(sizeV) + Arena.Bytes(sizeRows) + Arena.Bytes(sizeQ) + Arena.Bytes(sizeG)
            + Arena.Bytes(queryBlock * features) + 2 * Arena.Bytes(queryBlock * stride) + Arena.Bytes(queries));
        T* packedK = arena.Take(sizeK), packedV = arena.Take(sizeV), packedRows = arena.Take(sizeRows), packedQ = arena.Take(sizeQ), packedG = arena.Take(sizeG),
            q = arena.Take(queryBlock * features), weights = arena.Take(queryBlock * stride), cotangents = arena.Take(queryBlock * stride), delta = arena.Take(queries);
        var kept = arrays.Weights != null;
        nint firstRow = matrix * queries;
        Deltas(arrays.Y.Of(matrix, 0), arrays.Y.Stride, gradients.Y.Of(matrix, 0), gradients.Y.Stride, queries, values, gradients.Lse == null ? null : gradients.Lse + firstRow, delta);

        for (var j = firstKey; j < seen; j += keyBlock)
        {
            var block = Math.Min(keyBlock, seen - j);
            if (!kept) Gemm<T>.Pack(block, features, arrays.K.Of(matrix, j), 1, arrays.K.Stride, packedK);
            if (scored) Gemm<T>.Pack(block, values, arrays.V.Of(matrix, j), 1, arrays.V.Stride, packedV);
            if (dq != null) Gemm<T>.Pack(features, block, arrays.K.Of(matrix, j), arrays.K.Stride, 1, packedRows);
            var firstQuery = arrays.Causal ? j / queryBlock * queryBlock : 0;
            var last = firstQuery + (queries - 1 - firstQuery) / queryBlock * queryBlock;
            for (var i = last; i >= firstQuery; i -= queryBlock)
            {
                var height = Math.Min(queryBlock, queries - i);
                var tile = new ScoreTile { Scores = weights, Stride = stride, Rows = height, Grows = arrays.Causal ? 1 : 0 };
                var width = tile.Width = Math.Min(block, (arrays.Causal ? Math.Min(seen, i + height) : seen) - j);
                tile.Visible = arrays.Causal ? i + 1 - j : width;
                var g = gradients.Y.Of(matrix, i);
                if (scored) Gemm<T>.RunOn(packedV, values, height, width, values, g, gradients.Y.Stride, 1, cotangents, stride, false, default);
                var row = matrix * queries + i;
                var target = dmask.IsWanted ? dmask.Rows.Of(matrix, i) + j : null;
                if (kept)
                {
                    tile.Scores = arrays.Weights + row * keys;
                    tile.Stride = keys;
                    if (scored) Backward(tile, cotangents, stride, gradients.Weights == null ? null : gradients.Weights + row * keys, delta + i, arrays.Scale, target);
                }
                else
                {
                    Scaled(arrays.Q.Of(matrix, i), arrays.Q.Stride, height, features, arrays.Scale, q);
                    Gemm<T>.RunOn(packedK, features, height, width, features, q, features, 1, weights, stride, false, default);
                    if (arrays.Mask.Data != null) Apply(arrays.Mask, matrix, i, j, tile);
                    Backward(tile, cotangents, arrays.Lse + row, delta + i, arrays.Scale, target, keys);
                }
                if (dv.IsWanted)
                {
                    Gemm<T>.Pack(values, height, g, gradients.Y.Stride, 1, packedG);
                    Gemm<T>.RunOn(packedG, height, width, values, height, tile.Scores, 1, tile.Stride, dv.Rows.Of(matrix, j), dv.Rows.Stride, !dv.Fresh || i < last, default);
                }
                if (dk.IsWanted)
                {
                    Gemm<T>.Pack(features, height, arrays.Q.Of(matrix, i), arrays.Q.Stride, 1, packedQ);
                    Gemm<T>.RunOn(packedQ, height, width, features, height, cotangents, 1, stride, dk.Rows.Of(matrix, j), dk.Rows.Stride, !dk.Fresh || i < last, default);
                }
                if (dq != null)
                    Gemm<T>.RunOn(packedRows, block, height, features, width, cotangents, stride, 1, dq + i * stepQ, stepQ, !fresh || j > firstKey, default);
            }
        }
    }

    /// <summary>δ = Σ ḡ·y − l̄ of each row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Deltas(T* y, nint step, T* g, nint stride, nint rows, nint values, T* lse, T* delta)
    {
        for (nint r = 0; r < rows; r++, y += step, g += stride)
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
