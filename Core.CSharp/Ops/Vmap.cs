using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // Many examples at once. It lives on this floor because it joins and reshapes tensors.
    public static partial class Diff
    {
        /// <summary>A function of one example as a function of many: the arguments have the examples along their first axis, and so have the results. Inside,
        /// tensors look like those of one example. It nests with itself and with every derivative: <c>Vmap(Grad(f))</c> gives a gradient per example.
        /// Operations take all examples at once; one without a rule for that (see the table of operations) takes them one by one.</summary>
        public static Func<Tensor[], Tensor[]> Vmap(Func<Tensor[], Tensor[]> f) => x => Vmap(f, new int?[x.Length].Select(_ => (int?)0).ToArray())(x);

        /// <summary>The same where argument i has its examples along <paramref name="axes"/>[i], or is the same for all examples where that is null.</summary>
        public static Func<Tensor[], Tensor[]> Vmap(Func<Tensor[], Tensor[]> f, params int?[] axes) => x =>
        {
            if (axes.Length != x.Length)
                throw Shape.Refuse("vmap", "one axis per argument is needed, or null", $"{axes.Length} axes and {x.Length} arguments", "Give them in the order of the arguments");
            int? examples = null;
            var arguments = new Tensor[x.Length];
            for (var i = 0; i < x.Length; i++)
            {
                arguments[i] = x[i];
                if (axes[i] is not { } named) continue;
                var axis = x[i].Shape.Axis("vmap", named);
                if ((examples ??= x[i].Shape[axis]) != x[i].Shape[axis])
                    throw Shape.Refuse("vmap", "all arguments must have equally many examples", $"{examples} and {x[i].Shape[axis]} along axis {axis} of {x[i].Shape}", "Slice one of them");
                if (axis != 0) arguments[i] = x[i].Permute([axis, .. Enumerable.Range(0, x[i].Rank).Where(a => a != axis)]);
            }
            if (examples is not { } count) throw Shape.Refuse("vmap", "at least one argument must have examples", $"{x.Length} arguments without", "Call the function itself");
            var level = new Vmapping(count);
            for (var i = 0; i < x.Length; i++)
                if (axes[i] is not null) arguments[i] = level.Lift(arguments[i]);
            var y = f(arguments);
            level.IsOpen = false;
            return Array.ConvertAll(y, t => level.WithExamples(level.Lower(t), level.IsMapped(t)));
        };

        /// <summary>A function of one example that is one tensor as a function of many.</summary>
        public static Func<Tensor, Tensor> Vmap(Func<Tensor, Tensor> f) => x => Vmap(t => [f(t[0])], 0)([x])[0];
    }
}

namespace Functional.Ops
{
    /// <summary>Many examples at once: a level whose values have one more axis than they show.</summary>
    internal sealed class Vmapping(int examples) : Level
    {
        private sealed class Mapped(Vmapping level, Tensor primal) : Traced(primal)
        {
            internal override Level Level => level;

            internal override string? Unreadable =>
                "vmap: the elements of this {0} tensor differ from example to example; got a request to read them. Choose with Tensor.Where instead of an if, or loop over the examples.";

            internal override void PromoteTo(Scope? scope) => Primal.PromoteTo(scope);
        }

        /// <summary>A stand-in for one example of x, which has them all along its first axis.</summary>
        internal Tensor Lift(Tensor x) => Tensor.WithTrace(Tensor.Meta(x.DType, Shape.Of(x.Shape.Sizes[1..])), new Mapped(this, x));

        internal bool IsMapped(Tensor x) => x.Trace is Mapped mapped && mapped.Level == this;

        /// <summary>A value one level down with the axis of the examples, which repeats what is the same for all.</summary>
        internal Tensor WithExamples(Tensor x, bool mapped) => mapped ? x : x.Unsqueeze(0).Expand([examples, .. x.Shape]);

        internal override Tensor[] Apply(Op op, Tensor[] x)
        {
            // Refusals are about one example.
            var specs = op.Forward is Forward.Composite ? [] : op.Shape(x);
            var (lower, mapped) = (Lower(x), Array.ConvertAll(x, IsMapped));
            var y = op.Batching switch
            {
                Batching.AsItIs => op.Apply(Expanded(lower, mapped, examples)),
                Batching.IntoFirstAxis => Folded(op, lower, mapped),
                Batching.By by => by.Rule(op, lower, mapped, examples),
                _ => null,
            } ?? OneByOne(op, lower, mapped, specs);
            return Array.ConvertAll(y, Lift);
        }

        private Tensor[] OneByOne(Op op, Tensor[] x, bool[] mapped, Spec[] specs)
        {
            if (examples == 0) return Array.ConvertAll(specs, s => Tensor.Zeros(Shape.Of([0, .. s.Shape]), s.DType));
            var each = new Tensor[examples][];
            for (var i = 0; i < examples; i++) each[i] = op.Apply([.. x.Select((t, j) => mapped[j] ? t.Select(0, i) : t)]);
            return [.. Enumerable.Range(0, each[0].Length).Select(j => Tensor.Stack(0, Array.ConvertAll(each, y => y[j])))];
        }

        // The examples of the first input go into its first axis; parameters must be the same for all.
        private Tensor[]? Folded(Op op, Tensor[] x, bool[] mapped)
        {
            if (!mapped[0] || mapped.Skip(1).Any(other => other) || x[0].Rank < 2 || x[0].Count == 0) return null;
            var rows = x[0].Shape[1];
            var y = op.Apply([x[0].Reshape([examples * rows, .. x[0].Shape.Sizes[2..]]), .. x[1..]]);
            return Array.ConvertAll(y, t => t.Reshape([examples, rows, .. t.Shape.Sizes[1..]]));
        }

        // ---- what rules are made of ----

        /// <summary>All inputs with the axis of the examples.</summary>
        internal static Tensor[] Expanded(Tensor[] x, bool[] mapped, int examples) =>
            [.. x.Select((t, i) => mapped[i] ? t : t.Unsqueeze(0).Expand([examples, .. t.Shape]))];

        /// <summary>The rule of an operation along one axis of all its inputs: the same, one axis further in.</summary>
        internal static Batching Along(int axis, Func<int, Op> make) =>
            new Batching.By((_, x, mapped, examples) => make(Shifted(axis)).Apply(Expanded(x, mapped, examples)));

        /// <summary>An axis of one example as an axis of them all.</summary>
        internal static int Shifted(int axis) => axis < 0 ? axis : axis + 1;

        /// <summary>Axes of an example of the given rank as axes of them all; where none means all, they are named.</summary>
        internal static int[] Shifted(int[] axes, int rank, bool all = true) =>
            axes.Length == 0 && all ? [.. Enumerable.Range(1, rank)] : Array.ConvertAll(axes, axis => axis < 0 ? axis + rank + 1 : axis + 1);
    }
}
