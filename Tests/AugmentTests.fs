/// Data augmentation: functions of the key and nothing else, each pixel where it may be.
module Functional.Tests.AugmentTests

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open Functional
open Functional.Autodiff
open type Functional.Layers

/// Images that can be told apart at every pixel, one-hot targets, a key and how far images may move.
type private Sample =
    {
        Images: Tensor
        Targets: Tensor
        Key: Key
        Reach: int
    }

let private samples =
    gen {
        let! n = Gen.choose (0, 5)
        let! channels = Gen.choose (1, 3)
        let! height = Gen.choose (1, 6)
        let! width = Gen.choose (1, 6)
        let! reach = Gen.choose (0, 4)
        let! seed = Gen.choose (0, 1000000)
        let! dtype = Gen.elements [ DType.Float32; DType.Float64 ]
        let key = Key.OfSeed(int64 seed)
        let classes = Tensor.From(Array.init n (fun i -> int64 (i % 3)))

        return
            {
                Images = key.Fold("images").Normal(Shape.Of [ n; channels; height; width ]).Cast dtype
                Targets = classes.OneHot(3, dtype)
                Key = key
                Reach = reach
            }
    }

let private holds (check: Sample -> unit) = Prop.forAll (Arb.fromGen samples) check

let private apply (change: Augmentation) sample =
    change sample.Key sample.Images sample.Targets

let private same what (expected: Tensor) (actual: Tensor) =
    Expect.equal actual.Shape expected.Shape $"{what}: shape"
    Expect.equal actual.DType expected.DType $"{what}: dtype"
    Expect.sequenceEqual (actual.ToDoubles()) (expected.ToDoubles()) $"{what}: values"

/// All there are, with settings that follow the sample.
let private all sample =
    [
        "flip", Augment.flip 0.5
        "crop", Augment.crop sample.Reach
        "shift", Augment.shift sample.Reach
        "noise", Augment.noise 0.5
        "mixup", Augment.mixup 0.4
        "chain", Augment.chain [ Augment.flip 0.5; Augment.crop 1; Augment.noise 0.1; Augment.mixup 1.0 ]
    ]

/// Every image of the result is the image moved by one offset within reach, where `pixel` says what stands at a row and a column.
let private moved sample (result: Tensor) (pixel: Tensor -> int -> int -> int -> float) =
    let x = sample.Images
    let n, channels, height, width = x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
    let reach = [ -sample.Reach .. sample.Reach ]

    for i in 0 .. n - 1 do
        let image, values = x.Select(0, i), result.Select(0, i).ToDoubles()

        let isMovedBy (down, right) =
            Seq.forall2
                (=)
                values
                (seq {
                    for c in 0 .. channels - 1 do
                        for row in 0 .. height - 1 do
                            for column in 0 .. width - 1 -> pixel image c (row + down) (column + right)
                })

        Expect.isTrue (List.allPairs reach reach |> List.exists isMovedBy) $"image {i} is moved by one offset"

let private at (image: Tensor) (c: int) (row: int) (column: int) =
    image.Select(0, c).Select(0, row).Select(0, column).ToDouble()

