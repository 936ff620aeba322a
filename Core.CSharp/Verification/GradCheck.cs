using System.Globalization;
using System.Text;
using Functional.Autodiff;

namespace Functional.Verification;

/// <summary>What a check found.</summary>
/// <param name="Passed">Whether every derivative agreed wherever it exists.</param>
/// <param name="Cases">How many inputs were drawn.</param>
/// <param name="Corners">At how many of them the function has no derivative along the direction tried, so that nothing was compared.</param>
/// <param name="Message">What is wrong, at which inputs, and lines that show it again; or what was checked.</param>
public sealed record GradCheckReport(bool Passed, int Cases, int Corners, string Message)
{
    /// <summary>Throws the message where the check did not pass: for tests of any framework.</summary>
    public void ThrowIfFailed()
    {
        if (!Passed) throw new GradCheckException(Message);
    }

    /// <summary>The message.</summary>
    public override string ToString() => Message;
}

/// <summary>A derivative that is not the limit of differences, or two ways to one derivative that disagree.</summary>
public sealed class GradCheckException(string message) : Exception(message);

/// <summary>Checks the derivatives of any function of tensors: draws inputs, compares reverse mode with differences of the values, forward mode with reverse
/// mode, and second derivatives with differences of the first; where something is wrong, it shrinks the inputs and says how to see it again.</summary>
/// <remarks>Differences are taken in float64, with an error that they estimate themselves. Where the function has a corner (relu at 0, a maximum at a tie) a case
/// is left out and counted; a check that meets corners only does not pass.</remarks>
public sealed record GradCheck
{
    /// <summary>How many inputs are drawn.</summary>
    public int Cases { get; init; } = 30;

    /// <summary>The seed of the first; the same seed draws the same inputs.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>How often the function is differentiated: 1 or 2.</summary>
    public int Order { get; init; } = 2;

    /// <summary>The most that may lie between a derivative and its differences, relative to the size of the terms, beside the differences' own error.</summary>
    public double Tolerance { get; init; } = 1e-7;

    /// <summary>The name in the report.</summary>
    public string Name { get; init; } = "f";

    /// <summary>What is to be called with the inputs of a failure to see it again; nothing stands for <c>GradCheck.at</c> with the name.</summary>
    public string Call { get; init; } = "";

    /// <summary>Checks a function of tensors of the given shapes, with elements in −2 … 2.</summary>
    public GradCheckReport Of(Func<Tensor[], Tensor[]> f, params Shape[] shapes) => Of(f, draw => Array.ConvertAll(shapes, shape => draw.Tensor(shape)));

    /// <summary>Checks a function of one tensor.</summary>
    public GradCheckReport Of(Func<Tensor, Tensor> f, params int[] shape) => Of(x => [f(x[0])], Shape.Of(shape));

    /// <summary>Checks a function on inputs drawn by <paramref name="inputs"/>: shapes that depend on the draw's size, domains, integer and bool tensors, which are
    /// not differentiated. Float inputs must be float64; a failing case is tried again with smaller sizes.</summary>
    public GradCheckReport Of(Func<Tensor[], Tensor[]> f, Func<Draw, Tensor[]> inputs)
    {
        var corners = 0;
        for (var i = 0; i < Cases; i++)
        {
            var (seed, size) = ((ulong)(Seed + i), 1 + i % 6);
            var found = Try(f, inputs, seed, size);
            if (found is null) continue;
            if (found.Corner)
            {
                corners++;
                continue;
            }
            return new(false, i + 1, corners, Report(f, Smallest(f, inputs, seed, size, found)));
        }
        return corners == Cases
            ? new(false, Cases, corners, $"{Name}: a derivative must exist somewhere; got corners at all of {Cases} inputs. Draw inputs away from them.")
            : new(true, Cases, corners, $"{Name}: {Cases} cases, derivatives of order {(Order > 1 ? "1 and 2" : "1")} agree{(corners > 0 ? $"; {corners} left out at corners" : "")}.");
    }

    // ---- one case ----

    private sealed record Finding(string What, Tensor[] X, bool Corner = false);

    private Finding? Try(Func<Tensor[], Tensor[]> f, Func<Draw, Tensor[]> inputs, ulong seed, int size)
    {
        var draw = new Draw(seed, size) { Views = false };
        var x = inputs(draw);
        foreach (var t in x)
            if (t.DType == DType.Float32)
                throw Shape.Refuse("gradCheck", "float inputs must be float64, because differences are blind in float32", t.Describe(), "Draw float64");
        return Judge(f, x, draw);
    }

    private Finding? Judge(Func<Tensor[], Tensor[]> f, Tensor[] x, Draw draw)
    {
        try
        {
            return Examine(f, x, draw);
        }
        catch (Exception error) when (error is ShapeException or ArithmeticException or InvalidOperationException or NotSupportedException)
        {
            return new($"an exception: {error.Message}", x);
        }
    }

