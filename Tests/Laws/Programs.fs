/// Random programs: graphs of operations with shared nodes, views and broadcasts, on which every path to a derivative must agree, for one example and for
/// many at once.
module Functional.Tests.Laws.Programs

open System
open Expecto
open FsCheck.FSharp
open Functional
open Functional.Tests.Laws.Numbers

/// One node: which operation, and which of the nodes before it it takes; numbers wrap around, so that any part of a program is one.
type Step =
    {
        Operation: int
        First: int
        Second: int
    }

type Program = { Inputs: int; Steps: Step list }

let private column (x: Tensor) = x.Reshape(-1, 1)

let private alternating (shape: Shape) =
    Tensor.From(Array.init (int shape.Count) (fun i -> i % 2 = 0)).Reshape(shape.ToArray())

/// Smooth, and bounded enough that thirty of them stay finite. Each takes any two matrices of at least one element.
let private operations: (string * (Tensor -> Tensor -> Tensor)) list =
    [
        "sin x", (fun x _ -> x.Sin())
        "tanh x", (fun x _ -> x.Tanh())
        "σ x", (fun x _ -> x.Sigmoid())
        "softplus x", (fun x _ -> x.Softplus())
        "erf x", (fun x _ -> x.Erf())
        "gelu x", (fun x _ -> x.Gelu())
        "√(1 + x²)", (fun x _ -> (1.0 + x.Square()).Sqrt())
        "ln(1 + x²)", (fun x _ -> x.Square().Log1p())
        "1/(1 + e^(−x²))", (fun x _ -> 1.0 / (1.0 + (-x.Square()).Exp()))
        "x·x", (fun x _ -> (x * x).Tanh())
        "x + Σy", (fun x y -> x + y.Mean())
        "x·(row of y)", (fun x y -> x * y.Sum([| 1 |], true).Slice(0, 0, 1).Tanh())
        "column × row", (fun x y -> column (x.Mean 1) * y.Mean(0).Tanh())
        "x − row mean", (fun x _ -> x - x.Mean([| 1 |], true))
        "x / (1 + y²)", (fun x y -> x / (1.0 + y.Square().Mean()))
        "softmax x", (fun x _ -> x.Softmax 1)
        "log-softmax over rows", (fun x _ -> x.LogSoftmax 0)
        "logsumexp", (fun x _ -> column (x.LogSumExp 1))
        "xᵀ", (fun x _ -> x.T)
        "x·xᵀ", (fun x _ -> (x *@ x.T).Tanh())
        "xᵀ·y where it fits",
        (fun x y ->
            if x.Shape[0] = y.Shape[0] then
                (x.T *@ y).Tanh()
            else
                x.Sin())
        "flat", (fun x _ -> x.Reshape(1, -1))
        "every other column", (fun x _ -> x.Slice(1, 0, Nullable(), 2))
        "rows back to front", (fun x _ -> x.Flip 0)
        "x beside itself", (fun x _ -> Tensor.Concat(1, x, x.Sin()))
        "rows again and again", (fun x _ -> x.Take(Tensor.From [| 0L; int64 x.Shape[0] - 1L; 0L |], 0))
        // A condition on values would have kinks, which differences cannot see across.
        "where a mask says so", (fun x y -> Tensor.Where(alternating x.Shape, x * y.Mean(), x.Sin()))
        "variance", (fun x _ -> x * x.Variance([||], 0, true))
        "each row by itself",
        (fun x _ ->
            Diff.Vmap(Func<Tensor, Tensor>(fun row -> row.Sin() * row.Square().Mean().Tanh() + row.Flip 0)).Invoke x)
        "each column by itself, with all of y",
        (fun x y ->
            let f (t: Tensor[]) =
                [| t[0].Tanh() + t[1].Mean() * t[0].LogSumExp() |]

            let columns =
                Diff.Vmap(Func<Tensor[], Tensor[]> f, Nullable 1, Nullable()).Invoke [| x; y |]

            columns[0].T)
        "linear", (fun x y -> Tensor.Linear(x, y.Mean().ExpandTo(Shape.Of [ x.Shape[1]; 2 ]), null, Activation.Tanh))
    ]

/// A node that has grown large is cut, so that thirty concatenations do not fill the memory.
let private bounded (x: Tensor) =
    let x = if x.Shape[0] > 5 then x.Slice(0, 0, 5) else x
    if x.Shape[1] > 5 then x.Slice(1, 1, 6) else x

