/// Mistakes made by rule in every operation of the registry: whatever differs from the operation must be caught by a law.
module Functional.Tests.Laws.Mechanical

open System
open System.Diagnostics
open Expecto
open Functional
open Functional.Autodiff
open Functional.Ops
open Functional.Tests.Laws.FirstOrder
open Functional.Tests.Laws.Numbers

/// A mistake in one operation, and whether the operation behaves differently because of it on a sample.
type private Mutant =
    {
        Mistake: string
        Break: Op -> Op
        Differs: Drawn -> bool
        Laws: Law list
    }

/// What became of a mutant: the sample on which a law caught it.
type private Fate =
    | Equivalent
    | Killed of Drawn
    | Survived

/// How many elements the largest input has where a law still catches a mutant, and how many at least it takes for the mistake to make a difference.
type private Size = { Caught: int; Needed: int }

// ---- results made wrong ----

let private rewrite f (t: Tensor) : Tensor =
    if t.Count = 0L then
        t
    else
        let wrong = like t (f t)
        // A number that is added keeps the wrong result a differentiable function of the right one.
        if t.DType.IsFloat() then
            t + Diff.StopGradient(wrong - Diff.StopGradient t)
        else
            wrong

let private plain (t: Tensor) = (Diff.StopGradient t).ToDoubles()

let private scaled factor (t: Tensor) : Tensor = t * (factor: float)

/// The last element forgotten, as by a loop over whole vectors.
let private withoutLast =
    rewrite (fun t -> plain t |> Array.mapi (fun i v -> if i = int t.Count - 1 then 0.0 else v))

/// Every element one place further along the last axis, as by an index off by one.
let private offByOne =
    rewrite (fun t ->
        let v = plain t
        let n = if t.Rank = 0 then 1 else t.Shape[-1]
        Array.init v.Length (fun i -> v[i / n * n + (i + 1) % n]))

/// The last two axes as if they were the other way round.
let private transposed =
    rewrite (fun t ->
        if t.Rank < 2 then
            plain t
        else
            plain (t.T.Reshape(t.Shape.ToArray())))

let private mistakes: (string * (Tensor -> Tensor)) list =
    [
        "scaled by 1.001", scaled 1.001
        "negated", scaled -1.0
        "halved", scaled 0.5
        "last element dropped", withoutLast
        "off by one along the last axis", offByOne
        "transposed", transposed
    ]

// ---- one fact of an operation replaced ----

let private withVjp (op: Op) vjp =
    remake op op.Shape op.Forward (Vjp vjp) op.VjpInto op.Jvp op.Reads

let private withJvp (op: Op) jvp =
    remake op op.Shape op.Forward op.Vjp op.VjpInto (Jvp jvp) op.Reads

let private withForward (op: Op) wrong =
    let forward: Forward =
        match op.Forward with
        | :? Forward.Into as into ->
            Forward.Into(fun x y ->
                into.Kernel.Invoke(x, y)

                for t in y do
                    if t.DType.IsFloat() && t.Count > 0L then
                        VectorSpace.CopyInto(wrong t, t))
        | :? Forward.Composed as composed -> Forward.Composed(fun x -> composed.Function.Invoke x |> Array.map wrong)
        | _ -> Forward.Composite(fun x -> op.Apply x |> Array.map wrong)

    remake op op.Shape forward op.Vjp op.VjpInto op.Jvp op.Reads

let private differs (a: Tensor) (b: Tensor) =
    a.Shape <> b.Shape
    || Array.exists2 (fun (p: float) q -> not (p.Equals q) && abs (p - q) > 1e-9 * (1.0 + abs p)) (plain a) (plain b)

let private cotangents (sample: Drawn) (y: Tensor[]) =
    let draw = sample.Draw 21UL

    y
    |> Array.map (fun t ->
        if t.DType.IsFloat() then
            direction draw t
        else
            Level.ZerosLike t)

/// What a rule gives for one input, before and after.
let private rules (sample: Drawn) (broken: Op) i =
    let x = sample.Inputs
    let y = sample.Op.Apply x
    let g = cotangents sample y
    sample.Op.Vjp.Invoke(x, y, g, i), broken.Vjp.Invoke(x, y, g, i)

