namespace Functional

/// How to train: changed by the functions of `TrainOptions`, which compose with `>>`.
type TrainPlan =
    {
        Epochs: int
        BatchSize: int
        /// Parts in which a batch goes through.
        Parts: int
        /// The factor of the parameters' average.
        Average: float option
        Metrics: Metric list
        Validation: Dataset option
        /// Changes every batch of the training data.
        Augment: Augmentation option
        /// Stop after so many epochs that are no better.
        Patience: int option
        /// Whether the parameters of the best epoch are those of the run.
        KeepsBest: bool
        /// What makes an epoch better: a smaller number.
        Watched: Epoch -> float
        /// Where the run is written as it goes.
        Checkpoint: string option
        /// Steps between checkpoints, beside those after each epoch.
        CheckpointEvery: int option
        /// Whether to go on from the checkpoint.
        Resumes: bool
        Progress: Progress
        /// Called once after each epoch with its result.
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

    /// Takes each batch in so many parts, one after the other, and steps by the sum of their gradients: the step of the whole batch in
    /// the memory of a part. Layers that look across a batch, such as batch norm, see a part.
    let accumulate parts plan =
        { plan with
            TrainPlan.Parts = positive "accumulate" parts
        }

    /// Keeps an average of the parameters beside them, in which the weight of a step falls by this factor with each further one: 0.99 averages
    /// over about a hundred steps. Validation, the best epoch and the result use the average (Polyak and Juditsky, 1992).
    let average factor plan =
        if not (factor >= 0.0 && factor < 1.0) then
            invalidArg (nameof factor) $"average: the factor must lie in [0, 1); got {factor}. Give 0.99, say."

        { plan with Average = Some factor }

    /// Metrics beside the loss.
    let report metrics plan =
        { plan with
            TrainPlan.Metrics = metrics
        }

    /// Measures loss and metrics on other data after each epoch.
    let validate data plan = { plan with Validation = Some data }

    /// Changes every batch of the training data, each with a key of its own. What is reported of them is measured on changed data.
    /// A change that takes long is made on another thread while the step before it runs; one after the other, and to the same bits.
    let augment change plan = { plan with Augment = Some change }

    /// Stops after so many epochs that are no better than the best, and keeps the parameters of the best. What is better is a matter of `watch`.
    let earlyStop patience plan =
        { plan with
            TrainPlan.Patience = Some(positive "earlyStop" patience)
            KeepsBest = true
        }

    /// Gives the parameters of the best epoch instead of the last. What is better is a matter of `watch`.
    let keepBest plan = { plan with KeepsBest = true }

    /// What becomes small in the best epoch, for `earlyStop` and `keepBest`: `watch (fun epoch -> -epoch.Validation "accuracy")`. Unless told
    /// it is the validation loss, or the loss where nothing is validated.
    let watch (value: Epoch -> float) plan = { plan with Watched = value }

    /// Writes all that the run is made of into one safetensors file, before the first step, after each epoch and on Ctrl-C. The file is whole at any
    /// instant: a run that was killed goes on from it with `resume` and gives the same bits as one that was not.
    let saveTo path plan = { plan with Checkpoint = Some path }

    /// Writes the checkpoint after each so many steps, too.
    let saveEvery steps plan =
        { plan with
            CheckpointEvery = Some(positive "saveEvery" steps)
        }

    /// Goes on from the checkpoint where there is one, and begins anew where there is none. `observe` is told of the epochs before, so that what
    /// it gathers is complete.
    let resume plan = { plan with Resumes = true }

    /// How progress is shown: `Progress.automatic` unless told.
    let show progress plan = { plan with Progress = progress }

    /// Calls a function after each epoch.
    let observe f plan = { plan with Observe = f }

    /// The share of examples whose largest output is that of their class.
    let accuracy = Metric.accuracy
