/// Scans, orders, transforms, diagonals, named axes and special functions from their definitions.
module Functional.Tests.CatalogueReference

open System
open MathNet.Numerics
open Functional
open Functional.Tests.Plain

// ---- lines along an axis ----

/// Each line along the axis made into others, of one length each.
let private lines axis (f: float[][] -> float[][]) (x: Plain[]) =
    let axis = axisOf x[0].Shape axis
    let others = replace axis 1 x[0].Shape

    let results =
        indices others
        |> Array.map (fun index ->
            let line (t: Plain) =
                Array.init t.Shape[axis] (fun i -> at t (replace axis i index))

            index, f (Array.map line x))
        |> Map

    // Where there is no line, one of zeros tells the lengths.
    let lengths =
        x
        |> Array.map (fun t -> Array.zeroCreate t.Shape[axis])
        |> f
        |> Array.map Array.length

    Array.init lengths.Length (fun output ->
        let length = lengths[output]

        make (replace axis length x[0].Shape) (fun index -> results[replace axis 0 index].[output].[index[axis]]))

let private reversed flag (v: float[]) = if flag then Array.rev v else v

let private prefixes (v: float[]) = Array.init v.Length (fun i -> v[..i])

let private scan f (a: Attributes) =
    let reverse = a.Has "reverse" && a.Flag "reverse"

    lines (a.Int "axis") (fun x -> [| x[0] |> reversed reverse |> prefixes |> Array.map f |> reversed reverse |])

let private logSumExp (v: float[]) =
    let m = Array.max v
    m + log (v |> Array.map (fun x -> exp (x - m)) |> sum)

let private recurrence (a: Attributes) =
    let reverse = a.Flag "reverse"

    lines (a.Int "axis") (fun x ->
        let factors, terms = reversed reverse x[0], reversed reverse x[1]

        // Every term times the factors that follow it.
        [|
            terms
            |> Array.mapi (fun i _ -> sum [| for j in 0..i -> Array.fold (*) terms[j] factors[j + 1 .. i] |])
            |> reversed reverse
        |])

let private running better (a: Attributes) =
    lines (a.Int "axis") (fun x ->
        let places =
            prefixes x[0]
            |> Array.map (fun line ->
                line
                |> Array.indexed
                |> Array.reduce (fun (i, v) (j, w) -> if better w v then j, w else i, v))

        [| Array.map snd places; Array.map (fst >> float) places |])

/// Values and places in order, equal values in that of their places.
let private ordered descending (line: float[]) =
    List.ofArray line
    |> List.indexed
    |> List.sortBy (fun (_, v) -> if descending then -v else v)
    |> Array.ofList

let private sort (a: Attributes) =
    lines (a.Int "axis") (fun x ->
        let line = ordered (a.Flag "descending") x[0]
        [| Array.map snd line; Array.map (fst >> float) line |])

let private top (a: Attributes) =
    lines (a.Int "axis") (fun x ->
        let line = ordered (a.Flag "largest") x[0] |> Array.truncate (a.Int "k")
        [| Array.map snd line; Array.map (fst >> float) line |])

let private search (a: Attributes) (x: Plain[]) =
    [|
        { x[1] with
            Values =
                x[1].Values
                |> Array.map (fun v ->
                    x[0].Values
                    |> Array.filter (fun edge -> if a.Flag "right" then edge <= v else edge < v)
                    |> Array.length
                    |> float)
        }
    |]

let private difference (a: Attributes) =
    lines (a.Int "axis") (fun x ->
        let mutable line = x[0]

        for _ in 1 .. a.Int "n" do
            line <- line |> Array.pairwise |> Array.map (fun (p, q) -> q - p)

        [| line |])

let private cosine (a: Attributes) (x: Plain[]) =
    let axis = axisOf x[0].Shape (a.Int "axis")

    let norm v =
        sqrt (sum (Array.map (fun e -> e * e) v)) |> max 1e-8

    lines (a.Int "axis") (fun x -> [| [| sum (Array.map2 (*) x[0] x[1]) / (norm x[0] * norm x[1]) |] |]) x
    |> Array.map (fun y ->
        { y with
            Shape = Array.removeAt axis y.Shape
        })

