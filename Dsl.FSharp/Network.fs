namespace rec Functional

open System
open System.Collections.Concurrent
open System.Runtime.CompilerServices

/// A layer, or a whole network, as a value: what it is called, what it learns, and a pure function.
/// Shapes here leave the batch axis out.
[<CustomEquality; NoComparison>]
type Layer =
    {
        Name: string
        Place: Place option
        Form: Form
        /// The layers it is made of; empty when it is one.
        Parts: Layer list
        /// The same for a shape of the input, where a layer is made of others only when that is known.
        PartsFor: (Shape -> Layer list) option
        /// Whether training draws random numbers.
        IsRandom: bool
        /// The input's shape where it is known from the beginning.
        Input: Shape option
        /// What it learns, for a shape of the input.
        Parameters: Shape -> Tree<Parameter>
        /// What it remembers from batch to batch without learning it.
        State: Shape -> Tree<Parameter>
        Apply: Apply
        /// Set of a layer that is nothing but this activation.
        Activation: Activation option
        /// The same layer with an activation in its epilogue: one pass over the result instead of two.
        WithActivation: (Activation -> Apply) option
        /// The same layer in training with a tensor added to its result and an activation behind that, all in its epilogue.
        WithResidual: (Tensor -> Activation -> Apply) option
        /// Set of a layer that in inference is no more than a factor and a term for each channel: from its parameters and state.
        Scale: (Tree<Tensor> -> Tree<Tensor> -> Tensor * Tensor) option
        /// The same layer with its channels scaled and an activation, all in its weights and epilogue.
        WithScale: (Tensor * Tensor -> Activation -> Tree<Tensor> -> Tensor -> Tensor) option
    }

    override layer.Equals other = Object.ReferenceEquals(layer, other)
    override layer.GetHashCode() = layer.Name.GetHashCode()

    /// Path, output shape, parameters, bytes and flop of each layer, and its script line, as a table.
    override layer.ToString() = Composition.table layer

    /// One layer after the other, checked as it is composed.
    static member (>=>)(first: Layer, next: Layer) = Composition.compose first next

/// One or more layers of a chain that are applied as one, to their parameters and states.
type internal Step =
    {
        Path: string
        DrawsKey: bool
        Takes: int
        Run: Mode -> Tree<Tensor> list -> Tree<Tensor> list -> Tensor -> Tensor * Tree<Tensor> list
    }

/// What is known of a layer for a shape of its input.
type internal Facts =
    {
        Parameters: Tree<Parameter>
        State: Tree<Parameter>
        Output: Shape
        /// Multiplications and additions for one example.
        Flop: int64
    }

/// A layer that refuses what it receives; the exception that says so carries it along.
type internal Refusal =
    {
        Layer: Layer
        Received: Shape
        /// The layers before it as far as they are known, the last one first.
        Before: Layer list
        Reason: string
    }

