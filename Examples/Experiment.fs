namespace Functional.Examples

open System
open System.Diagnostics
open System.IO
open System.Text.Json
open Functional

/// What the command line asks for.
type Settings =
    {
        Data: string option
        Epochs: int option
        Seed: int64
        Threads: int
        /// A small part of the data and few epochs: to see that everything works.
        Small: bool
        /// Data augmentation, where the example knows it.
        Augment: bool
        /// Where training is written as it goes, and goes on from.
        Checkpoint: string option
        Json: string option
    }

    /// What the settings say of a training plan.
    member settings.Plan: TrainPlan -> TrainPlan =
        match settings.Checkpoint with
        | Some path -> saveTo path >> resume
        | None -> id

/// A setting's value.
type Detail =
    | Text of string
    | Number of float
    | Sizes of int list

/// What an experiment reports, in print and as JSON.
type Outcome =
    {
        /// What it was trained on: mnist, drawn digits …
        Data: string
        /// The settings that tell it from others, as written to JSON.
        Details: (string * Detail) list
        Epochs: Epoch list
        Test: (string * float) list
        Steps: int
        StepSeconds: float
        Ending: Ending
    }

/// One entry of the examples' table.
type Experiment =
    {
        Name: string
        About: string
        /// What is trained, or, where the data has a say in its sizes, what that would be for all of the data.
        Network: unit -> Layer
        Run: Settings -> Outcome
    }

module Outcome =
    /// The most memory the process has held so far, in MiB.
    let private peakMemory () =
        let status = "/proc/self/status"

        let peak =
            if File.Exists status then
                File.ReadLines status |> Seq.tryFind _.StartsWith("VmHWM:")
            else
                None

        match peak with
        | Some line -> float (line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) / 1024.0
        | None -> float (Process.GetCurrentProcess().PeakWorkingSet64) / 1048576.0

    let private sinceStart () =
        (DateTime.Now - Process.GetCurrentProcess().StartTime).TotalSeconds

    /// Writes the run as one JSON object, with the keys that every example has.
    let private write (experiment: Experiment) (settings: Settings) outcome (seconds: float) (path: string) =
        use stream = File.Create path
        use json = new Utf8JsonWriter(stream, JsonWriterOptions(Indented = true))

        /// accuracy of the validation data → validationAccuracy
        let validation (metric: string) =
            $"validation{Char.ToUpperInvariant metric[0]}{metric.Substring 1}"

        /// JSON knows no NaN and no infinity.
        let number (name: string) (value: float) =
            if Double.IsFinite value then
                json.WriteNumber(name, value)
            else
                json.WriteNull name

        json.WriteStartObject()
        json.WriteString("name", experiment.Name)
        json.WriteString("data", outcome.Data)
        json.WriteNumber("seed", settings.Seed)
        json.WriteNumber("threads", settings.Threads)
        json.WriteStartObject "settings"

        for name, value in outcome.Details do
            match value with
            | Text text -> json.WriteString(name, text)
            | Number value -> number name value
            | Sizes sizes ->
                json.WriteStartArray(name: string)
                sizes |> List.iter json.WriteNumberValue
                json.WriteEndArray()

        json.WriteEndObject()
        json.WriteStartArray "epochs"

        for epoch in outcome.Epochs do
            json.WriteStartObject()
            number "loss" epoch.Loss

            for name, value in epoch.Metrics do
                number name value

            match epoch.ValidationLoss with
            | Some loss -> number "validationLoss" loss
            | None -> json.WriteNull "validationLoss"

            for name, _ in epoch.Metrics do
                let key = validation name

                match List.tryFind (fun (other, _) -> other = name) epoch.ValidationMetrics with
                | Some(_, value) -> number key value
                | None -> json.WriteNull key

            number "seconds" epoch.Seconds
            json.WriteEndObject()

        json.WriteEndArray()
        json.WriteStartObject "test"

        for name, value in outcome.Test do
            number name value

        json.WriteEndObject()
        number "seconds" seconds
        number "stepsPerSecond" (float outcome.Steps / outcome.StepSeconds)
        number "peakMemoryMiB" (peakMemory ())
        json.WriteEndObject()

    /// Prints what came out, and writes it where the settings ask for that.
    let report experiment settings outcome =
        let seconds = sinceStart ()

        match outcome.Ending with
        | Finished -> ()
        | EarlyStopped -> printfn "stopped early: the loss got no better"
        | Interrupted ->
            printfn "interrupted: the results are those of the steps so far"
            settings.Checkpoint |> Option.iter (printfn "the same command goes on from %s")
        | Diverged reason -> eprintfn "%s" reason

        for name, value in outcome.Test do
            printfn $"test {name} {value:F4}"

        printfn
            $"{seconds:F1} s, {float outcome.Steps / outcome.StepSeconds:N0} steps/s, {peakMemory ():F0} MiB at most"

        Option.iter (write experiment settings outcome seconds) settings.Json
