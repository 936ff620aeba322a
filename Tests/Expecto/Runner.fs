namespace Expecto

open System
open System.Diagnostics
open System.IO
open System.Reflection
open System.Threading

/// What a run leaves behind.
module Impl =
    type TestResult =
        | Passed
        | Ignored of string
        | Failed of string
        | Error of exn

    type TestSummary =
        {
            result: TestResult
            count: int
            meanDuration: float
            maxDuration: float
        }

    type TestRunSummary =
        {
            results: (FlatTest * TestSummary) list
            duration: TimeSpan
        }

        member run.passed = run.results |> List.filter (fun (_, s) -> s.result.IsPassed)
        member run.ignored = run.results |> List.filter (fun (_, s) -> s.result.IsIgnored)
        member run.failed = run.results |> List.filter (fun (_, s) -> s.result.IsFailed)
        member run.errored = run.results |> List.filter (fun (_, s) -> s.result.IsError)

    /// Runs one test. A property with a configuration of its own gets it through `ownConfig`, any other the run's.
    let internal evaluate (ownConfig: FsCheckConfig -> FsCheckConfig) (runConfig: FsCheckConfig) test =
        match test.state with
        | Pending -> Ignored "The test is pending."
        | Normal when test.focusOn -> Ignored "Other tests are focused."
        | _ ->
            let rec outcome (e: exn) =
                match e with
                | :? AggregateException as many when many.InnerExceptions.Count = 1 -> outcome many.InnerExceptions[0]
                | :? IgnoreException -> Ignored e.Message
                | :? AssertException
                | :? FailedException -> Failed e.Message
                | _ -> Error e

            try
                match test.test with
                | Sync f -> f ()
                | SyncWithCancel f -> f CancellationToken.None
                | Async work -> Async.RunSynchronously work
                | AsyncFsCheck(Some config, _, check) -> check (ownConfig config) |> Async.RunSynchronously
                | AsyncFsCheck(None, _, check) -> check runConfig |> Async.RunSynchronously

                Passed
            with e ->
                outcome e

