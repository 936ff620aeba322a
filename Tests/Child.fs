/// This program again, in a process of its own: for what may kill it, and for what must be said before the first line runs.
module Functional.Tests.Child

open System
open System.Diagnostics
open System.IO

/// Exit code, lines of output, and what was written to standard error.
let run (arguments: string list) =
    let host = string Environment.ProcessPath

    // Either the program itself or dotnet with the program as its first argument.
    let arguments =
        if Path.GetFileNameWithoutExtension host = "dotnet" then
            Environment.GetCommandLineArgs()[0] :: arguments
        else
            arguments

    let start =
        ProcessStartInfo(host, arguments, RedirectStandardOutput = true, RedirectStandardError = true)

    use started = Process.Start start |> nonNull
    let errors = started.StandardError.ReadToEndAsync()

    let lines =
        started.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries)

    started.WaitForExit()
    started.ExitCode, List.ofArray lines, errors.Result