let private shapes = [ [ 2; 3 ]; [ 1; 4 ]; [ 3; 1 ] ]

/// The scalar that a program computes: the sum of the means of all nodes nobody used, weighted unevenly.
let private run (operations: (string * (Tensor -> Tensor -> Tensor)) list) program (inputs: Tensor[]) =
    let nodes = ResizeArray inputs
    let used = Collections.Generic.HashSet<int>()

    for step in program.Steps do
        let first, second = step.First % nodes.Count, step.Second % nodes.Count
        let _, f = operations[step.Operation % operations.Length]
        used.Add first |> ignore
        used.Add second |> ignore
        nodes.Add(bounded (f nodes[first] nodes[second]))

    [ 0 .. nodes.Count - 1 ]
    |> List.filter (fun i -> not (used.Contains i))
    |> List.map (fun i -> (0.3 + 0.1 * float i) * (nodes[i] * nodes[i].Cos()).Mean())
    |> List.reduce (fun a b -> a + b)

let private describe (operations: (string * _) list) program =
    program.Steps
    |> List.mapi (fun i step ->
        let count = program.Inputs + i
        let name, _ = operations[step.Operation % operations.Length]
        $"node {count}: {name} of x = node {step.First % count}, y = node {step.Second % count}")
    |> String.concat "\n"

/// Many examples at once against one after the other: what the program computes, and its gradient. The last of several inputs is the same for all.
let private manyAreEach operations program (f: Func<Tensor[], Tensor>) (draw: int -> Tensor[]) =
    let examples = Array.init 3 (fun i -> draw (3 + i))

    for example in examples do
        if program.Inputs > 1 then
            example[program.Inputs - 1] <- examples[0].[program.Inputs - 1]

    let mapped i =
        program.Inputs = 1 || i < program.Inputs - 1

    let arguments =
        Array.init program.Inputs (fun i ->
            if mapped i then
                Tensor.Stack(0, examples |> Array.map (fun example -> example[i]))
            else
                examples[0].[i])

    let axes =
        Array.init program.Inputs (fun i -> if mapped i then Nullable 0 else Nullable())

    let valueAndGradient =
        Func<Tensor[], Tensor[]>(fun x ->
            let struct (value, g) = Diff.ValueAndGrad(f, x)
            Array.append [| value |] g)

    let together = Diff.Vmap(valueAndGradient, axes).Invoke arguments

    for i in 0 .. examples.Length - 1 do
        let apart = valueAndGradient.Invoke examples[i]

        let scale =
            apart
            |> Array.collect (fun t -> t.ToDoubles())
            |> Array.fold (fun m v -> max m (abs v)) 1.0

        for k in 0 .. apart.Length - 1 do
            let what = if k = 0 then "value" else $"gradient of input {k - 1}"

            within
                $"{what} of example {i} of many\n{describe operations program}"
                (fun _ -> 1e-11 * scale)
                (apart[k].ToDoubles())
                (together[k].Select(0, i).ToDoubles())

