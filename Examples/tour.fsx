// What the library is about, in forty lines. Build the solution once (dotnet build -c Release), then: dotnet fsi Examples/tour.fsx
#I "bin/Release/net10.0"
#r "Functional.Core.dll"
#r "Functional.Dsl.dll"
#r "Spectre.Console.dll"

open Functional
open type Functional.Layers

// A gradient is a function, of any record, and derivatives nest.
type Line = { Slope: Tensor; Offset: Tensor }

let x = Tensor.linspace -1.0 1.0 5
let y = 3.0 * x + 1.0

let loss line =
    Loss.mse (line.Slope * x + line.Offset) y

let start =
    {
        Slope = Tensor.scalar 0.0
        Offset = Tensor.scalar 0.0
    }

let value, slope = valueAndGrad loss start
printfn "loss %O, gradient %O and %O" value slope.Slope slope.Offset
printfn "third derivative of x⁴ at 2: %O" (grad (grad (grad (fun x -> x * x * x * x))) (Tensor.scalar 2.0))
printfn "Hessian times a direction: %O" (hvp loss start { start with Slope = Tensor.scalar 1.0 }).Slope

// A network is a value: sizes are inferred and shapes checked as it is composed.
let net =
    input [ 2 ]
    >=> dense 32
    >=> tanh
    >=> residual (dense 32 >=> tanh)
    >=> dropout 0.1
    >=> dense 2

printfn "\n%O\n" net

// Inside the circle or outside of it?
let points = Key.ofSeed 1 |> Tensor.normal [ 2000; 2 ]

let inside =
    (points |> Tensor.square |> Tensor.sum [ 1 ]).Less(1.4).Cast DType.Int64

let train, test =
    Dataset.ofTensors points inside |> Dataset.split 0.8 (Key.ofSeed 2)

let run =
    Train.fit
        (Optim.chain [ Clip.globalNorm 1.0; Optim.adam (Schedule.cosine 1e-2 500) ])
        Loss.crossEntropy
        (epochs 10
         >> report [ accuracy ]
         >> validate test
         >> earlyStop 3
         >> show Progress.silent)
        net
        train
        (Key.ofSeed 3)

let _, metrics = Train.evaluate Loss.crossEntropy [ accuracy ] run test
printfn "%d steps, test %A" run.Steps metrics
