/// What a law over operations cannot say: nesting, what is refused, and what never flows.
module Functional.Tests.AutodiffTests

open System
open Expecto
open Functional
open Functional.Autodiff

let private scalar (value: float) = Tensor.Scalar value

let private close what (expected: float) (actual: float) =
    Expect.isLessThan (abs (expected - actual)) (1e-9 * max 1.0 (abs expected)) $"{what}: {actual}, expected {expected}"

let private message (f: unit -> unit) =
    try
        f ()
        "nothing was refused"
    with error ->
        error.Message

[<Tests>]
let tests =
    testList
        "autodiff"
        [
            testList
                "nesting"
                [
                    testCase "a kernel does not add to a cotangent that is traced" (fun () ->
                        // The bias is used twice: its cotangent is first a traced sum, to which a fused derivative on plain numbers must not add in place.
                        let step (t: Tensor[]) =
                            let first = t[0].Matmul t[1] + t[2]
                            [| Tensor.Stack(1, first, first.Tanh().Matmul t[1] + t[2]) |]

                        let op =
                            Op(
                                Name = "step",
                                Shape = (fun t -> step t |> Array.map (fun y -> Spec(y.DType, y.Shape))),
                                Forward = Forward.Composite step,
                                Sample = (fun _ -> failwith "not drawn"),
                                Vjp =
                                    fun x _ g i ->
                                        let struct (_, pullback) = Diff.Vjp(step, x)
                                        (pullback.Invoke g)[i]
                            )

                        let key = Key.OfSeed 4L

                        let draw i sizes =
                            key.Fold(i: int).Normal(Shape.Of(sizes: int list), dtype = DType.Float64)

                        let x = [| draw 1 [ 2; 2 ]; draw 2 [ 2; 2 ]; draw 3 [ 2 ] |]
                        let v = [| draw 4 [ 2; 2 ]; draw 5 [ 2; 2 ]; draw 6 [ 2 ] |]

                        let reverseOverForward (f: Tensor[] -> Tensor[]) =
                            Diff
                                .Grad(
                                    Func<Tensor[], Tensor>(fun t ->
                                        let struct (_, tangent) = Diff.Jvp(Func<_, _> f, t, v)
                                        (tangent[0] * tangent[0].Tanh()).Sum())
                                )
                                .Invoke
                                x

                        Array.iter2
                            (fun (a: Tensor) (b: Tensor) ->
                                Array.iter2 (close "gradient") (a.ToDoubles()) (b.ToDoubles()))
                            (reverseOverForward step)
                            (reverseOverForward (fun t -> op.Apply t)))

                    testCase "no confusion of perturbations" (fun () ->
                        // d/dx (x · d/dy (x + y)) = 1, though a careless system says 2.
                        let inner x = grad (fun y -> x + y) (scalar 1.0)
                        close "reverse in reverse" 1.0 ((grad (fun x -> x * inner x) (scalar 1.0)).ToDouble())
                        let _, forward = jvp (fun x -> x * inner x) (scalar 1.0) (scalar 1.0)
                        close "reverse in forward" 1.0 (forward.ToDouble())

                        let ahead x =
                            jvp (fun y -> x + y) (scalar 1.0) (scalar 1.0) |> snd

                        close "forward in reverse" 1.0 ((grad (fun x -> x * ahead x) (scalar 1.0)).ToDouble())
                        let _, both = jvp (fun x -> x * ahead x) (scalar 1.0) (scalar 1.0)
                        close "forward in forward" 1.0 (both.ToDouble()))

                    testCase "third derivatives in every order of modes" (fun () ->
                        let reverse f = grad f
                        let forward f x = jvp f x (scalar 1.0) |> snd
                        let f (x: Tensor) = (x * x).Sin() * x.Exp()
                        let x = 0.7

                        // f‴ by differences of a closed second derivative is not needed: all eight orders must agree.
                        let values =
                            [
                                for a in [ reverse; forward ] do
                                    for b in [ reverse; forward ] do
                                        for c in [ reverse; forward ] do
                                            (a (b (c f)) (scalar x)).ToDouble()
                            ]

                        let s, c, e = sin (x * x), cos (x * x), exp x
                        // f‴ of e^x·sin(x²)
                        let first, second, third =
                            2.0 * x * c, 2.0 * c - 4.0 * x * x * s, -12.0 * x * s - 8.0 * x ** 3.0 * c

                        let expected = e * (s + 3.0 * first + 3.0 * second + third)

                        for value in values do
                            close "third derivative" expected value)

                    testCase "Hessians by four nestings" (fun () ->
                        let key = Key.ofSeed 5
                        let w = key.Normal(Shape.Of [ 3; 3 ], dtype = DType.Float64)
                        let f (x: Tensor) = ((x *@ w).Tanh() *@ w).Tanh().Sum()
                        let x = (key.Fold 1).Normal(Shape.Of [ 3 ], dtype = DType.Float64)
                        let v = (key.Fold 2).Normal(Shape.Of [ 3 ], dtype = DType.Float64)

                        let products =
                            [
                                hvp f x v
                                grad (fun x -> (grad f x * v).Sum()) x
                                grad (fun x -> jvp f x v |> snd) x
                                hessian f x *@ v
                            ]

                        for product in products.Tail do
                            for a, b in Array.zip (products.Head.ToDoubles()) (product.ToDoubles()) do
                                close "H·v" a b)
                ]

            testList
                "refusals"
                [
                    testCase "the gradient of what is no scalar" (fun () ->
                        let text = message (fun () -> grad (fun x -> x * x) (Tensor.ones [ 2 ]) |> ignore)
                        Expect.stringContains text "grad: the function must give a float scalar" "the message"
                        Expect.stringContains text "[2]" "what it got")

                    testCase "the gradient of an integer" (fun () ->
                        let text =
                            message (fun () ->
                                grad (fun (x: Tensor) -> x.Cast(DType.Float32).Sum()) (Tensor.integers [ 1 ])
                                |> ignore)

                        Expect.stringContains text "only float tensors have derivatives" "the message")

                    testCase "a tensor smuggled out of the differentiation that made it" (fun () ->
                        let smuggled = ref (scalar 0.0)

                        grad
                            (fun (x: Tensor) ->
                                let y = x * 2.0
                                smuggled.Value <- y
                                y)
                            (scalar 1.0)
                        |> ignore

                        let text = message (fun () -> smuggled.Value + 1.0 |> ignore)
                        Expect.stringContains text "made inside a differentiation that has ended" "using it"
                        Expect.stringContains text "auxiliary" "the way out")

                    testCase "the memory of a value that was given back" (fun () ->
                        let kept = ref (scalar 0.0)

                        Memory.Tidy(
                            Action(fun () ->
                                kept.Value <- Tensor.ones [ 100 ] + 1.0
                                ())
                        )

                        let text = message (fun () -> kept.Value.ToDoubles() |> ignore)
                        Expect.stringContains text "given back" "reading it"

                        // The block is another tensor's by now; the old view must not read it.
                        let other = Tensor.ones [ 100 ] + 41.0
                        Expect.throws (fun () -> kept.Value.ToDoubles() |> ignore) "still refused"
                        Expect.equal (other.ToDoubles()[0]) 42.0 "the new owner")

                    testCase "shape-only tensors have no values" (fun () ->
                        let meta = Tensor.Meta(DType.Float32, Shape.Of [ 2 ])
                        let text = message (fun () -> (meta + 1.0).ToDoubles() |> ignore)
                        Expect.stringContains text "shape without data" "the message")
                ]

            testList
                "what flows"
                [
                    testCase "where's other branch cannot poison the gradient" (fun () ->
                        let f (x: Tensor) =
                            Tensor.Where(x.Greater 0.0, x.Log(), x * 0.0).Sum()

                        let g = grad f (Tensor.From [| -1.0; 0.0; 2.0 |])
                        Expect.equal (g.ToDoubles()) [| 0.0; 0.0; 0.5 |] "1/x where it counts")

                    testCase "an unused argument has gradient 0, and one used twice the sum" (fun () ->
                        let a, b =
                            grad (fun (a: Tensor, _: Tensor) -> (a * a + a).Sum()) (scalar 3.0, scalar 4.0)

                        close "used twice" 7.0 (a.ToDouble())
                        close "unused" 0.0 (b.ToDouble()))

                    testCase "subgradients at kinks" (fun () ->
                        let at (f: Tensor -> Tensor) x = (grad f (scalar x)).ToDouble()
                        close "relu′(0)" 0.0 (at (fun x -> x.Relu()) 0.0)
                        close "|x|′(0)" 0.0 (at (fun x -> x.Abs()) 0.0)
                        let g = grad (fun (x: Tensor) -> x.Max()) (Tensor.From [| 2.0; 1.0; 2.0 |])
                        Expect.equal (g.ToDoubles()) [| 0.5; 0.0; 0.5 |] "ties of the maximum share equally")

                    testCase "the gradient of a view reaches the whole" (fun () ->
                        let x = Tensor.From([| for i in 0..11 -> float i |], 3, 4)
                        let g = grad (fun (x: Tensor) -> (x.T.Slice(0, 1, 3) * 2.0).Sum()) x

                        Expect.equal
                            (g.ToDoubles())
                            [| for i in 0..11 -> if i % 4 = 1 || i % 4 = 2 then 2.0 else 0.0 |]
                            "two columns")

                    testCase "checkpoint keeps less and computes the same" (fun () ->
                        let calls = ref 0

                        let f (x: Tensor) =
                            calls.Value <- calls.Value + 1
                            (x.Sin().Exp() * x).Tanh()

                        let x = (Key.ofSeed 3).Normal(Shape.Of [ 20 ], dtype = DType.Float64)
                        let plain = grad (fun x -> (f x).Sum()) x
                        calls.Value <- 0
                        let again = grad (fun x -> (checkpoint f x).Sum()) x
                        Expect.equal calls.Value 2 "once forward, once in the backward pass"
                        Expect.equal (again.ToDoubles()) (plain.ToDoubles()) "the same gradient"

                        let second =
                            grad (fun x -> (grad (fun x -> (checkpoint f x).Sum()) x).Square().Sum()) x

                        let expected = grad (fun x -> (grad (fun x -> (f x).Sum()) x).Square().Sum()) x

                        for a, b in Array.zip (expected.ToDoubles()) (second.ToDoubles()) do
                            close "second order" a b)

                    testCase "the first value that is not finite is named" (fun () ->
                        let error =
                            try
                                Debug.Finite(
                                    Func<_, _>(fun (x: Tensor[]) -> [| (x[0] - 1.0).Log().Exp() |]),
                                    Tensor.From [| 0.5 |]
                                )
                                |> ignore

                                None
                            with :? NonFiniteException as error ->
                                Some error

                        Expect.equal (error |> Option.map _.Op) (Some "log") "the operation")
                ]
        ]
