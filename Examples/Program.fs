/// `dotnet run -c Release --project Examples -- NAME`: one table of experiments, one set of options.
module Functional.Examples.Program

open System
open System.Globalization
open System.IO
open Functional
open Functional.Files

let experiments =
    MnistMlp.experiments
    @ MnistRows.experiments
    @ CifarNetworks.experiments
    @ Characters.experiments
    @ Autoencoders.experiments
    @ California.experiments
    @ Spam.experiments
    @ Translate.experiments
    @ Airline.experiments
    @ Scattered.experiments

let private number (text: string) =
    match Int64.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) with
    | true, n -> Some n
    | _ -> None

let private count text =
    match number text with
    | Some n when n >= 1L && n <= 1_000_000L -> Some(int n)
    | _ -> None

/// Option, its value, what it does, and how it changes the settings; None refuses the value.
let private options =
    [
        "--data",
        "DIR",
        "where mnist/ lies",
        (fun value settings ->
            Some
                { settings with
                    Settings.Data = Some value
                })
        "--epochs",
        "N",
        "passes over the training data",
        (fun value settings ->
            count value
            |> Option.map (fun n ->
                { settings with
                    Settings.Epochs = Some n
                }))
        "--seed",
        "N",
        "another seed for parameters and order, 1 unless told",
        (fun value settings -> number value |> Option.map (fun n -> { settings with Seed = n }))
        "--threads",
        "N",
        "threads, one per core unless told; the results do not depend on it",
        (fun value settings -> count value |> Option.map (fun n -> { settings with Threads = n }))
        "--json", "FILE", "writes the results there", (fun value settings -> Some { settings with Json = Some value })
        "--checkpoint",
        "FILE",
        "writes training there as it goes and on Ctrl-C, and goes on from it where it is",
        (fun value settings ->
            Some
                { settings with
                    Settings.Checkpoint = Some value
                })
    ]

/// All but those that train several networks, which one file cannot hold.
let private resumable =
    let several = Translate.experiments |> List.map _.Name
    experiments |> List.map _.Name |> List.except several

let private augmentable = String.concat ", " CifarNetworks.augmentable

let private usage () =
    let lines =
        [
            "dotnet run -c Release --project Examples -- NAME [OPTIONS]"
            ""
            for experiment in experiments do
                $"  {experiment.Name, -22} {experiment.About}"
            "  list                   these names"
            ""
            for name, value, about, _ in options do
                $"""  {name + " " + value, -22} {about}"""
            "  --small                a tenth of the data and two epochs"
            $"  --augment              data augmentation, a schedule and more epochs: {augmentable}"
        ]

    String.concat Environment.NewLine lines

let private refuse (reason: string) =
    eprintfn "%s\n" reason
    eprintfn "%s" (usage ())
    2

let rec private parse settings arguments =
    match arguments with
    | [] -> Ok settings
    | "--small" :: rest -> parse { settings with Small = true } rest
    | "--augment" :: rest -> parse { settings with Augment = true } rest
    | name :: rest ->
        match options |> List.tryFind (fun (option, _, _, _) -> option = name), rest with
        | None, _ -> Error $"examples: the option must be one of those below; got '{name}'."
        | Some(_, kind, _, _), [] -> Error $"examples: {name} needs a value {kind}; got none."
        | Some(_, kind, _, change), value :: rest ->
            match change value settings with
            | Some settings -> parse settings rest
            | None -> Error $"examples: {name} needs a value {kind}; got '{value}'."

let private run (experiment: Experiment) settings =
    Threads.Count <- settings.Threads

    try
        // The network comes first: a mistake in it is told before any data is read.
        printfn $"{experiment.Network()}\n"
        let outcome = experiment.Run settings
        Outcome.report experiment settings outcome

        match outcome.Ending with
        | Diverged _ -> 1
        | _ -> 0
    with
    | :? DataFormatException
    | :? IOException
    | :? UnauthorizedAccessException as error ->
        eprintfn "%s" error.Message
        2

[<EntryPoint>]
let main arguments =
    let settings =
        {
            Data = None
            Epochs = None
            Seed = 1L
            Threads = Threads.Count
            Small = false
            Augment = false
            Checkpoint = None
            Json = None
        }

    match List.ofArray arguments with
    | []
    | [ "list" ]
    | [ "--help" ] ->
        printfn "%s" (usage ())
        0
    | name :: rest ->
        match experiments |> List.tryFind (fun experiment -> experiment.Name = name), parse settings rest with
        | None, _ -> refuse $"examples: the name must be one of those below; got '{name}'."
        | _, Error reason -> refuse reason
        | Some _, Ok settings when settings.Augment && not (List.contains name CifarNetworks.augmentable) ->
            refuse $"examples: --augment goes with {augmentable}; got '{name}'."
        | Some _, Ok settings when settings.Checkpoint.IsSome && not (List.contains name resumable) ->
            refuse $"""examples: --checkpoint goes with {String.concat ", " resumable}; got '{name}'."""
        | Some experiment, Ok settings -> run experiment settings
