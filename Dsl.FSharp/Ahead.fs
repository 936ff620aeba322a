namespace Functional

open System
open System.Diagnostics
open System.Threading.Tasks
open Functional.Kernels

/// Batches one step ahead: where making one takes long, a task makes the next while the step with this one runs. What is made is a function of the
/// step alone, so that who makes it and when changes no bit.
type internal Ahead(make: int -> Tensor * Tensor) =
    // A hand-over from thread to thread costs some ten microseconds, on a busy machine hundreds: gathering rows is cheaper than that.
    let worthATask = TimeSpan.FromMicroseconds 200.0

    // Scopes of the thread that trains, in which the data may have been made.
    let depth =
        match Scope.Current with
        | null -> 0
        | scope -> scope.Depth

    // The shortest counts: the first batches wait for the compiler, others for a turn on the processor.
    let mutable shortest = TimeSpan.MaxValue
    let mutable next: (int * Task<Parcel>) option = None

    let timed step =
        let start = Stopwatch.GetTimestamp()
        let batch = make step
        shortest <- min shortest (Stopwatch.GetElapsedTime start)
        batch

    let pack step () =
        let before = Workers.IsAside

        try
            // The workers are the step's.
            Workers.IsAside <- true

            Parcel.Pack(
                (fun () ->
                    let x, y = timed step
                    [| x; y |]),
                depth
            )
        finally
            Workers.IsAside <- before

    /// The batch of a step, in the memory of the current scope. If another step follows, its batch may be begun. What goes wrong while a batch
    /// is made is raised when it is taken.
    member _.Take(step, isFollowed) =
        let begun = next
        next <- None

        let batch =
            match begun with
            | Some(ready, task) when ready = step ->
                let tensors = task.GetAwaiter().GetResult().Open()
                tensors[0], tensors[1]
            | _ -> timed step

        if isFollowed && Threads.Count > 1 && shortest >= worthATask then
            next <- Some(step + 1, Task.Run<Parcel>(Func<Parcel>(pack (step + 1))))

        batch

    /// Waits for what was begun and forgets it, errors included.
    member _.Drop() =
        match next with
        | None -> ()
        | Some(_, task) ->
            next <- None
            Task.WaitAny task |> ignore
            // An error that was looked at is no unobserved one.
            task.Exception |> ignore