let private cross (a: Attributes) =
    lines (a.Int "axis") (fun x ->
        let p, q = x[0], x[1]

        [|
            [|
                p[1] * q[2] - p[2] * q[1]
                p[2] * q[0] - p[0] * q[2]
                p[0] * q[1] - p[1] * q[0]
            |]
        |])

// ---- Fourier ----

let private angle n j k =
    2.0 * Math.PI * float ((int64 j * int64 k) % int64 n) / float n

let private transform (_: Attributes) =
    lines -1 (fun x ->
        let n = x[0].Length

        let part f =
            Array.init (n / 2 + 1) (fun k -> sum (x[0] |> Array.mapi (fun j v -> v * f (angle n j k))))

        [| part cos; part (fun t -> -(sin t)) |])

let private transformAdjoint (a: Attributes) =
    let n = a.Int "n"

    lines -1 (fun x ->
        [|
            Array.init n (fun j ->
                sum
                    [|
                        for k in 0 .. n / 2 -> x[0].[k] * cos (angle n j k) - x[1].[k] * sin (angle n j k)
                    |])
        |])

// ---- axes ----

let private diagonalAxes (a: Attributes) (shape: int[]) =
    axisOf shape (a.Int "axis1"), axisOf shape (a.Int "axis2"), a.Int "offset"

/// The elements of a diagonal as pairs of the index in the whole and in the diagonal.
let private diagonal (shape: int[]) (first, second, offset) =
    let others = [| 0 .. shape.Length - 1 |] |> Array.except [ first; second ]

    indices shape
    |> Array.filter (fun index -> index[second] - index[first] = offset)
    |> Array.map (fun index ->
        index, Array.append (others |> Array.map (fun i -> index[i])) [| min index[first] index[second] |])

let private diagonalOf (a: Attributes) (x: Plain[]) =
    let first, second, offset = diagonalAxes a x[0].Shape
    let pairs = diagonal x[0].Shape (first, second, offset)

    let others =
        [| 0 .. x[0].Shape.Length - 1 |]
        |> Array.except [ first; second ]
        |> Array.map (fun i -> x[0].Shape[i])

    let length =
        max 0 (min (x[0].Shape[first] + min 0 offset) (x[0].Shape[second] - max 0 offset))

    let places = pairs |> Array.map (fun (whole, place) -> place, whole) |> Map

    [|
        make (Array.append others [| length |]) (fun index -> at x[0] places[index])
    |]

let private diagonalEmbed (a: Attributes) (x: Plain[]) =
    let shape = a.Ints "into"
    let places = diagonal shape (diagonalAxes a shape) |> Map

    [|
        make shape (fun index ->
            match places.TryFind index with
            | Some place -> at x[0] place
            | None -> 0.0)
    |]

let private einsum (a: Attributes) (x: Plain[]) =
    let equation = (a.Text "equation").Trim('[', ']')
    let sides = equation.Split "->"
    let terms, output = sides[0].Split ',', sides[1]
    let letters = String.Join("", terms) |> Seq.distinct |> Array.ofSeq

    let size letter =
        Seq.zip terms x
        |> Seq.pick (fun (term, t) ->
            match term.IndexOf(letter: char) with
            | -1 -> None
            | i -> Some t.Shape[i])

    // What the output does not name is summed over.
    let summed = letters |> Array.filter (output.Contains >> not)
    let all = indices (Array.map size summed)

    [|
        make (output |> Seq.map size |> Array.ofSeq) (fun place ->
            let product (index: int[]) =
                let value letter =
                    match output.IndexOf(letter: char) with
                    | -1 -> index[Array.IndexOf(summed, letter)]
                    | i -> place[i]

                Seq.zip terms x
                |> Seq.fold (fun p (term, t) -> p * at t (term |> Seq.map value |> Array.ofSeq)) 1.0

            all |> Array.map product |> sum)
    |]

let private resize (a: Attributes) (x: Plain[]) =
    let sizes = a.Ints "sizes"

    /// The two elements along an axis that a place is made of, and the second one's share.
    let between n m i =
        match a.Text "interpolation" with
        | "Nearest" -> i * n / m, i * n / m, 0.0
        | kind ->
            let position =
                if kind = "Linear" then
                    (float i + 0.5) * float n / float m - 0.5 |> max 0.0 |> min (float (n - 1))
                elif m = 1 then
                    0.0
                else
                    float i * float (n - 1) / float (m - 1)

            int position, min (n - 1) (int position + 1), position - floor position

    let rec value (index: int list) (place: int list) axis =
        match place with
        | [] -> at x[0] (List.rev index |> Array.ofList)
        | i :: rest ->
            let low, high, share = between x[0].Shape[axis] sizes[axis - 2] i
            let part j = value (j :: index) rest (axis + 1)
            (1.0 - share) * part low + (if share = 0.0 then 0.0 else share * part high)

    [|
        make (Array.append x[0].Shape[..1] sizes) (fun index ->
            value [ index[1]; index[0] ] (List.ofArray index[2..]) 2)
    |]

