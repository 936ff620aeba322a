/// What operations compute: against the naive reference, in both float widths, in every layout, length and number of threads.
module Functional.Tests.Laws.Values

open System
open System.Text.RegularExpressions
open Expecto
open Functional
open Functional.Autodiff
open Functional.Kernels
open Functional.Tests
open Functional.Tests.Laws.Numbers
open Functional.Tests.Plain

// ---- how far rounding may carry ----

let private half = 2.0 ** -24.0

/// Half an ulp relative to the number.
let private roundingOf (dtype: DType) =
    if dtype = DType.Float32 then half else 2.0 ** -53.0

let private inDouble (x: Tensor) =
    if x.DType.IsFloat() then
        tensor DType.Float64 x.Shape (x.ToDoubles())
    else
        x

/// Whether an output combines several elements of an input: its steps then round relative to the largest of them, and their
/// order is the layout's. An einsum's shapes may all be one square's though it sums.
let private mixes (op: Op) (x: Tensor[]) (y: Tensor[]) =
    op.Name = "einsum"
    || Array.append (x |> Array.filter (fun t -> t.DType.IsFloat())) y
       |> Array.pairwise
       |> Array.exists (fun (a, b) -> a.Shape <> b.Shape)

/// Operations with a step that rounds relative to the input though the output may be smaller: gelu in float32 takes
/// x·½(1 + erf) for x below 0, too, as everybody does for the sake of speed; a factorisation's errors are relative to the matrix.
let private roundsBesideInput =
    set
        [
            "gelu"
            "softmax"
            "logSoftmax"
            "inverse"
            "solve"
            "cholesky"
            "qr"
            "eigh"
            "svd"
            "besselI"
            "averagePool"
            "solveTriangular"
            "matrixExp"
            "groupNorm"
            "cross"
        ]

/// Operations whose values are approximated to so many units in the last place, also of the argument: of a quantile of the gamma distribution the reference's, too, which
/// takes Γ from a library.
let private approximated = Map [ "lgamma", 20.0; "polygamma", 8.0; "gamma", 100.0 ]

/// Made of a factorisation whose errors are relative to the largest of the results, not to each: an inverse's, n·u·‖A⁻¹‖ times the condition number
/// (Higham 2002, section 14.3), which the perturbed inputs show.
let private roundsBesideResults = set [ "adjugate" ]

/// The singular value decomposition is that of a matrix n·u·‖A‖ away (Golub and Van Loan 2013, section 8.6), whose pseudo-inverse is √2·‖A⁺‖² times as far from A⁺
/// (Wedin 1973, Perturbation theory for pseudo-inverses); for each matrix of a batch.
let private pseudoInverseOf (a: Tensor) (inverse: Tensor) =
    let m, n = a.Shape[-2], a.Shape[-1]

    let norm values =
        sqrt (Array.sumBy (fun v -> v * v) values)

    if a.Count = 0L then
        [||]
    else
        Array.map2
            (fun a inverse -> sqrt 2.0 * float (max m n) * norm a * norm inverse ** 2.0)
            (a.ToDoubles() |> Array.chunkBySize (m * n))
            (inverse.ToDoubles() |> Array.chunkBySize (m * n))
        |> Array.collect (Array.replicate (m * n))

/// Fourier transforms of any length are convolutions of twice the length and more: their errors are relative to all the terms.
let private transforms = set [ "rfft"; "rfftAdjoint" ]

