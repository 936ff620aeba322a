using Functional.Autodiff;

namespace Functional;

/// <summary>Finding where a computation goes wrong.</summary>
public static class Debug
{
    /// <summary>Runs f and throws a <see cref="NonFiniteException"/> that names the first operation whose result is not finite.
    /// A gradient taken inside f is watched as well.</summary>
    public static Tensor[] Finite(Func<Tensor[], Tensor[]> f, params Tensor[] x)
    {
        var level = new Watchdog();
        var y = f(Array.ConvertAll(x, level.Watch));
        level.IsOpen = false;
        return Array.ConvertAll(y, level.Lower);
    }
}
