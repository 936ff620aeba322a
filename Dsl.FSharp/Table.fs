/// Tables of plain text.
module internal Functional.Table

open System
open System.Globalization

type Column = { Title: string; Align: Align }

/// Words begin on the left, numbers end on the right.
and Align =
    | Words
    | Numbers

/// Every column as wide as its widest entry, two spaces between columns; a column without entries is left out.
let render (columns: Column list) (rows: string list list) =
    let shown =
        [
            for i, column in List.indexed columns do
                let entries = rows |> List.map (List.item i)

                if entries |> List.exists ((<>) "") then
                    let entries = column.Title :: entries
                    let width = entries |> List.map _.Length |> List.max

                    entries
                    |> List.map (fun (entry: string) ->
                        match column.Align with
                        | Words -> entry.PadRight width
                        | Numbers -> entry.PadLeft width)
        ]

    List.transpose shown
    |> List.map (fun line -> (String.concat "  " line).TrimEnd())
    |> String.concat Environment.NewLine

/// 1,234,567
let count (n: int64) =
    n.ToString("N0", CultureInfo.InvariantCulture)

/// Bytes in the unit that keeps them short: 640 B, 3.1 KiB, 12.0 MiB.
let bytes (n: int64) =
    let rec scaled value units =
        match units with
        | unit :: (_ :: _ as larger) when value >= 1024.0 -> scaled (value / 1024.0) larger
        | unit :: _ -> $"""{value.ToString("F1", CultureInfo.InvariantCulture)} {unit}"""
        | [] -> ""

    if n < 1024L then
        $"{n} B"
    else
        scaled (float n / 1024.0) [ "KiB"; "MiB"; "GiB"; "TiB" ]
