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
        /// on tensors that know their shape but not their elements, so what it closes over may change. Without code at run time the operations run one by one.</summary>
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

            // The number in the expression that is being put together.
            internal int Index { get; set; } = -1;
        }

        private sealed class Pending(Fusing level, Tensor blank, Node node) : Traced(blank)
        {
            internal override Level Level => level;

            internal Node Node => node;

            internal override string? Unreadable =>
                "fuse: the elements of this {0} tensor are not computed before the function returns; got a request to read them. Choose with Tensor.Where instead of an if, or read them outside.";

            internal override void PromoteTo(Scope? scope) => Promote(node, scope);

            private static void Promote(Node node, Scope? scope)
            {
                if (node.Value is { } value) value.PromoteTo(scope);
                else
                    foreach (var operand in node.Operands) Promote(operand, scope);
            }
        }

        /// <summary>f of x with its elementwise operations fused.</summary>
        internal static Tensor[] Apply(Func<Tensor[], Tensor[]> f, Tensor[] x)
        {
            if (!Kernels.FusedLoop<float>.Available || Array.Exists(x, t => t.IsMeta)) return f(x);
            var level = new Fusing();
            var y = level.Run(f, x);
            if (y.Length > 1) Compute([.. y.Select(level.PendingNode).OfType<Node>()]);
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

        private static Node Known(Tensor value) => new(value.DType, value.Shape, value.DType, null, null, []) { Value = value };

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
            return Array.ConvertAll(op.Apply(Array.ConvertAll(x, Force)), t => StandIn(Known(t)));
        }

        // The operations that an operation of these operands waits for; they are computed where they are too many for a loop.
        private static int Weigh(Node[] operands)
        {
            // Those on several paths count as often, until that makes a difference.
            var weight = 0;
            foreach (var operand in operands)
                if (operand.Value is null) weight += operand.Weight;
            if (weight < MostTerms) return weight;
            var seen = new HashSet<Node>();
            foreach (var operand in operands) Visit(operand);
            if (seen.Count < MostTerms) return seen.Count;
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
            if (node.Value is null && node.Lane != lane) Compute(node.Lane, [node]);
            return node;
        }

        private static void Compute(Node[] nodes)
        {
            foreach (var group in nodes.Where(n => n.Value is null).Distinct().GroupBy(n => (n.Lane, n.Shape))) Compute(group.Key.Lane, [.. group]);
        }

        // The values of nodes of one shape and lane, as one expression of what is known.
        private static void Compute(DType lane, Node[] roots)
        {
            var (inputs, order, known) = (new List<Node>(), new List<Node>(), new List<Node>());
            foreach (var root in roots) Visit(root);
            if (roots.Length > 1 && (inputs.Count > Kernels.FusedLoop<float>.MostInputs || order.Count > 2 * MostTerms))
            {
                Forget();
                foreach (var root in roots) Compute(lane, [root]);
                return;
            }
            var x = inputs.ConvertAll(n => n.Value!).ToArray();
            if (order.Count == 1) order[0].Value = order[0].Op!.Call(Array.ConvertAll(order[0].Operands, o => o.Value!));
            else
            {
                for (var i = 0; i < order.Count; i++) order[i].Index = inputs.Count + i;
                var terms = order.ConvertAll(n => new Term(n.Op!, n.Body!, Array.ConvertAll(n.Operands, o => o.Index), n.DType)).ToArray();
                var expression = Expression.Of(lane, inputs.ConvertAll(n => n.DType).ToArray(), terms, Array.ConvertAll(roots, r => r.Index));
                var y = expression.Op.Apply(x);
                for (var i = 0; i < roots.Length; i++) roots[i].Value = y[i];
            }
            Forget();

            void Forget()
            {
                foreach (var node in known) node.Index = -1;
                foreach (var node in order) node.Index = -1;
            }

            void Visit(Node node)
            {
                if (node.Index >= 0) return;
                if (node.Value is { } value)
                {
                    // A tensor that is closed over comes anew each time it is used.
                    node.Index = inputs.FindIndex(n => ReferenceEquals(n.Value, value));
                    if (node.Index < 0)
                    {
                        node.Index = inputs.Count;
                        inputs.Add(node);
                    }
                    known.Add(node);
                    return;
                }
                foreach (var operand in node.Operands) Visit(operand);
                node.Index = order.Count;
                order.Add(node);
            }
        }
    }
}
