/// A recurrent network that forecasts the monthly passengers of an airline, 1949 to 1960, one step ahead.
module Functional.Examples.Airline

open System
open Functional
open Functional.Files
open type Functional.Layers

/// Months that the network sees, and months of a year.
let private window, private year = 12, 12

let private load (settings: Settings) =
    let folder = DataFolder.find settings.Data "timeseries" "airline-passengers.csv"
    let table = Csv.Read(DataFolder.file folder "airline-passengers.csv")
    table.Texts "Month", table.Numbers "Passengers"

let private rmse (forecast: float[]) (truth: float[]) =
    Metrics.rmse (Tensor.From forecast) (Tensor.From truth)

/// A line for each month: 'o' the passengers, 'x' the forecast, '*' both in one place.
let private draw (months: string[]) (truth: float[]) (forecast: float[]) =
    let low = Seq.append truth forecast |> Seq.min
    let high = Seq.append truth forecast |> Seq.max
    let place v = int ((v - low) / (high - low) * 59.0)

    for i in 0 .. truth.Length - 1 do
        let line = Array.create 60 ' '
        line[place truth[i]] <- 'o'
        line[place forecast[i]] <- if place forecast[i] = place truth[i] then '*' else 'x'
        printfn $"{months[i]}  {truth[i], 4:F0}  {forecast[i], 4:F0}  {String(line)}"

let private network () =
    input [ window; 1 ]
    >=> gru 16
    >=> lastState ()
    >=> dense (1, weights = Init.zeros)

let private train (settings: Settings) =
    let network = network ()
    let months, passengers = load settings
    let count = passengers.Length
    let split = count * 4 / 5

    // Growth on a year ago, in logarithms; the network forecasts how it changes from month to month.
    let growth t =
        log (passengers[t] / passengers[t - year])

    let change t = growth t - growth (t - 1)
    let first = year + 1 + window

    let scale =
        [| for t in year + 1 .. split - 1 -> change t ** 2.0 |] |> Array.average |> sqrt

    let examples from until =
        let x =
            [|
                for t in from .. until - 1 do
                    for back in window .. -1 .. 1 -> float32 (change (t - back) / scale)
            |]

        let y = [| for t in from .. until - 1 -> float32 (change t / scale) |]
        Tensor.From(x, [| until - from; window; 1 |]), Tensor.From(y, [| until - from; 1 |])

    let x, y = examples first split

    let steps =
        if settings.Small then
            20
        else
            200 * defaultArg settings.Epochs 1

    let trainer =
        Trainer(
            Optim.adamW (3e-3, decay = 0.1),
            Loss.mse,
            network,
            Key.OfSeed settings.Seed,
            [],
            Shape.Of [ window; 1 ]
        )

    let sitting = Stepwise.train settings trainer steps 4 (fun _ -> x, y)
    let inputs, _ = examples split count

    let changes =
        (Layer.predict network (trainer.Parameters, trainer.State) inputs).ToDoubles()

    let truth = passengers[split..]

    let at f =
        [| for t in split .. count - 1 -> f t |]

    let forecast =
        at (fun t -> passengers[t - year] * exp (growth (t - 1) + changes[t - split] * scale))

    draw months[split..] truth forecast
    printfn ""

    for name, values in
        [
            "last value", at (fun t -> passengers[t - 1])
            "a year ago", at (fun t -> passengers[t - year])
            "a year ago times this year's growth", at (fun t -> passengers[t - year] * exp (growth (t - 1)))
            "the network", forecast
        ] do
        printfn $"rmse of {name}: {rmse values truth:F1}"

    {
        Data = "airline-passengers"
        Details =
            [
                "optimiser", Text "adamW"
                "rate", Number 3e-3
                "decay", Number 0.1
                "units", Number 16.0
                "window", Number(float window)
                "steps", Number(float steps)
            ]
        Epochs = []
        Test = [ "rmse", rmse forecast truth ]
        Steps = sitting.Steps
        StepSeconds = sitting.Seconds
        Ending = sitting.Ending
    }

let experiments =
    [
        {
            Name = "airline"
            About = "forecasts monthly passengers one step ahead"
            Network = network
            Run = train
        }
    ]
