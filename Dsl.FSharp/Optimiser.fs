namespace Functional

open System

/// A rule that turns gradients into directions, of which the parameters are stepped down: p ← p − u. It is a pair of pure functions
/// over the leaves of the parameter tree, `Init` and `Direction`. Because every rule is of this kind, rules compose with
/// `Optim.chain` in any number: clipping and penalties change the gradient before a method sees it.
[<NoEquality; NoComparison>]
type Optimiser =
    {
        Name: string
        /// How many groups of moments there are. Each group has one tensor for every parameter.
        Groups: int
        /// Parameters → the moments before the first step.
        Init: Tensor[] -> Tensor[][]
        /// Step (from 0) → gradients → parameters → moments → directions and new moments. It consists of differentiable
        /// operations, so that one can differentiate through steps of training.
        Direction: int -> Tensor[] -> Tensor[] -> Tensor[][] -> Tensor[] * Tensor[][]
        /// Step → gradients → parameters → moments: the same step taken in place, in one pass, on contiguous memory that belongs to
        /// the caller alone. None where there is no such form.
        InPlace: (int -> Tensor[] -> Tensor[] -> Tensor[][] -> unit) option
        /// The paths of the parameters → the rule for just these parameters. None of a rule that treats all paths alike.
        Along: (string[] -> Optimiser) option
    }

    /// Step (from 0) → gradients → parameters → moments → new parameters and moments.
    member rule.Update step gradients parameters moments =
        let directions, moments = rule.Direction step gradients parameters moments
        Array.map2 (fun (p: Tensor) (u: Tensor) -> p - u) parameters directions, moments

    /// Step (from 0) → gradients → parameters → moments: overwrites parameters and moments, which are contiguous and belong to the
    /// caller alone.
    member internal rule.Take step gradients (parameters: Tensor[]) (moments: Tensor[][]) =
        match rule.InPlace with
        | Some take -> take step gradients parameters moments
        | None ->
            Memory.Tidy(
                Action(fun () ->
                    let next, nextMoments = rule.Update step gradients parameters moments
                    Array.iter2 (fun source target -> Pointwise.Copy(source, target)) next parameters

                    for k in 0 .. moments.Length - 1 do
                        Array.iter2 (fun source target -> Pointwise.Copy(source, target)) nextMoments[k] moments[k])
            )

/// Where an optimisation stands: how many steps were taken, and the moments.
[<NoEquality; NoComparison>]
type OptimiserState = { Step: int; Moments: Tensor[][] }

/// Rules that see the parameters one by one.
module internal Rule =
    /// A rule given by its moments' first values and by step → gradient → parameter → moments → direction and moments, all of
    /// one parameter.
    let leafwise name (first: float list) fused direction =
        {
            Name = name
            Groups = first.Length
            Init =
                fun parameters ->
                    [|
                        for value in first -> parameters |> Array.map (fun p -> Tensor.Full(p.Shape, value, p.DType))
                    |]
            Direction =
                fun step gradients parameters moments ->
                    let direction = direction step

                    let directions, after =
                        Array.mapi2
                            (fun i (g: Tensor) (p: Tensor) ->
                                direction g p (moments |> Array.map (fun group -> group[i])))
                            gradients
                            parameters
                        |> Array.unzip

                    directions, Array.init first.Length (fun k -> after |> Array.map (Array.item k))
            InPlace = fused
            Along = None
        }

    /// A rule that only changes gradients.
    let change name direction =
        leafwise name [] None (fun _ g p _ -> direction g p, [||])

    /// √x, with derivative 0 instead of ∞ at 0, where a gradient that was always 0 leads.
    let root (x: Tensor) =
        let zero = x.Equal 0.0
        Tensor.Where(zero, 0.0, Tensor.Where(zero, 1.0, x).Sqrt())

    /// g + decay·p
    let decayed (decay: float) (g: Tensor) (p: Tensor) =
        if decay = 0.0 then g else g + decay * p

    /// share·old + (1 − share)·now
    let blend (share: float) (old: Tensor) (now: Tensor) = share * old + (1.0 - share) * now

    /// 1 − shareᵗ at the step t, counted from 1: the weight that a blend from 0 has gathered.
    let weight (share: float) step = 1.0 - Math.Pow(share, float (step + 1))

    let momentum name (rate: Schedule) momentum dampening nesterov decay =
        // The first velocity is the gradient itself.
        let dampeningAt step = if step = 0 then 0.0 else dampening

        let fused step gradients parameters (moments: Tensor[][]) =
            Steps.Momentum(parameters, gradients, moments[0], rate.At step, momentum, dampeningAt step, nesterov, decay)

        leafwise name [ 0.0 ] (Some fused) (fun step ->
            let rate, gain = rate.At step, 1.0 - dampeningAt step

            fun g p moments ->
                let g = decayed decay g p
                let v = momentum * moments[0] + gain * g
                rate * (if nesterov then g + momentum * v else v), [| v |])

    /// `shrink` is decoupled decay, `decay` that which enters the gradient.
    let adam name (rate: Schedule) beta1 beta2 (epsilon: float) amsgrad decay shrink =
        let fused step gradients parameters (moments: Tensor[][]) =
            let eta = rate.At step
            let largest: Tensor[] | null = if amsgrad then moments[2] else null

            Steps.Adam(
                parameters,
                gradients,
                moments[0],
                moments[1],
                largest,
                eta / weight beta1 step,
                1.0 / sqrt (weight beta2 step),
                beta1,
                beta2,
                epsilon,
                decay,
                eta * shrink
            )

        leafwise
            name
            [
                0.0
                0.0
                if amsgrad then
                    0.0
            ]
            (Some fused)
            (fun step ->
                let eta = rate.At step
                let scale, rootScale = eta / weight beta1 step, 1.0 / sqrt (weight beta2 step)

                fun g p moments ->
                    let g = decayed decay g p
                    let m = blend beta1 moments[0] g
                    let v = blend beta2 moments[1] (g * g)
                    let largest = if amsgrad then moments[2].Maximum v else v
                    let u = scale * m / (root largest * rootScale + epsilon)

                    decayed (eta * shrink) u p,
                    [|
                        m
                        v
                        if amsgrad then
                            largest
                    |])

/// Gradients held within bounds, before a method sees them.
module Clip =
    /// All gradients times min(1, largest/‖g‖), where ‖g‖ is the Euclidean norm of all of them together.
    /// Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013.
    let globalNorm (largest: float) =
        let direction _ (gradients: Tensor[]) _ moments =
            if gradients.Length = 0 then
                gradients, moments
            else
                let squares = gradients |> Array.map (fun g -> g.Square().Sum().Cast DType.Float64)

                let norm = Rule.root (Array.reduce (fun (a: Tensor) b -> a + b) squares)
                let share = largest / norm.Maximum largest
                gradients |> Array.map (fun g -> g * share.Cast g.DType), moments

        {
            Name = "globalNorm"
            Groups = 0
            Init = fun _ -> [||]
            Direction = direction
            InPlace = None
            Along = None
        }

    /// Every element of every gradient within −largest … largest.
    let value (largest: float) =
        Rule.change "clip" (fun g _ -> g.Clamp(-largest, largest))

/// Penalties on large parameters, as what they add to the gradient.
module Penalty =
    /// g + share·sign(p): the gradient of share·Σ|p|, which drives parameters to 0.
    let l1 (share: float) =
        Rule.change "l1" (fun g p -> g + share * p.Sign())

    /// g + share·p: the gradient of share/2·Σp².
    let l2 (share: float) =
        Rule.change "l2" (fun g p -> Rule.decayed share g p)
