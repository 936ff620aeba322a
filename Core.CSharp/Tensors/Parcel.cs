namespace Functional;

/// <summary>Tensors that one thread makes for another. On the way their memory belongs to no scope, and then to the one in which they are opened;
/// of a parcel that nobody opens the collector takes care.</summary>
internal sealed class Parcel
{
    private readonly Tensor[] _tensors;
    private readonly List<Block> _blocks = [];

    private Parcel(Tensor[] tensors) => _tensors = tensors;

    /// <summary>Runs <paramref name="make"/> and packs what it gives. <paramref name="depth"/> is that of the scopes whose tensors it may use:
    /// they stay where they are, even when they are part of the result.</summary>
    internal static Parcel Pack(Func<Tensor[]> make, int depth)
    {
        var scope = Scope.Enter(depth);
        try
        {
            var parcel = new Parcel(make());
            foreach (var tensor in parcel._tensors)
            {
                if (tensor.Untraced.Block is not { } block || block.Owner != scope) continue;
                block.Owner = null;
                parcel._blocks.Add(block);
            }
            return parcel;
        }
        finally
        {
            scope.Exit();
        }
    }

    /// <summary>The tensors, whose memory the current scope gives back at its end.</summary>
    internal Tensor[] Open()
    {
        if (Scope.Current is { } scope)
            foreach (var block in _blocks)
                scope.Track(block);
        _blocks.Clear();
        return _tensors;
    }
}
