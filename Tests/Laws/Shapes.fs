/// Shapes without data: what they promise and what they refuse.
module Functional.Tests.Laws.Shapes

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Tests.Laws.Numbers

let private meta (x: Tensor) = Tensor.Meta(x.DType, x.Shape)

/// The outputs' dtypes and shapes, or the sentence of the refusal. What the numbers alone do not allow – a singular matrix – the shapes do.
let rec private outcome (op: Op) (x: Tensor[]) =
    try
        op.Apply x |> Array.map (fun y -> y.DType, y.Shape) |> Ok
    with
    | :? SingularMatrixException -> outcome op (Array.map meta x)
    | :? ShapeException as refusal -> Error refusal.Message

/// The same tensor with another dtype, rank or size; integers become 0, which is an index of every axis that is not empty.
let private spoiled (draw: Draw) (x: Tensor) =
    let zeros dtype (sizes: int[]) =
        let shape = shapeOf sizes
        tensor dtype shape (Array.zeroCreate (int shape.Count))

    let sizes = x.Shape.ToArray()

    match draw.Int(0, 4) with
    | 0 ->
        let others =
            [| DType.Float32; DType.Float64; DType.Int32; DType.Int64; DType.Bool |]
            |> Array.filter ((<>) x.DType)

        zeros others[draw.Int(0, others.Length - 1)] sizes
    | 1 -> zeros x.DType (Array.append [| draw.Int(1, 3) |] sizes)
    | 2 when sizes.Length > 0 -> zeros x.DType sizes[1..]
    | 3 when sizes.Length > 0 -> zeros x.DType sizes[.. sizes.Length - 2]
    | _ when sizes.Length > 0 ->
        let axis = draw.Int(0, sizes.Length - 1)
        sizes[axis] <- sizes[axis] + draw.Int(1, 2)
        zeros x.DType sizes
    | _ -> zeros x.DType [| 2 |]

let inferenceIsTrue =
    {
        Name = "shapes without data are the real ones"
        Cases = 30
        Check =
            fun sample ->
                let op, x = sample.Op, sample.Inputs
                let real = op.Apply x |> Array.map (fun y -> y.DType, y.Shape)
                let inferred = op.Shape.Invoke x |> Array.map (fun s -> s.DType, s.Shape)
                Expect.equal inferred real "the inferred shapes are the real ones"
                let through = op.Apply(Array.map meta x)
                Expect.equal (through |> Array.map (fun y -> y.DType, y.Shape)) real "shapes went through"
                Expect.isTrue (through |> Array.forall _.IsMeta) "nothing was computed"
    }

let refusalsAgree =
    {
        Name = "shapes without data refuse what the real ones do"
        Cases = 40
        Check =
            fun sample ->
                let op = sample.Op
                let draw = sample.Draw 11UL
                let x = Array.copy sample.Inputs

                if x.Length > 0 then
                    let i = draw.Int(0, x.Length - 1)
                    x[i] <- spoiled draw x[i]
                    let without, real = outcome op (Array.map meta x), outcome op x

                    match without, real with
                    | Ok _, Error sentence when
                        sentence.Contains "indices"
                        || sentence.Contains "index along"
                        || sentence.Contains "labels must lie"
                        ->
                        ()
                    | _ -> Expect.equal without real $"with input {i} replaced by {x[i].DType} {x[i].Shape}"
    }
