/// The layer library as a C# programmer says it: `Network.Input([3, 32, 32]).Conv(6, kernel: 5).Relu().MaxPool(2).Flatten().Dense(10)`.
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

/// Metrics of training and evaluation.
[<AbstractClass; Sealed>]
type Measures private () =
    /// The share of examples whose largest output is that of their class.
    static member Accuracy: Metric = Metric.accuracy

    /// The share of examples whose class is among the k largest outputs.
    static member TopK(k: int) : Metric = Metric.topK k

    /// The root of the mean squared error.
    static member RootMeanSquaredError: Metric = Metric.rmse

/// Rules that change parameters along their gradients. A rate is a number or a schedule.
[<AbstractClass; Sealed>]
type Optimisers private () =
    /// Gradient descent, with momentum where it is not 0.
    static member Sgd(rate: Schedule, [<Optional; DefaultParameterValue(0.0)>] momentum: float) : Optimiser =
        if momentum = 0.0 then
            Optim.sgd rate
        else
            Optim.momentum (rate, momentum)

    /// Adam (Kingma and Ba, 2015).
    static member Adam
        (
            rate: Schedule,
            [<Optional; DefaultParameterValue(0.9)>] beta1: float,
            [<Optional; DefaultParameterValue(0.999)>] beta2: float
        ) : Optimiser =
        Optim.adam (rate, beta1, beta2)

    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    static member AdamW(rate: Schedule, [<Optional; DefaultParameterValue(0.01)>] decay: float) : Optimiser =
        Optim.adamW (rate, decay = decay)

    /// Gradients that are scaled down together where their norm is larger.
    static member Clip(largestNorm: float) : Optimiser = Clip.globalNorm largestNorm

    /// One rule after the other.
    static member Chain([<ParamArray>] rules: Optimiser[]) : Optimiser = Optim.chain (List.ofArray rules)

/// How a network does on a dataset.
type Evaluation =
    {
        Loss: float
        /// The metrics by name.
        Metrics: IReadOnlyDictionary<string, float>
    }

