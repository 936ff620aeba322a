namespace Functional

open System
open System.Diagnostics
open Spectre.Console

/// What one pass over the training data gave.
type Epoch =
    {
        /// From 1.
        Number: int
        Loss: float
        Metrics: (string * float) list
        ValidationLoss: float option
        ValidationMetrics: (string * float) list
        Seconds: float
        Steps: int
        Examples: int
    }

    /// A metric of the training data by its name.
    member epoch.Metric(name: string) = Epoch.Find(name, epoch.Metrics)

    /// A metric of the validation data by its name.
    member epoch.Validation(name: string) =
        Epoch.Find(name, epoch.ValidationMetrics)

    static member private Find(name, values) =
        match List.tryFind (fst >> (=) name) values with
        | Some(_, value) -> value
        | None ->
            let names = values |> List.map fst |> String.concat ", "

            invalidArg
                (nameof name)
                $"epoch: the name must be that of a metric; got '{name}' and the metrics [{names}]. Ask for it with report, and validate for its value in validation."

/// Who is told how training goes.
type Observer =
    {
        /// Once per step: steps done in this epoch and the loss so far.
        Step: int -> float -> unit
        /// Once per epoch.
        Epoch: Epoch -> unit
    }

/// Shows the progress of a run: given the numbers of epochs, steps per epoch and examples per epoch, it runs the training with an observer.
type Progress = int -> int -> int -> (Observer -> unit) -> unit

module Progress =
    /// The time a person reads: 0.8 s, 1 min 5 s
    let internal duration (seconds: float) =
        if seconds < 60.0 then
            $"{seconds:F1} s"
        else
            $"{int seconds / 60} min {int seconds % 60} s"

    /// One epoch as a line.
    let line (epochs: int) (epoch: Epoch) =
        let width = (string epochs).Length

        String.Join(
            "   ",
            [
                $"epoch {epoch.Number.ToString().PadLeft width}/{epochs}"
                $"loss {epoch.Loss:F4}"
                for name, value in epoch.Metrics do
                    $"{name} {value:F4}"
                match epoch.ValidationLoss with
                | Some loss -> $"validation loss {loss:F4}"
                | None -> ()
                for name, value in epoch.ValidationMetrics do
                    $"validation {name} {value:F4}"
                duration epoch.Seconds
                $"{float epoch.Examples / epoch.Seconds:N0} examples/s"
            ]
        )

    /// Nothing is shown.
    let silent: Progress =
        fun _ _ _ train ->
            train
                {
                    Step = fun _ _ -> ()
                    Epoch = ignore
                }

    /// A plain line per epoch.
    let lines: Progress =
        fun epochs _ _ train ->
            train
                {
                    Step = fun _ _ -> ()
                    Epoch = fun epoch -> Console.WriteLine(line epochs epoch)
                }

    /// A bar with throughput and time left while an epoch runs, and a line when it is done.
    let bar: Progress =
        fun epochs steps examples train ->
            AnsiConsole
                .Progress()
                .AutoClear(true)
                .HideCompleted(true)
                .Columns(
                    TaskDescriptionColumn(Alignment = Justify.Left),
                    ProgressBarColumn(),
                    PercentageColumn(),
                    RemainingTimeColumn()
                )
                .Start(fun context ->
                    let task = context.AddTask("training", true, float (epochs * steps))
                    let clock = Stopwatch.StartNew()
                    let shown = ref 0.0
                    let doneBefore = ref 0
                    // Epochs of an earlier sitting took none of this one's time.
                    let here = ref 0

                    train
                        {
                            Step =
                                fun step loss ->
                                    // The bar is redrawn ten times a second at most; asking a clock is all that a step pays for.
                                    let now = clock.Elapsed.TotalSeconds
                                    here.Value <- here.Value + 1

                                    if now - shown.Value > 0.1 then
                                        shown.Value <- now
                                        let total = doneBefore.Value + step
                                        let rate = float here.Value / now * float examples / float steps

                                        task.Description <-
                                            $"epoch {doneBefore.Value / steps + 1}/{epochs}   loss {loss:F4}   {rate:N0} examples/s"

                                        task.Value <- float total
                            Epoch =
                                fun epoch ->
                                    doneBefore.Value <- doneBefore.Value + steps
                                    task.Value <- float doneBefore.Value
                                    AnsiConsole.WriteLine(line epochs epoch)
                        })

    /// The bar on a terminal, plain lines when output is piped.
    let automatic: Progress =
        fun epochs steps examples train ->
            let show = if Console.IsOutputRedirected then lines else bar
            show epochs steps examples train
