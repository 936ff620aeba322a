/// Many examples at once against one after the other.
module Functional.Tests.Laws.Vmapped

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Tests.Laws.Numbers

/// Examples of an input that stay in its domain: the drawn one, a little smaller.
let private examples count (x: Tensor) =
    Array.init count (fun i -> if x.DType.IsFloat() then x * (1.0 - 0.01 * float i) else x)

/// Operations whose domain does not shrink with the numbers, or of which every example gives other shapes.
let private sameForAll = set [ "searchSorted" ]

let manyIsEach =
    {
        Name = "many examples at once are one after the other"
        Cases = 15
        Check =
            fun sample ->
                let op, inputs = sample.Op, sample.Inputs
                let draw = sample.Draw 13UL
                let count = draw.Int(1, 3)

                let mapped =
                    match inputs |> Array.map (fun _ -> draw.Chance 0.7) with
                    | none when Array.forall not none -> inputs |> Array.map (fun _ -> true)
                    | some -> some

                let each =
                    inputs
                    |> Array.map (examples (if sameForAll.Contains op.Name then 1 else count))

                let each = each |> Array.map (fun e -> Array.init count (fun i -> e[i % e.Length]))

                let arguments =
                    Array.init inputs.Length (fun i -> if mapped[i] then Tensor.Stack(0, each[i]) else inputs[i])

                let axes = mapped |> Array.map (fun m -> if m then Nullable 0 else Nullable())

                let one i =
                    Array.init inputs.Length (fun j -> if mapped[j] then each[j].[i] else inputs[j])

                let f = Func<Tensor[], Tensor[]>(fun x -> op.Apply x)

                if inputs.Length > 0 then
                    let together = Diff.Vmap(f, axes).Invoke arguments
                    let apart = Array.init count (fun i -> op.Apply(one i))

                    for output in 0 .. together.Length - 1 do
                        for i in 0 .. count - 1 do
                            agree $"output {output} of example {i}" apart[i].[output] (together[output].Select(0, i))

                    // A gradient for each example.
                    let which = floats inputs

                    if which.Length > 0 && not (obj.ReferenceEquals(op.Vjp, Op.NotDifferentiable)) then
                        let gradient =
                            Func<Tensor[], Tensor[]>(fun x ->
                                let y = functionOf op x which
                                let chosen = which |> Array.map (fun i -> x[i])

                                let s =
                                    Func<Tensor[], Tensor>(fun t ->
                                        y.Invoke t |> Array.map (fun o -> o.Square().Sum()) |> Array.reduce (+))

                                Diff.Grad(s).Invoke chosen)

                        if (f.Invoke(one 0)) |> Array.exists (fun y -> y.DType.IsFloat()) then
                            let together = Diff.Vmap(gradient, axes).Invoke arguments

                            for i in 0 .. count - 1 do
                                let apart = gradient.Invoke(one i)

                                for k in 0 .. apart.Length - 1 do
                                    agree $"gradient of example {i}" apart[k] (together[k].Select(0, i))
    }
