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

    /// <summary>The weights [batch, queries, keys], or null where they are not kept.</summary>
    internal T* Weights;
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
    // Whole panels of 14 rows and of 6. Low blocks follow the diagonal closely.
    private static nint QueryBlock(bool causal) => causal ? 42 : 84;

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
        T* y = arrays.Y + (matrix * arrays.Queries + first) * values, lse = arrays.Lse + matrix * arrays.Queries + first;
        new Span<T>(largest, (int)rows).Fill(T.NegativeInfinity);
        new Span<T>(sums, (int)rows).Clear();
        if (keys == 0) Finish(y, lse, sums, largest, rows, values);

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
                if (arrays.Mask.Memory != null) Apply(arrays.Mask, matrix, i, j, tile);
                var target = y + (i - first) * values;
                T* m = largest + (i - first), sum = sums + (i - first);
                Largest(tile, m, shifts, before);
                if (j > 0) Shrink(target, values, height, sum, before);
                Exponentials(tile, shifts, sum);
                Gemm<T>.RunOn(packedV, block, height, values, tile.Width, scores, stride, 1, target, values, j > 0, default);
                if (arrays.Weights != null) Keep(tile, sum, keys, arrays.Weights + (matrix * arrays.Queries + i) * keys);
                if (j + block >= lastKey) Finish(target, lse + (i - first), sum, m, height, values);
            }
        }
    }

    // ---- tiles of scores ----

    /// <summary>Scores of some queries and keys. Behind each row there is room to the end of its last vector.</summary>
    private struct ScoreTile
    {
        internal T* Scores;
        internal nint Stride, Rows, Width;

        /// <summary>Keys that the first row sees, not limited to the tile, and how many more each next row sees.</summary>
        internal nint Visible, Grows;

        internal readonly nint Seen(nint row) => Math.Clamp(Visible + row * Grows, 0, Width);
    }

    /// <summary>Each row's largest score so far, that as a finite number to subtract, and what came before it less that number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Largest(in ScoreTile tile, T* largest, T* shifts, T* before)
    {
        var least = Splat<T>(double.NegativeInfinity);
        for (nint r = 0; r < tile.Rows; r++)
        {
            var row = tile.Scores + r * tile.Stride;
            var n = tile.Seen(r);
            Vector512<T> a = Vector512.Create(largest[r]), b = a;
            nint i = 0;
            for (; i <= n - 2 * Width; i += 2 * Width)
            {
                a = Vector512.MaxNative(a, Vector512.Load(row + i));
                b = Vector512.MaxNative(b, Vector512.Load(row + i + Width));
            }
            for (; i <= n - Width; i += Width) a = Vector512.MaxNative(a, Vector512.Load(row + i));
            if (i < n) b = Vector512.MaxNative(b, Vector512.ConditionalSelect(First<T>(n - i), Vector512.Load(row + i), least));
            var now = Max(Vector512.MaxNative(a, b));
            // Nothing seen so far: e^(−∞ − 0) = 0 is what such a row is to add.
            var shift = T.IsNegativeInfinity(now) ? T.Zero : now;
            before[r] = largest[r] - shift;
            largest[r] = now;
            shifts[r] = shift;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Max(Vector512<T> v)
    {
        var half = Vector256.MaxNative(v.GetLower(), v.GetUpper());
        var quarter = Vector128.MaxNative(half.GetLower(), half.GetUpper());
        quarter = Vector128.MaxNative(quarter, Vector128.Shuffle(quarter.AsDouble(), Vector128.Create(1L, 0L)).As<double, T>());
        if (sizeof(T) == 4) quarter = Vector128.MaxNative(quarter, Vector128.Shuffle(quarter.AsSingle(), Vector128.Create(1, 0, 3, 2)).As<float, T>());
        return quarter.ToScalar();
    }

    /// <summary>Scores become <c>e^(score − shift)</c>, 0 where not seen, and are added to the rows' sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Exponentials(in ScoreTile tile, T* shifts, T* sums)
    {
        for (nint r = 0; r < tile.Rows; r++)
        {
            var row = tile.Scores + r * tile.Stride;
            var n = tile.Seen(r);
            var shift = Vector512.Create(shifts[r]);
            Vector512<T> s = Vector512<T>.Zero, t = s;
            nint i = 0;
            for (; i <= n - 2 * Width; i += 2 * Width)
            {
                var a = VectorMath.Exp(Vector512.Load(row + i) - shift);
                var b = VectorMath.Exp(Vector512.Load(row + i + Width) - shift);
                a.Store(row + i);
                b.Store(row + i + Width);
                s += a;
                t += b;
            }
            for (; i < n; i += Width)
            {
                var a = VectorMath.Exp(Vector512.Load(row + i) - shift);
                if (n - i < Width) a &= First<T>(n - i);
                a.Store(row + i);
                s += a;
            }
            for (; i < tile.Width; i += Width) Vector512<T>.Zero.Store(row + i);
            sums[r] += T.CreateTruncating(Reductions.Total(Reductions.Widened(s + t)));
        }
    }

    /// <summary>What rows have gathered so far, scaled from what was their largest score to what now is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Shrink(T* y, nint values, nint rows, T* sums, T* before)
    {
        for (nint r = 0; r < rows; r += Width) VectorMath.Exp(Vector512.Load(before + r)).Store(before + r);
        for (nint r = 0; r < rows; r++)
        {
            if (before[r] == T.One) continue;
            sums[r] *= before[r];
            Multiply(y + r * values, values, before[r]);
        }
    }

    /// <summary>Rows divided by their sums, and their logsumexps. Where a sum is 0, no key was visible.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Finish(T* y, T* lse, T* sums, T* largest, nint rows, nint values)
    {
        for (nint r = 0; r < rows; r += Width)
        {
            var k = Math.Min(Width, rows - r);
            var sum = Load(sums + r, k);
            var empty = Vector512.Equals(sum, Vector512<T>.Zero);
            Store(Vector512.ConditionalSelect(empty, sum, VectorMath.Log(sum) + Load(largest + r, k)), lse + r, k);
            for (nint i = 0; i < k; i++)
            {
                var target = y + (r + i) * values;
                if (sums[r + i] == T.Zero) new Span<T>(target, (int)values).Clear();
                else Multiply(target, values, T.One / sums[r + i]);
            }
        }
    }

    /// <summary>The weights of all keys: exponentials divided by their sums, behind the tile zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Keep(in ScoreTile tile, T* sums, nint keys, T* weights)
    {
        for (nint r = 0; r < tile.Rows; r++, weights += keys)
        {
            var row = tile.Scores + r * tile.Stride;
            var factor = Vector512.Create(sums[r] == T.Zero ? T.Zero : T.One / sums[r]);
            nint i = 0;
            for (; i <= tile.Width - Width; i += Width) (Vector512.Load(row + i) * factor).Store(weights + i);
            if (i < tile.Width) Store(Vector512.Load(row + i) * factor, weights + i, tile.Width - i);
            if (tile.Width < keys) new Span<T>(weights + tile.Width, (int)(keys - tile.Width)).Clear();
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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(T* y, nint n, T factor)
    {
        var v = Vector512.Create(factor);
        nint i = 0;
        for (; i <= n - Width; i += Width) (Vector512.Load(y + i) * v).Store(y + i);
        if (i < n) Store(Load(y + i, n - i) * v, y + i, n - i);
    }

    /// <summary>Scores of the queries and keys from some on: −∞ where the mask hides them, or the mask added.</summary>
    private static void Apply(in ScoreMask mask, nint matrix, nint query, nint key, in ScoreTile tile)
    {
        for (nint r = 0; r < tile.Rows; r++) Apply(mask, mask.Offsets[matrix] + (query + r) * mask.Row + key * mask.Column, tile.Scores + r * tile.Stride, tile.Seen(r));
    }

    private static void Apply(in ScoreMask mask, nint at, T* row, nint n)
    {
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
