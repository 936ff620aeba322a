/// The fused derivative against the differentiable one, and what either may touch.
module Functional.Tests.Laws.Fused

open System
open Expecto
open Functional
open Functional.Autodiff
open Functional.Tests.Laws.Numbers

let private cotangents (draw: Draw) (y: Tensor[]) =
    y
    |> Array.map (fun t ->
        if t.DType.IsFloat() then
            // One stored number in every place is what a sum passes on.
            if draw.Chance 0.2 then
                Tensor.Constant(t.Shape, draw.Uniform(-1.0, 1.0), t.DType)
            else
                direction draw t
        else
            Level.ZerosLike t)

let private slots (x: Tensor[]) (chosen: int -> bool) : (Slot | null)[] =
    let tape = Tape()

    x
    |> Array.mapi (fun i t ->
        if t.DType.IsFloat() && chosen i then
            Slot(tape, t)
        else
            null)

let private rule (op: Op) x y g i =
    match op.Vjp.Invoke(x, y, g, i) with
    | null -> None
    | t -> Some t

/// What a slot holds must be the rule's cotangent, plus what it held before.
let private holds
    what
    (x: Tensor[])
    (expected: int -> Tensor option)
    (before: int -> Tensor option)
    (slots: (Slot | null)[])
    =
    for i in 0 .. x.Length - 1 do
        match slots[i] with
        | null -> ()
        | slot ->
            let total =
                match expected i, before i with
                | Some a, Some b -> Some(a + b)
                | Some a, None -> Some a
                | None, b -> b

            match total, slot.Cotangent with
            | None, null -> ()
            | None, t -> agree $"{what}: cotangent of input {i}" (Level.ZerosLike x[i]) (nonNull t)
            | Some _, null -> failtestNoStackf "%s: input %d has no cotangent" what i
            | Some e, t -> agree $"{what}: cotangent of input {i}" e (nonNull t)

let private checkFused (sample: Drawn) (fused: FusedVjp) =
    let op, x = sample.Op, sample.Inputs
    let draw = sample.Draw 4UL
    let y = op.Apply x
    let g = cotangents draw y

    let snapshot =
        Array.map (fun (t: Tensor) -> t.ToDoubles()) (Array.concat [ x; y; g ])

    let expected =
        Array.init x.Length (fun i -> if x[i].DType.IsFloat() then rule op x y g i else None)

    let nothing _ = None

    let all = slots x (fun _ -> true)
    fused.Invoke(x, y, g, all)
    holds "all inputs" x (Array.get expected) nothing all

    // Each input alone: the other slots are null.
    for alone in floats x do
        let one = slots x ((=) alone)
        fused.Invoke(x, y, g, one)
        holds $"input {alone} alone" x (Array.get expected) nothing one

    // Onto what others contributed, whose memory is not the slot's to write.
    let filled = slots x (fun _ -> true)

    let earlier =
        x
        |> Array.map (fun t -> if t.DType.IsFloat() then Some(direction draw t) else None)

    filled
    |> Array.iteri (fun i slot ->
        match slot, earlier[i] with
        | null, _
        | _, None -> ()
        | slot, Some t -> slot.Add(op, t))

    let kept = earlier |> Array.map (Option.map (fun t -> t.ToDoubles()))
    fused.Invoke(x, y, g, filled)
    holds "accumulating" x (Array.get expected) (Array.get earlier) filled

    for i in 0 .. x.Length - 1 do
        match earlier[i], kept[i] with
        | Some now, Some before -> unchanged "another's contribution is unchanged" before (now.ToDoubles())
        | _ -> ()

    // And once more onto its own.
    fused.Invoke(x, y, g, all)
    holds "twice" x (Array.get expected) (Array.get expected) all

    // One tensor used as several inputs has one slot.
    let which = floats x

    if
        which.Length > 1
        && which |> Array.forall (fun i -> x[i].Shape = x[which[0]].Shape)
    then
        let shared = Slot(Tape(), x[which[0]])

        let slots: (Slot | null)[] =
            x |> Array.map (fun t -> if t.DType.IsFloat() then shared else null)

        fused.Invoke(x, y, g, slots)

        match which |> Array.choose (Array.get expected), shared.Cotangent with
        | [||], null -> ()
        | parts, total -> agree "one slot for all inputs" (Array.reduce (fun a b -> a + b) parts) (nonNull total)

    Array.iteri2
        (fun i (before: float[]) (t: Tensor) ->
            unchanged $"inputs, outputs and cotangents ({i})" before (t.ToDoubles()))
        snapshot
        (Array.concat [ x; y; g ])

/// The fused rule gives what the differentiable one gives, adds to what is there, and changes nothing else.
let fusedIsVjp =
    {
        Name = "fused vjp equals vjp"
        Cases = 40
        Check =
            fun sample ->
                match sample.Op.VjpInto with
                | null -> ()
                | fused -> checkFused sample fused
    }

/// The same shape filled with what would show: NaN, impossible indices, the opposite.
let private poisoned (x: Tensor) =
    match x.DType with
    | DType.Bool -> like x (x.ToDoubles() |> Array.map (fun v -> 1.0 - v))
    | DType.Int32
    | DType.Int64 -> like x (Array.create (int x.Count) -1e6)
    | _ -> like x (Array.create (int x.Count) nan)

/// Rules read no more than they declare; the rest is poisoned.
let readsWhatItDeclares =
    {
        Name = "derivatives read only what they declare"
        Cases = 25
        Check =
            fun sample ->
                let op, x = sample.Op, sample.Inputs

                if op.Reads <> Reads.All && not (obj.ReferenceEquals(op.Vjp, Op.NotDifferentiable)) then
                    let y = op.Apply x
                    let g = cotangents (sample.Draw 5UL) y

                    let px =
                        if op.Reads.HasFlag Reads.Inputs then
                            x
                        else
                            Array.map poisoned x

                    let py =
                        if op.Reads.HasFlag Reads.Outputs then
                            y
                        else
                            Array.map poisoned y

                    for i in floats x do
                        match rule op x y g i, rule op px py g i with
                        | None, None -> ()
                        | Some clean, Some poisoned ->
                            agree $"vjp of input {i} with the undeclared poisoned" clean poisoned
                        | _ -> failtestNoStackf "vjp of input %d depends on what it does not declare to read" i

                    match op.VjpInto with
                    | null -> ()
                    | fused ->
                        let clean, dirty = slots x (fun _ -> true), slots px (fun _ -> true)
                        fused.Invoke(x, y, g, clean)
                        fused.Invoke(px, py, g, dirty)

                        Array.iter2
                            (fun (a: Slot | null) (b: Slot | null) ->
                                match a, b with
                                | null, _
                                | _, null -> ()
                                | a, b ->
                                    match a.Cotangent, b.Cotangent with
                                    | null, null -> ()
                                    | null, _
                                    | _, null -> failtest "fused vjp depends on what it does not declare to read"
                                    | a, b -> agree "fused vjp with the undeclared poisoned" a b)
                            clean
                            dirty
    }