/// How far the rounding of a mean carries: ½ ulp of it becomes gain·|mean|/√(variance + ε) of the result, though the result does not depend on the
/// mean and no change of the inputs shows it. The statistics stand beside the result.
let private carriedByMean (sample: Drawn) (x: Tensor[]) (y: float[][]) j i =
    let gain () =
        x[1..]
        |> Array.collect (fun t -> t.ToDoubles())
        |> Array.fold (fun m v -> max m (abs v)) 1.0

    match sample.Op.Name with
    | "layerNorm" when j = 0 ->
        let row = i / x[0].Shape[-1]
        gain () * y[1].[row] * abs y[2].[row]
    | "groupNorm" when j = 0 ->
        let group = i / int (x[0].Count / max 1L y[1].LongLength)
        gain () * y[1].[group] * abs y[2].[group]
    | "batchNorm" when j = 0 ->
        let size = int (x[0].Count / int64 x[0].Shape[0] / int64 x[0].Shape[1])
        let channel = i / size % x[0].Shape[1]
        let epsilon = (Attributes sample.Attributes).Number "epsilon"
        gain () * abs y[1].[channel] / sqrt (y[2].[channel] + epsilon)
    | _ -> 0.0

/// Operations whose derivatives divide by a deviation, too: the two ways to them round relative to terms that cancel.
let private dividesByDeviation =
    set [ "batchNorm"; "layerNorm"; "rmsNorm"; "groupNorm" ]

/// How much more than others the two ways to a derivative may differ.
let private amplification (sample: Drawn) (x: Tensor[]) =
    if dividesByDeviation.Contains sample.Op.Name then
        3.0
    elif sample.Op.Name = "attention" then
        // One way computes the scores again, in whatever order their n products are added up: n·u·Σ|products| at most in an exponent (Higham, 2002), and
        // as much of the weights. What others may differ by is 34 u, and more in double precision.
        let features = float x[0].Shape[-1]

        let scale =
            Attributes(sample.Attributes).Maybe "scale"
            |> Option.defaultValue (1.0 / sqrt (max 1.0 features))

        let sizes =
            x[0].Cast(DType.Float64).Abs().Matmul(x[1].Cast(DType.Float64).Abs().Transpose(-1, -2)).ToDoubles()

        max 1.0 (features * abs scale * Array.fold max 0.0 sizes / 34.0)
    else
        1.0

/// Operations that add one after the other into the same place: n terms round by (n − 1)·u·Σ|x| at most (Higham, 2002).
let private addsInTurn =
    set
        [
            "putBack"
            "scatterAdd"
            "averageUnpool"
            "adaptiveAverageUnpool"
            "cumsum"
            "linearRecurrence"
            "logcumsumexp"
        ]

/// What rounding may make of sums of products, of which there are several thousand where an example is stretched, alike in sign: n of them, added up in any order,
/// round by n·u·Σ|products| at most (Higham 2002, section 3.1). For each output and element, relative to u; empty where nothing is derived.
let private derivedBound (sample: Drawn) (x: Tensor[]) =
    let sizes = x |> Array.map (fun t -> like t (t.ToDoubles() |> Array.map abs))

    // A kernel's weights and the bias, or the positions of all images: those at the borders have fewer. What the activation passes on is no more than what it gets: none of them
    // is steeper than 1. Examples have fewer channels than minimal filtering takes, whose errors are relative to the rows of a whole tile.
    let convolution axis =
        let n = 1.0 + float x[1].Count / float (max 1 x[1].Shape[axis])

        let attributes =
            Regex.Replace(sample.Attributes, @"activation = \w+", "activation = None")

        let given: Plain[] =
            sizes
            |> Array.map (fun t ->
                {
                    Shape = t.Shape.ToArray()
                    Values = t.ToDoubles()
                })

        Reference.all[sample.Op.Name] (Attributes attributes) given
        |> Array.map (fun total -> total.Values |> Array.map ((*) n))

    match sample.Op.Name with
    // The operation itself counts the products, of ones, and adds up their sizes.
    | "einsum" ->
        let ones = x |> Array.map (fun t -> like t (Array.create (int t.Count) 1.0))

        Array.map2
            (fun (n: Tensor) (total: Tensor) -> Array.map2 (*) (n.ToDoubles()) (total.ToDoubles()))
            (sample.Op.Apply ones)
            (sample.Op.Apply sizes)
    | "convolution" -> convolution 0
    | "convolutionTransposed"
    | "convolutionWeight" -> convolution 1
    | "pseudoInverse" -> Array.map (pseudoInverseOf x[0]) (sample.Op.Apply x)
    | _ -> [||]

