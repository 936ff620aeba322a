/// A small run of training in several processes, each of which is ended by force: together they must give what one gives.
module Functional.Tests.Sittings

open System
open System.ComponentModel
open System.Diagnostics
open System.IO
open System.Reflection
open System.Runtime.InteropServices
open System.Security.Cryptography
open Functional
open type Functional.Layers

let private key = Key.OfSeed 11L

/// Numbers whose class is the sign of their product.
let private data n (key: Key) =
    let x = key.Normal(Shape.Of [ n; 4 ])

    let y =
        x.Prod(1).ToArray<float32>() |> Array.map (fun p -> if p > 0.0f then 1L else 0L)

    Dataset.ofTensors x (Tensor.From y)

/// Layers that keep state, draw at random, stay as they are, or carry a penalty.
let private network =
    input [ 4 ]
    >=> dense 64
    >=> batchNorm ()
    >=> relu
    >=> dropout 0.1
    >=> frozen (named "still" (dense 64 >=> tanh))
    >=> withRegulariser "weight" (Regulariser.l2 1e-3) (dense 2)

let private optimiser =
    Optim.byPath
        [ "*bias", Optim.momentum 0.01 ]
        (Optim.chain
            [
                Clip.globalNorm 1.0
                Optim.adam (Schedule.warmUp 20 (Schedule.cosine 5e-3 200))
            ])

let private noisy = Augment.inputs (fun key x -> x + 0.05 * key.Normal x.Shape)

let epochsOfRun = 4
let stepsOfEpoch = 60

/// The run, with everything that leaves a trace from one step to the next.
let train (options: TrainPlan -> TrainPlan) =
    let plan =
        epochs epochsOfRun
        >> batchSize 16
        >> accumulate 2
        >> average 0.95
        >> augment noisy
        >> report [ accuracy; Metric.f1 2 ]
        >> validate (data 200 (key.Fold "validation"))
        >> keepBest
        >> options

    Train.fit optimiser Loss.crossEntropy plan network (data (16 * stepsOfEpoch - 5) key) key

/// All bits that a run gives, in a few letters: parameters, state, the results of each epoch, and how it ended.
let fingerprint (run: Run) =
    use stream = new MemoryStream()
    use writer = new BinaryWriter(stream)

    for tree in [ run.Parameters; run.State ] do
        for path, tensor in Tree.named tree do
            writer.Write path
            tensor.ToArray<float32>() |> Array.iter writer.Write

    for epoch in run.Epochs do
        writer.Write epoch.Loss
        writer.Write(epoch.ValidationLoss |> Option.defaultValue nan)
        epoch.Metrics @ epoch.ValidationMetrics |> List.iter (snd >> writer.Write)

    writer.Write $"{run.Ending} {run.Steps}"
    writer.Flush()
    Convert.ToHexString(SHA256.HashData(stream.ToArray())).Substring(0, 16)

[<DllImport("libc", EntryPoint = "signal")>]
extern nativeint private setSignal(int signal, nativeint handler)

/// One sitting: goes on from a file, tells each step as it is done, and at the end the fingerprint.
let sit (argv: string[]) =
    match argv with
    | [| path; every; threads |] ->
        // A program that a shell started in the background inherits that Ctrl-C is ignored; this one must hear it.
        setSignal (2, 0n) |> ignore
        Threads.Count <- int threads
        let before = ref 0

        let tell: Progress =
            fun _ _ _ train ->
                train
                    {
                        Step = fun step _ -> Console.Out.WriteLine $"step {before.Value * stepsOfEpoch + step}"
                        Epoch = fun _ -> before.Value <- before.Value + 1
                    }

        try
            let run = train (saveTo path >> saveEvery (int every) >> resume >> show tell)

            Console.Out.WriteLine $"{run.Ending} {fingerprint run}"
            0
        with :? IOException as error ->
            Console.Out.WriteLine error.Message
            1
    | _ ->
        Console.Out.WriteLine
            "sit FILE STEPS THREADS: goes on from a checkpoint that is written after each so many steps"

        2

/// This program, and its first arguments.
let private self =
    let tests = Assembly.GetExecutingAssembly().Location

    match Environment.ProcessPath with
    | null -> "dotnet", [ tests ]
    | host when Path.GetFileNameWithoutExtension host = "dotnet" -> host, [ tests ]
    | own -> own, []

let private launch (program: string) (arguments: string list) =
    let info =
        ProcessStartInfo(program, RedirectStandardOutput = true, UseShellExecute = false)

    arguments |> List.iter info.ArgumentList.Add
    Process.Start info |> nonNull

