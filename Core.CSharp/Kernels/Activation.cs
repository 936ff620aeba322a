namespace Functional;

/// <summary>What a product's epilogue may apply to its result; each has a derivative that is a function of its output.</summary>
public enum Activation
{
    None,
    Relu,
    Tanh,
    Sigmoid,
}
