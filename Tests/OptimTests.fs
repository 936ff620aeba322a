/// Schedules, and optimisers as pure functions, in place, in chains, and differentiated.
module Functional.Tests.OptimTests

open System
open Expecto
open FsCheck.FSharp
open Functional
open Functional.Autodiff
open Functional.Kernels
open Functional.Tests.Laws
open Functional.Tests.Laws.Numbers

/// An optimiser made from a schedule, with the peaks of rates that suit the parabola and Rosenbrock's function.
type private Entry =
    {
        Name: string
        Make: Schedule -> Optimiser
        Parabola: float
        Valley: float
    }

let private entry name make parabola valley =
    {
        Name = name
        Make = make
        Parabola = parabola
        Valley = valley
    }

let private clipped rule =
    Optim.chain [ Clip.globalNorm 1.0; rule ]

let private table =
    [
        entry "sgd" (fun r -> Optim.sgd r) 0.1 2e-3
        entry "momentum" (fun r -> Optim.momentum r) 0.02 1e-3
        entry "damped momentum" (fun r -> Optim.momentum (r, momentum = 0.8, dampening = 0.5)) 0.05 1e-3
        entry "nesterov" (fun r -> Optim.nesterov r) 0.02 1e-3
        entry "rmsProp" (fun r -> Optim.rmsProp r) 0.05 0.02
        entry "moving rmsProp" (fun r -> Optim.rmsProp (r, momentum = 0.5)) 0.05 0.01
        entry "centred rmsProp" (fun r -> Optim.rmsProp (r, alpha = 0.9, centred = true, momentum = 0.5)) 0.02 3e-3
        entry "adam" (fun r -> Optim.adam r) 0.1 0.1
        entry "amsgrad" (fun r -> Optim.adam (r, amsgrad = true)) 0.1 0.1
        entry "adamW" (fun r -> Optim.adamW (r, decay = 1e-4)) 0.1 0.1
        entry "adagrad" (fun r -> clipped (Optim.adagrad r)) 1.0 1.0
        entry "adadelta" (fun r -> Optim.adadelta (r, epsilon = 1e-4)) 2.0 2.0
        entry "adamax" (fun r -> Optim.adamax r) 0.1 0.2
        entry "nadam" (fun r -> Optim.nadam r) 0.1 0.1
        entry "radam" (fun r -> clipped (Optim.radam r)) 0.1 0.1
    ]

/// Takes steps in the way of `Optimiser.Update`.
let private descend (rule: Optimiser) steps (f: Tensor[] -> Tensor) start =
    let mutable parameters = start
    let mutable moments = rule.Init start

    for step in 0 .. steps - 1 do
        let struct (_, gradients) = Diff.ValueAndGrad(Func<Tensor[], Tensor> f, parameters)
        let next, nextMoments = rule.Update step gradients parameters moments
        parameters <- next
        moments <- nextMoments

    parameters

let private parabola (w: Tensor[]) : Tensor =
    (w[0] - Tensor.From [| 1.0; -2.0; 3.0 |]).Square().Sum() * 0.5
    + (w[1] - 0.5).Square().Sum() * 2.0

let private rosenbrock (w: Tensor[]) : Tensor =
    (1.0 - w[0]).Square().Sum() + 100.0 * (w[1] - w[0].Square()).Square().Sum()

let private minimises =
    testList
        "minimise"
        [
            for entry in table do
                testCase $"{entry.Name} finds the bottom of a parabola" (fun () ->
                    let start = [| Tensor.From [| 0.0; 0.0; 0.0 |]; Tensor.From [| 2.0 |] |]

                    let found =
                        descend (entry.Make(Schedule.cosine entry.Parabola 300)) 300 parabola start

                    Expect.isLessThan ((parabola found).ToDouble()) 0.01 "from 11.5")

                testCase $"{entry.Name} follows Rosenbrock's valley" (fun () ->
                    let start = [| Tensor.From [| -1.0 |]; Tensor.From [| 1.5 |] |]

                    let found =
                        descend (entry.Make(Schedule.cosine entry.Valley 3000)) 3000 rosenbrock start

                    Expect.isLessThan ((rosenbrock found).ToDouble()) 0.05 "from 29")
        ]

