/// Training: it learns, ends when it should, names what went wrong, and gives the same bits on any number of threads.
module Functional.Tests.TrainTests

open System
open Expecto
open Functional
open type Functional.Layers

let private key = Key.OfSeed 3L

/// Two classes of points in two rings.
let private rings n =
    let x = key.Normal(Shape.Of [ n; 2 ])

    let y =
        x.ToArray<float32>()
        |> Array.chunkBySize 2
        |> Array.map (fun p -> if p[0] * p[0] + p[1] * p[1] > 1.4f then 1L else 0L)

    Dataset.ofTensors x (Tensor.From y)

let private net = input [ 2 ] >=> dense 32 >=> relu >=> dense 2
let private quiet = show Progress.silent

let private bits (run: Run) =
    Tree.leaves run.Parameters |> Array.collect _.ToArray<float32>()

let private fit optimiser options net data =
    Train.fit optimiser Loss.crossEntropy (quiet >> options) net data key

[<Tests>]
let tests =
    testList
        "training"
        [
            testCase "learns two rings" (fun () ->
                let training, test = rings 1200 |> Dataset.split 0.8 key

                let run =
                    fit (Optim.adam 1e-2) (epochs 30 >> batchSize 32 >> report [ accuracy ]) net training

                let loss, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run test
                Expect.isGreaterThan (snd metrics.Head) 0.93 $"test accuracy; loss {loss}"
                Expect.equal run.Ending Finished "to the end"
                Expect.equal run.Steps (30 * 30) "a last batch that is full"
                Expect.isLessThan run.Epochs[29].Loss run.Epochs[0].Loss "the loss falls"
                Expect.isGreaterThan (snd run.Epochs[29].Metrics.Head) 0.9 "accuracy is reported")

            testCase "the last, smaller batch counts by its size" (fun () ->
                let data = rings 70

                let run =
                    fit (Optim.sgd 0.0) (epochs 1 >> batchSize 32 >> report [ accuracy ]) net data

                Expect.equal run.Steps 3 "two full batches and one of six"
                let loss, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run data
                Expect.isLessThan (abs (run.Epochs[0].Loss - loss)) 1e-5 "the mean over examples"
                Expect.isLessThan (abs (snd run.Epochs[0].Metrics.Head - snd metrics.Head)) 1e-9 "accuracy, too")

            testCase "the same key gives the same bits on one thread and on two" (fun () ->
                let wide =
                    input [ 2 ]
                    >=> dense 300
                    >=> relu
                    >=> dropout 0.2
                    >=> dense 200
                    >=> tanh
                    >=> dense 2

                let before = Threads.Count

                let train threads =
                    Threads.Count <- threads
                    fit (Optim.adam 1e-3) (epochs 2 >> batchSize 100) wide (rings 350) |> bits

                try
                    Expect.sequenceEqual (train 2) (train 1) "the parameters' bits"
                finally
                    Threads.Count <- before)

            testCase "early stopping keeps the best parameters" (fun () ->
                let training, valid = rings 200 |> Dataset.split 0.5 key

                let run =
                    fit (Optim.sgd 30.0) (epochs 50 >> validate valid >> earlyStop 2) net training

                match run.Ending with
                | EarlyStopped
                | Diverged _ -> ()
                | other -> failtest $"such a rate cannot get better for long; got {other}"

                let run =
                    fit (Optim.adam 0.05) (epochs 60 >> validate valid >> earlyStop 3) net training

                let best = run.Epochs |> List.map _.ValidationLoss.Value |> List.min
                let loss, _ = Train.evaluate Loss.crossEntropy [] run valid

                if run.Ending = EarlyStopped then
                    Expect.isLessThan (abs (loss - best)) 1e-6 "the best validation loss")

            testCase "a loss that is not finite names epoch, step, operation and layer" (fun () ->
                // One example of a hundred is negative, and the layer takes logarithms.
                let x = (key.Normal(Shape.Of [ 100; 2 ])).Abs() + 0.1
                let sign = Array.init 200 (fun i -> if i = 2 * 70 then -1.0f else 1.0f)
                let x = x * Tensor.From(sign, 100, 2)

                let data =
                    Dataset.ofTensors x (Tensor.From(Array.init 100 (fun i -> int64 (i % 2))))

                let net =
                    input [ 2 ]
                    >=> named "middle" (lambda ("logarithm", _.Log()) >=> tanh)
                    >=> dense 2

                let run = fit (Optim.sgd 0.1) (epochs 3 >> batchSize 10) net data

                match run.Ending with
                | Diverged reason ->
                    for part in [ "epoch 1, step"; "'log'"; "'middle.logarithm'" ] do
                        Expect.stringContains reason part "the reason"

                    Expect.isLessThan run.Steps 10 "it stops before that example"
                | other -> failtest $"it cannot go on; got {other}"

                for value in bits run do
                    Expect.isTrue (Single.IsFinite value) "the parameters kept are finite")

            testCase "a function that is not pure cannot trap the search for what went wrong" (fun () ->
                let calls = ref 0

                let worse (x: Tensor) =
                    calls.Value <- calls.Value + 1
                    if calls.Value > 20 then (x * 0.0 - 1.0).Log() else x

                let net = input [ 2 ] >=> lambda ("worse", worse) >=> dense 2

                match (fit (Optim.sgd 0.1) (epochs 3 >> batchSize 10) net (rings 100)).Ending with
                | Diverged _ -> ()
                | other -> failtest $"it cannot go on; got {other}")

            testCase "too large a rate keeps the last good parameters" (fun () ->
                let net = input [ 2 ] >=> dense 16 >=> dense 2
                let data = rings 200

                let run = fit (Optim.sgd 1e30) (epochs 3 >> batchSize 10) net data

                match run.Ending with
                | Diverged reason ->
                    Expect.stringContains reason "epoch 1, step" "the reason"
                    let loss, _ = Train.evaluate Loss.crossEntropy [] run data
                    Expect.isTrue (Double.IsFinite loss) $"the loss with the parameters kept; got {loss}"
                | other -> failtest $"it must stop; got {other}")

            testCase "frozen layers stay as they are" (fun () ->
                let net = input [ 2 ] >=> frozen (dense 8) >=> tanh >=> dense 2
                let run = fit (Optim.adam 0.1) (epochs 2) net (rings 100)
                let first, _ = Layer.init (key.Fold "network") net

                let weights tree path =
                    (Tree.find path tree: Tensor).ToArray<float32>()

                Expect.sequenceEqual
                    (weights run.Parameters "dense.weight")
                    (weights first "dense.weight")
                    "the frozen weight"

                Expect.notEqual
                    (weights run.Parameters "dense2.weight")
                    (weights first "dense2.weight")
                    "the other weight")

            testCase "a batch in parts takes the step of the whole" (fun () ->
                let data = rings 100

                let whole =
                    fit (Optim.momentum 0.1) (epochs 3 >> batchSize 30 >> report [ accuracy ]) net data

                for parts in [ 2; 3; 7 ] do
                    let run =
                        fit
                            (Optim.momentum 0.1)
                            (epochs 3 >> batchSize 30 >> report [ accuracy ] >> accumulate parts)
                            net
                            data

                    Expect.equal run.Steps whole.Steps "steps"

                    for epoch, expected in List.zip run.Epochs whole.Epochs do
                        Expect.isLessThan (abs (epoch.Loss - expected.Loss)) 1e-5 $"the loss in {parts} parts"
                        Expect.equal (epoch.Metric "accuracy") (expected.Metric "accuracy") "accuracy"

                    for a, b in Array.zip (bits run) (bits whole) do
                        Expect.isLessThan (abs (a - b)) 1e-5f $"the parameters in {parts} parts")

            testCase "a batch of more parts than examples, and one whose later part is not finite" (fun () ->
                let few =
                    fit (Optim.sgd 0.1) (epochs 1 >> batchSize 2 >> accumulate 5) net (rings 6)

                Expect.equal few.Steps 3 "steps"

                let x =
                    Tensor.From(Array.init 20 (fun i -> if i = 19 then nanf else float32 i), 10, 2)

                let data = Dataset.ofTensors x (Tensor.From(Array.init 10 (fun i -> int64 (i % 2))))
                let net = input [ 2 ] >=> batchNorm () >=> named "last" (dense 2)
                let run = fit (Optim.sgd 0.1) (epochs 1 >> batchSize 10 >> accumulate 2) net data

                match run.Ending with
                | Diverged reason ->
                    Expect.stringContains reason "epoch 1, step 1" "the reason"
                    let _, state = Layer.init (key.Fold "network") net

                    for a, b in Array.zip (Tree.leaves run.State) (Tree.leaves state) do
                        Expect.sequenceEqual (a.ToArray<float32>()) (b.ToArray<float32>()) "the state is as before"
                | other -> failtest $"it must stop; got {other}")

            testCase "the average is the weighted mean of the parameters after every step" (fun () ->
                let x, y = rings 64 |> Dataset.batch 64 |> Seq.head
                let factor = 0.8

                let plain =
                    Trainer(Optim.adam 0.05, Loss.crossEntropy, net, key, [], Shape.Of [ 2 ])

                let averaging =
                    Trainer(Optim.adam 0.05, Loss.crossEntropy, net, key, [], Shape.Of [ 2 ], average = factor)

                let values (trainer: Trainer) =
                    Tree.leaves trainer.Parameters |> Array.collect _.ToDoubles()

                Expect.equal (values averaging) (values plain) "before the first step"
                let history = ResizeArray()

                for n in 1..5 do
                    plain.Step(x, y) |> ignore
                    averaging.Step(x, y) |> ignore
                    history.Add(values plain)
                    let weights = [| for t in 1..n -> factor ** float (n - t) |]

                    let expected =
                        Array.init history[0].Length (fun i ->
                            Array.sum (Array.mapi (fun t w -> w * history[t][i]) weights)
                            / Array.sum weights)

                    for a, b in Array.zip (values averaging) expected do
                        Expect.isLessThan (abs (a - b)) 1e-6 $"after {n} steps")

            testCase "the average is what is validated and given" (fun () ->
                let data = rings 100
                let run = fit (Optim.adam 0.05) (epochs 2 >> validate data >> average 0.9) net data
                let last = fit (Optim.adam 0.05) (epochs 2 >> validate data) net data
                let loss, _ = Train.evaluate Loss.crossEntropy [] run data
                Expect.isLessThan (abs (loss - run.Epochs[1].ValidationLoss.Value)) 1e-9 "the loss of the average"
                Expect.notEqual (bits run) (bits last) "another than the last"
                Expect.equal run.Epochs[1].Loss last.Epochs[1].Loss "training goes its way"
                Expect.throwsT<ArgumentException> (fun () -> fit (Optim.sgd 0.1) (average 1.0) net data |> ignore) "1")

            testCase "the best epoch is that of the number watched" (fun () ->
                let data = rings 100
                let heard = ResizeArray()

                let plan =
                    epochs 6
                    >> validate data
                    >> report [ accuracy ]
                    >> observe heard.Add
                    >> keepBest

                // The number is smallest in the third epoch, whatever is learned.
                let run =
                    fit (Optim.adam 0.05) (plan >> watch (fun epoch -> abs (float epoch.Number - 3.0))) net data

                Expect.equal run.Epochs.Length 6 "it goes to the end"

                let third =
                    fit (Optim.adam 0.05) (plan >> epochs 3 >> watch (fun _ -> 0.0)) net data

                let first = fit (Optim.adam 0.05) (plan >> epochs 1) net data
                Expect.equal (bits third) (bits first) "a number that never falls keeps the first"

                let loss, _ = Train.evaluate Loss.crossEntropy [] run data
                Expect.isLessThan (abs (loss - run.Epochs[2].ValidationLoss.Value)) 1e-9 "the third epoch's parameters"
                let epoch = run.Epochs.Head
                Expect.equal (epoch.Metric "accuracy") (snd epoch.Metrics.Head) "a metric by name"
                Expect.equal (epoch.Validation "accuracy") (snd epoch.ValidationMetrics.Head) "and of validation"
                Expect.throwsT<ArgumentException> (fun () -> epoch.Metric "f1" |> ignore) "another name")

            testCase "a regulariser in the network is a penalty in the optimiser" (fun () ->
                let data = rings 64

                let parts () =
                    input [ 2 ] >=> dense 8 >=> tanh >=> dense 2

                let l1, l2 = Regulariser.l1 0.03, Regulariser.l2 0.2

                let inside =
                    fit
                        (Optim.sgd 0.1)
                        (epochs 2)
                        (parts () |> withRegulariser "*weight" l2 |> withRegulariser "dense2" l1)
                        data

                let outside =
                    fit
                        (Optim.chain
                            [
                                Optim.only "*weight" (Penalty.l2 0.2)
                                Optim.only "dense2" (Penalty.l1 0.03)
                                Optim.sgd 0.1
                            ])
                        (epochs 2)
                        (parts ())
                        data

                let plain = fit (Optim.sgd 0.1) (epochs 2) (parts ()) data

                for a, b in Array.zip (bits inside) (bits outside) do
                    Expect.isLessThan (abs (a - b)) 1e-5f "the parameters"

                Expect.notEqual (bits inside) (bits plain) "it matters"
                let loss, _ = Train.evaluate Loss.crossEntropy [] inside data
                Expect.isLessThan (abs (inside.Epochs[0].Loss - outside.Epochs[0].Loss)) 1e-5 "the loss leaves it out"
                Expect.isTrue (Double.IsFinite loss) "and evaluation does not know it")

            testCase "a regulariser finds its parameters where the layer goes" (fun () ->
                let weight = dense 4 |> withRegulariser "weight" (Regulariser.l2 1.0)

                let regularised net =
                    [
                        for path, parameter in Tree.named ((net: Layer).Parameters(Shape.Of [ 2 ])) do
                            if not parameter.Regularisers.IsEmpty then
                                path
                    ]

                Expect.equal
                    (regularised (input [ 2 ] >=> dense 3 >=> weight >=> named "block" (weight >=> weight)))
                    [ "dense2.weight"; "block.dense.weight"; "block.dense2.weight" ]
                    "paths"

                Expect.equal
                    (regularised (frozen (input [ 2 ] >=> weight)))
                    [ "dense.weight" ]
                    "of what is frozen, where it has no effect"

                let message f =
                    try
                        f () |> ignore
                        failtest "it must be refused"
                    with :? ArgumentException as error ->
                        error.Message

                for f in
                    [
                        fun () -> input [ 2 ] >=> dense 3 |> withRegulariser "wieght" (Regulariser.l2 1.0)
                        fun () -> input [ 2 ] >=> (dense 3 |> withRegulariser "wieght" (Regulariser.l2 1.0))
                    ] do
                    Expect.stringContains (message f) "'wieght'" "the pattern")

            testCase "a steady step takes no tensor memory from the system" (fun () ->
                let trainer =
                    Trainer(Optim.adam 1e-3, Loss.crossEntropy, net, key, [ accuracy ], Shape.Of [ 2 ])

                let x, y = rings 64 |> Dataset.batch 64 |> Seq.head

                for _ in 1..20 do
                    trainer.Step(x, y) |> ignore

                let before = Memory.SystemBytes

                for _ in 1..200 do
                    trainer.Step(x, y) |> ignore

                Expect.equal (Memory.SystemBytes - before) 0L "bytes from the system")

            testCase "a mistake in shapes is refused before data is read" (fun () ->
                let data = rings 10 |> Dataset.map (fun _ _ -> failwith "the data must not be read")

                Expect.throwsT<ShapeException>
                    (fun () -> fit (Optim.sgd 0.1) id (dense 3 >=> reshape [ 7 ]) data |> ignore)
                    "reshape of 3 to 7")
        ]

