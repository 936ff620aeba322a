namespace Functional

open System
open System.Collections.Concurrent
open Functional.Composition

/// Making, applying and combining layers.
[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Layer =
    /// The shape that comes out for a shape that goes in, both without the batch axis.
    let outputShape layer (input: Shape) : Shape = (facts layer input).Output

    /// The multiplications and additions of products, convolutions and recurrences for one example in inference.
    let flop layer (input: Shape) : int64 = (facts layer input).Flop

    /// One layer after the other. Where the input's shape is known, the next layer's shapes are checked at once.
    let compose (first: Layer) (next: Layer) : Layer = Composition.compose first next

    /// Path, output shape, parameters, bytes of the output and flop for one example, and script line of each layer, as a table; below it the sums.
    let table (layer: Layer) = Composition.table layer

    // ---- making and applying ----

    let private keyed (key: Key) tree =
        tree
        |> Tree.mapPath (fun path parameter ->
            parameter.Initialiser (key.Fold(path: string)) parameter.Fans parameter.Shape)

    let private known layer =
        match layer.Input with
        | Some shape -> shape
        | None ->
            invalidOp
                $"layer: the input's shape must be known; got a network that begins with {at layer}. Begin it with input [28; 28], or call Layer.initFor."

    /// Parameters and state for a shape of the input. Each parameter is drawn with a key of its own path, so a further layer
    /// does not change what the others draw.
    let initFor (input: Shape) (key: Key) (layer: Layer) : Tree<Tensor> * Tree<Tensor> =
        let facts = checking layer input [] (fun () -> facts layer input)
        keyed key facts.Parameters, keyed (key.Fold "state") facts.State

    /// Parameters and state of a network that begins with `input`.
    let init (key: Key) (layer: Layer) : Tree<Tensor> * Tree<Tensor> = initFor (known layer) key layer

    /// y and the new state.
    let apply (mode: Mode) (layer: Layer) (parameters: Tree<Tensor>) (state: Tree<Tensor>) (x: Tensor) =
        layer.Apply mode parameters state x

    /// y in inference.
    let predict (layer: Layer) (parameters: Tree<Tensor>, state: Tree<Tensor>) (x: Tensor) : Tensor =
        layer.Apply Infer parameters state x |> fst

    // ---- making layers ----

    let private nothing (_: Shape) : Tree<Parameter> = Tree.empty

    /// A layer that learns nothing and keeps nothing: a pure function of a batch.
    let ofFunction name place (f: Tensor -> Tensor) : Layer =
        {
            Name = name
            Place = place
            Form = Form.Single
            Parts = []
            PartsFor = None
            IsRandom = false
            Input = None
            Parameters = nothing
            State = nothing
            Apply = fun _ _ state x -> f x, state
            Activation = None
            WithActivation = None
            WithResidual = None
            Scale = None
            WithScale = None
        }

    /// A layer with parameters and no state.
    let ofParameters name place parameters (apply: Tree<Tensor> -> Tensor -> Tensor) : Layer =
        { ofFunction name place id with
            Parameters = parameters
            Apply = fun _ parameters state x -> apply parameters x, state
        }

    /// A layer that is made when the shape of its input is known.
    let sized name place (make: Shape -> Layer) : Layer =
        let made = ConcurrentDictionary<Shape, Layer>()
        let layerFor (input: Shape) = made.GetOrAdd(input, make)

        { ofFunction name place id with
            IsRandom = true
            Parameters = fun input -> (facts (layerFor input) input).Parameters
            State = fun input -> (facts (layerFor input) input).State
            Apply = fun mode parameters state x -> (layerFor (withoutBatch x.Shape)).Apply mode parameters state x
        }

    // ---- combinators ----

    // One of several layers on the same input, whose parameters, state and keys are found under its name.
    let private apart mode x (name: string) (layer: Layer) (parameters: Tree<Tensor>) (state: Tree<Tensor>) =
        let mode =
            match mode with
            | Train key when layer.IsRandom -> Train(key.Fold name)
            | mode -> mode

        under name (fun () -> layer.Apply mode parameters state x)

    /// Several layers side by side on the same input; their results are joined by a function.
    let branch name place (combine: Tensor list -> Tensor) (branches: Layer list) : Layer =
        let names = distinct branches
        let named = List.zip names branches

        let each (choose: Facts -> Tree<Parameter>) input =
            Node
                [
                    for name, layer in named -> name, choose (checking layer input [] (fun () -> facts layer input))
                ]

        let apply mode parameters state x =
            match parameters, state with
            | Node ps, Node ss when ps.Length = names.Length && ss.Length = names.Length ->
                let results =
                    List.map2
                        (fun (name, layer) ((_, p), (_, s)) ->
                            let y, s = apart mode x name layer p s
                            y, (name, s))
                        named
                        (List.zip ps ss)

                combine (List.map fst results), Node(List.map snd results)
            | _ -> noSuchTree ()

        { ofFunction name place id with
            Form = Branches
            Parts = branches
            IsRandom = branches |> List.exists _.IsRandom
            Parameters = each _.Parameters
            State = each _.State
            Apply = apply
        }

    /// y, or an activation of it
    let internal activate activation (y: Tensor) =
        match activation with
        | Activation.Relu -> y.Relu()
        | Activation.Tanh -> y.Tanh()
        | Activation.Sigmoid -> y.Sigmoid()
        | _ -> y

    /// The sum of what layers make of the same input. In training one of two may take in what the other gives, and an activation behind the sum:
    /// there is then no pass over the result for either.
    let internal sum name place (add: Tensor list -> Tensor) (branches: Layer list) : Layer =
        let layer = branch name place add branches

        let into receiver withResidual activation mode parameters state x =
            match mode, parameters, state with
            | Train _, Node ps, Node ss when ps.Length = 2 && ss.Length = 2 ->
                let run i layer =
                    apart mode x (fst ps[i]) layer (snd ps[i]) (snd ss[i])

                let residual, otherState = run (1 - receiver) branches[1 - receiver]

                let y, ownState =
                    run
                        receiver
                        { branches[receiver] with
                            Apply = withResidual residual activation
                        }

                let states =
                    if receiver = 0 then
                        [ ownState; otherState ]
                    else
                        [ otherState; ownState ]

                y, Node(List.map2 (fun (name, _) s -> name, s) ss states)
            | _ ->
                let y, state = layer.Apply mode parameters state x
                activate activation y, state

        match branches |> List.tryFindIndex _.WithResidual.IsSome with
        | Some receiver when branches.Length = 2 ->
            let apply = into receiver branches[receiver].WithResidual.Value

            { layer with
                Apply = apply Activation.None
                WithActivation = Some apply
            }
        | _ -> layer

    /// A block of its own name: its parameters and keys are found under it.
    let named name (layer: Layer) : Layer =
        { layer with
            Name = name
            Form = if layer.Form = Chain then Block else layer.Form
            Parts = layer.Parts
        }

    /// let y = first x in (next y) x: what the first layer makes is at hand for all that follows, which receive the same input.
    /// `next` may only take y into layers; what it learns must not depend on the values in y.
    let remember place (first: Layer) (next: Tensor -> Layer) : Layer =
        let made = ConcurrentDictionary<Shape, Layer>()

        let nextFor (input: Shape) =
            made.GetOrAdd(
                input,
                fun input ->
                    let y = checking first input [] (fun () -> outputShape first input)
                    next (Tensor.Meta(DType.Float32, batched 1 y))
            )

        // A chain has no name of its own.
        let name fallback part =
            if part.Form = Chain then fallback else part.Name

        let pair next =
            distinct [ named (name "encoder" first) first; named (name "decoder" next) next ]

        let each (choose: Facts -> Tree<Parameter>) input =
            let next = nextFor input

            Node(
                List.map2
                    (fun name part -> name, choose (checking part input [] (fun () -> facts part input)))
                    (pair next)
                    [ first; next ]
            )

        let apply mode parameters state (x: Tensor) =
            match parameters, state with
            | Node [ encoder, p; decoder, q ], Node [ _, s; _, t ] ->
                let part (name: string) layer p s =
                    let mode =
                        match mode with
                        | Train key when layer.IsRandom -> Train(key.Fold name)
                        | mode -> mode

                    under name (fun () -> layer.Apply mode p s x)

                let memory, s = part encoder first p s
                let y, t = part decoder (next memory) q t
                y, Node [ encoder, s; decoder, t ]
            | _ -> noSuchTree ()

        { ofFunction "remember" place id with
            Form = Branches
            PartsFor =
                Some(fun input ->
                    let next = nextFor input
                    List.map2 named (pair next) [ first; next ])
            IsRandom = true
            Parameters = each _.Parameters
            State = each _.State
            Apply = apply
        }

    /// The same layer, whose parameters no optimiser changes.
    let frozen (layer: Layer) : Layer =
        let still parameters =
            parameters |> Tree.map (fun parameter -> { parameter with IsTrained = false })

        let rec freeze layer =
            { layer with
                Parts = layer.Parts |> List.map freeze
                Parameters = layer.Parameters >> still
            }

        match layer.Form with
        | Chain -> chain (layer.Parts |> List.map freeze)
        | _ -> freeze layer

    /// The same layer, where the values of a regulariser for the parameters that a pattern means are added to the loss in training; the pattern
    /// is read as by `Tree.matches` and sees the layer's own paths: `net |> withRegulariser "*weight" (Regulariser.l2 1e-4)`.
    let withRegulariser (pattern: string) (regulariser: Regulariser) (layer: Layer) : Layer =
        let refuseIdle (parameters: Tree<Parameter>) =
            Tree.refuseIdle "withRegulariser" (Tree.named parameters |> List.map fst) pattern

        let add prefix parameters =
            parameters
            |> Tree.mapPath (fun path parameter ->
                if Tree.matches pattern (prefix + path) then
                    { parameter with
                        Regularisers = regulariser :: parameter.Regularisers
                    }
                else
                    parameter)

        match layer.Form with
        | Chain ->
            // Composing takes a chain apart, so each part carries its own.
            layer.Input
            |> Option.iter (fun input -> refuseIdle (facts layer input).Parameters)

            List.zip (distinct layer.Parts) layer.Parts
            |> List.map (fun (name, part) ->
                { part with
                    Parameters = part.Parameters >> add $"{name}."
                })
            |> chain
        | _ ->
            { layer with
                Parameters =
                    fun input ->
                        let parameters = layer.Parameters input
                        refuseIdle parameters
                        add "" parameters
            }
