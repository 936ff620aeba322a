/// Training step by step, for experiments whose batches are made as they are needed: batch number n, from 0, is a function of n.
module Functional.Examples.Stepwise

open System
open System.Diagnostics
open System.IO
open Functional

/// The steps taken in this sitting, the time they took, and why they ended.
type Sitting =
    {
        Steps: int
        Seconds: float
        Ending: Ending
    }

let private diverged (trainer: Trainer) batch =
    let step = trainer.Steps + 1

    let reason =
        match trainer.Diagnose batch with
        | Some error -> error.Message
        | None -> "The update itself made a parameter so. Lower the learning rate."

    Diverged $"training stopped: the loss is not finite at step {step}. {reason}"

/// Takes steps until there are so many, goes on from the checkpoint of the settings where there is one, and writes it every hundred steps, at the end and
/// on Ctrl-C. The mean loss of the sitting is printed so many times.
let train (settings: Settings) (trainer: Trainer) steps lines (batch: int -> Tensor * Tensor) : Sitting =
    let mutable interrupted = false

    let interrupt =
        ConsoleCancelEventHandler(fun _ event ->
            if not interrupted then
                event.Cancel <- true
                interrupted <- true)

    let save () =
        settings.Checkpoint |> Option.iter trainer.Save

    settings.Checkpoint |> Option.filter File.Exists |> Option.iter trainer.Load
    let before = trainer.Steps
    let watch = Stopwatch.StartNew()
    let mutable total = 0.0
    let mutable ending = Finished
    Console.CancelKeyPress.AddHandler interrupt

    try
        while trainer.Steps < steps && ending = Finished do
            Memory.Tidy(Action(fun () -> total <- total + trainer.Step(batch trainer.Steps)))

            if not (Double.IsFinite total) then
                ending <- diverged trainer batch
            else
                let step = trainer.Steps

                if step % (max 1 (steps / lines)) = 0 then
                    let mean = total / float (step - before)
                    printfn $"step {step}/{steps}   loss {mean:F4}   {watch.Elapsed.TotalSeconds:F1} s"

                if interrupted then
                    ending <- Interrupted

                if step = steps || interrupted || step % 100 = 0 then
                    save ()
    finally
        Console.CancelKeyPress.RemoveHandler interrupt

    {
        Steps = trainer.Steps - before
        Seconds = watch.Elapsed.TotalSeconds
        Ending = ending
    }
