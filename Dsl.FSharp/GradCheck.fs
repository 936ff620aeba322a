namespace Functional

open System
open Functional.Autodiff
open Functional.Verification

/// Checks derivatives of one's own functions and layers: reverse mode against differences, forward mode against reverse mode, second
/// derivatives against differences of the first. What fails is shrunk and printed so that it can be pasted into a script.
[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module GradCheck =
    let private functionOf (f: Tensor list -> Tensor) =
        Func<Tensor[], Tensor[]>(fun x -> [| f (List.ofArray x) |])

    /// f at inputs drawn from shapes: `GradCheck.report (GradCheck()) (fun [ x; w ] -> …) [ [ 2; 3 ]; [ 3; 4 ] ]`.
    let report (check: GradCheck) (f: Tensor list -> Tensor) (shapes: int list list) : GradCheckReport =
        check.Of(functionOf f, shapes |> List.map Shape.Of |> Array.ofList)

    /// f at inputs that the caller draws: integers, masks, shapes that belong together, values inside a domain.
    let reportDrawn (check: GradCheck) (f: Tensor list -> Tensor) (inputs: Draw -> Tensor list) : GradCheckReport =
        check.Of(functionOf f, Func<Draw, Tensor[]>(inputs >> Array.ofList))

    /// Checks a function of tensors of the given shapes; throws a `GradCheckException` that says what is wrong.
    let run (f: Tensor list -> Tensor) (shapes: int list list) : unit =
        (report (GradCheck()) f shapes).ThrowIfFailed()

    /// Checks a function at the given inputs, as a report prints them.
    let at (f: Tensor list -> Tensor) (x: Tensor list) : unit =
        GradCheck().At(functionOf f, Array.ofList x).ThrowIfFailed()

    /// A layer as a function of its input and everything it learns, with the state and the parameters that a seed gives; both as float64.
    let private ofLayer (shape: int list) (layer: Layer) seed =
        let inDouble = Tree.map (fun (t: Tensor) -> t.Cast DType.Float64)
        let mode = Mode.Train(Key.OfSeed 7L)

        let parameters, state =
            Layer.initFor (Shape.Of shape) (Key.OfSeed(int64 seed)) layer

        let parameters, state = inDouble parameters, inDouble state

        let f =
            Func<Tensor[], Tensor[]>(fun leaves ->
                [|
                    Layer.apply mode layer (Tree.rebuild parameters leaves[1..]) state leaves[0]
                    |> fst
                |])

        f, parameters

    let private checkOf (shape: int list) (layer: Layer) =
        let sizes = shape |> List.map string |> String.concat "; "
        GradCheck(Name = $"layer '{layer.Name}'", Call = $"GradCheck.layerAt [ {sizes} ] layer")

    /// Checks a layer for an input's shape at a given batch and given parameters, as a report prints them.
    let layerAt (shape: int list) (layer: Layer) (x: Tensor list) : unit =
        let f, _ = ofLayer shape layer 0
        (checkOf shape layer).At(f, Array.ofList x).ThrowIfFailed()

    /// Checks a layer on batches of an input's shape, with respect to the input and everything it learns.
    let layer (shape: int list) (layer: Layer) : unit =
        let check = checkOf shape layer
        let cases = 12

        let examine case =
            let draw = Draw(uint64 (check.Seed + case), 1 + case % 6, Views = false)
            let f, parameters = ofLayer shape layer case

            // What starts at 0 – a bias – would hide mistakes that its value causes.
            let parameters = parameters |> Tree.map (fun t -> t + 0.1 * draw.Tensor t.Shape)
            let x = draw.Tensor(Shape.Of(draw.Int(2, 3) :: shape))
            check.At(f, Array.append [| x |] (Tree.leaves parameters))

        let found = List.init cases examine

        match found |> List.tryFind (fun report -> not report.Passed && report.Corners = 0) with
        | Some wrong -> wrong.ThrowIfFailed()
        | None when found |> List.forall (fun report -> report.Corners > 0) -> found.Head.ThrowIfFailed()
        | None -> ()
