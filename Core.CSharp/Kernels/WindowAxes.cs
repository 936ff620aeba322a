using System.Runtime.CompilerServices;

namespace Functional.Kernels;

/// <summary>One spatial axis of a window that slides over an input: output o reads the inputs o·Stride − Before + t·Dilation for t &lt; Kernel;
/// what lies outside is zero.</summary>
internal struct WindowAxis
{
    internal int Input, Kernel, Output, Stride, Dilation, Before;
}

/// <summary>Three spatial axes, outermost first; an axis that is missing has size one.</summary>
[InlineArray(Count)]
internal struct WindowAxes
{
    internal const int Count = 3;

    private WindowAxis _axis;

    /// <summary>An axis of one element, read by a window of one tap.</summary>
    internal static readonly WindowAxis Single = new() { Input = 1, Kernel = 1, Output = 1, Stride = 1, Dilation = 1 };

    /// <summary>The first axis with more than one output: where work is cut into bands that are contiguous in memory.</summary>
    internal readonly int Outermost
    {
        get
        {
            for (var i = 0; i < Count; i++)
                if (this[i].Output > 1)
                    return i;
            return Count - 1;
        }
    }
}

/// <summary>The sizes of a convolution: input [Batch, Groups·Inputs, …], weight [Groups·Outputs, Inputs, taps], output [Batch, Groups·Outputs, …].</summary>
internal struct ConvolutionSizes
{
    internal int Batch, Groups, Inputs, Outputs;
    internal WindowAxes Axes;

    /// <summary>Elements of one input channel.</summary>
    internal readonly nint Source => (nint)Axes[0].Input * Axes[1].Input * Axes[2].Input;

    /// <summary>Elements of one output channel.</summary>
    internal readonly nint Target => (nint)Axes[0].Output * Axes[1].Output * Axes[2].Output;

    /// <summary>Elements of one window.</summary>
    internal readonly int Taps => Axes[0].Kernel * Axes[1].Kernel * Axes[2].Kernel;

    internal readonly double Work => (double)Batch * Groups * Inputs * Outputs * Taps * Target;
}
