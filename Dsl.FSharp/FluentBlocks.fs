/// Sequences and blocks of layers as a C# programmer says them.
namespace Functional.Fluent

open System
open System.Collections.Generic
open System.Runtime.CompilerServices
open System.Runtime.InteropServices
open Functional

/// Layers over sequences [steps; features].
[<AbstractClass; Sealed; Extension>]
type SequenceLayers private () =
    /// All states of a simple recurrent network (Elman, 1990); the first is zero, or `state`: [units] for every example alike, [batch; units] for each its own.
    [<Extension>]
    static member Rnn
        (
            network: Layer,
            units: int,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] state: Tensor | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.rnn (
            units,
            ?state = Option.ofObj state,
            weights = Given.orElse Init.fanInUniform weights,
            ?file = Some file,
            ?line = Some line
        )

    /// All states of a long short-term memory (Hochreiter and Schmidhuber, 1997); state and cell are zero at first, or given as in `Rnn`.
    /// `cells` puts the cells beside the states, [steps; 2·units].
    [<Extension>]
    static member Lstm
        (
            network: Layer,
            units: int,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] state: Tensor | null,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] cell: Tensor | null,
            [<Optional; DefaultParameterValue(false)>] cells: bool,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.lstm (
            units,
            ?state = Option.ofObj state,
            ?cell = Option.ofObj cell,
            cells = cells,
            weights = Given.orElse Init.fanInUniform weights,
            ?file = Some file,
            ?line = Some line
        )

    /// All states of a gated recurrent unit (Cho et al., 2014); the first is zero, or given as in `Rnn`.
    [<Extension>]
    static member Gru
        (
            network: Layer,
            units: int,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] state: Tensor | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.gru (
            units,
            ?state = Option.ofObj state,
            weights = Given.orElse Init.fanInUniform weights,
            ?file = Some file,
            ?line = Some line
        )

    /// The layer once from the first step and once, with parameters of its own, from the last; the features side by side (Schuster and Paliwal, 1997).
    [<Extension>]
    static member Bidirectional
        (
            network: Layer,
            layer: Func<Layer, Layer>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.bidirectional (Given.block layer, file, line)

    /// A layer of one's own as the cell of a recurrent network: h′ = cell [x; h] for each step, from zero, where the features of x and the `units` of h
    /// stand side by side. All states [steps; units].
    [<Extension>]
    static member Recurrent
        (
            network: Layer,
            units: int,
            cell: Func<Layer, Layer>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.recurrent (units, Given.block cell, file, line)

    /// The last step of a sequence: [steps; features] becomes [features].
    [<Extension>]
    static member LastState
        (
            network: Layer,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.lastState (file, line)

    /// Vectors in place of whole numbers 0 … count − 1: […] becomes […; size], from a table [count; size] drawn from N(0, 1).
    [<Extension>]
    static member Embedding
        (
            network: Layer,
            count: int,
            size: int,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.embedding (
            count,
            size,
            weights = Given.orElse (Init.normal 1.0) weights,
            ?file = Some file,
            ?line = Some line
        )

    /// x plus a learned vector for each step, drawn from N(0, 0.02²).
    [<Extension>]
    static member Positions
        (
            network: Layer,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.positions (weights = Given.orElse (Init.normal 0.02) weights, ?file = Some file, ?line = Some line)

    /// x plus sines and cosines of each step (Vaswani et al., 2017).
    [<Extension>]
    static member Sinusoidal
        (
            network: Layer,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.sinusoidal (file, line)

    /// Self-attention with several heads; `causal` lets a step see itself and what came before (Vaswani et al., 2017).
    /// The mask is true where a step may be seen: [batch; steps], or [batch; steps; steps] for each step its own; numbers are added to the scores.
    [<Extension>]
    static member MultiHeadAttention
        (
            network: Layer,
            heads: int,
            [<Optional; DefaultParameterValue(false)>] causal: bool,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] mask: Tensor | null,
            [<Optional; DefaultParameterValue(0.0)>] dropout: float,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.multiHeadAttention (
            heads,
            causal = causal,
            ?mask = Option.ofObj mask,
            dropout = dropout,
            weights = Given.orElse Init.glorotUniform weights,
            ?file = Some file,
            ?line = Some line
        )

    /// Attention with several heads of the steps to another sequence, memory [batch; memory's steps; its features] (Bahdanau et al., 2015; Vaswani
    /// et al., 2017). The mask is true where a step of the memory may be seen; `observe` is shown how much each step takes from each step of the
    /// memory: [batch; heads; steps; memory's steps].
    [<Extension>]
    static member CrossAttention
        (
            network: Layer,
            memory: Tensor,
            heads: int,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] mask: Tensor | null,
            [<Optional; DefaultParameterValue(0.0)>] dropout: float,
            [<Optional; DefaultParameterValue(null: Action<Tensor> | null)>] observe: Action<Tensor> | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.crossAttention (
            memory,
            heads,
            ?mask = Option.ofObj mask,
            dropout = dropout,
            ?observe = Given.action observe,
            weights = Given.orElse Init.glorotUniform weights,
            ?file = Some file,
            ?line = Some line
        )

    /// A layer on every step for itself: [steps; features] becomes [steps; …].
    [<Extension>]
    static member EachStep
        (
            network: Layer,
            layer: Func<Layer, Layer>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.eachStep (Given.block layer, file, line)

    /// Self-attention and two dense layers on every step, each around a residual and behind a layer norm (in front of it with `postNorm`); the inner
    /// one has `width` units and GELU, or another activation (Vaswani et al., 2017).
    [<Extension>]
    static member TransformerBlock
        (
            network: Layer,
            heads: int,
            width: int,
            [<Optional; DefaultParameterValue(false)>] causal: bool,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] mask: Tensor | null,
            [<Optional; DefaultParameterValue(0.0)>] dropout: float,
            [<Optional; DefaultParameterValue(false)>] postNorm: bool,
            [<Optional; DefaultParameterValue(null: Func<Layer, Layer> | null)>] activation: Func<Layer, Layer> | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.transformerBlock (
            heads,
            width,
            causal = causal,
            ?mask = Option.ofObj mask,
            dropout = dropout,
            postNorm = postNorm,
            ?activation = Given.layer activation,
            weights = Given.orElse Init.glorotUniform weights,
            ?file = Some file,
            ?line = Some line
        )

    /// A block of a decoder: causal self-attention, attention to a memory and two dense layers on every step, each around a residual and behind a
    /// layer norm (in front of it with `postNorm`). `mask` is about the steps themselves, `memoryMask` and `observe` about the memory.
    [<Extension>]
    static member TransformerDecoderBlock
        (
            network: Layer,
            memory: Tensor,
            heads: int,
            width: int,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] mask: Tensor | null,
            [<Optional; DefaultParameterValue(null: Tensor | null)>] memoryMask: Tensor | null,
            [<Optional; DefaultParameterValue(0.0)>] dropout: float,
            [<Optional; DefaultParameterValue(false)>] postNorm: bool,
            [<Optional; DefaultParameterValue(null: Func<Layer, Layer> | null)>] activation: Func<Layer, Layer> | null,
            [<Optional; DefaultParameterValue(null: Action<Tensor> | null)>] observe: Action<Tensor> | null,
            [<Optional; DefaultParameterValue(null: Weights | null)>] weights: Weights | null,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.transformerDecoderBlock (
            memory,
            heads,
            width,
            ?mask = Option.ofObj mask,
            ?memoryMask = Option.ofObj memoryMask,
            dropout = dropout,
            postNorm = postNorm,
            ?activation = Given.layer activation,
            ?observe = Given.action observe,
            weights = Given.orElse Init.glorotUniform weights,
            ?file = Some file,
            ?line = Some line
        )

/// Layers made of functions and of other layers.
[<AbstractClass; Sealed; Extension>]
type CombiningLayers private () =
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

    /// x + f(x) (He et al., 2016).
    [<Extension>]
    static member Residual
        (
            network: Layer,
            inner: Func<Layer, Layer>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.residual (Given.block inner, file, line)

    /// The sum of what several branches make of the same input.
    [<Extension>]
    static member Add
        (
            network: Layer,
            branches: Func<Layer, Layer>[],
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.add (Given.blocks branches, file, line)

    /// What several branches make of the same input, joined along an axis of the example (0 is the first after the batch).
    [<Extension>]
    static member Concat
        (
            network: Layer,
            branches: Func<Layer, Layer>[],
            [<Optional; DefaultParameterValue(0)>] axis: int,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.concat (Given.blocks branches, axis, file, line)

    /// What several branches make of the same input, joined by a function.
    [<Extension>]
    static member Branch
        (
            network: Layer,
            branches: Func<Layer, Layer>[],
            combine: Func<IReadOnlyList<Tensor>, Tensor>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.branch (Given.blocks branches, (fun results -> combine.Invoke results), file, line)

    /// What a layer makes, the memory, at hand for other layers, which receive the same input as it: an encoder and a decoder.
    ///   .Remember(encoder => encoder.Gru(64), (memory, decoder) => decoder.Gru(64, state: memory.Select(1, -1)).CrossAttention(memory, 4))
    /// The function is called for every batch, and once with a shape alone; it may use shapes, not values, to choose its layers.
    [<Extension>]
    static member Remember
        (
            network: Layer,
            first: Func<Layer, Layer>,
            next: Func<Tensor, Layer, Layer>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network
        >=> Layers.remember (
            Given.block first,
            (fun memory -> Given.block (Func<_, _>(fun layers -> next.Invoke(memory, layers)))),
            file,
            line
        )

    /// The layer n times, one after the other, each time with parameters of its own.
    [<Extension>]
    static member Repeat(network: Layer, n: int, layer: Func<Layer, Layer>) : Layer =
        network >=> Layers.repeat n (Given.block layer)

    /// A block of its own name: its parameters are found under it.
    [<Extension>]
    static member Named(network: Layer, name: string, layer: Func<Layer, Layer>) : Layer =
        network >=> Layers.named name (Given.block layer)

    /// A block whose parameters no optimiser changes.
    [<Extension>]
    static member Frozen(network: Layer, layer: Func<Layer, Layer>) : Layer =
        network >=> Layers.frozen (Given.block layer)

    /// Adds the values of a regulariser, such as `Regularisers.L2(1e-4)`, for the parameters of a block that a pattern means to the loss in training:
    /// the losses that are shown leave them out.
    [<Extension>]
    static member WithRegulariser
        (network: Layer, pattern: string, regulariser: Func<Tensor, Tensor>, layer: Func<Layer, Layer>)
        : Layer =
        network
        >=> Layers.withRegulariser pattern regulariser.Invoke (Given.block layer)

    /// Passes x on and shows it to an observer.
    [<Extension>]
    static member Tap
        (
            network: Layer,
            observe: Action<Tensor>,
            [<CallerFilePath; Optional; DefaultParameterValue("")>] file: string,
            [<CallerLineNumber; Optional; DefaultParameterValue(0)>] line: int
        ) : Layer =
        network >=> Layers.tap (observe.Invoke, file, line)
