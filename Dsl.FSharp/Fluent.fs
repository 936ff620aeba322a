/// The layer library as a C# programmer says it: `Network.Input([3, 32, 32]).Conv(6, kernel: 5).Relu().MaxPool(2).Flatten().Dense(10)`.
namespace Functional.Fluent

open System
open System.Collections.Generic
open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open Functional

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

/// Where a network begins, and how it is trained.
[<AbstractClass; Sealed; Extension>]
type Network private () =

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
