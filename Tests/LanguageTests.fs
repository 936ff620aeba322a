/// The language: trees of any type, derivatives of functions of them, losses.
module Functional.Tests.LanguageTests

open System
open System.Reflection
open Expecto
open FsCheck
open Functional

type private Affine = { Weight: Tensor; Bias: Tensor }

type private Shape2 =
    | Line of Tensor
    | Pair of first: Tensor * second: Tensor
    | Nothing

type private Model =
    {
        Layers: Affine list
        Table: Map<string, Tensor>
        Extra: Tensor option
        Form: Shape2
        Both: Tensor * (Tensor * int)
        Array: Tensor[]
        Name: string
        Tree: Tree<Tensor>
    }

let private key = Key.ofSeed 11
let private numbers n = Tensor.normal [ n ] (Key.fold n key)

let private model =
    {
        Layers =
            [
                for i in 1..3 ->
                    {
                        Weight = numbers i
                        Bias = numbers (i + 3)
                    }
            ]
        Table = Map [ "a", numbers 7; "b", numbers 8 ]
        Extra = Some(numbers 9)
        Form = Pair(numbers 10, numbers 11)
        Both = (numbers 12, (numbers 13, 5))
        Array = [| numbers 14; numbers 15 |]
        Name = "kept"
        Tree = Node [ "x", Leaf(numbers 16); "y", Node [ "z", Leaf(numbers 17) ] ]
    }

let private close what (expected: float) (actual: float) =
    Expect.isLessThan (abs (expected - actual)) (1e-7 * max 1.0 (abs expected)) $"{what}: {actual}, expected {expected}"

[<Tests>]
let trees =
    testList
        "trees"
        [
            testCase "every tensor is found once and in order, whatever holds it" (fun () ->
                let sizes = Trees.leaves model |> Array.map (fun t -> int t.Count)
                Expect.equal (Array.sort sizes) (Array.append [| 1; 2; 3 |] [| 4..17 |] |> Array.sort) "all of them"
                Expect.equal sizes[0..5] [| 1; 4; 2; 5; 3; 6 |] "records in a list")

            testCase "rebuilding gives the same value with other tensors" (fun () ->
                let doubled = Trees.map (fun t -> 2.0 * t) model
                Expect.equal doubled.Name "kept" "what is no tensor"
                Expect.equal (snd (snd doubled.Both)) 5 "what is no tensor"
                Expect.equal (doubled.Table["b"].ToDoubles()) ((2.0 * model.Table["b"]).ToDoubles()) "maps"
                Expect.equal (doubled.Extra.Value.ToDoubles()) ((2.0 * model.Extra.Value).ToDoubles()) "options"

                match doubled.Form, model.Form with
                | Pair(_, b), Pair(_, before) -> Expect.equal (b.ToDoubles()) ((2.0 * before).ToDoubles()) "unions"
                | _ -> failtest "another case"

                Expect.equal
                    (doubled.Layers[2].Bias.ToDoubles())
                    ((2.0 * model.Layers[2].Bias).ToDoubles())
                    "lists of records")

            testCase "an empty option and a case without fields hold nothing" (fun () ->
                let smaller =
                    { model with
                        Extra = None
                        Form = Nothing
                    }

                Expect.equal (Trees.leaves smaller).Length ((Trees.leaves model).Length - 3) "three fewer"
                Expect.equal (Trees.map id smaller).Extra None "still none"
                let line = { model with Form = Line(numbers 2) }
                Expect.equal (Trees.leaves line).Length ((Trees.leaves model).Length - 1) "one fewer")

            testCase "the gradient has the type of the argument" (fun () ->
                let f (m: Model) =
                    m.Layers
                    |> List.map (fun layer -> (layer.Weight.Square().Sum()) + layer.Bias.Sum())
                    |> List.reduce (fun a b -> a + b)

                let value, g = valueAndGrad f model
                Expect.isTrue (Double.IsFinite(value.ToDouble())) "a value"
                Expect.equal (g.Layers[1].Weight.ToDoubles()) ((2.0 * model.Layers[1].Weight).ToDoubles()) "2w"
                Expect.equal (g.Layers[1].Bias.ToDoubles()) (Array.create 5 1.0) "1"
                Expect.equal (g.Table["a"].ToDoubles()) (Array.zeroCreate 7) "0 where it does not matter"
                Expect.equal g.Name "kept" "the rest")

            testCase "named trees find, rebuild and refuse" (fun () ->
                Expect.equal (Tree.named model.Tree |> List.map fst) [ "x"; "y.z" ] "paths"
                Expect.equal (Tree.find "y.z" model.Tree).Count 17L "the leaf"
                Expect.throws (fun () -> Tree.find "y" model.Tree |> ignore) "no leaf"
                Expect.throws (fun () -> Tree.rebuild model.Tree [| 1 |] |> ignore) "a leaf too few"
                Expect.throws (fun () -> Tree.map2 (fun _ _ -> ()) model.Tree Tree.empty |> ignore) "other names")
        ]

