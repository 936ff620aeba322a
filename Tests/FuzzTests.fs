/// Absurd arguments for every public function of tensors: a sentence or a result, never a crash.
module Functional.Tests.FuzzTests

// Reflection deals in null.
#nowarn "3261"

open System
open System.Reflection
open Expecto
open Functional
open Functional.Ops
open Functional.Tests.Laws

/// What a caller may be told. Anything else – an index out of a range, a null reference, an overflow – is a mistake of ours.
let private isSentence (error: exn) =
    match error with
    | :? ShapeException
    | :? SingularMatrixException -> true
    | :? ArgumentException
    | :? InvalidOperationException
    | :? NotSupportedException -> error.Message.Contains ':'
    | _ -> false

let private tensors =
    let key = Key.OfSeed 11L

    let normal (shape: int list) dtype =
        (key.Normal(Shape.Of shape, dtype = DType.Float64)).Cast dtype

    [|
        for dtype in [ DType.Float32; DType.Float64; DType.Int32; DType.Int64; DType.Bool ] do
            for shape in
                [
                    []
                    [ 0 ]
                    [ 1 ]
                    [ 3 ]
                    [ 2; 3 ]
                    [ 3; 3 ]
                    [ 0; 4 ]
                    [ 2; 3; 4 ]
                    [ 1; 2; 5; 5 ]
                ] do
                normal shape dtype

        Tensor.full [ 3; 3 ] nan
        Tensor.full [ 2; 3 ] infinity
        (Tensor.full [ 4; 1 ] 2.0).Expand(4, 5)
        Tensor.Meta(DType.Float32, Shape.Of [ 2; 3 ])
    |]

let private integers =
    [| 0; 1; -1; 2; 3; -4; 7; 100; Int32.MaxValue; Int32.MinValue |]

let private numbers =
    [| 0.0; 1.0; -1.0; 0.5; 1e300; -1e-300; nan; infinity; -infinity |]

/// An argument of any type that a tensor function has; None where a type is not known.
let rec private argument (random: Random) (t: Type) : (obj | null) option =
    let pick (values: 'T[]) = values[random.Next values.Length]

    let seldom n (value: unit -> obj) : (obj | null) option =
        Some(if random.Next(n: int) = 0 then null else value ())

    if t = typeof<Tensor> then
        Some(pick tensors :> obj)
    elif t = typeof<int> then
        Some(box (pick integers))
    elif t = typeof<Nullable<int>> then
        seldom 3 (fun () -> pick integers :> obj)
    elif t = typeof<float> then
        Some(box (pick numbers))
    elif t = typeof<Nullable<float>> then
        seldom 3 (fun () -> pick numbers :> obj)
    elif t = typeof<bool> then
        Some(box (random.Next 2 = 0))
    elif t = typeof<string> then
        Some(
            pick
                [|
                    ""
                    "fro"
                    "ij,jk->ik"
                    "..."
                    "i->"
                    "ii"
                    "a,,b"
                    "->"
                    "ij->ji"
                    "\u0000"
                |]
        )
    elif t = typeof<Shape> then
        Some((pick tensors).Shape)
    elif t = typeof<Key> then
        Some(Key.OfSeed 3L)
    elif t.IsEnum then
        let values = Enum.GetValues t
        // Also one that does not exist.
        Some(
            if random.Next 20 = 0 then
                Enum.ToObject(t, 99)
            else
                values.GetValue(random.Next values.Length)
        )
    elif t = typeof<PerAxis> then
        Some(PerAxis.op_Implicit (pick [| 0; 1; 2; 3; -1; 1000 |]))
    elif t = typeof<Window> then
        Some(
            Window(
                Stride = PerAxis.op_Implicit (pick [| 1; 2; 0; -1 |]),
                Padding = Padding.op_Implicit (pick [| 0; 1; 5; -2 |]),
                Dilation = PerAxis.op_Implicit (pick [| 1; 2; 0 |]),
                Groups = pick [| 1; 2; 0; -3 |]
            )
        )
    elif t = typeof<AxisSelection> then
        Some(AxisSelection.op_Implicit (pick integers))
    elif t.IsArray then
        let length = random.Next 4
        let element = nonNull (t.GetElementType())
        let array = Array.CreateInstance(element, length)
        let parts = Array.init length (fun _ -> argument random element)

        if Array.exists Option.isNone parts then
            None
        else
            parts |> Array.iteri (fun i part -> array.SetValue(part.Value, i))
            Some array
    else
        None

let private methods =
    typeof<Tensor>
        .GetMethods(
            BindingFlags.Public
            ||| BindingFlags.Instance
            ||| BindingFlags.Static
            ||| BindingFlags.DeclaredOnly
        )
    |> Array.filter (fun m -> not m.IsGenericMethod && not (m.Name.StartsWith "get_" && m.Name <> "get_Item"))
    // What is asked for a huge tensor is given, if memory allows.
    |> Array.filter (fun m ->
        not (Array.contains m.Name [| "Meta"; "Full"; "Zeros"; "Ones"; "Eye"; "Linspace"; "Arange"; "OneHot" |]))
    |> Array.groupBy _.Name
    |> Array.sortBy fst

let private attempt (random: Random) (m: MethodInfo) =
    let arguments =
        m.GetParameters()
        |> Array.map (fun p ->
            let optional =
                NullabilityInfoContext().Create(p).WriteState = NullabilityState.Nullable

            if optional && random.Next 3 = 0 then
                Some null
            else
                argument random p.ParameterType)

    if Array.forall Option.isSome arguments then
        let values = arguments |> Array.map Option.get

        let self =
            if m.IsStatic then
                null
            else
                box tensors[random.Next tensors.Length]

        try
            Memory.Tidy(Action(fun () -> m.Invoke(self, values) |> ignore))
        with :? TargetInvocationException as error when not (isNull error.InnerException) ->
            let inner = nonNull error.InnerException

            if not (isSentence inner) then
                let told =
                    values
                    |> Array.map (fun v ->
                        match v with
                        | null -> "null"
                        | :? Array as a -> sprintf "%A" a
                        | v -> string v)
                    |> String.concat "; "

                failtestNoStackf "%s of %O with (%s): %O" m.Name self told inner

[<Tests>]
let tests =
    testList
        "absurd arguments"
        [
            for name, overloads in methods ->
                testCase name (fun () ->
                    let random = Random 5

                    for _ in 1..300 do
                        attempt random overloads[random.Next overloads.Length])

            for op in Registry.All ->
                testCase $"operation {op.Name}" (fun () ->
                    let random = Random 6

                    for case in 1..60 do
                        // Valid attributes, any inputs; as many as there should be, since more or fewer cannot be written.
                        let drawn =
                            Drawn.draw
                                op
                                {
                                    Seed = uint64 case
                                    Size = 1 + case % 3
                                }

                        let inputs =
                            drawn.Inputs
                            |> Array.map (fun x ->
                                if random.Next 3 = 0 then
                                    x
                                else
                                    tensors[random.Next tensors.Length])

                        let told =
                            try
                                Memory.Tidy(Action(fun () -> drawn.Op.Apply inputs |> ignore))
                                None
                            with error ->
                                Some error

                        match told with
                        | Some error when not (isSentence error) ->
                            failtestNoStackf
                                "%s of (%s): %O"
                                op.Name
                                (inputs |> Array.map (fun t -> string t.Shape) |> String.concat "; ")
                                error
                        | _ -> ())
        ]
