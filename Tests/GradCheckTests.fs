/// The check of derivatives that users call: it must catch what is wrong, and nothing else.
module Functional.Tests.GradCheckTests

open System
open Expecto
open Functional
open Functional.Verification
open type Functional.Layers

let private message (run: unit -> unit) =
    try
        run ()
        ""
    with :? GradCheckException as error ->
        error.Message

let private wrong name rule =
    let f = customVjp (fun x -> x.Sin()) rule

    testCase name (fun () ->
        let said =
            message (fun () -> GradCheck.run (fun x -> f x[0] * x[1]) [ [ 3; 2 ]; [ 3; 2 ] ])

        Expect.stringContains said "reverse mode" "the mistake is found"
        Expect.stringContains said "let x0 = Tensor.From" "with inputs that can be pasted")

[<Tests>]
let tests =
    testList
        "gradCheck"
        [
            testCase "right functions pass" (fun () ->
                GradCheck.run (fun x -> x[0].Matmul(x[1]).Tanh().Sum()) [ [ 2; 3 ]; [ 3; 4 ] ]
                GradCheck.run (fun x -> x[0].Softmax() * x[0].Relu()) [ [ 2; 5 ] ])

            wrong "a wrong factor" (fun x _ g -> 1.001 * g * x.Cos())
            wrong "a wrong sign" (fun x _ g -> -g * x.Cos())
            wrong "a derivative of zero" (fun x _ _ -> Tensor.Zeros(x.Shape, x.DType))
            wrong "a transposition" (fun x _ g -> g * x.Cos().T.Reshape(x.Shape.ToArray()))

            testCase "a derivative without derivative fails in second order" (fun () ->
                let f = customVjp (fun x -> x.Sin()) (fun x _ g -> g * Diff.StopGradient(x.Cos()))
                let said = message (fun () -> GradCheck.run (fun x -> f x[0]) [ [ 3 ] ])
                Expect.stringContains said "second order" "found")

            testCase "hidden randomness is named" (fun () ->
                let mutable calls = 0

                let f (x: Tensor list) =
                    calls <- calls + 1
                    x[0] * (Key.OfSeed(int64 calls)).Uniform(x[0].Shape, dtype = DType.Float64)

                Expect.stringContains (message (fun () -> GradCheck.run f [ [ 2 ] ])) "from call to call" "named")

            testCase "corners are left out, and a check of nothing else fails" (fun () ->
                let report = GradCheck.report (GradCheck()) (fun x -> x[0].Abs().Sum()) [ [ 40 ] ]
                Expect.isTrue report.Passed report.Message

                let always (x: Tensor list) =
                    (x[0] - Diff.StopGradient x[0]).Abs().Sum() + x[0].Sum()

                let at0 =
                    GradCheck()
                        .At(
                            Func<Tensor[], Tensor[]>(fun x -> [| x[0].Abs() |]),
                            Tensor.Zeros(Shape.Of [ 2 ], DType.Float64)
                        )

                Expect.isFalse at0.Passed "abs at 0 has a corner"
                Expect.equal at0.Corners 1 "counted"
                ignore always)

            testCase "a failing case shrinks to few elements" (fun () ->
                let f = customVjp (fun x -> x.Exp()) (fun _ y g -> 1.01 * g * y)

                let report =
                    GradCheck.reportDrawn (GradCheck()) (fun x -> f x[0]) (fun draw ->
                        [ draw.Tensor(draw.Shape(1, 3)) ])

                Expect.isFalse report.Passed "it fails"
                let values = report.Message.Substring(report.Message.IndexOf "[|").Split("|]")[0]
                Expect.isLessThan (values.Split(';').Length) 5 report.Message)

            testCase "layers pass, and a wrong one does not" (fun () ->
                GradCheck.layer [ 4 ] (dense 3 >=> tanh)
                GradCheck.layer [ 2; 5; 5 ] (conv (3, 3))
                GradCheck.layer [ 4; 3 ] (lstm 2)
                let wrong = customVjp (fun x -> x.Sin()) (fun x _ g -> 0.99 * g * x.Cos())
                let net = dense 3 >=> Layer.ofFunction "wrong" None wrong
                let said = message (fun () -> GradCheck.layer [ 4 ] net)
                Expect.stringContains said "reverse mode" "found"

                Expect.stringContains
                    said
                    "Again: GradCheck.layerAt [ 4 ] layer [ x0; x1; x2 ]"
                    "a line to see it again"
                // What the report prints, with smaller numbers.
                let x =
                    Tensor.FromDoubles(ReadOnlySpan [| 0.5; -1.0; 0.25; 1.5 |], Shape.Of [ 1; 4 ], DType.Float64)

                let w = Tensor.Full(Shape.Of [ 4; 3 ], 0.5, DType.Float64)
                let b = Tensor.From [| 0.1; 0.2; 0.3 |]

                Expect.stringContains
                    (message (fun () -> GradCheck.layerAt [ 4 ] net [ x; w; b ]))
                    "reverse mode"
                    "again"

                Expect.equal
                    (message (fun () -> GradCheck.layerAt [ 4 ] (dense 3 >=> tanh) [ x; w; b ]))
                    ""
                    "a right one")

            testCase "what cannot be compared is said to be so" (fun () ->
                let said f =
                    message (fun () -> GradCheck.run f [ [ 3 ] ])

                Expect.stringContains (said (fun x -> x[0].Log())) "inside the function's domain" "NaN"
                Expect.stringContains (said (fun x -> x[0].Cast(DType.Float32).Sin())) "compute in float64" "float32")
        ]

