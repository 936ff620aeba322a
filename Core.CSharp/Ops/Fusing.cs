using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    // One pass over memory for what would be many.
    public static partial class Diff
    {
        /// <summary>The same function in fewer passes over memory: elementwise operations that follow one another become one loop, compiled at the first call, which reads its
        /// inputs once, keeps what lies between in registers and writes its outputs once; so does their derivative. Anything else in f – a product, a reduction,
        /// a view – runs as it is between the loops. The values are those of f, and so are all derivatives, in every mode and order; f runs at every call,
        /// on tensors that know their shape but not their elements, so what it closes over may change. Where no code can be made at run time, and where vectors are narrower than
        /// 256 bits, the operations run one by one.</summary>
        public static Func<Tensor[], Tensor[]> Fuse(Func<Tensor[], Tensor[]> f) => x => Fusing.Apply(f, x);

        /// <summary>A function of one tensor in fewer passes over memory.</summary>
        public static Func<Tensor, Tensor> Fuse(Func<Tensor, Tensor> f) => x => Fusing.Apply(t => [f(t[0])], [x])[0];

        /// <summary>A function of two tensors in fewer passes over memory.</summary>
        public static Func<Tensor, Tensor, Tensor> Fuse(Func<Tensor, Tensor, Tensor> f) => (x, y) => Fusing.Apply(t => [f(t[0], t[1])], [x, y])[0];

        /// <summary>A function of three tensors in fewer passes over memory.</summary>
        public static Func<Tensor, Tensor, Tensor, Tensor> Fuse(Func<Tensor, Tensor, Tensor, Tensor> f) =>
            (x, y, z) => Fusing.Apply(t => [f(t[0], t[1], t[2])], [x, y, z])[0];
    }
}

namespace Functional.Ops
{
    /// <summary>A level that puts elementwise operations off until something needs their elements, and then computes all that led there as one.</summary>
    internal sealed class Fusing : Level
    {
        /// <summary>Operations of one result in one loop: more do not get faster together, and take long to compile. Their inputs are fewer than a loop may have.</summary>
        private const int MostTerms = 60;

        // What a stand-in points to: it has a dtype and a shape, and its elements are never read.
        private static readonly Tensor[] Blank = Array.ConvertAll(Enum.GetValues<DType>(), MakeBlank);

        private static Tensor MakeBlank(DType dtype)
        {
            var blank = Tensor.Constant(Shape.Of(), 0, dtype);
            blank.PromoteTo(null);
            return blank;
        }

        /// <summary>A value: known, or an operation of others of its shape. Lane is the dtype that a loop computes it in.</summary>
        private sealed class Node(DType dtype, Shape shape, DType lane, Op? op, object? body, Node[] operands)
        {
            internal DType DType => dtype;

            internal Shape Shape => shape;

            internal DType Lane => lane;

            internal Op? Op => op;

            internal object? Body => body;

            internal Node[] Operands => operands;

            internal Tensor? Value { get; set; }

            /// <summary>No fewer than the operations that lead here from what is known.</summary>
            internal int Weight { get; init; }

            // Where it stands in the graph that was put together last.
            internal Graph? Graph { get; set; }

            internal int Index { get; set; }
        }

        private sealed class Pending(Fusing level, Tensor blank, Node node) : Traced(blank)
        {
            internal override Level Level => level;

            internal Node Node => node;

            internal override string? Unreadable =>
                "fuse: the elements of this {0} tensor are not computed before the function returns; got a request to read them. Choose with Tensor.Where instead of an if, or read them outside.";

            // What is known belongs to the level's scope already, for whatever is computed of it later.
            internal override void PromoteTo(Scope? scope) { }
        }

        /// <summary>f of x with its elementwise operations fused.</summary>
        internal static Tensor[] Apply(Func<Tensor[], Tensor[]> f, Tensor[] x)
        {
            if (!Kernels.FusedLoop<float>.Available || Array.Exists(x, t => t.IsMeta)) return f(x);
            var level = new Fusing();
            var y = level.Run(f, x);
            if (y.Length > 1) level.Compute([.. y.Select(level.PendingNode).OfType<Node>()]);
            for (var i = 0; i < y.Length; i++) y[i] = level.Force(y[i]);
            return y;
        }

        /// <summary>The stand-ins that f gives for stand-ins of x.</summary>
        private Tensor[] Run(Func<Tensor[], Tensor[]> f, Tensor[] x)
        {
            var arguments = new Tensor[x.Length];
            for (var i = 0; i < x.Length; i++) arguments[i] = StandIn(Known(x[i]));
            Tensor[] y = [.. f(arguments)];
            IsOpen = false;
            return y;
        }

        private Tensor? _blank;

        // Whether anything was computed before f returned.
        private bool _computed;

        private readonly Scope? _scope = Scope.Current;