let private padBorder (a: Attributes) (x: Plain[]) =
    let before, after = a.Ints "before", a.Ints "after"

    let inside n place =
        match a.Text "border" with
        | "Edge" -> place |> max 0 |> min (n - 1)
        | "Wrap" -> (place + n) % n
        // There and back again.
        | _ ->
            Array.append [| 0 .. n - 1 |] [| n - 2 .. -1 .. 1 |]
            |> fun path -> path[(place + path.Length) % path.Length]

    [|
        make (Array.map3 (fun b n a -> b + n + a) before x[0].Shape after) (fun index ->
            at x[0] (Array.map3 (fun n b i -> inside n (i - b)) x[0].Shape before index))
    |]

let private kron (_: Attributes) (x: Plain[]) =
    [|
        make (Array.map2 (*) x[0].Shape x[1].Shape) (fun index ->
            at x[0] (Array.map2 (/) index x[1].Shape)
            * at x[1] (Array.map2 (%) index x[1].Shape))
    |]

let private scatter (a: Attributes) (x: Plain[]) =
    let axis = axisOf x[0].Shape (a.Int "axis")

    let writers =
        indices x[1].Shape
        |> Array.map (fun index -> replace axis (int (at x[1] index)) index, at x[2] index)
        |> Map // a later pair takes the place of an earlier one

    [|
        make x[0].Shape (fun index -> writers.TryFind index |> Option.defaultWith (fun () -> at x[0] index))
    |]

// ---- functions of one number ----

/// ψ⁽ⁿ⁾ far out and the recurrence back.
let private polygamma (a: Attributes) x =
    let n = a.Int "n"
    let shift = 60
    let far = x + float shift
    let bernoulli = [| 1.0 / 6.0; -1.0 / 30.0; 1.0 / 42.0; -1.0 / 30.0; 5.0 / 66.0 |]

    if n = 0 then
        [|
            [| log far; -1.0 / (2.0 * far) |]
            Array.init 5 (fun i -> -bernoulli[i] / (2.0 * float (i + 1) * far ** (2.0 * float (i + 1))))
            Array.init shift (fun k -> -1.0 / (x + float k))
        |]
        |> Array.concat
        |> sum
    else
        let sign = if n % 2 = 0 then -1.0 else 1.0
        let power = float n
        let factorial k = SpecialFunctions.Factorial(k: int)

        let term i =
            let k = i + 1

            bernoulli[i] * factorial (2 * k + n - 1)
            / (factorial (2 * k) * far ** (power + 2.0 * float k))

        [|
            [|
                factorial (n - 1) / far ** power
                factorial n / (2.0 * far ** (power + 1.0))
            |]
            Array.init 5 term
            Array.init shift (fun k -> factorial n / (x + float k) ** (power + 1.0))
        |]
        |> Array.concat
        |> sum
        |> (*) sign

/// The zero of an increasing function by halving.
let private zero f low high =
    let mutable low, high, middle = low, high, (low + high) / 2.0

    while low < middle && middle < high do
        if f middle < 0.0 then low <- middle else high <- middle
        middle <- (low + high) / 2.0

    middle

let private erfinv x =
    zero (fun y -> SpecialFunctions.Erf y - x) -6.0 6.0

/// Σ (x/2)^(n + 2k)/(k!·(n + k)!) where x is small, and else Bessel's integral, (1/π)·∫ e^(x·cos θ)·cos nθ dθ over 0 … π, whose trapezoids converge faster than any power.
let private besselI (a: Attributes) x =
    let n, steps = float (a.Int "n"), 60

    let term i =
        let angle = Math.PI * float i / float steps
        let weight = if i = 0 || i = steps then 0.5 else 1.0
        weight * exp (x * cos angle) * cos (n * angle)

    if abs x < 1.0 then
        let power k = (x / 2.0) ** (n + 2.0 * float k)
        let factorial (k: int) = SpecialFunctions.Factorial k
        sum (Array.init 20 (fun k -> power k / (factorial k * factorial (k + int n))))
    else
        sum (Array.init (steps + 1) term) / float steps

