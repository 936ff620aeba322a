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

    /// <summary>How far the rounding of f's values carries into <see cref="Central"/>. In the sixth differences of evenly spaced values nothing is left of a smooth
    /// function but its rounding errors, √C(12, 6) times as large (Hamming 1973, Numerical methods for scientists and engineers, chapter 6; Moré and Wild 2011,
    /// Estimating computational noise). Their largest of many, doubled, bounds a value's error e. Differences have e/h, of which no column of the extrapolation makes more
    /// than twice as much, Π(4ʲ + 1)/(4ʲ − 1) &lt; 2.</summary>
    public static double Rounding(Func<double, double> f, double step = 0.008)
    {
        const int count = 49;
        // The smallest step of the extrapolation.
        step /= 32;
        var values = new double[count];
        for (var i = 0; i < count; i++) values[i] = f((i - count / 2) * step / 4);
        for (var order = 1; order <= 6; order++)
            for (var i = 0; i < count - order; i++)
                values[i] = values[i + 1] - values[i];
        var largest = 0.0;
        for (var i = 0; i < count - 6; i++) largest = Math.Max(largest, Math.Abs(values[i]));
        return 2 * 2 * largest / Math.Sqrt(924) / step;
    }

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