/// A normal number (Box and Muller, 1958).
let private normal (draw: Draw) =
    sqrt (-2.0 * log (1.0 - draw.Uniform(0.0, 1.0)))
    * cos (Math.Tau * draw.Uniform(0.0, 1.0))

/// For each output and element how far it may move when inputs and steps are rounded to a relative precision: what the
/// operation does to perturbed inputs, measured in float64, plus some units in the last place of the output itself.
let private bounds (sample: Drawn) (x: Tensor[]) (draw: Draw) dtype =
    let op = sample.Op
    let epsilon = roundingOf dtype
    let exact = Array.map inDouble x
    let outputs = op.Apply exact
    let y = outputs |> Array.map (fun t -> t.ToDoubles())
    let moved = y |> Array.map (fun v -> Array.zeroCreate<float> v.Length)

    for trial in 0..9 do
        // All inputs the same way, each against the next, then every element as chance has it: normal, because equal steps cancel exactly
        // (half of all pairs of factors), and so often that none of many outputs has them all small.
        let perturbed =
            exact
            |> Array.mapi (fun input t ->
                let size () =
                    match trial with
                    | 0 -> 1.0
                    | 1 -> if input % 2 = 0 then 1.0 else -1.0
                    | _ -> normal draw

                if t.DType.IsFloat() then
                    t.ToDoubles() |> Array.map (fun v -> v + v * half * size ()) |> like t
                else
                    t)

        op.Apply perturbed
        |> Array.iteri (fun j t ->
            t.ToDoubles()
            |> Array.iteri (fun i v -> moved[j][i] <- max moved[j].[i] (abs (v - y[j].[i]) / half)))

    let floats =
        exact
        |> Array.collect (fun t -> if t.DType.IsFloat() then t.ToDoubles() else [||])

    let derived = derivedBound sample exact

    // What is compared with is in float64, and there rounds as much.
    let sides = if dtype = DType.Float64 then 2.0 else 1.0

    let beside =
        if addsInTurn.Contains op.Name then
            float floats.Length / 4.0 * Array.sumBy abs floats
        elif transforms.Contains op.Name then
            8.0 * Array.sumBy abs floats
        elif approximated.ContainsKey op.Name then
            approximated[op.Name] * (floats |> Array.fold (fun m v -> max m (abs v)) 1.0)
        elif derived.Length > 0 then
            0.0
        elif roundsBesideResults.Contains op.Name then
            float outputs[0].Shape[-1]
            * (Array.concat y |> Array.fold (fun m v -> max m (abs v)) 0.0)
        elif mixes op x outputs || roundsBesideInput.Contains op.Name then
            // As many terms of that size meet in one output as there are more inputs than outputs.
            let fewest = outputs |> Array.map _.Count |> Array.min |> max 1L
            let most = exact |> Array.map _.Count |> Array.max
            let terms = max 1.0 (float most / float fewest)
            terms * (floats |> Array.fold (fun m v -> max m (abs v)) 0.0)
        else
            0.0

    let smallest =
        if dtype = DType.Float32 then
            2.0 ** -126.0
        else
            2.0 ** -1022.0

    Array.init y.Length (fun j ->
        Array.init y[j].Length (fun i ->
            let all =
                4.0 * (moved[j].[i] + carriedByMean sample exact y j i + beside)
                + 8.0 * abs y[j].[i]
                + (if derived.Length = 0 then 0.0 else sides * derived[j].[i])

            if Double.IsFinite all then
                epsilon * all + smallest
            else
                0.0))

// ---- the reference ----

let private plain (x: Tensor) : Plain =
    {
        Shape = x.Shape.ToArray()
        Values = x.ToDoubles()
    }

