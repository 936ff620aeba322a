namespace Functional.Verification;

/// <summary>Derivatives from values alone.</summary>
public static class Differences
{
    /// <summary>The limit of g(h) for h → 0, where g is even in h, and an estimate of its error: polynomials through ever smaller steps (Richardson), of
    /// which the one that agrees best with its neighbours counts (Ridders 1982, Accurate computation of F′(x) and F′(x)F″(x)).</summary>
    public static (double Limit, double Error) Extrapolate(Func<double, double> g, double step = 0.008)
    {
        const int columns = 6;
        var table = new double[columns, columns];
        table[0, 0] = g(step);
        var (best, error) = (table[0, 0], double.PositiveInfinity);
        for (var i = 1; i < columns; i++)
        {
            step /= 2;
            table[i, 0] = g(step);
            var factor = 4.0;
            for (var j = 1; j <= i; j++)
            {
                table[i, j] = (table[i, j - 1] * factor - table[i - 1, j - 1]) / (factor - 1);
                factor *= 4;
                var apart = Math.Max(Math.Abs(table[i, j] - table[i, j - 1]), Math.Abs(table[i, j] - table[i - 1, j - 1]));
                if (!(apart <= error)) continue;
                (best, error) = (table[i, j], apart);
            }
        }
        return (best, error);
    }

    /// <summary>f′(0) from both sides, and its error.</summary>
    public static (double Slope, double Error) Central(Func<double, double> f) => Extrapolate(h => (f(h) - f(-h)) / (2 * h));

    /// <summary>Whether f has a corner near 0: its slopes to the right and to the left differ by more than curvature explains. Curvature makes them differ
    /// in proportion to the step, a corner by the same amount however small the step is.</summary>
    public static bool HasCorner(Func<double, double> f, double scale, double step = 0.008)
    {
        var at = f(0);
        double Apart(double h) => Math.Abs((f(h) - at) / h - (at - f(-h)) / h);
        var (wide, narrow) = (Apart(step), Apart(step / 16));
        return narrow > 1e-6 * scale && narrow > wide / 4;
    }
}