[<Tests>]
let derivatives =
    let x = (Tensor.normal [ 4 ] key).Cast DType.Float64
    let v = (Tensor.normal [ 4 ] (Key.fold 1 key)).Cast DType.Float64
    let f (x: Tensor) = (x.Sin() * x.Square()).Sum()

    testList
        "derivatives in F#"
        [
            testCase "grad nests" (fun () ->
                let third = grad (grad (grad (fun (x: Tensor) -> x.Pow 4.0)))
                close "24x" (24.0 * 1.5) ((third (Tensor.Scalar 1.5)).ToDouble()))

            testCase "vjp, jvp, hvp, jacobian and hessian agree" (fun () ->
                let g = grad f x
                let _, pullback = vjp f x
                let _, along = jvp f x v
                close "pullback" ((g * v).Sum().ToDouble()) ((pullback (Tensor.Scalar 1.0) * v).Sum().ToDouble())
                close "forward" ((g * v).Sum().ToDouble()) (along.ToDouble())

                let product = hvp f x v
                let full = hessian f x *@ v
                let rows = jacobian (grad f) x *@ v

                for i in 0..3 do
                    close "hessian" (product.ToDoubles()[i]) (full.ToDoubles()[i])
                    close "jacobian of the gradient" (product.ToDoubles()[i]) (rows.ToDoubles()[i]))

            testCase "auxiliary results come back with the gradient" (fun () ->
                let value, (twice, note), g =
                    valueAndGradAux (fun (x: Tensor) -> f x, (2.0 * x, "note")) x

                close "value" ((f x).ToDouble()) (value.ToDouble())
                Expect.equal (twice.ToDoubles()) ((2.0 * x).ToDoubles()) "the tensor"
                Expect.equal note "note" "the rest"
                Expect.equal (g.ToDoubles()) ((grad f x).ToDoubles()) "the gradient"
                let _, count, _ = valueAndGradAux (fun (x: Tensor) -> f x, 3) x
                Expect.equal count 3 "no tensor at all")

            testCase "stopGradient, customVjp and checkpoint" (fun () ->
                let stopped = grad (fun (x: Tensor) -> (x * stopGradient x).Sum()) x
                Expect.equal (stopped.ToDoubles()) (x.ToDoubles()) "one factor is a constant"
                let clipped = customVjp (fun x -> x) (fun _ _ g -> g.Clamp(-0.5, 0.5))
                let g = grad (fun (x: Tensor) -> (3.0 * clipped x).Sum()) x
                Expect.equal (g.ToDoubles()) (Array.create 4 0.5) "the rule given by hand"
                let again = grad (fun x -> (checkpoint (fun x -> x.Sin() * x.Square()) x).Sum()) x

                for a, b in Array.zip ((grad f x).ToDoubles()) (again.ToDoubles()) do
                    close "checkpoint" a b)

            testCase "weak scalars keep the tensor's dtype on both sides" (fun () ->
                for t in [ x; x.Cast DType.Float32 ] do
                    for y in
                        [
                            2.0 * t
                            t * 2.0
                            2 * t
                            t * 2
                            2.0f * t
                            t / 2.0f
                            1 - t
                            t - 1.0
                            1.0 / t
                            t + 1
                        ] do
                        Expect.equal y.DType t.DType "dtype")
        ]

