/// The table of operations: what each has, and what it is judged by.
module Functional.Tests.Laws.Table

open System
open System.IO
open Expecto
open Functional.Autodiff
open Functional.Ops
open Functional.Tests
open Functional.Tests.Laws

/// Reference files that are named otherwise than the operation they are about.
let private otherNames =
    Map
        [
            "convolution", [ "conv1d"; "conv2d"; "conv3d"; "hvp_conv2d" ]
            "convolutionTransposed", [ "conv_transpose2d" ]
            "maxPool", [ "max_pool2d" ]
            "averagePool", [ "avg_pool2d" ]
            "adaptiveAveragePool", [ "adaptive_avg_pool2d" ]
            "max", [ "amax"; "max" ]
            "maxWithIndices", [ "max" ]
            "minWithIndices", [ "min" ]
            "matmul", [ "matmul"; "bmm"; "outer"; "hvp_matmul" ]
            "mod", [ "remainder" ]
            "take", [ "index_select"; "embedding" ]
            "scatterAdd", [ "scatter_add" ]
            "permute", [ "permute"; "transpose" ]
            "reshape", [ "reshape"; "squeeze" ]
            "padBorder", [ "pad" ]
            "resize", [ "upsample" ]
            "diagonal", [ "trace" ]
            "geluTanh", [ "gelu" ]
            "hardswish", [ "hardswish" ]
            "rnn", [ "rnn_tanh" ]
            "attention", [ "scaled_dot_product_attention"; "multi_head_attention" ]
            "selfAttention", [ "multi_head_attention" ]
            "groupNorm", [ "group_norm"; "instance_norm" ]
            "crossEntropy", [ "cross_entropy" ]
            "softmaxCrossEntropy", [ "cross_entropy" ]
            "softmaxCrossEntropyTargets", [ "cross_entropy" ]
            "cosineSimilarity", [ "cosine_similarity" ]
        ]

let private plainName (name: string) =
    name.Replace("hvp_", "").Replace("_", "").ToLowerInvariant()

let private files (op: Op) =
    match otherNames.TryFind op.Name with
    | Some names -> names |> List.filter Golden.Operations.all.ContainsKey
    | None ->
        Golden.Operations.all.Keys
        |> Seq.filter (fun name -> plainName name = op.Name.ToLowerInvariant())
        |> List.ofSeq

let private isSmooth (op: Op) =
    not (obj.ReferenceEquals(op.Vjp, Op.NotDifferentiable))

/// The laws that have something to say about an operation.
let private applying (laws: Law list) (op: Op) =
    laws
    |> List.filter (fun law ->
        match law.Name with
        | name when name = FirstOrder.tiesMoveTogether.Name -> FirstOrder.chooses.Contains op.Name
        | name when name = FirstOrder.jvpIsTransposed.Name -> isSmooth op && not (isNull op.Jvp)
        | name when name = Fused.fusedIsVjp.Name -> not (isNull op.VjpInto)
        | name when name = Fused.readsWhatItDeclares.Name -> isSmooth op && op.Reads <> Reads.All
        | name when name = Values.forwardIsMathNet.Name -> MathNetReference.all.ContainsKey op.Name
        | name when
            List.contains
                name
                [
                    FirstOrder.vjpIsDifferences.Name
                    FirstOrder.jvpIsAdjoint.Name
                    FirstOrder.secondOrder.Name
                ]
            ->
            isSmooth op
        | _ -> true)

let private derivative (op: Op) =
    if not (isSmooth op) then "none"
    elif op.Forward :? Forward.Composed then "of its parts"
    elif isNull op.VjpInto then "rule"
    else "rule, fused"

let private forwardMode (op: Op) =
    if not (isSmooth op) then "–"
    elif op.Forward :? Forward.Composed then "of its parts"
    elif isNull op.Jvp then "transposed"
    else "rule"

let private batching (op: Op) =
    if op.Forward :? Forward.Composed then
        "of its parts"
    else
        match op.Batching with
        | b when obj.ReferenceEquals(b, Batching.Whole) -> "as it is"
        | b when obj.ReferenceEquals(b, Batching.Folded) -> "first axis"
        | b when obj.ReferenceEquals(b, Batching.Loop) -> "loop"
        | _ -> "rule"

let private reference (op: Op) =
    [
        if Reference.all.ContainsKey op.Name then
            "naive"
        if MathNetReference.all.ContainsKey op.Name then
            "MathNet"
    ]
    |> String.concat ", "

let private header =
    [
        "operation"
        "laws"
        "derivative"
        "orders"
        "forward mode"
        "many examples"
        "reference"
        "reference files"
    ]

let private row laws (op: Op) =
    [
        $"`{op.Name}`"
        string (applying laws op).Length
        derivative op
        (if isSmooth op then "any" else "–")
        forwardMode op
        batching op
        reference op
        String.concat ", " (files op)
    ]

let private line cells =
    sprintf "| %s |" (String.concat " | " cells)

/// The whole table as it stands in docs/operations.md.
let markdown (laws: Law list) =
    [
        "# Operations"
        ""
        "Made by `dotnet run -c Release --project Tests -- ops --write`; a test fails when it is out of date."
        ""
        $"{Registry.All.Count} operations, each under every law that has something to say about it: derivatives are the limit of differences, forward and reverse mode are adjoint,"
        "second derivatives agree in every order of nesting, fused kernels equal the rules, values equal a naive reference in both float widths, every layout, length and number of"
        "threads, shapes without data tell the truth, many examples at once are one after the other, fused functions equal unfused ones. *Orders* says how often an operation can be differentiated; *many examples* how"
        "`vmap` takes it: as it is, with the examples in its first axis, by a rule of its own, or in a loop; *reference files* which files of reference results it is compared with."
        ""
        line header
        line (header |> List.map (fun _ -> "---"))
        for op in Registry.All do
            line (row laws op)
        ""
        "Not among them: losses, optimisers and schedules, which are written in terms of operations and have reference files and tests of their own."
        ""
    ]
    |> String.concat "\n"

let private file = Path.Combine(Sources.root, "docs", "operations.md")

/// `Tests -- ops [--write]`: the table, with the reference cases that pass where $FUNCTIONAL_GOLDEN names their folder.
let run laws (arguments: string[]) =
    let table = markdown laws
    Console.Out.WriteLine table

    for op in Registry.All do
        for name in files op do
            match Golden.Golden.score name with
            | Some(passed, count) when count > 0 ->
                Console.Out.WriteLine $"{op.Name}: {passed} of {count} cases of {name} pass"
            | _ -> ()

    if Array.contains "--write" arguments then
        File.WriteAllText(file, table)

    0

/// Where the file differs from the table.
let isUpToDate laws =
    testCase "docs/operations.md is up to date" (fun () ->
        Expect.equal
            (File.ReadAllText(file).ReplaceLineEndings "\n")
            (markdown laws)
            "write it again with: dotnet run -c Release --project Tests -- ops --write")
