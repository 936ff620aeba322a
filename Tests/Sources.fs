/// The source tree, found from the built program's place in it: a deterministic build does not know its own path.
module Functional.Tests.Sources

open System.IO

/// The folder of Functional.sln.
let root =
    let rec upwards folder =
        if File.Exists(Path.Combine(folder, "Functional.sln")) then
            folder
        else
            match Path.GetDirectoryName folder with
            | null ->
                failwith
                    "sources: the tests must run inside the source tree; got a build elsewhere. Run them with dotnet run --project Tests."
            | parent -> upwards parent

    upwards System.AppContext.BaseDirectory
