module Functional.Tests.Program

open System
open Expecto

/// Expecto's own printfn pads its lines; these are read by programs.
let private say (line: string) = Console.Out.WriteLine line

/// What the program does besides running the laws: a name, what it says of itself, and the way from the remaining
/// arguments to the exit code.
let private verbs: (string * string * (string[] -> int)) list =
    [
        "golden", "DIR: the reference files of a folder", Golden.Golden.run
        "guard", "every kernel with its buffers against unmapped pages (the guard tests' child)", GuardTests.run
        "unemitted", "what rests on emitted kernels, without them (a test's child)", UnemittedTests.run
        "kills", "[N]: a run of training that is killed at N random instants, 20 unless told", Sittings.prove
        "sit", "FILE STEPS THREADS: one sitting of that run", Sittings.sit
        "ops", "[--write]: the table of operations; --write makes docs/operations.md", Laws.Table.run Laws.All.laws
        "mutants",
        "[OPERATION …]: mistakes made by rule in every operation, and which of them the laws catch",
        Laws.Mechanical.run
    ]

/// All laws. The closing line is printed here, from the runner's summary, so that every runner ends alike.
let private laws argv =
    let counts = ref None

    let remember =
        SummaryHandler(fun summary ->
            counts.Value <-
                Some(summary.results.Length, summary.passed.Length, summary.failed.Length + summary.errored.Length))

    let exitCode =
        runTestsInAssemblyWithCLIArgs [ CLIArguments.Sequenced; JoinWith "/"; Append_Summary_Handler remember ] argv

    match counts.Value with
    | Some(0, _, _) ->
        say "No test has such a name; --list-tests prints the names."
        2
    | Some(_, passed, failed) ->
        Golden.Golden.missingOfEnvironment () |> Option.iter say
        say $"{passed} passed, {failed} failed"
        if failed > 0 then 1 else exitCode
    | None -> if exitCode = 0 then 0 else 2

[<EntryPoint>]
let main argv =
    match List.ofArray argv with
    | verb :: rest when not (verb.StartsWith '-') ->
        match verbs |> List.tryFind (fun (name, _, _) -> name = verb) with
        | Some(_, _, run) -> run (Array.ofList rest)
        | None ->
            say $"Unknown verb '{verb}'. Without a verb all laws run (--help lists the options)."

            for name, says, _ in verbs do
                say $"  {name.PadRight 12} {says}"

            2
    | _ -> laws argv
