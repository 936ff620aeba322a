using Functional.Autodiff;

namespace Functional.Ops;

/// <summary>The triangles of matrices.</summary>
public static unsafe class Triangles
{
    public static readonly Op Lower = Keep(lower: true, 0);

    public static readonly Op Upper = Keep(lower: false, 0);

    /// <summary>Keeps element (i, j) of the last two axes where j − i ≤ diagonal (lower) or ≥ diagonal (upper); the rest is 0, whatever it was.</summary>
    internal static Op Keep(bool lower, int diagonal)
    {
        var name = lower ? "tril" : "triu";
        Op? op = null;
        return op = new()
        {
            Name = name,
            Shape = x =>
            {
                if (x[0].Rank < 2) throw Shape.Refuse(name, "two axes are needed", x[0].Shape.ToString(), "Reshape to a matrix");
                return [new(x[0].DType, x[0].Shape)];
            },
            Forward = new Forward.Into((x, y) =>
            {
                Pointwise.Copy(x[0], y[0]);
                Clear(y[0], lower, diagonal);
            }),
            Vjp = (_, _, g, _) => op!.Call(g[0]),
            Jvp = (_, _, dx) => [op!.Call(dx[0]!)],
            Reads = Reads.None,
            Batching = Batching.Whole,
            Sample = draw =>
            {
                var k = draw.Int(-2, 2);
                return new(Keep(lower, k), draw.Tensor(draw.Shape(2, 3, empty: true))) { Attributes = $"diagonal = {k}" };
            },
        };
    }

    private static void Clear(Tensor y, bool lower, int diagonal)
    {
        if (y.Count == 0) return;
        nint rows = y.Shape[-2], columns = y.Shape[-1], size = y.DType.Size();
        // A fresh tensor starts at its block's first byte, whatever the type.
        var p = y.Pointer<byte>();
        for (nint row = 0; row < (nint)y.Count / columns; row++)
        {
            var edge = row % rows + diagonal;
            var (from, to) = lower ? (edge + 1, columns) : (0, edge);
            from = Math.Clamp(from, 0, columns);
            to = Math.Clamp(to, 0, columns);
            if (from < to) new Span<byte>(p + (row * columns + from) * size, (int)((to - from) * size)).Clear();
        }
    }
}
