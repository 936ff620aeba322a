/// Linear algebra from the textbook: elimination, Gram–Schmidt, Jacobi's rotations.
module Functional.Tests.LinearReference

open Functional.Tests.Plain

type private Matrix = float[,]

let private product (a: Matrix) (b: Matrix) : Matrix =
    Array2D.init (Array2D.length1 a) (Array2D.length2 b) (fun i j ->
        sum [| for k in 0 .. Array2D.length2 a - 1 -> a[i, k] * b[k, j] |])

let private transposed (a: Matrix) : Matrix =
    Array2D.init (Array2D.length2 a) (Array2D.length1 a) (fun i j -> a[j, i])

let private column (v: float[]) : Matrix =
    Array2D.init v.Length 1 (fun i _ -> v[i])

/// Gauss–Jordan with the largest pivot: the solution and the determinant.
let private eliminate (a: Matrix) (b: Matrix) =
    let a, b = Array2D.copy a, Array2D.copy b
    let n, columns = Array2D.length1 a, Array2D.length2 b
    let mutable determinant = 1.0

    for i in 0 .. n - 1 do
        let pivot = Seq.maxBy (fun row -> abs a[row, i]) [ i .. n - 1 ]

        if pivot <> i then
            determinant <- -determinant

            for matrix, width in [ a, n; b, columns ] do
                for j in 0 .. width - 1 do
                    let kept = matrix[i, j]
                    matrix[i, j] <- matrix[pivot, j]
                    matrix[pivot, j] <- kept

        let scale = a[i, i]
        determinant <- determinant * scale

        for matrix, width in [ a, n; b, columns ] do
            for j in 0 .. width - 1 do
                matrix[i, j] <- matrix[i, j] / scale

        for row in 0 .. n - 1 do
            if row <> i then
                let factor = a[row, i]

                for matrix, width in [ a, n; b, columns ] do
                    for j in 0 .. width - 1 do
                        matrix[row, j] <- matrix[row, j] - factor * matrix[i, j]

    b, determinant

let private identity n : Matrix =
    Array2D.init n n (fun i j -> if i = j then 1.0 else 0.0)

let private determinantOf a =
    eliminate a (identity (Array2D.length1 a)) |> snd

let private cholesky (a: Matrix) =
    let n = Array2D.length1 a
    let l = Array2D.zeroCreate n n

    for i in 0 .. n - 1 do
        for j in 0..i do
            let rest = a[i, j] - sum [| for k in 0 .. j - 1 -> l[i, k] * l[j, k] |]
            l[i, j] <- if i = j then sqrt rest else rest / l[j, j]

    l

let private gramSchmidt (a: Matrix) =
    let m, n = Array2D.length1 a, Array2D.length2 a
    let q, r = Array2D.copy a, Array2D.zeroCreate n n

    for j in 0 .. n - 1 do
        // Twice is enough for orthogonality to rounding.
        for _ in 1..2 do
            for k in 0 .. j - 1 do
                let along = sum [| for i in 0 .. m - 1 -> q[i, k] * q[i, j] |]
                r[k, j] <- r[k, j] + along

                for i in 0 .. m - 1 do
                    q[i, j] <- q[i, j] - along * q[i, k]

        r[j, j] <- sqrt (sum [| for i in 0 .. m - 1 -> q[i, j] ** 2.0 |])

        for i in 0 .. m - 1 do
            q[i, j] <- q[i, j] / r[j, j]

    q, r

/// Eigenvalues in ascending order, and eigenvectors as columns whose largest element is positive.
let private jacobi (a: Matrix) =
    let n = Array2D.length1 a
    let mutable a = Array2D.init n n (fun i j -> (a[i, j] + a[j, i]) / 2.0)
    let mutable v = identity n

    for _ in 1..30 do
        for p in 0 .. n - 1 do
            for q in p + 1 .. n - 1 do
                if a[p, q] <> 0.0 then
                    let angle = 0.5 * atan2 (2.0 * a[p, q]) (a[q, q] - a[p, p])
                    let rotation = identity n
                    rotation[p, p] <- cos angle
                    rotation[q, q] <- cos angle
                    rotation[p, q] <- sin angle
                    rotation[q, p] <- -(sin angle)
                    a <- product (product (transposed rotation) a) rotation
                    v <- product v rotation

    let order = [| 0 .. n - 1 |] |> Array.sortBy (fun i -> a[i, i])

    let upright i =
        let largest = [ for row in 0 .. n - 1 -> v[row, i] ] |> List.maxBy abs
        if largest < 0.0 then -1.0 else 1.0

    order |> Array.map (fun i -> a[i, i]), Array2D.init n n (fun row k -> v[row, order[k]] * upright order[k])

