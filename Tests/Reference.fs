/// Every operation once more, as naively as possible: numbers in row-major order, one output at a time.
module Functional.Tests.Reference

open System
open System.Globalization
open System.Text.RegularExpressions
open Functional
open MathNet.Numerics
open Functional.Tests.Plain

// ---- kinds ----

let private one f (_: Attributes) (x: Plain[]) =
    [|
        {
            Shape = x[0].Shape
            Values = Array.map f x[0].Values
        }
    |]

let private oneWith f (a: Attributes) (x: Plain[]) = one (f a) a x

let private two f (_: Attributes) (x: Plain[]) =
    [|
        {
            Shape = x[0].Shape
            Values = Array.map2 f x[0].Values x[1].Values
        }
    |]

let private truth b = if b then 1.0 else 0.0
let private relation f = two (fun x y -> truth (f x y))

/// f of all the elements that the reduced axes hold, for every index of the others.
let private reduceAxes (axes: Set<int>) keep f (x: Plain) =
    let inner = x.Shape |> Array.mapi (fun i n -> if axes.Contains i then n else 1)
    let kept = x.Shape |> Array.mapi (fun i n -> if axes.Contains i then 1 else n)

    let reduced =
        make kept (fun index ->
            indices inner
            |> Array.map (fun offset -> at x (Array.map2 (+) index offset))
            |> f)

    if keep then
        reduced
    else
        { reduced with
            Shape =
                [|
                    for i in 0 .. x.Shape.Length - 1 do
                        if not (axes.Contains i) then
                            x.Shape[i]
                |]
        }

let private reduction f (a: Attributes) (x: Plain[]) =
    [|
        reduceAxes (axesOf x[0].Shape (a.Ints "axes")) (a.Flag "keepAxes") (f a) x[0]
    |]

let private alongOne f (a: Attributes) (x: Plain[]) =
    let axes =
        match a.Maybe "axis" with
        | Some axis -> set [ axisOf x[0].Shape (int axis) ]
        | None -> axesOf x[0].Shape [||]

    reduceAxes axes (a.Flag "keepAxes") f x[0]

/// The numbers along one axis made into others, for every index of the rest.
let private alongAxis axis f (x: Plain) =
    let axis = axisOf x.Shape axis

    make x.Shape (fun index ->
        let line = Array.init x.Shape[axis] (fun i -> at x (replace axis i index))
        (f line: float[])[index[axis]])

// ---- functions of one number ----

let private log1p x =
    let u = 1.0 + x
    if u = 1.0 then x else log u * x / (u - 1.0)

let private expm1 x = 2.0 * sinh (x / 2.0) * exp (x / 2.0)
let private sigmoid x = 1.0 / (1.0 + exp -x)
let private softplus x = max x 0.0 + log1p (exp -(abs x))

let private gelu x =
    0.5 * x * SpecialFunctions.Erfc(-x / sqrt 2.0)

let private geluTanh x =
    0.5 * x * (1.0 + tanh (sqrt (2.0 / Math.PI) * (x + 0.044715 * x * x * x)))

let private elu alpha x = if x > 0.0 then x else alpha * expm1 x

let private selu x =
    1.0507009873554804934193349852946 * elu 1.6732632423543772848170429916717 x

let private floorMod x y = x - y * floor (x / y)

let private cast (a: Attributes) x =
    match a.Text "dtype" with
    | "float64" -> x
    | "float32" -> float (float32 x)
    | "bool" -> truth (x <> 0.0)
    | _ -> truncate x

let private dropout (a: Attributes) (x: Plain[]) =
    let draws =
        Key.OfSeed(int64 (a.Int "seed")).Uniform(Shape.Of(ReadOnlySpan x[0].Shape)).ToDoubles()

    let rate = a.Number "rate"

    [|
        {
            Shape = x[0].Shape
            Values = Array.map2 (fun v u -> if u < rate then 0.0 else v / (1.0 - rate)) x[0].Values draws
        }
    |]

// ---- reductions ----

let private mean v = sum v / float (Array.length v)

let private logSumExp v =
    match v with
    | [||] -> -infinity
    | _ ->
        let m = Array.max v
        m + log (v |> Array.map (fun x -> exp (x - m)) |> sum)

let private variance correction v =
    let m = mean v
    let freedom = float v.Length - correction

    if freedom > 0.0 then
        (v |> Array.map (fun x -> (x - m) * (x - m)) |> sum) / freedom
    else
        nan

