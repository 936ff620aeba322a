/// The table: every law × every operation of the registry.
module Functional.Tests.Laws.All

open Expecto

let laws =
    [
        FirstOrder.vjpIsDifferences
        FirstOrder.jvpIsAdjoint
        FirstOrder.jvpIsTransposed
        FirstOrder.secondOrder
        Fused.fusedIsVjp
        Fused.readsWhatItDeclares
        Values.forwardIsReference
        Values.floatsAgree
        Values.viewsAreCopies
        Values.lengthsDoNotMatter
        Values.threadsDoNotMatter
        Shapes.inferenceIsTrue
        Shapes.refusalsAgree
    ]

[<Tests>]
let tests = testList "laws" (laws |> List.map Law.tests)
