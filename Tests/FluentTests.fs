/// The layers as C# writes them: the same networks, none missing, no argument missing.
module Functional.Tests.FluentTests

open System
open System.Reflection
open Expecto
open Functional
open Functional.Fluent
open type Functional.Layers

let private key = Key.OfSeed 7L

[<Tests>]
let tests =
    testList
        "layers in C#"
        [
            testCase "what C# says makes the same network" (fun () ->
                let fluent =
                    Network
                        .Input([| 2; 8; 8 |])
                        .Conv(4, 3, pad = 1)
                        .BatchNorm()
                        .Relu()
                        .Residual(fun inner -> inner.Conv(4, 3, pad = Padding.Same))
                        .MaxPool(2)
                        .Concat(
                            [|
                                Func<_, _>(fun (branch: Layer) -> branch.Conv(3, 1))
                                Func<_, _>(fun (branch: Layer) -> branch.Tanh())
                            |]
                        )
                        .Flatten()
                        .Dense(5, weights = Weights.HeNormal)

                let functional =
                    input [ 2; 8; 8 ]
                    >=> conv (4, kernel = 3, pad = 1)
                    >=> batchNorm ()
                    >=> relu
                    >=> residual (conv (4, kernel = 3, pad = Same))
                    >=> maxPool 2
                    >=> concat [ conv (3, kernel = 1); tanh ]
                    >=> flatten ()
                    >=> dense (5, weights = Init.heNormal)

                let values net =
                    let parameters, state = Layer.init key net

                    Tree.named parameters @ Tree.named state
                    |> List.map (fun (name, value) -> name, value.ToDoubles())

                Expect.equal (values fluent) (values functional) "paths and first values"
                let x = key.Fold(5).Normal(Shape.Of [ 3; 2; 8; 8 ])

                Expect.equal
                    ((Layer.predict fluent (Layer.init key fluent) x).ToDoubles())
                    ((Layer.predict functional (Layer.init key functional) x).ToDoubles())
                    "outputs"

                Expect.stringContains (string fluent) "FluentTests.fs:" "the line where it was written")

            testCase "every layer is there for C#, with every argument, and the other way round" (fun () ->
                // Names as in F#, each with the names of its arguments. What C# calls network is what comes before a layer.
                let layers (methods: MethodInfo seq) =
                    methods
                    |> Seq.filter (fun method -> method.ReturnType = typeof<Layer>)
                    |> Seq.map (fun method ->
                        let name = method.Name.Replace("get_", "")

                        string (Char.ToLowerInvariant name[0]) + name.Substring 1,
                        method.GetParameters()
                        |> Seq.map _.Name
                        |> Seq.filter ((<>) "network")
                        |> Seq.sort
                        |> List.ofSeq)
                    |> Seq.sort
                    |> List.ofSeq

                let inFSharp = layers (typeof<Layers>.GetMethods())

                let inCSharp =
                    typeof<Layers>.Assembly.GetExportedTypes()
                    |> Seq.filter (fun kind -> kind.Namespace = typeof<Network>.Namespace)
                    |> Seq.collect _.GetMethods()
                    // What >=> is in F#.
                    |> Seq.filter (fun method -> method.Name <> "Then")
                    |> layers

                Expect.isGreaterThan inFSharp.Length 50 "there are many"
                Expect.equal (List.except inCSharp inFSharp) [] "in F# alone"
                Expect.equal (List.except inFSharp inCSharp) [] "in C# alone")

            testCase "C# says sequences, memories and blocks" (fun () ->
                let noise = Tensor.Ones(Shape.Of [ 8 ])

                let fluent =
                    Network
                        .Input([| 5 |])
                        .Embedding(7, 8)
                        .Positions()
                        .Sinusoidal()
                        .Remember(
                            (fun encoder -> encoder.Bidirectional(fun layer -> layer.Gru 4).Gru(8, state = noise)),
                            fun memory decoder ->
                                decoder
                                    .Lstm(8, cells = true)
                                    .EachStep(fun step -> step.Dense 8)
                                    .CrossAttention(memory, 2)
                                    .TransformerDecoderBlock(memory, 2, 6, postNorm = true, activation = _.Silu())
                        )
                        .Repeat(2, fun block -> block.TransformerBlock(2, 6, causal = true).RmsNorm())
                        .WithRegulariser(
                            "*weight",
                            Regularisers.L2 0.1,
                            fun block -> block.Recurrent(3, _.Dense(3).Mish())
                        )
                        .Frozen(_.MultiHeadAttention(1))
                        .Branch(
                            [|
                                Func<_, _>(fun (b: Layer) -> b.Rnn 2)
                                Func<_, _>(fun (b: Layer) -> b.Rnn 2)
                            |],
                            fun y -> y[0] - y[1]
                        )
                        .Add(
                            [|
                                Func<_, _>(fun (b: Layer) -> b.LeakyRelu())
                                Func<_, _>(fun (b: Layer) -> b.Elu())
                            |]
                        )
                        .LastState()

                let functional =
                    input [ 5 ]
                    >=> embedding (7, 8)
                    >=> positions ()
                    >=> sinusoidal ()
                    >=> remember (
                        bidirectional (gru 4) >=> gru (8, state = noise),
                        fun memory ->
                            lstm (8, cells = true)
                            >=> eachStep (dense 8)
                            >=> crossAttention (memory, 2)
                            >=> transformerDecoderBlock (memory, 2, 6, postNorm = true, activation = silu)
                    )
                    >=> repeat 2 (transformerBlock (2, 6, causal = true) >=> rmsNorm ())
                    >=> withRegulariser "*weight" (Regulariser.l2 0.1) (recurrent (3, dense 3 >=> mish))
                    >=> frozen (multiHeadAttention 1)
                    >=> branch ([ rnn 2; rnn 2 ], (fun y -> y[0] - y[1]))
                    >=> add [ leakyRelu (); elu ]
                    >=> lastState ()

                let values net =
                    let parameters, state = Layer.init key net
                    let x = key.Integers(Shape.Of [ 3; 5 ], 0L, 7L)

                    Tree.named parameters |> List.map fst, (Layer.predict net (parameters, state) x).ToDoubles()

                Expect.equal (values fluent) (values functional) "paths and outputs"

                let declared net =
                    (net: Layer).Parameters(Shape.Of [ 5 ])
                    |> Tree.leaves
                    |> Array.map (fun parameter -> parameter.IsTrained, parameter.Regularisers.Length)

                Expect.equal (declared fluent) (declared functional) "what is frozen, what is penalised"

                let images =
                    Network
                        .Input([| 4; 6; 6 |])
                        .ConvTransposed(4, 3, groups = 2, bias = false)
                        .GroupNorm(2)
                        .InstanceNorm(affine = true)
                        .SpatialDropout(0.1)
                        .StochasticDepth(0.1)
                        .Pad(1, value = 0.5)
                        .Upsample(2, linear = true)
                        .AdaptiveAveragePool(3)
                        .AdaptiveMaxPool(2)
                        .GlobalMaxPool()
                        .LogSoftmax()

                let same =
                    input [ 4; 6; 6 ]
                    >=> convTransposed (4, 3, groups = 2, bias = false)
                    >=> groupNorm 2
                    >=> instanceNorm (affine = true)
                    >=> spatialDropout 0.1
                    >=> stochasticDepth 0.1
                    >=> pad (1, value = 0.5)
                    >=> upsample (2, linear = true)
                    >=> adaptiveAveragePool 3
                    >=> adaptiveMaxPool 2
                    >=> globalMaxPool ()
                    >=> logSoftmax

                let output net =
                    (Layer.predict net (Layer.init key net) (key.Normal(Shape.Of [ 2; 4; 6; 6 ]))).ToDoubles()

                Expect.equal (output images) (output same) "images")
        ]