/// The z with P(a, z) = u: P by its series, and above the middle 1 − P, the integral of the density from z on, by trapezoids in v with t = e^(v − e^(−v)), which converge
/// faster than any power (Takahasi and Mori, 1974).
let private gammaDraws (a: Attributes) (x: Plain[]) =
    let key = Key.OfSeed(int64 (a.Int "seed"))

    let distribution shape z =
        let terms =
            Seq.unfold
                (fun (k, term) ->
                    if term < 1e-20 && float k > z then
                        None
                    else
                        Some(term, (k + 1, term * z / (shape + float k + 1.0))))
                (0, 1.0)

        exp (shape * log z - z) / SpecialFunctions.Gamma(shape + 1.0)
        * sum (Array.ofSeq terms)

    let beyond shape z =
        let density s =
            exp ((shape - 1.0) * log s - s) / SpecialFunctions.Gamma shape

        sum
            [|
                for i in -72 .. 96 do
                    let v = float i / 16.0
                    let t = exp (v - exp -v)
                    density (z + t) * t * (1.0 + exp -v) / 16.0
            |]

    let quantile shape u =
        if u <= 0.5 then
            zero (fun z -> distribution shape z - u) 1e-300 100.0
        else
            zero (fun z -> (1.0 - u) - beyond shape z) 1e-300 100.0

    [|
        { x[0] with
            Values = x[0].Values |> Array.mapi (fun i shape -> quantile shape (key.Open i))
        }
    |]

// ---- statistics ----

/// f of all the elements that the named axes hold.
let private reduced f (a: Attributes) (x: Plain[]) =
    let axes = axesOf x[0].Shape (a.Ints "axes")

    let part wanted =
        x[0].Shape
        |> Array.indexed
        |> Array.filter (fun (i, _) -> axes.Contains i = wanted)
        |> Array.map snd

    let weave (kept: int[]) (inner: int[]) =
        let k, i = ref 0, ref 0

        Array.init x[0].Shape.Length (fun axis ->
            let next, from = if axes.Contains axis then i, inner else k, kept
            next.Value <- next.Value + 1
            from[next.Value - 1])

    [|
        make (part false) (fun kept -> indices (part true) |> Array.map (fun inner -> at x[0] (weave kept inner)) |> f)
    |]

let private std (a: Attributes) =
    a
    |> reduced (fun v ->
        let mean = sum v / float v.Length
        let freedom = float v.Length - a.Number "correction"

        if freedom > 0.0 then
            sqrt (sum (v |> Array.map (fun e -> (e - mean) ** 2.0)) / freedom)
        else
            nan)

let private norm (a: Attributes) =
    a
    |> reduced (fun v ->
        match a.Text "order" with
        | "inf" -> v |> Array.map abs |> Array.max
        | order -> sum (v |> Array.map (fun e -> abs e ** float order)) ** (1.0 / float order))

let private each f (a: Attributes) (x: Plain[]) =
    [|
        { x[0] with
            Values = Array.map (f a) x[0].Values
        }
    |]

let all: Map<string, Attributes -> Plain[] -> Plain[]> =
    Map
        [
            "cumsum", scan sum
            "cumprod", scan (Array.fold (*) 1.0)
            "logcumsumexp", scan logSumExp
            "linearRecurrence", recurrence
            "cummax", running (>)
            "cummin", running (<)
            "sort", sort
            "topk", top
            "searchSorted", search
            "diff", difference
            "cosineSimilarity", cosine
            "cross", cross
            "rfft", transform
            "rfftAdjoint", transformAdjoint
            "diagonal", diagonalOf
            "diagonalEmbed", diagonalEmbed
            "einsum", einsum
            "resize", resize
            "padBorder", padBorder
            "kron", kron
            "scatter", scatter
            "std", std
            "norm", norm
            "lgamma", each (fun _ x -> log (SpecialFunctions.Gamma x))
            "polygamma", each polygamma
            "erfinv", each (fun _ -> erfinv)
            "besselI", each besselI
            "gamma", gammaDraws
        ]
