/// Attention over many blocks of queries and keys, against the same written out in products and softmax; what is hidden, and what is refused.
module Functional.Tests.AttentionTests

open System
open Expecto
open Functional
open Functional.Kernels
open Functional.Ops

let private key = Key.OfSeed 23L

let private draw seed (dtype: DType) (sizes: int list) =
    key.Fold(seed: int).Uniform(Shape.Of sizes, -1.0, 1.0).Cast dtype

type private Mask =
    | Nothing
    | Allowed of int list
    | Added of int list

/// Sizes of one attention: matrices, queries, keys, features, values.
type private Case =
    {
        Batch: int
        Queries: int
        Keys: int
        Features: int
        Values: int
        Causal: bool
        Mask: Mask
    }

let private case batch queries keys features values =
    {
        Batch = batch
        Queries = queries
        Keys = keys
        Features = features
        Values = values
        Causal = false
        Mask = Nothing
    }

let private causal case = { case with Causal = true }

/// Around the edges of tiles: blocks of 32 and 84 queries, of 256 and 512 floats of keys, vectors of 8 and 16.
let private cases =
    [
        case 2 41 17 8 5
        case 1 43 255 8 8
        case 3 84 256 16 7
        case 1 85 257 33 16
        case 2 169 600 24 40
        case 1 3 1025 5 3
        case 1 300 2 4 64
        case 2 20 130 140 12
        causal (case 2 32 32 8 8)
        causal (case 2 42 42 8 8)
        causal (case 1 43 60 16 4)
        causal (case 3 127 127 16 24)
        causal (case 1 600 600 8 8)
        causal (case 1 300 70 8 8)
        causal (case 2 70 600 9 3)
        { case 2 50 300 8 8 with
            Mask = Allowed [ 2; 50; 300 ]
        }
        { case 2 90 300 8 8 with
            Mask = Allowed [ 300 ]
        }
        { case 2 90 40 8 8 with
            Mask = Allowed [ 2; 90; 1 ]
        }
        causal
            { case 2 90 90 8 8 with
                Mask = Allowed [ 2; 1; 90 ]
            }
        { case 2 50 300 8 8 with
            Mask = Added [ 50; 300 ]
        }
        { case 2 50 300 8 8 with
            Mask = Added [ 2; 1; 300 ]
        }
        causal
            { case 2 300 300 8 8 with
                Mask = Added [ 300; 1 ]
            }
    ]

let private inputs dtype c : Tensor[] * (Tensor | null) =
    let q, k, v =
        draw 1 dtype [ c.Batch; c.Queries; c.Features ],
        draw 2 dtype [ c.Batch; c.Keys; c.Features ],
        draw 3 dtype [ c.Batch; c.Keys; c.Values ]

    match c.Mask with
    | Nothing -> [| q; k; v |], null
    | Allowed sizes -> [| q; k; v |], (draw 4 DType.Float64 sizes).Greater -0.4
    | Added sizes -> [| q; k; v; draw 4 dtype sizes |], null

let private written (q: Tensor) (k: Tensor) (v: Tensor) (mask: Tensor | null) isCausal =
    Tensor.AttentionWeights(q, k, mask, isCausal).Matmul v

let private attended q k v (mask: Tensor | null) isCausal =
    Tensor.Attention(q, k, v, mask, isCausal)

/// The result and all gradients.
let private everything attend dtype c =
    let x, hidden = inputs dtype c

    let f (t: Tensor[]) =
        let mask: Tensor | null = if t.Length > 3 then t[3] else hidden
        [| attend t[0] t[1] t[2] mask c.Causal |]

    let struct (y, pull) = Diff.Vjp(Func<Tensor[], Tensor[]> f, x)
    Array.append y (pull.Invoke [| draw 5 dtype [ c.Batch; c.Queries; c.Values ] |])

let private largest (t: Tensor) =
    t.ToDoubles() |> Array.fold (fun m v -> max m (abs v)) 0.1

let private close epsilon what (expected: Tensor) (actual: Tensor) =
    Expect.equal actual.Shape expected.Shape $"{what}: shape"
    let e, a = expected.ToDoubles(), actual.ToDoubles()
    let bound = epsilon * largest expected

    for i in 0 .. e.Length - 1 do
        if not (abs (e[i] - a[i]) <= bound) then
            failtestNoStackf "%s: element %d must be %.17g within %.3g; got %.17g" what i e[i] bound a[i]

let private names = [| "y"; "q̄"; "k̄"; "v̄"; "mask's gradient" |]

let private describe c =
    let causal = if c.Causal then ", causal" else ""
    $"{c.Batch} x {c.Queries} x {c.Features} to {c.Keys} x {c.Values}{causal}, mask {c.Mask}"

