/// A network that estimates the prices of Californian houses of 1990.
module Functional.Examples.California

open System
open Functional
open Functional.Files
open type Functional.Layers

let private numeric =
    [
        "longitude"
        "latitude"
        "housing_median_age"
        "total_rooms"
        "total_bedrooms"
        "population"
        "households"
        "median_income"
    ]

/// Numbers and one-hot proximity of every district without gaps, and the median house value.
let private load (settings: Settings) =
    let folder = DataFolder.find settings.Data "california-housing" "housing.csv"
    let table = Csv.Read(DataFolder.file folder "housing.csv").WithoutGaps()
    let proximity = table.Texts "ocean_proximity"
    let places = proximity |> Array.distinct |> Array.sort

    let columns =
        [|
            for name in numeric -> table.Numbers name
            for place in places -> proximity |> Array.map (fun p -> if p = place then 1.0 else 0.0)
        |]

    columns, table.Numbers "median_house_value"

let private mean (values: float[]) = Array.average values

let private deviation (values: float[]) =
    let mean = mean values
    values |> Array.averageBy (fun v -> (v - mean) ** 2.0) |> sqrt

let private network () =
    input [ 13 ]
    >=> dense (64, weights = Init.fanInUniform, biases = Init.fanInUniform)
    >=> relu
    >=> dense (64, weights = Init.fanInUniform, biases = Init.fanInUniform)
    >=> relu
    >=> dense (1, weights = Init.fanInUniform, biases = Init.fanInUniform)

let private train (settings: Settings) =
    let network = network ()
    let columns, prices = load settings

    let key = Key.OfSeed settings.Seed

    let order =
        key.Fold("split").Permutation(prices.Length).ToArray<int64>() |> Array.map int

    let rows = order.Length * 4 / 5
    let training, test = order[.. rows - 1], order[rows..]
    let pick (rows: int[]) (column: float[]) = rows |> Array.map (Array.get column)

    // Standardised by the training rows; the one-hot columns stay as they are.
    let inputs =
        columns
        |> Array.mapi (fun i column ->
            if i < numeric.Length then
                let known = pick training column
                let center, scale = mean known, deviation known
                column |> Array.map (fun v -> (v - center) / scale)
            else
                column)

    let center, scale = mean (pick training prices), deviation (pick training prices)

    let dataset rows =
        let x =
            rows
            |> Array.collect (fun row -> inputs |> Array.map (fun column -> float32 column[row]))

        let y = rows |> Array.map (fun row -> float32 ((prices[row] - center) / scale))
        Dataset.ofTensors (Tensor.From(x, [| rows.Length; inputs.Length |])) (Tensor.From(y, [| rows.Length; 1 |]))

    let passes =
        settings.Epochs |> Option.defaultValue (if settings.Small then 2 else 20)

    let options = epochs passes >> batchSize 64 >> settings.Plan

    let run =
        Train.fit (Optim.adam 1e-3) Loss.mse options network (dataset training) key

    let x, _ = dataset test |> Dataset.batch test.Length |> Seq.head

    let estimates = run.Predict(x).Cast DType.Float64 * scale + center
    let truth = Tensor.From(pick test prices, [| test.Length; 1 |])

    for i in 0..4 do
        printfn $"district {i + 1}: {truth[i].ToDouble():N0} dollars, estimated {estimates[i].ToDouble():N0}"

    {
        Data = "california-housing"
        Details =
            [
                "optimiser", Text "adam"
                "rate", Number 1e-3
                "layers", Sizes [ 13; 64; 64; 1 ]
                "batchSize", Number 64.0
                "epochs", Number(float passes)
                "examples", Number(float training.Length)
            ]
        Epochs = run.Epochs
        Test = [ "rmse", Metrics.rmse estimates truth; "r2", Metrics.r2 estimates truth ]
        Steps = run.Steps
        StepSeconds = run.StepSeconds
        Ending = run.Ending
    }

let experiments =
    [
        {
            Name = "california"
            About = "house prices of California by a 64-64-1 network"
            Network = network
            Run = train
        }
    ]
