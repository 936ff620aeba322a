// A recurrent network forecasts the monthly passengers of an airline, 1949 to 1960, one step ahead.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/airline.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DataFolder.fs"

open System
open Functional
open Functional.Examples
open Functional.Files
open type Functional.Layers

// With --small a short run, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

/// Months of a year, which is also what the network sees.
let year = 12

let net =
    input [ year; 1 ]
    >=> gru 16
    >=> lastState ()
    >=> dense (1, weights = Init.zeros)

printfn "%O\n" net

let folder = DataFolder.find None "timeseries" "airline-passengers.csv"
let table = Csv.Read(DataFolder.file folder "airline-passengers.csv")
let passengers = table.Numbers "Passengers"
let split = passengers.Length * 4 / 5

/// Growth on a year ago, in logarithms; the network forecasts how it changes from month to month.
let growth t =
    log (passengers[t] / passengers[t - year])

let change t = growth t - growth (t - 1)

let scale =
    [ year + 1 .. split - 1 ] |> List.averageBy (fun t -> change t ** 2.0) |> sqrt

/// The changes of the year before each month, and the month's own.
let examples (months: int[]) =
    let x =
        months
        |> Array.collect (fun t -> [| for back in year .. -1 .. 1 -> change (t - back) / scale |])

    let y = months |> Array.map (fun t -> change t / scale)

    Tensor.From(Array.map float32 x, [| months.Length; year; 1 |]),
    Tensor.From(Array.map float32 y, [| months.Length; 1 |])

let trainer =
    Trainer(Optim.adamW (3e-3, decay = 0.1), Loss.mse, net, Key.OfSeed 1L, [], Shape.Of [ year; 1 ])

let batch = examples [| 2 * year + 1 .. split - 1 |]

for step in 1 .. (if small then 20 else 200) do
    trainer.Step batch |> ignore<float>

let unseen = [| split .. passengers.Length - 1 |]
let x, _ = examples unseen

let forecast =
    (Layer.predict net (trainer.Parameters, trainer.State) x).ToDoubles()
    |> Array.map2 (fun t change -> passengers[t - year] * exp (growth (t - 1) + change * scale)) unseen

/// A line for each month: 'o' the passengers, 'x' the forecast, '*' both in one place.
for t, expected in Array.zip unseen forecast do
    let line = Array.create 65 ' '
    let place v = int (v / 10.0)
    line[place passengers[t]] <- 'o'
    line[place expected] <- if place expected = place passengers[t] then '*' else 'x'
    printfn "%s  %3.0f  %3.0f  %s" (table.Texts "Month").[t] passengers[t] expected (String(line).TrimEnd())

let truth = unseen |> Array.map (Array.get passengers) |> Tensor.From<float>

for name, values in
    [
        "last value", unseen |> Array.map (fun t -> passengers[t - 1])
        "a year ago", unseen |> Array.map (fun t -> passengers[t - year])
        "a year ago times this year's growth",
        unseen |> Array.map (fun t -> passengers[t - year] * exp (growth (t - 1)))
        "the network", forecast
    ] do
    printfn "rmse of %s: %.1f" name (Metrics.rmse (Tensor.From values) truth)