let private firstOrder = [ vjpIsDifferences; jvpIsAdjoint; secondOrder ]

let private vjpMutant i name (wrong: Op -> Vjp) =
    {
        Mistake = $"vjp of input {i}: {name}"
        Break =
            fun op ->
                let rule = wrong op

                withVjp op (fun x y g j ->
                    if j = i then
                        rule.Invoke(x, y, g, j)
                    else
                        op.Vjp.Invoke(x, y, g, j))
        Differs = fun _ -> true
        Laws = Fused.fusedIsVjp :: jvpIsTransposed :: firstOrder
    }

let private vjpMutants i =
    [
        for name, wrong in mistakes do
            name,
            (fun (op: Op) ->
                Vjp(fun x y g j ->
                    match op.Vjp.Invoke(x, y, g, j) with
                    | null -> null
                    | t -> wrong t))
        "forgotten", (fun _ -> Vjp(fun _ _ _ _ -> null))
        "of the next input",
        (fun op ->
            Vjp(fun x y g j ->
                let next = (j + 1) % x.Length

                if x[next].Shape = x[j].Shape && x[next].DType = x[j].DType then
                    op.Vjp.Invoke(x, y, g, next)
                else
                    op.Vjp.Invoke(x, y, g, j)))
        "of the first output alone",
        (fun op ->
            Vjp(fun x y g j ->
                op.Vjp.Invoke(x, y, g |> Array.mapi (fun k t -> if k = 0 then t else Level.ZerosLike t), j)))
    ]
    |> List.map (fun (name, wrong) -> vjpMutant i name wrong)
    |> List.map (fun mutant ->
        { mutant with
            Differs =
                fun sample ->
                    i < sample.Inputs.Length
                    && match rules sample (mutant.Break sample.Op) i with
                       | null, null -> false
                       | null, alone
                       | alone, null -> (nonNull alone).ToDoubles() |> Array.exists ((<>) 0.0)
                       | a, b -> differs a b
        })

/// The rule's own derivative cut off: right to first order, wrong beyond.
let private withoutDerivative =
    let cut (op: Op) =
        withVjp op (fun x y g i -> op.Vjp.Invoke(Array.map Diff.StopGradient x, Array.map Diff.StopGradient y, g, i))

    {
        Mistake = "vjp without a derivative of its own"
        Break = cut
        Differs =
            fun sample ->
                let which = floats sample.Inputs
                let x = which |> Array.map (fun i -> sample.Inputs[i])

                if x.Length = 0 then
                    false
                else
                    let second (op: Op) =
                        let f = functionOf op sample.Inputs which
                        let draw = sample.Draw 22UL
                        let c = f.Invoke x |> Array.map (direction draw)

                        if c.Length = 0 then
                            [||]
                        else
                            let gradient = Diff.Grad(weighted f c)
                            let v = x |> Array.map (direction draw)

                            Diff
                                .Grad(
                                    Func<Tensor[], Tensor>(fun t ->
                                        Array.map2 (fun (a: Tensor) (b: Tensor) -> (a * b).Sum()) (gradient.Invoke t) v
                                        |> Array.reduce (+))
                                )
                                .Invoke
                                x

                    Array.exists2 differs (second sample.Op) (second (cut sample.Op))
        Laws = [ secondOrder; vjpIsDifferences ]
    }

let private jvpMutants =
    [
        for name, wrong in mistakes do
            name,
            (fun (jvp: Jvp) (x: Tensor[]) y dx ->
                jvp.Invoke(x, y, dx)
                |> Array.map (fun t -> if t.DType.IsFloat() then wrong t else t))
        "without the last input that moves",
        (fun jvp x y dx ->
            let last = dx |> Array.tryFindIndexBack (isNull >> not)

            jvp.Invoke(x, y, dx |> Array.mapi (fun i t -> if Some i = last then Level.ZerosLike x[i] else t)))
    ]
    |> List.map (fun (name, wrong) ->
        let broken (op: Op) =
            let jvp = nonNull op.Jvp
            withJvp op (fun x y dx -> wrong jvp x y dx)

        {
            Mistake = $"jvp: {name}"
            Break = broken
            Differs =
                fun sample ->
                    let x = sample.Inputs
                    let y = sample.Op.Apply x
                    let draw = sample.Draw 23UL

                    let dx: (Tensor | null)[] =
                        x |> Array.map (fun t -> if t.DType.IsFloat() then direction draw t else null)

                    if Array.forall isNull dx then
                        false
                    else
                        let right = (nonNull sample.Op.Jvp).Invoke(x, y, dx)
                        let other = (nonNull (broken sample.Op).Jvp).Invoke(x, y, dx)
                        Array.exists2 (fun (a: Tensor) b -> a.DType.IsFloat() && differs a b) right other
            Laws = [ jvpIsAdjoint; jvpIsTransposed; secondOrder ]
        })

