/// Convolutions of the sizes that choose between ways of cutting an image into tiles, against the naive reference; what is refused; wholes and parts.
module Functional.Tests.ConvolutionTests

open System
open Expecto
open Functional
open Functional.Ops
open Functional.Kernels
open Functional.Tests.Plain

let private key = Key.OfSeed 11L

let private draw seed (dtype: DType) (sizes: int list) =
    key.Fold(seed: int).Uniform(Shape.Of sizes, -1.0, 1.0).Cast dtype

let private plain (x: Tensor) =
    {
        Shape = x.Shape.ToArray()
        Values = x.ToDoubles()
    }

/// One convolution: image, kernel and how the windows slide.
type private Case =
    {
        Batch: int
        Groups: int
        Inputs: int
        Outputs: int
        Image: int list
        Kernel: int list
        Stride: int
        Pad: int
        Dilation: int
    }

let private usual =
    {
        Batch = 2
        Groups = 1
        Inputs = 3
        Outputs = 5
        Image = [ 8; 8 ]
        Kernel = [ 3; 3 ]
        Stride = 1
        Pad = 1
        Dilation = 1
    }

let private image sizes = { usual with Image = sizes }

let private cases =
    List.concat
        [
            // Rows of a whole, a half and a quarter of a vector, several of them in one; odd numbers of rows.
            [ 16, 16; 7, 16; 8, 8; 5, 8; 4, 4; 9, 4; 2, 2 ]
            |> List.map (fun (height, width) -> image [ height; width ])
            // Rows that are cut short, longer than a vector and shorter.
            [ 1; 3; 7; 9; 15; 17; 28; 31; 32; 33; 65 ]
            |> List.map (fun width -> { image [ 3; width ] with Batch = 1 })
            // Few and many channels: panels of every height.
            [ 1, 1; 1, 2; 3, 6; 6, 3; 16, 7; 5, 14; 2, 15; 4, 29; 17, 12 ]
            |> List.map (fun (inputs, outputs) ->
                { image [ 4; 12 ] with
                    Inputs = inputs
                    Outputs = outputs
                })
            [ 2, 1, 1; 2, 1, 0; 3, 1, 0; 2, 2, 2; 1, 3, 3; 3, 2, 1; 4, 3, 5 ]
            |> List.map (fun (stride, dilation, pad) ->
                { image [ 9; 34 ] with
                    Stride = stride
                    Dilation = dilation
                    Pad = pad
                })
            [ 2; 4 ]
            |> List.map (fun groups ->
                { image [ 9; 16 ] with
                    Groups = groups
                    Inputs = 4
                    Outputs = 2 * groups
                })
            [
                // Windows of one tap, some way apart.
                { image [ 9; 35 ] with
                    Kernel = [ 1; 1 ]
                    Stride = 2
                    Pad = 0
                    Inputs = 7
                }
                { image [ 5; 8 ] with
                    Kernel = [ 1; 3 ]
                    Stride = 3
                    Inputs = 18
                }
                { image [ 40 ] with
                    Kernel = [ 5 ]
                    Stride = 2
                }
                { image [ 4; 6; 8 ] with
                    Kernel = [ 3; 2; 3 ]
                }
                { image [ 24; 24 ] with
                    Kernel = [ 5; 5 ]
                    Pad = 0
                    Batch = 9
                }
                // One large image, shared by threads in bands.
                { image [ 70; 12 ] with
                    Batch = 1
                    Outputs = 4
                }
            ]
            // Depthwise: one output of a channel or some, rows shorter and longer than vectors, whole and cut; more taps and fewer than are summed at once.
            [
                1, [ 8; 20 ], [ 3; 3 ], 1, 1
                1, [ 9; 32 ], [ 3; 3 ], 1, 1
                2, [ 9; 16 ], [ 3; 3 ], 2, 1
                3, [ 12; 47 ], [ 5; 5 ], 1, 2
                4, [ 7; 7 ], [ 3; 3 ], 1, 1
                1, [ 9; 14 ], [ 7; 7 ], 2, 1
                1, [ 40 ], [ 3 ], 1, 1
                2, [ 2; 3; 18 ], [ 3; 2; 3 ], 1, 1
                1, [ 9; 70 ], [ 3; 3 ], 3, 2
            ]
            |> List.map (fun (multiple, sizes, kernel, stride, dilation) ->
                { image sizes with
                    Groups = 6
                    Inputs = 6
                    Outputs = 6 * multiple
                    Kernel = kernel
                    Stride = stride
                    Dilation = dilation
                })
            // Few input channels: whole vectors of outputs and cut ones, several images in a sum, a window that does not reach all of its borders.
            [
                17, 1, 6, 1, [ 28; 28 ], [ 5; 5 ], 1, 2, 1
                3, 3, 16, 1, [ 40; 33 ], [ 5; 3 ], 1, 2, 1
                2, 4, 6, 2, [ 6; 40 ], [ 3; 5 ], 1, 1, 2
                2, 2, 4, 1, [ 11; 80 ], [ 3; 5 ], 2, 2, 1
                2, 3, 5, 1, [ 19; 100 ], [ 7; 4 ], 3, 5, 2
                1, 4, 32, 1, [ 9; 70 ], [ 4; 2 ], 4, 1, 1
                2, 1, 3, 1, [ 2; 3; 40 ], [ 2; 3; 3 ], 1, 1, 1
                // Windows so large that nothing made for each of their taps may be.
                1, 3, 24, 1, [ 34; 40 ], [ 31; 20 ], 1, 0, 1
                1, 1, 1, 1, [ 3000 ], [ 2900 ], 1, 1450, 1
            ]
            |> List.map (fun (batch, inputs, outputs, groups, sizes, kernel, stride, pad, dilation) ->
                { image sizes with
                    Batch = batch
                    Inputs = inputs
                    Outputs = outputs
                    Groups = groups
                    Kernel = kernel
                    Stride = stride
                    Pad = pad
                    Dilation = dilation
                })
            // Enough channels for vectors of them: pairs of vectors and three, cut ones, every stride, an image read where it lies, windows without axes.
            [
                24, 31, 1, [ 5; 8 ], [ 5; 5 ], 2, 2, 1
                20, 31, 1, [ 2; 28 ], [ 3; 3 ], 1, 2, 2
                70, 31, 1, [ 6; 9 ], [ 1; 1 ], 1, 0, 1
                66, 24, 1, [ 9; 13 ], [ 1; 1 ], 2, 0, 1
                36, 68, 2, [ 7; 7 ], [ 3; 2 ], 1, 0, 1
                3, 32, 1, [ 5; 34 ], [ 7; 7 ], 2, 3, 1
                9, 17, 1, [ 2; 3; 6 ], [ 3; 3; 3 ], 1, 1, 1
                17, 31, 1, [ 150 ], [ 5 ], 1, 3, 1
            ]
            |> List.map (fun (inputs, outputs, groups, sizes, kernel, stride, pad, dilation) ->
                { image sizes with
                    Batch = 1
                    Inputs = inputs
                    Outputs = outputs
                    Groups = groups
                    Kernel = kernel
                    Stride = stride
                    Pad = pad
                    Dilation = dilation
                })
            [
                // One image of many channels, shared by threads in bands.
                { image [ 12; 20 ] with
                    Batch = 1
                    Inputs = 8
                    Outputs = 31
                }
            ]
            // Enough channels for minimal filtering: whole tiles and cut ones, several images in a block and several blocks in an image.
            [
                2, 32, 32, [ 8; 8 ], [ 3; 3 ], 1
                1, 16, 16, [ 16; 32 ], [ 3; 3 ], 1
                1, 33, 40, [ 13; 12 ], [ 3; 3 ], 0
                1, 32, 37, [ 9; 10 ], [ 3; 3 ], 2
                1, 32, 32, [ 18; 16 ], [ 3; 3 ], 1
                5, 40, 48, [ 4; 4 ], [ 3; 3 ], 1
                1, 16, 16, [ 26; 110 ], [ 3; 3 ], 1
                9, 17, 16, [ 14; 14 ], [ 3; 1 ], 0
                1, 16, 19, [ 11; 23 ], [ 3; 5 ], 2
            ]
            |> List.map (fun (batch, inputs, outputs, sizes, kernel, pad) ->
                { image sizes with
                    Batch = batch
                    Inputs = inputs
                    Outputs = outputs
                    Kernel = kernel
                    Pad = pad
                })
        ]

