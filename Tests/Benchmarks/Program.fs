/// `peers` speaks to comparison tools, `limits` holds kernels against the machine, `growth` shows cost against size, `steady` what a training step leaves
/// behind; anything else is BenchmarkDotNet's.
module Functional.Benchmarks.Program

open System
open System.Globalization
open System.Reflection
open BenchmarkDotNet.Running

let rec private option name fallback arguments =
    match arguments with
    | key :: value :: _ when key = name -> value
    | _ :: rest -> option name fallback rest
    | [] -> fallback

[<EntryPoint>]
let main arguments =
    let measured run seconds rest =
        let threads = option "--threads" (string Environment.ProcessorCount) rest
        let seconds = option "--seconds" seconds rest
        let json = option "--json" "" rest

        run
            (int threads)
            (option "--filter" "." rest)
            (Double.Parse(seconds, CultureInfo.InvariantCulture))
            (if json = "" then None else Some json)

    match List.ofArray arguments with
    | "peers" :: rest -> measured Peers.run "1" rest
    | "limits" :: rest -> measured Limits.run "0.3" rest
    | "growth" :: rest -> measured Growth.run "0.1" rest
    | "memory-of" :: name :: rest ->
        Peers.runMemory (int (option "--threads" (string Environment.ProcessorCount) rest)) name
    | [ "steady" ] -> Steady.run ()
    | _ ->
        BenchmarkSwitcher.FromAssembly(Assembly.GetExecutingAssembly()).Run arguments
        |> ignore

        0