/// The fused rule run into slots of its own, and what it leaves there.
let private fusedResults (sample: Drawn) (fused: FusedVjp) =
    let x = sample.Inputs
    let y = sample.Op.Apply x
    let tape = Tape()

    let slots: (Slot | null)[] =
        x |> Array.map (fun t -> if t.DType.IsFloat() then Slot(tape, t) else null)

    fused.Invoke(x, y, cotangents sample y, slots)

    slots
    |> Array.choose (fun slot ->
        match slot with
        | null -> None
        | slot ->
            match slot.Cotangent with
            | null -> None
            | t -> Some(copy t))

let private fusedMutants =
    [
        for name, wrong in mistakes do
            name,
            (fun (fused: FusedVjp) (x: Tensor[]) (y: Tensor[]) (g: Tensor[]) (slots: (Slot | null)[]) ->
                fused.Invoke(x, y, g |> Array.map (fun t -> if t.DType.IsFloat() then wrong t else t), slots))
        "assigns instead of adding",
        (fun fused x y g slots ->
            let fresh: (Slot | null)[] =
                Array.map2
                    (fun (t: Tensor) (slot: Slot | null) -> if isNull slot then null else Slot(Tape(), t))
                    x
                    slots

            fused.Invoke(x, y, g, fresh)

            Array.iter2
                (fun (slot: Slot | null) (alone: Slot | null) ->
                    match slot, alone with
                    | null, _
                    | _, null -> ()
                    | slot, alone ->
                        match alone.Cotangent with
                        | null -> ()
                        | t ->
                            let mutable accumulate = false
                            VectorSpace.CopyInto(t, slot.Open(&accumulate)))
                slots
                fresh)
    ]
    |> List.map (fun (name, wrong) ->
        let broken (op: Op) =
            let fused = nonNull op.VjpInto
            remake op op.Shape op.Forward op.Vjp (FusedVjp(fun x y g slots -> wrong fused x y g slots)) op.Jvp op.Reads

        {
            Mistake = $"fused vjp: {name}"
            Break = broken
            Differs =
                fun sample ->
                    if name.StartsWith "assigns" then
                        fusedResults sample (nonNull sample.Op.VjpInto)
                        |> Array.exists (fun t -> t.ToDoubles() |> Array.exists ((<>) 0.0))
                    else
                        let right = fusedResults sample (nonNull sample.Op.VjpInto)
                        let other = fusedResults sample (nonNull (broken sample.Op).VjpInto)
                        right.Length = other.Length && Array.exists2 differs right other
            Laws = [ Fused.fusedIsVjp ]
        })

let private forwardMutants =
    mistakes
    |> List.map (fun (name, wrong) ->
        let broken op = withForward op wrong

        {
            Mistake = $"forward: {name}"
            Break = broken
            Differs =
                fun sample ->
                    let right, other =
                        sample.Op.Apply sample.Inputs, (broken sample.Op).Apply sample.Inputs

                    Array.exists2 (fun (a: Tensor) b -> a.DType.IsFloat() && differs a b) right other
            Laws = [ Values.forwardIsReference ]
        })