let private place best v =
    Array.findIndex ((=) (best v)) v |> float

// ---- views ----

let private permute (a: Attributes) (x: Plain[]) =
    let axes = a.Ints "axes" |> Array.map (axisOf x[0].Shape)
    let shape = axes |> Array.map (fun axis -> x[0].Shape[axis])

    [|
        make shape (fun index ->
            let source = Array.zeroCreate index.Length
            axes |> Array.iteri (fun i axis -> source[axis] <- index[i])
            at x[0] source)
    |]

let private slice (a: Attributes) (x: Plain[]) =
    let starts, stops, steps = a.Ints "starts", a.Ints "stops", a.Ints "steps"

    let taken =
        Array.init starts.Length (fun i -> [| starts[i] .. steps[i] .. stops[i] - 1 |])

    [|
        make (taken |> Array.map Array.length) (fun index -> at x[0] (Array.map2 Array.get taken index))
    |]

let private pad (a: Attributes) (x: Plain[]) =
    let into, starts, steps = a.Ints "into", a.Ints "starts", a.Ints "steps"
    let values = Array.create (count into) (a.Number "value")
    let flat = indices into |> Array.mapi (fun i index -> List.ofArray index, i) |> dict

    for index in indices x[0].Shape do
        let target = Array.init into.Length (fun i -> starts[i] + index[i] * steps[i])
        values[flat[List.ofArray target]] <- at x[0] index

    [| { Shape = into; Values = values } |]

/// Axes of size 1 and missing leading ones repeat.
let private aligned (small: int[]) (index: int[]) =
    let leading = index.Length - small.Length
    small |> Array.mapi (fun i size -> if size = 1 then 0 else index[i + leading])

let private expand (a: Attributes) (x: Plain[]) =
    [| make (a.Ints "shape") (fun index -> at x[0] (aligned x[0].Shape index)) |]

let private sumTo (a: Attributes) (x: Plain[]) =
    let shape = a.Ints "shape"

    [|
        make shape (fun index ->
            indices x[0].Shape
            |> Array.filter (fun source -> aligned shape source = index)
            |> Array.map (at x[0])
            |> sum)
    |]

let private triangle keeps (a: Attributes) (x: Plain[]) =
    let diagonal = a.Int "diagonal"
    let rank = x[0].Shape.Length

    [|
        make x[0].Shape (fun index ->
            if keeps (index[rank - 1] - index[rank - 2]) diagonal then
                at x[0] index
            else
                0.0)
    |]

let private concat (a: Attributes) (x: Plain[]) =
    let axis = axisOf x[0].Shape (a.Int "axis")
    let total = x |> Array.sumBy (fun t -> t.Shape[axis])

    [|
        make (replace axis total x[0].Shape) (fun index ->
            let rec find i place =
                if place < x[i].Shape[axis] then
                    at x[i] (replace axis place index)
                else
                    find (i + 1) (place - x[i].Shape[axis])

            find 0 index[axis])
    |]

let private split (a: Attributes) (x: Plain[]) =
    let axis = axisOf x[0].Shape (a.Int "axis")
    let sizes = a.Ints "sizes"
    let starts = Array.scan (+) 0 sizes

    sizes
    |> Array.mapi (fun i size ->
        make (replace axis size x[0].Shape) (fun index -> at x[0] (replace axis (starts[i] + index[axis]) index)))

let private flip (a: Attributes) (x: Plain[]) =
    let axes = axesOf x[0].Shape (a.Ints "axes")

    [|
        make x[0].Shape (fun index ->
            index
            |> Array.mapi (fun i place -> if axes.Contains i then x[0].Shape[i] - 1 - place else place)
            |> at x[0])
    |]

/// Each pixel goes to its place, or back to where it came from.
let private moveImages (a: Attributes) (x: Plain[]) =
    let result = Array.zeroCreate x[0].Values.Length
    let height, width = x[0].Shape[2], x[0].Shape[3]

    let flat (index: int[]) =
        Array.fold2 (fun flat size i -> flat * size + i) 0 x[0].Shape index

    for index in indices x[0].Shape do
        let number i = int (at x[1] [| index[0]; i |])
        let row = index[2] + number 0

        let column =
            if number 2 <> 0 then
                number 1 - index[3]
            else
                number 1 + index[3]

        if row >= 0 && row < height && column >= 0 && column < width then
            let other = [| index[0]; index[1]; row; column |]

            if a.Flag "back" then
                result[flat other] <- at x[0] index
            else
                result[flat index] <- at x[0] other

    [| { Shape = x[0].Shape; Values = result } |]

