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

    /// A layer that cannot train on one example, such as a batch norm, says so before training, and not at the end of its first epoch.
    let private checkLastBatch (network: Layer) (input: Shape) (data: Dataset) size (key: Key) =
        if data.Count % size = 1 % size then
            let shapes = Tree.map (fun parameter -> Tensor.Meta(DType.Float32, parameter.Shape))
            let one = Tensor.Meta(DType.Float32, Shape.Of(Seq.append [ 1 ] input))

            try
                network.Apply (Mode.Train key) (shapes (network.Parameters input)) (shapes (network.State input)) one
                |> ignore
            with
            | :? ShapeException as error ->
                raise (
                    ShapeException
                        $"fit: {data.Count} examples in batches of {size} leave a batch of one. {error.Message} Choose another batchSize, or leave an example out."
                )
            // A layer that looks at values cannot be asked without them.
            | :? InvalidOperationException -> ()

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

        let input = inputOf network data
        checkLastBatch network input data plan.BatchSize key

        let trainer =
            Trainer(
                optimiser,
                loss,
                network,
                key.Fold "network",
                plan.Metrics,
                input,
                parts = plan.Parts,
                ?average = plan.Average
            )

        let session = Session(plan, optimiser.Name, trainer, data, key)
        session.Run()
        session.Result network
