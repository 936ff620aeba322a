module Functional.Examples.Program

[<EntryPoint>]
let main _ = 0
