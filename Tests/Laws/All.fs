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
    ]

[<Tests>]
let tests = testList "laws" (laws |> List.map Law.tests)
