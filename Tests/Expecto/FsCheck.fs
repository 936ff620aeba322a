namespace Expecto

open FsCheck

/// Properties as tests.
[<AutoOpen>]
module ExpectoFsCheck =
    let private values (arguments: obj list) =
        arguments |> List.map (sprintf "%A") |> String.concat " "

    /// What FsCheck found, in the order in which a reader needs it: the smallest case, why, and how to see it again.
    /// The last line starts with `Replay: ` so that the runner can turn it into a command.
    let private falsified builder name (data: TestData) original shrunk outcome (first: Rnd) (last: Rnd) size =
        let why =
            match outcome with
            | Outcome.Failed(:? AssertException as e) -> e.Message
            | Outcome.Failed e -> string e
            | _ -> "The property is false."

        [
            sprintf "Falsified after %d tests and %d shrinks." data.NumberOfTests data.NumberOfShrinks
            sprintf "Case: %s" (values shrunk)
            if data.NumberOfShrinks > 0 then
                sprintf "Shrunk from: %s" (values original)
            if not data.Labels.IsEmpty then
                sprintf "Labels: %s" (String.concat ", " data.Labels)
            why
            sprintf "Seed of the run: (%dUL, %dUL, None)" first.Seed first.Gamma
            sprintf "In the source: %s (%dUL, %dUL, Some %d) … \"%s\"" builder last.Seed last.Gamma size name
            sprintf "Replay: %d,%d,%d" last.Seed last.Gamma size
        ]
        |> String.concat "\n"

    let private runner builder name (config: FsCheckConfig) =
        { new IRunner with
            member _.OnStartFixture _ = ()

            member _.OnArguments(number, arguments, _) =
                config.receivedArgs config name number arguments |> Async.RunSynchronously

            member _.OnShrink(arguments, _) =
                config.successfulShrink config name arguments |> Async.RunSynchronously

            member _.OnFinished(_, result) =
                let data =
                    match result with
                    | TestResult.Passed(data, _)
                    | TestResult.Exhausted data
                    | TestResult.Failed(data, _, _, _, _, _, _) -> data

                config.finishedTest
                    config
                    name
                    {
                        NumberOfTests = data.NumberOfTests
                        NumberOfShrinks = data.NumberOfShrinks
                        Stamps = data.Stamps
                        Labels = data.Labels
                    }
                |> Async.RunSynchronously

                match result with
                | TestResult.Passed _ -> ()
                | TestResult.Failed(_, _, _, Outcome.Failed(:? IgnoreException as e), _, _, _) -> raise e
                | TestResult.Failed(data, original, shrunk, outcome, first, last, size) ->
                    falsified builder name data original shrunk outcome first last size
                    |> failtestNoStack
                | TestResult.Exhausted data ->
                    failtestNoStackf "Exhausted: only %d cases met the property's condition." data.NumberOfTests
        }

    let private property builder state configs name (property: 'testable) =
        let check (config: FsCheckConfig) =
            async {
                let replay =
                    config.replay
                    |> Option.map (fun (seed, gamma, size) -> { Rnd = Rnd(seed, gamma); Size = size })

                let settings =
                    Config.Default
                        .WithMaxTest(config.maxTest)
                        .WithMaxRejected(config.maxRejected)
                        .WithStartSize(config.startSize)
                        .WithEndSize(config.endSize)
                        .WithReplay(replay)
                        .WithName(name)
                        .WithQuietOnSuccess(true)
                        .WithArbitrary(config.arbitrary)
                        .WithRunner(runner builder name config)

                Check.One(settings, property)
            }

        let code =
            match configs with
            | Some(test, stress) -> AsyncFsCheck(Some test, Some stress, check)
            | None -> AsyncFsCheck(None, None, check)

        TestLabel(name, TestCase(code, state), state)

    let private replayed seed (config: FsCheckConfig) = { config with replay = Some seed }

    let testProperty name =
        property "etestProperty" Normal None name

    let ptestProperty name =
        property "etestProperty" Pending None name

    let ftestProperty name =
        property "etestProperty" Focused None name

    /// Focuses on the case that a failure's seed names.
    let etestProperty seed name =
        let config = replayed seed FsCheckConfig.defaultConfig
        property "etestProperty" Focused (Some(config, config)) name

    let testPropertyWithConfig config name =
        property "etestPropertyWithConfig" Normal (Some(config, config)) name

    let ptestPropertyWithConfig config name =
        property "etestPropertyWithConfig" Pending (Some(config, config)) name

    let ftestPropertyWithConfig config name =
        property "etestPropertyWithConfig" Focused (Some(config, config)) name

    let etestPropertyWithConfig seed config name =
        let config = replayed seed config
        property "etestPropertyWithConfig" Focused (Some(config, config)) name

    let testPropertyWithConfigStdGen seed config name =
        let config = replayed seed config
        property "testPropertyWithConfigStdGen" Normal (Some(config, config)) name