    private Finding? Examine(Func<Tensor[], Tensor[]> f, Tensor[] x, Draw draw)
    {
        int[] moving = [.. Enumerable.Range(0, x.Length).Where(i => x[i].DType.IsFloat())];
        Tensor[] Floats(Tensor[] t)
        {
            var full = (Tensor[])x.Clone();
            for (var k = 0; k < moving.Length; k++) full[moving[k]] = t[k];
            return [.. f(full).Where(y => y.DType.IsFloat())];
        }
        var at = Array.ConvertAll(moving, i => x[i]);
        var before = Array.ConvertAll(x, t => t.ToDoubles());
        var y = Floats(at);
        if (moving.Length == 0 || y.Length == 0) return new("float inputs and float outputs are needed, and the function has none", x);
        var again = Floats(at);
        for (var i = 0; i < y.Length; i++)
        {
            if (y[i].DType == DType.Float32) return new($"output {i} is float32, in which differences are blind: compute in float64", x);
            if (y[i].ToDoubles().Any(double.IsNaN)) return new($"output {i} is NaN, so there is nothing to compare: draw inputs inside the function's domain", x);
            if (!y[i].ToDoubles().AsSpan().SequenceEqual(again[i].ToDoubles()))
                return new($"output {i} differs from call to call: draw random numbers from a key that is an argument, not inside", x);
        }
        for (var i = 0; i < x.Length; i++)
            if (!x[i].ToDoubles().AsSpan().SequenceEqual(before[i])) return new($"input {i} was changed", x);

        Tensor[] d = Array.ConvertAll(at, t => draw.Tensor(t.Shape, -1, 1)), c = Array.ConvertAll(y, t => draw.Tensor(t.Shape, -1, 1).Cast(t.DType));
        double Along(double h) => Inner(c, Floats(Moved(at, d, h)));
        var scale = Magnitude(c, y);
        if (Differences.HasCorner(Along, Math.Max(scale, 1e-3))) return new("", x, Corner: true);

        // Reverse mode against differences.
        var pulled = Diff.Vjp(Floats, at).Pullback(c);
        var (slope, error) = Differences.Central(Along);
        if (!Near(Inner(pulled, d), slope, error, Magnitude(pulled, d), scale, Along))
            return new($"reverse mode: the derivative along a direction is {Text(Inner(pulled, d))}, but differences give {Text(slope)} ± {error:g2}{Culprit(Floats, at, c, pulled, moving)}", x);

        // Forward mode is its adjoint.
        var tangents = Diff.Jvp(Floats, at, d).Tangent;
        var (forward, backward) = (Inner(c, tangents), Inner(pulled, d));
        if (!(Math.Abs(forward - backward) <= 1e-10 * (Magnitude(c, tangents) + Magnitude(pulled, d)) + 1e-13))
            return new($"forward mode: ⟨c, J d⟩ is {Text(forward)}, but reverse mode gives ⟨Jᵀc, d⟩ = {Text(backward)}", x);
        if (Order < 2) return null;

        // The gradient's own derivative, in two ways and against differences of the gradient.
        Tensor Scalar(Tensor[] t) => c.Zip(Floats(t), (w, v) => (w * v).Sum()).Aggregate((a, b) => a + b);
        var u = Array.ConvertAll(at, t => draw.Tensor(t.Shape, -1, 1));
        var gradient = Diff.Grad(Scalar);
        var curved = Diff.Hvp(Scalar, at, u);
        double Bent(double h) => Inner(gradient(Moved(at, u, h)), d);
        if (Differences.HasCorner(Bent, Math.Max(Magnitude(pulled, d), 1e-3))) return new("", x, Corner: true);
        var (bend, bendError) = Differences.Central(Bent);
        if (!Near(Inner(curved, d), bend, bendError, Magnitude(curved, d), Magnitude(pulled, d), Bent))
            return new($"second order: forward over reverse gives {Text(Inner(curved, d))}, but differences of the gradient {Text(bend)} ± {bendError:g2}", x);
        var twice = Diff.Grad(t => gradient(t).Zip(u, (g, v) => (g * v).Sum()).Aggregate((a, b) => a + b))(at);
        return Near(Inner(twice, d), Inner(curved, d), 0, Magnitude(curved, d), Magnitude(pulled, d))
            ? null
            : new($"second order: reverse over reverse gives {Text(Inner(twice, d))}, but forward over reverse {Text(Inner(curved, d))}", x);
    }

    // How much the values of f round is measured where it matters alone: it takes many of them.
    private bool Near(double actual, double expected, double error, double magnitude, double values, Func<double, double>? f = null)
    {
        var (off, allowed) = (Math.Abs(actual - expected), Tolerance * magnitude + 10 * error + 1e-11 * values + 1e-13);
        return off <= allowed || (f is not null && off <= allowed + Differences.Rounding(f));
    }

