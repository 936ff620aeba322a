namespace Functional

/// What one side of a dataset – inputs or targets – is kept as.
type Column =
    /// Bytes that become float32 when a batch is needed.
    | Bytes of ByteRows
    /// One class per example; a batch of them is int64.
    | Labels of byte[]
    /// Tensors whose first axis counts the examples.
    | Values of Tensor

/// Examples in memory: inputs, targets, and which of them in which order. A dataset is a value; shuffling and splitting copy numbers of rows, not data.
[<CustomEquality; NoComparison>]
type Dataset =
    {
        Inputs: Column
        Targets: Column
        Rows: int[]
        /// Applied to every batch.
        Change: (Tensor -> Tensor -> Tensor * Tensor) option
    }

    override data.Equals other = obj.ReferenceEquals(data, other)
    override data.GetHashCode() = data.Rows.Length

    /// The number of examples.
    member data.Count = data.Rows.Length

module Column =
    let count =
        function
        | Bytes rows -> rows.Count
        | Labels labels -> labels.Length
        | Values values -> values.Shape[0]

    /// The examples rows[from], …, rows[from + count − 1] as one tensor.
    let take (rows: int[]) from count =
        function
        | Bytes bytes -> bytes.Take(rows, from, count)
        | Labels labels ->
            let classes = Array.init count (fun i -> int64 labels[rows[from + i]])
            Tensor.From(classes)
        | Values values ->
            let index = Tensor.From(Array.sub rows from count)
            values.Take(index, 0)

/// Examples for training.
module Dataset =
    let private make inputs targets =
        let n = Column.count inputs

        if Column.count targets <> n then
            invalidArg
                (nameof targets)
                $"dataset: every input needs a target; got {n} inputs and {Column.count targets} targets. Give as many of both."

        {
            Inputs = inputs
            Targets = targets
            Rows = Array.init n id
            Change = None
        }

    /// Inputs and targets whose first axis counts the examples.
    let ofTensors (inputs: Tensor) (targets: Tensor) =
        for x in [ inputs; targets ] do
            if x.Rank = 0 then
                invalidArg
                    (nameof inputs)
                    "dataset: the first axis counts the examples; got a scalar. Give tensors of at least one axis."

        make (Values inputs) (Values targets)

    /// Images of a shape as bytes, one after the other, with one class per image. Values are 0 … 255 until they are scaled.
    let ofBytes (shape: int list) (images: byte[]) (labels: byte[]) =
        make (Bytes(ByteRows(images, Shape.Of shape))) (Labels labels)

    /// The number of examples.
    let count (data: Dataset) = data.Count

    /// Every batch changed by a function of inputs and targets.
    let map change (data: Dataset) =
        let change =
            match data.Change with
            | None -> change
            | Some earlier -> fun x y -> earlier x y ||> change

        { data with Change = Some change }

    /// Every input v as v·scale + shift.
    let scale (scale: float) (shift: float) (data: Dataset) =
        match data.Inputs, data.Change with
        | Bytes rows, None ->
            { data with
                Inputs = Bytes(rows.Scaled(scale, shift))
            }
        | _ -> data |> map (fun x y -> x * scale + shift, y)

    /// Every input v as (v − mean) / deviation.
    let normalise (mean: float) (deviation: float) (data: Dataset) =
        scale (1.0 / deviation) (-mean / deviation) data

    let private slice from count (data: Dataset) =
        { data with
            Rows = Array.sub data.Rows from count
        }

    /// The first n examples, and the others.
    let splitAt n (data: Dataset) =
        if n < 0 || n > data.Count then
            invalidArg
                (nameof n)
                $"split: the first part must lie in the data; got {n} of {data.Count} examples. Give less."

        slice 0 n data, slice n (data.Count - n) data

    /// The first n examples, or all if there are fewer.
    let truncate n (data: Dataset) = slice 0 (min n data.Count) data

    /// The same examples in random order.
    let shuffle (key: Key) (data: Dataset) =
        let order = key.Permutation(data.Count).ToArray<int64>()

        { data with
            Rows = order |> Array.map (fun i -> data.Rows[int i])
        }

    /// A share of the examples drawn at random, and the others.
    let split (share: float) (key: Key) (data: Dataset) =
        if not (share >= 0.0 && share <= 1.0) then
            invalidArg (nameof share) $"split: the share must be in [0, 1]; got {share}. Give the first part's share."

        shuffle key data |> splitAt (int (round (share * float data.Count)))

    /// The examples rows[from], …, rows[from + count − 1] as a batch; rows are numbers such as those in `data.Rows`.
    let take (data: Dataset) rows from count =
        let x = Column.take rows from count data.Inputs
        let y = Column.take rows from count data.Targets

        match data.Change with
        | None -> x, y
        | Some change -> change x y

    /// Batches of inputs and targets in order; the last one may be smaller.
    let batch size (data: Dataset) =
        if size < 1 then
            invalidArg (nameof size) $"batch: at least one example is needed; got {size}. Give a positive number."

        seq { for from in 0..size .. data.Count - 1 -> take data data.Rows from (min size (data.Count - from)) }

    /// Mean and deviation of each feature. A feature that never varies has deviation 1.
    let private statistics (data: Dataset) =
        match data.Inputs, data.Change with
        | Bytes rows, None ->
            let struct (mean, deviation) = rows.Statistics data.Rows
            Tensor.From mean, Tensor.From deviation
        | _ ->
            let x, _ = take data data.Rows 0 data.Count
            let x = x.Flatten(1).Cast DType.Float64
            x.Mean(0), x.Std(0)

    /// Both parts with each feature's mean subtracted and divided by its deviation, the statistics being those of the first part alone.
    let standardise (training: Dataset, other: Dataset) =
        let mean, deviation = statistics training
        let mean = mean.ToArray<float>()

        let deviation =
            deviation.ToArray<float>() |> Array.map (fun d -> if d > 0.0 then d else 1.0)

        let apply (data: Dataset) =
            match data.Inputs, data.Change with
            | Bytes rows, None ->
                { data with
                    Inputs = Bytes(rows.Standardised(mean, deviation))
                }
            | _ ->
                data
                |> map (fun x y ->
                    let sizes = x.Shape.ToArray()[1..]

                    let like (values: float[]) =
                        (Tensor.From values).Reshape(sizes).Cast x.DType

                    (x - like mean) / like deviation, y)

        apply training, apply other
