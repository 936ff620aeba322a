using Functional.Autodiff;

namespace Functional;

// The same derivatives for functions of any tree of tensors: records, tuples, arrays, lists, dictionaries. The gradient has the argument's type.
public static partial class Diff
{
    /// <summary>The function that gives f's value and its gradient, a tree like the argument.</summary>
    public static Func<T, (Tensor Value, T Gradient)> ValueAndGrad<T>(Func<T, Tensor> f) => tree =>
    {
        var (value, gradients) = ValueAndGrad(leaves => f(Structure.Default.Rebuild(tree, leaves)), Structure.Default.Leaves(tree));
        return (value, Structure.Default.Rebuild(tree, gradients));
    };

    /// <summary>The gradient of f, a tree like the argument.</summary>
    public static Func<T, T> Grad<T>(Func<T, Tensor> f) => tree => ValueAndGrad(f)(tree).Gradient;

    /// <summary>The derivative of f along a direction of the argument's type.</summary>
    public static (Tensor Value, Tensor Tangent) Jvp<T>(Func<T, Tensor> f, T tree, T direction)
    {
        var (value, tangent) = Jvp(leaves => [f(Structure.Default.Rebuild(tree, leaves))], Structure.Default.Leaves(tree), Structure.Default.Leaves(direction));
        return (value[0], tangent[0]);
    }

    /// <summary>The Hessian of f times a direction of the argument's type.</summary>
    public static T Hvp<T>(Func<T, Tensor> f, T tree, T direction) =>
        Structure.Default.Rebuild(tree, Hvp(leaves => f(Structure.Default.Rebuild(tree, leaves)), Structure.Default.Leaves(tree), Structure.Default.Leaves(direction)));
}
