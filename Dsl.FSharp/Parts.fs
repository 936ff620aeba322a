namespace Functional

open System.IO

/// What a network is applied for. Only training has randomness, so only training carries a key.
type Mode =
    | Train of Key
    | Infer

/// Where in a script a layer was written.
[<Struct>]
type Place =
    {
        File: string
        Line: int
    }

    override place.ToString() =
        $"{Path.GetFileName place.File}:{place.Line}"

/// A parameter before it has a value.
type Parameter =
    {
        Shape: Shape
        Fans: Fans
        Initialiser: Initialiser
        /// False of what an optimiser must leave alone.
        IsTrained: bool
        /// Added to the loss in training.
        Regularisers: Regulariser list
    }

/// mode → parameters → state → x → y * new state. The first axis of x and y is the batch.
type Apply = Mode -> Tree<Tensor> -> Tree<Tensor> -> Tensor -> Tensor * Tree<Tensor>

/// How a layer is made of others.
type Form =
    /// It is one.
    | Single
    /// One after the other; `>=>` takes it apart and appends.
    | Chain
    /// One after the other, under a name of their own.
    | Block
    /// Side by side on the same input.
    | Branches
