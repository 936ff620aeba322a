/// The laws' own law: a broken operation must be caught, by the law that is there to catch it.
module Functional.Tests.Laws.Mutants

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Kernels
open Functional.Ops
open Functional.Tests.Laws.FirstOrder
open Functional.Tests.Laws.Numbers

/// A mistake in one operation, and the law that sees it.
type private Mutant =
    {
        Mistake: string
        Of: string
        Law: Law
        Break: Op -> Op
    }

// ---- replacing one fact ----

let private withShape shape (op: Op) =
    remake op (Infer shape) op.Forward op.Vjp op.VjpInto op.Jvp op.Reads

/// The differentiable rule alone: the fused one would hide the mistake, the jvp would be another's.
let private withVjp vjp (op: Op) =
    remake op op.Shape op.Forward (Vjp(vjp op)) null null op.Reads

let private withFused fused (op: Op) =
    remake op op.Shape op.Forward op.Vjp (FusedVjp(fused (nonNull op.VjpInto))) op.Jvp op.Reads

let private withJvp jvp (op: Op) =
    remake op op.Shape op.Forward op.Vjp op.VjpInto (Jvp(jvp (nonNull op.Jvp))) op.Reads

let private withReads reads (op: Op) =
    remake op op.Shape op.Forward op.Vjp op.VjpInto op.Jvp reads

/// The functor that loops of several operations are made of.
let private withBody body (op: Op) =
    let body: objnull = body

    Op(
        Name = op.Name,
        Shape = op.Shape,
        Forward = op.Forward,
        Vjp = op.Vjp,
        Sample = op.Sample,
        VjpInto = op.VjpInto,
        Jvp = op.Jvp,
        Reads = op.Reads,
        Batching = op.Batching,
        Body = Func<Tensor[], objnull>(fun _ -> body)
    )

/// The kernel with something done before or after it.
let private withKernel around (op: Op) =
    match op.Forward with
    | :? Forward.Into as into ->
        let kernel = Kernel(fun x y -> around into.Kernel x y)
        remake op op.Shape (Forward.Into kernel) op.Vjp op.VjpInto op.Jvp op.Reads
    | _ -> failtest $"{op.Name}: this mutant breaks a kernel"

// ---- pieces of mistakes ----

/// Writes over what a contiguous tensor of floats holds.
let private overwrite (t: Tensor) f =
    let values = t.ToDoubles()
    VectorSpace.CopyInto(like t (Array.mapi f values), t)

let private timesAll factor (t: Tensor) = overwrite t (fun _ v -> v * factor)

/// Zeros where a loop over whole vectors leaves the rest alone.
let private withoutTail (t: Tensor) =
    let whole = int t.Count / 8 * 8
    overwrite t (fun i v -> if i < whole then v else 0.0)

/// What the fused rule gives alone, written over what was in the slot.
let private assigning (fused: FusedVjp) x y g (slots: (Slot | null)[]) =
    let fresh: (Slot | null)[] =
        Array.map2 (fun (t: Tensor) (slot: Slot | null) -> if isNull slot then null else Slot(Tape(), t)) x slots

    fused.Invoke(x, y, g, fresh)

    for i in 0 .. slots.Length - 1 do
        match slots[i], fresh[i] with
        | null, _
        | _, null -> ()
        | slot, alone ->
            match alone.Cotangent with
            | null -> ()
            | contribution ->
                let mutable accumulate = false
                VectorSpace.CopyInto(contribution, slot.Open(&accumulate))

/// The numbers read as if they lay in row-major order.
let private asIfContiguous (t: Tensor) =
    if t.IsContiguous || t.Count = 0L then
        t
    else
        t.View(t.Shape, t.Shape.RowMajor, t.Offset)

