namespace Functional

// Reflection speaks of objects that may be null; what is taken apart here was not.
#nowarn 3261 3264

open System
open System.Reflection
open FSharp.Reflection
open Functional.Autodiff

/// Any value that holds tensors as a tree of them: records, tuples, lists, options, maps, unions, arrays and `Tree`, nested at will.
module Trees =
    // A private record is a tree like any other.
    let private any = BindingFlags.Public ||| BindingFlags.NonPublic

    /// The case of a union, with its fields. F# lists are unions, too, but a long one would be as deep as it is long.
    let private union (kind: Type) =
        let cases = FSharpType.GetUnionCases(kind, any)

        let readers =
            cases |> Array.map (fun case -> FSharpValue.PreComputeUnionReader(case, any))

        let makers =
            cases
            |> Array.map (fun case -> FSharpValue.PreComputeUnionConstructor(case, any))

        let tag = FSharpValue.PreComputeUnionTagReader(kind, any)

        Plan((fun value -> readers[tag value] value), (fun value children -> makers[tag value] children))

    /// The items of an F# list or map in order, and the way back.
    type private Sequence =
        static member List<'T>() =
            Plan(
                (fun value -> (value :?> 'T list) |> List.map box |> Array.ofList),
                (fun _ children -> children |> Array.map (fun child -> unbox<'T> child) |> List.ofArray |> box)
            )

        static member Map<'K, 'V when 'K: comparison>() =
            Plan(
                (fun value -> (value :?> Map<'K, 'V>) |> Map.values |> Seq.map box |> Array.ofSeq),
                (fun value children ->
                    Seq.zip (Map.keys (value :?> Map<'K, 'V>)) children
                    |> Seq.map (fun (key, child) -> key, unbox<'V> child)
                    |> Map.ofSeq
                    |> box)
            )

    let private generic name (kind: Type) =
        let method = typeof<Sequence>.GetMethod(name, BindingFlags.Static ||| any)

        match method with
        | null -> null
        | method -> method.MakeGenericMethod(kind.GetGenericArguments()).Invoke(null, [||]) :?> Plan

    let private format (kind: Type) : Plan | null =
        let isOf (definition: Type) =
            kind.IsGenericType && kind.GetGenericTypeDefinition() = definition

        if isOf typedefof<_ list> then
            generic "List" kind
        elif isOf typedefof<Map<_, _>> then
            generic "Map" kind
        elif FSharpType.IsUnion(kind, any) then
            union kind
        elif FSharpType.IsRecord(kind, any) then
            let read = FSharpValue.PreComputeRecordReader(kind, any)
            let make = FSharpValue.PreComputeRecordConstructor(kind, any)
            Plan((fun value -> read value), (fun _ children -> make children))
        else
            null

    let private structure = Structure(Func<Type, Plan | null> format)

    /// The tensors in a value, in the order of its parts.
    let leaves (tree: 'P) : Tensor[] = structure.Leaves tree

    /// The same value with other tensors in place of its own, in the same order.
    let rebuild (tree: 'P) (leaves: Tensor[]) : 'P = structure.Rebuild(tree, leaves)

    /// The same value with f of every tensor.
    let map (f: Tensor -> Tensor) (tree: 'P) : 'P =
        rebuild tree (Array.map f (leaves tree))

    /// Tensor by tensor over two values of the same form.
    let map2 (f: Tensor -> Tensor -> Tensor) (a: 'P) (b: 'P) : 'P =
        let x, y = leaves a, leaves b

        if x.Length <> y.Length then
            invalidArg
                (nameof b)
                $"trees: both must hold as many tensors; got {x.Length} and {y.Length}. Give values of the same form."

        rebuild a (Array.map2 f x y)