let private start (path: string) (every: int) (threads: int) =
    launch (fst self) (snd self @ [ "sit"; path; string every; string threads ])

/// A sitting as a line for a shell.
let sitInShell (path: string) (every: int) (threads: int) =
    let words =
        fst self :: snd self |> List.map (fun word -> $"'{word}'") |> String.concat " "

    $"{words} sit {path} {every} {threads}"

/// What a shell prints in a name space of its own, where it may mount; None where there can be none.
let inOwnSpace (script: string) (folder: string) =
    try
        use shell = launch "unshare" [ "-rm"; "sh"; "-c"; script; "sh"; folder ]
        let text = shell.StandardOutput.ReadToEnd()
        shell.WaitForExit()

        match List.ofArray (text.Split('\n', StringSplitOptions.RemoveEmptyEntries)) with
        | [] -> None
        | lines -> Some lines
    with :? Win32Exception ->
        None

/// Where a sitting ended: the steps that it told of, and its last line where it came to an end of its own.
type Outcome =
    {
        First: int option
        Last: int option
        End: string option
    }

[<DllImport("libc", SetLastError = true)>]
extern int private kill(int pid, int signal)

/// Ctrl-C, as the terminal sends it.
let interrupt (child: Process) = kill (child.Id, 2) |> ignore

/// kill -9
let destroy (child: Process) = child.Kill()

/// A sitting that is struck once it has told of so many steps.
let sitting path every threads (steps: int option) (strike: Process -> unit) : Outcome =
    use child = start path every threads
    let told = ResizeArray<int>()
    let mutable ending = None
    let mutable line = child.StandardOutput.ReadLine()

    while not (isNull line) do
        match line with
        | null -> ()
        | line when line.StartsWith "step " ->
            told.Add(int (line.Substring 5))

            if Some told.Count = steps then
                strike child
        | line -> ending <- Some line

        line <- child.StandardOutput.ReadLine()

    child.WaitForExit()

    {
        First = Seq.tryHead told
        Last = Seq.tryLast told
        End = ending
    }

/// A new folder that is gone afterwards.
let inFolder (f: string -> 'R) =
    let folder = Directory.CreateTempSubdirectory("functional-sitting-").FullName

    try
        f folder
    finally
        Directory.Delete(folder, true)

/// What killing at random instants gave.
type Report =
    {
        Kills: int
        /// Kills that left a half-written file behind.
        WhileWriting: int
        /// Steps that were done and had to be done again: none but the one under way may be.
        Lost: int
        Fingerprint: string
    }

/// Kills a run so many times after a random number of steps, then lets it end.
let killed (kills: int) (seed: int) =
    inFolder (fun folder ->
        let random = Random seed
        let path = Path.Combine(folder, "run.safetensors")
        // Half of these on average, so that steps are left for all kills.
        let most = max 2 (epochsOfRun * stepsOfEpoch * 5 / 4 / (kills + 1))
        let mutable landed = 0
        let mutable last = 0
        let mutable lost = 0
        let mutable writing = 0

        let follow (outcome: Outcome) =
            // The step that was told of last may have been killed before it was written.
            outcome.First |> Option.iter (fun first -> lost <- max lost (last - first))

            last <- outcome.Last |> Option.defaultValue last

        for k in 1..kills do
            let outcome = sitting path 1 (1 + k % 2) (Some(random.Next(1, most))) destroy
            follow outcome

            if outcome.End.IsNone then
                landed <- landed + 1

            if Directory.GetFiles(folder).Length > 1 then
                writing <- writing + 1

        let final = sitting path 1 2 None ignore
        follow final

        {
            Kills = landed
            WhileWriting = writing
            Lost = lost
            Fingerprint = final.End |> Option.defaultValue "nothing"
        })

let private wholeOnce =
    lazy
        (let run = train (show Progress.silent)
         $"{run.Ending} {fingerprint run}")

/// The same run in one sitting.
let whole () = wholeOnce.Value

/// `kills 20`: the whole proof, with its figures.
let prove (argv: string[]) =
    let kills =
        match argv with
        | [| n |] -> int n
        | _ -> 20

    let expected = whole ()
    let report = killed kills Environment.TickCount
    Console.Out.WriteLine $"in one sitting: {expected}"

    Console.Out.WriteLine
        $"killed {report.Kills} times, {report.WhileWriting} of them while a checkpoint was written: {report.Fingerprint}; steps lost: {report.Lost}"

    if report.Fingerprint = expected then 0 else 1