let private mutants =
    [
        // First derivatives.
        {
            Mistake = "wrong factor"
            Of = "square"
            Law = vjpIsDifferences
            Break = withVjp (fun _ x _ g _ -> g[0] * x[0] * 2.000001)
        }
        {
            Mistake = "wrong sign"
            Of = "cos"
            Law = vjpIsDifferences
            Break = withVjp (fun _ x _ g _ -> g[0] * x[0].Sin())
        }
        {
            Mistake = "swapped operands"
            Of = "div"
            Law = vjpIsDifferences
            Break = withVjp (fun op x y g i -> op.Vjp.Invoke([| x[1]; x[0] |], y, g, i))
        }
        {
            Mistake = "swapped cotangents"
            Of = "sub"
            Law = vjpIsDifferences
            Break = withVjp (fun op x y g i -> op.Vjp.Invoke(x, y, g, 1 - i))
        }
        {
            Mistake = "an input forgotten"
            Of = "mul"
            Law = vjpIsDifferences
            Break = withVjp (fun op x y g i -> if i = 0 then op.Vjp.Invoke(x, y, g, i) else null)
        }
        {
            Mistake = "forgotten broadcast sum"
            Of = "expand"
            Law = vjpIsDifferences
            Break =
                withVjp (fun op x y g i ->
                    match op.Vjp.Invoke(x, y, g, i) with
                    | null -> null
                    | all -> all * (float x[0].Count / float (max 1L y[0].Count)))
        }
        {
            Mistake = "cotangent of the broadcast shape"
            Of = "expand"
            Law = vjpIsDifferences
            Break = withVjp (fun _ _ _ g _ -> g[0])
        }
        {
            Mistake = "transposition that is right for square matrices alone"
            Of = "matmul"
            Law = vjpIsDifferences
            Break =
                withVjp (fun op x y g i ->
                    let transposed (t: Tensor) =
                        t.Reshape(Array.append (t.Shape.ToArray()[.. t.Rank - 3]) [| t.Shape[-1]; t.Shape[-2] |])

                    if x[0].Shape[-1] = x[1].Shape[-1] && x[0].Shape[-1] = x[0].Shape[-2] then
                        op.Vjp.Invoke(x, y, g, i)
                    elif i = 0 then
                        g[0].Matmul(transposed x[1])
                    else
                        (transposed x[0]).Matmul g[0])
        }
        {
            Mistake = "axis counted from the wrong end"
            Of = "softmax"
            Law = vjpIsDifferences
            Break =
                withVjp (fun op x y g i ->
                    if x[0].Rank < 2 then
                        op.Vjp.Invoke(x, y, g, i)
                    else
                        y[0] * (g[0] - (g[0] * y[0]).Sum([| x[0].Rank - 2 |], true)))
        }
        {
            Mistake = "ties: the whole gradient to each operand"
            Of = "maximum"
            Law = tiesMoveTogether
            Break = withVjp (fun _ x _ g i -> g[0] * x[i].GreaterEqual(x[1 - i]).Cast g[0].DType)
        }
        {
            Mistake = "ties: the whole gradient to each largest element"
            Of = "max"
            Law = tiesMoveTogether
            Break =
                withVjp (fun op x y g i ->
                    if y[0].Rank = 0 then
                        g[0] * x[0].Equal(y[0]).Cast g[0].DType
                    else
                        op.Vjp.Invoke(x, y, g, i))
        }
        // Forward mode and higher orders.
        {
            Mistake = "jvp that is not the adjoint"
            Of = "mul"
            Law = jvpIsAdjoint
            Break = withJvp (fun jvp x y dx -> jvp.Invoke(x, y, dx) |> Array.map (fun t -> t * (1.0 + 1e-9)))
        }
        {
            Mistake = "jvp that forgets an input that moves"
            Of = "add"
            Law = jvpIsTransposed
            Break =
                withJvp (fun jvp x y dx ->
                    jvp.Invoke(
                        x,
                        y,
                        dx
                        |> Array.mapi (fun i t -> if i = 0 || isNull dx[0] then t else Level.ZerosLike x[i])
                    ))
        }
        {
            Mistake = "a derivative without derivative"
            Of = "exp"
            Law = secondOrder
            Break = withVjp (fun _ _ y g _ -> g[0] * Diff.StopGradient y[0])
        }
        // Fused rules.
        {
            Mistake = "overwritten accumulation"
            Of = "tanh"
            Law = Fused.fusedIsVjp
            Break = withFused assigning
        }
        {
            Mistake = "fused rule with a factor of its own"
            Of = "sigmoid"
            Law = Fused.fusedIsVjp
            Break =
                withFused (fun fused x y g slots -> fused.Invoke(x, y, g |> Array.map (fun t -> t * 1.0000001), slots))
        }
        {
            Mistake = "fused rule that writes into the cotangent"
            Of = "square"
            Law = Fused.fusedIsVjp
            Break =
                withFused (fun fused x y g slots ->
                    fused.Invoke(x, y, g, slots)

                    if g[0].IsContiguous && g[0].Count > 0L then
                        timesAll 0.5 g[0])
        }
        {
            Mistake = "fused rule that drops the tail of a vector"
            Of = "exp"
            Law = Values.lengthsDoNotMatter
            Break =
                withFused (fun fused x y g slots ->
                    fused.Invoke(x, y, g, slots)

                    match slots[0] with
                    | null -> ()
                    | slot ->
                        match slot.Cotangent with
                        | null -> ()
                        | cotangent -> withoutTail cotangent)
        }
        {
            Mistake = "outputs read but not declared"
            Of = "exp"
            Law = Fused.readsWhatItDeclares
            Break = withReads Reads.Inputs
        }
        {
            Mistake = "inputs read but not declared"
            Of = "matmul"
            Law = Fused.readsWhatItDeclares
            Break = withReads Reads.None
        }
        // Values.
        {
            Mistake = "a result off by a few units in the last place"
            Of = "exp"
            Law = Values.forwardIsReference
            Break =
                withKernel (fun kernel x y ->
                    kernel.Invoke(x, y)
                    timesAll (1.0 + 2.0 ** -47.0) y[0])
        }
        {
            Mistake = "a float32 result off by a few units in the last place"
            Of = "tanh"
            Law = Values.floatsAgree
            Break =
                withKernel (fun kernel x y ->
                    kernel.Invoke(x, y)

                    if y[0].DType = DType.Float32 then
                        timesAll (1.0 + 2.0 ** -19.0) y[0])
        }
        {
            Mistake = "a changed input"
            Of = "neg"
            Law = Values.forwardIsReference
            Break =
                withKernel (fun kernel x y ->
                    kernel.Invoke(x, y)

                    if x[0].IsContiguous && x[0].Count > 0L then
                        timesAll 2.0 x[0])
        }
        {
            Mistake = "the upper triangle of the second matrix alone"
            Of = "matmul"
            Law = Values.forwardIsMathNet
            Break = withKernel (fun kernel x y -> kernel.Invoke([| x[0]; x[1].Triu() |], y))
        }
        {
            Mistake = "the tail of a vector dropped"
            Of = "log"
            Law = Values.lengthsDoNotMatter
            Break =
                withKernel (fun kernel x y ->
                    kernel.Invoke(x, y)
                    withoutTail y[0])
        }
        {
            Mistake = "strides ignored"
            Of = "sqrt"
            Law = Values.viewsAreCopies
            Break = withKernel (fun kernel x y -> kernel.Invoke(Array.map asIfContiguous x, y))
        }
        {
            Mistake = "bits that depend on the number of threads"
            Of = "sum"
            Law = Values.threadsDoNotMatter
            Break =
                withKernel (fun kernel x y ->
                    kernel.Invoke(x, y)

                    if Workers.Count > 1 then
                        timesAll (1.0 + 2.0 ** -22.0) y[0])
        }
        // Historic mistakes of others, by name.
        {
            Mistake = "the trace of a matrix that is not square"
            Of = "diagonal"
            Law = vjpIsDifferences
            Break =
                withVjp (fun op x y g i ->
                    let right = nonNull (op.Vjp.Invoke(x, y, g, i))
                    // As many diagonal elements as columns, however few rows there are.
                    if x[0].Shape[-2] > x[0].Shape[-1] then
                        right * 0.0
                    else
                        right)
        }
        {
            Mistake = "the gradient goes to every element that ties in a window"
            Of = "maxPool"
            Law = tiesMoveTogether
            Break =
                withVjp (fun op x y g i ->
                    let right = nonNull (op.Vjp.Invoke(x, y, g, i))
                    let ties = x[0].Equal(x[0].Max()).Cast x[0].DType
                    right + ties * g[0].Max())
        }
        {
            Mistake = "the forward rule gives the first part's tangent to all parts"
            Of = "split"
            Law = jvpIsAdjoint
            Break =
                withJvp (fun jvp x y dx ->
                    let parts = jvp.Invoke(x, y, dx)

                    parts |> Array.map (fun p -> if p.Shape = parts[0].Shape then parts[0] else p))
        }
        {
            Mistake = "gradients silently dropped along the last axis"
            Of = "softmax"
            Law = vjpIsDifferences
            Break =
                withVjp (fun op x y g i ->
                    nonNull (op.Vjp.Invoke(x, y, g, i)) |> Diff.StopGradient |> (fun t -> t * 0.0))
        }
        {
            Mistake = "the loss of absolute differences computed as squares"
            Of = "abs"
            Law = vjpIsDifferences
            Break = withVjp (fun _ x _ g _ -> g[0] * x[0] * 2.0)
        }
        // Many examples.
        {
            Mistake = "an axis that is not moved for the examples"
            Of = "cumsum"
            Law = Vmapped.manyIsEach
            Break =
                fun op ->
                    Op(
                        Name = op.Name,
                        Shape = op.Shape,
                        Forward = op.Forward,
                        Vjp = op.Vjp,
                        Sample = op.Sample,
                        Reads = op.Reads,
                        Batching = Batching.Whole
                    )
        }
        // Shapes.
        {
            Mistake = "wrong shape inference"
            Of = "matmul"
            Law = Values.forwardIsReference
            Break =
                fun op ->
                    op
                    |> withShape (fun x ->
                        op.Shape.Invoke x
                        |> Array.map (fun s -> Spec(s.DType, shapeOf (Array.rev (s.Shape.ToArray())))))
        }
        {
            Mistake = "another functor in fused loops than in its own"
            Of = "minimum"
            Law = Fusion.fusedIsUnfused
            Break = withBody (MaxF())
        }
        {
            Mistake = "bytes where fused loops have lanes"
            Of = "not"
            Law = Fusion.fusedIsUnfused
            Break = withBody (NotF())
        }
        {
            Mistake = "shapes promised that the outputs do not have"
            Of = "reshape"
            Law = Shapes.inferenceIsTrue
            Break =
                fun op ->
                    remake
                        op
                        (Infer(fun x ->
                            op.Shape.Invoke x
                            |> Array.map (fun s -> Spec(s.DType, shapeOf [| int s.Shape.Count |]))))
                        (Forward.Composite(fun x -> op.Apply x))
                        op.Vjp
                        op.VjpInto
                        op.Jvp
                        op.Reads
        }
        {
            Mistake = "a kernel that refuses what the shapes allow"
            Of = "add"
            Law = Shapes.refusalsAgree
            Break =
                fun op ->
                    let checks (x: Tensor[]) = op.Shape.Invoke x |> ignore

                    op
                    |> withKernel (fun kernel x y ->
                        checks x
                        kernel.Invoke(x, y))
                    |> withShape (fun x -> [| Spec(x[0].DType, x[0].Shape) |])
        }
    ]