[<Tests>]
let tests =
    testList
        "augmentation"
        [
            testProperty
                "the same key gives the same, of the same shape and dtype"
                (holds (fun sample ->
                    for name, change in all sample do
                        let x, y = apply change sample
                        let again, againTargets = apply change sample
                        same name x again
                        same name y againTargets
                        Expect.equal x.Shape sample.Images.Shape name
                        Expect.equal x.DType sample.Images.DType name
                        Expect.equal y.Shape sample.Targets.Shape name

                        if name <> "mixup" && name <> "chain" then
                            same "the targets" sample.Targets y))

            testProperty
                "to mirror twice is to leave it"
                (holds (fun sample ->
                    let once = apply (Augment.flip 1.0) sample |> fst
                    same "once" (sample.Images.Flip 3) once

                    same "twice" sample.Images (apply (Augment.flip 1.0) { sample with Images = once } |> fst)
                    same "never" sample.Images (apply (Augment.flip 0.0) sample |> fst)))

            testProperty
                "an image is mirrored as a whole or left"
                (holds (fun sample ->
                    let result = apply (Augment.flip 0.5) sample |> fst

                    for i in 0 .. sample.Images.Shape[0] - 1 do
                        let before, after = sample.Images.Select(0, i), result.Select(0, i).ToDoubles()

                        Expect.isTrue
                            (after = before.ToDoubles() || after = before.Flip(2).ToDoubles())
                            $"image {i} in one way or the other"))

            testProperty
                "a crop shows a part, and zeros around it"
                (holds (fun sample ->
                    let result = apply (Augment.crop sample.Reach) sample |> fst

                    moved sample result (fun image c row column ->
                        if row < 0 || row >= image.Shape[1] || column < 0 || column >= image.Shape[2] then
                            0.0
                        else
                            at image c row column)))

            testProperty
                "a shift repeats the edges"
                (holds (fun sample ->
                    let result = apply (Augment.shift sample.Reach) sample |> fst

                    moved sample result (fun image c row column ->
                        at
                            image
                            c
                            (Math.Clamp(row, 0, image.Shape[1] - 1))
                            (Math.Clamp(column, 0, image.Shape[2] - 1)))))

            testProperty
                "a mixture lies between two examples, and its target at the same place"
                (holds (fun sample ->
                    let n = sample.Images.Shape[0]
                    let flat (x: Tensor) = x.Cast(DType.Float64).Reshape(n, -1)

                    // Targets that are a linear function of the inputs stay so if both are mixed alike.
                    let targets = sample.Images * 2.0
                    let x, y = Augment.mixup 0.4 sample.Key sample.Images targets

                    if n > 0 then
                        Expect.isLessThan ((y - x * 2.0).Abs().Max().ToDouble()) 1e-5 "alike"
                        let before, after = flat sample.Images, flat x

                        let above = after - before.Max([| 0 |], keepAxes = true)
                        let below = before.Min([| 0 |], keepAxes = true) - after
                        Expect.isLessThan ((above.Maximum below).Max().ToDouble()) 1e-5 "between all examples"

                    let _, mixed = apply (Augment.mixup 0.4) sample

                    for row in mixed.Sum(1).ToDoubles() do
                        Expect.isLessThan (abs (row - 1.0)) 1e-6 "probabilities add up to one"))

            testProperty
                "a chain is one after the other, each with a key of its own"
                (holds (fun sample ->
                    let first, second = Augment.crop sample.Reach, Augment.mixup 0.3
                    let x, y = apply (Augment.chain [ first; second ]) sample
                    let once, onceTargets = first (sample.Key.Fold 0) sample.Images sample.Targets
                    let twice, twiceTargets = second (sample.Key.Fold 1) once onceTargets
                    same "inputs" twice x
                    same "targets" twiceTargets y
                    let x, y = apply (Augment.chain []) sample
                    same "an empty chain" sample.Images x
                    same "an empty chain" sample.Targets y))

            testProperty "images of any width move as far as they are told" (fun (PositiveInt seed) ->
                let random = Random seed
                let n, height, width = 4, random.Next(1, 4), random.Next(1, 70)
                let key = Key.ofSeed seed
                let far = [| Int64.MinValue; Int64.MaxValue; -1L; 0L |]

                for dtype in [ DType.Float32; DType.Float64; DType.Int32 ] do
                    let x = (key.Uniform(Shape.Of [ n; 2; height; width ], 0.0, 1000.0)).Cast dtype

                    let moves =
                        [|
                            for i in 0 .. n - 1 do
                                int64 (random.Next(-height, height + 1))

                                if i = 3 then
                                    random.GetItems(far, 1)[0]
                                else
                                    int64 (random.Next(-width, 2 * width + 1))

                                int64 (random.Next 2)
                        |]

                    let values = x.ToDoubles()

                    let expected =
                        [|
                            for i in 0 .. n - 1 do
                                for c in 0..1 do
                                    for row in 0 .. height - 1 do
                                        for column in 0 .. width - 1 do
                                            let way = if moves[3 * i + 2] <> 0L then -1 else 1
                                            let from = bigint moves[3 * i + 1] + bigint (way * column)
                                            let above = row + int moves[3 * i]

                                            if above < 0 || above >= height || from < 0I || from >= bigint width then
                                                0.0
                                            else
                                                values[((2 * i + c) * height + above) * width + int from]
                        |]

                    Expect.sequenceEqual
                        (x.MoveImages(Tensor.From(moves, [| n; 3 |])).ToDoubles())
                        expected
                        $"{dtype}, {height} x {width}, moves %A{moves}")

            testCase "every offset is drawn, and about half of the images are mirrored" (fun () ->
                let n = 900
                let images = (Tensor.arange 1.0 1.0 10.0).Reshape(1, 1, 3, 3).Expand(n, 1, 3, 3)
                let moved, _ = Augment.crop 1 (Key.ofSeed 1) images (Tensor.zeros [ n ])

                // What stands in the middle names the offset.
                let middles = moved.Select(2, 1).Select(2, 1).ToDoubles() |> Array.countBy id
                Expect.equal middles.Length 9 "nine places"

                for place, count in middles do
                    Expect.isTrue (count > 60 && count < 140) $"place {place} is drawn {count} times of 900"

                let mirrored, _ = Augment.flip 0.5 (Key.ofSeed 1) images (Tensor.zeros [ n ])

                let count =
                    mirrored.Select(2, 0).Select(2, 0).ToDoubles()
                    |> Array.filter ((=) 3.0)
                    |> Array.length

                Expect.isTrue (count > 390 && count < 510) $"{count} of 900 are mirrored")

            testCase "noise has the deviation that is asked for" (fun () ->
                let x = Tensor.zeros [ 10; 3; 20; 20 ]
                let noisy, _ = Augment.noise 0.3 (Key.ofSeed 1) x x
                Expect.isLessThan (abs (noisy.Mean().ToDouble())) 0.02 "mean"
                Expect.isLessThan (abs (noisy.Std().ToDouble() - 0.3)) 0.02 "deviation")

            testCase "shares of mixtures follow the Beta distribution" (fun () ->
                let x = Tensor.From([| 0.0; 1.0 |], [| 2; 1 |])

                for alpha in [ 0.2; 1.0; 5.0 ] do
                    // Of the two examples one has share λ and the other 1 − λ, or both keep their own.
                    let shares =
                        [|
                            for seed in 1..2000 do
                                let mixed, _ = Augment.mixup alpha (Key.ofSeed seed) x x

                                match mixed.ToDoubles() with
                                | [| 0.0; 1.0 |] -> ()
                                | values -> values[0]
                        |]

                    let variance = shares |> Array.averageBy (fun share -> (share - 0.5) ** 2.0)
                    let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0))
                    Expect.isLessThan (abs (Array.average shares - 0.5)) 0.05 $"mean for alpha {alpha}"
                    Expect.isLessThan (abs (variance / expected - 1.0)) 0.15 $"variance for alpha {alpha}")

            testCase
                "a training plan changes its batches, each with another key, and leaves validation data as it is"
                (fun () ->
                    let key = Key.ofSeed 5
                    let x = Tensor.normal [ 20; 1; 4; 4 ] key
                    let data = Dataset.ofTensors x (Tensor.integers [ for i in 0..19 -> i % 2 ])
                    let keys = ResizeArray()

                    let watched: Augmentation =
                        fun key x y ->
                            keys.Add key
                            Augment.noise 0.1 key x y

                    let net = input [ 1; 4; 4 ] >=> flatten () >=> dense 2

                    let fit () =
                        Train.fit
                            (Optim.adam 1e-2)
                            Loss.crossEntropy
                            (epochs 3
                             >> batchSize 8
                             >> validate data
                             >> augment watched
                             >> show Progress.silent)
                            net
                            data
                            key

                    let bits (run: Run) =
                        Tree.leaves run.Parameters |> Array.collect _.ToArray<float32>()

                    let first = fit ()
                    Expect.equal (Seq.distinct keys |> Seq.length) 9 "a key for every step"
                    let before = Threads.Count

                    try
                        Threads.Count <- 1
                        Expect.sequenceEqual (bits (fit ())) (bits first) "the same on one thread"
                    finally
                        Threads.Count <- before

                    let loss, _ = Train.evaluate Loss.crossEntropy [] first data
                    Expect.equal (Some loss) first.Epochs[2].ValidationLoss "validation")

            let refused what (parts: string list) (f: unit -> unit) =
                testCase $"refused: {what}" (fun () ->
                    let message =
                        try
                            f ()
                            ""
                        with :? ArgumentException as error ->
                            error.Message

                    for part in parts do
                        Expect.stringContains message part what)

            let key = Key.ofSeed 1
            let batch = Tensor.zeros [ 4; 3 ]
            let classes = Tensor.integers [ 0; 1; 2; 0 ]
            let run (change: Augmentation) x y = change key x y |> ignore

            for name, change in [ "flip", Augment.flip 0.5; "crop", Augment.crop 1; "shift", Augment.shift 1 ] do
                refused $"{name} of vectors" [ $"{name}: images must be float[N, C, H, W]"; "[4, 3]" ] (fun () ->
                    run change batch classes)

            refused
                "moves of three images for four"
                [ "moveImages: every image needs three numbers"; "[3, 3]" ]
                (fun () ->
                    (Tensor.zeros [ 4; 1; 2; 2 ]).MoveImages(Tensor.Zeros(Shape.Of [ 3; 3 ], DType.Int64))
                    |> ignore)

            refused "mixing classes" [ "mixup: targets must be probabilities"; "int64[4]"; "Augment.oneHot" ] (fun () ->
                run (Augment.mixup 0.2) batch classes)

            refused "mixing with too few targets" [ "mixup: every input needs a target"; "[4, 3]"; "[3, 3]" ] (fun () ->
                run (Augment.mixup 0.2) batch (Tensor.zeros [ 3; 3 ]))

            refused "a probability above one" [ "flip: the probability"; "1.5" ] (fun () -> Augment.flip 1.5 |> ignore)
            refused "a negative padding" [ "crop: padding"; "-1" ] (fun () -> Augment.crop -1 |> ignore)
            refused "a negative shift" [ "shift: most"; "-2" ] (fun () -> Augment.shift -2 |> ignore)

            refused "a deviation that is not a number" [ "noise: the deviation" ] (fun () ->
                Augment.noise nan |> ignore)

            refused "alpha 0" [ "mixup: alpha must be positive" ] (fun () -> Augment.mixup 0.0 |> ignore)
        ]
