namespace Functional

open System

/// Derivatives of functions of any tree of tensors. Each is a function from functions to functions, and they nest in any order.
[<AutoOpen>]
module Grad =
    /// f's value at p and its gradient, which is of p's type. f must give a scalar.
    let valueAndGrad (f: 'P -> Tensor) (p: 'P) : Tensor * 'P =
        let struct (value, gradients) =
            Diff.ValueAndGrad(Func<Tensor[], Tensor>(fun leaves -> f (Trees.rebuild p leaves)), Trees.leaves p)

        value, Trees.rebuild p gradients

    /// The same for a function that gives a scalar and something else worth keeping – predictions, new state.
    let valueAndGradAux (f: 'P -> Tensor * 'A) (p: 'P) : Tensor * 'A * 'P =
        let form = ref None

        let inner (leaves: Tensor[]) =
            let value, auxiliary = f (Trees.rebuild p leaves)
            // The value goes with it, so that the rest may hold no tensor at all: a text, a count.
            form.Value <- Some(value, auxiliary)
            struct (value, Trees.leaves (value, auxiliary))

        let struct (value, gradients, kept) =
            Diff.ValueAndGrad(Func<Tensor[], struct (Tensor * Tensor[])> inner, Trees.leaves p)

        let _, auxiliary = Trees.rebuild form.Value.Value kept
        value, auxiliary, Trees.rebuild p gradients

    /// The gradient of a scalar function, as a function: `grad (grad f)` is the second derivative.
    let grad (f: 'P -> Tensor) (p: 'P) : 'P = valueAndGrad f p |> snd

    /// f's value at p and its pullback, which takes cotangents of the value to cotangents of p.
    let vjp (f: 'P -> 'Y) (p: 'P) : 'Y * ('Y -> 'P) =
        let form = ref None

        let inner (leaves: Tensor[]) =
            let y = f (Trees.rebuild p leaves)
            form.Value <- Some y
            Trees.leaves y

        let struct (value, pullback) =
            Diff.Vjp(Func<Tensor[], Tensor[]> inner, Trees.leaves p)

        Trees.rebuild form.Value.Value value,
        (fun cotangent -> Trees.rebuild p (pullback.Invoke(Trees.leaves cotangent)))

    /// f's value at p and its derivative along a direction, in one forward sweep.
    let jvp (f: 'P -> 'Y) (p: 'P) (direction: 'P) : 'Y * 'Y =
        let form = ref None

        let inner (leaves: Tensor[]) =
            let y = f (Trees.rebuild p leaves)
            form.Value <- Some y
            Trees.leaves y

        let struct (value, tangent) =
            Diff.Jvp(Func<Tensor[], Tensor[]> inner, Trees.leaves p, Trees.leaves direction)

        Trees.rebuild form.Value.Value value, Trees.rebuild form.Value.Value tangent

    /// f's value at p and its derivative there as a linear map of directions: f runs once, the map as often as wanted.
    let linearize (f: 'P -> 'Y) (p: 'P) : 'Y * ('P -> 'Y) =
        let form = ref None

        let inner (leaves: Tensor[]) =
            let y = f (Trees.rebuild p leaves)
            form.Value <- Some y
            Trees.leaves y

        let struct (value, tangents) =
            Diff.Linearize(Func<Tensor[], Tensor[]> inner, Trees.leaves p)

        Trees.rebuild form.Value.Value value,
        (fun direction -> Trees.rebuild form.Value.Value (tangents.Invoke(Trees.leaves direction)))

    /// A function of one example as a function of many, which lie along the first axis of every tensor of the argument and of the result.
    /// `vmap (grad loss)` gives a gradient for each example.
    let vmap (f: 'P -> 'Y) (p: 'P) : 'Y =
        let form = ref None

        let inner (leaves: Tensor[]) =
            let y = f (Trees.rebuild p leaves)
            form.Value <- Some y
            Trees.leaves y

        let result = Diff.Vmap(Func<Tensor[], Tensor[]> inner).Invoke(Trees.leaves p)
        Trees.rebuild form.Value.Value result

    /// f in fewer passes over memory: elementwise operations that follow one another become one loop, and so does their derivative. The values are those of f,
    /// and so are all derivatives, in every mode and order; what is not elementwise runs as it is, between the loops.
    let fuse (f: 'P -> 'Y) (p: 'P) : 'Y =
        let form = ref None

        let inner (leaves: Tensor[]) =
            let y = f (Trees.rebuild p leaves)
            form.Value <- Some y
            Trees.leaves y

        let result = Diff.Fuse(Func<Tensor[], Tensor[]> inner).Invoke(Trees.leaves p)
        Trees.rebuild form.Value.Value result

    /// All first derivatives of a function of one tensor, of shape y.Shape + x.Shape; backward or forward, whichever takes fewer sweeps.
    let jacobian (f: Tensor -> Tensor) (x: Tensor) : Tensor =
        Diff.Jacobian(Func<Tensor, Tensor> f).Invoke x

    /// All second derivatives of a scalar function of one tensor, of shape x.Shape + x.Shape.
    let hessian (f: Tensor -> Tensor) (x: Tensor) : Tensor =
        Diff.Hessian(Func<Tensor, Tensor> f).Invoke x

    /// The Hessian of a scalar function times a direction, without the matrix.
    let hvp (f: 'P -> Tensor) (p: 'P) (direction: 'P) : 'P =
        Diff.Hvp(
            Func<Tensor[], Tensor>(fun leaves -> f (Trees.rebuild p leaves)),
            Trees.leaves p,
            Trees.leaves direction
        )
        |> Trees.rebuild p

    /// The same value, through which nothing flows back.
    let stopGradient (tree: 'P) : 'P = Trees.map Diff.StopGradient tree

    /// f with a derivative given by hand: `rule x y g` gives x's cotangent from y's.
    let customVjp (f: Tensor -> Tensor) (rule: Tensor -> Tensor -> Tensor -> Tensor) : Tensor -> Tensor =
        let custom =
            Diff.CustomVjp(
                Func<Tensor[], Tensor[]>(fun x -> [| f x[0] |]),
                Func<Tensor[], Tensor[], Tensor[], Tensor[]>(fun x y g -> [| rule x[0] y[0] g[0] |])
            )

        fun x -> custom.Invoke([| x |])[0]

    /// f with a derivative given by hand: `rule x y dx` gives y's tangent from x's, linear in it; the way back follows.
    let customJvp (f: Tensor -> Tensor) (rule: Tensor -> Tensor -> Tensor -> Tensor) : Tensor -> Tensor =
        let custom =
            Diff.CustomJvp(
                Func<Tensor[], Tensor[]>(fun x -> [| f x[0] |]),
                Func<Tensor[], Tensor[], Tensor[], Tensor[]>(fun x y dx -> [| rule x[0] y[0] dx[0] |])
            )

        fun x -> custom.Invoke([| x |])[0]

    /// f, whose intermediate values are computed again in the backward pass instead of being kept.
    let checkpoint (f: Tensor -> Tensor) : Tensor -> Tensor =
        let again = Diff.Checkpoint(Func<Tensor[], Tensor[]>(fun x -> [| f x[0] |]))
        fun x -> again.Invoke([| x |])[0]
