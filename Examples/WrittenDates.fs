/// Dates as people write them, for networks that learn to read them.
module Functional.Examples.WrittenDates

open System
open System.Globalization
open Functional

let private invariant = CultureInfo.InvariantCulture

/// A century of days; two digits of a year are told by it.
let first = DateTime(1950, 1, 1)

let days = (first.AddYears 100 - first).Days

let private ordinal (date: DateTime) =
    match date.Day with
    | 1
    | 21
    | 31 -> $"{date.Day}st"
    | 2
    | 22 -> $"{date.Day}nd"
    | 3
    | 23 -> $"{date.Day}rd"
    | day -> $"{day}th"

let private roman (date: DateTime) =
    [| "I"; "II"; "III"; "IV"; "V"; "VI"; "VII"; "VIII"; "IX"; "X"; "XI"; "XII" |][date.Month - 1]

/// Patterns of .NET; {O} stands for the day with its ending, {R} for the month in Roman numerals. Day before month between slashes and dots.
let private patterns =
    [|
        "d MMMM yyyy"
        "d MMM yyyy"
        "dd-MMM-yy"
        "MMM d, yy"
        "MMM d, yyyy"
        "MMMM d, yyyy"
        "MMM. dd yyyy"
        "dd/MM/yyyy"
        "d/M/yy"
        "dd.MM.yyyy"
        "d.M.yy"
        "yyyy/MM/dd"
        "yyyyMMdd"
        "yyyy MMMM d"
        "ddd d MMM yyyy"
        "dddd, d MMMM yyyy"
        "dddd, MMMM d, yyyy"
        "dddd {O} 'of' MMMM yyyy"
        "'the' {O} 'of' MMMM, yyyy"
        "MMMM {O}, yyyy"
        "{O} MMM \\'yy"
        "d.{R}.yyyy"
    |]

/// The longest of them: Wednesday 22nd of September 1999.
let longest = 32

/// What stands for nothing comes first.
let letters =
    "_ '+,-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/// One of many ways to write a date, most of them in the usual letters, some in small or in capital ones.
let write (way: int) (date: DateTime) =
    let pattern =
        patterns[way % patterns.Length].Replace("{O}", $"'{ordinal date}'").Replace("{R}", $"'{roman date}'")

    let text = date.ToString(pattern, invariant)

    match way / patterns.Length % 10 with
    | 0 -> text.ToLowerInvariant()
    | 1 -> text.ToUpperInvariant()
    | _ -> text

/// 1999-09-22
let iso (date: DateTime) = date.ToString("yyyy-MM-dd", invariant)

/// Days by number, each written in one of many ways, with its ISO date; the same key gives the same ways.
let pairs (key: Key) (days: int[]) =
    let ways = key.Integers(Shape.Of [ days.Length ], 0L, 1_000_000L).ToArray<int64>()

    Array.map2
        (fun day way ->
            let date = first.AddDays(float (day: int))
            write (int way) date, iso date)
        days
        ways
