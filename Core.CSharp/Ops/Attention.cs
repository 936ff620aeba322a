using System.Numerics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    // Attention: each query takes a mean of the values, weighted by how well their keys match.
    public sealed partial class Tensor
    {
        /// <summary>softmax(scale·q·kᵀ)·v over the last two axes: q […, L, d], k […, S, d], v […, S, e] → […, L, e], leading axes broadcast; scale is 1/√d unless given
        /// (Vaswani et al. 2017, Attention is all you need). The mask […, L, S], broadcast, is true where a query may see a key, or a float that is added to the scores.
        /// With <paramref name="causal"/> query i sees the keys 0 … i. A query that may see no key gives zeros. The scores of all queries and keys are never stored
        /// (Dao et al. 2022, FlashAttention).</summary>
        public static Tensor Attention(Tensor q, Tensor k, Tensor v, Tensor? mask = null, bool causal = false, double? scale = null)
        {
            const string op = "attention";
            if (q.Rank < 2 || k.Rank < 2 || v.Rank < 2)
                throw Shape.Refuse(op, "queries, keys and values need two axes", $"{q.Shape}, {k.Shape} and {v.Shape}", "Reshape them");
            var batch = Shape.Broadcast(op, Shape.Broadcast(op, Leading(q), Leading(k)), Leading(v));
            if (mask is not null)
            {
                var scores = Shape.Of([.. batch.Sizes, q.Shape[-2], k.Shape[-2]]);
                if (!mask.Shape.BroadcastsTo(scores)) throw Attentions.RefuseMask(mask, scores);
                mask = mask.ExpandTo(scores);
            }
            (q, k, v) = (All(q), All(k), All(v));
            var attend = Attentions.With(causal, scale, Attentions.Keeps(k.Shape[-2], q.Shape[-1], v.Shape[-1]));
            return (mask is null ? attend.Apply(q, k, v) : attend.Apply(q, k, v, mask))[0];

            static Shape Leading(Tensor x) => Shape.Of(x.Shape.Sizes[..^2]);

            Tensor All(Tensor x) => x.ExpandTo(Shape.Of([.. batch.Sizes, x.Shape[-2], x.Shape[-1]]));
        }

        /// <summary>softmax(scale·q·kᵀ): how much each query of <see cref="Attention"/> takes from each key, […, L, S].</summary>
        public static Tensor AttentionWeights(Tensor q, Tensor k, Tensor? mask = null, bool causal = false, double? scale = null)
        {
            const string op = "attention";
            Shape.Float(op, q);
            Shape.SameDType(op, q, k);
            if (q.Rank < 2 || k.Rank < 2 || q.Shape[-1] != k.Shape[-1])
                throw Shape.Refuse(op, "queries […, L, d] and keys […, S, d] must have the same features", $"{q.Shape} and {k.Shape}", "Project one of them");
            var scores = (q * (scale ?? 1 / Math.Sqrt(Math.Max(1, q.Shape[-1])))).Matmul(k.Transpose(-1, -2));
            if (mask is not null && mask.DType != DType.Bool) scores += mask;
            var allowed = mask is { DType: DType.Bool } ? mask : null;
            if (causal)
            {
                var past = Attentions.Triangle(q.Shape[-2], k.Shape[-2]);
                allowed = allowed is null ? past : allowed.And(past);
            }
            if (allowed is null) return scores.Softmax(-1);
            if (!allowed.Shape.BroadcastsTo(scores.Shape))
                throw Attentions.RefuseMask(allowed, scores.Shape);
            // A large negative score instead of −∞: where no key is allowed the weights stay numbers, which the product with the mask then makes zero.
            var weights = Where(allowed, scores, Hidden(q.DType)).Softmax(-1);
            return mask is null && q.Shape[-2] <= k.Shape[-2] ? weights : weights * allowed.Cast(q.DType);
        }

        private static double Hidden(DType dtype) => dtype == DType.Float32 ? -1e30 : -1e300;

        /// <summary>[…, T, h·d] as [N, h, T, d]: each head sees features of its own. A view.</summary>
        public Tensor SplitHeads(int heads)
        {
            if (Rank != 3 || heads < 1 || Shape[2] % heads != 0)
                throw Shape.Refuse("splitHeads", "the features of [N, T, E] must divide into the heads", $"{Shape} and {heads} heads", "Correct the heads");
            return Reshape(Shape[0], Shape[1], heads, Shape[2] / heads).Permute(0, 2, 1, 3);
        }

        /// <summary>[N, h, T, d] as [N, T, h·d], the inverse of <see cref="SplitHeads"/>.</summary>
        public Tensor MergeHeads()
        {
            if (Rank != 4) throw Shape.Refuse("mergeHeads", "the input must be [N, h, T, d]", Shape.ToString(), "Split it into heads first");
            return Permute(0, 2, 1, 3).Reshape(Shape[0], Shape[2], Shape[1] * Shape[3]);
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Scaled dot-product attention: inputs q, k, v and, where there is one, the mask, all with the same leading axes; outputs the queries' mean values and,
    /// for the backward pass, the logsumexp of each query's scores, 0 for a query that sees no key, and the weights where they are to be kept.</summary>
    public static unsafe class Attentions
    {
        public static readonly Op Attention = With(causal: false, scale: null, keep: false);

        /// <summary>Attention with queries that see all keys or, causal, the keys 0 … i; scores are multiplied by the scale, 1/√d unless given.
        /// Weights that are kept, [queries, keys] for each matrix, need not be computed again in the backward pass.</summary>
        internal static Op With(bool causal, double? scale, bool keep) => new()
        {
            Name = "attention",
            Shape = x => Check(x, keep),
            Forward = new Forward.Into((x, y) => ForwardPlain(x, y, causal, scale)),
            // Scores, and what they weigh; a causal one is counted whole.
            Flop = static (x, y) => 2 * y[1].Shape.Count * x[1].Shape[-2] * (x[0].Shape[-1] + x[2].Shape[-1]),
            Vjp = (x, y, g, i) =>
            {
                if (!x[i].DType.IsFloat()) return null;
                var (q, k, v, factor) = (x[0], x[1], x[2], Factor(x[0], scale));
                var weights = keep ? y[2] : Weights(x, y[1], causal, factor);
                if (i == 2) return weights.Transpose(-1, -2).Matmul(g[0]);
                var change = (g[0] * y[0]).Sum([-1], keepAxes: true) - g[1].Unsqueeze(-1);
                var cotangents = g[0].Matmul(v.Transpose(-1, -2));
                if (keep)
                {
                    change += (g[2] * y[2]).Sum([-1], keepAxes: true);
                    cotangents += g[2];
                }
                var scores = weights * (cotangents - change);
                return i switch
                {
                    0 => scores.Matmul(k) * factor,
                    1 => scores.Transpose(-1, -2).Matmul(q) * factor,
                    _ => scores,
                };
            },
            VjpInto = (x, y, g, dx) => BackwardPlain(x, y, g, Array.ConvertAll(dx, Target.Of), causal, scale),
            Sample = static draw =>
            {
                int[] batch = [.. draw.Shape(0, 2, empty: true).Sizes];
                var (queries, keys, features, values) = (draw.Axis(), draw.Axis(empty: true), draw.Axis(), draw.Axis());
                var (isCausal, factor) = (draw.Chance(0.4), draw.OneOf<double?>(null, null, 0.5, -0.3));
                var inputs = new List<Tensor>
                {
                    draw.Tensor(Shape.Of([.. batch, queries, features]), -1, 1),
                    draw.Tensor(Shape.Of([.. batch, keys, features]), -1, 1),
                    draw.Tensor(Shape.Of([.. batch, keys, values])),
                };
                var scores = Shape.Of([.. batch, queries, keys]);
                var (mask, keep) = (draw.Int(0, 3), draw.Chance());
                if (mask == 1) inputs.Add(draw.Mask(scores));
                if (mask == 2) inputs.Add(draw.Tensor(scores));
                return new(With(isCausal, factor, keep), [.. inputs])
                {
                    Attributes = FormattableString.Invariant($"causal = {(isCausal ? "true" : "false")}, scale = {(factor is { } f ? f : "none")}, mask = {(mask == 1 ? "allowed" : mask == 2 ? "added" : "none")}, keep = {(keep ? "true" : "false")}"),
                };
            },
        };

        /// <summary>Few keys: their weights take no more room than the rows they are made of and go into.</summary>
        internal static bool Keeps(int keys, int features, int values) => keys <= features + values;

        private static Spec[] Check(Tensor[] x, bool keep)
        {
            const string op = "attention";
            foreach (var input in x[..3])
            {
                Shape.Float(op, input);
                Shape.SameDType(op, x[0], input);
                if (input.Rank < 2 || input.Shape.Sizes[..^2] is var leading && !leading.SequenceEqual(x[0].Shape.Sizes[..Math.Max(0, x[0].Rank - 2)]))
                    throw Shape.Refuse(op, "queries, keys and values need two axes and the same leading ones", $"{x[0].Shape}, {x[1].Shape} and {x[2].Shape}", "Reshape or expand them");
            }
            var (q, k, v) = (x[0].Shape, x[1].Shape, x[2].Shape);
            if (q[-1] != k[-1])
                throw Shape.Refuse(op, "queries […, L, d] and keys […, S, d] must have the same features", $"{q} and {k}", "Project one of them");
            if (k[-2] != v[-2])
                throw Shape.Refuse(op, "every key needs a value", $"keys {k} and values {v}", "Give as many of one as of the other");
            int[] rows = [.. q.Sizes[..^1]];
            if (x.Length > 3)
            {
                if (x[3].DType != DType.Bool) Shape.SameDType(op, x[0], x[3]);
                var scores = Shape.Of([.. rows, k[-2]]);
                if (x[3].Shape != scores) throw RefuseMask(x[3], scores);
            }
            Spec y = new(x[0].DType, Shape.Of([.. rows, v[-1]])), lse = new(x[0].DType, Shape.Of(rows));
            return keep ? [y, lse, new(x[0].DType, Shape.Of([.. rows, k[-2]]))] : [y, lse];
        }

        internal static ShapeException RefuseMask(Tensor mask, Shape scores) =>
            Shape.Refuse("attention", "the mask must broadcast to queries x keys", $"mask {mask.Shape} for {scores}", "Reshape the mask");

        /// <summary>true where the column is not beyond the row.</summary>
        internal static Tensor Triangle(int rows, int columns) =>
            Tensor.Arange(0, rows).Unsqueeze(1).GreaterEqual(Tensor.Arange(0, columns));

        /// <summary>The weights once more, from the scores' logsumexps.</summary>
        private static Tensor Weights(Tensor[] x, Tensor lse, bool causal, double factor)
        {
            var exponents = (x[0] * factor).Matmul(x[1].Transpose(-1, -2)) - lse.Unsqueeze(-1);
            if (x.Length > 3 && x[3].DType != DType.Bool) exponents += x[3];
            if (Allowed(x, causal) is { } allowed) exponents = Tensor.Where(allowed, exponents, double.NegativeInfinity);
            return exponents.Exp();
        }

        /// <summary>Where a query may see a key; null where all see all.</summary>
        private static Tensor? Allowed(Tensor[] x, bool causal)
        {
            var mask = x.Length > 3 && x[3].DType == DType.Bool ? x[3] : null;
            if (!causal) return mask;
            var past = Triangle(x[0].Shape[-2], x[1].Shape[-2]);
            return mask is null ? past : mask.And(past);
        }

        private static double Factor(Tensor q, double? scale) => scale ?? 1 / Math.Sqrt(Math.Max(1, q.Shape[-1]));

        // ---- on plain tensors ----

        /// <summary>Tensors that a kernel reads by bare pointers, kept until it is done, and where their matrices begin.</summary>
        private sealed class Kept(int batch, nint* offsets)
        {
            // Of q, k, v, the mask, the result, its cotangent and four gradients.
            internal const int Tables = 10;

            private readonly List<Tensor> _alive = [];

            /// <summary>Rows whose elements lie side by side: the tensor where it is, or a copy.</summary>
            internal Rows<T> Rows<T>(Tensor x) where T : unmanaged
            {
                if (x.Strides[^1] != 1 && x.Shape[-1] > 1) x = Pointwise.Contiguous(x);
                _alive.Add(x);
                return new() { Data = x.Pointer<T>(), Stride = x.Strides[^2], Offsets = Offsets(x) };
            }

            /// <summary>Where a gradient goes, rows whose elements lie side by side; nowhere where there is no tensor.</summary>
            internal Gradient<T> Gradient<T>(Target target) where T : unmanaged =>
                target.Memory is { } memory ? new() { Rows = Rows<T>(memory), Fresh = target.Fresh } : default;

            internal ScoreMask Mask(Tensor x)
            {
                _alive.Add(x);
                return new()
                {
                    Data = x.DType == DType.Float32 ? x.Pointer<float>() : x.DType == DType.Float64 ? x.Pointer<double>() : x.Pointer<byte>(),
                    IsBool = x.DType == DType.Bool,
                    Row = x.Strides[^2],
                    Column = x.Strides[^1],
                    Offsets = Offsets(x),
                };
            }

            internal T* Contiguous<T>(Tensor x) where T : unmanaged
            {
                x = Pointwise.Contiguous(x);
                _alive.Add(x);
                return x.Pointer<T>();
            }

            private nint* Offsets(Tensor x)
            {
                var table = offsets;
                Products.Offsets(x, table, batch);
                offsets += batch;
                return table;
            }
        }

        private static int Batch(Tensor q)
        {
            var batch = 1;
            foreach (var size in q.Shape.Sizes[..^2]) batch *= size;
            return batch;
        }

        private static AttentionArrays<T> Arrays<T>(Tensor[] x, Tensor[] y, bool causal, double? scale, Kept kept) where T : unmanaged, IBinaryFloatingPointIeee754<T> => new()
        {
            Batch = Batch(x[0]),
            Queries = x[0].Shape[-2],
            Keys = x[1].Shape[-2],
            Features = x[0].Shape[-1],
            Values = x[2].Shape[-1],
            Causal = causal,
            Scale = T.CreateTruncating(Factor(x[0], scale)),
            Q = kept.Rows<T>(x[0]),
            K = kept.Rows<T>(x[1]),
            V = kept.Rows<T>(x[2]),
            Mask = x.Length > 3 ? kept.Mask(x[3]) : default,
            Y = kept.Rows<T>(y[0]),
            Lse = y[1].Pointer<T>(),
            Weights = y.Length > 2 ? y[2].Pointer<T>() : null,
        };

        /// <summary>Where a gradient goes, or nowhere; fresh memory may hold anything.</summary>
        internal readonly record struct Target(Tensor? Memory, bool Fresh)
        {
            internal static Target Of(Slot? slot)
            {
                if (slot is null) return default;
                var memory = slot.Open(out var accumulate);
                return new(memory, !accumulate);
            }
        }

        /// <summary>The outputs y, of which the first may be any view whose rows' elements lie side by side.</summary>
        internal static void ForwardPlain(Tensor[] x, Tensor[] y, bool causal, double? scale)
        {
            if (y[0].DType == DType.Float32) Forward<float>(x, y, causal, scale);
            else Forward<double>(x, y, causal, scale);
        }

        /// <summary>The gradients of x, into such views too.</summary>
        internal static void BackwardPlain(Tensor[] x, Tensor[] y, Tensor[] g, Target[] dx, bool causal, double? scale)
        {
            if (y[0].DType == DType.Float32) Backward<float>(x, y, g, dx, causal, scale);
            else Backward<double>(x, y, g, dx, causal, scale);
        }

        private static void Forward<T>(Tensor[] x, Tensor[] y, bool causal, double? scale) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var batch = Batch(x[0]);
            var offsets = batch <= 256 ? stackalloc nint[Kept.Tables * batch] : new nint[Kept.Tables * batch];
            fixed (nint* first = offsets)
            {
                var kept = new Kept(batch, first);
                Attention<T>.Forward(Arrays<T>(x, y, causal, scale, kept));
                GC.KeepAlive(kept);
            }
        }

        private static void Backward<T>(Tensor[] x, Tensor[] y, Tensor[] g, Target[] dx, bool causal, double? scale) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var batch = Batch(x[0]);
            var offsets = batch <= 256 ? stackalloc nint[Kept.Tables * batch] : new nint[Kept.Tables * batch];
            fixed (nint* first = offsets)
            {
                var kept = new Kept(batch, first);
                var wanted = Array.FindAll(dx, target => target.Memory is not null);
                var gradients = new AttentionGradients<T>
                {
                    Y = kept.Rows<T>(g[0]),
                    Lse = Normalisation.IsZero(g[1]) ? null : kept.Contiguous<T>(g[1]),
                    Weights = g.Length < 3 || Normalisation.IsZero(g[2]) ? null : kept.Contiguous<T>(g[2]),
                    Q = kept.Gradient<T>(dx[0]),
                    K = kept.Gradient<T>(dx[1]),
                    V = kept.Gradient<T>(dx[2]),
                    Mask = dx.Length > 3 ? kept.Gradient<T>(dx[3]) : default,
                    Shared = wanted.DistinctBy(target => target.Memory).Count() < wanted.Length,
                };
                Attention<T>.Backward(Arrays<T>(x, y, causal, scale, kept), gradients);
                GC.KeepAlive(kept);
            }
        }
    }
}