// ---- indices ----

let private take (a: Attributes) (x: Plain[]) =
    let axis = axisOf x[0].Shape (a.Int "axis")
    let rank = x[1].Shape.Length

    let shape =
        Array.concat [ x[0].Shape[.. axis - 1]; x[1].Shape; x[0].Shape[axis + 1 ..] ]

    [|
        make shape (fun index ->
            let row = at x[1] index[axis .. axis + rank - 1] |> int
            at x[0] (Array.concat [ index[.. axis - 1]; [| row |]; index[axis + rank ..] ]))
    |]

/// Adds every element of the source to the place that `target` gives for its index; None leaves it out.
let private scattered shape (start: float[]) (source: Plain) target =
    let values = Array.copy start

    let flat =
        indices shape |> Array.mapi (fun i index -> List.ofArray index, i) |> dict

    for index in indices source.Shape do
        match target index with
        | Some place ->
            let i = flat[List.ofArray place]
            values[i] <- values[i] + at source index
        | None -> ()

    { Shape = shape; Values = values }

let private putBack (a: Attributes) (x: Plain[]) =
    let into = a.Ints "into"
    let axis = axisOf into (a.Int "axis")
    let padding = a.Maybe "padding"
    let rank = x[1].Shape.Length

    [|
        scattered into (Array.zeroCreate (count into)) x[0] (fun index ->
            let row = at x[1] index[axis .. axis + rank - 1]

            if Some row = padding then
                None
            else
                Some(Array.concat [ index[.. axis - 1]; [| int row |]; index[axis + rank ..] ]))
    |]

let private gather (a: Attributes) (x: Plain[]) =
    let axis = axisOf x[0].Shape (a.Int "axis")

    [|
        make x[1].Shape (fun index -> at x[0] (replace axis (int (at x[1] index)) index))
    |]

let private scatterAdd (a: Attributes) (x: Plain[]) =
    let axis = axisOf x[0].Shape (a.Int "axis")

    [|
        scattered x[0].Shape x[0].Values x[2] (fun index -> Some(replace axis (int (at x[1] index)) index))
    |]

let private oneHot (a: Attributes) (x: Plain[]) =
    let rank = x[0].Shape.Length

    [|
        make (Array.append x[0].Shape [| a.Int "classes" |]) (fun index ->
            truth (at x[0] index[.. rank - 1] = float index[rank]))
    |]

// ---- softmax and its losses ----

let private softmax (line: float[]) =
    // Not by way of the logarithm, whose rounding is relative to itself.
    let largest = Array.fold max -infinity line
    let weights = line |> Array.map (fun x -> exp (x - largest))
    let total = sum weights
    weights |> Array.map (fun w -> w / total)

let private logSoftmax (line: float[]) =
    let total = logSumExp line
    line |> Array.map (fun x -> x - total)

/// Losses and logsumexps of rows; the target of a row gives the weight of each class.
let private crossEntropies (logits: Plain) target =
    let rank = logits.Shape.Length - 1
    let rows = logits.Shape[.. rank - 1]

    let row index =
        Array.init logits.Shape[rank] (fun c -> at logits (Array.append index [| c |]))

    let losses =
        make rows (fun index ->
            let x = row index
            Array.map2 (fun q v -> q * (logSumExp x - v)) (target index) x |> sum)

    losses, make rows (row >> logSumExp)

let private smoothed (a: Attributes) classes q =
    let s = a.Number "smoothing"
    Array.map (fun q -> (1.0 - s) * q + s / float classes) q

let private labelLosses (a: Attributes) (x: Plain[]) =
    let classes = Array.last x[0].Shape

    let target index =
        let label = at x[1] index

        if Some label = a.Maybe "ignore" then
            Array.zeroCreate classes
        else
            Array.init classes (fun c -> truth (float c = label)) |> smoothed a classes

    crossEntropies x[0] target

let private meanOfLabelLosses (a: Attributes) (x: Plain[]) =
    let losses, lse = labelLosses a x
    let counted = x[1].Values |> Array.filter (fun l -> Some l <> a.Maybe "ignore")

    [|
        {
            Shape = [||]
            Values = [| sum losses.Values / float counted.Length |]
        }
        lse
    |]

