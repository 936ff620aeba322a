namespace Functional.Tests.Laws

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open Functional
open Functional.Autodiff

/// What is drawn for a law: a seed, and a size that bounds the shapes. It shrinks in size.
[<StructuredFormatDisplay("seed {Seed}, size {Size}")>]
type Case = { Seed: uint64; Size: int }

/// One valid application of an operation, drawn from its domain.
type Drawn =
    {
        Op: Op
        Inputs: Tensor[]
        Attributes: string
        Case: Case
    }

    /// A generator for whatever else a law needs; different salts draw differently.
    member sample.Draw salt =
        Draw(sample.Case.Seed ^^^ (salt * 0x9E3779B97F4A7C15UL), sample.Case.Size)

/// A statement about every operation: `Check` fails where it does not hold.
type Law =
    {
        Name: string
        /// How many cases are drawn of each operation.
        Cases: int
        Check: Drawn -> unit
    }

module Drawn =
    let draw (op: Op) case =
        let example = op.Sample.Invoke(Draw(case.Seed, case.Size))

        {
            Op = example.Op
            Inputs = example.Inputs
            Attributes = example.Attributes
            Case = case
        }

    let describe (x: Tensor) =
        let layout =
            if x.IsContiguous then
                ""
            else
                sprintf " with strides %A" (List.ofArray x.Strides)

        sprintf "%O%s" x layout

    /// Operation, attributes, inputs and the line that draws the same again.
    let explain sample =
        [
            $"operation {sample.Op.Name}"
            if sample.Attributes <> "" then
                $"attributes {sample.Attributes}"
            for i, x in Array.indexed sample.Inputs do
                $"input {i}: {describe x}"
            $"drawn by Functional.Ops.Registry.Named(\"{sample.Op.Name}\").Sample.Invoke(Draw({sample.Case.Seed}UL, {sample.Case.Size}))"
        ]
        |> String.concat "\n"

module Law =
    let private shrink case =
        seq {
            for size in 1 .. case.Size - 1 do
                for seed in Seq.append [ case.Seed ] (Seq.init 12 uint64) do
                    { Seed = seed; Size = size }
        }

    let private generate =
        Gen.sized (fun size ->
            Gen.choose (0, Int32.MaxValue)
            |> Gen.map (fun seed -> { Seed = uint64 seed; Size = size }))

    let cases = Arb.fromGenShrink (generate, shrink)

    /// The number of cases that the command line asks for; it goes before every law's own.
    let private asked =
        Environment.GetCommandLineArgs()
        |> Array.pairwise
        |> Array.tryPick (fun (word, value) ->
            if word = "--fscheck-max-tests" then
                Some(int value)
            else
                None)

    /// So many cases, unless the command line asks for another number.
    let countOr count = defaultArg asked count

    /// Sizes from 1 to 6: shapes of up to three axes of up to seven elements.
    let config count =
        { FsCheckConfig.defaultConfig with
            maxTest = countOr count
            startSize = 1
            endSize = 6
        }

    let private checkSample law (sample: Drawn) =
        try
            Memory.Tidy(Action(fun () -> law.Check sample))
        with
        | :? IgnoreException -> reraise ()
        | error ->
            let what =
                match error with
                | :? AssertException
                | :? FailedException -> error.Message
                | _ -> string error

            failtestNoStackf "%s\n%s" what (Drawn.explain sample)

    /// The law for one case of an operation.
    let check law op case = checkSample law (Drawn.draw op case)

    /// The law for every operation of the registry.
    let tests law =
        testList
            law.Name
            [
                for op in Functional.Ops.Registry.All ->
                    testPropertyWithConfig (config law.Cases) op.Name (Prop.forAll cases (check law op))
            ]
