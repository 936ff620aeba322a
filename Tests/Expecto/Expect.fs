namespace Expecto

open System
open System.Text.RegularExpressions

/// Expectations: `Expect.equal actual expected "what it is about"`.
[<RequireQualifiedAccess>]
module Expect =
    let private fail (message: string) (detail: string) = failtestf "%s. %s" message detail

    let private thrownBy (f: unit -> unit) =
        try
            f ()
            None
        with e ->
            Some e

    let throws (f: unit -> unit) message =
        match thrownBy f with
        | Some _ -> ()
        | None -> fail message "Nothing was thrown."

    /// The exception must be a 'texn itself, not one derived from it.
    let throwsT<'texn> (f: unit -> unit) message =
        match thrownBy f with
        | Some e when e.GetType() = typeof<'texn> -> ()
        | Some e ->
            fail
                message
                (sprintf "Expected an exception %s, got %s: %s" typeof<'texn>.FullName (e.GetType().FullName) e.Message)
        | None -> fail message (sprintf "Expected an exception %s, nothing was thrown." typeof<'texn>.FullName)

    let throwsC (f: unit -> unit) (cont: exn -> 'a) : 'a =
        match thrownBy f with
        | Some e -> cont e
        | None -> failtest "Expected an exception, nothing was thrown."

    let isNone x message =
        match x with
        | None -> ()
        | Some v -> fail message (sprintf "Expected None, got Some %A." v)

    let wantSome x message =
        match x with
        | Some v -> v
        | None -> fail message "Expected Some, got None."

    let isSome x message = wantSome x message |> ignore

    let wantOk x message =
        match x with
        | Ok v -> v
        | Error e -> fail message (sprintf "Expected Ok, got Error %A." e)

    let isOk x message = wantOk x message |> ignore

    let wantError x message =
        match x with
        | Error e -> e
        | Ok v -> fail message (sprintf "Expected Error, got Ok %A." v)

    let isError x message = wantError x message |> ignore

    let isNull x message =
        match x with
        | null -> ()
        | v -> fail message (sprintf "Expected null, got %A." v)

    let isNotNull x message =
        match x with
        | null -> fail message "Expected a value, got null."
        | _ -> ()

    let isTrue actual message =
        if not actual then
            fail message "Expected true, got false."

    let isFalse actual message =
        if actual then
            fail message "Expected false, got true."

    let private firstDifference (actual: string) (expected: string) =
        Seq.zip actual expected
        |> Seq.tryFindIndex (fun (a, e) -> a <> e)
        |> Option.defaultValue (min actual.Length expected.Length)

    let equal (actual: 'a) (expected: 'a) message =
        if actual <> expected then
            match box actual, box expected with
            | (:? string as a), (:? string as e) ->
                fail
                    message
                    (sprintf
                        "Strings differ at index %d.\n  expected: \"%s\"\n  actual:   \"%s\""
                        (firstDifference a e)
                        e
                        a)
            | _ -> fail message (sprintf "Not equal.\n  expected: %A\n  actual:   %A" expected actual)

    let notEqual (actual: 'a) (expected: 'a) message =
        if actual = expected then
            fail message (sprintf "Expected anything but %A." expected)

    let private compares (holds: bool) relation a b message =
        if not holds then
            fail message (sprintf "Expected %A %s %A." a relation b)

    let isLessThan a b message = compares (a < b) "<" a b message
    let isLessThanOrEqual a b message = compares (a <= b) "<=" a b message
    let isGreaterThan a b message = compares (a > b) ">" a b message
    let isGreaterThanOrEqual a b message = compares (a >= b) ">=" a b message

    let isNotNaN (f: float) message =
        if Double.IsNaN f then
            fail message "Expected a number, got NaN."

    let isNotInfinity (f: float) message =
        if Double.IsInfinity f then
            fail message "Expected a finite number, got an infinity."

    let private close accuracy (actual: float) (expected: float) (also: bool) message =
        if not (Double.IsFinite actual && Double.IsFinite expected) then
            fail message (sprintf "Expected finite numbers, got %g and %g." actual expected)

        if not (also || Accuracy.areClose accuracy actual expected) then
            fail
                message
                (sprintf
                    "Expected %.17g within %g of %.17g, the difference is %g (absolute %g, relative %g)."
                    actual
                    (Accuracy.areCloseRhs accuracy actual expected)
                    expected
                    (Accuracy.areCloseLhs actual expected)
                    accuracy.absolute
                    accuracy.relative)

    let floatClose accuracy actual expected message =
        close accuracy actual expected false message

    let floatLessThanOrClose accuracy actual expected message =
        close accuracy actual expected (actual < expected) message

    let floatGreaterThanOrClose accuracy actual expected message =
        close accuracy actual expected (actual > expected) message

    let isEmpty (actual: seq<'a>) message =
        if not (Seq.isEmpty actual) then
            fail message (sprintf "Expected nothing, got %A." actual)

    let isNonEmpty (actual: seq<'a>) message =
        if Seq.isEmpty actual then
            fail message "Expected at least one element, got none."

    let isNotEmpty (actual: string) message =
        if String.IsNullOrEmpty actual then
            fail message "Expected some text, got none."

    let hasLength (sequence: seq<'a>) (expected: int) message =
        let length = Seq.length sequence

        if length <> expected then
            fail message (sprintf "Expected %d elements, got %d in %A." expected length sequence)

    let hasCountOf (sequence: seq<'a>) (expected: uint32) (selector: 'a -> bool) message =
        let count = sequence |> Seq.filter selector |> Seq.length

        if count <> int expected then
            fail message (sprintf "Expected %d such elements, got %d in %A." expected count sequence)

    let contains (sequence: seq<'a>) element message =
        if not (Seq.contains element sequence) then
            fail message (sprintf "Expected %A in %A." element sequence)

    let containsAll (sequence: seq<'a>) (elements: seq<'a>) message =
        let missing =
            elements |> Seq.filter (fun e -> not (Seq.contains e sequence)) |> List.ofSeq

        if not missing.IsEmpty then
            fail message (sprintf "Expected also %A in %A." missing sequence)

    let all (sequence: seq<'a>) (holds: 'a -> bool) message =
        match sequence |> Seq.tryFindIndex (holds >> not) with
        | Some i -> fail message (sprintf "It does not hold for element %d, %A." i (Seq.item i sequence))
        | None -> ()

    let exists (sequence: seq<'a>) (holds: 'a -> bool) message =
        if not (Seq.exists holds sequence) then
            fail message (sprintf "It holds for no element of %A." sequence)

    let sequenceEqual (actual: seq<'a>) (expected: seq<'a>) message =
        let a = Array.ofSeq actual
        let e = Array.ofSeq expected

        match Seq.zip a e |> Seq.tryFindIndex (fun (x, y) -> x <> y) with
        | Some i -> fail message (sprintf "Sequences differ at index %d.\n  expected: %A\n  actual:   %A" i e[i] a[i])
        | None when a.Length <> e.Length -> fail message (sprintf "Expected %d elements, got %d." e.Length a.Length)
        | None -> ()

    let private ordered (sequence: seq<'a>) relation holds message =
        match sequence |> Seq.pairwise |> Seq.tryFindIndex (fun (x, y) -> not (holds x y)) with
        | Some i -> fail message (sprintf "Expected %s order, it breaks after index %d of %A." relation i sequence)
        | None -> ()

    let isAscending (sequence: seq<'a>) message =
        ordered sequence "ascending" (<=) message

    let isDescending (sequence: seq<'a>) message =
        ordered sequence "descending" (>=) message

    let private text holds relation (subject: string) (part: string) message =
        if not (holds subject part) then
            fail message (sprintf "Expected a text that %s \"%s\", got \"%s\"." relation part subject)

    let stringContains (subject: string) (substring: string) message =
        text (fun s p -> s.Contains(p, StringComparison.Ordinal)) "contains" subject substring message

    let stringStarts (subject: string) (prefix: string) message =
        text (fun s p -> s.StartsWith(p, StringComparison.Ordinal)) "starts with" subject prefix message

    let stringEnds (subject: string) (suffix: string) message =
        text (fun s p -> s.EndsWith(p, StringComparison.Ordinal)) "ends with" subject suffix message

    let isMatch (actual: string) (pattern: string) message =
        text (fun s p -> Regex.IsMatch(s, p)) "matches" actual pattern message

    let isNotMatch (actual: string) (pattern: string) message =
        text (fun s p -> not (Regex.IsMatch(s, p))) "does not match" actual pattern message