/// U, S and V by way of the eigenvectors on the smaller side; the columns of V are the upright ones.
let rec private singular (a: Matrix) : Matrix * float[] * Matrix =
    let m, n = Array2D.length1 a, Array2D.length2 a

    if n > m then
        let v, s, u = singular (transposed a)

        let turn j =
            let largest = [ for i in 0 .. n - 1 -> v[i, j] ] |> List.maxBy abs
            if largest < 0.0 then -1.0 else 1.0

        let turned = Array2D.mapi (fun _ j value -> value * turn j)
        turned u, s, turned v
    else
        let descending (v: Matrix) =
            Array2D.init (Array2D.length1 v) n (fun i j -> v[i, n - 1 - j])

        let values, v = jacobi (product (transposed a) a)
        let v = descending v
        let s = Array.init n (fun i -> sqrt (max 0.0 values[n - 1 - i]))
        product a v |> Array2D.mapi (fun _ j value -> value / s[j]), s, v

// ---- batches ----

let private matrices (x: Plain) =
    let rank = x.Shape.Length
    let m, n = x.Shape[rank - 2], x.Shape[rank - 1]
    let count = Array.fold (*) 1 x.Shape[.. rank - 3]
    // Of an empty batch one matrix of zeros: its results tell the shapes.
    Array.init (max 1 count) (fun k ->
        Array2D.init m n (fun i j -> if count = 0 then 0.0 else x.Values[(k * m + i) * n + j]))

let private outer (x: Plain) = x.Shape[.. x.Shape.Length - 3]

let private stored shape (results: Matrix[]) =
    {
        Shape = shape
        Values =
            results
            |> Array.collect (fun r -> [| for value in Seq.cast<float> r -> value |])
    }

let private like (x: Plain) (results: Matrix[]) =
    stored (Array.append (outer x) [| Array2D.length1 results[0]; Array2D.length2 results[0] |]) results

let private vectors (x: Plain) (results: float[][]) =
    stored (Array.append (outer x) [| results[0].Length |]) (results |> Array.map column)

let private numbers (x: Plain) (results: float[]) =
    stored (outer x) (results |> Array.map (fun v -> column [| v |]))

/// (AᵀA)⁻¹Aᵀ, or Aᵀ(AAᵀ)⁻¹ where that is smaller.
let private pseudoInverse (a: Matrix) =
    let at = transposed a

    if Array2D.length1 a >= Array2D.length2 a then
        fst (eliminate (product at a) at)
    else
        transposed (fst (eliminate (product a at) a))

/// The series, which for elements of size 1 is short enough.
let private exponential (a: Matrix) =
    let mutable term = identity (Array2D.length1 a)
    let mutable total = term

    for k in 1..60 do
        term <- product term a |> Array2D.map (fun v -> v / float k)
        total <- Array2D.mapi (fun i j v -> v + term[i, j]) total

    total

let private triangle lower (a: Matrix) =
    Array2D.mapi (fun i j v -> if (if lower then j <= i else j >= i) then v else 0.0) a

let all: Map<string, Attributes -> Plain[] -> Plain[]> =
    Map
        [
            "inverse",
            fun _ x ->
                [|
                    matrices x[0]
                    |> Array.map (fun a -> eliminate a (identity (Array2D.length1 a)) |> fst)
                    |> like x[0]
                |]
            "solve",
            fun _ x ->
                [|
                    Array.map2 (fun a b -> fst (eliminate a b)) (matrices x[0]) (matrices x[1])
                    |> like x[0]
                |]
            "solveTriangular",
            fun a x ->
                [|
                    Array.map2
                        (fun m b -> fst (eliminate (triangle (a.Flag "lower") m) b))
                        (matrices x[0])
                        (matrices x[1])
                    |> like x[0]
                |]
            "pseudoInverse", fun _ x -> [| matrices x[0] |> Array.map pseudoInverse |> like x[0] |]
            "matrixExp", fun _ x -> [| matrices x[0] |> Array.map exponential |> like x[0] |]
            "det", fun _ x -> [| matrices x[0] |> Array.map determinantOf |> numbers x[0] |]
            "adjugate",
            fun _ x ->
                let cofactor (a: Matrix) j i =
                    let n = Array2D.length1 a

                    let minor =
                        Array2D.init (n - 1) (n - 1) (fun r c ->
                            a[(if r < i then r else r + 1), (if c < j then c else c + 1)])

                    (if (i + j) % 2 = 0 then 1.0 else -1.0) * determinantOf minor

                [|
                    matrices x[0]
                    |> Array.map (fun a -> Array2D.init (Array2D.length1 a) (Array2D.length1 a) (cofactor a))
                    |> like x[0]
                |]
            "slogdet",
            fun _ x ->
                let all = matrices x[0] |> Array.map determinantOf

                [|
                    numbers x[0] (all |> Array.map (sign >> float))
                    numbers x[0] (all |> Array.map (abs >> log))
                |]
            "cholesky", fun _ x -> [| matrices x[0] |> Array.map cholesky |> like x[0] |]
            "qr",
            fun _ x ->
                let q, r = matrices x[0] |> Array.map gramSchmidt |> Array.unzip
                [| like x[0] q; like x[0] r |]
            "eigh",
            fun _ x ->
                let values, eigenvectors = matrices x[0] |> Array.map jacobi |> Array.unzip
                [| vectors x[0] values; like x[0] eigenvectors |]
            "svd",
            fun _ x ->
                let u, s, v = matrices x[0] |> Array.map singular |> Array.unzip3
                [| like x[0] u; vectors x[0] s; like x[0] v |]
        ]
