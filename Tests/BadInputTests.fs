/// Data that cannot be right, on its way through networks and training: each mistake is answered by a sentence that names it.
module Functional.Tests.BadInputTests

open System
open Expecto
open Functional
open type Functional.Layers

let private key = Key.OfSeed 11L

let private refused (f: unit -> obj) (words: string list) =
    let text =
        try
            f () |> ignore
            failtest "nothing was refused"
        with
        | :? ShapeException as error -> error.Message
        | :? ArgumentException as error -> error.Message

    for word in words do
        Expect.stringContains text word "the sentence"

let private fit options network data =
    Train.fit (Optim.adam 1e-3) Loss.crossEntropy (options >> epochs 1 >> show Progress.silent) network data key

let private bytes = [| 1uy .. 9uy |]

[<Tests>]
let tests =
    testList
        "bad input"
        [
            testList
                "labels outside the classes"
                [
                    let scores = Tensor.Ones(Shape.Of [ 2; 3 ])

                    for label in [ 3L; -1L; Int64.MaxValue ] do
                        let labels = Tensor.From([| 1L; label |])

                        for name, loss in
                            [
                                "crossEntropy", Loss.crossEntropy
                                "crossEntropySmoothed", Loss.crossEntropySmoothed 0.1
                                "crossEntropyOf", Loss.crossEntropyOf Classes.Alike
                                "negativeLogLikelihood", Loss.negativeLogLikelihood
                            ] do
                            testCase $"{name} of {label}" (fun () ->
                                refused (fun () -> loss scores labels) [ "must lie in 0 … 2"; $"got {label} at [1" ])

                    testCase "a label that is too large for the network ends training with a sentence" (fun () ->
                        let data = Dataset.ofBytes [ 3 ] bytes [| 0uy; 9uy; 1uy |]

                        refused
                            (fun () -> fit id (input [ 3 ] >=> dense 3) data)
                            [ "labels must lie in 0 … 2"; "got 9" ])

                    testCase "as many labels as examples" (fun () ->
                        refused (fun () -> Dataset.ofBytes [ 3 ] bytes [| 0uy; 1uy |]) [ "3 inputs"; "2 targets" ]
                        let x, y = Tensor.Ones(Shape.Of [ 4; 3 ]), Tensor.From([| 0L; 1L |])
                        refused (fun () -> Loss.crossEntropy x y) [ "label"; "[4, 3]"; "[2]" ])
                ]

            testCase "a word outside the vocabulary" (fun () ->
                let net = input [ 2 ] >=> embedding (4, 3)
                let words = Tensor.From([| 1L; 4L |], [| 1; 2 |])
                refused (fun () -> Layer.predict net (Layer.init key net) words) [ "0 … 3"; "got 4 at [0, 1]" ])

            testCase "a sequence of length zero reaches a recurrent layer" (fun () ->
                for layer in [ rnn 2; lstm 2; gru 2 ] do
                    let made = Layer.initFor (Shape.Of [ 5; 3 ]) key layer
                    let empty = Tensor.Ones(Shape.Of [ 2; 0; 3 ])
                    refused (fun () -> Layer.predict layer made empty) [ layer.Name; "at least one step"; "[2, 0, 3]" ])

            testCase "a batch of another shape than the network's" (fun () ->
                let net = input [ 3 ] >=> dense 2
                let made = Layer.init key net

                refused
                    (fun () -> Layer.predict net made (Tensor.Ones(Shape.Of [ 5; 4 ])))
                    [ "examples of [3]"; "[5; 4]"; "Reshape the data" ])

            testCase "NaN among the data stops training and says where it appeared" (fun () ->
                let x = Tensor.From([| 1f; 2f; nanf; 4f |], [| 2; 2 |])
                let data = Dataset.ofTensors x (Tensor.From([| 0L; 1L |]))
                let run = fit id (input [ 2 ] >=> dense 3 >=> relu >=> dense 2) data

                match run.Ending with
                | Diverged text ->
                    for word in
                        [
                            "not finite at epoch 1, step 1"
                            "'linear' in layer 'dense'"
                            "check the data"
                        ] do
                        Expect.stringContains text word "the reason"
                | other -> failtest $"training ended with {other}"

                for _, value in Tree.named run.Parameters do
                    Expect.all (value.ToDoubles()) Double.IsFinite "the parameters are those before the step")

            testCase "a last batch of one example is refused before a batch norm has trained" (fun () ->
                let net = input [ 3 ] >=> dense 4 >=> batchNorm () >=> relu >=> dense 3
                let three = Dataset.ofBytes [ 3 ] bytes [| 0uy; 1uy; 2uy |]

                refused
                    (fun () -> fit (batchSize 2 >> observe (fun _ -> failtest "an epoch ran")) net three)
                    [
                        "3 examples in batches of 2"
                        "batchNorm"
                        "more than one value"
                        "batchSize"
                    ]

                refused (fun () -> fit (batchSize 1) net three) [ "batches of 1" ]
                Expect.equal (fit (batchSize 3) net three).Ending Finished "three at once"
                let plain = input [ 3 ] >=> dense 4 >=> dropout 0.1 >=> relu >=> dense 3
                Expect.equal (fit (batchSize 2) plain three).Ending Finished "others take one")

            testCase "an empty dataset" (fun () ->
                refused
                    (fun () -> fit id (input [ 3 ] >=> dense 3) (Dataset.ofBytes [ 3 ] [||] [||]))
                    [ "at least one example"; "empty" ])
        ]