/// Batches that take a while, and who made them.
let private slowly (threads: Collections.Generic.HashSet<int>) : Augmentation =
    fun key x y ->
        Threading.Thread.Sleep 1
        threads.Add Environment.CurrentManagedThreadId |> ignore
        x + 0.1 * key.Normal x.Shape, y

let private onThreads count f =
    let before = Threads.Count

    try
        Threads.Count <- count
        f ()
    finally
        Threads.Count <- before

[<Tests>]
let ahead =
    testSequenced
    <| testList
        "batches ahead in training"
        [
            testCase "who makes a batch changes no bit" (fun () ->
                let run threads parts =
                    let makers = Collections.Generic.HashSet()

                    let run =
                        onThreads threads (fun () ->
                            fit
                                (Optim.adam 0.01)
                                (epochs 3 >> batchSize 16 >> accumulate parts >> augment (slowly makers))
                                net
                                (rings 100))

                    (bits run, List.map _.Loss run.Epochs), makers.Count

                for parts in [ 1; 2 ] do
                    let alone, one = run 1 parts
                    let ahead, several = run 2 parts
                    Expect.equal ahead alone "the bits"
                    Expect.equal one 1 "on the thread that trains"
                    Expect.isGreaterThan several 1 "and on another")

            testCase "the next batch is made while the step runs" (fun () ->
                // The step waits for it; were it made after the step, the wait would be in vain.
                let begun = Array.init 6 (fun _ -> new Threading.ManualResetEventSlim())
                let number = ref 0
                let waited = ResizeArray()

                let announced: Augmentation =
                    fun _ x y ->
                        begun[number.Value].Set()
                        number.Value <- number.Value + 1
                        Threading.Thread.Sleep 1
                        x, y

                let step = ref 0

                let waiting =
                    lambda (
                        "waiting",
                        fun x ->
                            if not x.IsMeta then
                                step.Value <- step.Value + 1

                                if step.Value < begun.Length then
                                    waited.Add(begun[step.Value].Wait(TimeSpan.FromSeconds 20.0))

                            x
                    )

                onThreads 2 (fun () ->
                    fit
                        (Optim.sgd 0.1)
                        (epochs 1 >> batchSize 10 >> augment announced)
                        (input [ 2 ] >=> waiting >=> dense 2)
                        (rings 60)
                    |> ignore)

                Expect.equal (List.ofSeq waited) [ for _ in 1..5 -> true ] "begun during the step before")

            testCase "memory of the data's own stays, that of a batch goes back" (fun () ->
                // The same tensors in every batch, made in scopes of this thread.
                let scoped =
                    Memory.Tidy(
                        Func<Tensor>(fun () ->
                            Memory.Tidy(
                                Func<Tensor>(fun () ->
                                    let x = key.Normal(Shape.Of [ 16; 2 ])

                                    let same: Augmentation =
                                        fun _ _ y ->
                                            Threading.Thread.Sleep 1
                                            Memory.Tidy(Func<Tensor>(fun () -> x)), y

                                    fit (Optim.sgd 0.1) (epochs 2 >> batchSize 16 >> augment same) net (rings 64)
                                    |> ignore

                                    x + 0.0)
                            ))
                    )

                Expect.equal (scoped.ToArray<float32>()) ((key.Normal(Shape.Of [ 16; 2 ])).ToArray<float32>()) "intact"

                let before = ref 0L

                let watch: Progress =
                    fun _ _ _ train ->
                        train
                            {
                                Step =
                                    fun step _ ->
                                        if step = 20 then
                                            before.Value <- Memory.SystemBytes
                                Epoch = ignore
                            }

                let data = rings (4 * 400)

                fit
                    (Optim.sgd 0.1)
                    (epochs 1
                     >> batchSize 4
                     >> augment (slowly (Collections.Generic.HashSet()))
                     >> show watch)
                    net
                    data
                |> ignore

                Expect.isLessThan (Memory.SystemBytes - before.Value) 65536L "bytes from the system")

            testCase "an error in a batch is raised at its step, as it was thrown" (fun () ->
                for threads in [ 1; 2 ] do
                    let taken = ref 0

                    let watch: Progress =
                        fun _ _ _ train ->
                            train
                                {
                                    Step = fun step _ -> taken.Value <- step
                                    Epoch = ignore
                                }

                    let made = ref 0

                    let failing: Augmentation =
                        fun _ x y ->
                            Threading.Thread.Sleep 1
                            made.Value <- made.Value + 1

                            if made.Value = 4 then x.Reshape(7), y else x, y

                    let error =
                        try
                            onThreads threads (fun () ->
                                fit (Optim.sgd 0.1) (batchSize 10 >> augment failing >> show watch) net (rings 100)
                                |> ignore)

                            ""
                        with :? ShapeException as error ->
                            error.Message

                    Expect.stringStarts error "reshape: " "the sentence"
                    Expect.equal taken.Value 3 "steps before it")

            testCase "no batch is being made once training has ended" (fun () ->
                let busy = ref 0

                let counted: Augmentation =
                    fun _ x y ->
                        Threading.Interlocked.Increment busy |> ignore
                        Threading.Thread.Sleep 2
                        Threading.Interlocked.Decrement busy |> ignore
                        x, y

                let plan = batchSize 10 >> augment counted

                let cut: Progress =
                    fun _ _ _ train ->
                        train
                            {
                                Step =
                                    fun step _ ->
                                        if step = 5 then
                                            raise (OperationCanceledException())
                                Epoch = ignore
                            }

                onThreads 2 (fun () ->
                    Expect.throwsT<OperationCanceledException>
                        (fun () -> fit (Optim.sgd 0.1) (plan >> show cut) net (rings 100) |> ignore)
                        "ended by its observer"

                    Expect.equal busy.Value 0 "after an exception"

                    match (fit (Optim.sgd 1e30) (plan >> epochs 3) net (rings 200)).Ending with
                    | Diverged reason -> Expect.stringContains reason "epoch 1, step" "the reason"
                    | other -> failtest $"it must stop; got {other}"

                    Expect.equal busy.Value 0 "after a loss that is not finite"))
        ]

