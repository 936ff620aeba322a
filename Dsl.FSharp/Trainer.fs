namespace Functional

open System
open Functional.Autodiff

/// Training step by step, on copies of the parameters and moments that belong to it alone and are updated in place:
/// a steady step takes no new tensor memory. `Train.fit` is a loop around it.
///
/// With `parts` above 1 each batch goes through in so many parts, one after the other, whose gradients add up to that of the whole: memory for a part
/// serves a batch of any size. With `average` the parameters to use are the mean of those after every step, the latest counting most:
/// the weight of a step falls by this factor with each further one (Polyak and Juditsky, 1992, with decaying weights).
[<Sealed>]
type Trainer
    (
        optimiser: Optimiser,
        loss: Tensor -> Tensor -> Tensor,
        network: Layer,
        key: Key,
        metrics: Metric list,
        input: Shape,
        ?parts: int,
        ?average: float
    ) =
    let parts = defaultArg parts 1

    do
        if parts < 1 then
            invalidArg (nameof parts) $"trainer: a batch has at least 1 part; got {parts}. Give a positive number."

        match average with
        | Some share when not (share >= 0.0 && share < 1.0) ->
            invalidArg
                (nameof average)
                $"trainer: the average's factor must lie in [0, 1); got {share}. Give 0.99, say."
        | _ -> ()

    let copyOf (tensor: Tensor) =
        let copy = Tensor.Allocate(tensor.DType, tensor.Shape)
        Pointwise.Copy(tensor, copy)
        copy

    let copyInto (source: Tensor[]) (destination: Tensor[]) =
        for i in 0 .. source.Length - 1 do
            if not (obj.ReferenceEquals(source[i], destination[i])) then
                Pointwise.Copy(source[i], destination[i])

    let parameterTree, stateTree = Layer.initFor input key network
    let all = parameterTree |> Tree.leaves |> Array.map copyOf
    let state = stateTree |> Tree.leaves |> Array.map copyOf

    let declared = network.Parameters input |> Tree.leaves
    let learns = declared |> Array.map _.IsTrained

    let only (values: 'T[]) =
        [|
            for i in 0 .. all.Length - 1 do
                if learns[i] then
                    values[i]
        |]

    let trained = only all
    let paths = Tree.named parameterTree |> List.map fst |> Array.ofList
    let optimiser = Optim.along (only paths) optimiser

    let regularisers =
        [|
            for i in 0 .. all.Length - 1 do
                if learns[i] then
                    for regulariser in declared[i].Regularisers do
                        i, regulariser
        |]

    let averaged =
        match average with
        | Some _ -> Array.map copyOf trained
        | None -> [||]

    // Gradients of the parts so far, and the state before the first part.
    let gathered = if parts > 1 then Array.map copyOf trained else [||]
    let stateBefore = if parts > 1 then Array.map copyOf state else [||]

    let moments = optimiser.Init trained |> Array.map (Array.map copyOf)
    let stateNow = Tree.rebuild stateTree state
    let tally = Tally metrics
    let mutable steps = 0

    // The last parameters known to give a finite loss, with what is needed to go on from them, and the step they belong to.
    let mutable savedAt = -1
    let savedTrained = Array.map copyOf trained
    let savedMoments = moments |> Array.map (Array.map copyOf)
    let savedState = Array.map copyOf state
    let savedAverage = Array.map copyOf averaged

    // What the differentiated function closes over; one delegate serves every step.
    let mutable x = Unchecked.defaultof<Tensor>
    let mutable y = Unchecked.defaultof<Tensor>
    let mutable part = 0

    let stepKey () =
        let key = key.Fold steps
        if parts = 1 then key else key.Fold part

    let forward (leaves: Tensor[]) =
        let leaves =
            if leaves.Length = all.Length then
                leaves
            else
                let mutable next = -1

                Array.init all.Length (fun i ->
                    if learns[i] then
                        next <- next + 1
                        leaves[next]
                    else
                        all[i])

        let prediction, newState =
            network.Apply (Mode.Train(stepKey ())) (Tree.rebuild parameterTree leaves) stateNow x

        let loss = loss prediction y

        let penalised =
            (loss, regularisers)
            ||> Array.fold (fun total (i, regulariser) -> total + regulariser leaves[i])

        struct (penalised, loss, prediction, newState)

    let differentiated =
        Func<Tensor[], struct (Tensor * Tensor[])>(fun leaves ->
            let struct (penalised, loss, prediction, newState) = forward leaves

            struct (penalised,
                    [|
                        prediction
                        if regularisers.Length > 0 then
                            loss
                        if state.Length > 0 then
                            yield! Tree.leaves newState
                    |]))

    /// The mean moves by the share that the latest parameters have in it; the first are the mean of themselves.
    let updateAverage (share: float) =
        if steps = 1 then
            copyInto trained averaged
        else
            let weight = (1.0 - share) / (1.0 - Math.Pow(share, float steps))

            Memory.Tidy(
                Action(fun () ->
                    let differences = Array.map2 (fun (mean: Tensor) p -> mean - p) averaged trained
                    Steps.Sgd(averaged, differences, weight, 0.0))
            )

    let save (stateThen: Tensor[]) =
        copyInto trained savedTrained
        Array.iter2 copyInto moments savedMoments
        copyInto stateThen savedState
        copyInto averaged savedAverage
        savedAt <- steps

    let restore () =
        copyInto savedTrained trained
        Array.iter2 copyInto savedMoments moments
        copyInto savedState state
        copyInto savedAverage averaged
        steps <- savedAt

    let mutable lossNow = nan

    /// The gradients of what x and y hold, and the state after it.
    let differentiate () =
        let struct (value, gradients, auxiliary) =
            Diff.ValueAndGrad(differentiated, trained)

        let total = value.ToDouble()
        let isPenalised = regularisers.Length > 0

        lossNow <-
            if isPenalised && Double.IsFinite total then
                auxiliary[1].ToDouble()
            else
                total

        if Double.IsFinite lossNow then
            tally.Add(auxiliary[0], y)

        struct (gradients, auxiliary[(if isPenalised then 2 else 1) ..])

    /// The update, once the loss is known to be finite.
    let advance stateThen gradients =
        if steps % 256 = 0 then
            save stateThen

        optimiser.Take steps gradients trained moments
        steps <- steps + 1
        average |> Option.iter updateAverage

    let run =
        Action(fun () ->
            let struct (gradients, newState) = differentiate ()

            if Double.IsFinite lossNow then
                advance state gradients
                copyInto newState state)

    /// The examples of a part, and their share of the batch.
    let choosePart (inputs: Tensor) (targets: Tensor) k =
        let n = inputs.Shape[0]

        let from, stop =
            int (int64 k * int64 n / int64 parts), int (int64 (k + 1) * int64 n / int64 parts)

        part <- k
        x <- inputs.Slice(0, from, stop)
        y <- targets.Slice(0, from, stop)
        float (stop - from) / float n

    let runParts (inputs: Tensor) (targets: Tensor) =
        copyInto state stateBefore
        let mutable total = 0.0
        let mutable first = true

        for k in 0 .. parts - 1 do
            if Double.IsFinite total then
                Memory.Tidy(
                    Action(fun () ->
                        let share = choosePart inputs targets k

                        if share > 0.0 then
                            let struct (gradients, newState) = differentiate ()
                            copyInto newState state
                            total <- total + share * lossNow

                            for i in 0 .. gathered.Length - 1 do
                                let gradient = share * gradients[i]

                                if first then
                                    Pointwise.Copy(gradient, gathered[i])
                                else
                                    Pointwise.Accumulate(gradient, gathered[i])

                            first <- false)
                )

        lossNow <- total

        if Double.IsFinite total then
            advance stateBefore gathered
        else
            copyInto stateBefore state

    /// The parameters to use: with an average, that.
    let useful () =
        if averaged.Length = 0 then
            all
        else
            let mutable next = -1

            Array.init all.Length (fun i ->
                if learns[i] then
                    next <- next + 1
                    averaged[next]
                else
                    all[i])

    // What a checkpoint holds: what it must fit, prefixes, and tensors by name.
    let stored: (string * (string * (string * Tensor) list) list) list =
        let named paths tensors =
            List.zip (List.ofArray paths) (List.ofArray tensors)

        [
            "network", [ "parameters.", named paths all; "state.", Tree.named stateNow ]
            "optimiser",
            [
                "moments.",
                [
                    for k in 0 .. moments.Length - 1 do
                        for path, moment in named (only paths) moments[k] do
                            $"{k}.{path}", moment
                ]
            ]
            "plan",
            [
                "average.",
                (if averaged.Length = 0 then
                     []
                 else
                     named (only paths) averaged)
            ]
        ]

    let terms = [ "key", key.Digits; "optimiser", optimiser.Name ]

    /// Forward, loss, backward and update for one batch. The loss and the metrics are those before the update.
    /// A loss that is not finite changes nothing.
    member _.Step(inputs: Tensor, targets: Tensor) : float =
        if parts = 1 then
            x <- inputs
            y <- targets
            Memory.Tidy run
        else
            Memory.Tidy(Action(fun () -> runParts inputs targets))

        lossNow

    /// The steps taken.
    member _.Steps = steps

    /// The metrics of the steps since it was cleared.
    member _.Tally = tally

    /// A copy of the parameters as they are, or of their average where one was asked for.
    member _.Parameters = Tree.rebuild parameterTree (Array.map copyOf (useful ()))

    /// A copy of the state as it is.
    member _.State = Tree.rebuild stateTree (Array.map copyOf state)

    /// All that training has changed, by name; with the number of steps it is all that the next step needs.
    member internal _.Tensors: (string * Tensor) list =
        [
            for _, groups in stored do
                for prefix, tensors in groups do
                    for name, tensor in tensors do
                        prefix + name, tensor
        ]

    /// Whether all parameters are finite: of others, training cannot go on.
    member internal _.IsFinite =
        trained
        |> Array.forall (fun p ->
            // 0 of finite numbers, NaN of others.
            Memory.Tidy(Func<Tensor>(fun () -> (p - p).Sum())).ToDouble() = 0.0)

    /// Refuses a checkpoint of another network.
    member internal _.CheckNetwork(checkpoint: CheckpointContent) =
        let what, groups = stored.Head
        checkpoint |> Checkpoint.refuseOther what groups

    /// Goes on from the tensors of a checkpoint.
    member internal _.Restore(checkpoint: CheckpointContent, step: int) =
        for what, groups in stored do
            checkpoint |> Checkpoint.refuseOther what groups

        for _, groups in stored do
            for prefix, tensors in groups do
                for name, tensor in tensors do
                    Pointwise.Copy(Checkpoint.tensor (prefix + name) checkpoint, tensor)

        steps <- step
        save state

    /// Writes parameters, state, moments, average and the number of steps into a safetensors file, whole or not at all.
    member trainer.Save(path: string) =
        Checkpoint.write path trainer.Tensors [ yield! terms; "step", string steps ]

    /// Goes on from such a file: the steps that follow give the same bits as if there had been no break. What counts along, such as the tally, begins anew.
    member trainer.Load(path: string) =
        let checkpoint = Checkpoint.read path
        trainer.CheckNetwork checkpoint
        checkpoint |> Checkpoint.refuseChange terms
        trainer.Restore(checkpoint, Checkpoint.count "step" checkpoint)
        tally.Clear()

    /// The mean loss and the metrics of a dataset in inference, in batches.
    member _.Evaluate(data: Dataset, batchSize: int) : float * (string * float) list =
        let parameters = Tree.rebuild parameterTree (useful ())
        let counted = Tally metrics
        let total = ref 0.0

        for from in 0..batchSize .. data.Count - 1 do
            Memory.Tidy(
                Action(fun () ->
                    let n = min batchSize (data.Count - from)
                    let x, y = Dataset.take data data.Rows from n
                    let prediction, _ = network.Apply Mode.Infer parameters stateNow x
                    total.Value <- total.Value + float n * (loss prediction y).ToDouble()
                    counted.Add(prediction, y))
            )

        total.Value / float data.Count, counted.Values

    /// Goes back to the last parameters whose loss was finite and tells what went wrong after them: the error names the
    /// first operation and layer whose result was not finite. `batch` gives the examples of a step once more.
    member trainer.Diagnose(batch: int -> Tensor * Tensor) : NonFiniteException option =
        let failed = steps

        let watchPart inputs targets (f: Tensor[] -> Tensor[]) k =
            try
                if choosePart inputs targets k > 0.0 then
                    let inputs = x

                    // The inputs are watched, too: a layer may spoil them before any parameter is met.
                    let all (watched: Tensor[]) =
                        x <- Array.last watched
                        f watched[.. watched.Length - 2]

                    Memory.Tidy(
                        Action(fun () -> Debug.Finite(Func<_, _> all, Array.append trained [| inputs |]) |> ignore)
                    )

                None
            with :? NonFiniteException as error ->
                Some error

        let watch step f =
            let inputs, targets = batch step
            List.tryPick (watchPart inputs targets f) [ 0 .. parts - 1 ]

        let value (leaves: Tensor[]) =
            let struct (value, _, _, _) = forward leaves
            [| value |]

        if savedAt < 0 then
            watch failed value
        else
            restore ()

            // Pure steps lead to the step before the failure when they are taken again.
            let mutable lossAgain = 0.0

            while steps < failed - 1 && Double.IsFinite lossAgain do
                lossAgain <- trainer.Step(batch steps)

            save state

            let gradient (leaves: Tensor[]) =
                let struct (_, gradients) =
                    Diff.ValueAndGrad((fun leaves -> value(leaves)[0]), leaves)

                gradients

            let found =
                match watch steps gradient with
                | Some error -> Some error
                | None ->
                    trainer.Step(batch steps) |> ignore
                    watch failed value

            restore ()
            found
