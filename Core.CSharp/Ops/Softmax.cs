using System.Numerics;
using Functional.Autodiff;
using Functional.Kernels;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>eˣ/Σeˣ along an axis.</summary>
        public Tensor Softmax(int axis = -1) => Ops.Softmax.Along(axis, logarithm: false).Call(this);

        /// <summary>x − ln Σeˣ along an axis, the logarithm of softmax.</summary>
        public Tensor LogSoftmax(int axis = -1) => Ops.Softmax.Along(axis, logarithm: true).Call(this);
    }
}

namespace Functional.Ops
{
    /// <summary>Softmax and its logarithm.</summary>
    public static unsafe class Softmax
    {
        public static readonly Op Plain = Along(-1, logarithm: false);

        public static readonly Op Logarithm = Along(-1, logarithm: true);

        /// <summary>Softmax, or its logarithm, along an axis.</summary>
        public static Op Along(int axis, bool logarithm)
        {
            var name = logarithm ? "logSoftmax" : "softmax";
            return new()
            {
                Name = name,
                Batching = Vmapping.Along(axis, a => Along(a, logarithm)),
                Shape = x =>
                {
                    Shape.Float(name, x[0]);
                    x[0].Shape.Axis(name, axis);
                    return [new(x[0].DType, x[0].Shape)];
                },
                Forward = new Forward.Into((x, y) =>
                {
                    if (x[0].DType == DType.Float32) Forward<float>(x[0], y[0], axis, logarithm);
                    else Forward<double>(x[0], y[0], axis, logarithm);
                }),
                Vjp = (_, y, g, _) => logarithm
                    ? g[0] - y[0].Exp() * g[0].Sum([axis], keepAxes: true)
                    : y[0] * (g[0] - (g[0] * y[0]).Sum([axis], keepAxes: true)),
                VjpInto = (_, y, g, dx) =>
                {
                    if (dx[0] is not { } slot) return;
                    if (y[0].DType == DType.Float32) Backward<float>(y[0], g[0], slot, axis, logarithm);
                    else Backward<double>(y[0], g[0], slot, axis, logarithm);
                },
                Jvp = (_, y, dx) => [logarithm
                    ? dx[0]! - (y[0].Exp() * dx[0]!).Sum([axis], keepAxes: true)
                    : y[0] * (dx[0]! - (y[0] * dx[0]!).Sum([axis], keepAxes: true))],
                Reads = Reads.Outputs,
                Sample = draw =>
                {
                    var shape = draw.Shape(1, 3, empty: true);
                    var a = AxisSet.DrawOne(draw, shape);
                    return new(Along(a, logarithm), draw.Tensor(shape)) { Attributes = $"axis = {a}" };
                },
            };
        }

        private static void Forward<T>(Tensor x, Tensor y, int axis, bool logarithm) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (outer, n, inner) = Around(x.Shape, axis);
            x = Pointwise.Contiguous(x);
            Rowwise.Softmax(outer, n, inner, x.Pointer<T>(), y.Pointer<T>(), logarithm);
            GC.KeepAlive(x);
        }

        private static void Backward<T>(Tensor y, Tensor g, Slot slot, int axis, bool logarithm) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        {
            var (outer, n, inner) = Around(y.Shape, axis);
            (y, g) = (Pointwise.Contiguous(y), Pointwise.Contiguous(g));
            var dx = slot.Open(out var accumulate).Pointer<T>();
            if (logarithm) Rowwise.LogSoftmaxBackward(outer, n, inner, y.Pointer<T>(), g.Pointer<T>(), dx, accumulate);
            else Rowwise.SoftmaxBackward(outer, n, inner, y.Pointer<T>(), g.Pointer<T>(), dx, accumulate);
            GC.KeepAlive(y);
            GC.KeepAlive(g);
        }

        /// <summary>A contiguous array as [outer, n, inner] around an axis of size n.</summary>
        internal static (nint Outer, nint N, nint Inner) Around(Shape shape, int axis)
        {
            if (axis < 0) axis += shape.Rank;
            nint outer = 1, inner = 1;
            for (var i = 0; i < axis; i++) outer *= shape[i];
            for (var i = axis + 1; i < shape.Rank; i++) inner *= shape[i];
            return (outer, shape[axis], inner);
        }
    }
}
