namespace Functional

/// How many inputs each output of a layer sees, and how many outputs each input reaches.
[<Struct>]
type Fans = { In: int; Out: int }

/// Draws the first value of a parameter.
type Initialiser = Key -> Fans -> Shape -> Tensor

/// First values of parameters.
module Init =
    /// Every element the same.
    let constant (value: float) : Initialiser =
        fun _ _ shape -> Tensor.Full(shape, value)

    let zeros: Initialiser = constant 0.0

    let ones: Initialiser = constant 1.0

    /// Uniform in [−bound, bound].
    let uniform (bound: float) : Initialiser =
        fun key _ shape -> key.Uniform(shape, -bound, bound)

    /// Normal with mean 0.
    let normal (deviation: float) : Initialiser =
        fun key _ shape -> key.Normal(shape, 0.0, deviation)

    /// Uniform in ±√(6 / (in + out)), which keeps the variance both ways (Glorot and Bengio, 2010).
    let glorotUniform: Initialiser =
        fun key fans shape -> uniform (sqrt (6.0 / float (fans.In + fans.Out))) key fans shape

    /// Normal with variance 2 / (in + out) (Glorot and Bengio, 2010).
    let glorotNormal: Initialiser =
        fun key fans shape -> normal (sqrt (2.0 / float (fans.In + fans.Out))) key fans shape

    /// Uniform in ±√(6 / in), for ReLU (He et al., 2015).
    let heUniform: Initialiser =
        fun key fans shape -> uniform (sqrt (6.0 / float fans.In)) key fans shape

    /// Normal with variance 2 / in, for ReLU (He et al., 2015).
    let heNormal: Initialiser =
        fun key fans shape -> normal (sqrt (2.0 / float fans.In)) key fans shape

    /// Uniform in ±1/√in, for weights and biases alike.
    let fanInUniform: Initialiser =
        fun key fans shape -> uniform (1.0 / sqrt (float (max 1 fans.In))) key fans shape

    /// Normal with variance 1 / in (LeCun et al., 1998).
    let lecunNormal: Initialiser =
        fun key fans shape -> normal (sqrt (1.0 / float fans.In)) key fans shape