let private agreesWithProducts =
    testList
        "agrees with products and softmax"
        [
            for c in cases ->
                testCase (describe c) (fun () ->
                    for dtype, epsilon in [ DType.Float64, 1e-12; DType.Float32, 2e-5 ] do
                        let expected, actual = everything written dtype c, everything attended dtype c

                        for i in 0 .. expected.Length - 1 do
                            close epsilon $"{names[i]} in {dtype}" expected[i] actual[i])
        ]

let private withThreads count f =
    let before = Workers.Count

    try
        Workers.Count <- count
        f ()
    finally
        Workers.Count <- before

let private threads =
    testCase "one thread gives the bits of many" (fun () ->
        for c in
            cases
            @ [
                case 1 400 700 32 32
                causal (case 1 700 700 16 16)
                { case 1 200 600 32 32 with
                    Mask = Added [ 200; 600 ]
                }
            ] do
            let one = withThreads 1 (fun () -> everything attended DType.Float32 c)

            for count in [ 2; 3; 7 ] do
                let many = withThreads count (fun () -> everything attended DType.Float32 c)

                Array.iter2
                    (fun (a: Tensor) (b: Tensor) ->
                        Expect.equal
                            (Array.map BitConverter.DoubleToInt64Bits (a.ToDoubles()))
                            (Array.map BitConverter.DoubleToInt64Bits (b.ToDoubles()))
                            $"bits with {count} threads of %A{c}")
                    one
                    many)

let private oneTensor =
    testCase "one tensor as queries, keys and values gets the sum of its gradients" (fun () ->
        for size in [ 30; 300 ] do
            let x = draw 6 DType.Float64 [ 1; size; 8 ]
            let g = draw 7 DType.Float64 [ 1; size; 8 ]

            let gradient attend =
                let struct (_, pull) =
                    Diff.Vjp(
                        Func<Tensor[], Tensor[]>(fun t -> [| attend t[0] t[0] t[0] (null: Tensor | null) true |]),
                        [| x |]
                    )

                pull.Invoke([| g |])[0]

            close 1e-12 "the gradient" (gradient written) (gradient attended))

let private heads =
    testCase "leading axes broadcast, and heads are read where they lie" (fun () ->
        let all = draw 8 DType.Float64 [ 2; 50; 3 * 4 * 6 ]

        let part i =
            all.Slice(2, i * 24, (i + 1) * 24).SplitHeads 4

        close
            1e-12
            "heads"
            (written (part 0) (part 1) (part 2) null true)
            (attended (part 0) (part 1) (part 2) null true)

        let shared = draw 9 DType.Float64 [ 50; 6 ]

        let copies (t: Tensor) =
            t.Expand([| 2; 4; 50; 6 |]).Reshape(8, 50, 6)

        close
            1e-12
            "one set of keys for all heads"
            (written ((part 0).Reshape(8, 50, 6)) (copies shared) ((part 2).Reshape(8, 50, 6)) null false)
            ((attended (part 0) shared (part 2) null false).Reshape(8, 50, 6)))

/// Queries, keys and values in one tensor: the result and all gradients by the one operation and by heads taken apart.
let private sideBySide =
    testCase "heads side by side are what they are apart" (fun () ->
        for steps, heads, size in
            [
                1, 1, 1
                7, 2, 3
                33, 3, 16
                43, 2, 8
                64, 4, 32
                85, 1, 33
                130, 2, 17
                300, 2, 20
            ] do
            for dtype, epsilon in [ DType.Float64, 1e-12; DType.Float32, 2e-5 ] do
                for causal in [ false; true ] do
                    for added in [ false; true ] do
                        let scores = [ 2; heads; steps; steps ]

                        let x =
                            [|
                                draw 1 dtype [ 2; steps; 3 * heads * size ]
                                if added then
                                    draw 2 dtype scores
                            |]

                        let hidden: Tensor | null =
                            if added then
                                null
                            else
                                (draw 3 DType.Float64 [ steps; steps ]).Greater -0.4

                        let mask (t: Tensor[]) : Tensor | null = if added then t[1] else hidden

                        let whole (t: Tensor[]) =
                            [| Tensor.SelfAttention(t[0], heads, mask t, causal) |]

                        let apart (t: Tensor[]) =
                            let part i =
                                t[0].Slice(2, i * heads * size, (i + 1) * heads * size).SplitHeads heads

                            [| Tensor.Attention(part 0, part 1, part 2, mask t, causal).MergeHeads() |]

                        let all (f: Tensor[] -> Tensor[]) =
                            let struct (y, pull) = Diff.Vjp(Func<Tensor[], Tensor[]> f, x)
                            Array.append y (pull.Invoke [| draw 4 dtype [ 2; steps; heads * size ] |])

                        let one, many =
                            withThreads 1 (fun () -> all whole), withThreads 3 (fun () -> all whole)

                        Array.iter2
                            (fun (a: Tensor) (b: Tensor) ->
                                Expect.equal (a.ToDoubles()) (b.ToDoubles()) "bits of three threads")
                            one
                            many

                        let what =
                            $"{steps} steps, {heads} heads of {size}, causal = {causal}, added = {added}, {dtype}"

                        Array.iter2 (close epsilon what) (all apart) one)

