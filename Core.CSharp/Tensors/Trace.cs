namespace Functional;

/// <summary>What a differentiation remembers about a tensor. Opaque here: the floor above derives from it.</summary>
public abstract class Trace
{
    /// <summary>The value one level down.</summary>
    internal abstract Tensor Primal { get; }

    /// <summary>True of a value without data.</summary>
    internal virtual bool IsMeta => Primal.IsMeta;

    /// <summary>Why the elements of the traced tensor cannot be read and what to do instead, after a colon; null where they are those one level down.</summary>
    internal virtual string? Unreadable => null;

    /// <summary>Keeps everything the traced tensor stands for alive beyond the scopes inside <paramref name="scope"/>.</summary>
    internal abstract void PromoteTo(Scope? scope);
}
