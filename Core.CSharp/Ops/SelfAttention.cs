using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>Attention of the steps of sequences to each other with several heads: qkv [N, T, 3·E] holds queries, keys and values side by side, whose features E divide
        /// into the heads; the heads' mean values side by side [N, T, E]. Heads are read and written where they lie. Mask, <paramref name="causal"/> and scale are those of
        /// <see cref="Attention"/> for [N, heads, T, T] (Vaswani et al. 2017, Attention is all you need).</summary>
        public static Tensor SelfAttention(Tensor qkv, int heads, Tensor? mask = null, bool causal = false, double? scale = null)
        {
            if (qkv.Rank != 3 || heads < 1 || qkv.Shape[2] % (3 * heads) != 0)
                throw Shape.Refuse("selfAttention", "the features of [N, T, 3·E] must be queries, keys and values, each divided into the heads", $"{qkv.Shape} and {heads} heads", "Correct the heads");
            if (mask is not null)
            {
                var scores = Shape.Of(qkv.Shape[0], heads, qkv.Shape[1], qkv.Shape[1]);
                if (!mask.Shape.BroadcastsTo(scores)) throw Attentions.RefuseMask(mask, scores);
                mask = mask.ExpandTo(scores);
            }
            var features = qkv.Shape[2] / (3 * heads);
            var attend = SelfAttentions.With(heads, causal, scale, Attentions.Keeps(qkv.Shape[1], features, features));
            return (mask is null ? attend.Apply(qkv) : attend.Apply(qkv, mask))[0];
        }
    }
}

namespace Functional.Ops
{
    /// <summary>Attention whose queries, keys and values are one tensor [N, T, 3·E], as one product with one weight makes them: the kernel of <see cref="Attentions"/> reads each
    /// head where it lies and writes result and gradient there, so that nothing is copied to take heads apart or put them together. Outputs are those of
    /// <see cref="Attentions"/>, the first as [N, T, E].</summary>
    public static class SelfAttentions
    {
        public static readonly Op SelfAttention = With(heads: 1, causal: false, scale: null, keep: false);

        internal static Op With(int heads, bool causal, double? scale, bool keep) => new()
        {
            Name = "selfAttention",
            Shape = x => Check(x, heads, keep),
            Forward = new Forward.Into((x, y) => Attentions.ForwardPlain(Inputs(x, heads), Outputs(y, heads), causal, scale)),
            Flop = static (x, y) => 4 * y[1].Shape.Count * x[0].Shape[1] * (y[0].Shape[2] / Math.Max(1, y[1].Shape[1])),
            Vjp = (x, y, g, i) =>
            {
                if (!x[i].DType.IsFloat()) return null;
                var mask = x.Length > 1 && !x[1].DType.IsFloat() ? x[1] : null;
                var (_, pullback) = Diff.Vjp(inputs => Apart(mask is null ? inputs : [inputs[0], mask], heads, causal, scale, keep), mask is null ? x : x[..1]);
                return pullback(g)[i];
            },
            VjpInto = (x, y, g, dx) =>
            {
                var mask = Attentions.Target.Of(x.Length > 1 ? dx[1] : null);
                var (memory, fresh) = Attentions.Target.Of(dx[0]);
                var parts = Array.ConvertAll(new[] { 0, 1, 2 }, i => new Attentions.Target(memory is null ? null : Part(memory, i, 3, heads), fresh));
                Attentions.BackwardPlain(Inputs(x, heads), Outputs(y, heads), [Heads(g[0], heads), .. g[1..]], [.. parts, mask], causal, scale);
            },
            Sample = static draw =>
            {
                var (n, steps, heads, features) = (draw.Axis(), draw.Int(1, draw.Size), draw.Int(1, 3), draw.Int(1, Math.Min(3, draw.Size)));
                var (isCausal, factor, mask, keep) = (draw.Chance(0.4), draw.OneOf<double?>(null, null, 0.5, -0.3), draw.Int(0, 3), draw.Chance());
                var inputs = new List<Tensor> { draw.Tensor(Shape.Of(n, steps, 3 * heads * features), -1, 1) };
                var scores = Shape.Of(n, heads, steps, steps);
                if (mask == 1) inputs.Add(draw.Mask(scores));
                if (mask == 2) inputs.Add(draw.Tensor(scores));
                return new(With(heads, isCausal, factor, keep), [.. inputs])
                {
                    Attributes = FormattableString.Invariant($"heads = {heads}, causal = {(isCausal ? "true" : "false")}, scale = {(factor is { } f ? f : "none")}, mask = {(mask == 1 ? "allowed" : mask == 2 ? "added" : "none")}, keep = {(keep ? "true" : "false")}"),
                };
            },
        };

        private static Spec[] Check(Tensor[] x, int heads, bool keep)
        {
            const string op = "selfAttention";
            var (shape, dtype) = (x[0].Shape, x[0].DType);
            Shape.Float(op, x[0]);
            if (shape.Rank != 3 || shape[2] % (3 * heads) != 0)
                throw Shape.Refuse(op, "the features of [N, T, 3·E] must be queries, keys and values, each divided into the heads", $"{shape} and {heads} heads", "Correct the heads");
            var scores = Shape.Of(shape[0], heads, shape[1], shape[1]);
            if (x.Length > 1)
            {
                if (x[1].DType != DType.Bool) Shape.SameDType(op, x[0], x[1]);
                if (x[1].Shape != scores) throw Attentions.RefuseMask(x[1], scores);
            }
            Spec y = new(dtype, Shape.Of(shape[0], shape[1], shape[2] / 3)), lse = new(dtype, Shape.Of(shape[0], heads, shape[1]));
            return keep ? [y, lse, new(dtype, scores)] : [y, lse];
        }

        /// <summary>The same outputs by the operation on queries, keys and values apart, which is differentiable to any order.</summary>
        internal static Tensor[] Apart(Tensor[] x, int heads, bool causal, double? scale, bool keep)
        {
            var features = x[0].Shape[2] / 3;
            var parts = Array.ConvertAll(new[] { 0, 1, 2 }, i => x[0].Slice(2, i * features, (i + 1) * features).SplitHeads(heads));
            var y = Attentions.With(causal, scale, keep).Apply([.. parts, .. x[1..]]);
            return [y[0].MergeHeads(), .. y[1..]];
        }

        // ---- on plain tensors ----

        private static Tensor[] Inputs(Tensor[] x, int heads)
        {
            var all = x[0].Strides[2] == 1 ? x[0] : Pointwise.Contiguous(x[0]);
            return [Part(all, 0, 3, heads), Part(all, 1, 3, heads), Part(all, 2, 3, heads), .. x[1..]];
        }

        private static Tensor[] Outputs(Tensor[] y, int heads) => [Heads(y[0], heads), .. y[1..]];

        private static Tensor Heads(Tensor x, int heads) => Part(x.Strides[2] == 1 ? x : Pointwise.Contiguous(x), 0, 1, heads);

        /// <summary>One of several parts of [N, T, parts·h·d] as [N, h, T, d], where it lies.</summary>
        private static Tensor Part(Tensor x, int part, int parts, int heads)
        {
            var features = x.Shape[2] / parts / heads;
            return x.View(Shape.Of(x.Shape[0], heads, x.Shape[1], features), [x.Strides[0], features, x.Strides[1], 1], x.Offset + part * heads * features);
        }
    }
}
