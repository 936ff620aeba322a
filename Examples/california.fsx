// House prices of California in 1990 from eight numbers and the distance to the sea, by a 64-64-1 network.
// Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/california.fsx [--small]
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"
#load "DataFolder.fs"

open Functional
open Functional.Examples
open Functional.Files
open type Functional.Layers

// With --small a short run, to see that everything works.
let small = fsi.CommandLineArgs |> Array.contains "--small"

let start = Init.fanInUniform

let net =
    input [ 13 ]
    >=> dense (64, weights = start, biases = start)
    >=> relu
    >=> dense (64, weights = start, biases = start)
    >=> relu
    >=> dense (1, weights = start, biases = start)

printfn "%O\n" net

let folder = DataFolder.find None "california-housing" "housing.csv"
let table = Csv.Read(DataFolder.file folder "housing.csv").WithoutGaps()
let proximity = table.Texts "ocean_proximity"
let prices = table.Numbers "median_house_value"

/// Values to mean 0 and deviation 1, by those of some rows.
let standardise (rows: int[]) (values: float[]) =
    let known = rows |> Array.map (Array.get values)
    let mean = Array.average known
    let deviation = known |> Array.averageBy (fun v -> (v - mean) ** 2.0) |> sqrt
    mean, deviation, values |> Array.map (fun v -> (v - mean) / deviation)

let order =
    (Key.OfSeed 1L).Permutation(prices.Length).ToArray<int64>() |> Array.map int

let training, testing = order |> Array.splitAt (order.Length * 4 / 5)

let columns =
    [|
        for name in table.Columns do
            if name <> "ocean_proximity" && name <> "median_house_value" then
                let _, _, values = table.Numbers name |> standardise training
                values

        // One column for each kind of place.
        for place in proximity |> Array.distinct |> Array.sort do
            proximity |> Array.map (fun p -> if p = place then 1.0 else 0.0)
    |]

let mean, deviation, targets = standardise training prices

let dataset rows =
    let x =
        rows
        |> Array.map (fun row -> columns |> Array.map (fun column -> float32 column[row]))

    let y = rows |> Array.map (fun row -> [| float32 targets[row] |])
    Dataset.ofTensors (Tensor.From(array2D x)) (Tensor.From(array2D y))

let run =
    Train.fit
        (Optim.adam 1e-3)
        Loss.mse
        (epochs (if small then 2 else 20) >> batchSize 64 >> report [ Metric.r2 ])
        net
        (dataset training)
        (Key.OfSeed 1L)

let x, y = dataset testing |> Dataset.batch testing.Length |> Seq.head
let estimated = run.Predict x

printfn
    "on test data: RMSE %.0f dollars, R² %.3f"
    (deviation * Metric.rmse.Measure estimated y)
    (Metric.r2.Measure estimated y)

let dollars (values: Tensor) =
    values.ToDoubles() |> Array.map (fun v -> v * deviation + mean)

for truth, estimate in Array.zip (dollars y) (dollars estimated) |> Array.truncate 5 do
    printfn "%.0f dollars, estimated %.0f" truth estimate