[<Tests>]
let datasets =
    let bytes = Array.init 60 (fun i -> byte (i * 37))
    let labels = Array.init 20 byte
    let data = Dataset.ofBytes [ 3 ] bytes labels

    let inputs (data: Dataset) =
        Dataset.batch 7 data |> Seq.collect (fun (x, _) -> x.ToDoubles()) |> Array.ofSeq

    let classes (data: Dataset) =
        Dataset.batch 7 data
        |> Seq.collect (fun (_, y) -> y.ToArray<int64>())
        |> List.ofSeq

    let asTensors =
        Dataset.ofTensors (Tensor.From(Array.map float32 bytes, 20, 3)) (Tensor.From(Array.map int64 labels))

    testList
        "datasets"
        [
            testCase "batches hold every example once, in order" (fun () ->
                Expect.equal
                    (Dataset.batch 7 data |> Seq.map (fun (x, _) -> x.Shape[0]) |> List.ofSeq)
                    [ 7; 7; 6 ]
                    "sizes"

                Expect.equal (inputs data) (Array.map float bytes) "values"
                Expect.equal (classes data) [ 0L .. 19L ] "classes")

            testCase "shuffling keeps pairs together and every example once" (fun () ->
                let shuffled = Dataset.shuffle (Key.OfSeed 5L) data
                Expect.equal (List.sort (classes shuffled)) [ 0L .. 19L ] "every example once"
                Expect.notEqual (classes shuffled) [ 0L .. 19L ] "another order"

                let values = inputs shuffled

                for i, label in List.indexed (classes shuffled) do
                    Expect.equal values[3 * i] (float bytes[3 * int label]) "input and class"

                Expect.equal (classes (Dataset.shuffle (Key.OfSeed 5L) data)) (classes shuffled) "the same key")

            testCase "bytes and tensors give the same under scaling and standardising" (fun () ->
                let check what (f: Dataset -> Dataset) =
                    for a, b in Array.zip (inputs (f data)) (inputs (f asTensors)) do
                        Expect.isLessThan (abs (a - b)) 1e-5 what

                check "scale" (Dataset.scale (1.0 / 255.0) 0.5)
                check "normalise" (Dataset.scale (1.0 / 255.0) 0.0 >> Dataset.normalise 0.13 0.31)
                check "standardise" (fun data -> Dataset.standardise (data, data) |> fst)
                check "after a split" (fun data -> Dataset.standardise (Dataset.splitAt 12 data) |> snd))

            testCase "standardised data has mean 0 and deviation 1; the other part is measured by the first" (fun () ->
                let first, second = Dataset.standardise (Dataset.splitAt 12 data)
                let x = Tensor.From(inputs first, 12, 3)

                for mean in (x.Mean 0).ToDoubles() do
                    Expect.isLessThan (abs mean) 1e-6 "mean"

                for deviation in (x.Std 0).ToDoubles() do
                    Expect.isLessThan (abs (deviation - 1.0)) 1e-6 "deviation"

                let y = Tensor.From(inputs second, 8, 3)
                Expect.isGreaterThan ((y.Mean 0).Abs().Max().ToDouble()) 1e-3 "the other part has its own mean")

            testCase "bad requests are refused" (fun () ->
                Expect.throws (fun () -> Dataset.splitAt 21 data |> ignore) "more than there is"
                Expect.throws (fun () -> Dataset.split 1.5 (Key.OfSeed 1L) data |> ignore) "a share above one"
                Expect.throws (fun () -> Dataset.ofBytes [ 3 ] bytes[1..] labels |> ignore) "half an example"
                Expect.throws (fun () -> Dataset.ofBytes [ 3 ] bytes labels[1..] |> ignore) "a label too few"
                Expect.throws (fun () -> Dataset.batch 0 data |> Seq.length |> ignore) "no examples a batch")
        ]
