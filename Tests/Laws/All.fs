/// The table: every law × every operation of the registry.
module Functional.Tests.Laws.All

open Expecto
open Functional.Tests

let laws =
    [
        FirstOrder.vjpIsDifferences
        FirstOrder.tiesMoveTogether
        FirstOrder.jvpIsAdjoint
        FirstOrder.jvpIsTransposed
        FirstOrder.secondOrder
        Fused.fusedIsVjp
        Fused.readsWhatItDeclares
        Values.forwardIsReference
        Values.forwardIsMathNet
        Values.floatsAgree
        Values.viewsAreCopies
        Values.lengthsDoNotMatter
        Values.threadsDoNotMatter
        Vmapped.manyIsEach
        Fusion.fusedIsUnfused
        Shapes.inferenceIsTrue
        Shapes.refusalsAgree
    ]

/// An operation that nobody can judge must not pass for one that was judged.
let private complete =
    let operations = Functional.Ops.Registry.All |> Seq.map _.Name |> Set

    testList
        "complete"
        [
            testCase "every operation has a reference" (fun () ->
                let missing = operations |> Set.filter (Reference.all.ContainsKey >> not)
                Expect.isEmpty missing "operations without an entry in Tests/Reference.fs")
            testCase "every reference has an operation" (fun () ->
                let orphans =
                    Seq.append Reference.all.Keys MathNetReference.all.Keys
                    |> Seq.filter (operations.Contains >> not)

                Expect.isEmpty orphans "references of operations that do not exist")
            Table.isUpToDate laws
            testCase "every law has a mutant" (fun () ->
                let unproved = laws |> List.map _.Name |> List.except (Mutants.provedLaws)

                Expect.isEmpty unproved "laws that no broken operation proves")
        ]

[<Tests>]
let tests = testList "laws" (complete :: (laws |> List.map Law.tests))
