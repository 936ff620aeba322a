namespace Functional

open System
open Functional.Autodiff

/// Training step by step, on copies of the parameters and moments that belong to it alone and are updated in place:
/// a steady step takes no new tensor memory. `Train.fit` is a loop around it.
[<Sealed>]
type Trainer
    (
        optimiser: Optimiser,
        loss: Tensor -> Tensor -> Tensor,
        network: Layer,
        key: Key,
        metrics: Metric list,
        input: Shape
    ) =

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

    let learns = network.Parameters input |> Tree.leaves |> Array.map _.IsTrained

    let trained =
        [|
            for i in 0 .. all.Length - 1 do
                if learns[i] then
                    all[i]
        |]

    let moments = optimiser.Init trained |> Array.map (Array.map copyOf)
    let stateNow = Tree.rebuild stateTree state
    let tally = Tally metrics
    let mutable steps = 0

    // The last parameters known to give a finite loss, with what is needed to go on from them, and the step they belong to.
    let mutable savedAt = -1
    let savedTrained = Array.map copyOf trained
    let savedMoments = moments |> Array.map (Array.map copyOf)
    let savedState = Array.map copyOf state

    // What the differentiated function closes over; one delegate serves every step.
    let mutable x = Unchecked.defaultof<Tensor>
    let mutable y = Unchecked.defaultof<Tensor>

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
            network.Apply (Mode.Train(key.Fold steps)) (Tree.rebuild parameterTree leaves) stateNow x

        loss prediction y, prediction, newState

    let differentiated =
        Func<Tensor[], struct (Tensor * Tensor[])>(fun leaves ->
            let value, prediction, newState = forward leaves

            struct (value,
                    (if state.Length = 0 then
                         [| prediction |]
                     else
                         Array.append [| prediction |] (Tree.leaves newState))))

    let update gradients =
        match optimiser.InPlace with
        | Some step -> step steps gradients trained moments
        | None ->
            let next, nextMoments = optimiser.Update steps gradients trained moments
            copyInto next trained

            for i in 0 .. moments.Length - 1 do
                copyInto nextMoments[i] moments[i]

    let save () =
        copyInto trained savedTrained
        Array.iter2 copyInto moments savedMoments
        copyInto state savedState
        savedAt <- steps

    let restore () =
        copyInto savedTrained trained
        Array.iter2 copyInto savedMoments moments
        copyInto savedState state
        steps <- savedAt

    let mutable lossNow = nan

    let run =
        Action(fun () ->
            let struct (value, gradients, auxiliary) =
                Diff.ValueAndGrad(differentiated, trained)

            lossNow <- value.ToDouble()

            if Double.IsFinite lossNow then
                tally.Add(auxiliary[0], y)

                if steps % 256 = 0 then
                    save ()

                update gradients

                if state.Length > 0 then
                    copyInto auxiliary[1..] state

                steps <- steps + 1)

    /// Forward, loss, backward and update for one batch. The loss and the metrics are those before the update.
    /// A loss that is not finite changes nothing.
    member _.Step(inputs: Tensor, targets: Tensor) : float =
        x <- inputs
        y <- targets
        Memory.Tidy run
        lossNow

    /// The steps taken.
    member _.Steps = steps

    /// The metrics of the steps since it was cleared.
    member _.Tally = tally

    /// A copy of the parameters as they are.
    member _.Parameters = Tree.rebuild parameterTree (Array.map copyOf all)

    /// A copy of the state as it is.
    member _.State = Tree.rebuild stateTree (Array.map copyOf state)

    /// The mean loss and the metrics of a dataset in inference, in batches.
    member _.Evaluate(data: Dataset, batchSize: int) : float * (string * float) list =
        let parameters = Tree.rebuild parameterTree all
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

        let watch step (f: Tensor[] -> Tensor[]) =
            try
                let inputs, targets = batch step
                y <- targets

                // The inputs are watched, too: a layer may spoil them before any parameter is met.
                let all (watched: Tensor[]) =
                    x <- Array.last watched
                    f watched[.. watched.Length - 2]

                Memory.Tidy(Action(fun () -> Debug.Finite(Func<_, _> all, Array.append trained [| inputs |]) |> ignore))
                None
            with :? NonFiniteException as error ->
                Some error

        let value (leaves: Tensor[]) =
            let value, _, _ = forward leaves
            [| value |]

        if savedAt < 0 then
            watch failed value
        else
            restore ()

            // Pure steps lead to the step before the failure when they are taken again.
            let mutable lossAgain = 0.0

            while steps < failed - 1 && Double.IsFinite lossAgain do
                lossAgain <- trainer.Step(batch steps)

            save ()

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