let private text case =
    $"{case.Batch} x {case.Inputs} x {case.Image} by {case.Kernel} to {case.Outputs}, stride {case.Stride}, pad {case.Pad}, dilation {case.Dilation}, groups {case.Groups}"

/// Sums of n products of numbers in −1 … 1, added up in turn, differ by rounding alone, which grows as n·u does: found were 1.1·n·u at most. By minimal filtering, F(4, 3) down the
/// columns, y = Aᵀ[(G g) ⊙ (Bᵀ d)], row i of a tile is made of six sums of n/3 products, each ‖Bⱼ‖·‖Gⱼ‖ times as large, and so are their errors: √(Σⱼ Aᵢⱼ²·‖Bⱼ‖²·‖Gⱼ‖²)/3, which is
/// 1.0, 1.0, 1.4 and 3.2 times the definition's for the four rows; found were 2.8·n·u.
let private unitsOf case terms =
    let filtered =
        min case.Inputs case.Outputs >= 16
        && case.Image.Length = 2
        && case.Kernel.Head = 3
        && (case.Stride, case.Dilation, case.Groups) = (1, 1, 1)

    (if filtered then 3.2 * 2.0 else 2.0) * float (terms: int)

/// Equal but for so many units of rounding.
let private near what (dtype: DType) (units: float) (expected: float[]) (actual: float[]) =
    let u = if dtype = DType.Float32 then 6e-8 else 1.2e-16
    Expect.equal actual.Length expected.Length what

    for i in 0 .. expected.Length - 1 do
        if not (abs (expected[i] - actual[i]) <= u * units) then
            failtestNoStackf "%s: element %d must be %.9g; got %.9g" what i expected[i] actual[i]

