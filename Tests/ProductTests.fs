/// Matrix products of every shape that decides what lies along the vectors, however the operands lie, added to what was there or not, with bias and relu.
/// Elements are whole numbers, so that every order of summation gives the same sums, without rounding.
module Functional.Tests.ProductTests

#nowarn "9"

open Expecto
open FSharp.NativeInterop
open Functional
open Functional.Kernels

/// Few rows, few columns, both, many of both; with a k of more and less than a vector, and one that no vector divides.
let private shapes =
    [
        33, 40, 20
        1, 50, 97
        50, 1, 97
        1, 1, 1000
        14, 2, 67
        29, 5, 200
        3, 31, 130
        300, 7, 40
        7, 300, 40
        130, 3, 65
        65, 250, 33
        64, 10, 512
        200, 64, 130
        // In slabs of k.
        40, 33, 1030
        16, 60, 1030
        40, 48, 1
        // A transposed A in pieces of half a cache line.
        117, 33, 300
    ]

let private element seed i j =
    float ((i * 7 + j * 5 + (i * j) % 11 + seed) % 7 - 3)

/// The products themselves, row by row.
let private sums =
    dict
        [
            for m, n, k in shapes do
                (m, n, k),
                lazy
                    Array.init (m * n) (fun at ->
                        let mutable sum = 0.0

                        for q in 0 .. k - 1 do
                            sum <- sum + element 1 (at / n) q * element 2 q (at % n)

                        sum)
        ]

/// Elements, and the strides of rows and columns: in rows, in columns, or with gaps.
let private operand layout rows columns seed =
    let row, column =
        match layout with
        | 'N' -> columns, 1
        | 'T' -> 1, rows
        | _ -> 3 * columns, 3

    let values = Array.create (max 1 (rows * columns * 3)) nan

    for i in 0 .. rows - 1 do
        for j in 0 .. columns - 1 do
            values[i * row + j * column] <- element seed i j

    values, nativeint row, nativeint column

type private Ending =
    | Plain
    | Bias
    | BiasAndRelu

let inline private product (ofFloat: float -> 'T) (m, n, k) (way: string) accumulate ending =
    let a, aRow, aColumn = operand way[0] m k 1
    let b, bRow, bColumn = operand way[1] k n 2
    let width = n + 3
    let products = sums[(m, n, k)].Value
    let before i j = float ((i + 2 * j) % 5)
    let bias j = float (j % 9 - 4)

    let expected =
        [|
            for i in 0 .. m - 1 do
                for j in 0 .. width - 1 do
                    if j >= n then
                        before i j
                    else
                        let sum =
                            products[i * n + j]
                            + (if accumulate then before i j else 0.0)
                            + (if ending = Plain then 0.0 else bias j)

                        if ending = BiasAndRelu then max 0.0 sum else sum
        |]

    let a, b, biases =
        Array.map ofFloat a, Array.map ofFloat b, Array.init n (bias >> ofFloat)

    let c =
        Array.init (m * width) (fun i ->
            let row, column = i / width, i % width
            // What is not added to may hold anything.
            if accumulate || column >= n then
                ofFloat (before row column)
            else
                ofFloat nan)

    use pa = fixed a
    use pb = fixed b
    use pc = fixed c
    use pBias = fixed biases
    let mutable epilogue = Epilogue<'T>()

    if ending <> Plain then
        epilogue.Bias <- pBias

    epilogue.Relu <- (ending = BiasAndRelu)

    Gemm<'T>
        .Run(
            nativeint m,
            nativeint n,
            nativeint k,
            pa,
            aRow,
            aColumn,
            pb,
            bRow,
            bColumn,
            pc,
            nativeint width,
            accumulate,
            &epilogue
        )

    expected, Array.map float c

[<Tests>]
let tests =
    testList
        "products"
        [
            for way in [ "NN"; "TN"; "NT"; "TT"; "GN"; "NG"; "GG" ] do
                testCase $"whatever lies along the vectors, {way}" (fun () ->
                    let before = Workers.Count

                    try
                        for threads in [ 1; 3 ] do
                            Workers.Count <- threads

                            for shape in shapes do
                                for accumulate in [ false; true ] do
                                    for ending in [ Plain; Bias; BiasAndRelu ] do
                                        for name, (expected, actual) in
                                            [
                                                "float32", product float32 shape way accumulate ending
                                                "float64", product float shape way accumulate ending
                                            ] do
                                            Expect.sequenceEqual
                                                actual
                                                expected
                                                $"{shape} of {name}, accumulate: {accumulate}, {ending}, {threads} threads"
                    finally
                        Workers.Count <- before)
        ]