/// Parameters of one to four shapes, and gradients of several layouts for a few steps.
let private problem (draw: Draw) =
    let singles =
        Draw(uint64 (draw.Int(0, Int32.MaxValue)), draw.Size, DType = DType.Float32)

    let shapes =
        [| for _ in 1 .. draw.Int(1, 4) -> draw.Shape(empty = true), draw.Chance() |]

    let tensors () =
        shapes
        |> Array.map (fun (shape, single) -> (if single then singles else draw).Tensor(shape))

    tensors () |> Array.map copy, [ for _ in 1..4 -> tensors () ]

let private fusedRules =
    let rate = Schedule.exponential 0.05 0.9

    [
        "sgd", Optim.sgd (rate, decay = 0.1)
        "momentum", Optim.momentum (rate, dampening = 0.3, decay = 0.1)
        "nesterov", Optim.nesterov (rate, decay = 0.1)
        "rmsProp", Optim.rmsProp (rate, decay = 0.1)
        "moving rmsProp", Optim.rmsProp (rate, momentum = 0.5)
        "centred rmsProp", Optim.rmsProp (rate, centred = true)
        "centred and moving rmsProp", Optim.rmsProp (rate, alpha = 0.9, centred = true, momentum = 0.5)
        "adam", Optim.adam (rate, decay = 0.1)
        "amsgrad", Optim.adam (rate, beta2 = 0.9, amsgrad = true)
        "adamW", Optim.adamW (rate, decay = 0.1)
        "chain", Optim.chain [ Clip.globalNorm 1.0; Penalty.l1 0.1; Optim.adam rate ]
        "chain of methods", Optim.chain [ Optim.momentum 0.5; Optim.adam rate ]
        "frozen", Optim.frozen
    ]

let private inPlaceIsPure (rule: Optimiser) (case: Case) =
    let parameters, gradients = problem (Draw(case.Seed, case.Size))
    let mine = parameters |> Array.map copy
    let myMoments = rule.Init mine |> Array.map (Array.map copy)
    let mutable pure' = parameters
    let mutable moments = rule.Init parameters

    for step, gradients in List.indexed gradients do
        let before = gradients |> Array.map copy
        rule.InPlace.Value step gradients mine myMoments
        Array.iter2 (identical "a gradient afterwards") before gradients
        let next, nextMoments = rule.Update step gradients pure' moments
        pure' <- next
        moments <- nextMoments
        Array.iter2 (agree $"parameter after step {step}") pure' mine
        Array.iter2 (Array.iter2 (agree $"moment after step {step}")) moments myMoments

let private inPlace =
    testList
        "in place"
        [
            for name, rule in fusedRules do
                testPropertyWithConfig
                    (Law.config 40)
                    $"{name} takes the steps of the pure form"
                    (Prop.forAll Law.cases (inPlaceIsPure rule))

                testCase $"{name} gives the same bits on one thread and on many" (fun () ->
                    let start () =
                        [| for n in [ 3; 20_001; 0; 77; 9_000 ] -> Tensor.Linspace(-1.0, 1.0, n) |]

                    let run threads =
                        let before = Workers.Count
                        Workers.Count <- threads

                        try
                            let parameters = start ()
                            let moments = rule.Init parameters

                            for step in 0..2 do
                                rule.InPlace.Value step (start ()) parameters moments

                            parameters
                        finally
                            Workers.Count <- before

                    Array.iter2 (identical name) (run 1) (run 3))

            testCase "a gradient of another shape, or one too few, is refused" (fun () ->
                let rule = Optim.adam 0.1
                let parameters = [| Tensor.Zeros(Shape.Of [ 2; 3 ]) |]

                let refused gradients =
                    Expect.throwsT<ShapeException>
                        (fun () -> rule.InPlace.Value 0 gradients parameters (rule.Init parameters))
                        "refused"

                refused [| Tensor.Zeros(Shape.Of [ 3; 2 ]) |]
                refused [| Tensor.Zeros(Shape.Of [ 2; 3 ], DType.Float64) |]
                refused [||]
                Expect.equal (parameters[0].ToDoubles()) (Array.zeroCreate 6) "nothing was changed")
        ]

