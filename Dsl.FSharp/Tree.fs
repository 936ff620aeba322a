namespace Functional

/// A named, ordered, immutable tree: parameters, state, gradients and moments are all of this shape.
type Tree<'T> =
    | Leaf of 'T
    | Node of (string * Tree<'T>) list
