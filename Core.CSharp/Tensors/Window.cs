using Functional.Kernels;

namespace Functional;

/// <summary>One number for all spatial axes, or one for each, outermost first. Converts from <c>int</c> and <c>int[]</c>.</summary>
public readonly struct PerAxis
{
    private readonly int[]? _values;

    private PerAxis(int[] values) => _values = values;

    /// <summary>The same number for every axis.</summary>
    public static implicit operator PerAxis(int value) => new([value]);

    /// <summary>A number for each axis.</summary>
    public static implicit operator PerAxis(int[] values) => new([.. values]);

    /// <summary>Nothing said: the default of the place where it stands.</summary>
    internal bool IsDefault => _values is null;

    /// <summary>The sizes of a window over so many axes; each must be 1 or more.</summary>
    public int[] Sizes(int axes) => [.. Of("window", "the kernel", axes, 1, 1)];

    /// <summary>The numbers for so many axes.</summary>
    internal int[] Of(string op, string name, int axes, int @default, int least)
    {
        var values = _values ?? [@default];
        if (values.Length != 1 && values.Length != axes)
            throw Shape.Refuse(op, $"{name} needs one number, or one for each of {axes} spatial axes", Shape.Text(values), "Correct the list");
        if (Array.Exists(values, v => v < least))
            throw Shape.Refuse(op, $"{name} must be {least} or more", Shape.Text(values), "Correct it");
        return values.Length == axes ? values : [.. Enumerable.Repeat(values[0], axes)];
    }

    public override string ToString() => _values is null ? "1" : _values.Length == 1 ? $"{_values[0]}" : Shape.Text(_values);
}

/// <summary>The zeros around an image: a number for each axis, or as many as give ⌈size/stride⌉ windows. Converts from <c>int</c> and <c>int[]</c>.</summary>
public readonly struct Padding
{
    private readonly PerAxis _before;
    private readonly PerAxis _after;
    private readonly bool _same;

    private Padding(PerAxis before, PerAxis after, bool same) => (_before, _after, _same) = (before, after, same);

    /// <summary>No zeros: windows lie inside the image.</summary>
    public static readonly Padding Valid = default;

    /// <summary>⌈size/stride⌉ windows, centred; where the zeros are odd in number, the end gets one more.</summary>
    public static readonly Padding Same = new(default, default, same: true);

    /// <summary>The same number of zeros on both sides.</summary>
    public static implicit operator Padding(int zeros) => new(zeros, zeros, same: false);

    /// <summary>As many zeros on both sides of each axis.</summary>
    public static implicit operator Padding(int[] zeros) => new(zeros, zeros, same: false);

    /// <summary>Zeros before the first and after the last element of each axis.</summary>
    public static Padding Of(PerAxis before, PerAxis after) => new(before, after, same: false);

    internal bool IsSame => _same;

    internal (int[] Before, int[] After) Zeros(string op, int axes) =>
        (_before.Of(op, "padding", axes, 0, 0), _after.Of(op, "padding", axes, 0, 0));

    public override string ToString() =>
        _same ? "same" : _before.IsDefault ? "0" : $"{_before}" == $"{_after}" ? $"{_before}" : $"{_before}, paddingAfter = {_after}";
}

/// <summary>How windows slide over the spatial axes of [N, C, spatial…], which are one to three.</summary>
public sealed record Window
{
    /// <summary>Elements from window to window: 1 for convolutions, the window's size for pooling, unless said otherwise.</summary>
    public PerAxis Stride { get; init; }

    /// <summary>Zeros around the image.</summary>
    public Padding Padding { get; init; }

    /// <summary>Elements from tap to tap of a window, usually 1.</summary>
    public PerAxis Dilation { get; init; }

    /// <summary>Groups of channels that do not see each other, usually 1; as many as channels make a depthwise convolution.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Stride 1, no padding, no dilation, one group.</summary>
    public static readonly Window Default = new();

