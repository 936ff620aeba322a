/// Reference results as files hold them: one operation per file, several cases in each.
module Functional.Tests.Golden.Files

open System
open System.Collections.Generic
open System.IO
open System.Text.Json
open Functional
open Functional.Files

/// The attributes of a case: `kwargs` of the file. What is absent and what is null are the same.
type Attributes(json: JsonElement) =
    let find (name: string) =
        match json.TryGetProperty name with
        | true, value when value.ValueKind <> JsonValueKind.Null -> Some value
        | _ -> None

    /// One number stands for a list of one: along a single axis the files write it so.
    let integers (value: JsonElement) =
        if value.ValueKind = JsonValueKind.Number then
            [| value.GetInt32() |]
        else
            [| for item in value.EnumerateArray() -> item.GetInt32() |]

    let need name =
        match find name with
        | Some value -> value
        | None -> failwith $"golden: the attribute '{name}' must be given; got {json.GetRawText()}."

    member _.Int name = (need name).GetInt32()
    member _.Ints name = integers (need name)
    member _.Float name = (need name).GetDouble()
    member _.Text name = (need name).GetString() |> string
    member _.TryInt name = find name |> Option.map _.GetInt32()
    member _.TryFloat name = find name |> Option.map _.GetDouble()

    member _.TryText name =
        find name |> Option.map (fun value -> string (value.GetString()))

    member _.Flag name =
        find name |> Option.exists (fun value -> value.ValueKind = JsonValueKind.True)

    /// A flag that holds where nobody says otherwise, or the other way round.
    member _.FlagOr usual name =
        match find name with
        | Some value -> value.ValueKind = JsonValueKind.True
        | None -> usual

    member _.IsNumber name =
        find name |> Option.exists (fun value -> value.ValueKind = JsonValueKind.Number)

    /// A list of lists of integers.
    member _.Table name =
        [| for row in (need name).EnumerateArray() -> integers row |]

    /// A list of numbers.
    member _.Floats name =
        [| for item in (need name).EnumerateArray() -> item.GetDouble() |]

    member _.TryFloats name =
        find name
        |> Option.map (fun list -> [| for item in list.EnumerateArray() -> item.GetDouble() |])

    /// One axis, several, or none, which means all of them.
    member _.Axes name =
        match find name with
        | None -> [||]
        | Some value -> integers value

    override _.ToString() = json.GetRawText()

/// One case of an operation.
type Case =
    {
        Op: string
        Name: string
        DType: DType
        /// The role of each input: `in0`, `weight` and so on.
        Args: string[]
        Attributes: Attributes
        Inputs: Tensor[]
        Outputs: Tensor[]
        /// The order of axes in which the operation receives an input that is recorded otherwise.
        Views: (int * int[])[]
        /// What else is recorded, by its name behind the case's: `cotangent0`, `grad_in1` …
        Recorded: IReadOnlyDictionary<string, Tensor>
        /// By name, how far the float32 reference itself is from the float64 results.
        Errors: IReadOnlyDictionary<string, float>
    }

    /// The places of the inputs whose gradients are recorded.
    member case.Differentiated =
        [|
            for i in 0 .. case.Inputs.Length - 1 do
                if case.Recorded.ContainsKey $"grad_in{i}" then
                    i
        |]

let private tensor (array: NamedArray) =
    let shape = Shape.Of(ReadOnlySpan<int>(array.Shape))

    match array.DType with
    | "F32" -> Tensor.FromSpan(ReadOnlySpan<float32>(array.To<float32>()), shape)
    | "F64" -> Tensor.FromSpan(ReadOnlySpan<float>(array.To<float>()), shape)
    | "I64" -> Tensor.FromSpan(ReadOnlySpan<int64>(array.To<int64>()), shape)
    | "BOOL" -> Tensor.FromSpan(ReadOnlySpan<bool>(array.To<bool>()), shape)
    | other -> failwith $"golden: the dtype must be F32, F64, I64 or BOOL; got {other} for '{array.Name}'."

let private numbers (json: JsonElement) (name: string) =
    dict
        [|
            match json.TryGetProperty name with
            | true, errors ->
                for entry in errors.EnumerateObject() do
                    // An error that is not finite is written as a string and allows nothing.
                    if entry.Value.ValueKind = JsonValueKind.Number then
                        entry.Name, entry.Value.GetDouble()
            | _ -> ()
        |]

/// All cases of a file.
let read (path: string) =
    let content = Safetensors.Read path

    let need key =
        match content.Metadata.TryGetValue key with
        | true, text -> text
        | _ ->
            raise (
                DataFormatException(path, $"a reference file must have '{key}' in its metadata", "a file without it")
            )

    let arrays = Dictionary<string, NamedArray>()

    for array in content.Arrays do
        arrays[array.Name] <- array

    let op = need "op"

    [
        for json in JsonDocument.Parse(need "cases").RootElement.EnumerateArray() do
            let name = string (json.GetProperty("name").GetString())

            let texts (key: string) =
                [|
                    for item in json.GetProperty(key).EnumerateArray() -> string (item.GetString())
                |]

            let named key =
                texts key |> Array.map (fun name -> tensor arrays[name])

            let recorded = Dictionary<string, Tensor>()

            for array in content.Arrays do
                if array.Name.StartsWith(name + ".") then
                    recorded[array.Name.Substring(name.Length + 1)] <- tensor array

            {
                Op = op
                Name = name
                DType =
                    if json.GetProperty("dtype").GetString() = "float32" then
                        DType.Float32
                    else
                        DType.Float64
                Args = texts "args"
                Attributes = Attributes(json.GetProperty("kwargs").Clone())
                Inputs = named "inputs"
                Outputs = named "outputs"
                Views =
                    [|
                        match json.TryGetProperty "transpose" with
                        | true, views ->
                            for view in views.EnumerateObject() do
                                int view.Name, [| for axis in view.Value.EnumerateArray() -> axis.GetInt32() |]
                        | _ -> ()
                    |]
                Recorded = recorded
                Errors = Dictionary(numbers json "f32_error")
            }
    ]

/// The reference files of a folder, in order of their names.
let filesOf (folder: string) =
    Directory.GetFiles(folder, "*.safetensors") |> Array.sort |> List.ofArray
