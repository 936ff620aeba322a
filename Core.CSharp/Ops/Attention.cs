using Functional.Ops;

namespace Functional;

// Attention: each query takes a mean of the values, weighted by how well their keys match.
public sealed partial class Tensor
{
    /// <summary>softmax(scale·q·kᵀ)·v over the last two axes: q […, L, d], k […, S, d], v […, S, e] → […, L, e]; scale is 1/√d unless given
    /// (Vaswani et al. 2017, Attention is all you need). The mask […, L, S], broadcast, is true where a query may see a key, or a float that is added to the scores.
    /// With <paramref name="causal"/> query i sees the keys 0 … i. A query that may see no key gives zeros.</summary>
    public static Tensor Attention(Tensor q, Tensor k, Tensor v, Tensor? mask = null, bool causal = false, double? scale = null)
    {
        if (v.Rank < 2 || k.Rank < 2 || v.Shape[-2] != k.Shape[-2])
            throw Shape.Refuse("attention", "every key needs a value", $"keys {k.Shape} and values {v.Shape}", "Give as many of one as of the other");
        return AttentionWeights(q, k, mask, causal, scale).Matmul(v);
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
            var past = Triangle(q.Shape[-2], k.Shape[-2]);
            allowed = allowed is null ? past : allowed.And(past);
        }
        if (allowed is null) return scores.Softmax(-1);
        if (!allowed.Shape.BroadcastsTo(scores.Shape))
            throw Shape.Refuse(op, "the mask must broadcast to queries x keys", $"mask {allowed.Shape} for {scores.Shape}", "Reshape the mask");
        // A large negative score instead of −∞: where no key is allowed the weights stay numbers, which the product with the mask then makes zero.
        var weights = Where(allowed, scores, Hidden(q.DType)).Softmax(-1);
        return mask is null && q.Shape[-2] <= k.Shape[-2] ? weights : weights * allowed.Cast(q.DType);
    }

    private static double Hidden(DType dtype) => dtype == DType.Float32 ? -1e30 : -1e300;

    /// <summary>true where the column is not beyond the row.</summary>
    private static Tensor Triangle(int rows, int columns) =>
        Arange(0, rows).Unsqueeze(1).GreaterEqual(Arange(0, columns));

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
