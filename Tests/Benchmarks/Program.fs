module Functional.Benchmarks.Program

[<EntryPoint>]
let main _ = 0
