namespace Functional

open System
open System.Collections.Generic
open System.Globalization
open Functional.Files

/// What a run of training is made of, read from a file: arrays by name, and facts in words.
type internal CheckpointContent =
    {
        File: string
        Arrays: Dictionary<string, NamedArray>
        Facts: IReadOnlyDictionary<string, string>
    }

/// Runs of training in one safetensors file: parameters as "parameters.dense.weight", state, moments, and the facts of the run as metadata.
[<RequireQualifiedAccess>]
module internal Checkpoint =
    let private format = "training run 1"

    let write (path: string) (tensors: (string * Tensor) seq) (facts: (string * string) seq) =
        let metadata = Dictionary()
        metadata["format"] <- format

        for name, value in facts do
            metadata[name] <- value

        Safetensors.Write(path, [ for name, tensor in tensors -> tensor.Named name ], metadata)

    let ofArrays (path: string) (arrays: NamedArray seq) facts : CheckpointContent =
        let byName = Dictionary()

        for array in arrays do
            byName[array.Name] <- array

        {
            File = path
            Arrays = byName
            Facts = facts
        }

    /// Whether it is a run of training, and not a file of other arrays.
    let isRun content = content.Facts.ContainsKey "format"

    let read (path: string) : CheckpointContent =
        let content = Safetensors.Read path

        match content.Metadata.TryGetValue "format" with
        | true, found when found = format -> ()
        | true, found ->
            raise (DataFormatException(path, $"a checkpoint of the format '{format}' is needed", $"'{found}'"))
        | _ -> raise (DataFormatException(path, "a checkpoint of a training run is needed", "a file of other arrays"))

        ofArrays path content.Arrays content.Metadata

    /// What the file says of a thing.
    let fact (name: string) content =
        match content.Facts.TryGetValue name with
        | true, value -> value
        | _ -> raise (DataFormatException(content.File, $"the checkpoint must tell '{name}'", "none"))

    /// The same as a number of 0 or more.
    let count name content =
        let text = fact name content

        match Int32.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture) with
        | true, n -> n
        | _ -> raise (DataFormatException(content.File, $"'{name}' must be a number of 0 or more", $"'{text}'"))

    let private describe (shape: int seq) =
        shape |> Seq.map string |> String.concat "; "

    /// The doubles under a name, of a shape.
    let doubles (name: string) (shape: int list) content =
        match content.Arrays.TryGetValue name with
        | true, array when array.DType = "F64" && List.ofArray array.Shape = shape -> array.To<float>()
        | found, array ->
            let got = if found then string array else "none"
            raise (DataFormatException(content.File, $"'{name}' must be doubles [{describe shape}]", got))

    /// Tensors against what the file has under a prefix: which of them differ, in words.
    let private differences prefix (wanted: (string * Tensor) list) content =
        let here = HashSet(List.map fst wanted)

        [
            for name, tensor in wanted do
                let dtype = TensorArrays.InFiles tensor.DType

                match content.Arrays.TryGetValue(prefix + name) with
                | true, array when array.DType = dtype && Shape.Of array.Shape = tensor.Shape -> ()
                | true, array ->
                    $"'{name}' is {dtype}[{describe tensor.Shape}] here and {array.DType}[{describe array.Shape}] there"
                | _ -> $"'{name}' is only here"

            for name in content.Arrays.Keys do
                if name.StartsWith(prefix, StringComparison.Ordinal) then
                    let name = name.Substring prefix.Length

                    if not (here.Contains name) then
                        $"'{name}' is only there"
        ]

    let private most = 20

    /// Refuses a file whose arrays under the prefixes are not like these tensors.
    let refuseOther what (groups: (string * (string * Tensor) list) list) content =
        let found =
            groups
            |> List.collect (fun (prefix, wanted) -> differences prefix wanted content)

        if not found.IsEmpty then
            let listed = found |> List.truncate most |> String.concat ", "

            let others =
                if found.Length > most then
                    $", and {found.Length - most} more"
                else
                    ""

            raise (
                DataFormatException(
                    content.File,
                    $"it must be of this {what}",
                    $"paths that differ: {listed}{others}. Give the {what} that it was made with, or another file"
                )
            )

    /// Refuses a file that tells something else of a thing than is so here.
    let refuseChange (terms: (string * string) list) content =
        for name, here in terms do
            let there = fact name content

            if here <> there then
                raise (
                    DataFormatException(
                        content.File,
                        $"the run must go on with the {name} that it began with, '{there}'",
                        $"'{here}'. Give the same, or another file"
                    )
                )

    /// The tensor under a name that was found to be there.
    let tensor (name: string) content = content.Arrays[name].ToTensor()
