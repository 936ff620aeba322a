/// The README shows code that runs: what it prints is a copy of the files that it names.
module Functional.Tests.ReadmeTests

open System.IO
open Expecto

let private read (path: string) =
    File.ReadAllText(Path.Combine(Sources.root, path)).Replace("\r\n", "\n")

[<Tests>]
let tests =
    testList
        "readme"
        [
            testCase "its script is the tour" (fun () ->
                let tour = read "Examples/tour.fsx"
                let script = tour.Substring(tour.IndexOf "open Functional").TrimEnd()
                Expect.stringContains (read "README.md") $"```fsharp\n{script}\n```" "the script")

            testCase "its C# lines are the sample's" (fun () ->
                let readme, sample = read "README.md", read "Examples/CSharp/Spirals.cs"
                let from = readme.IndexOf "```csharp\nvar (points" + "```csharp\n".Length
                let block = readme.Substring(from, readme.IndexOf("```", from) - from)

                for line in block.Split '\n' do
                    if line.Trim() <> "// …" then
                        Expect.stringContains sample (line.Trim()) "the sample"

                let from = readme.IndexOf "```csharp\nvar network" + "```csharp\n".Length
                let block = readme.Substring(from, readme.IndexOf("```", from) - from)
                let sample = read "Examples/CSharp/CifarCnn.cs"

                for line in block.Split '\n' do
                    Expect.stringContains sample (line.Trim()) "the sample on the layer library")

            testCase "its operation is the source's" (fun () ->
                let readme, source = read "README.md", read "Core.CSharp/Ops/Activations.cs"
                let from = readme.IndexOf "public static readonly Op Silu"
                let block = readme.Substring(from, readme.IndexOf("```", from) - from)

                for line in block.Split '\n' do
                    Expect.stringContains source (line.Trim()) "the source")
        ]