let private agrees dtype case =
    let window =
        Window(
            Stride = PerAxis.op_Implicit case.Stride,
            Padding = Padding.op_Implicit case.Pad,
            Dilation = PerAxis.op_Implicit case.Dilation,
            Groups = case.Groups
        )

    let x = draw 1 dtype (case.Batch :: case.Inputs :: case.Image)

    let w = draw 2 dtype (case.Outputs :: case.Inputs / case.Groups :: case.Kernel)

    let convolution = Convolutions.Convolve(window, Activation.None)
    let y = convolution.Call(x, w)
    let g = draw 3 dtype (List.ofSeq y.Shape)
    let spatial, kernel = Array.ofList case.Image, Array.ofList case.Kernel

    let reference name attributes inputs =
        let all = Attributes $"activation = None, {attributes}, {window}"
        let outputs: Plain[] = Reference.all[name] all (Array.map plain inputs)
        outputs[0].Values

    let check name (terms: int) (actual: Tensor) attributes inputs =
        near $"{name} of {text case}" dtype (unitsOf case terms) (reference name attributes inputs) (actual.ToDoubles())

    let taps = Array.fold (*) 1 kernel
    check "convolution" (case.Inputs * taps) y "" [| x; w |]

    check
        "convolutionTransposed"
        (case.Outputs * taps)
        (Convolutions.Transpose(window, spatial).Call(g, w))
        $"spatial = {Shape.Of spatial}"
        [| g; w |]

    check
        "convolutionWeight"
        (int (y.Count / int64 case.Outputs))
        (Convolutions.Correlate(window, kernel).Call(x, g))
        $"kernel = {Shape.Of kernel}"
        [| x; g |]

let private refused f (parts: string list) =
    let error = Expect.throwsT<ShapeException> f "must be refused"
    ignore error

    try
        f ()
    with :? ShapeException as error ->
        for part in parts do
            Expect.stringContains error.Message part "the sentence"

