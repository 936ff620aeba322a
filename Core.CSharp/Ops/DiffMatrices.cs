namespace Functional;

// Derivatives as matrices. They live on this floor because they join and reshape tensors.
public static partial class Diff
{
    /// <summary>All first derivatives of f at x: entry [i][j] is ∂yᵢ/∂xⱼ of shape yᵢ.Shape + xⱼ.Shape. Goes backward when the outputs have fewer elements
    /// than the inputs, else forward.</summary>
    public static Tensor[][] Jacobian(Func<Tensor[], Tensor[]> f, params Tensor[] x)
    {
        var (y, pullback) = Vjp(f, x);
        foreach (var output in y)
            if (!output.DType.IsFloat())
                throw Shape.Refuse("jacobian", "the function must give float tensors", output.Describe(), "Leave discrete results out");
        return y.Sum(t => t.Count) <= x.Sum(t => t.Count) ? ByRows(y, x, pullback) : ByColumns(f, y, x);
    }

    /// <summary>The Jacobian of a function of one tensor, of shape y.Shape + x.Shape.</summary>
    public static Func<Tensor, Tensor> Jacobian(Func<Tensor, Tensor> f) => x => Jacobian(t => [f(t[0])], x)[0][0];

    /// <summary>All second derivatives of a scalar function: entry [i][j] is ∂²f/∂xᵢ∂xⱼ of shape xᵢ.Shape + xⱼ.Shape.</summary>
    public static Tensor[][] Hessian(Func<Tensor[], Tensor> f, params Tensor[] x) => Jacobian(Grad(f), x);

    /// <summary>The Hessian of a scalar function of one tensor, of shape x.Shape + x.Shape.</summary>
    public static Func<Tensor, Tensor> Hessian(Func<Tensor, Tensor> f) => Jacobian(Grad(f));

    // One backward walk per output element.
    private static Tensor[][] ByRows(Tensor[] y, Tensor[] x, Func<Tensor[], Tensor[]> pullback)
    {
        var zeros = Array.ConvertAll(y, ZerosLike);
        var jacobian = new Tensor[y.Length][];
        for (var i = 0; i < y.Length; i++)
        {
            var rows = new List<Tensor[]>();
            for (var element = 0; element < y[i].Count; element++)
            {
                var g = (Tensor[])zeros.Clone();
                g[i] = Basis(y[i], element);
                rows.Add(pullback(g));
            }
            jacobian[i] = new Tensor[x.Length];
            for (var j = 0; j < x.Length; j++)
                jacobian[i][j] = Assemble([.. rows.Select(r => r[j])], 0, y[i], x[j]).Reshape([.. y[i].Shape, .. x[j].Shape]);
        }
        return jacobian;
    }

    // One forward sweep per input element.
    private static Tensor[][] ByColumns(Func<Tensor[], Tensor[]> f, Tensor[] y, Tensor[] x)
    {
        var zeros = Array.ConvertAll(x, ZerosLike);
        var jacobian = Array.ConvertAll(y, _ => new Tensor[x.Length]);
        for (var j = 0; j < x.Length; j++)
        {
            var columns = new List<Tensor[]>();
            for (var element = 0; element < x[j].Count; element++)
            {
                var direction = (Tensor[])zeros.Clone();
                direction[j] = Basis(x[j], element);
                columns.Add(Jvp(f, x, direction).Tangent);
            }
            for (var i = 0; i < y.Length; i++)
                jacobian[i][j] = Assemble([.. columns.Select(c => c[i])], -1, x[j], y[i]).Reshape([.. y[i].Shape, .. x[j].Shape]);
        }
        return jacobian;
    }

    private static Tensor Assemble(Tensor[] slices, int axis, Tensor over, Tensor each) =>
        slices.Length > 0 ? Tensor.Stack(axis, slices) : Tensor.Zeros(Shape.Of([.. over.Shape, .. each.Shape]), each.DType);

    private static Tensor Basis(Tensor like, int element)
    {
        if (like.IsMeta) return Tensor.Meta(like.DType, like.Shape);
        var values = new double[like.Count];
        values[element] = 1;
        return Tensor.FromDoubles(values, like.Shape, like.DType);
    }

    private static Tensor ZerosLike(Tensor x) => Autodiff.Level.ZerosLike(x);
}
