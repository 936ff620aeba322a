namespace Functional

open System
open System.Diagnostics
open System.IO
open Functional.Autodiff
open Functional.Files

/// Why training ended.
type Ending =
    | Finished
    /// The loss stopped getting better.
    | EarlyStopped
    /// Ctrl-C: the parameters are those of the last step.
    | Interrupted
    /// The loss became NaN or infinite: the parameters are the last that gave a finite loss.
    | Diverged of string

/// A trained network and how it came about.
type Run =
    {
        Network: Layer
        Parameters: Tree<Tensor>
        State: Tree<Tensor>
        Epochs: Epoch list
        Ending: Ending
        Steps: int
        /// Spent in training steps, validation left out.
        StepSeconds: float
    }

    /// The network's output for a batch, in inference.
    member run.Predict(x: Tensor) =
        Layer.predict run.Network (run.Parameters, run.State) x

/// One run of `Train.fit`.
type internal Session(plan: TrainPlan, optimiser: string, trainer: Trainer, data: Dataset, key: Key) =
    let steps = (data.Count + plan.BatchSize - 1) / plan.BatchSize
    let epochs = ResizeArray<Epoch>()
    let clock = Stopwatch()
    let order: int[] = Array.zeroCreate data.Count
    let mutable arranged = -1
    let mutable ending = Finished
    let mutable diverging = false
    let mutable interrupted = false

    // The epoch under way: steps, examples, the sum of their losses, and seconds before the run went on from a checkpoint.
    let mutable step = 0
    let mutable seen = 0
    let mutable total = 0.0
    let mutable secondsBefore = 0.0
    // Seconds of the epochs before such a resumption.
    let mutable secondsOfEpochs = 0.0

    let mutable best = infinity
    let mutable bestAt = 0
    let mutable kept: (Tree<Tensor> * Tree<Tensor>) option = None

    /// The order of an epoch is a function of the key and its number, so that any step can be taken again.
    let arrange epoch =
        if arranged <> epoch then
            arranged <- epoch

            Memory.Tidy(
                Action(fun () ->
                    let shuffled =
                        key.Fold("order").Fold(epoch: int).Permutation(data.Count).ToArray<int64>()

                    for i in 0 .. order.Length - 1 do
                        order[i] <- data.Rows[int shuffled[i]])
            )

    let take step =
        arrange (step / steps)
        let from = step % steps * plan.BatchSize
        let x, y = Dataset.take data order from (min plan.BatchSize (data.Count - from))

        match plan.Augment with
        | None -> x, y
        | Some change -> change (key.Fold("augment").Fold(step: int)) x y

    let ahead = Ahead take

    let one =
        Action(fun () ->
            let x, y = ahead.Take(trainer.Steps, step + 1 < steps)
            let n = x.Shape[0]
            let loss = trainer.Step(x, y)

            if Double.IsFinite loss then
                seen <- seen + n
                step <- step + 1
                total <- total + float n * loss
            else
                diverging <- true)

    let diagnose () =
        ahead.Drop()
        let failed = trainer.Steps
        let place = $"epoch {epochs.Count + 1}, step {step + 1}"
        let found = trainer.Diagnose take
        let kept = $"The parameters after {trainer.Steps} of {failed} steps are kept."

        match found with
        | Some error ->
            let layer =
                match error.Layer with
                | null -> "outside of the layers' forward pass"
                | layer -> $"in layer '{layer}'"

            $"training stopped: the loss is not finite at {place}; the first such value came from '{error.Op}' {layer}. {error.Message} {kept}"
        | None ->
            $"training stopped: the loss is not finite at {place}; the update itself made a parameter so. Lower the learning rate. {kept}"

    // ---- the best epoch ----

    let stopWhereStale () =
        match plan.Patience with
        | Some patience when ending = Finished && epochs.Count - 1 - bestAt >= patience -> ending <- EarlyStopped
        | _ -> ()

    let watchForBest (result: Epoch) =
        if plan.KeepsBest && ending = Finished then
            let watched = plan.Watched result

            if watched < best then
                best <- watched
                bestAt <- epochs.Count - 1
                kept <- Some(trainer.Parameters, trainer.State)
            else
                stopWhereStale ()

    // ---- checkpoints ----

    /// What must be the same in every sitting of a run.
    let terms =
        [
            "key", key.Digits
            "optimiser", optimiser
            "batch size", string plan.BatchSize
            "parts of a batch", string plan.Parts
            "average", (plan.Average |> Option.map string |> Option.defaultValue "none")
            "number of examples", string data.Count
            "metrics", (plan.Metrics |> List.map _.Name |> String.concat ", ")
        ]

    let metrics = plan.Metrics.Length

    /// An epoch as a row of numbers: what validation did not measure is NaN.
    let row (epoch: Epoch) =
        [|
            epoch.Loss
            Convert.ToDouble epoch.ValidationLoss.IsSome
            epoch.ValidationLoss |> Option.defaultValue nan
            epoch.Seconds
            float epoch.Steps
            float epoch.Examples
            for _, value in epoch.Metrics do
                value
            if epoch.ValidationMetrics.IsEmpty then
                yield! Array.create metrics nan
            else
                for _, value in epoch.ValidationMetrics do
                    value
        |]

    let columns = 6 + 2 * metrics

    let ofRow number (row: float[]) : Epoch =
        let named from =
            plan.Metrics |> List.mapi (fun i metric -> metric.Name, row[from + i])

        let isValidated = row[1] <> 0.0

        {
            Number = number
            Loss = row[0]
            Metrics = named 6
            ValidationLoss = if isValidated then Some row[2] else None
            ValidationMetrics = if isValidated then named (6 + metrics) else []
            Seconds = row[3]
            Steps = int row[4]
            Examples = int row[5]
        }

    let write () =
        plan.Checkpoint
        |> Option.iter (fun path ->
            let seconds = secondsBefore + clock.Elapsed.TotalSeconds

            let progress =
                [
                    "epochs", Tensor.From(epochs |> Seq.collect row |> Array.ofSeq, epochs.Count, columns)
                    "progress", Tensor.From [| total; seconds; best |]
                    for i, sums in Array.indexed trainer.Tally.Sums do
                        match sums with
                        | Some sums -> $"tally.{i}", Tensor.From sums
                        | None -> ()
                    match kept with
                    | Some(parameters, state) ->
                        for name, tensor in Tree.named parameters do
                            $"best.parameters.{name}", tensor

                        for name, tensor in Tree.named state do
                            $"best.state.{name}", tensor
                    | None -> ()
                ]

            let facts =
                [
                    "step", string trainer.Steps
                    "epochs", string epochs.Count
                    "step of epoch", string step
                    "examples of epoch", string seen
                    "best epoch", string bestAt
                ]

            // What an update has spoilt must not take the place of what can still go on.
            if trainer.IsFinite then
                Checkpoint.write path (trainer.Tensors @ progress) (terms @ facts))

    let restoreKept checkpoint =
        let from prefix tree =
            checkpoint |> Checkpoint.refuseOther "network" [ $"{prefix}.", Tree.named tree ]

            tree
            |> Tree.mapPath (fun path _ -> checkpoint |> Checkpoint.tensor $"{prefix}.{path}")

        if checkpoint.Arrays.Keys |> Seq.exists _.StartsWith("best.") then
            kept <- Some(from "best.parameters" trainer.Parameters, from "best.state" trainer.State)

    let restore path =
        let checkpoint = Checkpoint.read path
        // What differs in the network says more than what differs in the terms.
        trainer.CheckNetwork checkpoint

        Checkpoint.refuseChange terms checkpoint
        trainer.Restore(checkpoint, Checkpoint.count "step" checkpoint)
        let n = Checkpoint.count "epochs" checkpoint

        for number, values in
            Checkpoint.doubles "epochs" [ n; columns ] checkpoint
            |> Array.chunkBySize columns
            |> Array.indexed do
            epochs.Add(ofRow (number + 1) values)

        let progress = Checkpoint.doubles "progress" [ 3 ] checkpoint
        total <- progress[0]
        best <- progress[2]
        secondsBefore <- progress[1]
        secondsOfEpochs <- epochs |> Seq.sumBy _.Seconds
        step <- Checkpoint.count "step of epoch" checkpoint
        seen <- Checkpoint.count "examples of epoch" checkpoint
        bestAt <- Checkpoint.count "best epoch" checkpoint
        restoreKept checkpoint

        trainer.Tally.Sums <-
            Array.init metrics (fun i ->
                match checkpoint.Arrays.TryGetValue $"tally.{i}" with
                | true, sums -> Some(checkpoint |> Checkpoint.doubles $"tally.{i}" [ sums.Data.Length / 8 ])
                | _ -> None)

        if epochs.Count > 0 then
            stopWhereStale ()

    let prepare () =
        plan.Checkpoint
        |> Option.iter (fun path ->
            if not (File.Exists path) then
                // A file that cannot be written is better known before the work than after it.
                write ()
            elif plan.Resumes then
                restore path
            else
                raise (
                    IOException
                        $"saveTo: the file must be new, or the run must go on from it; got '{path}', which exists. Add resume, or remove it."
                )

            AtomicFile.RemoveLeftovers path)

    // ---- epochs ----

    let takeSteps (observer: Observer) =
        while step < steps && ending = Finished && not diverging do
            clock.Start()
            Memory.Tidy one
            clock.Stop()
            observer.Step step (total / float (max 1 seen))

            if not diverging then
                if interrupted then
                    ending <- Interrupted
                    write ()
                elif plan.CheckpointEvery |> Option.exists (fun n -> trainer.Steps % n = 0) then
                    write ()

    let runEpoch (observer: Observer) =
        takeSteps observer

        // The search for what went wrong takes steps, too.
        let metrics = trainer.Tally.Values

        if diverging then
            ending <- Diverged(diagnose ())

        if seen > 0 then
            let validation =
                match plan.Validation with
                | Some data when ending = Finished -> Some(trainer.Evaluate(data, 250))
                | _ -> None

            let result =
                {
                    Number = epochs.Count + 1
                    Loss = total / float seen
                    Metrics = metrics
                    ValidationLoss = validation |> Option.map fst
                    ValidationMetrics = validation |> Option.map snd |> Option.defaultValue []
                    Seconds = secondsBefore + clock.Elapsed.TotalSeconds
                    Steps = step
                    Examples = seen
                }

            epochs.Add result
            observer.Epoch result
            plan.Observe result
            watchForBest result

        if ending = Finished || ending = EarlyStopped then
            secondsOfEpochs <- secondsOfEpochs + secondsBefore + clock.Elapsed.TotalSeconds
            secondsBefore <- 0.0
            clock.Reset()
            trainer.Tally.Clear()
            step <- 0
            seen <- 0
            total <- 0.0
            write ()

    member _.Run() =
        let interrupt =
            ConsoleCancelEventHandler(fun _ event ->
                // The second time the user means it.
                if not interrupted then
                    event.Cancel <- true
                    interrupted <- true)

        Console.CancelKeyPress.AddHandler interrupt

        try
            prepare ()

            plan.Progress plan.Epochs steps data.Count (fun observer ->
                for epoch in List.ofSeq epochs do
                    observer.Epoch epoch
                    plan.Observe epoch

                while epochs.Count < plan.Epochs && ending = Finished do
                    runEpoch observer)
        finally
            Console.CancelKeyPress.RemoveHandler interrupt
            ahead.Drop()

    member _.Result network =
        let parameters, state =
            match ending, kept with
            | (Finished | EarlyStopped), Some best -> best
            | _ -> trainer.Parameters, trainer.State

        {
            Network = network
            Parameters = parameters
            State = state
            Epochs = List.ofSeq epochs
            Ending = ending
            Steps = trainer.Steps
            StepSeconds = secondsOfEpochs + secondsBefore + clock.Elapsed.TotalSeconds
        }
