/// Checkpoints: a run in several sittings gives the bits of one, and a file that does not fit is refused.
module Functional.Tests.CheckpointTests

open System
open System.Diagnostics
open System.IO
open Expecto
open Functional
open Functional.Files
open Functional.Tests.Sittings
open type Functional.Layers

let private key = Key.OfSeed 5L
let private quiet = show Progress.silent

let private points =
    let x = key.Normal(Shape.Of [ 50; 3 ])
    Dataset.ofTensors x (Tensor.From(Array.init 50 (fun i -> int64 (i % 2))))

let private net = input [ 3 ] >=> dense 5 >=> tanh >=> dense 2

let private fit optimiser options net =
    Train.fit optimiser Loss.crossEntropy (epochs 2 >> batchSize 16 >> quiet >> options) net points key

let private bits (run: Run) =
    Tree.leaves run.Parameters |> Array.collect _.ToArray<float32>()

let private inFile (f: string -> unit) =
    inFolder (fun folder -> f (Path.Combine(folder, "run.safetensors")))

let private refused (parts: string list) f =
    try
        f () |> ignore
        failtest "it must be refused"
    with
    | :? ArgumentException
    | :? IOException as error ->
        for part in parts do
            Expect.stringContains error.Message part "the message"

/// Ends a run by an exception after some of its steps, as a power cut would.
let private cut (after: int) : Progress =
    fun _ _ _ train ->
        let steps = ref 0

        train
            {
                Step =
                    fun _ _ ->
                        steps.Value <- steps.Value + 1

                        if steps.Value = after then
                            raise (OperationCanceledException())
                Epoch = ignore
            }

let private isLinux = OperatingSystem.IsLinux()

let private sittings =
    testList
        "sittings"
        [
            testCase "a run cut after any step goes on to the same bits" (fun () ->
                let expected = whole ()

                for after in [ 1; stepsOfEpoch; stepsOfEpoch + 40 ] do
                    inFile (fun path ->
                        let plan every =
                            saveTo path >> saveEvery every >> resume

                        for every in [ 7; 60 ] do
                            Expect.throwsT<OperationCanceledException>
                                (fun () -> train (plan every >> show (cut after)) |> ignore)
                                "cut"

                        let run = train (plan 7 >> quiet)
                        Expect.equal $"{run.Ending} {fingerprint run}" expected $"cut after {after} steps twice"))

            testCase "a run that has ended is read, not repeated" (fun () ->
                inFile (fun path ->
                    let plan = saveTo path >> resume >> quiet
                    let run = train plan
                    let written = File.GetLastWriteTimeUtc path
                    let heard = ResizeArray()
                    let again = train (plan >> observe heard.Add)
                    Expect.equal (fingerprint again) (fingerprint run) "the same result"
                    Expect.equal (List.ofSeq heard) run.Epochs "observers hear of all epochs"
                    Expect.equal (File.GetLastWriteTimeUtc path) written "the file is untouched"))

            testCase "more epochs go on where the run ended" (fun () ->
                inFile (fun path ->
                    let plan = saveTo path >> resume
                    let short = fit (Optim.adam 0.01) plan net
                    let long = fit (Optim.adam 0.01) (plan >> epochs 5) net
                    Expect.equal (bits long) (bits (fit (Optim.adam 0.01) (epochs 5) net)) "as in one go"

                    Expect.equal
                        (List.map _.Loss (List.truncate 2 long.Epochs))
                        (List.map _.Loss short.Epochs)
                        "history"))

            testCase "early stopping is remembered" (fun () ->
                inFile (fun path ->
                    let plan = epochs 30 >> earlyStop 2 >> saveTo path >> resume
                    let run = fit (Optim.sgd 3.0) plan net
                    let again = fit (Optim.sgd 3.0) plan net
                    Expect.equal run.Ending EarlyStopped "such a rate does not get better for long"
                    Expect.equal again.Ending EarlyStopped "still"
                    Expect.equal (bits again) (bits run) "and the best parameters are there"))

            testCase "parameters that an update has spoilt are not written" (fun () ->
                inFile (fun path ->
                    let plan = saveTo path >> saveEvery 1 >> resume
                    let spoilt = Optim.sgd (Schedule(fun t -> if t = 5 then infinity else 0.1))

                    match (fit spoilt plan net).Ending with
                    | Diverged _ -> ()
                    | other -> failtest $"it cannot go on; got {other}"

                    let healed = fit (Optim.sgd 0.1) plan net
                    Expect.equal (bits healed) (bits (fit (Optim.sgd 0.1) id net)) "it goes on from the step before"))

            testCase "a rate that follows the epochs goes on as it would have" (fun () ->
                let run options =
                    let plateau =
                        ref (
                            Plateau.start
                                { PlateauRule.Usual with
                                    Patience = 0
                                    Factor = 0.5
                                }
                                0.5
                        )

                    let rule = Optim.sgd (Schedule(fun _ -> plateau.Value.Rate))

                    let follow (epoch: Epoch) =
                        plateau.Value <- Plateau.step epoch.Loss plateau.Value

                    bits (fit rule (observe follow >> options) net), plateau.Value.Rate

                inFile (fun path ->
                    let plan = saveTo path >> resume
                    run (plan >> epochs 12) |> ignore
                    let found = run (plan >> epochs 20)
                    Expect.equal found (run (epochs 20)) "the bits, and the rate"
                    Expect.isLessThan (snd found) 0.5 "which fell"))

            if isLinux then
                testCase "killed at random instants, it loses nothing but the step under way" (fun () ->
                    let report = killed 4 Environment.TickCount
                    Expect.equal report.Fingerprint (whole ()) "the bits of a run in one sitting"
                    Expect.isGreaterThan report.Kills 0 "killed"
                    Expect.isLessThanOrEqual report.Lost 0 "steps lost")

                testCase "Ctrl-C writes a checkpoint and ends cleanly" (fun () ->
                    inFile (fun path ->
                        let first = sitting path 100_000 2 (Some 25) interrupt
                        let ending = first.End |> Option.defaultValue "nothing"
                        Expect.stringStarts ending "Interrupted" "the process came to its end"
                        let second = sitting path 100_000 1 None ignore
                        Expect.equal second.First (first.Last |> Option.map ((+) 1)) "no step is lost"
                        Expect.equal second.End (Some(whole ())) "the bits of a run in one sitting"))
        ]

