/// First derivatives: differences, adjoints, and the two ways to a tangent.
module Functional.Tests.Laws.FirstOrder

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Tests.Laws.Numbers

/// The same operation with other rules.
let remake (op: Op) shape forward vjp vjpInto jvp reads =
    Op(
        Name = op.Name,
        Shape = shape,
        Forward = forward,
        Vjp = vjp,
        Sample = op.Sample,
        VjpInto = vjpInto,
        Jvp = jvp,
        Reads = reads,
        Batching = op.Batching
    )

let private functionAndWeights (sample: Drawn) =
    let which = floats sample.Inputs
    let x = which |> Array.map (fun i -> sample.Inputs[i])
    let f = functionOf sample.Op sample.Inputs which
    let draw = sample.Draw 1UL
    let y = f.Invoke x
    let d = x |> Array.map (direction draw)
    let c = y |> Array.map (direction draw)
    f, x, y, d, c

/// ⟨Jᵀc, d⟩ against differences of ⟨c, f⟩ along d.
let vjpIsDifferences =
    {
        Name = "vjp is the limit of differences"
        Cases = 40
        Check =
            fun sample ->
                let f, x, y, d, c = functionAndWeights sample

                if x.Length > 0 && y.Length > 0 then
                    let struct (_, pull) = Diff.Vjp(f, x)
                    let g = pull.Invoke c
                    agreesWithDifferences "⟨vjp, d⟩" (magnitude c y) (magnitude g d) (inner g d) (differences f c x d)
    }

/// Operations that choose among elements.
let chooses =
    set
        [
            "max"
            "min"
            "maximum"
            "minimum"
            "maxWithIndices"
            "minWithIndices"
            "cummax"
            "cummin"
            "maxPool"
            "adaptiveMaxPool"
        ]

/// Where elements tie, what moves them all by the same amount keeps the tie: along such a direction the function is smooth, and
/// the shares of a tie sum to one, however they are dealt out.
let tiesMoveTogether =
    {
        Name = "the shares of ties sum to one"
        Cases = 20
        Check =
            fun sample ->
                if chooses.Contains sample.Op.Name then
                    let coarse = Array.map (fun v -> Math.Round(v / 0.5) * 0.5)
                    let inputs = sample.Inputs |> Array.map (fun t -> like t (coarse (t.ToDoubles())))
                    let f = functionOf sample.Op inputs (floats inputs)
                    let y = f.Invoke inputs

                    let d =
                        inputs
                        |> Array.map (fun t -> like t (t.ToDoubles() |> Array.map (fun v -> cos (3.0 * v))))

                    let c = y |> Array.map (direction (sample.Draw 12UL))
                    let struct (_, pull) = Diff.Vjp(f, inputs)
                    let g = pull.Invoke c

                    agreesWithDifferences
                        "⟨vjp, d⟩ at ties"
                        (magnitude c y)
                        (magnitude g d)
                        (inner g d)
                        (differences f c inputs d)
    }

/// ⟨c, J d⟩ = ⟨Jᵀ c, d⟩, also where only some of the inputs move.
let jvpIsAdjoint =
    {
        Name = "jvp is the adjoint of vjp"
        Cases = 40
        Check =
            fun sample ->
                let all = floats sample.Inputs
                let draw = sample.Draw 2UL

                let which =
                    match all |> Array.filter (fun _ -> draw.Chance()) with
                    | [||] -> all
                    | some -> some

                let x = which |> Array.map (fun i -> sample.Inputs[i])
                let f = functionOf sample.Op sample.Inputs which
                let y = f.Invoke x

                if x.Length > 0 && y.Length > 0 then
                    let d, c = x |> Array.map (direction draw), y |> Array.map (direction draw)
                    let struct (value, tangent) = Diff.Jvp(f, x, d)
                    Array.iter2 (identical "value beside the tangent") y value
                    let struct (_, pull) = Diff.Vjp(f, x)
                    let g = pull.Invoke c
                    let left, right = inner c tangent, inner g d
                    let allowed = 1e-12 * (magnitude c tangent + magnitude g d) + 1e-13

                    if not (abs (left - right) <= allowed) then
                        failtestNoStackf
                            "⟨c, Jd⟩ = %.15g and ⟨Jᵀc, d⟩ = %.15g must be equal (moving: %A)"
                            left
                            right
                            which
    }

/// The operation's own jvp equals the one that follows from its vjp by transposition.
let jvpIsTransposed =
    {
        Name = "jvp equals the transposed vjp"
        Cases = 20
        Check =
            fun sample ->
                let op = sample.Op

                if not (isNull op.Jvp) && not (obj.ReferenceEquals(op.Vjp, Op.NotDifferentiable)) then
                    let f, x, y, d, _ = functionAndWeights sample

                    if x.Length > 0 && y.Length > 0 then
                        let bare = remake op op.Shape op.Forward op.Vjp op.VjpInto null op.Reads
                        let g = functionOf bare sample.Inputs (floats sample.Inputs)
                        let struct (_, own) = Diff.Jvp(f, x, d)
                        let struct (_, transposed) = Diff.Jvp(g, x, d)
                        Array.iter2 (agree "tangent") transposed own
    }

/// The second derivatives: differences of the gradient, and all orders of forward and reverse.
let secondOrder =
    {
        Name = "second derivatives agree in every way"
        Cases = 15
        Check =
            fun sample ->
                let f, x, y, v, c = functionAndWeights sample

                if x.Length > 0 && y.Length > 0 then
                    let s = weighted f c
                    let u = x |> Array.map (direction (sample.Draw 3UL))
                    let gradient = Diff.Grad s
                    let forwardOverReverse = Diff.Hvp(s, x, v)

                    let reverseOverReverse =
                        Diff
                            .Grad(
                                Func<Tensor[], Tensor>(fun t ->
                                    Array.map2 (fun (a: Tensor) (b: Tensor) -> (a * b).Sum()) (gradient.Invoke t) v
                                    |> Array.reduce (fun a b -> a + b))
                            )
                            .Invoke
                            x

                    let reverseOverForward =
                        Diff
                            .Grad(
                                Func<Tensor[], Tensor>(fun t ->
                                    let scalar = Func<Tensor[], Tensor[]>(fun t -> [| s.Invoke t |])
                                    let struct (_, tangent) = Diff.Jvp(scalar, t, v)
                                    tangent[0])
                            )
                            .Invoke
                            x

                    Array.iter2 (agree "reverse over reverse") forwardOverReverse reverseOverReverse
                    Array.iter2 (agree "reverse over forward") forwardOverReverse reverseOverForward

                    agreesWithDifferences
                        "⟨hvp, u⟩"
                        (magnitude (gradient.Invoke x) u)
                        (magnitude forwardOverReverse u)
                        (inner forwardOverReverse u)
                        (differences gradient u x v)
    }