    /// <summary>The windows of given sizes over given spatial sizes; refuses a window that is larger than the padded image.</summary>
    internal WindowAxes Over(string op, ReadOnlySpan<int> spatial, ReadOnlySpan<int> kernel)
    {
        var (n, stride, dilation) = Steps(op, kernel);
        var (before, after) = Padding.Zeros(op, n);
        var axes = Missing(n);
        for (var i = 0; i < n; i++)
        {
            var extent = Extent(op, kernel[i], dilation[i]);
            if (Padding.IsSame)
            {
                var zeros = Math.Max(0, ((spatial[i] + stride[i] - 1) / stride[i] - 1) * (long)stride[i] + extent - spatial[i]);
                (before[i], after[i]) = ((int)(zeros / 2), (int)(zeros - zeros / 2));
            }
            var padded = (long)spatial[i] + before[i] + after[i];
            if (extent > padded || padded > int.MaxValue)
                throw Shape.Refuse(op, "a window must fit into the padded input",
                    $"a window over {extent} elements and {spatial[i]} + {before[i] + (long)after[i]} of padding along spatial axis {i}", "Pad more, or use a smaller kernel or dilation");
            axes[WindowAxes.Count - n + i] = new WindowAxis
            {
                Input = spatial[i],
                Kernel = kernel[i],
                Output = (int)((padded - extent) / stride[i]) + 1,
                Stride = stride[i],
                Dilation = dilation[i],
                Before = before[i],
            };
        }
        return axes;
    }

    /// <summary>The spatial sizes that a transposed convolution makes of given ones: (size − 1)·stride + extent − padding + extra, or size·stride with padding 'same'.</summary>
    internal int[] Transposed(string op, ReadOnlySpan<int> spatial, ReadOnlySpan<int> kernel, PerAxis extra)
    {
        var (n, stride, dilation) = Steps(op, kernel);
        var (before, after) = Padding.Zeros(op, n);
        var more = extra.Of(op, "outputPadding", n, 0, 0);
        var sizes = new int[n];
        for (var i = 0; i < n; i++)
        {
            if (more[i] > 0 && more[i] >= Math.Max(stride[i], dilation[i]))
                throw Shape.Refuse(op, "outputPadding must be smaller than the stride or the dilation", $"{more[i]} with stride {stride[i]} and dilation {dilation[i]}", "Give less");
            var size = Padding.IsSame
                ? (long)spatial[i] * stride[i]
                : spatial[i] == 0 ? 0 : (spatial[i] - 1L) * stride[i] + Extent(op, kernel[i], dilation[i]) - before[i] - after[i] + more[i];
            if (size < 0 || (size == 0 && spatial[i] > 0) || size > int.MaxValue)
                throw Shape.Refuse(op, "the padding must leave something of the output", $"size {size} along spatial axis {i}", "Pad less");
            sizes[i] = (int)size;
        }
        return sizes;
    }

    private (int Axes, int[] Stride, int[] Dilation) Steps(string op, ReadOnlySpan<int> kernel)
    {
        var n = kernel.Length;
        foreach (var size in kernel)
            if (size < 1)
                throw Shape.Refuse(op, "a window needs at least one tap along each axis", Shape.Text(kernel), "Use a larger kernel");
        var stride = Stride.IsDefault ? Enumerable.Repeat(1, n).ToArray() : Stride.Of(op, "stride", n, 1, 1);
        return (n, stride, Dilation.Of(op, "dilation", n, 1, 1));
    }

    private static int Extent(string op, int kernel, int dilation)
    {
        var extent = (kernel - 1L) * dilation + 1;
        return extent <= int.MaxValue ? (int)extent
            : throw Shape.Refuse(op, "a window must fit into the padded input", $"kernel {kernel} with dilation {dilation}", "Use a smaller dilation");
    }

    private static WindowAxes Missing(int spatial)
    {
        WindowAxes axes = default;
        for (var i = 0; i < WindowAxes.Count - spatial; i++) axes[i] = WindowAxes.Single;
        return axes;
    }

    /// <summary>The attributes, as a person would write them.</summary>
    public override string ToString() =>
        $"stride = {Stride}, padding = {Padding}, dilation = {Dilation}{(Groups == 1 ? "" : $", groups = {Groups}")}";
}
