using Functional.Autodiff;
using Functional.Ops;

namespace Functional
{
    public sealed partial class Tensor
    {
        /// <summary>Einstein's sum: every letter of the equation names an axis; letters that the result does not have are summed over, and a letter that one
        /// operand has twice means its diagonal. <c>Einsum("bij,bjk->bik", a, b)</c>; "..." stands for leading axes that broadcast; without "->" the result has the
        /// letters that occur once, in alphabetical order. Operands are contracted in pairs, cheapest result first, each by one matrix product.</summary>
        public static Tensor Einsum(string equation, params Tensor[] operands) => Ops.Einsum.Of(equation).Call(operands);
    }
}

namespace Functional.Ops
{
    /// <summary>Sums of products over named axes.</summary>
    public static class Einsum
    {
        public static readonly Op Exemplar = Composition.Of("einsum", static x => x, static draw => Draw(draw));

        internal static Op Of(string equation) => Composition.Of("einsum", x => [Contract(equation, x)], static draw => Draw(draw));

        // Axes under "..." are named from the right, outside the alphabet.
        private const char Broadcast = '\u2460';

        private sealed record Factor(Tensor Value, string Labels);

        private static Tensor Contract(string equation, Tensor[] operands)
        {
            var (inputs, output, sizes) = Parse(equation, operands);
            var factors = operands.Select((x, i) => Simplified(x, inputs[i], sizes)).ToList();
            while (factors.Count > 1)
            {
                var (first, second) = Cheapest(factors, output, sizes);
                var (a, b) = (factors[first], factors[second]);
                factors.RemoveAt(second);
                factors.RemoveAt(first);
                var needed = output + string.Concat(factors.Select(f => f.Labels));
                factors.Add(Product(a, b, needed));
            }
            var (value, labels) = (factors[0].Value, factors[0].Labels);
            (value, labels) = SumOut(value, labels, output);
            return value.Permute([.. output.Select(letter => labels.IndexOf(letter))]);
        }

        // ---- the equation ----

        private static (string[] Inputs, string Output, Dictionary<char, int> Sizes) Parse(string equation, Tensor[] operands)
        {
            var text = equation.Replace(" ", "");
            var arrow = text.IndexOf("->", StringComparison.Ordinal);
            var inputs = (arrow < 0 ? text : text[..arrow]).Split(',');
            if (operands.Length == 0 || inputs.Length != operands.Length)
                throw Shape.Refuse("einsum", "the equation must name as many operands as there are", $"'{equation}' and {operands.Length} operands", "Separate operands by commas");
            var most = 0;
            for (var i = 0; i < inputs.Length; i++)
            {
                inputs[i] = Expand(equation, inputs[i], operands[i].Rank - inputs[i].Replace("...", "").Length);
                if (inputs[i].Length != operands[i].Rank)
                    throw Shape.Refuse("einsum", "every axis of an operand needs a letter", $"'{equation}' and operand {i} of shape {operands[i].Shape}", "Add or drop letters, or use '...'");
                most = Math.Max(most, inputs[i].Count(letter => letter >= Broadcast));
            }
            var all = string.Concat(inputs);
            var output = arrow >= 0 ? Expand(equation, text[(arrow + 2)..], most)
                : Expand(equation, "...", most) + string.Concat(all.Where(letter => letter < Broadcast && all.Count(other => other == letter) == 1).Order());
            foreach (var letter in output)
                if (!all.Contains(letter) || output.Count(other => other == letter) > 1)
                    throw Shape.Refuse("einsum", "the result's letters must differ and occur in the operands", $"'{equation}'", "Correct what follows '->'");
            return (inputs, output, Sizes(equation, inputs, operands));
        }

        private static string Expand(string equation, string term, int axes)
        {
            var at = term.IndexOf("...", StringComparison.Ordinal);
            var letters = at < 0 ? term : term.Remove(at, 3);
            if (!letters.All(char.IsAsciiLetter) || (at >= 0 && axes < 0))
                throw Shape.Refuse("einsum", "an equation has letters, commas, one '->' and '...'", $"'{equation}'", "Write it like 'bij,bjk->bik'");
            return at < 0 ? term : string.Concat(letters.AsSpan(0, at), string.Concat(Enumerable.Range(0, axes).Reverse().Select(i => (char)(Broadcast + i))), letters.AsSpan(at));
        }

        private static Dictionary<char, int> Sizes(string equation, string[] inputs, Tensor[] operands)
        {
            var sizes = new Dictionary<char, int>();
            for (var i = 0; i < inputs.Length; i++)
                for (var axis = 0; axis < inputs[i].Length; axis++)
                {
                    var (letter, size) = (inputs[i][axis], operands[i].Shape[axis]);
                    if (!sizes.TryGetValue(letter, out var known) || (letter >= Broadcast && known == 1)) sizes[letter] = size;
                    else if (size != known && !(letter >= Broadcast && size == 1))
                        throw Shape.Refuse("einsum", $"axes of one letter must be equally long{(letter < Broadcast ? $" ('{letter}')" : "")}",
                            $"{known} and {size} in '{equation}' of {string.Join(", ", operands.Select(x => x.Shape))}", "Correct the letters or the operands");
                }
            return sizes;
        }

