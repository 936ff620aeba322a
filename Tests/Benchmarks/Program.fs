/// `peers` speaks to comparison tools, `steady` shows what a training step leaves behind; anything else is BenchmarkDotNet's.
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
    match List.ofArray arguments with
    | "peers" :: rest ->
        let threads = option "--threads" (string Environment.ProcessorCount) rest
        let seconds = option "--seconds" "1" rest
        let json = option "--json" "" rest

        Peers.run
            (int threads)
            (option "--filter" "." rest)
            (Double.Parse(seconds, CultureInfo.InvariantCulture))
            (if json = "" then None else Some json)
    | "memory-of" :: name :: rest ->
        Peers.runMemory (int (option "--threads" (string Environment.ProcessorCount) rest)) name
    | [ "steady" ] -> Steady.run ()
    | _ ->
        BenchmarkSwitcher.FromAssembly(Assembly.GetExecutingAssembly()).Run arguments
        |> ignore

        0