let private referenceOf (op: Op) =
    match Reference.all.TryFind op.Name with
    | Some reference -> reference
    | None -> failtestNoStackf "'%s' has no entry in Tests/Reference.fs" op.Name

let private against (reference: Attributes -> Plain[] -> Plain[]) (sample: Drawn) (x: Tensor[]) =
    let op = sample.Op
    let given = Array.map plain x
    let expected = reference (Attributes sample.Attributes) given
    let actual = op.Apply x

    Array.iter2 (fun (before: Plain) (t: Tensor) -> unchanged "the input" before.Values (t.ToDoubles())) given x

    Expect.equal actual.Length expected.Length "number of outputs"

    let width =
        if x |> Array.exists (fun t -> t.DType = DType.Float32) then
            DType.Float32
        else
            DType.Float64

    let allowed = bounds sample x (sample.Draw 6UL) width

    for j in 0 .. actual.Length - 1 do
        Expect.equal (actual[j].Shape.ToArray()) expected[j].Shape $"shape of output {j}"

        let bound =
            if actual[j].DType.IsFloat() then
                Array.get allowed[j]
            else
                fun _ -> 0.0

        within $"output {j}" bound expected[j].Values (actual[j].ToDoubles())

let private againstReference (sample: Drawn) = against (referenceOf sample.Op) sample

let forwardIsReference =
    {
        Name = "forward equals the naive reference"
        Cases = 30
        Check = fun sample -> againstReference sample sample.Inputs
    }

let forwardIsMathNet =
    {
        Name = "forward equals MathNet.Numerics where it has the operation"
        Cases = 15
        Check =
            fun sample ->
                match MathNetReference.all.TryFind sample.Op.Name with
                | Some reference -> against reference sample sample.Inputs
                | None -> ()
    }

let floatsAgree =
    {
        Name = "float32 agrees with float64"
        Cases = 20
        Check =
            fun sample ->
                let op = sample.Op

                if floats sample.Inputs <> [||] then
                    let single =
                        sample.Inputs
                        |> Array.map (fun t ->
                            if t.DType.IsFloat() then
                                tensor DType.Float32 t.Shape (t.ToDoubles())
                            else
                                t)

                    let narrow = op.Apply single
                    let wide = op.Apply(Array.map inDouble single)
                    let allowed = bounds sample single (sample.Draw 7UL) DType.Float32

                    for j in 0 .. narrow.Length - 1 do
                        let bound =
                            if wide[j].DType.IsFloat() then
                                Array.get allowed[j]
                            else
                                fun _ -> 0.0

                        within $"output {j} in float32" bound (wide[j].ToDoubles()) (narrow[j].ToDoubles())
    }

// ---- layouts ----

/// The same numbers lying in reverse order of axes, and with gaps of NaN.
let private layouts (x: Tensor) =
    if x.Rank = 0 || x.Count = 0L || not (x.DType.IsFloat()) then
        [ x ]
    else
        let values = x.ToDoubles()
        let shape = x.Shape

        let reversed =
            let strides = Array.zeroCreate<nativeint> shape.Rank
            let mutable stride = 1n

            for i in 0 .. shape.Rank - 1 do
                strides[i] <- stride
                stride <- stride * nativeint shape[i]

            let view = Tensor.Meta(x.DType, shape).View(shape, strides, 0n)
            let stored = Array.zeroCreate<float> values.Length
            Seq.iteri (fun i (at: nativeint) -> stored[int at] <- values[i]) (view.Positions())
            (tensor x.DType (shapeOf [| stored.Length |]) stored).View(shape, strides, 0n)

        let gaps =
            let strides = shape.RowMajor |> Array.map (fun s -> 3n * s)
            let stored = Array.create (3 * values.Length) nan
            values |> Array.iteri (fun i v -> stored[3 * i + 2] <- v)
            (tensor x.DType (shapeOf [| stored.Length |]) stored).View(shape, strides, 2n)

        [ reversed; gaps ]

