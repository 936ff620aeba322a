namespace Functional

open System

/// Optimisers. Every method takes its learning rate as a schedule or a number. `decay` adds decay·p to the gradient, as
/// `Penalty.l2` does, where a comment says nothing else. g is the gradient, p the parameter, η the rate, t the step from 1.
[<AbstractClass; Sealed>]
type Optim =

    /// p ← p − η·g
    static member sgd(rate: Schedule, ?decay: float) =
        let decay = defaultArg decay 0.0

        let fused step gradients parameters _ =
            Steps.Sgd(parameters, gradients, rate.At step, decay)

        Rule.leafwise "sgd" [] (Some fused) (fun step ->
            let rate = rate.At step
            fun g p _ -> rate * Rule.decayed decay g p, [||])

    /// v ← momentum·v + (1 − dampening)·g, where the first v is g; p ← p − η·v. Polyak, 1964.
    static member momentum(rate: Schedule, ?momentum: float, ?dampening: float, ?decay: float) =
        Rule.momentum "momentum" rate (defaultArg momentum 0.9) (defaultArg dampening 0.0) false (defaultArg decay 0.0)

    /// v ← momentum·v + g; p ← p − η·(g + momentum·v). Nesterov, 1983, in the form of Sutskever, Martens, Dahl and Hinton, 2013.
    static member nesterov(rate: Schedule, ?momentum: float, ?decay: float) =
        Rule.momentum "nesterov" rate (defaultArg momentum 0.9) 0.0 true (defaultArg decay 0.0)

    /// v ← alpha·v + (1 − alpha)·g²; u = g/(√v + epsilon); p ← p − η·u. Centred, the square of the mean gradient (blended
    /// alike) is subtracted from v under the root; with momentum, b ← momentum·b + u takes the place of u.
    /// Hinton, Neural networks for machine learning, lecture 6, 2012; Graves, 2013.
    static member rmsProp
        (rate: Schedule, ?alpha: float, ?epsilon: float, ?centred: bool, ?momentum: float, ?decay: float)
        =
        let alpha, epsilon = defaultArg alpha 0.99, defaultArg epsilon 1e-8
        let centred, momentum = defaultArg centred false, defaultArg momentum 0.0
        let decay = defaultArg decay 0.0
        let moving = momentum <> 0.0
        let groups = 1 + Convert.ToInt32 centred + Convert.ToInt32 moving

        let fused step gradients parameters (moments: Tensor[][]) =
            let mean: Tensor[] | null = if centred then moments[1] else null
            let velocity: Tensor[] | null = if moving then moments[groups - 1] else null

            Steps.RmsProp(
                parameters,
                gradients,
                moments[0],
                mean,
                velocity,
                rate.At step,
                alpha,
                epsilon,
                momentum,
                decay
            )

        Rule.leafwise "rmsProp" (List.replicate groups 0.0) (Some fused) (fun step ->
            let rate = rate.At step

            fun g p moments ->
                let g = Rule.decayed decay g p
                let v = Rule.blend alpha moments[0] (g * g)

                let mean =
                    if centred then
                        [| Rule.blend alpha moments[1] g |]
                    else
                        [||]

                // Rounding may take a variance of 0 below it.
                let square = if centred then (v - mean[0] * mean[0]).Maximum 0.0 else v

                let u = g / (Rule.root square + epsilon)

                let velocity =
                    if moving then
                        [| momentum * moments[groups - 1] + u |]
                    else
                        [||]

                rate * (if moving then velocity[0] else u), Array.concat [ [| v |]; mean; velocity ])

    /// m ← beta1·m + (1 − beta1)·g; v ← beta2·v + (1 − beta2)·g²; p ← p − η·m̂/(√v̂ + epsilon), where m̂ = m/(1 − beta1ᵗ) and
    /// v̂ = v/(1 − beta2ᵗ). Kingma and Ba, 2015. With amsgrad the largest v so far takes its place: Reddi, Kale and Kumar, 2018.
    static member adam(rate: Schedule, ?beta1: float, ?beta2: float, ?epsilon: float, ?amsgrad: bool, ?decay: float) =
        Rule.adam
            "adam"
            rate
            (defaultArg beta1 0.9)
            (defaultArg beta2 0.999)
            (defaultArg epsilon 1e-8)
            (defaultArg amsgrad false)
            (defaultArg decay 0.0)
            0.0

    /// Adam with decoupled decay: p ← p·(1 − η·decay) beforehand, decay being 0.01 unless told.
    /// Loshchilov and Hutter, Decoupled weight decay regularization, 2019.
    static member adamW(rate: Schedule, ?beta1: float, ?beta2: float, ?epsilon: float, ?amsgrad: bool, ?decay: float) =
        Rule.adam
            "adamW"
            rate
            (defaultArg beta1 0.9)
            (defaultArg beta2 0.999)
            (defaultArg epsilon 1e-8)
            (defaultArg amsgrad false)
            0.0
            (defaultArg decay 0.01)

    /// s ← s + g²; p ← p − η/(1 + (t − 1)·slowing)·g/(√s + epsilon), s being `initial` at first. Duchi, Hazan and Singer, 2011.
    static member adagrad(rate: Schedule, ?slowing: float, ?initial: float, ?epsilon: float, ?decay: float) =
        let slowing, epsilon = defaultArg slowing 0.0, defaultArg epsilon 1e-10
        let decay = defaultArg decay 0.0

        Rule.leafwise "adagrad" [ defaultArg initial 0.0 ] None (fun step ->
            let rate = rate.At step / (1.0 + float step * slowing)

            fun g p moments ->
                let g = Rule.decayed decay g p
                let s = moments[0] + g * g
                rate * g / (Rule.root s + epsilon), [| s |])

    /// v ← rho·v + (1 − rho)·g²; u = g·√(d + epsilon)/√(v + epsilon); d ← rho·d + (1 − rho)·u²; p ← p − η·u, η being 1 unless
    /// told. Zeiler, 2012.
    static member adadelta(?rate: Schedule, ?rho: float, ?epsilon: float, ?decay: float) =
        let rate = defaultArg rate (Schedule.constant 1.0)
        let rho, epsilon = defaultArg rho 0.9, defaultArg epsilon 1e-6
        let decay = defaultArg decay 0.0

        Rule.leafwise "adadelta" [ 0.0; 0.0 ] None (fun step ->
            let rate = rate.At step

            fun g p moments ->
                let g = Rule.decayed decay g p
                let v = Rule.blend rho moments[0] (g * g)
                let u = (moments[1] + epsilon).Sqrt() / (v + epsilon).Sqrt() * g
                rate * u, [| v; Rule.blend rho moments[1] (u * u) |])

    /// m ← beta1·m + (1 − beta1)·g; v ← max(beta2·v, |g| + epsilon); p ← p − η/(1 − beta1ᵗ)·m/v. Kingma and Ba, 2015, section 7.
    static member adamax(rate: Schedule, ?beta1: float, ?beta2: float, ?epsilon: float, ?decay: float) =
        let beta1, beta2 = defaultArg beta1 0.9, defaultArg beta2 0.999
        let epsilon, decay = defaultArg epsilon 1e-8, defaultArg decay 0.0

        Rule.leafwise "adamax" [ 0.0; 0.0 ] None (fun step ->
            let scale = rate.At step / Rule.weight beta1 step

            fun g p moments ->
                let g = Rule.decayed decay g p
                let m = Rule.blend beta1 moments[0] g
                let v = (beta2 * moments[1]).Maximum(g.Abs() + epsilon)
                scale * m / v, [| m; v |])

    /// Adam with Nesterov's look ahead: p ← p − η·((1 − μₜ)/(1 − Mₜ)·g + μₜ₊₁/(1 − Mₜ₊₁)·m)/(√v̂ + epsilon), where
    /// μₜ = beta1·(1 − 0.96^(t·slowing)/2) and Mₜ = μ₁·…·μₜ. Dozat, 2016.
    static member nadam(rate: Schedule, ?beta1: float, ?beta2: float, ?epsilon: float, ?slowing: float, ?decay: float) =
        let beta1, beta2 = defaultArg beta1 0.9, defaultArg beta2 0.999
        let epsilon, slowing = defaultArg epsilon 1e-8, defaultArg slowing 0.004
        let decay = defaultArg decay 0.0

        let mu t =
            beta1 * (1.0 - 0.5 * Math.Pow(0.96, float t * slowing))

        // The last product asked for: going on from it gives the same bits as starting anew.
        let known = ref (0, 1.0)

        let product t =
            let from, value =
                match known.Value with
                | from, value when from <= t -> from, value
                | _ -> 0, 1.0

            let mutable value = value

            for i in from + 1 .. t do
                value <- value * mu i

            known.Value <- t, value
            value

        Rule.leafwise "nadam" [ 0.0; 0.0 ] None (fun step ->
            let t, eta = step + 1, rate.At step
            let product = product t
            let ofGradient = eta * (1.0 - mu t) / (1.0 - product)
            let ofMoment = eta * mu (t + 1) / (1.0 - product * mu (t + 1))
            let rootScale = 1.0 / sqrt (Rule.weight beta2 step)

            fun g p moments ->
                let g = Rule.decayed decay g p
                let m = Rule.blend beta1 moments[0] g
                let v = Rule.blend beta2 moments[1] (g * g)
                (ofGradient * g + ofMoment * m) / (Rule.root v * rootScale + epsilon), [| m; v |])

    /// Adam whose step is rectified by what is known of the variance: with ρ∞ = 2/(1 − beta2) − 1 and
    /// ρ = ρ∞ − 2t·beta2ᵗ/(1 − beta2ᵗ), p ← p − η·m̂ as long as ρ ≤ 5, then
    /// p ← p − η·m̂·√(1 − beta2ᵗ)/(√v + epsilon)·√((ρ − 4)(ρ − 2)ρ∞/((ρ∞ − 4)(ρ∞ − 2)ρ)). Liu et al., 2020.
    static member radam(rate: Schedule, ?beta1: float, ?beta2: float, ?epsilon: float, ?decay: float) =
        let beta1, beta2 = defaultArg beta1 0.9, defaultArg beta2 0.999
        let epsilon, decay = defaultArg epsilon 1e-8, defaultArg decay 0.0
        let limit = 2.0 / (1.0 - beta2) - 1.0

        Rule.leafwise "radam" [ 0.0; 0.0 ] None (fun step ->
            let scale = rate.At step / Rule.weight beta1 step
            let weight = Rule.weight beta2 step
            let rho = limit - 2.0 * float (step + 1) * (1.0 - weight) / weight

            let rectified =
                sqrt (
                    weight * (rho - 4.0) * (rho - 2.0) * limit
                    / ((limit - 4.0) * (limit - 2.0) * rho)
                )

            fun g p moments ->
                let g = Rule.decayed decay g p
                let m = Rule.blend beta1 moments[0] g
                let v = Rule.blend beta2 moments[1] (g * g)

                let u =
                    if rho > 5.0 then
                        scale * rectified * m / (Rule.root v + epsilon)
                    else
                        scale * m

                u, [| m; v |])

    /// Rules one after the other: each gets the directions of the one before as its gradients. Where the last one has a form in
    /// place, so has the chain.
    static member chain(rules: Optimiser list) =
        /// All rules but for the parameters' step: the directions, and the moments of each.
        let through (rules: Optimiser list) step gradients parameters (moments: Tensor[][]) =
            let mutable directions = gradients
            let mutable from = 0
            let after = ResizeArray()

            for rule in rules do
                let mine = moments[from .. from + rule.Groups - 1]
                let changed, mine = rule.Direction step directions parameters mine
                directions <- changed
                from <- from + rule.Groups
                after.AddRange mine

            directions, after.ToArray()

        let fused =
            match List.rev rules with
            | { InPlace = Some last } :: before ->
                let before = List.rev before

                Some(fun step gradients parameters moments ->
                    Memory.Tidy(
                        Action(fun () ->
                            let directions, after = through before step gradients parameters moments

                            for k in 0 .. after.Length - 1 do
                                Array.iter2
                                    (fun (source: Tensor) target -> Pointwise.Copy(source, target))
                                    after[k]
                                    moments[k]

                            last step directions parameters moments[after.Length ..])
                    ))
            | _ -> None

        {
            Name = rules |> List.map _.Name |> String.concat " >> "
            Groups = rules |> List.sumBy _.Groups
            Init = fun parameters -> rules |> List.map (fun rule -> rule.Init parameters) |> Array.concat
            Direction = through rules
            InPlace = fused
            Along =
                if rules |> List.exists _.Along.IsSome then
                    Some(fun paths -> Optim.chain (rules |> List.map (Optim.along paths)))
                else
                    None
        }

    /// Parameters as they are: none takes a step.
    static member frozen =
        Rule.leafwise "frozen" [] (Some(fun _ _ _ _ -> ())) (fun _ g _ _ -> Tensor.Zeros(g.Shape, g.DType), [||])

    /// A rule of its own for each group of parameters, given by a pattern of their paths as `Tree.matches` reads it; the first that
    /// matches counts, and `otherwise` is for the others: `Optim.byPath [ "features", Optim.sgd 1e-4 ] (Optim.adam 1e-3)`.
    static member byPath (groups: (string * Optimiser) list) (otherwise: Optimiser) : Optimiser =
        let rules = [| yield! List.map snd groups; otherwise |]
        let patterns = List.map fst groups
        let most = rules |> Array.map _.Groups |> Array.max

        let described =
            groups |> List.map (fun (pattern, rule) -> $"{pattern}: {rule.Name}")

        let name = $"""byPath [ {String.concat "; " described} ] ({otherwise.Name})"""

        let along (paths: string[]) =
            patterns |> List.iter (Tree.refuseIdle "byPath" paths)

            let owner (path: string) =
                patterns
                |> List.tryFindIndex (fun pattern -> Tree.matches pattern path)
                |> Option.defaultValue patterns.Length

            let owners = paths |> Array.map owner

            let parts =
                rules
                |> Array.mapi (fun k rule ->
                    let mine =
                        [|
                            for i in 0 .. paths.Length - 1 do
                                if owners[i] = k then
                                    i
                        |]

                    mine, Optim.along (mine |> Array.map (fun i -> paths[i])) rule)
                |> Array.filter (fun (mine, _) -> mine.Length > 0)

            let some mine (all: Tensor[]) =
                mine |> Array.map (fun (i: int) -> all[i])

            let momentsOf mine (rule: Optimiser) (moments: Tensor[][]) =
                Array.init rule.Groups (fun k -> some mine moments[k])

            let put (mine: int[]) (from: Tensor[]) (into: Tensor[]) =
                mine |> Array.iteri (fun n i -> into[i] <- from[n])

            let initial (parameters: Tensor[]) =
                // A parameter whose rule keeps fewer moments than others has empty ones in their place.
                let moments =
                    Array.init most (fun _ -> parameters |> Array.map (fun p -> Tensor.Zeros(Shape.Of [ 0 ], p.DType)))

                for mine, rule in parts do
                    rule.Init(some mine parameters)
                    |> Array.iteri (fun k first -> put mine first moments[k])

                moments

            let direction step gradients parameters moments =
                let directions = Array.copy gradients
                let after = moments |> Array.map Array.copy

                for mine, rule in parts do
                    let changed, next =
                        rule.Direction step (some mine gradients) (some mine parameters) (momentsOf mine rule moments)

                    put mine changed directions
                    next |> Array.iteri (fun k next -> put mine next after[k])

                directions, after

            let take step gradients parameters moments =
                for mine, rule in parts do
                    rule.Take step (some mine gradients) (some mine parameters) (momentsOf mine rule moments)

            {
                Name = name
                Groups = most
                Init = initial
                Direction = direction
                InPlace = Some take
                Along = None
            }

        let nowhere () =
            invalidOp
                "byPath: the paths of the parameters must be known; got tensors without names. Step a Tree, or bind the rule with Optim.along."

        {
            Name = name
            Groups = most
            Init = fun _ -> nowhere ()
            Direction = fun _ _ _ _ -> nowhere ()
            InPlace = Some(fun _ _ _ _ -> nowhere ())
            Along = Some along
        }

    /// A rule for the parameters that a pattern means, before a method; the gradients of the others go through unchanged:
    /// `Optim.chain [ Optim.only "*weight" (Penalty.l1 1e-4); Optim.adam 1e-3 ]`.
    static member only (pattern: string) (rule: Optimiser) : Optimiser =
        Optim.byPath [ pattern, rule ] (Optim.chain [])

    /// The rule for parameters of these paths, in their order. `Train.fit`, and steps on a `Tree`, bind their rule themselves.
    static member along (paths: string[]) (rule: Optimiser) : Optimiser =
        match rule.Along with
        | Some along -> along paths
        | None -> rule

    static member private bind(rule: Optimiser, tree: obj) =
        match tree with
        | :? Tree<Tensor> as tree -> Optim.along (Tree.named tree |> List.map fst |> Array.ofList) rule
        | _ -> rule

    /// The state before the first step, for any tree of tensors.
    static member init (rule: Optimiser) (tree: 'P) =
        {
            Step = 0
            Moments = Optim.bind(rule, tree).Init(Trees.leaves tree)
        }

    /// One step on any tree of tensors, given its gradient: a new tree and a new state. Nothing is changed in place.
    static member step (rule: Optimiser) (gradient: 'P) (tree: 'P) (state: OptimiserState) : 'P * OptimiserState =
        let gradients, parameters = Trees.leaves gradient, Trees.leaves tree

        if gradients.Length <> parameters.Length then
            invalidArg
                (nameof gradient)
                $"{rule.Name}: one gradient per parameter is needed; got {gradients.Length} and {parameters.Length}. Differentiate with respect to this tree."

        let parameters, moments =
            Optim.bind(rule, tree).Update state.Step gradients parameters state.Moments

        Trees.rebuild tree parameters,
        {
            Step = state.Step + 1
            Moments = moments
        }