        private Node Known(Tensor value)
        {
            value.PromoteTo(_scope);
            return new(value.DType, value.Shape, value.DType, null, null, []) { Value = value };
        }

        // A scope inside f may have ended before the value is used.
        private void Know(Node node, Tensor value)
        {
            value.PromoteTo(_scope);
            node.Value = value;
        }

        private Tensor StandIn(Node node)
        {
            // Most values of a function are alike.
            if (_blank is null || _blank.DType != node.DType || !ReferenceEquals(_blank.Shape, node.Shape))
                _blank = Blank[(int)node.DType].View(node.Shape, new nint[node.Shape.Rank], 0);
            return Tensor.WithTrace(_blank, new Pending(this, _blank, node));
        }

        private Node? PendingNode(Tensor t) => t.Trace is Pending pending && pending.Level == this ? pending.Node : null;

        private Tensor Force(Tensor t)
        {
            if (PendingNode(t) is not { } node) return t;
            if (node.Value is null) Compute(node.Lane, [node]);
            return node.Value!;
        }

        internal override Tensor[] Apply(Op op, Tensor[] x)
        {
            if (op.Body is { } bodyFor && bodyFor(x) is { } body)
            {
                var spec = op.Shape(x)[0];
                if (LaneOf(x, spec.DType) is { } lane)
                {
                    var operands = new Node[x.Length];
                    for (var i = 0; i < x.Length; i++) operands[i] = Operand(x[i], lane);
                    return [StandIn(new(spec.DType, spec.Shape, lane, op, body, operands) { Weight = 1 + Weigh(operands) })];
                }
            }
            _computed = true;
            return Array.ConvertAll(op.Apply(Array.ConvertAll(x, Force)), t => StandIn(Known(t)));
        }

        // The operations that an operation of these operands waits for; they are computed where they are too many for a loop.
        private int Weigh(Node[] operands)
        {
            // Those on several paths count as often, until that makes a difference.
            var weight = 0;
            foreach (var operand in operands)
                if (operand.Value is null) weight += operand.Weight;
            if (weight < MostTerms) return weight;
            var seen = new HashSet<Node>();
            foreach (var operand in operands) Visit(operand);
            if (seen.Count < MostTerms) return seen.Count;
            _computed = true;
            Compute(operands);
            return 0;

            void Visit(Node node)
            {
                if (node.Value is not null || !seen.Add(node)) return;
                foreach (var operand in node.Operands) Visit(operand);
            }
        }

        // The float dtype that an operation computes in, between booleans that of what made them; null where there are integers, or two widths.
        private DType? LaneOf(Tensor[] x, DType result)
        {
            DType? lane = result == DType.Bool ? null : result;
            foreach (var t in x)
                if (t.DType != DType.Bool)
                {
                    if (lane is { } other && other != t.DType) return null;
                    lane = t.DType;
                }
            if (lane is { } found) return found.IsFloat() ? found : null;
            return x.Select(PendingNode).FirstOrDefault(n => n is { Value: null })?.Lane ?? DType.Float32;
        }

        private Node Operand(Tensor t, DType lane)
        {
            if (PendingNode(t) is not { } node) return Known(t);
            // Booleans of the other width have lanes of the other width: they go through memory.
            if (node.Value is null && node.Lane != lane)
            {
                _computed = true;
                Compute(node.Lane, [node]);
            }
            return node;
        }

        private void Compute(Node[] nodes)
        {
            foreach (var group in nodes.Where(n => n.Value is null).Distinct().GroupBy(n => (n.Lane, n.Shape))) Compute(group.Key.Lane, [.. group]);
        }

        // The values of nodes of one shape and lane, as one expression of what is known.
        private void Compute(DType lane, Node[] roots)
        {
            var graph = new Graph(roots);
            if (roots.Length > 1 && graph.IsLarge)
                foreach (var root in roots) Compute(lane, [root]);
            else if (graph.Order is [var only]) Know(only, only.Op!.Call(Array.ConvertAll(only.Operands, o => o.Value!)));
            else
            {
                var y = graph.Express(lane, roots).Op.Apply(graph.Inputs.ConvertAll(n => n.Value!).ToArray());
                for (var i = 0; i < roots.Length; i++) Know(roots[i], y[i]);
            }
        }

        /// <summary>What some values are made of: what is known, and the operations in an order in which they can run.</summary>
        private sealed class Graph
        {
            internal List<Node> Inputs { get; } = [];

            internal List<Node> Order { get; } = [];

            internal Graph(Node[] roots)
            {
                foreach (var root in roots) Visit(root);
            }

            internal bool IsLarge => Inputs.Count > Kernels.FusedLoop<float>.MostInputs || Order.Count > 2 * MostTerms;

