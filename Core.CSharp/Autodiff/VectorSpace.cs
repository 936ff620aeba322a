
using Functional.Kernels;

namespace Functional.Autodiff;

/// <summary>What differentiation itself needs of arithmetic: cotangents are vectors, and vectors are added.</summary>
internal static class VectorSpace
{
    private static readonly object Sum = default(AddF);

    /// <summary>z = x + y for equal shapes.</summary>
    internal static readonly Op Add = new()
    {
        Name = "add",
        Shape = static x =>
        {
            Shape.Number("add", x[0]);
            Shape.SameDType("add", x[0], x[1]);
            if (!ReferenceEquals(x[0].Shape, x[1].Shape) && x[0].Shape != x[1].Shape)
                throw Shape.Refuse("add", "shapes must agree", $"{x[0].Shape} and {x[1].Shape}", "Expand one of them");
            return [new(x[0].DType, x[0].Shape)];
        },
        Forward = new Forward.Into(static (x, y) => Pointwise.Add(x[0], x[1], y[0])),
        Vjp = static (_, _, g, _) => g[0],
        VjpInto = static (_, _, g, dx) =>
        {
            foreach (var slot in dx) slot?.Add(Add!, g[0]);
        },
        Jvp = static (x, _, dx) => [dx[0] is null ? dx[1]! : dx[1] is null ? dx[0]! : Add!.Call(dx[0]!, dx[1]!)],
        Reads = Reads.None,
        Batching = Batching.Whole,
        Body = static _ => Sum,
        Sample = static draw =>
        {
            var shape = draw.Shape();
            return new(Add!, draw.Tensor(shape), draw.Tensor(shape));
        },
    };

    internal static void AddInto(Tensor x, Tensor destination) => Pointwise.Accumulate(x, destination);

    internal static void CopyInto(Tensor x, Tensor destination) => Pointwise.Copy(x, destination);
}