[<Tests>]
let tests =
    testList
        "convolutions"
        [
            testList
                "equal the naive reference"
                [
                    for dtype in [ DType.Float32; DType.Float64 ] do
                        for case in cases -> testCase $"{dtype.Text()}: {text case}" (fun () -> agrees dtype case)
                ]

            testList
                "of every kind"
                [
                    for dtype, (kind, inputs, outputs, kernel, window) in
                        List.allPairs
                            [ DType.Float32; DType.Float64 ]
                            [
                                "by minimal filtering", 40, 36, 3, Window(Padding = 1)
                                "in vectors of channels", 40, 31, 5, Window(Padding = 2)
                                "in vectors of channels, of one tap", 72, 31, 1, Window()
                                "depthwise", 6, 12, 3, Window(Padding = 1, Groups = 6)
                                "in planes", 6, 7, 3, Window(Padding = 1)
                            ] do
                        let x = draw 10 dtype [ 3; inputs; 9; 12 ]
                        let w = draw 11 dtype [ outputs; inputs / window.Groups; kernel; kernel ]

                        testCase $"{dtype.Text()}, {kind}: bias and relu come last" (fun () ->
                            let b = draw 12 dtype [ outputs ]

                            let expected =
                                (Tensor.Convolution(x, w, null, window) + b.Reshape(outputs, 1, 1)).Relu()

                            let actual = Convolutions.Convolve(window, Activation.Relu).Call(x, w, b)
                            near "relu(x ⋆ w + b)" dtype 72.0 (expected.ToDoubles()) (actual.ToDoubles()))

                        testCase $"{dtype.Text()}, {kind}: contributions to one gradient add up" (fun () ->
                            let gradients (f: Tensor -> Tensor -> Tensor) =
                                let struct (_, all) =
                                    Diff.ValueAndGrad((fun (t: Tensor[]) -> (f t[0] t[1]).Square().Sum()), x, w)

                                all |> Array.map (fun t -> t.ToDoubles())

                            let convolve (x: Tensor) w = Tensor.Convolution(x, w, null, window)
                            let once = gradients convolve
                            let twice = gradients (fun x w -> convolve x w + convolve x w)

                            for i in 0..1 do
                                near $"gradient {i}" dtype 32000.0 (Array.map ((*) 4.0) once[i]) twice[i])
                ]

            testSequenced
            <| testCase "one thread gives the bits of many" (fun () ->
                let before = Workers.Count

                let run x w window threads =
                    Workers.Count <- threads

                    let struct (value, pullback) =
                        Diff.Vjp((fun t -> [| Tensor.Convolution(t[0], t[1], null, window) |]), x, w)

                    Array.append value (pullback.Invoke value)
                    |> Array.map (fun t -> t.ToArray<float32>())

                try
                    for x, w, window in
                        [
                            [ 3; 8; 33; 47 ], [ 20; 8; 3; 3 ], Window(Padding = 1, Stride = 2)
                            [ 5; 32; 20; 17 ], [ 36; 32; 3; 3 ], Window(Padding = 1)
                            [ 3; 19; 30; 33 ], [ 38; 1; 3; 3 ], Window(Padding = 1, Groups = 19)
                            [ 1; 24; 60; 31 ], [ 30; 24; 5; 5 ], Window(Padding = 2, Stride = 2)
                            [ 3; 80; 14; 14 ], [ 31; 80; 1; 1 ], Window()
                        ] do
                        let run = run (draw 4 DType.Float32 x) (draw 5 DType.Float32 w) window
                        Expect.equal (run 3) (run 1) "outputs and gradients"
                finally
                    Workers.Count <- before)

            testCase "planes too large for a cache come in bands" (fun () ->
                let window = Window(Groups = 2)

                let weight dtype =
                    let x, g =
                        draw 13 DType.Float32 [ 1; 2; 600; 300 ], draw 14 DType.Float32 [ 1; 2; 599; 300 ]

                    let correlate = Convolutions.Correlate(window, [| 2; 1 |])
                    correlate.Call(x.Cast dtype, g.Cast dtype).ToDoubles()

                near "weight" DType.Float32 8000.0 (weight DType.Float64) (weight DType.Float32))

            testCase "a batch of nothing gives nothing" (fun () ->
                let y =
                    Tensor.Convolution(Tensor.Zeros(Shape.Of [ 0; 3; 8; 8 ]), draw 6 DType.Float32 [ 4; 3; 3; 3 ])

                Expect.equal (List.ofSeq y.Shape) [ 0; 4; 6; 6 ] "shape"

                Expect.equal
                    (List.ofSeq (Tensor.Zeros(Shape.Of [ 0; 3; 8; 8 ]).MaxPool(2).Shape))
                    [ 0; 3; 4; 4 ]
                    "pooled")

            testCase "what cannot be is refused with its numbers" (fun () ->
                let x, w = draw 7 DType.Float32 [ 1; 4; 5; 5 ], draw 8 DType.Float32 [ 6; 4; 3; 3 ]

                let convolve window () =
                    Tensor.Convolution(x, w, null, window) |> ignore

                refused (convolve (Window(Dilation = 3))) [ "convolution: a window must fit"; "7 elements" ]
                refused (convolve (Window(Groups = 3))) [ "4 and 6 channels in 3 groups" ]
                refused (convolve (Window(Stride = 0))) [ "stride must be 1 or more"; "[0]" ]
                refused (convolve (Window(Stride = -2))) [ "[-2]" ]
                refused (convolve (Window(Padding = -1))) [ "padding must be 0 or more" ]

                refused
                    (fun () -> Tensor.Convolution(x.Reshape(1, 4, 25), w) |> ignore)
                    [ "[1, 4, 25]"; "as many each" ]

                refused (fun () -> x.MaxPool 6 |> ignore) [ "maxPool: a window must fit" ]

                refused (fun () -> x.MaxPool(2, Window(Padding = 2)) |> ignore) [ "every window must hold an element" ])

            testCase "the first of equals takes the gradient of a maximum, and NaN is the largest" (fun () ->
                let x = Tensor.From([| 1.0f; 1.0f; 1.0f; 1.0f |], [| 1; 1; 2; 2 |])

                let struct (_, gradients) =
                    Diff.ValueAndGrad((fun (t: Tensor[]) -> t[0].MaxPool(2).Sum()), x)

                Expect.equal (gradients[0].ToDoubles()) [| 1.0; 0.0; 0.0; 0.0 |] "gradient"
                let x = Tensor.From([| 1.0f; nanf; 5.0f; nanf |], [| 1; 1; 2; 2 |])
                let struct (value, place) = x.MaxPoolWithIndices 2
                Expect.isTrue (Double.IsNaN(value.ToDouble())) "value"
                Expect.equal (place.ToDoubles()) [| 1.0 |] "place")
        ]
