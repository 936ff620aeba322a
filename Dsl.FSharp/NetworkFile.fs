namespace Functional

open System
open System.Collections.Generic
open Functional.Files

/// What a network has learnt as a file, which NumPy or a safetensors library reads: arrays by their paths, such as "features.conv2.weight".
module NetworkFile =
    let private isNpz (path: string) =
        path.EndsWith(".npz", StringComparison.OrdinalIgnoreCase)

    /// Writes parameters and state, whole or not at all: as .npz where the file is called so, else as safetensors.
    /// `NetworkFile.save "net.safetensors" (run.Parameters, run.State)`
    let save (path: string) (parameters: Tree<Tensor>, state: Tree<Tensor>) =
        let arrays =
            [
                for tree in [ parameters; state ] do
                    for name, tensor in Tree.named tree do
                        tensor.Named name
            ]

        if isNpz path then
            Npz.Write(path, arrays)
        else
            Safetensors.Write(path, arrays)

    /// Parameters and state for `Layer.predict`, from a file that `save` or a training plan with `saveTo` has written. Of a run of training they are those
    /// of the best epoch where it kept them, else the average where it had one, else the last. A file of another network is refused with the paths that differ.
    let load (path: string) (network: Layer) : Tree<Tensor> * Tree<Tensor> =
        let content =
            if isNpz path then
                Checkpoint.ofArrays path (Npz.Read path) (Dictionary())
            else
                let content = Safetensors.Read path
                Checkpoint.ofArrays path content.Arrays content.Metadata

        let parameters, state = Layer.init (Key.OfSeed 0L) network

        let from (prefixes: string list) tree =
            tree
            |> Tree.mapPath (fun path _ ->
                let prefix =
                    prefixes |> List.find (fun prefix -> content.Arrays.ContainsKey(prefix + path))

                content |> Checkpoint.tensor (prefix + path))

        if Checkpoint.isRun content then
            content
            |> Checkpoint.refuseOther "network" [ "parameters.", Tree.named parameters; "state.", Tree.named state ]

            from [ "best.parameters."; "average."; "parameters." ] parameters, from [ "best.state."; "state." ] state
        else
            content
            |> Checkpoint.refuseOther "network" [ "", Tree.named parameters @ Tree.named state ]

            from [ "" ] parameters, from [ "" ] state
