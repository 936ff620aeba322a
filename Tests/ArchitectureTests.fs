/// The house stands as drawn: a floor mentions only what lies below it.
module Functional.Tests.ArchitectureTests

open System.IO
open System.Text.RegularExpressions
open Expecto

let private floors =
    [
        "Kernels", 0
        "Tensors", 1
        "Files", 2
        "Autodiff", 2
        "Ops", 3
        "Verification", 4
    ]

let private core = Path.Combine(Sources.root, "Core.CSharp")

let private withoutCommentsAndStrings (source: string) =
    Regex.Replace(source, "//[^\n]*|\"\"\"[\\s\\S]*?\"\"\"|\\$?\"(\\\\.|[^\"\\\\\n])*\"", "")

let private sources folder =
    [
        for file in Directory.GetFiles(Path.Combine(core, folder), "*.cs", SearchOption.AllDirectories) ->
            file, withoutCommentsAndStrings (File.ReadAllText file)
    ]

/// The types of a file, without nested ones: those stand deeper than the file's namespace.
let private declared (source: string) =
    let margin =
        if Regex.IsMatch(source, @"(?m)^namespace [\w.]+\s*\n\{") then
            "    "
        else
            ""

    let pattern =
        $@"(?m)^{margin}(?:public|internal)[\w ]*? (?:class|struct|record|interface|enum|delegate [^\s]+) (?:class |struct )?([A-Z]\w+)"

    [ for m in Regex.Matches(source, pattern) -> m.Groups[1].Value ]

/// A partial type belongs to the lowest floor that declares it.
let private homes =
    [
        for folder, floor in floors do
            for _, source in sources folder do
                for name in declared source do
                    name, floor
    ]
    |> List.groupBy fst
    |> List.map (fun (name, floors) -> name, floors |> List.map snd |> List.min)
    |> dict

/// A member may be named like a type of another floor: what the file declares itself is its own.
let private isOwn (source: string) name =
    Regex.IsMatch(source, $@"(?<!\b(?:new|return|in|is|as|out|ref)\s+)[\w>\])*?]+[,\s]\s*{name}\b\s*(?:[=;,{{<(])")

/// What follows a dot belongs to what stands before it, unless that is a floor.
let private mentioned (source: string) =
    let floor = floors |> List.map fst |> String.concat "|"

    Regex.Matches(source, $@"(?:(?<![\w\])>!?]\.)|(?<=\b(?:{floor})\.))\b[A-Z]\w+\b")
    |> Seq.map _.Value
    |> Seq.distinct

[<Tests>]
let tests =
    testList
        "architecture"
        [
            testList
                "looks down only"
                [
                    for folder, floor in floors ->
                        testCase folder (fun () ->
                            let upward =
                                [
                                    for file, source in sources folder do
                                        for word in mentioned source do
                                            match homes.TryGetValue word with
                                            | true, home when home > floor && not (isOwn source word) ->
                                                $"{Path.GetFileName file} mentions {word}"
                                            | _ -> ()

                                        for upper, above in floors do
                                            if above > floor && source.Contains $"Functional.{upper}" then
                                                $"{Path.GetFileName file} mentions Functional.{upper}"
                                ]

                            Expect.isEmpty upward "a floor below mentions a floor above")
                ]

            testCase "the core knows no F#" (fun () ->
                let mentions =
                    [
                        for folder, _ in floors do
                            for file, source in sources folder do
                                if source.Contains "FSharp" then
                                    Path.GetFileName file
                    ]

                Expect.isEmpty mentions "the core mentions F#")
        ]
