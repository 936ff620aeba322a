namespace Functional

open System
open System.Runtime.CompilerServices

/// The layers as bare words that know their script line: `open type Functional.Layers`.
[<AbstractClass; Sealed>]
type Layers private () =

    static let place file line =
        match file, line with
        | Some file, Some line -> Some { File = file; Line = line }
        | _ -> None

    static let refuse requirement (received: Shape) advice =
        raise (ShapeException $"{requirement}, got {received.Rank}; {advice}")

    static let activation name kind =
        { Layer.ofFunction
              name
              None
              (match kind with
               | Activation.Relu -> _.Relu()
               | Activation.Tanh -> _.Tanh()
               | _ -> _.Sigmoid()) with
            Activation = Some kind
        }

    static let combined what (results: Tensor list) =
        match results |> List.map _.Shape |> List.distinct with
        | [ _ ] -> List.reduce (fun a b -> a + b) results
        | shapes ->
            let shapes = shapes |> List.map string |> String.concat " and "
            raise (ShapeException $"{what} adds what its branches give, so their shapes must agree; got {shapes}")

    /// Two dense layers on every step; the features that come in must come out, and how many they are is known when the input is.
    static let feedForward file line (width: int) activation weights =
        let place = place file line

        Layer.sized "feedForward" place (fun (input: Shape) ->
            let dense units =
                Attending.eachStep place (Layers.dense (units, weights = weights, ?file = file, ?line = line))

            dense width >=> activation >=> dense input[-1])

    /// Layers one after the other, each around a residual with a layer norm before or after it.
    static let transformer name file line rate postNorm (parts: Layer list) =
        let place = place file line
        let norm = Normalising.layer place 1 1e-5 true

        let dropped (layer: Layer) =
            if rate > 0.0 then
                layer >=> Layers.dropout (rate, ?file = file, ?line = line)
            else
                layer

        let around (layer: Layer) =
            if postNorm then
                Layers.residual (dropped layer, ?file = file, ?line = line) >=> norm
            else
                Layers.residual (norm >=> dropped layer, ?file = file, ?line = line)

        { Layer.named name (parts |> List.map around |> List.reduce (>=>)) with
            Place = place
        }

    // ---- beginnings ----

    /// The shape of one example, without the batch axis. A network begins with it so that every `>=>` can be checked.
    static member input(sizes: int list, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        let shape = Shape.Of sizes

        let check (x: Tensor) =
            if x.Rank <> shape.Rank + 1 || Shape.Of(x.Shape.Sizes.Slice 1) <> shape then
                raise (
                    ShapeException
                        $"input: examples of {Composition.text shape} under a batch axis are expected; got a batch {Composition.text x.Shape}. Reshape the data."
                )

            x

        { Layer.ofFunction "input" (place file line) check with
            Input = Some shape
        }

    // ---- with parameters ----

    /// y = x·W + b for x [features], W [features, units], b [units].
    static member dense
        (
            units: int,
            ?bias: bool,
            ?weights: Initialiser,
            ?biases: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        let bias = defaultArg bias true
        let weights = defaultArg weights Init.glorotUniform
        let biases = defaultArg biases Init.zeros

        if units < 1 then
            raise (ShapeException $"dense: at least one unit is needed; got {units}. Give a positive number.")

        let parameters (input: Shape) =
            if input.Rank <> 1 then
                refuse "dense expects one feature axis" input "put flatten () before it"

            let fans = { In = input[0]; Out = units }

            let parameter shape initialiser =
                Leaf
                    {
                        Shape = shape
                        Fans = fans
                        Initialiser = initialiser
                        IsTrained = true
                        Regularisers = []
                    }

            Node
                [
                    "weight", parameter (Shape.Of [ input[0]; units ]) weights
                    if bias then
                        "bias", parameter (Shape.Of [ units ]) biases
                ]

        let apply activation parameters (x: Tensor) =
            match parameters with
            | Node [ _, Leaf weight; _, Leaf bias ] -> Tensor.Linear(x, weight, bias, activation)
            | Node [ _, Leaf weight ] -> Tensor.Linear(x, weight, null, activation)
            | _ ->
                invalidArg
                    (nameof parameters)
                    "dense: parameters must be a weight and a bias; got another tree. Make them with Layer.init."

        { Layer.ofParameters "dense" (place file line) parameters (apply Activation.None) with
            WithActivation = Some(fun activation _ parameters state x -> apply activation parameters x, state)
        }

    // ---- windows over images [channels; spatial…], with one to three spatial axes ----

    /// As many zeros around an image as give ⌈size/stride⌉ windows.
    static member Same: Padding = Padding.Same

    /// No zeros around an image.
    static member Valid: Padding = Padding.Valid

    /// A convolution (cross-correlation) with `channels` results: weight [channels; inputs / groups; kernel…], bias [channels].
    /// Sizes are one number for all spatial axes, or an array with one for each; as many groups as channels make it depthwise.
    static member conv
        (
            channels: int,
            kernel: PerAxis,
            ?stride: PerAxis,
            ?pad: Padding,
            ?dilation: PerAxis,
            ?groups: int,
            ?bias: bool,
            ?weights: Initialiser,
            ?biases: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        let window =
            Window(
                Stride = defaultArg stride (PerAxis()),
                Padding = defaultArg pad Padding.Valid,
                Dilation = defaultArg dilation (PerAxis()),
                Groups = defaultArg groups 1
            )

        Convolutional.conv
            (place file line)
            channels
            kernel
            window
            (defaultArg bias true)
            (defaultArg weights Init.glorotUniform)
            (defaultArg biases Init.zeros)

    /// The transposed convolution, which makes images larger: weight [inputs; channels / groups; kernel…], bias [channels].
    /// A spatial axis becomes (size − 1)·stride + kernel − padding + outputPadding, or size·stride with padding `Same`.
    static member convTransposed
        (
            channels: int,
            kernel: PerAxis,
            ?stride: PerAxis,
            ?pad: Padding,
            ?outputPadding: PerAxis,
            ?dilation: PerAxis,
            ?groups: int,
            ?bias: bool,
            ?weights: Initialiser,
            ?biases: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        let window =
            Window(
                Stride = defaultArg stride (PerAxis()),
                Padding = defaultArg pad Padding.Valid,
                Dilation = defaultArg dilation (PerAxis()),
                Groups = defaultArg groups 1
            )

        Convolutional.convTransposed
            (place file line)
            channels
            kernel
            window
            (defaultArg outputPadding (PerAxis()))
            (defaultArg bias true)
            (defaultArg weights Init.glorotUniform)
            (defaultArg biases Init.zeros)

    /// The largest element of each window; windows lie side by side unless `stride` says otherwise.
    static member maxPool
        (
            kernel: PerAxis,
            ?stride: PerAxis,
            ?pad: Padding,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        let window =
            Window(Stride = defaultArg stride (PerAxis()), Padding = defaultArg pad Padding.Valid)

        Convolutional.pool "maxPool" (place file line) (fun x -> x.MaxPool(kernel, window))

    /// The mean of each window; windows lie side by side unless `stride` says otherwise. Zeros of the padding count.
    static member averagePool
        (
            kernel: PerAxis,
            ?stride: PerAxis,
            ?pad: Padding,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        let window =
            Window(Stride = defaultArg stride (PerAxis()), Padding = defaultArg pad Padding.Valid)

        Convolutional.pool "averagePool" (place file line) (fun x -> x.AveragePool(kernel, window))

    /// The largest element of each of the windows that make the given spatial sizes.
    static member adaptiveMaxPool
        (size: PerAxis, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Convolutional.pool "adaptiveMaxPool" (place file line) (fun x -> x.AdaptiveMaxPool size)

    /// The mean of each of the windows that make the given spatial sizes.
    static member adaptiveAveragePool
        (size: PerAxis, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Convolutional.pool "adaptiveAveragePool" (place file line) (fun x -> x.AdaptiveAveragePool size)

    /// The mean of each channel: [channels; spatial…] becomes [channels].
    static member globalAveragePool([<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Convolutional.pool "globalAveragePool" (place file line) (fun x -> x.Mean(Convolutional.spatialAxes x))

    /// The largest element of each channel: [channels; spatial…] becomes [channels].
    static member globalMaxPool([<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Convolutional.pool "globalMaxPool" (place file line) (fun x -> x.Max(Convolutional.spatialAxes x))

    // ---- normalisation ----

    /// Each channel [channels; …] normalised over batch and positions, then ·gain + bias; in inference with running statistics,
    /// of which each batch in training moves a share `momentum` (Ioffe and Szegedy, 2015).
    static member batchNorm
        (
            ?momentum: float,
            ?epsilon: float,
            ?affine: bool,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        Normalising.batch (place file line) (defaultArg momentum 0.1) (defaultArg epsilon 1e-5) (defaultArg affine true)

    /// Each example normalised over its last axes, one unless said otherwise, then ·gain + bias (Ba, Kiros and Hinton, 2016).
    static member layerNorm
        (?axes: int, ?epsilon: float, ?affine: bool, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Normalising.layer (place file line) (defaultArg axes 1) (defaultArg epsilon 1e-5) (defaultArg affine true)

    /// x/√(mean x² + ε)·gain over the last axis (Zhang and Sennrich, 2019).
    static member rmsNorm(?epsilon: float, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Normalising.rms (place file line) (defaultArg epsilon 1e-5)

    /// Groups of channels of each example normalised, then ·gain + bias per channel (Wu and He, 2018).
    static member groupNorm
        (groups: int, ?epsilon: float, ?affine: bool, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Normalising.group
            "groupNorm"
            (place file line)
            (fun _ -> groups)
            (defaultArg epsilon 1e-5)
            (defaultArg affine true)

    /// Each channel of each example normalised, without gain and bias unless asked for (Ulyanov, Vedaldi and Lempitsky, 2016).
    static member instanceNorm
        (?epsilon: float, ?affine: bool, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Normalising.group "instanceNorm" (place file line) id (defaultArg epsilon 1e-5) (defaultArg affine false)

    // ---- sequences [steps; features] ----

    /// All states of h′ = tanh(x·Wx + bx + h·Wh + bh) (Elman, 1990); the first is zero, or `state`: [units] for every example alike,
    /// [batch; units] for each its own.
    static member rnn
        (
            units: int,
            ?state: Tensor,
            ?weights: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        Recurrent.recurrent "rnn" (place file line) 1 units (defaultArg weights Init.fanInUniform) (fun x wx wh bx bh ->
            Tensor.Rnn(x, wx, wh, bx, bh, Recurrent.perExample x state))

    /// All states of a long short-term memory (Hochreiter and Schmidhuber, 1997). State and cell are zero at first, or given:
    /// [units] for every example alike, [batch; units] for each its own. `cells` puts the cells beside the states, [steps; 2·units],
    /// for a network that goes on from the last of both.
    static member lstm
        (
            units: int,
            ?state: Tensor,
            ?cell: Tensor,
            ?cells: bool,
            ?weights: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        Recurrent.recurrent
            "lstm"
            (place file line)
            4
            units
            (defaultArg weights Init.fanInUniform)
            (fun x wx wh bx bh ->
                let struct (states, all) =
                    Tensor.Lstm(x, wx, wh, bx, bh, Recurrent.perExample x state, Recurrent.perExample x cell)

                if defaultArg cells false then
                    Tensor.Concat(-1, states, all)
                else
                    states)

    /// All states of a gated recurrent unit (Cho et al., 2014); the first is zero, or `state`: [units] for every example alike,
    /// [batch; units] for each its own.
    static member gru
        (
            units: int,
            ?state: Tensor,
            ?weights: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        Recurrent.recurrent "gru" (place file line) 3 units (defaultArg weights Init.fanInUniform) (fun x wx wh bx bh ->
            Tensor.Gru(x, wx, wh, bx, bh, Recurrent.perExample x state))

    /// The layer once from the first step and once, with parameters of its own, from the last; the features side by side (Schuster and Paliwal, 1997).
    static member bidirectional
        (layer: Layer, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Recurrent.bidirectional (place file line) layer

    /// A layer of one's own as the cell of a recurrent network: h′ = cell [x; h] for each step, from zero, where the features of x and the `units` of h
    /// stand side by side. All states [steps; units]; `recurrent (16, dense 16 >=> tanh)` is Elman's network.
    static member recurrent
        (units: int, cell: Layer, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Recurrent.overTime (place file line) units cell

    /// The last step of a sequence: [steps; features] becomes [features].
    static member lastState([<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Recurrent.lastState (place file line)

    /// Vectors in place of whole numbers 0 … count − 1: […] becomes […; size], from a table [count; size] drawn from N(0, 1).
    static member embedding
        (count: int, size: int, ?weights: Initialiser, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Attending.embedding (place file line) count size (defaultArg weights (Init.normal 1.0))

    /// x plus a learned vector for each step, drawn from N(0, 0.02²).
    static member positions
        (?weights: Initialiser, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Attending.positions (place file line) (defaultArg weights (Init.normal 0.02))

    /// x plus sines and cosines of each step (Vaswani et al., 2017).
    static member sinusoidal([<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Attending.sinusoidal (place file line)

    /// Self-attention with several heads; `causal` lets a step see itself and what came before (Vaswani et al., 2017).
    /// The mask is true where a step may be seen: [batch; steps], or [batch; steps; steps] for each step its own; numbers are added to the scores.
    static member multiHeadAttention
        (
            heads: int,
            ?causal: bool,
            ?mask: Tensor,
            ?dropout: float,
            ?weights: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        Attending.multiHeadAttention
            (place file line)
            heads
            (defaultArg causal false)
            mask
            (defaultArg dropout 0.0)
            (defaultArg weights Init.glorotUniform)

    /// Attention with several heads of the steps to another sequence, memory [batch; memory's steps; its features]: queries come from the steps,
    /// keys and values from the memory (Bahdanau et al., 2015; Vaswani et al., 2017). Features stay as many as come in.
    /// The mask is true where a step of the memory may be seen: [batch; memory's steps], or [batch; steps; memory's steps]; numbers are added to
    /// the scores. `observe` is shown how much each step takes from each step of the memory: [batch; heads; steps; memory's steps].
    static member crossAttention
        (
            memory: Tensor,
            heads: int,
            ?mask: Tensor,
            ?dropout: float,
            ?observe: Tensor -> unit,
            ?weights: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        Attending.crossAttention
            (place file line)
            memory
            heads
            mask
            (defaultArg dropout 0.0)
            observe
            (defaultArg weights Init.glorotUniform)

    /// A layer on every step for itself: [steps; features] becomes [steps; …].
    static member eachStep(layer: Layer, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Attending.eachStep (place file line) layer

    /// Self-attention and two dense layers on every step, each around a residual and behind a layer norm (in front of it with `postNorm`);
    /// the inner one has `width` units and GELU, or another activation. The mask is that of `multiHeadAttention`.
    static member transformerBlock
        (
            heads: int,
            width: int,
            ?causal: bool,
            ?mask: Tensor,
            ?dropout: float,
            ?postNorm: bool,
            ?activation: Layer,
            ?weights: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        let place = place file line
        let rate = defaultArg dropout 0.0
        let weights = defaultArg weights Init.glorotUniform

        transformer
            "transformerBlock"
            file
            line
            rate
            (defaultArg postNorm false)
            [
                Attending.multiHeadAttention place heads (defaultArg causal false) mask rate weights
                feedForward file line width (defaultArg activation Layers.gelu) weights
            ]

    /// A block of a decoder: causal self-attention, attention to a memory [batch; memory's steps; its features] and two dense layers on every step,
    /// each around a residual and behind a layer norm (in front of it with `postNorm`), as in Vaswani et al., 2017.
    /// `mask` is about the steps themselves, `memoryMask` and `observe` about the memory, as in `crossAttention`.
    static member transformerDecoderBlock
        (
            memory: Tensor,
            heads: int,
            width: int,
            ?mask: Tensor,
            ?memoryMask: Tensor,
            ?dropout: float,
            ?postNorm: bool,
            ?activation: Layer,
            ?observe: Tensor -> unit,
            ?weights: Initialiser,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        let place = place file line
        let rate = defaultArg dropout 0.0
        let weights = defaultArg weights Init.glorotUniform

        transformer
            "transformerDecoderBlock"
            file
            line
            rate
            (defaultArg postNorm false)
            [
                Attending.multiHeadAttention place heads true mask rate weights
                Attending.crossAttention place memory heads memoryMask rate observe weights
                feedForward file line width (defaultArg activation Layers.gelu) weights
            ]

    // ---- shapes ----

    /// All axes of an example as one.
    static member flatten([<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Layer.ofFunction "flatten" (place file line) (fun x -> if x.Rank = 2 then x else x.Reshape(x.Shape[0], -1))

    /// Each example in another shape of as many elements; −1 stands for what is left.
    static member reshape(sizes: int list, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Layer.ofFunction "reshape" (place file line) (fun x -> x.Reshape(Array.ofList (x.Shape[0] :: sizes)))

    /// A border of one value around an image [channels; spatial…]: as many elements on both sides of each spatial axis, or on each of them as in
    /// `Padding.Of(before, after)`.
    static member pad
        (size: Padding, ?value: float, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Convolutional.pad (place file line) size (defaultArg value 0.0)

    /// An image with each element repeated: [channels; spatial…] becomes [channels; spatial·factor…]. With `linear`, what lies between the elements'
    /// centres is interpolated, and the edge goes on outside of them.
    static member upsample
        (factor: PerAxis, ?linear: bool, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Convolutional.upsample (place file line) factor (defaultArg linear false)

    // ---- activations ----

    /// max(x, 0)
    static member relu: Layer = activation "relu" Activation.Relu

    /// The hyperbolic tangent.
    static member tanh: Layer = activation "tanh" Activation.Tanh

    /// 1 / (1 + e⁻ˣ)
    static member sigmoid: Layer = activation "sigmoid" Activation.Sigmoid

    /// x·Φ(x)
    static member gelu: Layer = Layer.ofFunction "gelu" None _.Gelu()

    /// x·σ(x)
    static member silu: Layer = Layer.ofFunction "silu" None _.Silu()

    /// x where x > 0, else eˣ − 1
    static member elu: Layer = Layer.ofFunction "elu" None _.Elu()

    /// The self-normalising unit.
    static member selu: Layer = Layer.ofFunction "selu" None _.Selu()

    /// x·tanh(ln(1 + eˣ))
    static member mish: Layer = Layer.ofFunction "mish" None _.Mish()

    /// ln(1 + eˣ)
    static member softplus: Layer = Layer.ofFunction "softplus" None _.Softplus()

    /// eˣ over its sum along the last axis
    static member softmax: Layer = Layer.ofFunction "softmax" None _.Softmax(-1)

    /// ln of the softmax along the last axis
    static member logSoftmax: Layer = Layer.ofFunction "logSoftmax" None _.LogSoftmax(-1)

    /// x where x > 0, else slope·x
    static member leakyRelu(?slope: float, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Layer.ofFunction "leakyRelu" (place file line) _.LeakyRelu(defaultArg slope 0.01)

    // ---- regularisation ----

    /// In training, zero with probability `rate`, else x / (1 − rate); in inference, x (Srivastava et al., 2014).
    static member dropout(rate: float, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Dropping.elements (place file line) rate

    /// Dropout of whole channels [channels; …] of each example, as neighbours in an image say much the same (Tompson et al., 2015).
    static member spatialDropout
        (rate: float, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Dropping.channels (place file line) rate

    /// Dropout of whole examples: `residual (block >=> stochasticDepth 0.1)` leaves the block out of one example in ten (Huang et al., 2016).
    static member stochasticDepth
        (rate: float, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Dropping.examples (place file line) rate

    // ---- combinators ----

    /// Any pure function of a batch as a layer.
    static member lambda
        (name: string, f: Tensor -> Tensor, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Layer.ofFunction name (place file line) f

    /// x + f(x) (He et al., 2016).
    static member residual(inner: Layer, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Layer.sum "residual" (place file line) (combined "residual") [ Layer.ofFunction "skip" None id; inner ]

    /// The sum of what several layers make of the same input.
    static member add(branches: Layer list, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int) : Layer =
        Layer.sum "add" (place file line) (combined "add") branches

    /// What several layers make of the same input, joined along an axis of the example (0 is the first after the batch).
    static member concat
        (branches: Layer list, ?axis: int, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        let axis = defaultArg axis 0
        let axis = if axis < 0 then axis else axis + 1

        Layer.branch "concat" (place file line) (fun results -> Tensor.Concat(axis, List.toArray results)) branches

    /// What several layers make of the same input, joined by a function.
    static member branch
        (
            branches: Layer list,
            combine: Tensor list -> Tensor,
            [<CallerFilePath>] ?file: string,
            [<CallerLineNumber>] ?line: int
        ) : Layer =
        Layer.branch "branch" (place file line) combine branches

    /// What a layer makes, the memory, at hand for other layers, which receive the same input as it: an encoder and a decoder.
    ///   input [ 40 ] >=> remember (encoder, fun memory -> decoder >=> gru (64, state = memory.Select(1, -1)) >=> crossAttention (memory, 4))
    /// The function is called for every batch, and once with a shape alone; it may use shapes, not values, to choose its layers.
    static member remember
        (first: Layer, next: Tensor -> Layer, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Layer.remember (place file line) first next

    /// The layer n times, one after the other, each time with parameters of its own.
    static member repeat (n: int) (layer: Layer) : Layer =
        if n < 1 then
            invalidArg (nameof n) $"repeat: at least one time is needed; got {n}. Give a positive number."

        List.replicate n layer |> List.reduce (>=>)

    /// A block of its own name.
    static member named (name: string) (layer: Layer) : Layer = Layer.named name layer

    /// The same layer, whose parameters no optimiser changes.
    static member frozen(layer: Layer) : Layer = Layer.frozen layer

    /// Adds the values of a regulariser for the parameters that a pattern means to the loss in training:
    /// `dense 10 |> withRegulariser "weight" (Regulariser.l2 1e-4)`. The pattern is read as by `Tree.matches`; the losses that are shown leave them out.
    static member withRegulariser (pattern: string) (regulariser: Regulariser) (layer: Layer) : Layer =
        Layer.withRegulariser pattern regulariser layer

    /// Passes x on and shows it to an observer.
    static member tap
        (observe: Tensor -> unit, [<CallerFilePath>] ?file: string, [<CallerLineNumber>] ?line: int)
        : Layer =
        Layer.ofFunction "tap" (place file line) (fun x ->
            if not x.IsMeta then
                observe x

            x)
