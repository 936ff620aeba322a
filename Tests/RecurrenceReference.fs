/// Recurrent networks, one number at a time.
module Functional.Tests.RecurrenceReference

open Functional.Tests.Plain

let private sigmoid x = 1.0 / (1.0 + exp -x)

/// row·weight + bias
let private affine (row: int -> float) (weight: Plain) (bias: Plain) =
    Array.init weight.Shape[1] (fun j ->
        sum [| for i in 0 .. weight.Shape[0] - 1 -> row i * at weight [| i; j |] |]
        + bias.Values[j])

/// The cell, from what inputs and state give to the new state and cell, the gates and the hidden product.
type private Step =
    {
        Inputs: float[]
        Hidden: float[]
        State: float[]
        Cell: float[]
    }

let private block units i (values: float[]) =
    values[i * units .. (i + 1) * units - 1]

let private simple units step =
    let state = Array.map2 (fun a b -> tanh (a + b)) step.Inputs step.Hidden
    state, step.Cell, [||], [||]

let private lstm units step =
    let gate f i =
        Array.map2 (fun a b -> f (a + b)) (block units i step.Inputs) (block units i step.Hidden)

    let i, f, g, o = gate sigmoid 0, gate sigmoid 1, gate tanh 2, gate sigmoid 3
    let cell = Array.init units (fun u -> f[u] * step.Cell[u] + i[u] * g[u])
    Array.map2 (fun o c -> o * tanh c) o cell, cell, Array.concat [ i; f; g; o ], [||]

let private gru units step =
    let gate i =
        Array.map2 (fun a b -> sigmoid (a + b)) (block units i step.Inputs) (block units i step.Hidden)

    let r, z = gate 0, gate 1
    let product = block units 2 step.Hidden
    let inputs = block units 2 step.Inputs
    let n = Array.init units (fun u -> tanh (inputs[u] + r[u] * product[u]))

    let state = Array.init units (fun u -> (1.0 - z[u]) * n[u] + z[u] * step.State[u])

    state, step.Cell, Array.concat [ r; z; n ], product

let private run cell gates hasCell (_: Attributes) (x: Plain[]) =
    let sequence, wx, wh, bx, bh, h0 = x[0], x[1], x[2], x[3], x[4], x[5]
    let units = wh.Shape[0]
    let batch, steps = sequence.Shape[0], sequence.Shape[1]
    let floats = if hasCell then 7 else 6
    let lengths = if x.Length > floats then Some x[floats].Values else None
    let none size : float[] = Array.zeroCreate size

    let results =
        Array.init batch (fun n ->
            let first (p: Plain) = block units n p.Values
            let mutable state = first h0
            let mutable memory = if hasCell then first x[6] else none units

            Array.init steps (fun t ->
                if lengths |> Option.exists (fun lengths -> float t >= lengths[n]) then
                    state, memory, none (gates * units), none units
                else
                    let next, cell, all, product =
                        cell
                            units
                            {
                                Inputs = affine (fun i -> at sequence [| n; t; i |]) wx bx
                                Hidden = affine (fun i -> state[i]) wh bh
                                State = state
                                Cell = memory
                            }

                    state <- next
                    memory <- cell
                    next, cell, all, product))

    let gather size pick =
        {
            Shape = [| batch; steps; size |]
            Values = results |> Array.collect (Array.collect pick)
        }

    let states = gather units (fun (s, _, _, _) -> s)
    let cells = gather units (fun (_, c, _, _) -> c)
    let all = gather (gates * units) (fun (_, _, g, _) -> g)
    let products = gather units (fun (_, _, _, p) -> p)

    match gates with
    | 1 -> [| states |]
    | 4 -> [| states; cells; all |]
    | _ -> [| states; all; products |]

let all: Map<string, Attributes -> Plain[] -> Plain[]> =
    Map [ "rnn", run simple 1 false; "lstm", run lstm 4 true; "gru", run gru 3 false ]
