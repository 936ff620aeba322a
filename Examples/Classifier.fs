/// Trains a network to tell classes apart, and reports how well it does.
module Functional.Examples.Classifier

open Functional

/// Training, validation and test data as a network sees them, and what they are called.
type Data =
    {
        Source: string
        Training: Dataset
        Validation: Dataset option
        Test: Dataset
    }

/// How one of the networks is trained.
type Recipe =
    {
        Network: unit -> Layer
        Load: Settings -> Data
        /// For a number of steps, which a schedule may have to know.
        Optimiser: int -> Optimiser
        Augment: Augmentation option
        /// The factor of the parameters' average.
        Average: float option
        BatchSize: int
        Epochs: int
        /// Classes by name, where numbers do not say it.
        Classes: string list
        Details: (string * Detail) list
    }

/// A tenth of the data where the settings ask for little.
let part (settings: Settings) (data: Dataset) =
    if settings.Small then
        Dataset.truncate (data.Count / 10) data
    else
        data

let private showPredictions recipe (run: Run) (test: Dataset) =
    let x, y = test |> Dataset.truncate 8 |> Dataset.batch 8 |> Seq.head
    let predicted = run.Predict(x).ArgMax(-1).ToArray<int64>()

    let line (classes: int64[]) =
        classes
        |> Array.map (fun c ->
            if recipe.Classes.IsEmpty then
                string c
            else
                recipe.Classes[int c])
        |> String.concat " "

    printfn $"the first of the test are  {line (y.ToArray<int64>())}"
    printfn $"the network reads          {line predicted}"

let train recipe (settings: Settings) =
    let network = recipe.Network()
    let data = recipe.Load settings

    let passes =
        settings.Epochs
        |> Option.defaultValue (if settings.Small then 2 else recipe.Epochs)

    let options =
        epochs passes
        >> batchSize recipe.BatchSize
        >> report [ accuracy ]
        >> Option.foldBack validate data.Validation
        >> Option.foldBack augment recipe.Augment
        >> Option.foldBack average recipe.Average
        >> settings.Plan

    let steps =
        passes * ((data.Training.Count + recipe.BatchSize - 1) / recipe.BatchSize)

    let key = Key.OfSeed settings.Seed

    let run =
        Train.fit (recipe.Optimiser steps) Loss.crossEntropy options network data.Training key

    let loss, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run data.Test
    showPredictions recipe run data.Test

    {
        Data = data.Source
        Details =
            recipe.Details
            @ [
                "batchSize", Number(float recipe.BatchSize)
                "epochs", Number(float passes)
                "examples", Number(float data.Training.Count)
            ]
        Epochs = run.Epochs
        Test = metrics @ [ "loss", loss ]
        Steps = run.Steps
        StepSeconds = run.StepSeconds
        Ending = run.Ending
    }