[<Tests>]
let vocabulary =
    testList
        "vocabulary"
        [
            testCase "every operation of a tensor is a function, too" (fun () ->
                let everything =
                    BindingFlags.Public ||| BindingFlags.Static ||| BindingFlags.Instance

                let functions =
                    let words =
                        typeof<Tree<int>>.Assembly.GetTypes()
                        |> Array.find (fun kind -> kind.FullName = "Functional.TensorModule")

                    words.GetMethods everything |> Array.map _.Name |> Set

                // What F# has another word for, or what is no operation.
                let elsewhere =
                    Map
                        [
                            "And", "logicalAnd"
                            "Or", "logicalOr"
                            "Xor", "logicalXor"
                            "Not", "logicalNot"
                            "Mod", "the operator %"
                            "Repeat", "tile"
                            "ExpandTo", "expand"
                            "Embedding", "take"
                            "From", "vector"
                            "FromSpan", "vector"
                            "Meta", "layers' shapes"
                            "CrossEntropy", "Loss"
                            "SoftmaxCrossEntropy", "Loss"
                        ]

                let missing =
                    [
                        for method in typeof<Tensor>.GetMethods(everything ||| BindingFlags.DeclaredOnly) do
                            let name = method.Name
                            let word = string (Char.ToLowerInvariant name[0]) + name.Substring 1

                            if
                                method.ReturnType = typeof<Tensor>
                                && not method.IsSpecialName
                                && not (functions.Contains word)
                                && not (elsewhere.ContainsKey name)
                            then
                                word
                    ]

                Expect.equal missing [] "none is missing")

            testCase "the right side comes first, so that it reads in a pipe" (fun () ->
                let x, y = Tensor.vector [ 1.0; 2.0; 3.0 ], Tensor.vector [ 2.0; 2.0; 2.0 ]
                Expect.equal (x |> Tensor.less y |> Tensor.toArray) [| 1.0; 0.0; 0.0 |] "x < y"
                Expect.equal (x |> Tensor.greaterEqual y |> Tensor.toArray) [| 0.0; 1.0; 1.0 |] "x ≥ y"
                let values, places = x |> Tensor.reshape [ 1; 3 ] |> Tensor.maxWithIndices 1
                Expect.equal (values.ToDoubles(), places.ToDoubles()) ([| 3.0 |], [| 2.0 |]) "the largest"
                let w, b = Tensor.matrix [ [ 1.0; 0.0 ]; [ 0.0; 2.0 ] ], Tensor.vector [ 1.0; 1.0 ]
                let row = Tensor.matrix [ [ 3.0; 4.0 ] ]
                Expect.equal (row |> Tensor.linear w b |> Tensor.toArray) ((row *@ w + b).ToDoubles()) "x·w + b"
                let padded = Tensor.ones [ 2 ] |> Tensor.pad [ 1 ] [ 2 ]
                Expect.equal (padded.ToDoubles()) [| 0.0; 1.0; 1.0; 0.0; 0.0 |] "zeros around"

                let added =
                    Tensor.zeros [ 3 ]
                    |> Tensor.scatterAdd 0 (Tensor.integers [ 2; 2 ]) (Tensor.ones [ 2 ])

                Expect.equal (added.ToDoubles()) [| 0.0; 0.0; 2.0 |] "added twice"
                Expect.equal (x |> Tensor.tile [ 2 ] |> Tensor.shape) [ 6 ] "twice")
        ]