let private check operations program =
    let key = Key.OfSeed 17L

    let draw fold =
        Array.init program.Inputs (fun i ->
            (key.Fold(fold: int).Fold(i: int)).Normal(Shape.Of shapes[i % shapes.Length], dtype = DType.Float64))

    let f = Func<Tensor[], Tensor>(run operations program)
    let x, v = draw 1, draw 2
    let struct (_, g) = Diff.ValueAndGrad(f, x)
    let scale = max 1.0 (magnitude g v)

    let near what tolerance (expected: float) (actual: float) =
        if not (abs (expected - actual) <= tolerance * max scale (abs expected)) then
            failtestNoStackf "%s: expected %.15g, got %.15g\n%s" what expected actual (describe operations program)

    // Forward is the adjoint of reverse.
    let struct (_, tangent) = Diff.Jvp((fun x -> [| f.Invoke x |]), x, v)
    near "forward and reverse" 1e-11 (inner g v) (tangent[0].ToDouble())

    // Differences, with the error that they estimate themselves.
    let at h =
        (f.Invoke(Array.map2 (fun (p: Tensor) (d: Tensor) -> p + h * d) x v)).ToDouble()

    let difference, error = extrapolate (fun h -> (at h - at -h) / (2.0 * h))

    if abs (difference - inner g v) > 10.0 * error + 1e-8 * scale then
        failtestNoStackf
            "differences: expected %.15g ± %.2g, got %.15g\n%s"
            difference
            error
            (inner g v)
            (describe operations program)

    // Recomputing in the backward pass changes nothing.
    let again = Diff.Checkpoint(Func<Tensor[], Tensor[]>(fun x -> [| f.Invoke x |]))

    let struct (_, recomputed) =
        Diff.ValueAndGrad(Func<Tensor[], Tensor>(fun x -> again.Invoke(x)[0]), x)

    for i in 0 .. x.Length - 1 do
        agree "checkpointed" g[i] recomputed[i]

    // Second order: forward over reverse, reverse over reverse, reverse over forward.
    let along = Diff.Hvp(f, x, v)

    let twice =
        Diff.Grad(
            Func<Tensor[], Tensor>(fun x ->
                let g = Diff.Grad(f).Invoke x

                Array.map2 (fun (g: Tensor) (v: Tensor) -> (g * v).Sum()) g v
                |> Array.reduce (fun a b -> a + b))
        )

    let mixed =
        Diff.Grad(
            Func<Tensor[], Tensor>(fun x ->
                let struct (_, tangent) = Diff.Jvp((fun x -> [| f.Invoke x |]), x, v)
                tangent[0])
        )

    let curvature =
        max 1.0 (along |> Array.sumBy (fun h -> h.ToDoubles() |> Array.sumBy abs))

    for name, other in
        [
            "reverse over reverse", twice.Invoke x
            "reverse over forward", mixed.Invoke x
        ] do
        for i in 0 .. x.Length - 1 do
            within
                $"{name}\n{describe operations program}"
                (fun _ -> 1e-10 * curvature)
                (along[i].ToDoubles())
                (other[i].ToDoubles())

    manyAreEach operations program f draw

let private generate =
    Gen.sized (fun size ->
        gen {
            let! inputs = Gen.choose (1, 3)
            let! count = Gen.choose (1, max 1 (min 30 size))
            let number = Gen.choose (0, 1_000_000)

            let! steps =
                Gen.map3 (fun a b c -> { Operation = a; First = b; Second = c }) number number number
                |> Gen.listOfLength count

            return { Inputs = inputs; Steps = steps }
        })

/// Shorter programs first, then single steps less.
let private shrink program =
    seq {
        let n = program.Steps.Length

        for half in [ n / 2; n / 4 ] do
            if half > 0 then
                { program with
                    Steps = List.truncate half program.Steps
                }

        for i in 0 .. n - 1 do
            if n > 1 then
                { program with
                    Steps = List.removeAt i program.Steps
                }
    }

[<Tests>]
let tests =
    testList
        "programs"
        [
            testPropertyWithConfig
                { FsCheckConfig.defaultConfig with
                    maxTest = Law.countOr 60
                    startSize = 1
                    endSize = 30
                }
                "random programs: reverse, forward, differences, nested, checkpointed and vmapped derivatives agree"
                (Prop.forAll (Arb.fromGenShrink (generate, shrink)) (fun program ->
                    Memory.Tidy(Action(fun () -> check operations program))))

            testCase "a program with a derivative that is wrong by a thousandth is caught" (fun () ->
                let wrong = customVjp (fun x -> x.Sin()) (fun x _ g -> 1.001 * g * x.Cos())

                let operations =
                    [
                        "wrong", (fun x _ -> wrong x)
                        "sum", (fun (x: Tensor) (y: Tensor) -> x + y.Mean())
                    ]

                let program =
                    {
                        Inputs = 2
                        Steps =
                            [
                                { Operation = 0; First = 0; Second = 0 }
                                { Operation = 1; First = 1; Second = 2 }
                            ]
                    }

                Expect.throws (fun () -> check operations program) "differences disagree")

            testCase "a program with a rule for many examples that is for one is caught" (fun () ->
                let right = Ops.Registry.Named "cumsum"

                let wrong =
                    Autodiff.Op(
                        Name = right.Name,
                        Shape = right.Shape,
                        Forward = right.Forward,
                        Vjp = right.Vjp,
                        Sample = right.Sample,
                        Reads = right.Reads,
                        Batching = Autodiff.Batching.Whole
                    )

                let one operation =
                    let program =
                        {
                            Inputs = 1
                            Steps = [ { Operation = 0; First = 0; Second = 0 } ]
                        }

                    check [ "sums of rows", (fun x _ -> operation x) ] program

                one (fun x -> x.CumSum 0)
                Expect.throws (fun () -> one (fun x -> wrong.Call x)) "the examples are no rows")
        ]