let private shapeMutants =
    [
        "axes in reverse", (fun (s: Spec) -> Spec(s.DType, shapeOf (Array.rev (s.Shape.ToArray()))))
        "an axis too many", (fun s -> Spec(s.DType, shapeOf (Array.append [| 1 |] (s.Shape.ToArray()))))
        "another dtype",
        (fun s ->
            Spec(
                (if s.DType = DType.Float64 then
                     DType.Float32
                 else
                     DType.Float64),
                s.Shape
            ))
    ]
    |> List.map (fun (name, wrong) ->
        let broken (op: Op) =
            let inferred (x: Tensor[]) = op.Shape.Invoke x |> Array.map wrong
            // The values stay right: only what is promised is wrong.
            remake op (Infer inferred) (Forward.Composite(fun x -> op.Apply x)) op.Vjp op.VjpInto op.Jvp op.Reads

        {
            Mistake = $"shape: {name}"
            Break = broken
            Differs = fun sample -> sample.Op.Shape.Invoke sample.Inputs |> Array.exists (fun s -> wrong s <> s)
            Laws = [ Shapes.inferenceIsTrue ]
        })

let private readsMutants =
    [
        {
            Mistake = "reads: nothing declared"
            Break = fun op -> remake op op.Shape op.Forward op.Vjp op.VjpInto op.Jvp Reads.None
            Differs = fun sample -> sample.Op.Reads <> Reads.None
            Laws = [ Fused.readsWhatItDeclares ]
        }
    ]

// ---- one operation ----

/// The mutants that there can be of an operation with so many inputs.
let private mutantsOf (op: Op) inputs =
    let smooth = not (obj.ReferenceEquals(op.Vjp, Op.NotDifferentiable))
    let recorded = not (op.Forward :? Forward.Composed)

    [
        yield! forwardMutants

        if recorded then
            yield! shapeMutants

        if smooth && recorded then
            for i in 0 .. inputs - 1 do
                yield! vjpMutants i

            yield withoutDerivative

            if op.Reads <> Reads.All && op.Reads <> Reads.None then
                yield! readsMutants

            if not (isNull op.Jvp) then
                yield! jvpMutants

            if not (isNull op.VjpInto) then
                yield! fusedMutants
    ]

let private cases =
    [
        for i in 1..60 ->
            {
                Seed = uint64 i * 7919UL
                Size = 1 + i % 6
            }
    ]

let private elements (sample: Drawn) =
    sample.Inputs |> Array.map (fun t -> int t.Count) |> Array.max

/// Small samples of an operation, the smallest first.
let private smallest op seeds =
    [|
        for size in 1..3 do
            for seed in 1..seeds do
                Drawn.draw op { Seed = uint64 seed; Size = size }
    |]
    |> Array.sortBy elements

/// Some of every kind: most of the smallest are alike.
let private someOfEach (samples: Drawn[]) =
    samples
    |> Array.groupBy (fun sample -> sample.Inputs |> Array.map _.Shape)
    |> Array.collect (fun (_, alike) -> Array.truncate 8 alike)
    |> Array.sortBy elements

/// Few enough for a reader to follow by hand.
let private few = 4

let private catches (law: Law) sample =
    try
        Memory.Tidy(Action(fun () -> law.Check sample))
        false
    with
    | :? IgnoreException -> reraise ()
    | _ -> true

let private trying f =
    try
        let result = ref false
        Memory.Tidy(Action(fun () -> result.Value <- f ()))
        result.Value
    with _ ->
        true

/// The elements of the smallest of the samples on which a law catches the mutant; None where none of them is enough.
let private shrink (samples: Drawn seq) mutant =
    samples
    |> Seq.filter (fun s -> trying (fun () -> mutant.Differs s))
    |> Seq.truncate 80
    |> Seq.tryFind (fun s ->
        let broken = { s with Op = mutant.Break s.Op }
        mutant.Laws |> List.exists (fun law -> catches law broken))
    |> Option.map elements

let private fate (op: Op) (mutant: Mutant) =
    let judge case =
        let sample = Drawn.draw op case

        if trying (fun () -> mutant.Differs sample) then
            let broken =
                { sample with
                    Op = mutant.Break sample.Op
                }

            Some(sample, mutant.Laws |> List.exists (fun law -> catches law broken))
        else
            None

    let differing = cases |> Seq.choose judge |> Seq.cache

    match differing |> Seq.tryFind snd with
    | Some(sample, _) -> Killed sample
    | None when Seq.isEmpty differing -> Equivalent
    | None -> Survived