    // The element whose partial derivative is furthest off.
    private static string Culprit(Func<Tensor[], Tensor[]> f, Tensor[] x, Tensor[] c, Tensor[] gradient, int[] moving)
    {
        var (worst, text) = (0.0, "");
        for (var k = 0; k < x.Length; k++)
        {
            var partials = gradient[k].ToDoubles();
            for (var i = 0; i < partials.Length; i++)
            {
                var axis = new double[partials.Length];
                axis[i] = 1;
                var unit = Tensor.FromDoubles(axis, x[k].Shape, x[k].DType);
                var (slope, _) = Differences.Central(h => Inner(c, f([.. x.Select((t, j) => j == k ? t + unit * h : t)])));
                var off = Math.Abs(slope - partials[i]);
                if (!(off > worst)) continue;
                (worst, text) = (off, $"; furthest off is element {i} of input {moving[k]}, {Text(partials[i])} instead of {Text(slope)}");
            }
        }
        return text;
    }

    // ---- smaller cases ----

    private Finding Smallest(Func<Tensor[], Tensor[]> f, Func<Draw, Tensor[]> inputs, ulong seed, int size, Finding found)
    {
        for (var smaller = 1; smaller < size; smaller++)
            for (ulong other = 0; other < 12; other++)
                if (Try(f, inputs, other == 0 ? seed : other, smaller) is { Corner: false } finding && finding.X.Sum(t => t.Count) < found.X.Sum(t => t.Count))
                    return Rounded(f, finding);
        return Rounded(f, found);
    }

    // The same with numbers that are easier to read, if it fails with them, too.
    private Finding Rounded(Func<Tensor[], Tensor[]> f, Finding found)
    {
        foreach (var digits in new[] { 0, 1, 2 })
        {
            var x = Array.ConvertAll(found.X, t => t.DType.IsFloat() ? Tensor.FromDoubles(Array.ConvertAll(t.ToDoubles(), v => Math.Round(v, digits) + 0.0), t.Shape, t.DType) : t);
            if (Judge(f, x, new Draw(1, 1) { Views = false }) is { Corner: false } finding) return finding;
        }
        return found;
    }

    // ---- the report ----

    private string Report(Func<Tensor[], Tensor[]> f, Finding found)
    {
        var text = new StringBuilder($"{Name}: the derivatives must agree; got, {found.What}. Correct the function's derivative at\n");
        for (var i = 0; i < found.X.Length; i++) text.Append($"  let x{i} = {Literal(found.X[i])}\n");
        text.Append($"Again: {(Call == "" ? $"GradCheck.at {Name}" : Call)} [ {string.Join("; ", found.X.Select((_, i) => $"x{i}"))} ]");
        return text.ToString();
    }

    /// <summary>Checks a function at the given inputs alone.</summary>
    public GradCheckReport At(Func<Tensor[], Tensor[]> f, params Tensor[] x) =>
        Judge(f, x, new Draw((ulong)Seed, 1) { Views = false }) switch
        {
            null => new(true, 1, 0, $"{Name}: derivatives agree at these inputs."),
            { Corner: true } => new(false, 1, 1, $"{Name}: a derivative must exist; got a corner at these inputs. Move them a little."),
            var found => new(false, 1, 0, Report(f, found)),
        };

    private static string Literal(Tensor x)
    {
        var (values, kind) = x.DType switch
        {
            DType.Bool => (x.ToDoubles().Select(v => v != 0 ? "true" : "false"), ""),
            DType.Int32 => (x.ToDoubles().Select(v => v.ToString("0", CultureInfo.InvariantCulture)), ""),
            DType.Int64 => (x.ToDoubles().Select(v => v.ToString("0", CultureInfo.InvariantCulture) + "L"), ""),
            _ => (x.ToDoubles().Select(v => v.ToString("R", CultureInfo.InvariantCulture) is var s && s.All(ch => char.IsDigit(ch) || ch == '-') ? s + ".0" : s), ""),
        };
        return $"Tensor.From([| {string.Join("; ", values)} |]{kind}).Reshape({string.Join(", ", x.Shape)})".Replace(".Reshape()", ".Reshape([||])");
    }

    private static string Text(double value) => value.ToString("g10", CultureInfo.InvariantCulture);

    private static Tensor[] Moved(Tensor[] x, Tensor[] d, double h) => [.. x.Zip(d, (t, v) => t + v * h)];

    private static double Inner(Tensor[] a, Tensor[] b) => a.Zip(b, (p, q) => p.ToDoubles().Zip(q.ToDoubles(), (s, t) => s * t).Sum()).Sum();

    private static double Magnitude(Tensor[] a, Tensor[] b) => a.Zip(b, (p, q) => p.ToDoubles().Zip(q.ToDoubles(), (s, t) => Math.Abs(s * t)).Sum()).Sum();
}
