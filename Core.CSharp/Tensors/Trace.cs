namespace Functional;

/// <summary>What a differentiation remembers about a tensor. Opaque here: the floor above derives from it.</summary>
public abstract class Trace
{
    /// <summary>The value one level down.</summary>
    internal abstract Tensor Primal { get; }

    /// <summary>Whether the elements one level down are those of the traced tensor.</summary>
    internal virtual bool HasElements => true;

    /// <summary>Keeps everything the traced tensor stands for alive beyond the scopes inside <paramref name="scope"/>.</summary>
    internal abstract void PromoteTo(Scope? scope);
}
