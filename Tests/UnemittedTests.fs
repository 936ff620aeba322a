/// Where code cannot be made at run time, plain loops take the place of the emitted kernels: the laws hold for them, too. What the runtime says of itself is
/// settled when the process starts, so a child process is told.
module Functional.Tests.UnemittedTests

open System
open Expecto
open Functional.Kernels
open Functional.Ops
open Functional.Tests.Laws

/// What rests on emitted kernels.
let private operations =
    [
        "matmul"
        "linear"
        "convolution"
        "convolutionTransposed"
        "convolutionWeight"
        "rnn"
        "lstm"
        "gru"
    ]

let private laws =
    testList
        "without emitted kernels"
        [
            for law in All.laws do
                for name in operations do
                    testCase $"{law.Name}/{name}" (fun () ->
                        // Of the lengths, each in either width once.
                        for seed in 1UL .. uint64 (max 1 (law.Cases / 4)) do
                            Law.check law (Registry.Named name) { Seed = seed; Size = 1 + int seed % 6 })
            ConvolutionTests.tests
            GuardTests.tiles
            Fusion.tests
        ]

/// `unemitted`: says no to code at run time and runs what rests on it.
let run (_: string[]) =
    // The runtime's own switch, which a trimmed or precompiled program has in its configuration.
    AppContext.SetSwitch("System.Runtime.CompilerServices.RuntimeFeature.IsDynamicCodeSupported", false)

    if
        MicroKernels<float32>.Available
        || MicroKernels<float>.Available
        || Fusion.isAvailable
    then
        Console.Out.WriteLine "kernels are emitted all the same"
        2
    else
        runTestsWithCLIArgs [ CLIArguments.Sequenced; JoinWith "/" ] [||] laws

[<Tests>]
let tests =
    testList
        "unemitted"
        [
            testCase "plain loops take over where no code can be made" (fun () ->
                let code, lines, errors = Child.run [ "unemitted" ]

                if code <> 0 then
                    failtestNoStackf "exit code %d: %s %s" code (String.concat "\n" (List.truncate 40 lines)) errors)
        ]
