/// What stands behind the layers that leave something out in training: zero with probability `rate`, else x / (1 − rate); in inference, x.
module internal Functional.Dropping

open Functional.Composition
open Functional.Layer

let private dropping name place rate (drop: Tensor -> Key -> Tensor) =
    if not (rate >= 0.0 && rate < 1.0) then
        invalidArg (nameof rate) $"{name}: the rate must be in [0, 1); got {rate}. Give the share that is dropped."

    { ofFunction name place id with
        IsRandom = true
        Apply =
            fun mode _ state x ->
                match mode with
                | Train key -> drop x key, state
                | Infer -> x, state
    }

/// One draw for the first axes, of which the others share it.
let private sharing axes rate (x: Tensor) key =
    let sizes = Array.init x.Rank (fun i -> if i < axes then x.Shape[i] else 1)
    x * Tensor.Ones(Shape.Of sizes, x.DType).Dropout(rate, key)

let elements place rate =
    dropping "dropout" place rate (fun x key -> x.Dropout(rate, key))

let channels place rate =
    let name = "spatialDropout"

    let checkedInput (x: Tensor) =
        if x.Rank < 3 then
            raise (
                ShapeException
                    $"{name} expects channels and what lies in them, got {text (Shape.Of(x.Shape.Sizes.Slice 1))}; use dropout"
            )

        x

    let layer = dropping name place rate (sharing 2 rate)

    { layer with
        Apply = fun mode parameters state x -> layer.Apply mode parameters state (checkedInput x)
    }

let examples place rate =
    dropping "stochasticDepth" place rate (sharing 1 rate)
