/// Which operation a reference file means: one line for each.
module Functional.Tests.Golden.Operations

open Functional
open Functional.Tests.Golden.Files

/// A form of an operation that does not exist yet, by name: counted as missing.
exception Missing of string

/// From a case to a function of its inputs' values, in the order of the file, and to all outputs. Only `Args` and `Attributes`
/// of the case are looked at, so that a derivative of the function is the operation's.
type Operation = Case -> Tensor[] -> Tensor[]

let private one (f: Tensor -> Tensor) : Operation = fun _ x -> [| f x[0] |]

/// One input and attributes.
let private told (f: Attributes -> Tensor -> Tensor) : Operation =
    fun case x -> [| f case.Attributes x[0] |]

/// Two inputs, or one that is taken twice.
let private two (f: Tensor -> Tensor -> Tensor) : Operation = fun _ x -> [| f x[0] x[x.Length - 1] |]

let private folded (f: Tensor -> int[] -> bool -> Tensor) =
    told (fun a x -> f x (a.Axes "dim") (a.Flag "keepdim"))

/// Values and their places along an axis, or the value alone where no axis is named.
let private extreme (all: Tensor -> Tensor) (along: Tensor -> int -> bool -> struct (Tensor * Tensor)) : Operation =
    fun case x ->
        match case.Attributes.TryInt "dim" with
        | None -> [| all x[0] |]
        | Some axis ->
            let struct (values, places) = along x[0] axis (case.Attributes.Flag "keepdim")
            [| values; places |]

/// Losses one by one, then none, the sum or the mean of them.
let private reduced (each: Case -> Tensor[] -> Tensor) : Operation =
    fun case x ->
        let losses = each case x

        match case.Attributes.Text "reduction" with
        | "mean" -> [| losses.Mean() |]
        | "sum" -> [| losses.Sum() |]
        | "batchmean" -> [| losses.Sum() / float x[0].Shape[0] |]
        | _ -> [| losses |]

let private pair (loss: Tensor -> Tensor -> Tensor) : Operation = reduced (fun _ x -> loss x[0] x[1])

/// Weighted by class and without one class, in rows of scores; the mean divides by the weights that count.
let private classified (logProbabilities: Tensor -> Tensor) : Operation =
    fun case x ->
        let a = case.Attributes

        let classes =
            {
                Weights = if x.Length > 2 then Some x[2] else None
                Ignore = a.TryInt "ignore_index"
                Smoothing = defaultArg (a.TryFloat "label_smoothing") 0.0
            }

        let losses, weights = Loss.Each.weighted classes (logProbabilities x[0]) x[1]

        match a.Text "reduction" with
        | "mean" -> [| losses.Sum() / weights.Sum() |]
        | "sum" -> [| losses.Sum() |]
        | _ ->
            [|
                losses.Reshape(Array.append [| x[0].Shape[0] |] (x[0].Shape.ToArray()[2..]))
            |]

/// The usual case takes the fused way.
let private crossEntropy: Operation =
    fun case x ->
        let a = case.Attributes
        let smoothing = defaultArg (a.TryFloat "label_smoothing") 0.0

        if
            a.Text "reduction" = "mean"
            && x.Length = 2
            && x[0].Rank = 2
            && not (x[1].DType.IsFloat())
        then
            [|
                Tensor.CrossEntropy(x[0], x[1], smoothing, Option.toNullable (a.TryInt "ignore_index"))
            |]
        else
            classified (fun scores -> scores.LogSoftmax 1) case x