/// The laws that catch at least one mutant.
let provedLaws = mutants |> List.map _.Law.Name |> List.distinct

/// Enough cases that no mistake hides behind a lucky draw.
let private drawn mutant =
    seq {
        for i in 1..120 do
            {
                Seed = uint64 i * 7919UL
                Size = 1 + i % 6
            }
    }
    |> Seq.map (Drawn.draw (Registry.Named mutant.Of))

let private holds law sample =
    try
        Memory.Tidy(Action(fun () -> law.Check sample))
        true
    with
    | :? AssertException
    | :? FailedException
    | :? ShapeException -> false

[<Tests>]
let tests =
    testList
        "mutants"
        [
            // A wrong functor goes unnoticed where none is put into a loop with others.
            for mutant in
                mutants
                |> List.filter (fun m -> Fusion.isAvailable || m.Law.Name <> Fusion.fusedIsUnfused.Name) ->
                testCase $"{mutant.Mistake} ({mutant.Of})" (fun () ->
                    let caught =
                        drawn mutant
                        |> Seq.tryFind (fun sample ->
                            not (
                                holds
                                    mutant.Law
                                    { sample with
                                        Op = mutant.Break sample.Op
                                    }
                            ))

                    match caught with
                    | None -> failtestNoStackf "the law '%s' does not see it" mutant.Law.Name
                    | Some sample ->
                        Expect.isTrue
                            (holds mutant.Law sample)
                            $"the law '{mutant.Law.Name}' holds for the operation as it is, at {Drawn.explain sample}")
        ]
