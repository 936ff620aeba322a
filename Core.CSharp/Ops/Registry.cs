using System.Reflection;
using Functional.Autodiff;

namespace Functional.Ops;

/// <summary>All operations, found by reflection: every static field of type <see cref="Op"/> in this assembly that is not private. Nothing is registered
/// by hand, so nothing can be forgotten.</summary>
public static class Registry
{
    private static readonly Lazy<IReadOnlyList<Op>> Found = new(Find);

    /// <summary>The operations in the order of their names; one with attributes appears once, as its exemplar.</summary>
    public static IReadOnlyList<Op> All => Found.Value;

    /// <summary>The operation of that name.</summary>
    public static Op Named(string name) => All.FirstOrDefault(op => op.Name == name)
        ?? throw new KeyNotFoundException($"registry: an operation's name is needed; got '{name}'. Choose one of {string.Join(", ", All.Select(op => op.Name))}.");

    private static IReadOnlyList<Op> Find()
    {
        var found = new SortedDictionary<string, Op>(StringComparer.Ordinal);
        foreach (var type in typeof(Op).Assembly.GetTypes())
            if (type.Namespace is "Functional.Ops" or "Functional.Autodiff" && !type.ContainsGenericParameters)
                foreach (var field in type.GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic))
                    if (field.FieldType == typeof(Op) && !field.IsPrivate && field.GetValue(null) is Op op && !found.TryAdd(op.Name, op) && !ReferenceEquals(found[op.Name], op))
                        throw new InvalidOperationException($"registry: names must differ; got two operations '{op.Name}'. Rename the one in {type.Name}.");
        return [.. found.Values];
    }
}
