namespace Functional;

/// <summary>Gives blocks back at its end, unless they are part of the result. Scopes of a thread nest; a differentiation
/// is one, and <c>Memory.Tidy</c> makes one by hand.</summary>
internal sealed class Scope
{
    [ThreadStatic] private static Scope? _current;
    [ThreadStatic] private static Scope? _idle;

    private Block?[] _blocks = new Block?[64];
    private int _count;
    private Scope? _parent;

    /// <summary>0 outside of all scopes.</summary>
    internal int Depth { get; private set; }

    internal static Scope? Current => _current;

    /// <summary>Begins a scope inside of this thread's and of <paramref name="depth"/> scopes of another.</summary>
    internal static Scope Enter(int depth = 0)
    {
        var scope = _idle ?? new Scope();
        _idle = null;
        scope._parent = _current;
        scope.Depth = Math.Max(depth, _current?.Depth ?? 0) + 1;
        _current = scope;
        return scope;
    }

    internal void Track(Block block)
    {
        block.Owner = this;
        if (_count == _blocks.Length) Compact();
        _blocks[_count++] = block;
    }

    // Blocks that were given back early leave stale entries; drop them before growing.
    private void Compact()
    {
        var live = 0;
        for (var i = 0; i < _count; i++)
            if (_blocks[i]!.Owner == this)
                _blocks[live++] = _blocks[i];
        Array.Clear(_blocks, live, _count - live);
        _count = live;
        if (live > _blocks.Length / 2) Array.Resize(ref _blocks, 2 * _blocks.Length);
    }

    /// <summary>Hands a block of this scope or of one inside it to the scope <paramref name="to"/> further out (null: to the collector).</summary>
    internal static void Promote(Block block, Scope? to)
    {
        if (block.Owner is not { } owner || owner == to || owner.Depth <= (to?.Depth ?? 0)) return;
        if (to is null) block.Owner = null;
        else to.Track(block);
    }

    /// <summary>Keeps the memory of a result beyond this scope's end.</summary>
    internal void Keep(Tensor tensor) => tensor.PromoteTo(_parent);

    internal void Exit()
    {
        _current = _parent;
        for (var i = 0; i < _count; i++)
        {
            var block = _blocks[i]!;
            _blocks[i] = null;
            if (block.Owner == this) Pool.Return(block);
        }
        _count = 0;
        _parent = null;
        if (_blocks.Length <= 4096) _idle = this;
    }
}

/// <summary>Memory by hand, where a loop makes many tensors outside of any differentiation.</summary>
public static class Memory
{
    /// <summary>Runs <paramref name="f"/> and gives the memory of every tensor made in it back at once, except for its result.
    /// A tensor smuggled out in another way raises an error when it is touched.</summary>
    public static Tensor Tidy(Func<Tensor> f)
    {
        var scope = Scope.Enter();
        try
        {
            var result = f();
            scope.Keep(result);
            return result;
        }
        finally
        {
            scope.Exit();
        }
    }

    /// <summary>The same for a function with several results.</summary>
    public static Tensor[] Tidy(Func<Tensor[]> f)
    {
        var scope = Scope.Enter();
        try
        {
            var results = f();
            foreach (var result in results) scope.Keep(result);
            return results;
        }
        finally
        {
            scope.Exit();
        }
    }

    /// <summary>The same for an action that has no result.</summary>
    public static void Tidy(Action action)
    {
        var scope = Scope.Enter();
        try
        {
            action();
        }
        finally
        {
            scope.Exit();
        }
    }

    /// <summary>Bytes of tensor memory taken from the system so far.</summary>
    public static long SystemBytes => Pool.SystemBytes;

    /// <summary>Gives free tensor memory back to the system.</summary>
    public static void Trim() => Pool.Trim();
}