let private targetLosses (a: Attributes) (x: Plain[]) =
    let classes = Array.last x[0].Shape

    let target index =
        Array.init classes (fun c -> at x[1] (Array.append index [| c |]))
        |> smoothed a classes

    let losses, lse = crossEntropies x[0] target
    [| losses; lse |]

// ---- products ----

let private matmul (_: Attributes) (x: Plain[]) =
    let rank = x[0].Shape.Length
    let m, k, n = x[0].Shape[rank - 2], x[0].Shape[rank - 1], x[1].Shape[rank - 1]
    let batch = x[0].Shape[.. rank - 3]

    [|
        make (Array.append batch [| m; n |]) (fun index ->
            let b, i, j = index[.. rank - 3], index[rank - 2], index[rank - 1]

            Array.init k (fun p -> at x[0] (Array.append b [| i; p |]) * at x[1] (Array.append b [| p; j |]))
            |> sum)
    |]

let private linear (a: Attributes) (x: Plain[]) =
    let activation =
        match (a.Text "activation").Split(',')[0] with
        | "Relu" -> max 0.0
        | "Tanh" -> tanh
        | "Sigmoid" -> sigmoid
        | _ -> id

    let product = (matmul a x)[0]

    [|
        make product.Shape (fun index ->
            at product index + (if x.Length > 2 then at x[2] [| index[1] |] else 0.0)
            |> activation)
    |]

let private attention (a: Attributes) (x: Plain[]) =
    let last (p: Plain) i = p.Shape[p.Shape.Length - i]
    let q, k, v = x[0], x[1], x[2]
    let keys, features = last k 2, last q 1

    let scale =
        a.Maybe "scale" |> Option.defaultValue (1.0 / sqrt (float (max 1 features)))

    /// The scores of the keys that a query sees, −∞ for the others.
    let scores (query: int[]) =
        let batch, i = query[.. query.Length - 2], Array.last query

        Array.init keys (fun j ->
            let product =
                Array.init features (fun p -> at q (Array.append query [| p |]) * at k (Array.append batch [| j; p |]))
                |> sum

            let mask =
                if x.Length > 3 then
                    at x[3] (Array.append query [| j |])
                else
                    0.0

            if a.Text "mask" = "allowed" && mask = 0.0 || a.Flag "causal" && j > i then
                -infinity
            else
                scale * product + (if a.Text "mask" = "added" then mask else 0.0))

    let sees = Array.exists (fun s -> s > -infinity)
    let rows = q.Shape[.. q.Shape.Length - 2]

    [|
        make (Array.append rows [| last v 1 |]) (fun index ->
            let query, e = index[.. index.Length - 2], Array.last index
            let s = scores query

            if sees s then
                let batch = query[.. query.Length - 2]

                softmax s
                |> Array.mapi (fun j w -> w * at v (Array.append batch [| j; e |]))
                |> sum
            else
                0.0)
        make rows (fun query -> let s = scores query in if sees s then logSumExp s else 0.0)
        if a.Flag "keep" then
            make (Array.append rows [| keys |]) (fun index ->
                let s = scores index[.. index.Length - 2]
                if sees s then (softmax s)[Array.last index] else 0.0)
    |]

/// Queries, keys and values side by side, heads side by side in each.
let private selfAttention (a: Attributes) (x: Plain[]) =
    let steps, heads = x[0].Shape[1], a.Int "heads"
    let size = x[0].Shape[2] / (3 * heads)

    let part p =
        make [| x[0].Shape[0]; heads; steps; size |] (fun i ->
            at x[0] [| i[0]; i[2]; (p * heads + i[1]) * size + i[3] |])

    let y = attention a (Array.append [| part 0; part 1; part 2 |] x[1..])

    Array.append
        [|
            make [| x[0].Shape[0]; steps; heads * size |] (fun i -> at y[0] [| i[0]; i[2] / size; i[1]; i[2] % size |])
        |]
        y[1..]

