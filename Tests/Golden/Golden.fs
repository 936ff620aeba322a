/// Reference files against the library: values, gradients and second order, case by case.
module Functional.Tests.Golden.Golden

open System
open System.IO
open Expecto
open Functional
open Functional.Autodiff
open Functional.Files
open Functional.Tests.Golden.Files

/// What the float64 reference allows, relative and absolute. Algorithms of linear algebra and trajectories add up rounding.
let private exact, private accumulated = (1e-9, 1e-10), (1e-7, 1e-7)

let private loose =
    set
        [
            "cholesky"
            "det"
            "eigh"
            "inverse"
            "hvp_inverse"
            "matrix_exp"
            "qr"
            "slogdet"
            "solve"
            "svd"
        ]

/// How far a value may be from the reference: relative to its magnitude, and absolute.
let private tolerance (case: Case) name =
    if case.DType = DType.Float32 then
        let error =
            match case.Errors.TryGetValue name with
            | true, error -> error
            | _ -> 0.0

        // Never closer than float64 must be: where the reference itself rounds to 0, its error says nothing.
        1e-5, max (snd exact) (4.0 * error)
    elif loose.Contains case.Op || case.Op.StartsWith "optim_" then
        accumulated
    else
        exact

/// Shape, dtype and every element; NaN and infinities must be where the reference has them.
let private agree case name (expected: Tensor) (actual: Tensor) =
    Expect.equal actual.Shape expected.Shape $"{name}: shape"
    Expect.equal actual.DType expected.DType $"{name}: dtype"

    let relative, absolute =
        if expected.DType.IsFloat() then
            tolerance case name
        else
            0.0, 0.0

    let expected, actual = expected.ToDoubles(), actual.ToDoubles()

    for i in 0 .. expected.Length - 1 do
        let e, a = expected[i], actual[i]
        let allowed = absolute + relative * abs e

        let alike =
            if Double.IsFinite e then
                abs (e - a) <= allowed
            else
                e = a || (Double.IsNaN e && Double.IsNaN a)

        if not alike then
            failtestNoStackf
                "%s.%s: element %d must be %.17g within %.2g; got %.17g (%s)"
                case.Name
                name
                i
                e
                allowed
                a
                (string case.Attributes)

/// The case as a function of the inputs named, to the outputs named: the others stay as they are.
let private functionOf (operation: Tensor[] -> Tensor[]) case (inputs: int[]) (outputs: int[]) =
    Func<Tensor[], Tensor[]>(fun x ->
        let all = Array.copy case.Inputs
        inputs |> Array.iteri (fun k i -> all[i] <- x[k])

        for place, axes in case.Views do
            all[place] <- all[place].Permute axes

        let results = operation all
        outputs |> Array.map (fun i -> results[i]))

let private recorded case prefix places =
    places |> Array.map (fun (i: int) -> case.Recorded[$"{prefix}{i}"])

let private secondOrder case (f: Func<Tensor[], Tensor[]>) (inputs: int[]) (outputs: int[]) (x: Tensor[]) =
    let cotangents = recorded case "cotangent" outputs
    let directions = recorded case "dir_in" inputs

    let weighted =
        Func<Tensor[], Tensor>(fun x ->
            Array.map2 (fun (c: Tensor) (y: Tensor) -> (c * y).Sum()) cotangents (f.Invoke x)
            |> Array.reduce (fun a b -> a + b))

    let struct (_, tangents) = Diff.Jvp(f, x, directions)

    for k, i in Array.indexed outputs do
        agree case $"jvp_out{i}" case.Recorded[$"jvp_out{i}"] tangents[k]

    let products = Diff.Hvp(weighted, x, directions)

    for k, i in Array.indexed inputs do
        agree case $"hvp_in{i}" case.Recorded[$"hvp_in{i}"] products[k]

let private check (operation: Tensor[] -> Tensor[]) case =
    let all = [| 0 .. case.Outputs.Length - 1 |]
    let values = (functionOf operation case [||] all).Invoke [||]

    for i in all do
        agree case $"out{i}" case.Outputs[i] values[i]

    let inputs = case.Differentiated

    if inputs.Length > 0 then
        let outputs =
            all |> Array.filter (fun i -> case.Recorded.ContainsKey $"cotangent{i}")

        let f = functionOf operation case inputs outputs
        let x = inputs |> Array.map (fun i -> case.Inputs[i])
        let struct (values, pullback) = Diff.Vjp(f, x)

        for k, i in Array.indexed outputs do
            agree case $"out{i}" case.Outputs[i] values[k]

        let gradients = pullback.Invoke(recorded case "cotangent" outputs)

        for k, i in Array.indexed inputs do
            agree case $"grad_in{i}" case.Recorded[$"grad_in{i}"] gradients[k]

        if case.Recorded.ContainsKey "dir_in0" then
            secondOrder case f inputs outputs x