/// ⟨gradient of the last loss with respect to the start, d⟩ against differences.
let private unrolled (rule: Optimiser) =
    let draw = Draw(7UL, 3, Views = false)

    let start =
        [|
            draw.Tensor(Shape.Of [ 2; 3 ], 0.5, 1.5)
            draw.Tensor(Shape.Of [ 4 ], 0.5, 1.5)
        |]

    let d = start |> Array.map (direction draw)

    let loss (w: Tensor[]) : Tensor =
        w[0].Exp().Sum() + (w[1] * w[1].Square()).Sum()

    let final (start: Tensor[]) = [| loss (descend rule 4 loss start) |]
    let one = [| Tensor.Scalar 1.0 |]
    let struct (_, g) = Diff.ValueAndGrad((fun w -> (final w)[0]), start)
    let size = abs ((loss start).ToDouble())
    agreesWithDifferences "through four steps" size (magnitude g d) (inner g d) (differences final one start d)

let private differentiated =
    testList
        "differentiate through steps of"
        [
            for entry in table do
                testCase entry.Name (fun () -> unrolled (entry.Make(Schedule.constant 0.01)))

            testCase "chains" (fun () ->
                unrolled (Optim.chain [ Clip.globalNorm 2.0; Penalty.l2 0.1; Penalty.l1 0.1; Optim.nadam 0.01 ]))

            testCase "a gradient that is always 0 spoils nothing" (fun () ->
                for entry in table do
                    let loss (w: Tensor[]) = w[0].Square().Sum() + 0.0 * w[1].Sum()

                    let final w =
                        loss (descend (entry.Make(Schedule.constant 0.01)) 3 loss w)

                    let struct (_, g) =
                        Diff.ValueAndGrad(final, [| Tensor.From [| 1.0; 0.0 |]; Tensor.From [| 1.0 |] |])

                    for value in Array.collect (fun (t: Tensor) -> t.ToDoubles()) g do
                        Expect.isTrue (Double.IsFinite value) $"{entry.Name}: finite")
        ]

let private property name law =
    testPropertyWithConfig (Law.config 60) name (Prop.forAll Law.cases (fun case -> law (Draw(case.Seed, case.Size))))

/// The directions of a rule's first step.
let private directions (rule: Optimiser) gradients parameters =
    rule.Direction 0 gradients parameters (rule.Init parameters) |> fst

let private norm (x: Tensor[]) = sqrt (inner x x)

