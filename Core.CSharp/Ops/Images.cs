using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Images that each go their own way, as data augmentation moves them.
    public sealed partial class Tensor
    {
        /// <summary>Each image of [N, C, H, W] moved by whole numbers of pixels: y[n, c, i, j] = x[n, c, i + a, j + b] with (a, b, m) = moves[n, :],
        /// or x[n, c, i + a, b − j] where m is not 0, so that (0, W − 1, 1) mirrors; zero outside of the image. The moves are integers [N, 3].</summary>
        public Tensor MoveImages(Tensor moves) => Ops.Images.MoveBy(back: false).Call(this, moves);
    }
}

namespace Functional.Ops
{
    /// <summary>Images moved and mirrored, each in its own way.</summary>
    public static unsafe class Images
    {
        public static readonly Op Move = MoveBy(back: false);

        /// <summary>The move by whole pixels, or <paramref name="back"/>, which is its adjoint: what leaves the image is lost either way.</summary>
        internal static Op MoveBy(bool back)
        {
            Op? op = null;
            return op = new()
            {
                Name = "moveImages",
                Shape = x =>
                {
                    Reductions.NotBool("moveImages", x[0]);
                    Shape.Integer("moveImages", x[1]);
                    if (x[0].Rank != 4)
                        throw Shape.Refuse("moveImages", "images [N, C, H, W] are needed", $"{x[0].Shape}", "Reshape them");
                    if (x[1].Shape != Shape.Of(x[0].Shape[0], 3))
                        throw Shape.Refuse("moveImages", "every image needs three numbers: down, right, mirrored", $"{x[1].Shape} for {x[0].Shape}", $"Give moves [{x[0].Shape[0]}, 3]");
                    return [new(x[0].DType, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    var (images, moves) = (Pointwise.Contiguous(x[0]), Pointwise.Contiguous(Reducing.Converted(x[1], DType.Int64)));
                    var shape = images.Shape;
                    if (images.DType.Size() == 4)
                        Kernels.Images.Move(shape[0], shape[1], shape[2], shape[3], images.Pointer<int>(), moves.Pointer<long>(), back, y[0].Pointer<int>());
                    else
                        Kernels.Images.Move(shape[0], shape[1], shape[2], shape[3], images.Pointer<long>(), moves.Pointer<long>(), back, y[0].Pointer<long>());
                    GC.KeepAlive(images);
                    GC.KeepAlive(moves);
                }),
                Vjp = (x, _, g, i) => i == 0 ? MoveBy(!back).Call(g[0], x[1]) : null,
                Jvp = (x, _, dx) => [op!.Call(dx[0]!, x[1])],
                Reads = Reads.Inputs,
                Sample = static draw =>
                {
                    var shape = draw.Shape(4, 4, empty: true);
                    var moves = new double[3 * shape[0]];
                    for (var i = 0; i < moves.Length; i += 3)
                    {
                        moves[i] = draw.Int(-shape[2], shape[2]);
                        moves[i + 1] = draw.Int(-shape[3], 2 * shape[3]);
                        moves[i + 2] = draw.Int(0, 1);
                    }
                    var back = draw.Chance();
                    var places = Tensor.FromDoubles(moves, Shape.Of(shape[0], 3), draw.OneOf(DType.Int32, DType.Int64));
                    return new(MoveBy(back), draw.Tensor(shape), places) { Attributes = $"back = {(back ? "true" : "false")}" };
                },
            };
        }
    }
}