/// What became of a case.
type Outcome =
    | Passed
    | Failed of string
    | Missing of string

let outcome (case: Case) =
    match Operations.all.TryFind case.Op with
    | None -> Missing case.Op
    | Some operation ->
        try
            Memory.Tidy(Action(fun () -> check (operation case) case))
            Passed
        with
        | Operations.Missing form -> Missing form
        | error -> Failed error.Message

/// `12 missing: conv3d (8), eigh (4)`
let private missingLine (names: string list) =
    let counted =
        names |> List.countBy id |> List.map (fun (name, n) -> $"{name} ({n})")

    match counted with
    | [] -> "0 missing"
    | _ -> $"{names.Length} missing: " + String.concat ", " counted

/// The verb: every case of the folder, a line for every failure, a summary at the end.
let run (arguments: string[]) =
    match arguments with
    | [| folder |] when Directory.Exists folder && not (filesOf folder).IsEmpty ->
        try
            let outcomes =
                [
                    for file in filesOf folder do
                        for case in read file -> case, outcome case
                ]

            for case, outcome in outcomes do
                match outcome with
                | Failed message -> Console.Out.WriteLine $"{case.Op}/{case.Name}: {message}"
                | _ -> ()

            let passed = outcomes |> List.filter (fun (_, outcome) -> outcome.IsPassed)
            let failed = outcomes |> List.filter (fun (_, outcome) -> outcome.IsFailed)

            let missing =
                outcomes
                |> List.choose (fun (_, outcome) ->
                    match outcome with
                    | Missing name -> Some name
                    | _ -> None)

            Console.Out.WriteLine $"{passed.Length} passed, {failed.Length} failed, {missingLine missing}"
            if failed.IsEmpty then 0 else 1
        with :? DataFormatException as error ->
            Console.Error.WriteLine error.Message
            2
    | [| folder |] ->
        Console.Error.WriteLine $"golden: the folder must hold reference files (*.safetensors); got {folder}."
        2
    | _ ->
        Console.Error.WriteLine "golden: one argument is needed, the folder of the reference files."
        2

/// The folder that the plain run takes its cases from, where one is named.
let private folder =
    match Environment.GetEnvironmentVariable "FUNCTIONAL_GOLDEN" with
    | null
    | "" -> None
    | folder -> Some folder

/// The cases of that folder, read once: or why there are none.
let private cases =
    lazy
        (try
            folder
            |> Option.map (filesOf >> List.collect read)
            |> Option.defaultValue []
            |> Ok
         with
         | :? DataFormatException
         | :? IOException as error -> Error error.Message)

/// How many cases of the folder an operation's reference file has, and how many pass; None without a folder.
let score name =
    match folder, cases.Value with
    | Some _, Ok cases ->
        let own = cases |> List.filter (fun case -> case.Op = name)

        let passed =
            own
            |> List.filter (fun case ->
                match outcome case with
                | Passed -> true
                | _ -> false)

        Some(passed.Length, own.Length)
    | _ -> None

/// What the folder asks for and is not there, in one line.
let missingOfEnvironment () =
    match folder, cases.Value with
    | Some _, Ok cases ->
        [
            for case in cases do
                if not (Operations.all.ContainsKey case.Op) then
                    case.Op
        ]
        |> missingLine
        |> fun line -> Some $"golden: {line}"
    | _ -> None

[<Tests>]
let tests =
    testList
        "golden"
        [
            match folder, cases.Value with
            | Some folder, Ok [] ->
                testCase "folder" (fun () ->
                    failtestNoStackf "FUNCTIONAL_GOLDEN must name reference files; got %s" folder)
            | _, Error message -> testCase "folder" (fun () -> failtestNoStack message)
            | _, Ok cases ->
                for op, cases in cases |> List.groupBy _.Op do
                    if Operations.all.ContainsKey op then
                        testList
                            op
                            [
                                for case in cases ->
                                    testCase case.Name (fun () ->
                                        match outcome case with
                                        | Passed -> ()
                                        | Failed message -> failtestNoStack message
                                        | Missing form -> skiptestf "%s is missing" form)
                            ]
        ]
