/// Tensors and keys: numerics with a stated bound, limits, memory.
module Functional.Tests.TensorTests

open System
open Expecto
open Functional
open Functional.Kernels

[<Tests>]
let tests =
    testList
        "tensors"
        [
            testCase "ten million tenths add up" (fun () ->
                let x = Tensor.full [ 10_000_000 ] 0.1
                let exact = 10_000_000.0 * float 0.1f
                Expect.isLessThan (abs (x.Sum().ToDouble() / exact - 1.0)) 1e-6 "along the axis"
                let rows = (x.Reshape(1_000_000, 10).Sum 0).ToDoubles()
                Expect.isLessThan (abs (rows[3] / (exact / 10.0) - 1.0)) 1e-6 "across rows"
                Expect.isLessThan (abs (x.Mean().ToDouble() / float 0.1f - 1.0)) 1e-6 "the mean")

            testCase "limits of the stable functions" (fun () ->
                let infinite = Tensor.From [| Double.NegativeInfinity; Double.NegativeInfinity |]
                Expect.equal (infinite.LogSumExp().ToDouble()) Double.NegativeInfinity "logsumexp of −∞"

                for dtype in [ DType.Float32; DType.Float64 ] do
                    let x = (Tensor.From [| 1000.0; -1000.0; 0.0 |]).Cast dtype
                    let softmax = (x.Softmax()).ToDoubles()
                    Expect.equal softmax [| 1.0; 0.0; 0.0 |] "softmax"
                    Expect.equal (x.LogSumExp().ToDouble()) 1000.0 "logsumexp"
                    Expect.equal ((x.Sigmoid()).ToDoubles()) [| 1.0; 0.0; 0.5 |] "sigmoid"
                    Expect.equal ((x.Softplus()).ToDoubles()[0..1]) [| 1000.0; 0.0 |] "softplus"
                    Expect.equal ((x.Tanh()).ToDoubles()) [| 1.0; -1.0; 0.0 |] "tanh"

                let tiny = Tensor.From [| 1e-18; -1e-18 |]
                Expect.equal ((tiny.Log1p()).ToDoubles()) [| 1e-18; -1e-18 |] "log1p"
                Expect.equal ((tiny.Expm1()).ToDoubles()) [| 1e-18; -1e-18 |] "expm1")

            testCase "an empty tensor goes through" (fun () ->
                let empty = Tensor.zeros [ 0; 3 ]
                Expect.equal ((empty + 1.0).Shape) (Shape.Of [ 0; 3 ]) "elementwise"
                Expect.equal ((empty.Sum 0).ToDoubles()) [| 0.0; 0.0; 0.0 |] "sum"
                Expect.equal ((empty *@ Tensor.ones [ 3; 2 ]).Shape) (Shape.Of [ 0; 2 ]) "product"

                Expect.equal
                    ((Tensor.ones [ 2; 0 ] *@ Tensor.ones [ 0; 2 ]).ToDoubles())
                    (Array.zeroCreate 4)
                    "no terms"

                Expect.equal ((grad (fun (x: Tensor) -> x.Exp().Sum()) empty).Shape) (Shape.Of [ 0; 3 ]) "gradient")

            testCase "what a caller holds never changes" (fun () ->
                let x = Tensor.From [| 1.0; 2.0 |]
                let view = x.Reshape(2, 1)
                let y = x + 1.0
                let g = grad (fun (x: Tensor) -> (x * x).Sum()) x
                Expect.equal (x.ToDoubles()) [| 1.0; 2.0 |] "the operand"
                Expect.equal (view.ToDoubles()) [| 1.0; 2.0 |] "its view"
                Expect.equal (y.ToDoubles()) [| 2.0; 3.0 |] "the result"
                Expect.equal (g.ToDoubles()) [| 2.0; 4.0 |] "the gradient")

            testCase "the generator gives the published numbers" (fun () ->
                // Philox 4x32-10 of Salmon et al. (2011), from the vectors published with it: counter and key to result.
                for counter, key, expected in
                    [
                        (0u, 0u, 0u, 0u), (0u, 0u), (0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)
                        (0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu),
                        (0xffffffffu, 0xffffffffu),
                        (0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)
                        (0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u),
                        (0xa4093822u, 0x299f31d0u),
                        (0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)
                    ] do
                    let c0, c1, c2, c3 = counter
                    let k0, k1 = key
                    let struct (a, b, c, d) = Philox.Block(c0, c1, c2, c3, k0, k1)
                    Expect.equal (a, b, c, d) expected "a block")

            testCase "keys are values" (fun () ->
                let key = Key.ofSeed 1

                let draw (key: Key) =
                    key.Uniform(Shape.Of [ 1000 ]).ToDoubles()

                Expect.equal (draw key) (draw key) "the same key"
                let a, b = Key.split key

                let all =
                    [ key; a; b; Key.fold 0 key; Key.fold 1 key; Key.foldName "x" key ]
                    |> List.map draw

                Expect.equal (List.distinct all).Length all.Length "all differ"

                for values in all do
                    Expect.isLessThan (abs (Array.average values - 0.5)) 0.05 "uniform"
                    Expect.isTrue (values |> Array.forall (fun v -> v >= 0.0 && v < 1.0)) "in [0, 1)"

                let normal = key.Normal(Shape.Of [ 20_000 ])
                Expect.isLessThan (abs (normal.Mean().ToDouble())) 0.03 "mean"
                Expect.isLessThan (abs (normal.Std().ToDouble() - 1.0)) 0.03 "deviation"
                let order = key.Permutation(50).ToArray<int64>()
                Expect.equal (Array.sort order) [| 0L .. 49L |] "a permutation")

            testCase "memory that nobody holds comes back" (fun () ->
                let work () =
                    for _ in 1..2000 do
                        Tensor.ones [ 1000; 100 ] + 1.0 |> ignore

                work ()
                let before = Memory.SystemBytes
                work ()
                // Two thousand results of 400 kB each would be 800 MB.
                Expect.isLessThan (Memory.SystemBytes - before) 200_000_000L "no growth without bounds")
        ]
