/// Reference files that are runs, not single operations: optimisers on one problem, and schedules.
module Functional.Tests.Golden.Trajectories

open System
open Functional
open Functional.Tests.Golden.Files

/// f(w, b) = ½wᵀAw − cᵀw + Σtanh²w + Σln(1 + eᵇ) + (b₀b₁ − ½)² + b₁ sin w₀
let private problem (a: Tensor) (c: Tensor) (p: Tensor[]) =
    let w, b = p[0], p[1]

    let element (x: Tensor) i =
        x.Slice([| i |], [| i + 1 |], [| 1 |]).Sum()

    0.5 * w.Dot(a.Matmul w) - c.Dot w
    + w.Tanh().Square().Sum()
    + b.Softplus().Sum()
    + (element b 0 * element b 1 - 0.5).Square()
    + element (w.Sin()) 0 * element b 1

let optimisers =
    [
        "optim_sgd"
        "optim_sgd_momentum"
        "optim_sgd_nesterov"
        "optim_sgd_weight_decay"
        "optim_rmsprop"
        "optim_adam"
        "optim_adamw"
        "optim_adagrad"
        "optim_adadelta"
        "optim_adamax"
        "optim_nadam"
        "optim_radam"
    ]

let private optimiser op (a: Attributes) =
    let rate = a.Float "lr"
    let number name fallback = defaultArg (a.TryFloat name) fallback
    let decay = number "weight_decay" 0.0
    let epsilon = number "eps" 1e-8
    let momentum = number "momentum" 0.0
    // The defaults of all methods with two betas.
    let beta1, beta2 =
        match a.TryFloats "betas" with
        | Some betas -> betas[0], betas[1]
        | None -> 0.9, 0.999

    match op with
    | "optim_sgd" -> Optim.sgd (rate, decay)
    | "optim_sgd_momentum" -> Optim.momentum (rate, momentum, number "dampening" 0.0, decay)
    | "optim_sgd_nesterov" -> Optim.nesterov (rate, momentum, decay)
    | "optim_sgd_weight_decay" when a.Flag "nesterov" -> Optim.nesterov (rate, momentum, decay)
    | "optim_sgd_weight_decay" -> Optim.momentum (rate, momentum, number "dampening" 0.0, decay)
    | "optim_rmsprop" -> Optim.rmsProp (rate, number "alpha" 0.99, epsilon, a.Flag "centered", momentum, decay)
    | "optim_adam" -> Optim.adam (rate, beta1, beta2, epsilon, a.Flag "amsgrad", decay)
    | "optim_adamw" -> Optim.adamW (rate, beta1, beta2, epsilon, a.Flag "amsgrad", decay)
    | "optim_adagrad" ->
        Optim.adagrad (rate, number "lr_decay" 0.0, number "initial_accumulator_value" 0.0, number "eps" 1e-10, decay)
    | "optim_adadelta" -> Optim.adadelta (rate, number "rho" 0.9, number "eps" 1e-6, decay)
    | "optim_adamax" -> Optim.adamax (rate, beta1, beta2, epsilon, decay)
    | "optim_nadam" -> Optim.nadam (rate, beta1, beta2, epsilon, number "momentum_decay" 0.004, decay)
    | "optim_radam" -> Optim.radam (rate, beta1, beta2, epsilon, decay)
    | other -> invalidArg (nameof op) $"golden: no optimiser is called '{other}'."

/// Twenty steps: parameters before each and after the last, gradients and values before each.
let optimise op (case: Case) (x: Tensor[]) =
    let rule = optimiser op case.Attributes
    let f = Func<Tensor[], Tensor>(problem x[0] x[1])
    let mutable p = [| x[2]; x[3] |]
    let mutable moments = rule.Init p
    let trail = ResizeArray [ p ]
    let gradients, values = ResizeArray(), ResizeArray()

    for step in 0..19 do
        let struct (value, g) = Diff.ValueAndGrad(f, p)
        values.Add value
        gradients.Add g
        let next, after = rule.Update step g p moments
        p <- next
        moments <- after
        trail.Add p

    let column i (rows: ResizeArray<Tensor[]>) =
        Tensor.Stack(0, [| for row in rows -> row[i] |])

    [|
        column 0 trail
        column 1 trail
        column 0 gradients
        column 1 gradients
        Tensor.Stack(0, values.ToArray())
    |]

/// The rates of all steps.
let schedule (make: Attributes -> Schedule) (case: Case) (_: Tensor[]) =
    let rates = make case.Attributes
    [| Tensor.From(Array.init (case.Attributes.Int "steps") rates.At) |]

/// The rates of all steps, each followed by a measurement.
let plateau (case: Case) (x: Tensor[]) =
    let a = case.Attributes

    let rule =
        {
            Rising = a.Text "mode" = "max"
            Factor = a.Float "factor"
            Patience = a.Int "patience"
            Threshold = a.Float "threshold"
            Absolute = a.Text "threshold_mode" = "abs"
            Cooldown = a.Int "cooldown"
            Least = a.Float "min_lr"
        }

    let rates =
        x[0].ToDoubles()
        |> Array.scan (fun plateau metric -> Plateau.step metric plateau) (Plateau.start rule (a.Float "lr"))
        |> Array.map _.Rate

    [| Tensor.From(Array.truncate (a.Int "steps") rates) |]