        // ---- one operand ----

        /// <summary>Every letter once, broadcast axes at their full size.</summary>
        private static Factor Simplified(Tensor x, string labels, Dictionary<char, int> sizes)
        {
            for (var i = 0; i < labels.Length; i++)
            {
                var again = labels.IndexOf(labels[i], i + 1);
                if (again < 0) continue;
                x = x.Diagonal(0, i, again);
                labels = labels.Remove(again, 1).Remove(i, 1) + labels[i];
                i = -1;
            }
            return new(x.Expand([.. labels.Select(letter => sizes[letter])]), labels);
        }

        private static (Tensor, string) SumOut(Tensor x, string labels, string needed)
        {
            var axes = Enumerable.Range(0, labels.Length).Where(i => !needed.Contains(labels[i])).ToArray();
            return axes.Length == 0 ? (x, labels) : (x.Sum(axes, keepAxes: false), string.Concat(labels.Where(needed.Contains)));
        }

        // ---- two operands ----

        // The pair whose product, less what it replaces, is smallest.
        private static (int, int) Cheapest(List<Factor> factors, string output, Dictionary<char, int> sizes)
        {
            var (best, least) = ((0, 1), double.PositiveInfinity);
            for (var i = 0; factors.Count > 2 && i < factors.Count; i++)
                for (var j = i + 1; j < factors.Count; j++)
                {
                    var needed = output + string.Concat(factors.Where((_, k) => k != i && k != j).Select(f => f.Labels));
                    var (a, b) = (factors[i].Labels, factors[j].Labels);
                    var cost = Size(a.Union(b).Where(needed.Contains)) - Size(a) - Size(b);
                    if (cost < least) (best, least) = ((i, j), cost);
                }
            return best;

            double Size(IEnumerable<char> letters) => letters.Aggregate(1.0, (size, letter) => size * sizes[letter]);
        }

        private static Factor Product(Factor a, Factor b, string needed)
        {
            var ((x, xLabels), (y, yLabels)) = (SumOut(a.Value, a.Labels, needed + b.Labels), SumOut(b.Value, b.Labels, needed + a.Labels));
            var batch = string.Concat(xLabels.Where(letter => yLabels.Contains(letter) && needed.Contains(letter)));
            var summed = string.Concat(xLabels.Where(letter => yLabels.Contains(letter) && !needed.Contains(letter)));
            var rows = string.Concat(xLabels.Except(batch + summed));
            var columns = string.Concat(yLabels.Except(batch + summed));
            var (left, right) = (Arranged(x, xLabels, batch + rows + summed), Arranged(y, yLabels, batch + summed + columns));
            if (summed.Length == 0)
                // No sum, no matrix product: the axes side by side.
                return new(left.Reshape([.. left.Shape, .. Enumerable.Repeat(1, columns.Length)])
                    * right.Reshape([.. right.Shape.Sizes[..batch.Length], .. Enumerable.Repeat(1, rows.Length), .. right.Shape.Sizes[batch.Length..]]), batch + rows + columns);
            int[] groups = [.. left.Shape.Sizes[..batch.Length]], m = [.. left.Shape.Sizes[batch.Length..^summed.Length]], n = [.. right.Shape.Sizes[(batch.Length + summed.Length)..]];
            var k = Volume(right.Shape.Sizes[batch.Length..(batch.Length + summed.Length)]);
            var product = left.Reshape([Volume(groups), Volume(m), k]).Matmul(right.Reshape([Volume(groups), k, Volume(n)]));
            return new(product.Reshape([.. groups, .. m, .. n]), batch + rows + columns);
        }

        private static Tensor Arranged(Tensor x, string labels, string order) => x.Permute([.. order.Select(letter => labels.IndexOf(letter))]);

        private static int Volume(ReadOnlySpan<int> sizes)
        {
            var volume = 1;
            foreach (var size in sizes) volume *= size;
            return volume;
        }

        // ---- examples ----

        private static Example Draw(Draw draw)
        {
            var sizes = Enumerable.Range(0, 5).Select(_ => draw.Axis()).ToArray();
            string Letters(int most) => string.Concat(Enumerable.Range(0, draw.Int(0, most)).Select(_ => (char)('i' + draw.Int(0, 4))));
            var terms = Enumerable.Range(0, draw.Int(1, 3)).Select(_ => Letters(3)).ToArray();
            var available = string.Concat(terms).Distinct().ToList();
            var output = string.Concat(available.Where(_ => draw.Chance()).OrderBy(_ => draw.Int(0, 100)));
            var equation = $"{string.Join(",", terms)}->{output}";
            return new(Of(equation), [.. terms.Select(term => draw.Tensor(Shape.Of([.. term.Select(letter => sizes[letter - 'i'])])))]) { Attributes = $"equation = [{equation}]" };
        }
    }
}
