/// The README shows code that runs: what it prints is a copy of the files that it names.
module Functional.Tests.ReadmeTests

open System.IO
open System.Text.RegularExpressions
open Expecto
open Functional
open type Functional.Layers

let private read (path: string) =
    File.ReadAllText(Path.Combine(Sources.root, path)).Replace("\r\n", "\n")

/// What follows a beginning in a text, up to the end of its block.
let private block (text: string) (beginning: string) =
    let from = text.IndexOf beginning
    Expect.isGreaterThan from 0 $"the README has {beginning}"
    text.Substring(from, text.IndexOf("```", from) - from).TrimEnd()

let private message f =
    try
        f ()
        failtest "it must be refused"
    with
    | :? ShapeException as error -> error.Message
    | :? Functional.Verification.GradCheckException as error -> error.Message

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

            testCase "its mistake in shapes is told so" (fun () ->
                let withoutLines text =
                    Regex.Replace(text, @"\([\w.]+:\d+\)", "(line)")

                let told =
                    message (fun () ->
                        input [ 16; 28; 28 ] >=> maxPool 2 >=> reshape [ 16; 14; 14 ] >=> dense 10
                        |> ignore)

                Expect.equal
                    (withoutLines told)
                    (withoutLines (block (read "README.md") "shape error at"))
                    "the message")

            testCase "its fused function is one" (fun () ->
                let scaled = fuse (fun (x: Tensor, beta: Tensor) -> x * (beta * x).Sigmoid())
                let gate = lambda ("swish", fun x -> scaled (x, Tensor.scalar 1.5))
                let net = input [ 28 ] >=> dense 64 >=> gate
                Expect.equal (Layer.outputShape net (Shape.Of [ 28 ])) (Shape.Of [ 64 ]) "the network"
                let readme, source = read "README.md", read "Tests/ReadmeTests.fs"

                for line in (block readme "let scaled").Split '\n' do
                    Expect.stringContains source line "the lines")

            testCase "its check of derivatives finds what it says" (fun () ->
                let readme = read "README.md"

                let swish =
                    customVjp (fun x -> x * x.Sigmoid()) (fun x _ g -> g * x.Sigmoid() * (1.0 + x))

                let check () =
                    GradCheck.layer [ 3; 8; 8 ] (conv (4, 3) >=> batchNorm () >=> tanh)
                    GradCheck.run (fun x -> swish x[0]) [ [ 2; 3 ] ]

                let source = read "Tests/ReadmeTests.fs"

                for line in (block readme "let swish").Split '\n' do
                    Expect.stringContains source line "the lines"

                // The last digits of the differences are the machine's.
                let lines = (message check).Split '\n'
                Expect.stringContains readme (String.concat "\n" lines[1..]) "where it is wrong"
                Expect.stringContains readme (lines[0].Substring(0, 90)) "and how")
        ]