let private toNullable (value: 'T option) = Option.toNullable value

let private padded (a: Attributes) (x: Tensor) =
    let pad = a.Ints "pad"
    let before, after = Array.zeroCreate x.Rank, Array.zeroCreate x.Rank

    for i in 0 .. pad.Length / 2 - 1 do
        before[x.Rank - 1 - i] <- pad[2 * i]
        after[x.Rank - 1 - i] <- pad[2 * i + 1]

    if a.Text "mode" = "reflect" then
        x.PadBorder(before, after, Border.Reflect)
    else
        x.Pad(before, after, defaultArg (a.TryFloat "value") 0.0)

let private cut (a: Attributes) (x: Tensor) =
    let column i =
        a.Table "slices" |> Array.map (Array.item i)

    x.Slice(column 0, column 1, column 2)

let private squeezed (a: Attributes) (x: Tensor) =
    match a.Text "mode", a.TryInt "dim" with
    | "unsqueeze", Some axis -> x.Unsqueeze axis
    // An axis that is longer than 1 stays as it is.
    | _, Some axis when x.Shape[axis] <> 1 -> x
    | _, Some axis -> x.Squeeze axis
    | _, None -> x.Squeeze()

let private perceptron: Operation =
    fun _ x -> [| (x[0].Matmul(x[1]) + x[2]).Tanh().Matmul(x[3]) + x[4] |]

/// Every operation that there is, by the name of its file.
let private window (a: Attributes) =
    Window(
        Stride = PerAxis.op_Implicit (a.Ints "stride"),
        Padding = Padding.op_Implicit (a.Ints "padding"),
        Dilation = PerAxis.op_Implicit (a.Ints "dilation"),
        Groups = a.Int "groups"
    )

let private bias (x: Tensor[]) : Tensor | null = if x.Length > 2 then x[2] else null

let private convolution: Operation =
    fun case x -> [| Tensor.Convolution(x[0], x[1], bias x, window case.Attributes) |]

let private convolutionTransposed: Operation =
    fun case x ->
        let extra = PerAxis.op_Implicit (case.Attributes.Ints "output_padding")

        [|
            Tensor.ConvolutionTransposed(x[0], x[1], bias x, window case.Attributes, extra)
        |]

let private pooling (f: Attributes -> Tensor -> PerAxis -> Window -> Tensor) =
    told (fun a x ->
        f
            a
            x
            (PerAxis.op_Implicit (a.Ints "kernel_size"))
            (Window(Stride = PerAxis.op_Implicit (a.Ints "stride"), Padding = Padding.op_Implicit (a.Ints "padding"))))

/// Weight and bias, where the case has them.
let private affine (x: Tensor[]) : (Tensor | null) * (Tensor | null) =
    (if x.Length > 1 then x[1] else null), (if x.Length > 2 then x[2] else null)

let private layerNorm: Operation =
    fun case x ->
        let gain, bias = affine x

        [|
            x[0].LayerNorm(gain, bias, (case.Attributes.Ints "normalized_shape").Length, case.Attributes.Float "eps")
        |]

let private batchNorm: Operation =
    fun case x ->
        let epsilon = case.Attributes.Float "eps"

        if case.Attributes.Flag "training" then
            let struct (y, mean, variance) = x[0].BatchNorm(x[1], x[2], epsilon)
            let momentum = case.Attributes.Float "momentum"
            let n = float (x[0].Count / int64 x[0].Shape[1])

            let moved (running: Tensor) (batch: Tensor) =
                running * (1.0 - momentum) + batch * momentum

            [| y; moved x[3] mean; moved x[4] (variance * (n / (n - 1.0))) |]
        else
            [| x[0].BatchNormInference(x[3], x[4], x[1], x[2], epsilon) |]

let private groupNorm (groups: Case -> Tensor -> int) : Operation =
    fun case x ->
        let gain, bias = affine x
        [| x[0].GroupNorm(groups case x[0], gain, bias, case.Attributes.Float "eps") |]

/// Layer after layer, both directions joined; then the last states (and cells) of all of them. Weights are transposed there.
let private recurrent (cells: bool) run : Operation =
    fun case x ->
        let directions = if case.Attributes.Flag "bidirectional" then 2 else 1
        let layers = case.Attributes.Int "num_layers"
        let first = if cells then 3 else 2

        let layer (sequence: Tensor) number =
            let outputs, states, memories =
                [
                    for direction in 0 .. directions - 1 do
                        let index = number * directions + direction
                        let parameter i = x[first + 4 * index + i]
                        let turned (t: Tensor) = if direction = 1 then t.Flip 1 else t
                        let start (t: Tensor) = t.Select(0, index)
                        let last (t: Tensor) = t.Select(1, t.Shape[1] - 1)

                        let states, memories: Tensor * Tensor =
                            run
                                (turned sequence)
                                (parameter 0: Tensor).T
                                (parameter 1).T
                                (parameter 2)
                                (parameter 3)
                                (start x[1])
                                (if cells then start x[2] else x[1])

                        turned states, last states, last memories
                ]
                |> List.unzip3

            Tensor.Concat(2, List.toArray outputs), states, memories

        let output, all =
            ((x[0], []), [ 0 .. layers - 1 ])
            ||> List.fold (fun (sequence, all) number ->
                let output, states, memories = layer sequence number
                output, all @ List.zip states memories)

        let stack (parts: Tensor list) = Tensor.Stack(0, List.toArray parts)

        [|
            output
            stack (List.map fst all)
            if cells then
                stack (List.map snd all)
        |]

let private alone (states: Tensor) = states, states

let private maskOf (x: Tensor[]) : Tensor | null = if x.Length > 3 then x[3] else null

let private multiHeadAttention: Operation =
    fun case x ->
        let heads = case.Attributes.Int "num_heads"
        let causal = case.Attributes.Flag "causal"
        let features = x[0].Shape[2]

        let project i (t: Tensor) =
            let from, until = i * features, (i + 1) * features

            Tensor.Linear(t, x[3].Slice(0, from, until).T, x[4].Slice(0, from, until))

        // The file's mask is true where a key is to be ignored.
        let mask: Tensor | null =
            if x.Length > 7 then
                x[7].Not().Unsqueeze(1).Unsqueeze(1)
            else
                null

        let q, k, v = project 0 x[0], project 1 x[1], project 2 x[2]
        let split (t: Tensor) = t.SplitHeads heads

        let seen =
            if q.Shape = k.Shape then
                Tensor.SelfAttention(Tensor.Concat(2, q, k, v), heads, mask, causal)
            else
                Tensor.Attention(split q, split k, split v, mask, causal).MergeHeads()

        [|
            Tensor.Linear(seen, x[5].T, x[6])
            Tensor.AttentionWeights(split q, split k, mask, causal).Mean 1
        |]

/// A symmetric positive definite matrix made of the input, or the input itself.
let private definite (a: Attributes) (x: Tensor) =
    if a.Flag "spd_from" then
        x.Matmul x.T
        + (Tensor.Arange(0.0, float x.Shape[-1]).Unsqueeze(1).Equal(Tensor.Arange(0.0, float x.Shape[-1]))).Cast x.DType
          * float x.Shape[-1]
    else
        x

let private decomposed (f: Tensor -> struct (Tensor * Tensor)) : Operation =
    fun _ x ->
        let struct (a, b) = f x[0]
        [| a; b |]

let all: Map<string, Operation> =
    Map
        [
            "conv1d", convolution
            "conv2d", convolution
            "conv3d", convolution
            "conv_transpose2d", convolutionTransposed
            "rnn_tanh", recurrent false (fun x wx wh bx bh h0 _ -> alone (Tensor.Rnn(x, wx, wh, bx, bh, h0)))
            "gru", recurrent false (fun x wx wh bx bh h0 _ -> alone (Tensor.Gru(x, wx, wh, bx, bh, h0)))
            "lstm",
            recurrent true (fun x wx wh bx bh h0 c0 ->
                let struct (states, cells) = Tensor.Lstm(x, wx, wh, bx, bh, h0, c0)
                states, cells)
            "scaled_dot_product_attention",
            (fun case x ->
                [|
                    Tensor.Attention(x[0], x[1], x[2], maskOf x, case.Attributes.Flag "causal")
                |])
            "multi_head_attention", multiHeadAttention
            "inverse", one _.Inverse()
            "hvp_inverse", one _.Inverse()
            "solve", (fun _ x -> [| x[0].Solve x[1] |])
            "det", one _.Det()
            "slogdet", decomposed _.SlogDet()
            "cholesky", told (fun a x -> (definite a x).Cholesky())
            "qr", decomposed _.Qr()
            "eigh",
            told (fun a x ->
                let struct (values, _) = (definite a x).Eigh()
                values)
            "svd",
            one (fun x ->
                let struct (_, s, _) = x.Svd()
                s)
            "matrix_exp", one _.MatrixExp()
            "trace", one _.MatrixTrace()
            "layer_norm", layerNorm
            "rms_norm", (fun case x -> [| x[0].RmsNorm(x[1], case.Attributes.Float "eps") |])
            "batch_norm", batchNorm
            "group_norm", groupNorm (fun case _ -> case.Attributes.Int "num_groups")
            "instance_norm", groupNorm (fun _ x -> x.Shape[1])
            "hvp_layer_norm", one (fun x -> x.LayerNorm(null, null, 1, 1e-5))
            "max_pool2d", pooling (fun _ x kernel window -> x.MaxPool(kernel, window))
            "avg_pool2d",
            pooling (fun a x kernel window -> x.AveragePool(kernel, window, a.FlagOr true "count_include_pad"))
            "adaptive_avg_pool2d", told (fun a x -> x.AdaptiveAveragePool(PerAxis.op_Implicit (a.Ints "output_size")))
            // Arithmetic
            "add", two (fun x y -> x + y)
            "sub", two (fun x y -> x - y)
            "mul", two (fun x y -> x * y)
            "div", two (fun x y -> x / y)
            "neg", one (fun x -> -x)
            "maximum", two (fun x y -> x.Maximum y)
            "minimum", two (fun x y -> x.Minimum y)
            "pow",
            (fun case x ->
                match case.Attributes.TryFloat "exponent" with
                | Some exponent -> [| x[0].Pow exponent |]
                | None -> [| x[0].Pow x[1] |])
            "where", (fun _ x -> [| Tensor.Where(x[0], x[1], x[2]) |])
            "clamp", told (fun a x -> x.Clamp(toNullable (a.TryFloat "min"), toNullable (a.TryFloat "max")))

            // Functions of one number
            "abs", one _.Abs()
            "sign", one _.Sign()
            "floor", one _.Floor()
            "round", one _.Round()
            "square", one _.Square()
            "sqrt", one _.Sqrt()
            "rsqrt", one _.Rsqrt()
            "exp", one _.Exp()
            "expm1", one _.Expm1()
            "log", one _.Log()
            "log1p", one _.Log1p()
            "sin", one _.Sin()
            "cos", one _.Cos()
            "tan", one _.Tan()
            "asin", one _.Asin()
            "acos", one _.Acos()
            "atan", one _.Atan()
            "sinh", one _.Sinh()
            "cosh", one _.Cosh()
            "tanh", one _.Tanh()
            "erf", one _.Erf()
            "erfc", one _.Erfc()

            // Activations
            "sigmoid", one _.Sigmoid()
            "relu", one _.Relu()
            "leaky_relu", told (fun a x -> x.LeakyRelu(a.Float "negative_slope"))
            "elu", told (fun a x -> x.Elu(a.Float "alpha"))
            "selu", one _.Selu()
            "gelu", told (fun a x -> x.Gelu((a.TryText "approximate" = Some "tanh")))
            "silu", one _.Silu()
            "mish", one _.Mish()
            "hardswish", one _.HardSwish()
            "softplus", told (fun a x -> x.Softplus(a.Float "beta", a.Float "threshold"))
            "softmax", told (fun a x -> x.Softmax(a.Int "dim"))
            "log_softmax", told (fun a x -> x.LogSoftmax(a.Int "dim"))

            // Reductions
            "sum", folded (fun x axes keep -> x.Sum(axes, keep))
            "mean", folded (fun x axes keep -> x.Mean(axes, keep))
            "prod", folded (fun x axes keep -> x.Prod(axes, keep))
            "amax", folded (fun x axes keep -> x.Max(axes, keep))
            "logsumexp", folded (fun x axes keep -> x.LogSumExp(axes, keep))
            "var", told (fun a x -> x.Variance(a.Axes "dim", a.Int "correction", a.Flag "keepdim"))
            "std", told (fun a x -> x.Std(a.Axes "dim", a.Int "correction", a.Flag "keepdim"))
            "norm",
            told (fun a x ->
                let order = if a.IsNumber "ord" then a.Float "ord" else infinity
                x.Norm(order, a.Axes "dim", a.Flag "keepdim"))
            "argmax", told (fun a x -> x.ArgMax(toNullable (a.TryInt "dim"), a.Flag "keepdim"))
            "max", extreme _.Max() (fun x axis keep -> x.MaxWithIndices(axis, keep))
            "min", extreme _.Min() (fun x axis keep -> x.MinWithIndices(axis, keep))

            "cumsum", told (fun a x -> x.CumSum(a.Int "dim"))
            "cosine_similarity",
            (fun case x ->
                [|
                    Tensor.CosineSimilarity(x[0], x[1], case.Attributes.Int "dim", case.Attributes.Float "eps")
                |])

            // Products
            "einsum", (fun case x -> [| Tensor.Einsum(case.Attributes.Text "equation", x) |])
            "matmul", two (fun x y -> x.Matmul y)
            "bmm", two (fun x y -> x.Matmul y)
            "outer", two (fun x y -> x.Outer y)

            // Views and joining
            "reshape", told (fun a x -> x.Reshape(a.Ints "shape"))
            "expand", told (fun a x -> x.Expand(a.Ints "shape"))
            "permute", told (fun a x -> x.Permute(a.Ints "dims"))
            "transpose", told (fun a x -> x.Transpose(a.Int "dim0", a.Int "dim1"))
            "squeeze", told squeezed
            "slice", told cut
            "flip", told (fun a x -> x.Flip(a.Ints "dims"))
            "roll", told (fun a x -> x.Roll(a.Ints "shifts", a.Ints "dims"))
            "repeat", told (fun a x -> x.Repeat(a.Ints "repeats"))
            "tile", told (fun a x -> x.Tile(a.Ints "reps"))
            "pad", told padded
            "tril", told (fun a x -> x.Tril(a.Int "diagonal"))
            "triu", told (fun a x -> x.Triu(a.Int "diagonal"))
            "concat", (fun case x -> [| Tensor.Concat(case.Attributes.Int "dim", x) |])
            "stack", (fun case x -> [| Tensor.Stack(case.Attributes.Int "dim", x) |])
            "split", (fun case x -> x[0].Split(case.Attributes.Ints "sizes", case.Attributes.Int "dim"))

            "upsample",
            told (fun a x ->
                let interpolation =
                    match a.Text "mode" with
                    | "nearest" -> Interpolation.Nearest
                    | _ when a.Flag "align_corners" -> Interpolation.LinearAligned
                    | _ -> Interpolation.Linear

                x.Resize(a.Ints "size", interpolation))

            // Indexing
            "gather", (fun case x -> [| x[0].Gather(x[1], case.Attributes.Int "dim") |])
            "scatter_add", (fun case x -> [| x[0].ScatterAdd(x[1], x[2], case.Attributes.Int "dim") |])
            "index_select", (fun case x -> [| x[0].Take(x[1], case.Attributes.Int "dim") |])
            "embedding",
            (fun case x ->
                [|
                    Tensor.Embedding(x[1], x[0], toNullable (case.Attributes.TryInt "padding_idx"))
                |])

            // Second order
            "hvp_exp", one _.Exp()
            "hvp_log", one _.Log()
            "hvp_sin", one _.Sin()
            "hvp_tanh", one _.Tanh()
            "hvp_sigmoid", one _.Sigmoid()
            "hvp_silu", one _.Silu()
            "hvp_gelu", one _.Gelu()
            "hvp_softplus", one _.Softplus()
            "hvp_mul", two (fun x y -> x * y)
            "hvp_div", two (fun x y -> x / y)
            "hvp_pow", two (fun x y -> x.Pow y)
            "hvp_matmul", two (fun x y -> x.Matmul y)
            "hvp_conv2d", two (fun x w -> Tensor.Convolution(x, w, null, Window(Padding = Padding.op_Implicit 1)))
            "hvp_logsumexp", one _.LogSumExp(-1)
            "hvp_softmax", one _.Softmax()
            "hvp_norm", one _.Norm()
            "hvp_mlp", perceptron

            // Losses
            "mse", pair Loss.Each.mse
            "l1", pair Loss.Each.l1
            "huber", reduced (fun case x -> Loss.Each.huber (case.Attributes.Float "delta") x[0] x[1])
            "smooth_l1",
            reduced (fun case x ->
                let beta = case.Attributes.Float "beta"

                if beta = 0.0 then
                    Loss.Each.l1 x[0] x[1]
                else
                    Loss.Each.huber beta x[0] x[1] / beta)
            "bce",
            reduced (fun _ x ->
                let losses = Loss.Each.binaryCrossEntropy x[0] x[1]
                if x.Length > 2 then losses * x[2] else losses)
            "bce_with_logits",
            reduced (fun _ x ->
                if x.Length > 2 then
                    Loss.Each.bceWithLogitsWeighted x[2] x[0] x[1]
                else
                    Loss.Each.bceWithLogits x[0] x[1])
            "kl_div",
            reduced (fun case x ->
                if case.Attributes.Flag "log_target" then
                    Loss.Each.klDivergenceOfLogs x[0] x[1]
                else
                    Loss.Each.klDivergence x[0] x[1])
            "nll", classified id
            "cross_entropy", crossEntropy

            // Runs
            for op in Trajectories.optimisers do
                op, Trajectories.optimise op
            "lr_step",
            Trajectories.schedule (fun a -> Schedule.step (a.Float "lr") (a.Int "step_size") (a.Float "gamma"))
            "lr_cosine",
            Trajectories.schedule (fun a -> Schedule.cosineTo (a.Float "eta_min") (a.Float "lr") (a.Int "T_max"))
            "lr_one_cycle",
            Trajectories.schedule (fun a ->
                Schedule.oneCycle (
                    a.Float "max_lr",
                    a.Int "total_steps",
                    a.Float "pct_start",
                    a.Float "div_factor",
                    a.Float "final_div_factor",
                    (a.Text "anneal_strategy" = "linear")
                ))
            "lr_multistep",
            Trajectories.schedule (fun a ->
                Schedule.multiStep (a.Float "lr") (List.ofArray (a.Ints "milestones")) (a.Float "gamma"))
            "lr_plateau", Trajectories.plateau
            "lr_exponential", Trajectories.schedule (fun a -> Schedule.exponential (a.Float "lr") (a.Float "gamma"))
            "lr_linear_warmup",
            Trajectories.schedule (fun a ->
                let rate = a.Float "lr"
                Schedule.linear (rate * a.Float "start_factor") (rate * a.Float "end_factor") (a.Int "total_iters"))
        ]
