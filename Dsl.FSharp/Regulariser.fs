namespace Functional

/// What a parameter adds to the loss: a scalar made of differentiable operations.
type Regulariser = Tensor -> Tensor

/// Penalties as part of the loss. As part of the optimiser, before a method, they are in `Penalty`.
module Regulariser =
    /// share·Σ|p|, which drives parameters to 0.
    let l1 (share: float) : Regulariser = fun p -> share * p.Abs().Sum()

    /// share/2·Σp², whose gradient is share·p.
    let l2 (share: float) : Regulariser = fun p -> 0.5 * share * p.Square().Sum()
