/// Where data files lie: in the folder given, in $FUNCTIONAL_DATA, or in ./data; each plain or gzip.
module Functional.Examples.DataFolder

open System
open System.IO

/// The path of a file in a folder, plain or with .gz.
let tryFile folder name =
    [ name; name + ".gz" ]
    |> List.map (fun name -> Path.Combine(folder, name))
    |> List.tryFind File.Exists

/// The path of a file that must be there.
let file folder name =
    match tryFile folder name with
    | Some path -> path
    | None ->
        raise (
            FileNotFoundException
                $"{Path.Combine(folder, name)}: the file must be there, plain or .gz; got neither. Put it there."
        )

/// The folders that may hold data, first come first served.
let candidates (given: string option) =
    [
        yield! Option.toList given

        match Environment.GetEnvironmentVariable "FUNCTIONAL_DATA" with
        | null
        | "" -> ()
        | variable -> variable

        "data"
    ]

/// The first folder of the given name that holds a certain file.
let find (given: string option) name witness =
    let folders =
        candidates given |> List.map (fun folder -> Path.Combine(folder, name))

    match folders |> List.tryFind (fun folder -> (tryFile folder witness).IsSome) with
    | Some folder -> folder
    | None ->
        let places = String.concat ", " folders

        raise (
            DirectoryNotFoundException
                $"{name}: a folder with {witness} is needed, plain or .gz; looked in {places}. Give the folder that holds {name} with --data or in $FUNCTIONAL_DATA."
        )
