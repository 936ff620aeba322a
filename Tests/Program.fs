module Functional.Tests.Program

[<EntryPoint>]
let main _ = 0
