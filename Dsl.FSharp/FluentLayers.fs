/// Layers as a C# programmer says them.
namespace Functional.Fluent

open System
open System.Collections.Generic
open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open Functional

/// Draws the first values of a parameter.
[<Sealed>]
type Weights private (initialiser: Initialiser) =
    member internal _.Initialiser = initialiser

    /// Uniform in ±√(6 / (in + out)) (Glorot and Bengio, 2010).
    static member val GlorotUniform = Weights Init.glorotUniform

    /// Uniform in ±√(6 / in), for ReLU (He et al., 2015).
    static member val HeUniform = Weights Init.heUniform

    /// Normal with variance 2 / in, for ReLU (He et al., 2015).
    static member val HeNormal = Weights Init.heNormal

    /// Uniform in ±1/√in.
    static member val FanInUniform = Weights Init.fanInUniform

    /// All zero.
    static member val Zeros = Weights Init.zeros

    /// Normal with mean 0.
    static member Normal(deviation: float) = Weights(Init.normal deviation)

/// What C# gives, as the layers take it.
module internal Given =
    let orElse other (given: Weights | null) =
        match given with
        | null -> other
        | given -> given.Initialiser

    /// The layers that a function puts one after the other.
    let block (make: Func<Layer, Layer>) =
        match make.Invoke(Composition.chain []) with
        | { Form = Chain; Parts = [ only ] } -> only
        | inner -> inner

    let blocks (branches: Func<Layer, Layer>[]) =
        branches |> Array.map block |> List.ofArray

    let layer (make: Func<Layer, Layer> | null) =
        match make with
        | null -> None
        | make -> Some(block make)

    let action (observe: Action<Tensor> | null) =
        match observe with
        | null -> None
        | observe -> Some observe.Invoke

/// What a parameter adds to the loss, for `WithRegulariser`.
[<AbstractClass; Sealed>]
type Regularisers private () =
    /// share·Σ|p|, which drives parameters to 0.
    static member L1(share: float) : Func<Tensor, Tensor> = Func<_, _>(Regulariser.l1 share)

    /// share/2·Σp², whose gradient is share·p.
    static member L2(share: float) : Func<Tensor, Tensor> = Func<_, _>(Regulariser.l2 share)