let private hidden =
    [
        testCase "a query that sees no key gives zeros, and so do its gradients" (fun () ->
            for keys in [ 4; 300 ] do
                let q, k, v =
                    draw 1 DType.Float32 [ 3; 8 ], draw 2 DType.Float32 [ keys; 8 ], draw 3 DType.Float32 [ keys; 8 ]

                let rows = Tensor.Arange(0.0, 3.0).Unsqueeze 1
                let none = Tensor.Where(rows.Equal 1.0, Tensor.Zeros(Shape.Of [ 3; keys ]), 1.0)

                let additive =
                    Tensor.Where(none.Greater 0.5, Tensor.Zeros(Shape.Of [ 3; keys ]), -infinity)

                for mask in [ none.Greater 0.5; additive ] do
                    let f (t: Tensor[]) =
                        [| Tensor.Attention(t[0], t[1], t[2], mask) |]

                    let struct (y, pull) = Diff.Vjp(Func<Tensor[], Tensor[]> f, [| q; k; v |])
                    let g = pull.Invoke [| draw 4 DType.Float32 [ 3; 8 ] |]
                    Expect.equal (y[0].Select(0, 1).ToDoubles()) (Array.zeroCreate 8) "the result"
                    Expect.equal (g[0].Select(0, 1).ToDoubles()) (Array.zeroCreate 8) "the query's gradient"

                    for t in Array.append y g do
                        Expect.isTrue (t.ToDoubles() |> Array.forall Double.IsFinite) "all are numbers")
        testCase "scores of ±1000 are harmless" (fun () ->
            for keys in [ 5; 700 ] do
                let q, v = Tensor.Ones(Shape.Of [ 2; 1 ]), draw 3 DType.Float32 [ keys; 4 ]

                let k =
                    (Tensor.Arange(0.0, float keys).Unsqueeze(1).Cast DType.Float32)
                    * (2000.0 / float keys)
                    - 1000.0

                close 1e-5 "y" (written q k v null false) (attended q k v null false))
        testCase "a NaN shows" (fun () ->
            let q, k = draw 1 DType.Float32 [ 4; 8 ], draw 2 DType.Float32 [ 300; 8 ]

            let bad =
                Tensor.Where(
                    (Tensor.Arange(0.0, 300.0).Unsqueeze 1).Equal 7.0,
                    Tensor.Full(Shape.Of [ 300; 8 ], nan),
                    k
                )

            let y = Tensor.Attention(q, bad, k)
            Expect.isTrue (y.ToDoubles() |> Array.forall Double.IsNaN) "every query saw it")
    ]

let private refused =
    let x sizes = draw 1 DType.Float32 sizes

    testList
        "refused"
        [
            for name, says, attempt in
                [
                    "features",
                    "must have the same features; got [3, 4] and [5, 6]",
                    fun () -> Tensor.Attention(x [ 3; 4 ], x [ 5; 6 ], x [ 5; 2 ])
                    "values",
                    "every key needs a value; got keys [5, 4] and values [6, 2]",
                    fun () -> Tensor.Attention(x [ 3; 4 ], x [ 5; 4 ], x [ 6; 2 ])
                    "rank", "need two axes", fun () -> Tensor.Attention(x [ 4 ], x [ 5; 4 ], x [ 5; 2 ])
                    "batch", "shapes must agree", fun () -> Tensor.Attention(x [ 2; 3; 4 ], x [ 3; 5; 4 ], x [ 5; 2 ])
                    "heads",
                    "each divided into the heads; got [2, 3, 12] and 3 heads",
                    fun () -> Tensor.SelfAttention(x [ 2; 3; 12 ], 3)
                    "mask",
                    "the mask must broadcast to queries x keys; got mask [4, 5] for [3, 5]",
                    fun () -> Tensor.Attention(x [ 3; 4 ], x [ 5; 4 ], x [ 5; 2 ], x [ 4; 5 ])
                ] ->
                testCase name (fun () ->
                    try
                        attempt () |> ignore
                        failtest "was accepted"
                    with :? ShapeException as refusal ->
                        Expect.stringContains refusal.Message says "the sentence")
        ]

[<Tests>]
let tests =
    testList "attention in blocks" ([ agreesWithProducts; threads; oneTensor; heads; sideBySide; refused ] @ hidden)
