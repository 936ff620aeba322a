namespace Functional

open System
open System.Diagnostics
open Functional.Autodiff

/// How to train: changed by the functions of `TrainOptions`, which compose with `>>`.
type TrainPlan =
    {
        Epochs: int
        BatchSize: int
        Metrics: Metric list
        Validation: Dataset option
        /// Changes every batch of the training data.
        Augment: Augmentation option
        /// Stop after so many epochs without a better validation loss (training loss where there is no validation).
        Patience: int option
        Progress: Progress
        /// Called once after each epoch with the trainer.
        Observe: Epoch -> unit
    }

/// The words of a training plan: `epochs 5 >> batchSize 64 >> report [ accuracy ] >> earlyStop 3`.
[<AutoOpen>]
module TrainOptions =
    let private positive what n =
        if n < 1 then
            invalidArg what $"{what}: at least 1 is needed; got {n}. Give a positive number."

        n

    /// Passes over the training data; 10 unless told.
    let epochs n plan =
        { plan with
            Epochs = positive "epochs" n
        }

    /// Examples per step; 32 unless told. The last batch of an epoch may be smaller.
    let batchSize n plan =
        { plan with
            BatchSize = positive "batchSize" n
        }

    /// Metrics beside the loss.
    let report metrics plan =
        { plan with
            TrainPlan.Metrics = metrics
        }

    /// Measures loss and metrics on other data after each epoch.
    let validate data plan = { plan with Validation = Some data }

    /// Changes every batch of the training data, each with a key of its own. What is reported of them is measured on changed data.
    let augment change plan = { plan with Augment = Some change }

    /// Stops after so many epochs without a better loss, and keeps the parameters of the best.
    let earlyStop patience plan =
        { plan with
            TrainPlan.Patience = Some(positive "earlyStop" patience)
        }

    /// How progress is shown: `Progress.automatic` unless told.
    let show progress plan = { plan with Progress = progress }

    /// Calls a function after each epoch.
    let observe f plan = { plan with Observe = f }

    /// The share of examples whose largest output is that of their class.
    let accuracy = Metric.accuracy

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
type private Session(plan: TrainPlan, trainer: Trainer, data: Dataset, key: Key) =
    let steps = (data.Count + plan.BatchSize - 1) / plan.BatchSize
    let epochs = ResizeArray()
    let clock = Stopwatch()
    let order: int[] = Array.zeroCreate data.Count
    let mutable total = 0.0
    let mutable arranged = -1
    let mutable step = 0
    let mutable seen = 0
    let mutable ending = Finished
    let mutable diverging = false
    let mutable interrupted = false
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

    let one =
        Action(fun () ->
            let x, y = take trainer.Steps
            let n = x.Shape[0]
            let loss = trainer.Step(x, y)

            if Double.IsFinite loss then
                seen <- seen + n
                step <- step + 1
                total <- total + float n * loss
            else
                diverging <- true)

    let diagnose epoch =
        let failed = trainer.Steps
        let place = $"epoch {epoch + 1}, step {step + 1}"
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

    let watchForBest epoch (result: Epoch) =
        match plan.Patience with
        | Some patience when ending = Finished ->
            let watched = result.ValidationLoss |> Option.defaultValue result.Loss

            if watched < best then
                best <- watched
                bestAt <- epoch
                kept <- Some(trainer.Parameters, trainer.State)
            elif epoch - bestAt >= patience then
                ending <- EarlyStopped
        | _ -> ()

    let runEpoch (observer: Observer) epoch =
        total <- 0.0
        trainer.Tally.Clear()
        seen <- 0
        step <- 0
        let start = clock.Elapsed
        clock.Start()

        while step < steps && ending = Finished && not diverging do
            Memory.Tidy one
            observer.Step step (total / float (max 1 seen))

            if interrupted then
                ending <- Interrupted

        clock.Stop()

        // The search for what went wrong takes steps, too.
        let metrics = trainer.Tally.Values

        if diverging then
            ending <- Diverged(diagnose epoch)

        if seen > 0 then
            let validation =
                match plan.Validation with
                | Some data when ending = Finished -> Some(trainer.Evaluate(data, 250))
                | _ -> None

            let result =
                {
                    Number = epoch + 1
                    Loss = total / float seen
                    Metrics = metrics
                    ValidationLoss = validation |> Option.map fst
                    ValidationMetrics = validation |> Option.map snd |> Option.defaultValue []
                    Seconds = (clock.Elapsed - start).TotalSeconds
                    Steps = step
                    Examples = seen
                }

            epochs.Add result
            observer.Epoch result
            plan.Observe result
            watchForBest epoch result

    member _.Run() =
        let interrupt =
            ConsoleCancelEventHandler(fun _ event ->
                // The second time the user means it.
                if not interrupted then
                    event.Cancel <- true
                    interrupted <- true)

        Console.CancelKeyPress.AddHandler interrupt

        try
            plan.Progress plan.Epochs steps data.Count (fun observer ->
                for epoch in 0 .. plan.Epochs - 1 do
                    if ending = Finished then
                        runEpoch observer epoch)
        finally
            Console.CancelKeyPress.RemoveHandler interrupt

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
            StepSeconds = clock.Elapsed.TotalSeconds
        }

/// Training as a fold over batches.
module Train =
    let private plan =
        {
            Epochs = 10
            BatchSize = 32
            Metrics = []
            Validation = None
            Augment = None
            Patience = None
            Progress = Progress.automatic
            Observe = ignore
        }

    let private inputOf (network: Layer) (data: Dataset) =
        match network.Input with
        | Some shape -> shape
        | None ->
            match data.Inputs with
            | Bytes rows -> rows.Row
            | Values x -> Shape.Of(x.Shape.Sizes.Slice 1)
            | Labels _ -> Shape.Scalar

    /// The mean loss and the metrics of a trained network on a dataset.
    let evaluate (loss: Tensor -> Tensor -> Tensor) (metrics: Metric list) (run: Run) (data: Dataset) =
        let counted = Tally metrics
        let total = ref 0.0

        for from in 0..250 .. data.Count - 1 do
            Memory.Tidy(
                Action(fun () ->
                    let n = min 250 (data.Count - from)
                    let x, y = Dataset.take data data.Rows from n
                    let prediction = run.Predict x
                    total.Value <- total.Value + float n * (loss prediction y).ToDouble()
                    counted.Add(prediction, y))
            )

        total.Value / float data.Count, counted.Values

    /// Trains a network: shuffles, takes steps, measures, shows progress. Shape mistakes are refused before any data is read, Ctrl-C ends after the
    /// step, a loss that is not finite ends with the name of the operation and layer that made it. The same key gives the same bits on any number of threads.
    let fit
        (optimiser: Optimiser)
        (loss: Tensor -> Tensor -> Tensor)
        (options: TrainPlan -> TrainPlan)
        (network: Layer)
        (data: Dataset)
        (key: Key)
        : Run =
        let plan = options plan

        if data.Count = 0 then
            invalidArg (nameof data) "fit: at least one example is needed; got an empty dataset. Give more data."

        let trainer =
            Trainer(optimiser, loss, network, key.Fold "network", plan.Metrics, inputOf network data)

        let session = Session(plan, trainer, data, key)
        session.Run()
        session.Result network