/// The runner and its command line.
[<AutoOpen>]
module Running =
    open Impl

    type SummaryHandler = SummaryHandler of (TestRunSummary -> unit)

    type CLIArguments =
        | Sequenced
        | FsCheck_Max_Tests of int
        | FsCheck_Start_Size of int
        | FsCheck_End_Size of int
        | FsCheck_Replay of uint64 * uint64 * int option
        | Debug
        | Filter of hiera: string
        | Filter_Test_List of substring: string
        | Filter_Test_Case of substring: string
        | Run of tests: string list
        | List_Tests of listStates: FocusState list
        | JoinWith of split: string
        | Append_Summary_Handler of SummaryHandler

    /// A switch, the name of its value (none: it takes none), what it does, and how its value is read.
    type private Switch =
        {
            Name: string
            Value: string
            Says: string
            Read: string -> CLIArguments option
        }

    let private switch name says argument =
        {
            Name = name
            Value = ""
            Says = says
            Read = fun _ -> Some argument
        }

    let private switchOf name value says read =
        {
            Name = name
            Value = value
            Says = says
            Read = read
        }

    let private number build (text: string) =
        match Int32.TryParse text with
        | true, n when n > 0 -> Some(build n)
        | _ -> None

    let private seed (text: string) =
        match text.Split ',' |> Array.map UInt64.TryParse with
        | [| (true, s); (true, g) |] -> Some(FsCheck_Replay(s, g, None))
        | [| (true, s); (true, g); (true, size) |] -> Some(FsCheck_Replay(s, g, Some(int size)))
        | _ -> None

    let private switches =
        [
            switchOf "--filter" "PATH" "Run the tests whose path starts with PATH." (Filter >> Some)
            switchOf
                "--filter-test-list"
                "TEXT"
                "Run the tests in a list whose name contains TEXT."
                (Filter_Test_List >> Some)
            switchOf
                "--filter-test-case"
                "TEXT"
                "Run the cases and properties whose name contains TEXT."
                (Filter_Test_Case >> Some)
            switchOf "--run" "PATH" "Run the one test with this path." (fun path -> Some(Run [ path ]))
            switch "--list-tests" "Print the paths of the tests and run none." (List_Tests [])
            switchOf "--fscheck-max-tests" "N" "Cases per property (default 100)." (number FsCheck_Max_Tests)
            switchOf
                "--fscheck-start-size"
                "N"
                "Size of a property's first case (default 1)."
                (number FsCheck_Start_Size)
            switchOf "--fscheck-end-size" "N" "Size of a property's last case (default 100)." (number FsCheck_End_Size)
            switchOf "--fscheck-replay" "SEED" "Run properties with the seed that a failure printed." seed
            switchOf "--join-with" "TEXT" "What stands between the names of a path (default .)." (JoinWith >> Some)
            switch "--sequenced" "One test after the other (it always is so)." Sequenced
            switch "--debug" "Print every test with its time." Debug
        ]

    let private usage (out: TextWriter) =
        out.WriteLine "Options:"

        for s in switches do
            out.WriteLine("  " + (s.Name + " " + s.Value).PadRight 28 + s.Says)

        out.WriteLine("  " + "--help".PadRight 28 + "Print this list.")

    let rec private parse argv =
        match argv with
        | [] -> Ok []
        | name :: rest ->
            match switches |> List.tryFind (fun s -> s.Name = name), rest with
            | None, _ -> Result.Error(sprintf "Unknown option '%s'." name)
            | Some s, _ when s.Value = "" -> parse rest |> Result.map (fun more -> (s.Read "").Value :: more)
            | Some s, value :: rest when (s.Read value).IsSome ->
                parse rest |> Result.map (fun more -> (s.Read value).Value :: more)
            | Some s, value :: _ -> Result.Error(sprintf "%s %s: '%s' cannot be read." s.Name s.Value value)
            | Some s, [] -> Result.Error(sprintf "%s %s: the value is missing." s.Name s.Value)

    let private selects (split: string) (test: FlatTest) argument =
        let path = String.concat split test.name

        match argument, List.rev test.name with
        | Filter start, _ -> path.StartsWith(start, StringComparison.Ordinal)
        | Filter_Test_List part, _ :: lists ->
            lists |> List.exists (fun l -> l.Contains(part, StringComparison.Ordinal))
        | Filter_Test_Case part, name :: _ -> name.Contains(part, StringComparison.Ordinal)
        | Run paths, _ -> List.contains path paths
        | _ -> true

    /// The command that shows a falsified property again, in place of the replay line of its message.
    let private report path (message: string) =
        let lines = message.Split '\n' |> List.ofArray

        lines
        |> List.map (fun line ->
            if line.StartsWith("Replay: ", StringComparison.Ordinal) then
                sprintf
                    "Again: dotnet run -c Release --project Tests -- --run \"%s\" --fscheck-replay %s"
                    path
                    (line.Substring 8)
            else
                line)
        |> List.map (fun line -> "  " + line)
        |> String.concat "\n"

    let private runAll (out: TextWriter) arguments (tests: FlatTest list) (pathOf: FlatTest -> string) =
        let configure (config: FsCheckConfig) argument =
            match argument with
            | FsCheck_Max_Tests n -> { config with maxTest = n }
            | FsCheck_Start_Size n -> { config with startSize = n }
            | FsCheck_End_Size n -> { config with endSize = n }
            | FsCheck_Replay(seed, gamma, size) ->
                { config with
                    replay = Some(seed, gamma, size)
                }
            | _ -> config

        let replay = arguments |> List.filter (fun (a: CLIArguments) -> a.IsFsCheck_Replay)

        let runConfig =
            arguments
            |> List.fold
                configure
                { FsCheckConfig.defaultConfig with
                    maxTest = 100
                }

        let verbose = arguments |> List.exists (fun (a: CLIArguments) -> a.IsDebug)
        let clock = Stopwatch.StartNew()

        let results =
            [
                for test in tests do
                    let started = clock.Elapsed
                    let result = evaluate (fun own -> List.fold configure own replay) runConfig test
                    let spent = (clock.Elapsed - started).TotalMilliseconds

                    match result with
                    | Failed message ->
                        out.WriteLine(sprintf "%s failed:\n%s" (pathOf test) (report (pathOf test) message))
                    | Error e -> out.WriteLine(sprintf "%s failed:\n%s" (pathOf test) (report (pathOf test) (string e)))
                    | Ignored why -> out.WriteLine(sprintf "%s was skipped: %s" (pathOf test) why)
                    | Passed when verbose -> out.WriteLine(sprintf "%s passed in %.0f ms" (pathOf test) spent)
                    | Passed -> ()

                    test,
                    {
                        result = result
                        count = 1
                        meanDuration = spent
                        maxDuration = spent
                    }
            ]

        {
            results = results
            duration = clock.Elapsed
        }

    let private summarise (out: TextWriter) (run: TestRunSummary) pathOf =
        let bad = run.failed @ run.errored

        out.WriteLine(
            sprintf
                "%d tests in %.1f s: %d passed, %d skipped, %d failed, %d raised an exception."
                run.results.Length
                run.duration.TotalSeconds
                run.passed.Length
                run.ignored.Length
                run.failed.Length
                run.errored.Length
        )

        for test, _ in bad do
            out.WriteLine("  " + pathOf test)

    /// Runs or lists tests and writes to `out`. 0: all passed; 1: some failed; 2: the command line or the tree is wrong.
    let internal runTestsTo (out: TextWriter) (cliArgs: seq<CLIArguments>) (argv: string[]) tests =
        let wrong (message: string) =
            out.WriteLine message
            usage out
            2

        if argv |> Array.contains "--help" then
            usage out
            0
        else
            match parse (List.ofArray argv) with
            | Result.Error message -> wrong message
            | Ok given ->
                let arguments = List.ofSeq cliArgs @ given

                let split =
                    arguments
                    |> List.fold
                        (fun split a ->
                            match a with
                            | JoinWith text -> text
                            | _ -> split)
                        "."

                let pathOf (test: FlatTest) = String.concat split test.name

                let chosen =
                    Test.toTestCodeList tests
                    |> List.filter (fun test -> arguments |> List.forall (selects split test))

                let twice =
                    chosen
                    |> List.countBy pathOf
                    |> List.filter (fun (_, n) -> n > 1)
                    |> List.map fst

                if arguments |> List.exists (fun (a: CLIArguments) -> a.IsList_Tests) then
                    for test in chosen do
                        out.WriteLine(pathOf test)

                    0
                elif not twice.IsEmpty then
                    out.WriteLine("Tests with the same path: " + String.concat ", " twice)
                    2
                else
                    let run = runAll out arguments chosen pathOf
                    summarise out run pathOf

                    for argument in arguments do
                        match argument with
                        | Append_Summary_Handler(SummaryHandler handle) -> handle run
                        | _ -> ()

                    if run.failed.IsEmpty && run.errored.IsEmpty then 0 else 1

    let runTestsWithCLIArgs (cliArgs: seq<CLIArguments>) (args: string[]) tests =
        runTestsTo Console.Out cliArgs args tests

    /// Every public static value of an assembly that carries one of the attributes, as one tree.
    let internal testsOf (assembly: Assembly) =
        let state (m: MemberInfo) =
            if m.IsDefined(typeof<FTestsAttribute>, false) then
                Some Focused
            elif m.IsDefined(typeof<TestsAttribute>, false) then
                Some Normal
            elif m.IsDefined(typeof<PTestsAttribute>, false) then
                Some Pending
            else
                None

        let value (m: MemberInfo) =
            match m with
            | :? PropertyInfo as p -> p.GetValue null
            | :? FieldInfo as f -> f.GetValue null
            | :? MethodInfo as f when f.GetParameters().Length = 0 -> f.Invoke(null, [||])
            | _ -> null

        let marked =
            [
                for t in assembly.GetTypes() do
                    for m in t.GetMembers(BindingFlags.Static ||| BindingFlags.Public) do
                        match state m with
                        | Some s ->
                            match value m with
                            | :? Test as test -> TestList([ test ], s)
                            | _ -> invalidOp (sprintf "[<Tests>] %s.%s: it must be a Test." t.FullName m.Name)
                        | None -> ()
            ]

        TestList(marked, Normal)

    let runTestsInAssemblyWithCLIArgs (cliArgs: seq<CLIArguments>) (args: string[]) =
        let tests =
            Assembly.GetEntryAssembly()
            |> Option.ofObj
            |> Option.map testsOf
            |> Option.defaultValue (TestList([], Normal))

        runTestsWithCLIArgs cliArgs args tests
