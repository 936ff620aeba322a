using System.Collections;
using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace Functional.Autodiff;

/// <summary>How values of one type are taken apart and put together again.</summary>
public sealed record Plan(Func<object, object?[]> Children, Func<object, object?[], object> Rebuild);

/// <summary>Trees of tensors as plain data: records, tuples, arrays, lists and dictionaries, nested at will. Whatever is no tensor is kept as it is.
/// Formats given by the caller, such as another language's own types, come before these.</summary>
public sealed class Structure(params Func<Type, Plan?>[] formats)
{
    private readonly ConcurrentDictionary<Type, Plan?> _plans = [];

    /// <summary>What every .NET language has.</summary>
    public static readonly Structure Default = new();

    /// <summary>The tensors in the tree, in the order of its parts.</summary>
    public Tensor[] Leaves<T>(T tree)
    {
        var leaves = new List<Tensor>();
        Collect(tree, leaves);
        if (leaves.Count == 0)
            throw new ArgumentException($"tree: at least one tensor is needed; got {typeof(T)} without any. Use a record, tuple, array, list or dictionary that holds tensors.");
        return [.. leaves];
    }

    /// <summary>The same tree with other tensors in place of its own, in the same order.</summary>
    public T Rebuild<T>(T tree, Tensor[] leaves)
    {
        var next = 0;
        var result = (T)Replace(tree, leaves, ref next)!;
        if (next != leaves.Length)
            throw new ArgumentException($"tree: as many tensors as leaves are needed; got {leaves.Length} tensors and {next} leaves. Give one per leaf.");
        return result;
    }

    private void Collect(object? node, List<Tensor> leaves)
    {
        if (node is Tensor tensor) leaves.Add(tensor);
        else if (node is not null && PlanOf(node.GetType()) is { } plan)
            foreach (var child in plan.Children(node))
                Collect(child, leaves);
    }

    private object? Replace(object? node, Tensor[] leaves, ref int next)
    {
        if (node is Tensor)
            return next < leaves.Length
                ? leaves[next++]
                : throw new ArgumentException($"tree: as many tensors as leaves are needed; got {leaves.Length} tensors and more leaves. Give one per leaf.");
        if (node is null || PlanOf(node.GetType()) is not { } plan) return node;
        var children = plan.Children(node);
        for (var i = 0; i < children.Length; i++) children[i] = Replace(children[i], leaves, ref next);
        return plan.Rebuild(node, children);
    }

    private Plan? PlanOf(Type type) => _plans.GetOrAdd(type, t =>
        formats.Select(format => format(t)).FirstOrDefault(plan => plan is not null) ?? ArrayPlan(t) ?? DictionaryPlan(t) ?? ListPlan(t) ?? RecordPlan(t));

    private static Plan? ArrayPlan(Type type) => !type.IsArray || type.GetArrayRank() != 1 || type.GetElementType()!.IsPrimitive
        ? null
        : new(a => [.. ((Array)a).Cast<object?>()], (a, children) =>
        {
            var result = Array.CreateInstance(type.GetElementType()!, children.Length);
            for (var i = 0; i < children.Length; i++) result.SetValue(children[i], i);
            return result;
        });

    private static Plan? ListPlan(Type type) =>
        !type.IsGenericType || type.GetGenericTypeDefinition() != typeof(List<>) ? null
        : new(l => [.. ((IList)l).Cast<object?>()], (_, children) =>
        {
            var result = (IList)Activator.CreateInstance(type)!;
            foreach (var child in children) result.Add(child);
            return result;
        });

    private static Plan? DictionaryPlan(Type type) =>
        !type.IsGenericType || type.GetGenericTypeDefinition() is var d && d != typeof(Dictionary<,>) && d != typeof(SortedDictionary<,>) ? null
        : new(m => [.. SortedKeys((IDictionary)m).Select(k => ((IDictionary)m)[k])], (m, children) =>
        {
            var result = (IDictionary)Activator.CreateInstance(type)!;
            var i = 0;
            foreach (var key in SortedKeys((IDictionary)m)) result.Add(key, children[i++]);
            return result;
        });

    // The order of leaves must not depend on the order of insertion.
    private static object[] SortedKeys(IDictionary map) => [.. map.Keys.Cast<object>().OrderBy(k => k as string ?? k.ToString(), StringComparer.Ordinal)];

    // A record or tuple: the widest constructor whose every parameter is a property or field of the same name.
    private static Plan? RecordPlan(Type type)
    {
        if (type.IsPrimitive || type.IsEnum || type == typeof(string) || typeof(Delegate).IsAssignableFrom(type)) return null;
        if (typeof(ITuple).IsAssignableFrom(type))
            return new(t =>
            {
                var tuple = (ITuple)t;
                var items = new object?[tuple.Length];
                for (var i = 0; i < items.Length; i++) items[i] = tuple[i];
                return items;
            }, (_, children) => MakeTuple(type, children, 0));
        const BindingFlags flags = BindingFlags.Public | BindingFlags.Instance | BindingFlags.IgnoreCase;
        foreach (var constructor in type.GetConstructors().OrderByDescending(c => c.GetParameters().Length))
        {
            var parameters = constructor.GetParameters();
            if (parameters.Length == 0) continue;
            var members = Array.ConvertAll(parameters, p => (MemberInfo?)type.GetProperty(p.Name!, flags) ?? type.GetField(p.Name!, flags));
            if (Array.TrueForAll(members, m => m is not null))
                return new(
                    o => Array.ConvertAll(members, m => m is PropertyInfo p ? p.GetValue(o) : ((FieldInfo)m!).GetValue(o)),
                    (_, children) => constructor.Invoke(children));
        }
        return null;
    }

    // Tuples of more than seven items nest the rest in the eighth.
    private static object MakeTuple(Type type, object?[] items, int from)
    {
        var parts = type.GetGenericArguments();
        var arguments = new object?[parts.Length];
        for (var i = 0; i < parts.Length; i++)
            arguments[i] = i == 7 ? MakeTuple(parts[7], items, from + 7) : items[from + i];
        return Activator.CreateInstance(type, arguments)!;
    }
}