/// Where a network begins. What follows are extension methods, each checked as it is called.
[<AbstractClass; Sealed; Extension>]
type Network private () =

    static let orElse other (given: Weights | null) =
        match given with
        | null -> other
        | given -> given.Initialiser

    static let within (make: Func<Layer, Layer>) =
        match make.Invoke(Composition.chain []) with
        | { Form = Chain; Parts = [ only ] } -> only
        | inner -> inner

    /// The shape of one example, without the batch axis.
    static member Input
        (
            sizes: int[],
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        Layers.input (List.ofArray sizes, file, line)

    /// The network and then a layer.
    [<Extension>]
    static member Then(network: Layer, layer: Layer) : Layer = network >=> layer

    // ---- with parameters ----

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
        >=> Layers.dense (units, bias, orElse Init.glorotUniform weights, orElse Init.zeros biases, file, line)

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
            orElse Init.glorotUniform weights,
            orElse Init.zeros biases,
            file,
            line
        )

    /// The transposed convolution, which makes images larger: weight [inputs; channels / groups; kernel…], bias [channels].
    [<Extension>]
    static member ConvTransposed
        (
            network: Layer,
            channels: int,
            kernel: PerAxis,
            [<Optional>] stride: PerAxis,
            [<Optional>] pad: Padding,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.convTransposed (channels, kernel, stride, pad, ?file = Some file, ?line = Some line)

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

    /// The mean of each channel: [channels; spatial…] becomes [channels].
    [<Extension>]
    static member GlobalAveragePool
        (
            network: Layer,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.globalAveragePool (file, line)

    /// Each channel normalised over batch and positions; in inference with running statistics (Ioffe and Szegedy, 2015).
    [<Extension>]
    static member BatchNorm
        (
            network: Layer,
            [<Optional; DefaultParameterValue(0.1)>] momentum: float,
            [<Optional; DefaultParameterValue(1e-5)>] epsilon: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.batchNorm (momentum, epsilon, true, file, line)

    /// Each example normalised over its last axes (Ba, Kiros and Hinton, 2016).
    [<Extension>]
    static member LayerNorm
        (
            network: Layer,
            [<Optional; DefaultParameterValue(1)>] axes: int,
            [<Optional; DefaultParameterValue(1e-5)>] epsilon: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.layerNorm (axes, epsilon, true, file, line)

    /// All states of a simple recurrent network, from zero (Elman, 1990).
    [<Extension>]
    static member Rnn
        (
            network: Layer,
            units: int,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.rnn (units, ?file = Some file, ?line = Some line)

    /// All states of a long short-term memory, from zero (Hochreiter and Schmidhuber, 1997).
    [<Extension>]
    static member Lstm
        (
            network: Layer,
            units: int,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.lstm (units, ?file = Some file, ?line = Some line)

    /// All states of a gated recurrent unit, from zero (Cho et al., 2014).
    [<Extension>]
    static member Gru
        (
            network: Layer,
            units: int,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.gru (units, ?file = Some file, ?line = Some line)

    /// The last step of a sequence: [steps; features] becomes [features].
    [<Extension>]
    static member LastState
        (
            network: Layer,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.lastState (file, line)

    /// Vectors in place of whole numbers 0 … count − 1: […] becomes […; size].
    [<Extension>]
    static member Embedding
        (
            network: Layer,
            count: int,
            size: int,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.embedding (count, size, ?file = Some file, ?line = Some line)

    /// Self-attention and two dense layers on every step, each around a residual and behind a layer norm (Vaswani et al., 2017).
    [<Extension>]
    static member TransformerBlock
        (
            network: Layer,
            heads: int,
            width: int,
            [<Optional; DefaultParameterValue(false)>] causal: bool,
            [<Optional; DefaultParameterValue(0.0)>] dropout: float,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.transformerBlock (
            heads,
            width,
            causal = causal,
            dropout = dropout,
            ?file = Some file,
            ?line = Some line
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

    /// x + f(x) (He et al., 2016).
    [<Extension>]
    static member Residual
        (
            network: Layer,
            inner: Func<Layer, Layer>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.residual (within inner, file, line)

    /// Any pure function of a batch as a layer.
    [<Extension>]
    static member Lambda
        (
            network: Layer,
            name: string,
            f: Func<Tensor, Tensor>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.lambda (name, (fun x -> f.Invoke x), file, line)

    // ---- activations ----

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

    // ---- shapes, combinators ----

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

    /// What several branches make of the same input, joined along the first axis after the batch.
    [<Extension>]
    static member Concat
        (
            network: Layer,
            branches: Func<Layer, Layer>[],
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.concat (branches |> Array.map within |> List.ofArray, 0, file, line)

    /// A block of its own name: its parameters are found under it.
    [<Extension>]
    static member Named(network: Layer, name: string, inner: Func<Layer, Layer>) : Layer =
        network >=> Layers.named name (within inner)

    // ---- training ----

    /// Trains the network and shows progress; it is the same for the same key. Ctrl-C ends after the step under way.
    [<Extension>]
    static member Fit
        (
            network: Layer,
            data: Dataset,
            optimiser: Optimiser,
            loss: Func<Tensor, Tensor, Tensor>,
            key: Key,
            [<Optional; DefaultParameterValue(10)>] epochs: int,
            [<Optional; DefaultParameterValue(32)>] batchSize: int,
            [<Optional; DefaultParameterValue(null: IEnumerable<Metric> | null)>] metrics: IEnumerable<Metric> | null,
            [<Optional; DefaultParameterValue(0)>] patience: int,
            [<Optional>] validation: Dataset | null
        ) : Run =
        let metrics =
            match metrics with
            | null -> []
            | metrics -> List.ofSeq metrics

        let options =
            TrainOptions.epochs epochs
            >> TrainOptions.batchSize batchSize
            >> report metrics
            >> match validation with
               | null -> id
               | data -> validate data
            >> if patience = 0 then id else earlyStop patience

        Train.fit optimiser (fun y target -> loss.Invoke(y, target)) options network data key

    /// The mean loss and the metrics of a trained network on a dataset.
    [<Extension>]
    static member Evaluate
        (run: Run, data: Dataset, loss: Func<Tensor, Tensor, Tensor>, [<ParamArray>] metrics: Metric[])
        : Evaluation =
        let mean, values =
            Train.evaluate (fun y target -> loss.Invoke(y, target)) (List.ofArray metrics) run data

        {
            Loss = mean
            Metrics = dict values |> Dictionary
        }

/// Examples for training.
[<AbstractClass; Sealed; Extension>]
type Data private () =
    /// Inputs and targets whose first axis counts the examples.
    static member From(inputs: Tensor, targets: Tensor) : Dataset = Dataset.ofTensors inputs targets

    /// Images of a shape as bytes, one after the other, with one class per image. Values are 0 … 255 until they are scaled.
    static member FromBytes(shape: int[], images: byte[], labels: byte[]) : Dataset =
        Dataset.ofBytes (List.ofArray shape) images labels

    /// Every input v as v·factor + shift.
    [<Extension>]
    static member Scale(data: Dataset, factor: float, [<Optional; DefaultParameterValue(0.0)>] shift: float) : Dataset =
        Dataset.scale factor shift data

    /// The first n examples, or all if there are fewer.
    [<Extension>]
    static member Take(data: Dataset, n: int) : Dataset = Dataset.truncate n data

    /// A share of the examples drawn at random, and the others.
    [<Extension>]
    static member Split(data: Dataset, share: float, key: Key) : struct (Dataset * Dataset) =
        let first, others = Dataset.split share key data
        struct (first, others)

    /// Batches of inputs and targets in order; the last one may be smaller.
    [<Extension>]
    static member Batches(data: Dataset, size: int) : IEnumerable<struct (Tensor * Tensor)> =
        Dataset.batch size data |> Seq.map (fun (x, y) -> struct (x, y))