/// By the operation's name.
let all: Map<string, Attributes -> Plain[] -> Plain[]> =
    Map
        [
            "add", two (+)
            "sub", two (-)
            "mul", two (*)
            "div", two (/)
            "mod", two floorMod
            "pow", two ( ** )
            "maximum", two max
            "minimum", two min
            "chain", two (*)
            "neg", one (~-)
            "equal", relation (=)
            "notEqual", relation (<>)
            "less", relation (<)
            "lessEqual", relation (<=)
            "greater", relation (>)
            "greaterEqual", relation (>=)
            "and", two (*)
            "or", two max
            "xor", two (fun x y -> abs (x - y))
            "not", one (fun x -> 1.0 - x)
            "exp", one exp
            "expm1", one expm1
            "log", one log
            "log1p", one log1p
            "sqrt", one sqrt
            "rsqrt", one (fun x -> 1.0 / sqrt x)
            "square", one (fun x -> x * x)
            "reciprocal", one (fun x -> 1.0 / x)
            "abs", one abs
            "sign", one (sign >> float)
            "floor", one floor
            "ceil", one ceil
            "round", one Math.Round
            "sin", one sin
            "cos", one cos
            "tan", one tan
            "asin", one asin
            "acos", one acos
            "atan", one atan
            "sinh", one sinh
            "cosh", one cosh
            "tanh", one tanh
            "asinh", one Math.Asinh
            "acosh", one Math.Acosh
            "atanh", one Math.Atanh
            "atan2", two atan2
            "hypot", two (fun x y -> sqrt (x * x + y * y))
            "logaddexp", two (fun x y -> log (exp x + exp y))
            "sigmoid", one sigmoid
            "relu", one (max 0.0)
            "leakyRelu", oneWith (fun a x -> if x > 0.0 then x else a.Number "slope" * x)
            "elu", oneWith (fun a -> elu (a.Number "alpha"))
            "selu", one selu
            "gelu", one gelu
            "geluTanh", one geluTanh
            "silu", one (fun x -> x * sigmoid x)
            "mish", one (fun x -> x * tanh (softplus x))
            "hardswish", one (fun x -> x * min (max (x + 3.0) 0.0) 6.0 / 6.0)
            "softplus", oneWith (fun a x -> softplus (a.Number "beta" * x) / a.Number "beta")
            "erf", one SpecialFunctions.Erf
            "erfc", one SpecialFunctions.Erfc
            "clamp",
            oneWith (fun a x ->
                x
                |> max (a.Maybe "min" |> Option.defaultValue -infinity)
                |> min (a.Maybe "max" |> Option.defaultValue infinity))
            "cast", oneWith cast
            "dropout", dropout
            "where",
            fun _ x ->
                [|
                    make x[0].Shape (fun index -> at (if at x[0] index <> 0.0 then x[1] else x[2]) index)
                |]
            "sum", reduction (fun _ -> sum)
            "mean", reduction (fun _ -> mean)
            "prod", reduction (fun _ -> Array.fold (*) 1.0)
            "max", reduction (fun _ -> Array.max)
            "min", reduction (fun _ -> Array.min)
            "any", reduction (fun _ -> Array.fold max 0.0)
            "all", reduction (fun _ -> Array.fold min 1.0)
            "logsumexp", reduction (fun _ -> logSumExp)
            "var", reduction (fun a -> variance (a.Number "correction"))
            "maxWithIndices", fun a x -> [| alongOne Array.max a x; alongOne (place Array.max) a x |]
            "minWithIndices", fun a x -> [| alongOne Array.min a x; alongOne (place Array.min) a x |]
            "argmax", fun a x -> [| alongOne (place Array.max) a x |]
            "argmin", fun a x -> [| alongOne (place Array.min) a x |]
            "reshape", fun a x -> [| { x[0] with Shape = a.Ints "shape" } |]
            "permute", permute
            "slice", slice
            "pad", pad
            "expand", expand
            "sumTo", sumTo
            "tril", triangle (<=)
            "triu", triangle (>=)
            "concat", concat
            "split", split
            "flip", flip
            "moveImages", moveImages
            "take", take
            "putBack", putBack
            "gather", gather
            "scatterAdd", scatterAdd
            "oneHot", oneHot
            "softmax", fun a x -> [| alongAxis (a.Int "axis") softmax x[0] |]
            "logSoftmax", fun a x -> [| alongAxis (a.Int "axis") logSoftmax x[0] |]
            "softmaxCrossEntropy", fun a x -> let losses, lse = labelLosses a x in [| losses; lse |]
            "crossEntropy", meanOfLabelLosses
            "softmaxCrossEntropyTargets", targetLosses
            "matmul", matmul
            "linear", linear
            "attention", attention
            "selfAttention", selfAttention
            yield! Map.toSeq WindowReference.all
            yield! Map.toSeq NormalisationReference.all
            yield! Map.toSeq RecurrenceReference.all
            yield! Map.toSeq LinearReference.all
            yield! Map.toSeq CatalogueReference.all
        ]