/// Outputs and, for float outputs, the pullback of the cotangents that are made for them.
let private everythingWith (cotangent: Tensor -> Tensor) (op: Op) (x: Tensor[]) =
    let which = floats x
    let y = op.Apply x
    let f = functionOf op x which
    let inputs = which |> Array.map (Array.get x)

    let cotangents =
        y |> Array.filter (fun t -> t.DType.IsFloat()) |> Array.map cotangent

    if inputs.Length = 0 || cotangents.Length = 0 then
        y, [||]
    else
        let struct (_, pull) = Diff.Vjp(f, inputs)
        y, pull.Invoke cotangents

/// The same for drawn cotangents.
let everything (op: Op) (x: Tensor[]) (draw: Draw) = everythingWith (direction draw) op x

let viewsAreCopies =
    {
        Name = "a view gives what its copy gives"
        Cases = 20
        Check =
            fun sample ->
                let op = sample.Op
                let copies = sample.Inputs |> Array.map copy
                let y, g = everything op copies (sample.Draw 8UL)

                for layout in 0..1 do
                    let views =
                        copies |> Array.map (fun t -> let l = layouts t in l[min layout (l.Length - 1)])

                    let vy, vg = everything op views (sample.Draw 8UL)
                    let same = if mixes op copies y then agree else identical
                    Array.iter2 (same "output") y vy
                    Array.iter2 (agree "cotangent") g vg
    }

// ---- lengths ----

/// Operations whose domain is not left alone when columns repeat: equal columns make singular values of 0, whose vectors may be any, and repeated edges
/// are in no order.
let private mayNotRepeat = set [ "svd"; "pseudoInverse"; "searchSorted" ]

/// The last axis of every input that has the first one's length cycled to another length; None where the operation refuses it, or where the outputs would
/// have more elements than `most`.
let private stretchedWithin most (sample: Drawn) (dtype: DType) length =
    let last (t: Tensor) = if t.Rank = 0 then -1 else t.Shape[-1]

    match sample.Inputs |> Array.map last |> Array.tryFind (fun n -> n > 0) with
    | None -> None
    | Some original when mayNotRepeat.Contains sample.Op.Name && length > original -> None
    | Some original ->
        let discrete = sample.Inputs |> Array.exists (fun t -> t.DType.IsInteger())

        let around = Tensor.From(Array.init length (fun i -> int64 (i % original)))

        let stretch (t: Tensor) =
            let dtype = if t.DType.IsFloat() then dtype else t.DType

            if last t <> original then
                (copy t).Cast dtype
            else
                t.Cast(dtype).Take(around, -1)

        // Indices into an axis that shrinks would point outside.
        if discrete && length < original then
            None
        // A product of very many numbers leaves the range of floats, at a place that depends on the order.
        elif sample.Op.Name = "prod" && length > 19 then
            None
        else
            let x = sample.Inputs |> Array.map stretch

            try
                // Where two inputs grow, the output may grow by their product.
                let outputs = sample.Op.Shape.Invoke x

                if outputs |> Array.sumBy _.Shape.Count > most then
                    None
                else
                    Some x
            with :? ShapeException ->
                None

let stretched sample dtype length =
    stretchedWithin 5_000_000L sample dtype length

/// Around the widths of vectors in both dtypes.
let lengths = [ 0; 1; 7; 8; 9; 15; 16; 17; 19; 31; 32; 33; 35; 64; 67 ]