let private transforms =
    testList
        "before a method"
        [
            property "globalNorm shortens what is too long, and turns nothing" (fun draw ->
                let parameters, gradients = problem draw
                let g = gradients[0]
                let largest = draw.Uniform(0.1, 5.0)
                let clipped = directions (Clip.globalNorm largest) g parameters
                let share = if norm g <= largest then 1.0 else largest / norm g
                Expect.isLessThanOrEqual (norm clipped) (largest * 1.00001) "length"

                // The length is known as well as the least precise of the gradients.
                Array.iter2
                    (fun (g: Tensor) (c: Tensor) ->
                        let expected = g.ToDoubles() |> Array.map (fun v -> share * v)
                        within "scaled" (fun i -> 1e-6 * abs expected[i]) expected (c.ToDoubles()))
                    g
                    clipped)

            property "value holds every element within bounds" (fun draw ->
                let parameters, gradients = problem draw
                let bound = draw.Uniform(0.1, 2.0)

                Array.iter2
                    (fun (g: Tensor) c ->
                        agree "clipped" (like g (g.ToDoubles() |> Array.map (fun v -> max -bound (min bound v)))) c)
                    gradients[0]
                    (directions (Clip.value bound) gradients[0] parameters))

            property "penalties add their own gradient" (fun draw ->
                let parameters, gradients = problem draw

                for rule, penalty in
                    [
                        Penalty.l1 0.3, (fun (p: Tensor) -> 0.3 * p.Abs().Sum())
                        Penalty.l2 0.3, (fun (p: Tensor) -> 0.15 * p.Square().Sum())
                    ] do
                    let expected =
                        Array.map2
                            (fun (g: Tensor) p ->
                                let struct (_, added) =
                                    Diff.ValueAndGrad((fun (t: Tensor[]) -> penalty t[0]), [| p |])

                                g + added[0])
                            gradients[0]
                            parameters

                    Array.iter2 (agree rule.Name) expected (directions rule gradients[0] parameters))

            property "decay in a method is the penalty before it" (fun draw ->
                let parameters, gradients = problem draw

                for inside, method' in
                    [
                        Optim.sgd (0.1, decay = 0.2), Optim.sgd 0.1
                        Optim.nesterov (0.1, decay = 0.2), Optim.nesterov 0.1
                        Optim.adam (0.1, decay = 0.2), Optim.adam 0.1
                        Optim.radam (0.1, decay = 0.2), Optim.radam 0.1
                    ] do
                    Array.iter2
                        (agree method'.Name)
                        (directions (Optim.chain [ Penalty.l2 0.2; method' ]) gradients[0] parameters)
                        (directions inside gradients[0] parameters))
        ]

let private chains =
    let parts =
        [ Clip.globalNorm 1.0; Optim.momentum 0.5; Penalty.l2 0.1; Optim.adam 0.1 ]

    let sameSteps (a: Optimiser) (b: Optimiser) draw =
        let parameters, gradients = problem draw
        let mutable p, q = parameters, parameters
        let mutable m, n = a.Init p, b.Init q
        Expect.equal (a.Groups, m.Length) (b.Groups, n.Length) "groups of moments"

        for step, g in List.indexed gradients do
            let p', m' = a.Update step g p m
            let q', n' = b.Update step g q n
            Array.iter2 (identical "parameters") p' q'
            Array.iter2 (Array.iter2 (identical "moments")) m' n'
            p <- p'
            q <- q'
            m <- m'
            n <- n'

    testList
        "chain"
        [
            property "is associative" (fun draw ->
                sameSteps
                    (Optim.chain [ Optim.chain parts[..1]; Optim.chain parts[2..] ])
                    (Optim.chain [ parts[0]; Optim.chain parts[1..2]; parts[3] ])
                    draw)

            property "of one rule is the rule" (fun draw ->
                sameSteps (Optim.chain [ Optim.adamW 0.1 ]) (Optim.adamW 0.1) draw)

            property "of none steps by the gradient" (fun draw -> sameSteps (Optim.chain []) (Optim.sgd 1.0) draw)
        ]

let private paths =
    [| "features.dense.weight"; "features.dense.bias"; "head.weight" |]

let private leaves =
    [|
        Tensor.From [| 1.0; -2.0; 3.0 |]
        Tensor.From [| 0.5 |]
        Tensor.From [| 4.0f; -1.0f |]
    |]

let private slopes (parameters: Tensor[]) =
    parameters |> Array.mapi (fun i p -> float (i + 1) * p + 0.25)

/// The parameters after a few steps, pure or in place.
let private walk isInPlace (rule: Optimiser) (start: Tensor[]) =
    if isInPlace then
        let mine = start |> Array.map copy
        let moments = rule.Init mine |> Array.map (Array.map copy)

        for step in 0..3 do
            rule.InPlace.Value step (slopes mine) mine moments

        mine
    else
        let mutable p = start
        let mutable m = rule.Init start

        for step in 0..3 do
            let p', m' = rule.Update step (slopes p) p m
            p <- p'
            m <- m'

        p

let private groups =
    let rule =
        Optim.byPath
            [ "head", Optim.adam 0.1; "*bias", Optim.frozen ]
            (Optim.chain [ Penalty.l2 0.1; Optim.momentum 0.05 ])

    let alone = Optim.chain [ Penalty.l2 0.1; Optim.momentum 0.05 ]

    testList
        "by path"
        [
            for isInPlace in [ false; true ] do
                let way = if isInPlace then "in place" else "pure"

                testCase $"every parameter takes the steps of its own rule, {way}" (fun () ->
                    let found = walk isInPlace (Optim.along paths rule) leaves
                    // The slopes of a parameter depend on its place.
                    let expected rule i = (walk isInPlace rule leaves)[i]
                    identical "first group" (expected (Optim.adam 0.1) 2) found[2]
                    identical "frozen" leaves[1] found[1]
                    identical "others" (expected alone 0) found[0])

                testCase $"only leaves the other gradients as they are, {way}" (fun () ->
                    let rule = Optim.chain [ Optim.only "features" (Penalty.l1 0.5); Optim.sgd 0.1 ]
                    let found = walk isInPlace (Optim.along paths rule) leaves
                    let all = walk isInPlace (Optim.chain [ Penalty.l1 0.5; Optim.sgd 0.1 ]) leaves
                    let none = walk isInPlace (Optim.sgd 0.1) leaves
                    Array.iter2 (identical "with and without") [| all[0]; all[1]; none[2] |] found)

            testCase "a tree binds its rule itself" (fun () ->
                let tree =
                    Node [ "features", Node [ "weight", Leaf leaves[0] ]; "head", Leaf leaves[2] ]

                let rule = Optim.byPath [ "head", Optim.sgd 1.0 ] Optim.frozen
                let next, state = Optim.step rule tree tree (Optim.init rule tree)
                Expect.equal state.Step 1 "steps"
                identical "frozen" leaves[0] (Tree.find "features.weight" next)
                Expect.equal ((Tree.find "head" next).ToDoubles()) [| 0.0; 0.0 |] "a step of all there is")

            testCase "the first pattern that matches counts" (fun () ->
                let rule =
                    Optim.byPath [ "*weight", Optim.frozen; "features", Optim.sgd 1.0 ] (Optim.sgd 0.5)

                let found = walk false (Optim.along paths rule) leaves
                identical "weight" leaves[0] found[0]
                let all = walk false (Optim.sgd 1.0) leaves
                identical "bias" all[1] found[1]
                identical "weight" leaves[2] found[2])

            testCase "a pattern that means nothing, and leaves without names, are refused" (fun () ->
                let message f =
                    try
                        f () |> ignore
                        failtest "it must be refused"
                    with
                    | :? ArgumentException
                    | :? InvalidOperationException as error -> error.Message

                let idle =
                    message (fun () -> Optim.along paths (Optim.byPath [ "heads", Optim.sgd 1.0 ] (Optim.sgd 1.0)))

                Expect.stringContains idle "'heads'" "the pattern"
                Expect.stringContains idle "features.dense.bias" "the paths"
                Expect.stringContains (message (fun () -> rule.Init leaves)) "Optim.along" "the way out")

            testCase "patterns" (fun () ->
                for pattern, path, expected in
                    [
                        "features", "features.dense.weight", true
                        "features", "features2.dense.weight", false
                        "feature", "features.dense.weight", false
                        "features.dense.weight", "features.dense.weight", true
                        "dense", "features.dense.weight", false
                        "*dense", "features.dense.weight", true
                        "*weight", "weight", true
                        "*weight", "dense.weights", false
                        "dense*.weight", "dense12.weight", true
                        "dense.", "dense.weight", false
                        "*", "a.b", true
                        "a+", "aa", false
                    ] do
                    Expect.equal (Tree.matches pattern path) expected $"'{pattern}' and '{path}'")
        ]

let private trees =
    testList
        "trees"
        [
            testCase "a step on a tuple is a step on its leaves" (fun () ->
                let rule = Optim.chain [ Clip.value 1.0; Optim.adam 0.1 ]
                let tree = Tensor.From [| 1.0; 2.0 |], (Tensor.From [| 3.0f |], "name")
                let gradient = Tensor.From [| 0.5; -4.0 |], (Tensor.From [| 0.25f |], "name")
                let next, state = Optim.step rule gradient tree (Optim.init rule tree)
                let (a, (b, name)), state = Optim.step rule gradient next state
                Expect.equal state.Step 2 "steps"
                Expect.equal name "name" "what is no tensor stays"
                within "first" (fun _ -> 1e-8) [| 0.8; 2.2 |] (a.ToDoubles())
                within "second" (fun _ -> 1e-6) [| 2.8 |] (b.ToDoubles()))

            testCase "another number of gradients is refused" (fun () ->
                let rule = Optim.sgd 0.1
                let two = [| Tensor.Scalar 1.0; Tensor.Scalar 1.0 |]

                Expect.throwsT<ArgumentException>
                    (fun () -> Optim.step rule two[..0] two (Optim.init rule two) |> ignore)
                    "refused")
        ]

let private rates (schedule: Schedule) steps = Array.init steps schedule.At

let private close what (expected: float[]) actual =
    within what (fun i -> 1e-12 * abs expected[i] + 1e-15) expected actual

let private schedules =
    testList
        "schedules"
        [
            testCase "constant, and a number for it" (fun () ->
                close "constant" [| 0.1; 0.1 |] (rates (Schedule.constant 0.1) 2)
                close "a number" [| 0.1; 0.1 |] (rates (Schedule.op_Implicit 0.1) 2))

            testCase "step and multiStep drop at their steps" (fun () ->
                close "step" [| 1.0; 1.0; 0.5; 0.5; 0.25 |] (rates (Schedule.step 1.0 2 0.5) 5)
                close "multiStep" [| 1.0; 0.1; 0.1; 0.01; 0.01 |] (rates (Schedule.multiStep 1.0 [ 3; 1 ] 0.1) 5))

            testCase "exponential" (fun () ->
                close "exponential" [| 2.0; 1.0; 0.5 |] (rates (Schedule.exponential 2.0 0.5) 3))

            testCase "linear reaches its end and stays" (fun () ->
                close "linear" [| 1.0; 2.0; 3.0; 3.0 |] (rates (Schedule.linear 1.0 3.0 2) 4))

            testCase "cosine: half a wave, then constant" (fun () ->
                close "cosine" [| 1.0; 0.75; 0.25; 0.0; 0.0 |] (rates (Schedule.cosine 1.0 3) 5)
                close "cosineTo" [| 1.1; 0.6; 0.1; 0.1 |] (rates (Schedule.cosineTo 0.1 1.1 2) 4))

            testCase "cosineRestarts: waves that grow" (fun () ->
                close
                    "growing"
                    [|
                        1.0
                        0.5
                        1.0
                        cos (Math.PI / 8.0) ** 2.0
                        0.5
                        sin (Math.PI / 8.0) ** 2.0
                        1.0
                    |]
                    (rates (Schedule.cosineRestarts 1.0 2 2) 7)

                close "equal" [| 1.0; 0.5; 1.0; 0.5; 1.0 |] (rates (Schedule.cosineRestarts 1.0 2 1) 5))

            testCase "warmUp rises to the schedule that follows" (fun () ->
                let rates = rates (Schedule.warmUp 4 (Schedule.step 1.0 2 0.5)) 8
                close "warmUp" [| 0.2; 0.4; 0.6; 0.8; 1.0; 1.0; 0.5; 0.5 |] rates)

            testCase "oneCycle goes up, down, and stays down" (fun () ->
                for linear in [ false; true ] do
                    let schedule = Schedule.oneCycle (1.0, 20, linear = linear)
                    let rates = rates schedule 25
                    close "start, peak, end" [| 0.04; 1.0; 4e-6; 4e-6 |] [| rates[0]; rates[5]; rates[19]; rates[24] |]
                    Expect.isAscending rates[..5] "up"
                    Expect.isDescending rates[5..] "down")

            testCase "no steps are refused" (fun () ->
                for make in [ Schedule.cosine 1.0; Schedule.linear 1.0 0.0 ] do
                    Expect.throwsT<ArgumentException> (fun () -> make 0 |> ignore) "refused")
        ]

[<Tests>]
let tests =
    testList
        "optimisers"
        [
            schedules
            transforms
            chains
            groups
            inPlace
            trees
            differentiated
            minimises
        ]