[<Tests>]
let vmapping =
    let near what (a: Tensor) (b: Tensor) =
        Expect.equal a.Shape b.Shape what
        Expect.isTrue ((a - b).Abs().Max().ToDouble() < 1e-12) what

    let normal seed shape =
        (Key.OfSeed(int64 (seed: int))).Normal(Shape.Of(shape: int list), dtype = DType.Float64)

    testList
        "vmap"
        [
            testCase "a gradient for each example, as a loop would give it" (fun () ->
                let w1, w2 = normal 1 [ 5; 8 ], normal 2 [ 8; 3 ]
                let x, labels = normal 3 [ 6; 5 ], (Key.OfSeed 4L).Integers(Shape.Of [ 6 ], 0L, 3L)

                let loss (w1: Tensor, w2: Tensor) (x: Tensor) (label: Tensor) =
                    let scores = ((x *@ w1).Tanh() *@ w2).LogSoftmax()
                    -(scores * label.OneHot(3, DType.Float64)).Sum()

                let each: Tensor * Tensor =
                    vmap (fun (x, label) -> grad (fun w -> loss w x label) (w1, w2)) (x, labels)

                for i in 0..5 do
                    let a, b = grad (fun w -> loss w (x.Select(0, i)) (labels.Select(0, i))) (w1, w2)
                    near "first layer" a ((fst each).Select(0, i))
                    near "second layer" b ((snd each).Select(0, i)))

            testCase "a batched jacobian" (fun () ->
                let w, x = normal 1 [ 3; 4 ], normal 2 [ 5; 3 ]
                let f (x: Tensor) = (x *@ w).Tanh()
                let all = vmap (jacobian f) x

                for i in 0..4 do
                    near "example" (jacobian f (x.Select(0, i))) (all.Select(0, i)))

            testCase "nested, and differentiated from outside" (fun () ->
                let x, y = normal 1 [ 4; 3 ], normal 2 [ 5; 3 ]
                let distance (x: Tensor) (y: Tensor) = (x - y).Square().Sum().Sqrt()

                let table x =
                    vmap (fun (a: Tensor) -> vmap (fun b -> distance a b) y) x

                near "pairs" (Tensor.Distances(x, y)) (table x)

                near
                    "gradient"
                    (grad (fun x -> Tensor.Distances(x, y).Square().Sum()) x)
                    (grad (fun x -> (table x).Square().Sum()) x))

            testCase "the elements of a mapped tensor cannot be read" (fun () ->
                Expect.throwsT<InvalidOperationException>
                    (fun () ->
                        vmap (fun (x: Tensor) -> if x.Sum().ToDouble() > 0.0 then x else -x) (normal 1 [ 3; 2 ])
                        |> ignore)
                    "refused")

            testCase "a linearized function is its jacobian" (fun () ->
                let f (x: Tensor) = x.Sin() * x.Sum()
                let x, v = normal 1 [ 4 ], normal 2 [ 4 ]
                let value, along = linearize f x
                near "value" (f x) value
                near "tangent" (snd (jvp f x v)) (along v)
                near "again" (snd (jvp f x (2.0 * v))) (along (2.0 * v)))

            testCase "a forward rule given by hand works in every mode" (fun () ->
                let f = customJvp (fun x -> x.Sin()) (fun x _ dx -> dx * x.Cos())
                GradCheck.run (fun x -> f x[0]) [ [ 3 ] ]
                let wrong = customJvp (fun x -> x.Sin()) (fun x _ dx -> 1.01 * dx * x.Cos())

                Expect.isNotEmpty
                    (message (fun () -> GradCheck.run (fun x -> wrong x[0]) [ [ 3 ] ]))
                    "a wrong one is found")

            testCase "the derivative of a fixed point, without its iterations" (fun () ->
                // x = cos(a·x): implicitly dx/da = −x·sin(a x)/(1 + a·sin(a x)).
                let solve (a: Tensor) =
                    Seq.init 200 id
                    |> Seq.fold (fun (x: Tensor) _ -> 0.5 * (x + (a * x).Cos())) (Tensor.Ones(a.Shape, a.DType))

                let fixedPoint =
                    customVjp solve (fun a x g ->
                        let s = (a * x).Sin()
                        g * -x * s / (1.0 + a * s))

                GradCheck.at (fun a -> fixedPoint a[0]) [ Tensor.From [| 0.3; 0.9 |] ])
        ]