let lengthsDoNotMatter =
    // One case in each width and at each length.
    let combinations = List.allPairs [ DType.Float64; DType.Float32 ] lengths

    {
        Name = "any length, whatever the vectors' width"
        Cases = 4 * combinations.Length
        Check =
            fun sample ->
                let dtype, length =
                    combinations[int (sample.Case.Seed % uint64 combinations.Length)]

                match stretched sample dtype length with
                | None -> ()
                | Some x ->
                    againstReference sample x

                    match sample.Op.VjpInto with
                    | null -> ()
                    | fused ->
                        let y = sample.Op.Apply x
                        let draw = sample.Draw 9UL

                        let g =
                            y
                            |> Array.map (fun t ->
                                if t.DType.IsFloat() then
                                    direction draw t
                                else
                                    Level.ZerosLike t)

                        let tape = Tape()

                        let slots: (Slot | null)[] =
                            x |> Array.map (fun t -> if t.DType.IsFloat() then Slot(tape, t) else null)

                        fused.Invoke(x, y, g, slots)

                        for i in floats x do
                            match sample.Op.Vjp.Invoke(x, y, g, i), slots[i] with
                            | null, _
                            | _, null -> ()
                            | expected, slot ->
                                match slot.Cotangent with
                                | null -> failtestNoStackf "input %d has no cotangent at length %d" i length
                                | actual ->
                                    // A parameter's cotangent is a sum over all that it took part in.
                                    let terms =
                                        float (x |> Array.map _.Count |> Array.max) / float expected.Count
                                        * amplification sample x ** 2.0

                                    agreeInSum terms $"fused vjp of input {i} at length {length}" expected actual
    }

// ---- threads ----

let private withThreads count f =
    let before = Workers.Count

    try
        Workers.Count <- count
        f ()
    finally
        Workers.Count <- before

/// Operations that take so long for each element that many are too many: quantiles by iteration, series, transforms by way of longer ones. What the
/// elementwise ones are cut into has 16,384 elements.
let private slow =
    set [ "gamma"; "rfft"; "rfftAdjoint"; "polygamma"; "besselI"; "erfinv"; "lgamma" ]

/// So many elements that every kernel cuts them into several pieces: the largest piece has 32,768.
let private elementsForThreads (op: Op) =
    if slow.Contains op.Name then 20_000 else 80_000

let private memory (t: Tensor) =
    let values: Array =
        match t.DType with
        | DType.Float32 -> t.ToArray<float32>()
        | DType.Float64 -> t.ToArray<float>()
        | DType.Int32 -> t.ToArray<int>()
        | DType.Int64 -> t.ToArray<int64>()
        | _ -> t.ToArray<bool>()

    let bytes: byte[] = Array.zeroCreate (Buffer.ByteLength values)
    Buffer.BlockCopy(values, 0, bytes, 0, bytes.Length)
    bytes

/// Equal bit by bit: memory is compared, and only where it differs the elements are.
let private sameBits what (expected: Tensor) (actual: Tensor) =
    let same =
        expected.Shape = actual.Shape
        && expected.DType = actual.DType
        && (ReadOnlySpan<byte>(memory expected)).SequenceEqual(ReadOnlySpan<byte>(memory actual))

    if not same then
        identical what expected actual

let threadsDoNotMatter =
    {
        Name = "one thread gives the bits of many"
        Cases = 4
        Check =
            fun sample ->
                let dtype =
                    if sample.Case.Seed % 2UL = 0UL then
                        DType.Float64
                    else
                        DType.Float32

                let rows =
                    sample.Inputs
                    |> Array.map (fun t ->
                        if t.Rank = 0 then
                            1L
                        else
                            t.Count / int64 (max 1 t.Shape[-1]))
                    |> Array.fold max 1L

                let enough = elementsForThreads sample.Op

                match stretchedWithin 500_000L sample dtype (max (enough / 100) (enough / int rows)) with
                | None -> ()
                | Some x ->
                    let cotangent (y: Tensor) =
                        (Key.OfSeed(int64 sample.Case.Seed)).Uniform(y.Shape, -1.0, 1.0, y.DType)

                    let run () = everythingWith cotangent sample.Op x
                    let y, g = withThreads 1 run
                    let y', g' = withThreads 4 run
                    Array.iter2 (sameBits "output") y y'
                    Array.iter2 (sameBits "cotangent") g g'
    }
