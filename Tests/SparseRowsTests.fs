/// The gradient of rows picked from a table: rows as long as nobody asks for more, and a tensor like any other to everyone who does.
module Functional.Tests.SparseRowsTests

open System
open Expecto
open FsCheck.FSharp
open Functional
open Functional.Autodiff
open Functional.Tests.Laws
open Functional.Tests.Laws.Numbers

/// A table, and what is picked from it one time after the other: places that may repeat, the one that gets no gradient, and weights of what was picked.
type private Picked =
    {
        Table: Tensor
        Picks: (Tensor * Nullable<int> * Tensor) list
    }

let private picked (draw: Draw) =
    let rows = draw.Int(1, 40)
    let row = List.ofArray ((draw.Shape(0, 2, empty = true)).ToArray())
    let table = copy (draw.Tensor(Shape.Of(rows :: row)))

    {
        Table = table
        Picks =
            [
                for _ in 1 .. draw.Int(1, 3) ->
                    let places =
                        draw.Integers(
                            draw.Shape(0, 2, empty = true),
                            0,
                            rows - 1,
                            (if draw.Chance() then DType.Int32 else DType.Int64)
                        )

                    let padding =
                        if draw.Chance() then
                            Nullable(draw.Int(0, rows - 1))
                        else
                            Nullable()

                    places, padding, draw.Tensor(Shape.Of(List.ofArray (places.Shape.ToArray()) @ row))
            ]
    }

let private gradient (loss: Tensor -> Tensor) (table: Tensor) =
    let struct (_, gradients) =
        Diff.ValueAndGrad((fun (t: Tensor[]) -> loss t[0]), [| table |])

    gradients[0]

let private weighted p (table: Tensor) : Tensor =
    p.Picks
    |> List.map (fun (places, padding, weights) -> (Tensor.Embedding(table, places, padding) * weights).Sum())
    |> List.reduce (fun (a: Tensor) b -> a + b)

/// One row after the other, as the definition says.
let private expected p =
    let width = int (p.Table.Count / int64 p.Table.Shape[0])
    let sums = Array.zeroCreate<float>(int p.Table.Count)

    for places, padding, weights in p.Picks do
        let weights = weights.ToDoubles()

        places.ToDoubles()
        |> Array.iteri (fun i place ->
            if not (padding.HasValue && padding.Value = int place) then
                for j in 0 .. width - 1 do
                    sums[int place * width + j] <- sums[int place * width + j] + weights[i * width + j])

    like p.Table sums

let private isSparse (t: Tensor) = t.Trace :? SparseRows

let private isFew p =
    (p.Picks |> List.sumBy (fun (places, _, _) -> places.Count)) < int64 p.Table.Shape[0]

let private law name check =
    testPropertyWithConfig
        (Law.config 100)
        name
        (Prop.forAll Law.cases (fun case ->
            for dtype in [ DType.Float64; DType.Float32 ] do
                check (picked (Draw(case.Seed, case.Size, DType = dtype)))))

[<Tests>]
let tests =
    testList
        "sparse rows"
        [
            law "is the sum of what was picked" (fun p ->
                let g = gradient (weighted p) p.Table
                Expect.equal (isSparse g) (isFew p) "rows where they are few"
                agree "gradient" (expected p) g)

            law "goes through operations, views and reductions like any tensor" (fun p ->
                let g () = gradient (weighted p) p.Table
                let dense = copy (g ())
                identical "sum" (dense + 1.0) (g () + 1.0)
                identical "transposed" (dense.Reshape(-1, 1).Transpose(0, 1)) ((g ()).Reshape(-1, 1).Transpose(0, 1))
                identical "total" (dense.Sum()) ((g ()).Sum())
                Expect.equal ((g ()).ToString()) (dense.ToString()) "text"

                // Of two uses together, one of which needs every element.
                let both =
                    gradient (fun table -> weighted p table + (table * table).Sum() * 0.5) p.Table

                agree "beside a dense use" (dense + p.Table) both

                // The gradient of half a weighted sum's square is the sum times what is picked; along a direction only the sum changes.
                let along = copy (p.Table * 0.5 + 0.25)

                let second =
                    Diff.Hvp((fun (t: Tensor[]) -> (weighted p t[0]).Square() * 0.5), [| p.Table |], [| along |])

                agree "second order" (weighted p along * dense) second[0])

            law "outlives the scope in which it was first read" (fun p ->
                let g = gradient (weighted p) p.Table
                Memory.Tidy(Action(fun () -> g.Sum().ToDouble() |> ignore))
                agree "read again" (expected p) g)

            law "a step of descent by rows gives the bits of one by all elements" (fun p ->
                for decay in [ 0.0; 0.1 ] do
                    let g = gradient (weighted p) p.Table
                    let byRows, byElements = copy p.Table, copy p.Table
                    Steps.Sgd([| byElements |], [| copy (gradient (weighted p) p.Table) |], 0.3, decay)
                    Steps.Sgd([| byRows |], [| g |], 0.3, decay)
                    identical $"decay {decay}" byElements byRows)

            testCase "other parameters are stepped beside it" (fun () ->
                let table, other = Tensor.Ones(Shape.Of [ 9; 3 ]), Tensor.Ones(Shape.Of [ 4 ])

                let struct (_, g) =
                    Diff.ValueAndGrad(
                        (fun (t: Tensor[]) -> t[0].Sum() + Tensor.Embedding(t[1], Tensor.From [| 2L; 2L |]).Sum()),
                        [| other; table |]
                    )

                let p = [| copy other; copy table |]
                Steps.Sgd(p, g, 0.5, 0.0)
                agree "other" (Tensor.Full(other.Shape, 0.5, DType.Float32)) p[0]
                Expect.equal (p[1].ToDoubles()) [| for i in 0..26 -> if i / 3 = 2 then 0.0 else 1.0 |] "table")
        ]
