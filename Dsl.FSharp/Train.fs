namespace Functional

open System

/// Training as a fold over batches.
module Train =
    let private plan =
        {
            Epochs = 10
            BatchSize = 32
            Parts = 1
            Average = None
            Metrics = []
            Validation = None
            Augment = None
            Patience = None
            KeepsBest = false
            Watched = fun epoch -> epoch.ValidationLoss |> Option.defaultValue epoch.Loss
            Checkpoint = None
            CheckpointEvery = None
            Resumes = false
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
    /// step, a loss that is not finite ends with the name of the operation and layer that made it. The same key gives the same bits on any number of threads,
    /// and in any number of sittings: `saveTo "run.safetensors" >> resume` goes on after a Ctrl-C or a kill.
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

        if plan.Checkpoint.IsNone && (plan.Resumes || plan.CheckpointEvery.IsSome) then
            let word = if plan.Resumes then "resume" else "saveEvery"

            invalidArg (nameof options) $"fit: {word} needs a file; got none. Add saveTo \"run.safetensors\"."

        let trainer =
            Trainer(
                optimiser,
                loss,
                network,
                key.Fold "network",
                plan.Metrics,
                inputOf network data,
                parts = plan.Parts,
                ?average = plan.Average
            )

        let session = Session(plan, optimiser.Name, trainer, data, key)
        session.Run()
        session.Result network