/// The smallest of some samples of every kind; where that is not small, of all samples there are.
let private sizeOf (some: Drawn[]) (all: Lazy<Drawn[]>) mutant (first: int) =
    let within count (samples: Drawn[]) =
        samples |> Seq.takeWhile (fun s -> elements s < count)

    let caught = shrink (within first some) mutant |> Option.defaultValue first

    if caught <= few then
        { Caught = caught; Needed = caught }
    else
        let caught =
            within caught all.Value
            |> Seq.groupBy elements
            |> Seq.tryPick (fun (_, alike) -> shrink alike mutant)
            |> Option.defaultValue caught

        let needed =
            within caught all.Value
            |> Seq.tryFind (fun s -> trying (fun () -> mutant.Differs s))
            |> Option.map elements

        {
            Caught = caught
            Needed = defaultArg needed caught
        }

let private judged (op: Op) =
    let inputs =
        cases
        |> Seq.truncate 12
        |> Seq.map (fun case -> (Drawn.draw op case).Inputs.Length)
        |> Seq.max

    mutantsOf op inputs |> List.map (fun mutant -> mutant, fate op mutant)

// ---- the command ----

/// `Tests -- mutants [OPERATION …]`: the score by operation, and the mutants that nobody caught.
let run (names: string[]) =
    let chosen =
        Registry.All
        |> Seq.filter (fun op -> names.Length = 0 || Array.contains op.Name names)
        |> List.ofSeq

    let watch = Stopwatch.StartNew()
    let say (line: string) = Console.Out.WriteLine line
    say (String.Format("{0,-24} {1,7} {2,7} {3,9} {4,10}", "operation", "mutants", "killed", "survived", "shrunk to"))

    let totals =
        [
            for op in chosen do
                let results = judged op

                let some = someOfEach (smallest op 1000)
                let all = lazy smallest op 20000

                let killed =
                    results
                    |> List.choose (fun (mutant, fate) ->
                        match fate with
                        | Killed sample -> Some(mutant.Mistake, sizeOf some all mutant (elements sample))
                        | _ -> None)

                let survivors = results |> List.filter (fun (_, fate) -> fate.IsSurvived)
                let count = killed.Length + survivors.Length
                let sizes = killed |> List.map (fun (_, size) -> size.Caught)

                say (
                    String.Format(
                        "{0,-24} {1,7} {2,7} {3,9} {4,10}",
                        op.Name,
                        count,
                        killed.Length,
                        survivors.Length,
                        (if sizes.IsEmpty then "" else $"≤ {List.max sizes}")
                    )
                )

                for mutant, _ in survivors do
                    say $"    survived: {mutant.Mistake}"

                for mistake, size in killed do
                    if size.Caught > few then
                        let why =
                            if size.Needed = size.Caught then
                                "it makes no difference with fewer"
                            else
                                $"it makes a difference from {size.Needed} on"

                        say $"    {size.Caught} elements: {mistake} ({why})"

                count, killed
        ]

    let count = totals |> List.sumBy fst
    let killed = totals |> List.collect snd

    let withinFew, beyond =
        killed |> List.partition (fun (_, size) -> size.Caught <= few)

    let byNature =
        beyond
        |> List.filter (fun (_, size) -> size.Caught = size.Needed)
        |> List.length

    say
        $"{killed.Length} of {count} mutants killed ({100.0 * float killed.Length / float (max 1 count):F1} %%); {withinFew.Length} shrunk to at most {few} elements, {byNature} more to the fewest that show them; {watch.Elapsed.TotalSeconds:F0} s"

    if killed.Length = count then 0 else 1

/// Every mistake that a rule can make in an operation is caught.
[<Tests>]
let tests =
    testList
        "mutants by rule"
        [
            for op in Registry.All ->
                testCase op.Name (fun () ->
                    let survivors =
                        judged op
                        |> List.filter (fun (_, fate) -> fate.IsSurvived)
                        |> List.map (fun (mutant, _) -> mutant.Mistake)

                    Expect.isEmpty survivors "mistakes that no law sees")
        ]