            private void Visit(Node node)
            {
                if (node.Graph == this) return;
                if (node.Value is { } value)
                {
                    // A tensor that is closed over comes as another node each time it is used.
                    var index = Inputs.FindIndex(n => ReferenceEquals(n.Value, value));
                    if (index < 0)
                    {
                        index = Inputs.Count;
                        Inputs.Add(node);
                    }
                    Place(node, index);
                    return;
                }
                foreach (var operand in node.Operands) Visit(operand);
                Place(node, Order.Count);
                Order.Add(node);
            }

            private void Place(Node node, int index) => (node.Graph, node.Index) = (this, index);

            /// <summary>The number of a value in an expression, inputs first.</summary>
            private int IndexOf(Node node) => node.Value is null ? Inputs.Count + node.Index : node.Index;

            internal Expression Express(DType lane, Node[] roots) => Expression.Of(lane, Inputs.ConvertAll(n => n.DType).ToArray(),
                Order.ConvertAll(n => new Term(n.Op!, n.Body!, Array.ConvertAll(n.Operands, IndexOf), n.DType)).ToArray(), Array.ConvertAll(roots, IndexOf));
        }

        // ---- functions that are one expression ----

        /// <summary>What f makes of x as one expression for arguments of any one shape; null where there is more in f than one loop.</summary>
        internal static Plan? PlanOf(Func<Tensor[], Tensor[]> f, Tensor[] x)
        {
            var level = new Fusing();
            // Tensors of their own, so that one that is two arguments stays two.
            var arguments = Array.ConvertAll(x, t => t.View(t.Shape, t.Strides, t.Offset));
            var results = Array.ConvertAll(level.Run(f, arguments), t => level.PendingNode(t) ?? level.Known(t));
            var roots = results.Where(n => n.Value is null).Distinct().ToArray();
            var graph = new Graph(roots);
            if (level._computed || graph.IsLarge || Array.Exists(roots, r => r.Lane != roots[0].Lane)) return null;
            var values = new List<Tensor>(arguments);
            var inputs = graph.Inputs.ConvertAll(n => Position(n.Value!));
            var direct = Array.ConvertAll(results, n => n.Value is { } value ? Position(value) : -1);
            if (inputs.Contains(-1) || results.Where((n, i) => n.Value is not null && direct[i] < 0).Any()) return null;
            for (var i = 0; i < results.Length; i++)
                if (direct[i] < 0) direct[i] = values.Count + Array.IndexOf(roots, results[i]);
            var constants = values.GetRange(x.Length, values.Count - x.Length).ConvertAll(c => c.View(Shape.Scalar, [], c.Offset));
            // They outlive the differentiation in which they were made.
            foreach (var constant in constants) constant.PromoteTo(null);
            return new(roots.Length > 0 ? graph.Express(roots[0].Lane, roots) : null, [.. inputs], direct, [.. constants]);

            // The place of a value among arguments and constants, to which it is added; -1 where it is neither.
            int Position(Tensor value)
            {
                var at = values.FindIndex(v => ReferenceEquals(v, value));
                if (at >= 0) return at;
                if (value.Trace is not null || value.Block is null || Array.Exists(value.Strides, s => s != 0)) return -1;
                values.Add(value);
                return values.Count - 1;
            }
        }
    }

    /// <summary>A function as an expression of its arguments and some numbers. Inputs of the expression and results of the function are places in the list
    /// of arguments, constants and the expression's outputs.</summary>
    internal sealed class Plan(Expression? expression, int[] inputs, int[] results, Tensor[] constants)
    {
        /// <summary>Puts the results for plain arguments of one shape into slots, each as a contribution of <paramref name="op"/>.</summary>
        internal void Run(Op op, Tensor[] arguments, Slot[] slots)
        {
            var shape = arguments[0].Shape;
            var known = arguments.Length + constants.Length;
            var outputs = new Tensor[expression?.Count ?? 0];
            var added = new List<(Slot Slot, Tensor Contribution)>();
            for (var i = 0; i < results.Length; i++)
            {
                if (results[i] < known) slots[i].Add(op, Value(results[i]));
                else if (outputs[results[i] - known] is { } shared) added.Add((slots[i], shared));
                else
                {
                    var memory = slots[i].Open(out var accumulate);
                    if (accumulate) added.Add((slots[i], memory = Tensor.Allocate(memory.DType, shape)));
                    outputs[results[i] - known] = memory;
                }
            }
            expression?.Run(Array.ConvertAll(inputs, Value), outputs);
            foreach (var (slot, contribution) in added)
            {
                // Memory that a slot owns must not be another's as well.
                var memory = slot.Open(out var accumulate);
                if (accumulate) Pointwise.Accumulate(contribution, memory);
                else Pointwise.Copy(contribution, memory);
            }

            Tensor Value(int at) => at < arguments.Length ? arguments[at] : constants[at - arguments.Length].View(shape, new nint[shape.Rank], constants[at - arguments.Length].Offset);
        }
    }
}