/// How layers are put together: what each makes of the shape it receives, who is named when one refuses, and the table of what came out.
module internal Composition =
    /// Sizes as a script writes them: [28; 28]
    let text (shape: Shape) =
        $"""[{shape |> Seq.map string |> String.concat "; "}]"""

    // A block begins where its first layer does.
    let rec private placeOf layer =
        layer.Place |> Option.orElseWith (fun () -> List.tryPick placeOf layer.Parts)

    let at layer =
        match placeOf layer with
        | Some place -> $"'{layer.Name}' ({place})"
        | None -> $"'{layer.Name}'"

    let batched (n: int) (shape: Shape) = Shape.Of(Seq.append [ n ] shape)

    let withoutBatch (shape: Shape) = Shape.Of(shape.Sizes.Slice 1)

    let private meta parameter =
        Tensor.Meta(DType.Float32, parameter.Shape)

    // Found once for each layer and shape: a block within blocks would else be gone through again at every level above it.
    let private found =
        ConditionalWeakTable<Layer, ConcurrentDictionary<Shape, Facts>>()

    let private find (layer: Layer) (input: Shape) : Facts =
        let parameters, state = layer.Parameters input, layer.State input
        let mutable output = input

        let flop =
            Autodiff.Flop.Count(
                Action(fun () ->
                    let x = Tensor.Meta(DType.Float32, batched 1 input)
                    let y, _ = layer.Apply Infer (Tree.map meta parameters) (Tree.map meta state) x
                    output <- withoutBatch y.Shape)
            )

        {
            Parameters = parameters
            State = state
            Output = output
            Flop = flop
        }

    /// What the layer makes of a shape, from applying it to that shape without data.
    let facts (layer: Layer) (input: Shape) : Facts =
        found.GetOrCreateValue(layer).GetOrAdd(input, find layer)

    let outputShape layer (input: Shape) : Shape = (facts layer input).Output

    let private isPlaced layer = (placeOf layer).IsSome

    let private refuse refusal =
        // An activation does not know its line: the last layer before it that does tells where to look.
        let source =
            match refusal.Before, List.tryFind isPlaced refusal.Before with
            | [], _ -> ""
            | last :: _, Some placed when not (Object.ReferenceEquals(last, placed)) ->
                $" from {at last} after {at placed}"
            | last :: _, _ -> $" from {at last}"

        let received = $"it receives {text refusal.Received}{source}"

        let error =
            ShapeException $"shape error at {at refusal.Layer}\n  {received}\n  {refusal.Reason}"

        error.Data[typeof<Refusal>] <- refusal
        raise error

    let private (|Refused|_|) (error: exn) =
        match error.Data[typeof<Refusal>] with
        | :? Refusal as refusal -> Some refusal
        | _ -> None

    /// Runs what may refuse a shape; a refusal names the layers and the way out. The layers before come last first.
    let checking (layer: Layer) (input: Shape) (before: Layer list) f =
        try
            f ()
        with
        // The first layer of a block or branch receives what the block receives.
        | Refused refusal when not before.IsEmpty && not (List.exists isPlaced refusal.Before) ->
            refuse
                { refusal with
                    Before = refusal.Before @ before
                }
        | Refused _ -> reraise ()
        | :? ShapeException as error ->
            refuse
                {
                    Layer = layer
                    Received = input
                    Before = before
                    Reason = error.Message
                }

    // ---- chains ----

    /// Names that differ: dense, dense2, dense3.
    let distinct (parts: Layer list) =
        (Map.empty, parts)
        ||> List.mapFold (fun seen part ->
            let n = 1 + (Map.tryFind part.Name seen |> Option.defaultValue 0)
            (if n = 1 then part.Name else $"{part.Name}{n}"), Map.add part.Name n seen)
        |> fst

    // Adds the layer's name to the path of a value that was not finite.
    let under name (apply: unit -> 'R) =
        try
            apply ()
        with :? Autodiff.NonFiniteException as error ->
            error.Layer <-
                match error.Layer with
                | null -> name
                | inner -> $"{name}.{inner}"

            reraise ()

    let noSuchTree () =
        invalidArg
            "parameters"
            "layer: parameters and state must be trees that this network made; got other names. Make them with Layer.init."

    let private one name (layer: Layer) =
        {
            Path = name
            DrawsKey = layer.IsRandom
            Takes = 1
            Run =
                fun mode parameters state x ->
                    let y, s = layer.Apply mode parameters.Head state.Head x
                    y, [ s ]
        }

    // An activation in the epilogue of the layer before it.
    let private activated name (layer: Layer) (apply: Apply) =
        { one name layer with
            Takes = 2
            Run =
                fun mode parameters state x ->
                    let y, s = apply mode parameters.Head state.Head x
                    y, [ s; state[1] ]
        }

    // A layer that scales channels in the weights before it, and an activation behind it in the epilogue.
    let private scaled takes name (layer: Layer) (scale: Layer) activation =
        { one name layer with
            Takes = takes
            Run =
                fun _ parameters state x ->
                    let factorAndTerm = scale.Scale.Value parameters[1] state[1]
                    layer.WithScale.Value factorAndTerm activation parameters.Head x, state
        }

    let rec private steps inference (parts: (string * Layer) list) : Step list =
        match parts with
        | (name, layer) :: (_, scale) :: rest when inference && layer.WithScale.IsSome && scale.Scale.IsSome ->
            match rest with
            | (_, next) :: rest when next.Activation.IsSome ->
                scaled 3 name layer scale next.Activation.Value :: steps inference rest
            | _ -> scaled 2 name layer scale Activation.None :: steps inference rest
        | (name, layer) :: (_, next) :: rest when layer.WithActivation.IsSome && next.Activation.IsSome ->
            activated name layer (layer.WithActivation.Value next.Activation.Value)
            :: steps inference rest
        | (name, layer) :: rest -> one name layer :: steps inference rest
        | [] -> []

    let chain (parts: Layer list) : Layer =
        let names = distinct parts
        let named = List.zip names parts

        /// The facts of each part for the shape it receives.
        let along (input: Shape) : (string * Facts) list =
            ((input, []), named)
            ||> List.mapFold (fun (received, before) (name, part) ->
                let facts = checking part received before (fun () -> facts part received)
                (name, facts), (facts.Output, part :: before))
            |> fst

        let training, inference = steps false named, steps true named

        let rec walk (steps: Step list) mode parameters state (x: Tensor) changed =
            match steps with
            | [] when List.isEmpty parameters && List.isEmpty state -> x, List.concat (List.rev changed)
            | step :: steps when List.length parameters >= step.Takes && List.length state >= step.Takes ->
                let mode =
                    match mode with
                    | Train key when step.DrawsKey -> Train(key.Fold(step.Path: string))
                    | mode -> mode

                let mine, parameters = List.splitAt step.Takes parameters
                let remembered, state = List.splitAt step.Takes state

                let y, s =
                    under step.Path (fun () -> step.Run mode (List.map snd mine) (List.map snd remembered) x)

                walk steps mode parameters state y (List.map2 (fun (name, _) s -> name, s) remembered s :: changed)
            | _ -> noSuchTree ()

        let apply steps mode parameters state x =
            match parameters, state with
            | Node ps, Node ss ->
                let y, ss = walk steps mode ps ss x []
                y, Node ss
            | _ -> noSuchTree ()

        // Its last part's epilogue is its own.
        let withResidual =
            match List.rev named with
            | (name, last) :: before ->
                last.WithResidual
                |> Option.map (fun withResidual ->
                    let before = steps false (List.rev before)

                    fun residual activation ->
                        let last =
                            { last with
                                Apply = withResidual residual activation
                            }

                        apply (before @ [ one name last ]))
            | [] -> None

        {
            Name = "network"
            Place = None
            Form = Chain
            Parts = parts
            PartsFor = None
            IsRandom = parts |> List.exists _.IsRandom
            Input = parts |> List.tryHead |> Option.bind _.Input
            Parameters = fun input -> Node [ for name, facts in along input -> name, facts.Parameters ]
            State = fun input -> Node [ for name, facts in along input -> name, facts.State ]
            Apply =
                fun mode ->
                    match mode with
                    | Infer -> apply inference mode
                    | Train _ -> apply training mode
            Activation = None
            WithActivation = None
            WithResidual = withResidual
            Scale = None
            WithScale = None
        }

    let unchained layer =
        match layer.Form with
        | Chain -> layer.Parts
        | _ -> [ layer ]

    /// One layer after the other. Where the input's shape is known, the next layer's shapes are checked at once.
    let compose (first: Layer) (next: Layer) : Layer =
        let parts = unchained first @ unchained next
        let network = chain parts

        match network.Input with
        | Some input -> network.Parameters input |> ignore
        | None -> ()

        network

    // ---- the table ----

    let private countOf (tree: Tree<Parameter>) =
        tree |> Tree.leaves |> Array.sumBy _.Shape.Count

    let private size = int64 (DType.Float32.Size())

    /// The layers with their paths and the shapes they receive, outer ones before what they are made of; a chain is only its parts.
    let rec private walk path (input: Shape option) (layer: Layer) : (string * Shape option * Layer) list =
        let inside = if path = "" then "" else path + "."

        [
            match layer.Form with
            | Chain -> ()
            | _ -> (if path = "" then layer.Name else path), input, layer

            let parts =
                match layer.PartsFor, input with
                | Some partsFor, Some shape -> partsFor shape
                | _ -> layer.Parts

            match layer.Form with
            | Single -> ()
            | Branches ->
                for name, part in List.zip (distinct parts) parts do
                    yield! walk (inside + name) input part
            | Chain
            | Block ->
                let mutable shape = input

                for name, part in List.zip (distinct parts) parts do
                    yield! walk (inside + name) shape part
                    shape <- shape |> Option.map (outputShape part)
        ]

    /// Path, output shape, parameters, bytes of the output and flop for one example, and script line of each layer, as a table; below it the sums.
    let table (layer: Layer) =
        let rows = walk "" layer.Input layer

        let known f =
            function
            | Some value -> f value
            | None -> "?"

        let orEmpty =
            function
            | 0L -> ""
            | n -> Table.count n

        let row (path, input, layer: Layer) =
            let facts = input |> Option.map (facts layer)

            [
                path
                facts |> known (fun facts -> text facts.Output)
                facts |> known (fun facts -> orEmpty (countOf facts.Parameters))
                facts |> known (fun facts -> Table.bytes (facts.Output.Count * size))
                facts |> known (fun facts -> orEmpty facts.Flop)
                layer.Place |> Option.map string |> Option.defaultValue ""
            ]

        let columns: Table.Column list =
            [
                { Title = "layer"; Align = Table.Words }
                {
                    Title = "output"
                    Align = Table.Words
                }
                {
                    Title = "parameters"
                    Align = Table.Numbers
                }
                {
                    Title = "memory"
                    Align = Table.Numbers
                }
                {
                    Title = "flop"
                    Align = Table.Numbers
                }
                { Title = "line"; Align = Table.Words }
            ]

        let sums =
            match layer.Input with
            | None -> "the input's shape is not known yet"
            | Some input ->
                let facts = facts layer input
                let parameters = countOf facts.Parameters

                // What is made of others gives what the last of them gives, once.
                let outputs =
                    rows
                    |> List.sumBy (fun (_, input, layer) ->
                        match input with
                        | Some shape when layer.Parts.IsEmpty && layer.PartsFor.IsNone ->
                            (outputShape layer shape).Count * size
                        | _ -> 0L)

                $"{Table.count parameters} parameters ({Table.bytes (parameters * size)}); each example {Table.bytes outputs} of outputs, {Table.count facts.Flop} flop"

        $"{Table.render columns (List.map row rows)}{Environment.NewLine}{sums}"