/// Layers of every network, as extension methods that are each checked as they are called.
[<AbstractClass; Sealed; Extension>]
type BasicLayers private () =
    /// y = x·W + b for x [features], W [features, units], b [units].
    [<Extension>]
    static member Dense
        (
            network: Layer,
            units: int,
            [<Optional; DefaultParameterValue(true)>] bias: bool,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] biases: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.dense (
            units,
            bias,
            Given.orElse Init.glorotUniform weights,
            Given.orElse Init.zeros biases,
            file,
            line
        )

    /// All axes of an example as one.
    [<Extension>]
    static member Flatten
        (
            network: Layer,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.flatten (file, line)

    /// Each example in another shape of as many elements; −1 stands for what is left.
    [<Extension>]
    static member Reshape
        (
            network: Layer,
            sizes: int[],
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.reshape (List.ofArray sizes, file, line)

    /// max(x, 0)
    [<Extension>]
    static member Relu(network: Layer) : Layer = network >=> Layers.relu

    /// The hyperbolic tangent.
    [<Extension>]
    static member Tanh(network: Layer) : Layer = network >=> Layers.tanh

    /// 1 / (1 + e⁻ˣ)
    [<Extension>]
    static member Sigmoid(network: Layer) : Layer = network >=> Layers.sigmoid

    /// x·Φ(x)
    [<Extension>]
    static member Gelu(network: Layer) : Layer = network >=> Layers.gelu

    /// x·σ(x)
    [<Extension>]
    static member Silu(network: Layer) : Layer = network >=> Layers.silu

    /// x where x > 0, else eˣ − 1
    [<Extension>]
    static member Elu(network: Layer) : Layer = network >=> Layers.elu

    /// The self-normalising unit.
    [<Extension>]
    static member Selu(network: Layer) : Layer = network >=> Layers.selu

    /// x·tanh(ln(1 + eˣ))
    [<Extension>]
    static member Mish(network: Layer) : Layer = network >=> Layers.mish

    /// ln(1 + eˣ)
    [<Extension>]
    static member Softplus(network: Layer) : Layer = network >=> Layers.softplus

    /// eˣ over its sum along the last axis
    [<Extension>]
    static member Softmax(network: Layer) : Layer = network >=> Layers.softmax

    /// ln of the softmax along the last axis
    [<Extension>]
    static member LogSoftmax(network: Layer) : Layer = network >=> Layers.logSoftmax

    /// x where x > 0, else slope·x
    [<Extension>]
    static member LeakyRelu
        (
            network: Layer,
            [<Optional; DefaultParameterValue(0.01)>] slope: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.leakyRelu (slope, file, line)

/// Layers over images [channels; spatial…], with one to three spatial axes.
[<AbstractClass; Sealed; Extension>]
type ImageLayers private () =
    /// A convolution (cross-correlation) with `channels` results: weight [channels; inputs / groups; kernel…], bias [channels].
    [<Extension>]
    static member Conv
        (
            network: Layer,
            channels: int,
            kernel: PerAxis,
            [<Optional>] stride: PerAxis,
            [<Optional>] pad: Padding,
            [<Optional>] dilation: PerAxis,
            [<Optional; DefaultParameterValue(1)>] groups: int,
            [<Optional; DefaultParameterValue(true)>] bias: bool,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] biases: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.conv (
            channels,
            kernel,
            stride,
            pad,
            dilation,
            groups,
            bias,
            Given.orElse Init.glorotUniform weights,
            Given.orElse Init.zeros biases,
            file,
            line
        )

    /// The transposed convolution, which makes images larger: weight [inputs; channels / groups; kernel…], bias [channels].
    /// A spatial axis becomes (size − 1)·stride + kernel − padding + outputPadding, or size·stride with padding `Same`.
    [<Extension>]
    static member ConvTransposed
        (
            network: Layer,
            channels: int,
            kernel: PerAxis,
            [<Optional>] stride: PerAxis,
            [<Optional>] pad: Padding,
            [<Optional>] outputPadding: PerAxis,
            [<Optional>] dilation: PerAxis,
            [<Optional; DefaultParameterValue(1)>] groups: int,
            [<Optional; DefaultParameterValue(true)>] bias: bool,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] biases: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.convTransposed (
            channels,
            kernel,
            stride,
            pad,
            outputPadding,
            dilation,
            groups,
            bias,
            Given.orElse Init.glorotUniform weights,
            Given.orElse Init.zeros biases,
            file,
            line
        )

    /// The largest element of each window; windows lie side by side unless `stride` says otherwise.
    [<Extension>]
    static member MaxPool
        (
            network: Layer,
            kernel: PerAxis,
            [<Optional>] stride: PerAxis,
            [<Optional>] pad: Padding,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.maxPool (kernel, stride, pad, file, line)

    /// The mean of each window; windows lie side by side unless `stride` says otherwise. Zeros of the padding count.
    [<Extension>]
    static member AveragePool
        (
            network: Layer,
            kernel: PerAxis,
            [<Optional>] stride: PerAxis,
            [<Optional>] pad: Padding,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.averagePool (kernel, stride, pad, file, line)

    /// The largest element of each of the windows that make the given spatial sizes.
    [<Extension>]
    static member AdaptiveMaxPool
        (
            network: Layer,
            size: PerAxis,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.adaptiveMaxPool (size, file, line)

    /// The mean of each of the windows that make the given spatial sizes.
    [<Extension>]
    static member AdaptiveAveragePool
        (
            network: Layer,
            size: PerAxis,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.adaptiveAveragePool (size, file, line)

    /// The mean of each channel: [channels; spatial…] becomes [channels].
    [<Extension>]
    static member GlobalAveragePool
        (
            network: Layer,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.globalAveragePool (file, line)

    /// The largest element of each channel: [channels; spatial…] becomes [channels].
    [<Extension>]
    static member GlobalMaxPool
        (
            network: Layer,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.globalMaxPool (file, line)

    /// A border of one value around an image [channels; spatial…]: as many elements on both sides of each spatial axis, or on each of them as in
    /// `Padding.Of(before, after)`.
    [<Extension>]
    static member Pad
        (
            network: Layer,
            size: Padding,
            [<Optional; DefaultParameterValue(0.0)>] value: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.pad (size, value, file, line)

    /// An image with each element repeated, or with `linear` interpolated: [channels; spatial…] becomes [channels; spatial·factor…].
    [<Extension>]
    static member Upsample
        (
            network: Layer,
            factor: PerAxis,
            [<Optional; DefaultParameterValue(false)>] linear: bool,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.upsample (factor, linear, file, line)

/// Layers that normalise or leave out.
[<AbstractClass; Sealed; Extension>]
type RegularisingLayers private () =
    /// Each channel normalised over batch and positions; in inference with running statistics (Ioffe and Szegedy, 2015).
    [<Extension>]
    static member BatchNorm
        (
            network: Layer,
            [<Optional; DefaultParameterValue(0.1)>] momentum: float,
            [<Optional; DefaultParameterValue(1e-5)>] epsilon: float,
            [<Optional; DefaultParameterValue(true)>] affine: bool,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.batchNorm (momentum, epsilon, affine, file, line)

    /// Each example normalised over its last axes (Ba, Kiros and Hinton, 2016).
    [<Extension>]
    static member LayerNorm
        (
            network: Layer,
            [<Optional; DefaultParameterValue(1)>] axes: int,
            [<Optional; DefaultParameterValue(1e-5)>] epsilon: float,
            [<Optional; DefaultParameterValue(true)>] affine: bool,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.layerNorm (axes, epsilon, affine, file, line)

    /// x/√(mean x² + ε)·gain over the last axis (Zhang and Sennrich, 2019).
    [<Extension>]
    static member RmsNorm
        (
            network: Layer,
            [<Optional; DefaultParameterValue(1e-5)>] epsilon: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.rmsNorm (epsilon, file, line)

    /// Groups of channels of each example normalised, then ·gain + bias per channel (Wu and He, 2018).
    [<Extension>]
    static member GroupNorm
        (
            network: Layer,
            groups: int,
            [<Optional; DefaultParameterValue(1e-5)>] epsilon: float,
            [<Optional; DefaultParameterValue(true)>] affine: bool,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.groupNorm (groups, epsilon, affine, file, line)

    /// Each channel of each example normalised, without gain and bias unless asked for (Ulyanov, Vedaldi and Lempitsky, 2016).
    [<Extension>]
    static member InstanceNorm
        (
            network: Layer,
            [<Optional; DefaultParameterValue(1e-5)>] epsilon: float,
            [<Optional; DefaultParameterValue(false)>] affine: bool,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.instanceNorm (epsilon, affine, file, line)

    /// In training, zero with probability `rate`, else x / (1 − rate); in inference, x (Srivastava et al., 2014).
    [<Extension>]
    static member Dropout
        (
            network: Layer,
            rate: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.dropout (rate, file, line)

    /// Dropout of whole channels [channels; …] of each example, as neighbours in an image say much the same (Tompson et al., 2015).
    [<Extension>]
    static member SpatialDropout
        (
            network: Layer,
            rate: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.spatialDropout (rate, file, line)

    /// Dropout of whole examples: at the end of a residual block it leaves the block out of some of them (Huang et al., 2016).
    [<Extension>]
    static member StochasticDepth
        (
            network: Layer,
            rate: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.stochasticDepth (rate, file, line)