[<Tests>]
let losses =
    let drawn n (fold: int) =
        (key.Fold fold).Normal(Shape.Of [ n; 3 ], dtype = DType.Float64)

    let alongDifferences name (loss: Tensor -> Tensor -> Tensor) (target: int -> Tensor) =
        testProperty $"the gradient of {name} agrees with differences" (fun (PositiveInt n) ->
            let n = 1 + n % 9
            let x, t, v = drawn n 1, target n, drawn n 2
            let g = grad (fun x -> loss x t) x
            let at (h: float) = (loss (x + h * v) t).ToDouble()
            let central h = (at h - at -h) / (2.0 * h)
            let expected = (4.0 * central 5e-4 - central 1e-3) / 3.0
            close name expected ((g * v).Sum().ToDouble()))

    let probabilities n = (drawn n 3).Softmax 1
    let classes n = key.Integers(Shape.Of [ n ], 0L, 3L)

    testList
        "losses"
        [
            for name, loss, target in
                [
                    "crossEntropy", Loss.crossEntropy, classes
                    "mse", Loss.mse, (fun n -> drawn n 3)
                    "huber", Loss.huber 0.7, (fun n -> drawn n 3)
                    "bceWithLogits", Loss.bceWithLogits, probabilities
                ] do
                testProperty $"the curvature of {name} agrees with differences" (fun (PositiveInt n) ->
                    let n = 1 + n % 9
                    let x, t, v = drawn n 1, target n, drawn n 2

                    let slope (h: float) =
                        ((grad (fun x -> loss x t) (x + h * v)) * v).Sum().ToDouble()

                    let central h = (slope h - slope -h) / (2.0 * h)
                    let expected = (4.0 * central 5e-4 - central 1e-3) / 3.0
                    close name expected ((hvp (fun x -> loss x t) x v * v).Sum().ToDouble()))

            testCase "the smooth losses keep their curvature at zero, where training often starts" (fun () ->
                let zero, one = Tensor.From [| 0.0 |], Tensor.From [| 1.0 |]

                for name, loss, target, slope, curvature in
                    [
                        "huber", Loss.huber 1.0, zero, 0.0, 1.0
                        "smoothL1", Loss.smoothL1 2.0, zero, 0.0, 0.5
                        "bceWithLogits", Loss.bceWithLogits, one, -0.5, 0.25
                    ] do
                    close name slope ((grad (fun x -> loss x target) zero).ToDouble())
                    close name curvature ((hvp (fun x -> loss x target) zero one).ToDouble()))

            testCase "bceWithLogits of confident scores keeps its digits" (fun () ->
                for x, t in [ 12.0, 1.0; -12.0, 0.0 ] do
                    let loss =
                        (Loss.bceWithLogits (Tensor.vector [ x ]) (Tensor.vector [ t ])).ToDouble()

                    let expected = Math.Log(1.0 + exp -12.0)
                    Expect.isLessThan (abs (loss - expected)) (1e-5 * expected) $"ln(1 + e^−12): {loss}")

            testCase "attributes that make no loss are refused" (fun () ->
                let x = Tensor.vector [ 1.0; -1.0 ]

                for delta in [ 0.0; -1.0; nan ] do
                    Expect.throwsT<ArgumentException> (fun () -> Loss.huber delta x x |> ignore) $"delta {delta}"

                Expect.throwsT<ArgumentException> (fun () -> Loss.smoothL1 -1.0 x x |> ignore) "delta −1"
                close "smoothL1 0 is l1" 1.0 ((Loss.smoothL1 0.0 x (Tensor.zeros [ 2 ])).ToDouble())

                Expect.throwsT<ShapeException>
                    (fun () -> Loss.klDivergence (Tensor.scalar 0.0) (Tensor.scalar 1.0) |> ignore)
                    "no batch axis")

            alongDifferences "crossEntropy" Loss.crossEntropy classes
            alongDifferences "crossEntropy of probabilities" Loss.crossEntropy probabilities
            alongDifferences "crossEntropySmoothed" (Loss.crossEntropySmoothed 0.1) classes
            alongDifferences "mse" Loss.mse (fun n -> drawn n 3)
            alongDifferences "l1" Loss.l1 (fun n -> drawn n 3)
            alongDifferences "huber" (Loss.huber 0.7) (fun n -> drawn n 3)
            alongDifferences "smoothL1" (Loss.smoothL1 2.0) (fun n -> drawn n 3)
            alongDifferences "bceWithLogits" Loss.bceWithLogits probabilities
            alongDifferences "binaryCrossEntropy" (fun x t -> Loss.binaryCrossEntropy (x.Sigmoid()) t) probabilities
            alongDifferences "klDivergence" (fun x t -> Loss.klDivergence (x.LogSoftmax 1) t) probabilities
            alongDifferences "negativeLogLikelihood" (fun x t -> Loss.negativeLogLikelihood (x.LogSoftmax 1) t) classes

            testProperty "classes, one-hot rows and log-probabilities give one cross-entropy" (fun (PositiveInt n) ->
                let n = 1 + n % 20
                let x, y = drawn n 5, classes n
                let expected = (Loss.crossEntropy x y).ToDouble()
                close "one-hot" expected ((Loss.crossEntropy x (y.OneHot(3, DType.Float64))).ToDouble())
                close "likelihood" expected ((Loss.negativeLogLikelihood (x.LogSoftmax 1) y).ToDouble()))

            testCase "positions beside the class axis count like examples" (fun () ->
                let x = key.Normal(Shape.Of [ 2; 3; 4 ], dtype = DType.Float64)
                let y = key.Integers(Shape.Of [ 2; 4 ], 0L, 3L)

                close
                    "cross-entropy"
                    ((Loss.crossEntropy (x.Permute(0, 2, 1).Reshape(8, 3)) (y.Flatten())).ToDouble())
                    ((Loss.crossEntropy x y).ToDouble()))

            testCase "a broadcast that changes the shape is refused" (fun () ->
                for name, loss in
                    [
                        "mse", Loss.mse
                        "l1", Loss.l1
                        "huber", Loss.huber 1.0
                        "bceWithLogits", Loss.bceWithLogits
                    ] do
                    let message =
                        try
                            loss (Tensor.zeros [ 32; 1 ]) (Tensor.zeros [ 32 ]) |> string
                        with :? ShapeException as error ->
                            error.Message

                    Expect.equal
                        message
                        $"{name}: prediction and target must have the same shape; got [32, 1] and [32]. Reshape one of them."
                        "the message"

                Expect.throwsT<ShapeException>
                    (fun () -> Loss.crossEntropy (Tensor.zeros [ 4; 3 ]) (Tensor.integers [ 1; 2 ]) |> ignore)
                    "too few classes")

            testCase "losses of large scores are finite, and so are their gradients" (fun () ->
                let x = Tensor.From([| 1000.0; -1000.0; 0.0 |], 1, 3)

                for loss, t in
                    [
                        Loss.bceWithLogits, Tensor.From([| 1.0; 1.0; 0.0 |], 1, 3)
                        Loss.crossEntropy, Tensor.From([| 0.0; 1.0; 0.0 |], 1, 3)
                    ] do
                    let value, g = valueAndGrad (fun x -> loss x t) x

                    for number in Array.append (value.ToDoubles()) (g.ToDoubles()) do
                        Expect.isTrue (Double.IsFinite number) "finite")
        ]