let private files =
    testList
        "files"
        [
            testCase "a checkpoint of another network names the paths that differ" (fun () ->
                inFile (fun path ->
                    fit (Optim.adam 0.01) (saveTo path) net |> ignore
                    let other = input [ 3 ] >=> dense 7 >=> tanh >=> dense 2 >=> batchNorm ()

                    let parts =
                        [
                            "of this network"
                            path
                            "'dense.weight' is F32[3; 7] here and F32[3; 5] there"
                            "'dense.bias' is F32[7] here"
                            "'dense2.weight' is F32[7; 2] here and F32[5; 2] there"
                            "'batchNorm."
                            "is only here"
                        ]

                    refused parts (fun () -> fit (Optim.adam 0.01) (saveTo path >> resume) other)
                    refused parts[..4] (fun () -> NetworkFile.load path other)

                    refused [ "'dense2.bias' is only there" ] (fun () ->
                        fit
                            (Optim.adam 0.01)
                            (saveTo path >> resume)
                            (input [ 3 ] >=> dense 5 >=> tanh >=> dense (2, bias = false)))))

            testCase "other settings are refused by name" (fun () ->
                inFile (fun path ->
                    let rule = Optim.adam 0.01
                    let plan = saveTo path >> resume
                    fit rule plan net |> ignore

                    let refuse parts rule plan =
                        refused parts (fun () -> fit rule plan net)

                    refuse [ "the optimiser that it began with, 'adam'; got 'sgd'" ] (Optim.sgd 0.1) plan
                    refuse [ "'adam'; got 'adamW'" ] (Optim.adamW 0.1) plan
                    refuse [ "the batch size that it began with, '16'; got '8'" ] rule (plan >> batchSize 8)
                    refuse [ "average"; "'none'; got '0.9'" ] rule (plan >> average 0.9)
                    refuse [ "metrics"; "''; got 'accuracy'" ] rule (plan >> report [ accuracy ])

                    refused [ "the key" ] (fun () ->
                        Train.fit rule Loss.crossEntropy (plan >> batchSize 16 >> quiet) net points (Key.OfSeed 6L))))

            testCase "a file that exists is not overwritten by a new run" (fun () ->
                inFile (fun path ->
                    File.WriteAllText(path, "old")
                    refused [ path; "Add resume" ] (fun () -> fit (Optim.sgd 0.1) (saveTo path) net)
                    refused [ path; "safetensors" ] (fun () -> fit (Optim.sgd 0.1) (saveTo path >> resume) net)
                    Expect.equal (File.ReadAllText path) "old" "the file"))

            testCase "a file of other arrays, and a damaged one, are refused" (fun () ->
                inFile (fun path ->
                    Safetensors.Write(path, [ NamedArray.Of<float32>("dense.weight", [| 1.0f |]) ])

                    refused [ path; "a checkpoint of a training run" ] (fun () ->
                        fit (Optim.sgd 0.1) (saveTo path >> resume) net)

                    File.Delete path
                    fit (Optim.sgd 0.1) (saveTo path) net |> ignore
                    let whole = File.ReadAllBytes path

                    for length in [ 0; 7; 100; whole.Length / 2; whole.Length - 1 ] do
                        File.WriteAllBytes(path, Array.truncate length whole)
                        refused [ path ] (fun () -> fit (Optim.sgd 0.1) (saveTo path >> resume) net)))

            testCase "no folder, and no file for the words that need one" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "none", "run.safetensors")
                    refused [ path; "must exist" ] (fun () -> fit (Optim.sgd 0.1) (saveTo path) net))

                refused [ "resume needs a file" ] (fun () -> fit (Optim.sgd 0.1) resume net)
                refused [ "saveEvery needs a file" ] (fun () -> fit (Optim.sgd 0.1) (saveEvery 3) net))

            testCase "the best parameters are those that load gives" (fun () ->
                inFile (fun path ->
                    let run = fit (Optim.sgd 3.0) (epochs 6 >> keepBest >> saveTo path) net
                    let loaded, _ = NetworkFile.load path net

                    Expect.equal
                        (Tree.leaves loaded |> Array.collect _.ToArray<float32>())
                        (bits run)
                        "the parameters of the run"))

            testCase "a trainer of one's own loop goes on to the same bits" (fun () ->
                inFile (fun path ->
                    let trainer (net: Layer) =
                        Trainer(
                            Optim.adam 0.01,
                            Loss.crossEntropy,
                            net,
                            key,
                            [ accuracy ],
                            Shape.Of [ 3 ],
                            average = 0.9
                        )

                    let values (trainer: Trainer) =
                        Array.append (Tree.leaves trainer.Parameters) (Tree.leaves trainer.State)
                        |> Array.collect _.ToArray<float32>()

                    let net = input [ 3 ] >=> dense 5 >=> batchNorm () >=> dropout 0.2 >=> dense 2
                    let x, y = Dataset.batch 50 points |> Seq.head
                    let one, other = trainer net, trainer net

                    for step in 1..6 do
                        one.Step(x, y) |> ignore

                        if step = 3 then
                            one.Save path

                    other.Load path
                    Expect.equal other.Steps 3 "steps"

                    for _ in 4..6 do
                        other.Step(x, y) |> ignore

                    Expect.equal (values other) (values one) "the same bits"

                    refused [ "of this network"; "'dense.weight'" ] (fun () ->
                        (trainer (input [ 3 ] >=> dense 2)).Load path)))

            if isLinux then
                testCase "a run on a disk that fills up stops, and goes on once there is room" (fun () ->
                    inFolder (fun folder ->
                        // A disk of its own with room for the first checkpoint, not for two of the larger ones that follow.
                        let sit = sitInShell "$1/run" 1 1

                        let script =
                            $"mount -t tmpfs -o size=84k none $1 && {sit}; ls -A $1; mount -o remount,size=1m $1 && {sit}"

                        match inOwnSpace script folder with
                        | None -> skiptest "no file system can be mounted here"
                        | Some lines ->
                            let told = lines |> List.filter (fun line -> not (line.StartsWith "step "))

                            match told with
                            | [ failure; left; ending ] ->
                                Expect.stringContains failure "No space left on device" "the first sitting"
                                Expect.stringContains failure "The old file is as it was" "and what is left"
                                Expect.equal left "run" "nothing else is left"
                                Expect.equal ending (whole ()) "the bits of a run in one sitting"
                            | other -> failtest $"three lines are expected; got {other}"))

            for name in [ "net.safetensors"; "net.npz" ] do
                testCase $"weights go into {name} and back" (fun () ->
                    inFolder (fun folder ->
                        let path = Path.Combine(folder, name)
                        let net = input [ 3 ] >=> named "body" (dense 5 >=> batchNorm ()) >=> dense 2
                        let parameters, state = Layer.init key net
                        NetworkFile.save path (parameters, state)
                        let again, stateAgain = NetworkFile.load path net

                        for tree, loaded in [ parameters, again; state, stateAgain ] do
                            for (path, expected), (_, found) in List.zip (Tree.named tree) (Tree.named loaded) do
                                Expect.equal (found.ToArray<float32>()) (expected.ToArray<float32>()) path

                        let names =
                            if name.EndsWith "npz" then
                                [ for array in Npz.Read path -> array.Name ]
                            else
                                [ for array in Safetensors.Read(path).Arrays -> array.Name ]

                        Expect.contains names "body.dense.weight" "names are paths"

                        refused
                            [
                                path
                                "'body.dense.weight' is only there"
                                "'dense.weight' is F32[3; 2] here"
                            ]
                            (fun () -> NetworkFile.load path (input [ 3 ] >=> dense 2))))

            testCase "a full disk leaves the old file, and says so" (fun () ->
                inFile (fun path ->
                    File.WriteAllText(path, "old")

                    /// A disk with room for so many bytes.
                    let disk (room: int) =
                        { new MemoryStream() with
                            member this.Write(bytes: byte[], from: int, count: int) =
                                if this.Length + int64 count > int64 room then
                                    raise (IOException "No space left on device : 'run'")

                                base.Write(bytes, from, count)

                            member this.Write(bytes: ReadOnlySpan<byte>) =
                                this.Write(bytes.ToArray(), 0, bytes.Length)
                        }

                    let streams: (unit -> Stream) list =
                        [
                            for room in [ 0; 10; 1000 ] do
                                fun () -> disk room

                            if isLinux then
                                fun () ->
                                    new FileStream(
                                        "/dev/full",
                                        FileMode.Open,
                                        FileAccess.Write,
                                        FileShare.ReadWrite,
                                        0
                                    )
                        ]

                    for make in streams do
                        refused [ path; "No space left on device"; "The old file is as it was" ] (fun () ->
                            AtomicFile.Write(
                                path,
                                (fun stream ->
                                    Safetensors.Write(
                                        stream,
                                        [ NamedArray.Of<float>("x", Array.zeroCreate 500, 500) ]
                                    )),
                                fun _ -> make ()
                            ))

                        Expect.equal (File.ReadAllText path) "old" "the old file"

                        Expect.equal
                            (Directory.GetFiles(nonNull (Path.GetDirectoryName path)))
                            [| path |]
                            "and nothing else"))

            testCase "what killed writers left behind goes, what is being written stays" (fun () ->
                inFile (fun path ->
                    let folder = nonNull (Path.GetDirectoryName path)
                    let leftover = Path.Combine(folder, ".run.safetensors.abcdefgh.ijk.tmp")
                    let foreign = Path.Combine(folder, ".other.safetensors.abcdefgh.ijk.tmp")
                    File.WriteAllText(leftover, "half")
                    File.WriteAllText(foreign, "half")

                    AtomicFile.Write(
                        path,
                        fun stream ->
                            stream.WriteByte 1uy
                            AtomicFile.RemoveLeftovers path
                    )

                    Expect.isFalse (File.Exists leftover) "the leftover"
                    Expect.isTrue (File.Exists foreign) "another file's"
                    Expect.equal (File.ReadAllBytes path) [| 1uy |] "what was being written"))
        ]

[<Tests>]
let tests = testSequenced <| testList "checkpoints" [ sittings; files ]
