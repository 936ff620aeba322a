namespace Functional

open Functional.Ops

/// Random numbers as values: a key is split or folded, never advanced.
[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Key =
    /// The key of a seed.
    let ofSeed (seed: int) = Key.OfSeed(int64 seed)

    /// Two independent keys.
    let split (key: Key) =
        let keys = key.Split 2
        keys[0], keys[1]

    /// n independent keys.
    let splitInto n (key: Key) = List.ofArray (key.Split n)

    /// The key that belongs to this one and a number.
    let fold (number: int) (key: Key) = key.Fold number

    /// The key that belongs to this one and a name.
    let foldName (name: string) (key: Key) = key.Fold name

/// Tensor operations as functions whose last argument is the tensor, so that they pipe. Axes count from 0, or from −1 at the end; an empty list of
/// axes means all of them.
[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Tensor =
    // ---- making ----

    /// A float32 scalar.
    let scalar (value: float) = Tensor.Scalar(float32 value)

    /// A float32 vector.
    let vector (values: float seq) =
        Tensor.From(values |> Seq.map float32 |> Array.ofSeq)

    /// A float32 matrix from its rows, which must be equally long.
    let matrix (rows: float list list) =
        let columns =
            rows |> List.tryHead |> Option.map List.length |> Option.defaultValue 0

        match rows |> List.tryFind (fun row -> row.Length <> columns) with
        | Some row ->
            raise (
                ShapeException
                    $"matrix: rows must be equally long; got {columns} and {row.Length} elements. Complete the shorter one."
            )
        | None -> Tensor.From(rows |> List.concat |> List.map float32 |> Array.ofList, rows.Length, columns)

    /// An int64 vector: classes, indices.
    let integers (values: int seq) =
        Tensor.From(values |> Seq.map int64 |> Array.ofSeq)

    let zeros (shape: int list) = Tensor.Zeros(Shape.Of shape)
    let ones (shape: int list) = Tensor.Ones(Shape.Of shape)
    let full (shape: int list) (value: float) = Tensor.Full(Shape.Of shape, value)
    let eye n = Tensor.Eye n

    /// start, start + step, …, below stop
    let arange (start: float) (step: float) (stop: float) = Tensor.Arange(start, stop, step)

    /// n values evenly spaced from start to stop, both included.
    let linspace (start: float) (stop: float) n = Tensor.Linspace(start, stop, n)

    /// Uniform in [low, high).
    let uniform (low: float) (high: float) (shape: int list) (key: Key) = key.Uniform(Shape.Of shape, low, high)

    /// Normal with mean 0 and deviation 1.
    let normal (shape: int list) (key: Key) = key.Normal(Shape.Of shape)

    /// Standard normal between low and high.
    let truncatedNormal (low: float) (high: float) (shape: int list) (key: Key) =
        key.TruncatedNormal(Shape.Of shape, low, high)

    /// −ln(−ln u): scores plus these, then the largest, is a draw from the scores' softmax.
    let gumbel (shape: int list) (key: Key) = key.Gumbel(Shape.Of shape)

    /// Classes drawn with the probabilities softmax(logits).
    let categorical (logits: Tensor) (key: Key) = key.Categorical logits

    /// Draws of the gamma distribution, differentiable by its concentration.
    let gamma (concentration: Tensor) (key: Key) = key.Gamma concentration

    // ---- elements ----

    let abs (x: Tensor) = x.Abs()
    let sign (x: Tensor) = x.Sign()
    let floor (x: Tensor) = x.Floor()
    let ceil (x: Tensor) = x.Ceil()
    let round (x: Tensor) = x.Round()
    let trunc (x: Tensor) = x.Trunc()
    let exp (x: Tensor) = x.Exp()
    let expm1 (x: Tensor) = x.Expm1()
    let exp2 (x: Tensor) = x.Exp2()
    let log (x: Tensor) = x.Log()
    let log2 (x: Tensor) = x.Log2()
    let log10 (x: Tensor) = x.Log10()
    let log1p (x: Tensor) = x.Log1p()
    let sqrt (x: Tensor) = x.Sqrt()
    let rsqrt (x: Tensor) = x.Rsqrt()
    let square (x: Tensor) = x.Square()
    let reciprocal (x: Tensor) = x.Reciprocal()
    let pow (exponent: float) (x: Tensor) = x.Pow exponent
    let sin (x: Tensor) = x.Sin()
    let cos (x: Tensor) = x.Cos()
    let tan (x: Tensor) = x.Tan()
    let asin (x: Tensor) = x.Asin()
    let acos (x: Tensor) = x.Acos()
    let atan (x: Tensor) = x.Atan()
    let sinh (x: Tensor) = x.Sinh()
    let cosh (x: Tensor) = x.Cosh()
    let tanh (x: Tensor) = x.Tanh()
    let asinh (x: Tensor) = x.Asinh()
    let acosh (x: Tensor) = x.Acosh()
    let atanh (x: Tensor) = x.Atanh()

    /// The angle of the points (x, y), where x comes first: `y |> Tensor.atan2 x`.
    let atan2 (x: Tensor) (y: Tensor) = y.Atan2 x

    /// √(x² + y²)
    let hypot (y: Tensor) (x: Tensor) = x.Hypot y

    /// ln(eˣ + eʸ)
    let logAddExp (y: Tensor) (x: Tensor) = x.LogAddExp y
    let erf (x: Tensor) = x.Erf()
    let erfc (x: Tensor) = x.Erfc()
    let sigmoid (x: Tensor) = x.Sigmoid()
    let logSigmoid (x: Tensor) = x.LogSigmoid()
    let softplus (x: Tensor) = x.Softplus()
    let softsign (x: Tensor) = x.Softsign()
    let relu (x: Tensor) = x.Relu()
    let leakyRelu (slope: float) (x: Tensor) = x.LeakyRelu slope
    /// x where x > 0, else slope·x, for slopes that are learned and broadcast.
    let prelu (slope: Tensor) (x: Tensor) = x.Prelu slope

    /// a·σ(b) of the two halves of an axis.
    let glu (axis: int) (x: Tensor) = x.Glu axis

    let elu (alpha: float) (x: Tensor) = x.Elu alpha
    let selu (x: Tensor) = x.Selu()
    let gelu (x: Tensor) = x.Gelu()
    let silu (x: Tensor) = x.Silu()
    let mish (x: Tensor) = x.Mish()
    let hardSwish (x: Tensor) = x.HardSwish()
    let maximum (y: Tensor) (x: Tensor) = x.Maximum y
    let minimum (y: Tensor) (x: Tensor) = x.Minimum y

    /// x + weight·(y − x)
    let lerp (weight: float) (y: Tensor) (x: Tensor) = x.Lerp(y, weight)

    /// Between low and high.
    let clamp (low: float) (high: float) (x: Tensor) = x.Clamp(low, high)

    /// a where the condition holds, else b.
    let where (condition: Tensor) (a: Tensor) (b: Tensor) = Tensor.Where(condition, a, b)

    let cast (dtype: DType) (x: Tensor) = x.Cast dtype

    /// x = y, bool; like all comparisons it takes the right side first: `x |> Tensor.less y` is x < y.
    let equal (y: Tensor) (x: Tensor) = x.Equal y
    let notEqual (y: Tensor) (x: Tensor) = x.NotEqual y
    let less (y: Tensor) (x: Tensor) = x.Less y
    let lessEqual (y: Tensor) (x: Tensor) = x.LessEqual y
    let greater (y: Tensor) (x: Tensor) = x.Greater y
    let greaterEqual (y: Tensor) (x: Tensor) = x.GreaterEqual y
    let isNaN (x: Tensor) = x.IsNaN()
    let isInfinite (x: Tensor) = x.IsInfinite()
    let isFinite (x: Tensor) = x.IsFinite()

    /// 0 for NaN, the largest numbers of the dtype for the infinities.
    let nanToNumber (x: Tensor) = x.NanToNumber()

    /// Whether every |x − y| is at most 1e-8 + 1e-5·|y|.
    let allClose (y: Tensor) (x: Tensor) = x.AllClose y

    let logicalAnd (y: Tensor) (x: Tensor) = x.And y
    let logicalOr (y: Tensor) (x: Tensor) = x.Or y
    let logicalXor (y: Tensor) (x: Tensor) = x.Xor y
    let logicalNot (x: Tensor) = x.Not()

    /// Zero with probability `rate`, else x / (1 − rate).
    let dropout (rate: float) (key: Key) (x: Tensor) = x.Dropout(rate, key)

    // ---- reductions ----

    let sum (axes: int list) (x: Tensor) = x.Sum(Array.ofList axes)
    let mean (axes: int list) (x: Tensor) = x.Mean(Array.ofList axes)
    let max (axes: int list) (x: Tensor) = x.Max(Array.ofList axes)
    let min (axes: int list) (x: Tensor) = x.Min(Array.ofList axes)
    let prod (axes: int list) (x: Tensor) = x.Prod(Array.ofList axes)
    let any (axes: int list) (x: Tensor) = x.Any(Array.ofList axes)
    let all (axes: int list) (x: Tensor) = x.All(Array.ofList axes)

    /// With n − 1 below the line.
    let variance (axes: int list) (x: Tensor) = x.Variance(Array.ofList axes)

    /// The root of the variance with n − 1 below the line.
    let std (axes: int list) (x: Tensor) = x.Std(Array.ofList axes)
    let logSumExp (axes: int list) (x: Tensor) = x.LogSumExp(Array.ofList axes)
    let argMax (axis: int) (x: Tensor) = x.ArgMax axis
    let argMin (axis: int) (x: Tensor) = x.ArgMin axis

    /// The largest value along an axis and where it stands.
    let maxWithIndices (axis: int) (x: Tensor) =
        let struct (values, places) = x.MaxWithIndices axis
        values, places

    /// The smallest value along an axis and where it stands.
    let minWithIndices (axis: int) (x: Tensor) =
        let struct (values, places) = x.MinWithIndices axis
        values, places

    let norm (x: Tensor) = x.Norm()
    let softmax (axis: int) (x: Tensor) = x.Softmax axis
    let logSoftmax (axis: int) (x: Tensor) = x.LogSoftmax axis

    // ---- products ----

    /// a·b, where b comes first: `a |> Tensor.matmul b`.
    let matmul (b: Tensor) (a: Tensor) = a.Matmul b

    /// x·w + b of x [n, in], w [in, out] and b [out], in one pass.
    let linear (w: Tensor) (b: Tensor) (x: Tensor) = Tensor.Linear(x, w, b)

    /// (x − mean)/√(variance + ε) over the last axis.
    let layerNorm (x: Tensor) = x.LayerNorm()

    /// x/√(mean x² + ε) over the last axis.
    let rmsNorm (x: Tensor) = x.RmsNorm()

    /// Groups of channels of [N; C; …], each brought to mean 0 and variance 1.
    let groupNorm (groups: int) (x: Tensor) = x.GroupNorm groups

    /// Each channel of each example of [N; C; …] brought to mean 0 and variance 1.
    let instanceNorm (x: Tensor) = x.InstanceNorm()

    /// Each channel of [N; C; …] brought to mean 0 and variance 1 over batch and positions; with it the batch's mean and variance.
    let batchNorm (x: Tensor) =
        let struct (y, mean, variance) = x.BatchNorm()
        y, mean, variance

    /// (x − mean)/√(variance + ε) per channel of [N; C; …] for a mean and variance that are given.
    let batchNormInference (mean: Tensor) (variance: Tensor) (x: Tensor) = x.BatchNormInference(mean, variance)

    /// All states of a simple recurrent network over [N; T; F], from zero: see `Tensor.Rnn`.
    let rnn (wx: Tensor) (wh: Tensor) (bx: Tensor) (bh: Tensor) (x: Tensor) = Tensor.Rnn(x, wx, wh, bx, bh)

    /// All states and cells of a long short-term memory over [N; T; F], from zero: see `Tensor.Lstm`.
    let lstm (wx: Tensor) (wh: Tensor) (bx: Tensor) (bh: Tensor) (x: Tensor) =
        let struct (states, cells) = Tensor.Lstm(x, wx, wh, bx, bh)
        states, cells

    /// All states of a gated recurrent unit over [N; T; F], from zero: see `Tensor.Gru`.
    let gru (wx: Tensor) (wh: Tensor) (bx: Tensor) (bh: Tensor) (x: Tensor) = Tensor.Gru(x, wx, wh, bx, bh)

    /// softmax(q·kᵀ/√d)·v: see `Tensor.Attention`.
    let attention (k: Tensor) (v: Tensor) (q: Tensor) = Tensor.Attention(q, k, v)

    /// softmax(q·kᵀ/√d): see `Tensor.AttentionWeights`.
    let attentionWeights (k: Tensor) (q: Tensor) = Tensor.AttentionWeights(q, k)

    /// Attention of the steps of [N; T; 3·E] to each other: see `Tensor.SelfAttention`.
    let selfAttention (heads: int) (qkv: Tensor) = Tensor.SelfAttention(qkv, heads)

    /// [N; T; h·d] as [N; h; T; d].
    let splitHeads (heads: int) (x: Tensor) = x.SplitHeads heads

    /// [N; h; T; d] as [N; T; h·d].
    let mergeHeads (x: Tensor) = x.MergeHeads()

    /// Sums of products over the named axes of a and of b: `a |> Tensor.tensorDot [ 1 ] b [ 0 ]` is their product.
    let tensorDot (axes: int list) (b: Tensor) (others: int list) (a: Tensor) =
        a.TensorDot(b, Array.ofList axes, Array.ofList others)

    /// n factors of a square matrix; of its inverse for negative n.
    let matrixPower (n: int) (x: Tensor) = x.MatrixPower n

    /// A⁻¹ of square matrices.
    let inverse (x: Tensor) = x.Inverse()

    /// X with a·X = b: `a |> Tensor.solve b`.
    let solve (b: Tensor) (a: Tensor) = a.Solve b

    /// The determinants of square matrices.
    let det (x: Tensor) = x.Det()

    /// The transposed cofactors of square matrices, singular or not.
    let adjugate (x: Tensor) = x.Adjugate()

    /// The sign and the logarithm of the size of determinants.
    let slogDet (x: Tensor) =
        let struct (sign, logSize) = x.SlogDet()
        sign, logSize

    /// L with L·Lᵀ = A.
    let cholesky (x: Tensor) = x.Cholesky()

    /// Q and R with Q·R = A.
    let qr (x: Tensor) =
        let struct (q, r) = x.Qr()
        q, r

    /// Eigenvalues and eigenvectors of symmetric matrices.
    let eigh (x: Tensor) =
        let struct (values, vectors) = x.Eigh()
        values, vectors

    /// U, S and V with U·diag(S)·Vᵀ = A.
    let svd (x: Tensor) =
        let struct (u, s, v) = x.Svd()
        u, s, v

    /// The Moore–Penrose inverse.
    let pseudoInverse (x: Tensor) = x.PseudoInverse()

    /// Σ Aᵢᵢ
    let matrixTrace (x: Tensor) = x.MatrixTrace()

    /// eᴬ of square matrices.
    let matrixExp (x: Tensor) = x.MatrixExp()

    /// The cross-correlation of images [N; C; spatial…] with a weight [O; C / groups; kernel…]: see `Tensor.Convolution`.
    let convolution (window: Window) (w: Tensor) (x: Tensor) = Tensor.Convolution(x, w, null, window)

    /// The adjoint of a convolution as an operation of its own: see `Tensor.ConvolutionTransposed`.
    let convolutionTransposed (window: Window) (w: Tensor) (x: Tensor) =
        Tensor.ConvolutionTransposed(x, w, null, window)

    /// The largest element of windows of one size that lie side by side.
    let maxPool (kernel: int) (x: Tensor) = x.MaxPool kernel

    /// The mean of windows of one size that lie side by side.
    let averagePool (kernel: int) (x: Tensor) = x.AveragePool kernel

    /// The largest element of each of the windows that make the given spatial sizes.
    let adaptiveMaxPool (size: int) (x: Tensor) = x.AdaptiveMaxPool size

    /// The mean of each of the windows that make the given spatial sizes.
    let adaptiveAveragePool (size: int) (x: Tensor) = x.AdaptiveAveragePool size

    let dot (b: Tensor) (a: Tensor) = a.Dot b
    let outer (b: Tensor) (a: Tensor) = a.Outer b

    // ---- shapes ----

    let shape (x: Tensor) = List.ofSeq x.Shape
    let reshape (sizes: int list) (x: Tensor) = x.Reshape(Array.ofList sizes)
    let flatten (x: Tensor) = x.Flatten()
    let transpose (x: Tensor) = x.T
    let permute (axes: int list) (x: Tensor) = x.Permute(Array.ofList axes)
    let expand (sizes: int list) (x: Tensor) = x.Expand(Array.ofList sizes)
    let squeeze (axes: int list) (x: Tensor) = x.Squeeze(Array.ofList axes)
    let unsqueeze (axis: int) (x: Tensor) = x.Unsqueeze axis

    /// start … stop − 1 along an axis.
    let slice (axis: int) (start: int) (stop: int) (x: Tensor) = x.Slice(axis, start, stop)

    /// One place of an axis, which goes away.
    let select (axis: int) (place: int) (x: Tensor) = x.Select(axis, place)

    /// Every part of an axis `count` times in a row: a a b b c c.
    let repeatEach (axis: int) (count: int) (x: Tensor) = x.RepeatEach(count, axis)

    let flip (axes: int list) (x: Tensor) = x.Flip(Array.ofList axes)
    let roll (axis: int) (shift: int) (x: Tensor) = x.Roll(shift, axis)

    /// Each image of [N; C; H; W] moved and mirrored in its own way: see `Tensor.MoveImages`.
    let moveImages (moves: Tensor) (x: Tensor) = x.MoveImages moves

    /// The whole again and again, so many times along each axis.
    let tile (counts: int list) (x: Tensor) = x.Tile(Array.ofList counts)

    /// So many zeros before and after each axis.
    let pad (before: int list) (after: int list) (x: Tensor) =
        x.Pad(Array.ofList before, Array.ofList after)

    let concat (axis: int) (parts: Tensor list) = Tensor.Concat(axis, Array.ofList parts)
    let stack (axis: int) (parts: Tensor list) = Tensor.Stack(axis, Array.ofList parts)

    let split (axis: int) (sizes: int list) (x: Tensor) =
        x.Split(Array.ofList sizes, axis) |> List.ofArray

    /// The places that indices name along an axis.
    let take (axis: int) (indices: Tensor) (x: Tensor) = x.Take(indices, axis)
    let gather (axis: int) (index: Tensor) (x: Tensor) = x.Gather(index, axis)

    /// x with the elements of `source` added where `index` points along an axis.
    let scatterAdd (axis: int) (index: Tensor) (source: Tensor) (x: Tensor) = x.ScatterAdd(index, source, axis)
    let oneHot (classes: int) (x: Tensor) = x.OneHot classes

    // ---- running results, order ----

    /// yᵢ = Σ xⱼ over j ≤ i
    let cumSum (axis: int) (x: Tensor) = x.CumSum axis

    /// yᵢ = Π xⱼ over j ≤ i
    let cumProd (axis: int) (x: Tensor) = x.CumProd axis

    /// The largest element so far and where it first stood.
    let cumMax (axis: int) (x: Tensor) =
        let struct (values, places) = x.CumMax axis
        values, places

    /// The smallest element so far and where it first stood.
    let cumMin (axis: int) (x: Tensor) =
        let struct (values, places) = x.CumMin axis
        values, places

    /// ln Σ e^xⱼ over j ≤ i
    let logCumSumExp (axis: int) (x: Tensor) = x.LogCumSumExp axis

    /// yᵢ = aᵢ·yᵢ₋₁ + bᵢ, from y₀ = b₀
    let linearRecurrence (axis: int) (a: Tensor) (b: Tensor) = Tensor.LinearRecurrence(a, b, axis)

    /// The n-th differences of neighbours.
    let diff (n: int) (axis: int) (x: Tensor) = x.Diff(n, axis)

    /// The elements in ascending order and where each came from.
    let sort (axis: int) (x: Tensor) =
        let struct (values, places) = x.Sort axis
        values, places

    /// The places of the elements in ascending order.
    let argSort (axis: int) (x: Tensor) = x.ArgSort axis

    /// The k largest elements, largest first, and their places.
    let topK (k: int) (axis: int) (x: Tensor) =
        let struct (values, places) = x.TopK(k, axis)
        values, places

    /// The element in the middle.
    let median (axis: int) (x: Tensor) = x.Median axis

    /// The value below which a share of the elements lies.
    let quantile (share: float) (axis: int) (x: Tensor) = x.Quantile(share, axis)

    /// The different elements in ascending order, each element's place among them, and how often each occurs.
    let unique (x: Tensor) =
        let struct (values, inverse, counts) = x.Unique()
        values, inverse, counts

    /// How many of the ascending edges lie below each element.
    let searchSorted (edges: Tensor) (x: Tensor) = Tensor.SearchSorted(edges, x)

    // ---- products over named axes, transforms ----

    /// Sums of products over named axes: `Tensor.einsum "bij,bjk->bik" [ a; b ]`.
    let einsum (equation: string) (operands: Tensor list) =
        Tensor.Einsum(equation, Array.ofList operands)

    let kron (b: Tensor) (a: Tensor) = a.Kron b
    let cross (b: Tensor) (a: Tensor) = a.Cross b

    /// a·b/(‖a‖·‖b‖) along an axis.
    let cosineSimilarity (axis: int) (b: Tensor) (a: Tensor) = Tensor.CosineSimilarity(a, b, axis)

    /// The elements (i, i) of the last two axes.
    let diagonal (x: Tensor) = x.Diagonal()

    /// Matrices with the last axis on the diagonal.
    let diagonalMatrix (x: Tensor) = x.DiagonalMatrix()

    /// Coordinates of the grid that vectors span.
    let meshgrid (vectors: Tensor list) =
        Tensor.Meshgrid(Array.ofList vectors) |> List.ofArray

    /// The transform of real numbers along the last axis, ⌊n/2⌋ + 1 real and imaginary parts.
    let realFft (x: Tensor) =
        let struct (real, imaginary) = x.RealFft()
        real, imaginary

    /// The same of the first n numbers, or of all and zeros up to n.
    let realFftOf (n: int) (x: Tensor) =
        let struct (real, imaginary) = x.RealFft n
        real, imaginary

    /// The n real numbers whose transform is given; of another length's the higher frequencies are cut, or 0.
    let inverseRealFft (n: int) (real: Tensor, imaginary: Tensor) =
        Tensor.InverseRealFft(real, imaginary, n)

    /// Images with other spatial sizes.
    let resize (interpolation: Interpolation) (sizes: int list) (x: Tensor) =
        x.Resize(Array.ofList sizes, interpolation)

    /// A border of the tensor's own elements: so many before and after each axis.
    let padBorder (border: Border) (before: int list) (after: int list) (x: Tensor) =
        x.PadBorder(Array.ofList before, Array.ofList after, border)

    /// X with a·X = b for a triangular a, of which only the lower triangle is read.
    let solveTriangular (b: Tensor) (a: Tensor) = a.SolveTriangular b

    /// A norm of matrices: "fro", "nuc", "2", "1" or "inf".
    let matrixNorm (order: string) (x: Tensor) = x.MatrixNorm order

    /// Distances between the rows of a and the rows of b.
    let distances (b: Tensor) (a: Tensor) = Tensor.Distances(a, b)

    // ---- special functions ----

    let logGamma (x: Tensor) = x.LogGamma()
    let digamma (x: Tensor) = x.Digamma()
    let polygamma (n: int) (x: Tensor) = x.Polygamma n
    let erfinv (x: Tensor) = x.Erfinv()

    /// The modified Bessel function Iₙ.
    let besselI (n: int) (x: Tensor) = x.BesselI n

    // ---- masks and replaced elements ----

    /// A number where the mask is true.
    let maskedFill (mask: Tensor) (value: float) (x: Tensor) = x.MaskedFill(mask, value)

    /// The elements where the mask is true, as a vector.
    let maskedSelect (mask: Tensor) (x: Tensor) = x.MaskedSelect mask

    /// The places of the elements that are not 0, one row for each.
    let nonZero (x: Tensor) = x.NonZero()

    /// x with the selected part replaced: the selections are those of an indexer.
    let withPart (value: Tensor) (selections: AxisSelection list) (x: Tensor) =
        x.WithPart(value, Array.ofList selections)

    /// x with something added to the selected part.
    let withPartAdded (value: Tensor) (selections: AxisSelection list) (x: Tensor) =
        x.WithPartAdded(value, Array.ofList selections)

    /// x with the elements of `source` where `index` points along an axis.
    let scatter (axis: int) (index: Tensor) (source: Tensor) (x: Tensor) = x.Scatter(index, source, axis)

    /// Zero above the diagonal.
    let tril (x: Tensor) = x.Tril()

    /// Zero below the diagonal.
    let triu (x: Tensor) = x.Triu()

    // ---- out ----

    /// The value of a tensor with one element.
    let toFloat (x: Tensor) = x.ToDouble()

    /// The elements in row-major order.
    let toArray (x: Tensor) = x.ToDoubles()

/// Operators that F# lets us add to those that tensors bring along.
[<AutoOpen>]
module TensorOperators =
    /// The matrix product, which binds like ×: x *@ w + b is (x·w) + b. Operators that begin with @ would bind less tightly than +.
    let ( *@ ) (a: Tensor) (b: Tensor) = a.Matmul b
