namespace Functional.Autodiff;

/// <summary>Counts the floating-point operations of products, convolutions and recurrences without running them: a multiplication and an addition are two.
/// What else a program does is small beside these and does not count.</summary>
public static class Flop
{
    [ThreadStatic]
    private static long _counted;

    /// <summary>What a program would cost, from what it does with tensors that are shapes only (<see cref="Tensor.Meta"/>).</summary>
    public static long Count(Action program)
    {
        var before = _counted;
        program();
        return _counted - before;
    }

    internal static void Add(long flop) => _counted += flop;
}
