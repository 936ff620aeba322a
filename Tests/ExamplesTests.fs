/// The console of the examples: what it refuses, and what it writes.
module Functional.Tests.ExamplesTests

open System
open System.IO
open System.Text.Json
open Expecto
open Functional.Examples

/// What a function gives, and what it writes to standard output and standard error meanwhile.
let private captured f =
    let out, error = Console.Out, Console.Error
    use written = new StringWriter()
    use complained = new StringWriter()

    try
        Console.SetOut written
        Console.SetError complained
        let result = f ()
        result, string written, string complained
    finally
        Console.SetOut out
        Console.SetError error

/// Exit code, standard output and standard error of a command line.
let private run (arguments: string list) =
    captured (fun () -> Program.main (Array.ofList arguments))

let private refused arguments (parts: string list) =
    let code, _, complaint = run arguments
    Expect.equal code 2 $"exit code of {arguments}"

    for part in parts do
        Expect.stringContains complaint part $"the complaint about {arguments}"

let private inFolder (f: string -> unit) =
    let folder = Directory.CreateTempSubdirectory("functional-examples-").FullName

    try
        f folder
    finally
        Directory.Delete(folder, true)

[<Tests>]
let tests =
    testSequenced
    <| testList
        "examples"
        [
            testCase "the list names every example" (fun () ->
                let code, text, _ = run [ "list" ]
                Expect.equal code 0 "exit code"

                for name in [ "mnist-sgd"; "mnist-adam"; "mnist-deep"; "--epochs"; "--small" ] do
                    Expect.stringContains text name "the list")

            testCase "every example is a script of under 100 lines, too" (fun () ->
                // Variants such as translate-gru are parts of the one whose name they begin with.
                let names = Program.experiments |> List.map _.Name

                let isVariant (name: string) =
                    names |> List.exists (fun other -> name.StartsWith(other + "-"))

                for name in names |> List.filter (isVariant >> not) do
                    let path = Path.Combine(Sources.root, "Examples", $"{name}.fsx")
                    Expect.isTrue (File.Exists path) $"{name}.fsx is there"
                    let lines = File.ReadAllLines path
                    Expect.isLessThan lines.Length 100 $"lines of {name}.fsx"
                    let text = String.concat "\n" lines
                    Expect.stringContains text "--small" $"{name}.fsx has a short run"

                    Expect.stringContains text $"Examples/{name}.fsx" $"{name}.fsx says how to run it")

            testCase "an unknown name, option or value is refused with the list of what there is" (fun () ->
                refused [ "mnist" ] [ "'mnist'"; "mnist-adam" ]
                refused [ "mnist-adam"; "--epoch"; "3" ] [ "'--epoch'"; "--epochs" ]
                refused [ "mnist-adam"; "--epochs" ] [ "--epochs needs a value" ]
                refused [ "mnist-adam"; "--epochs"; "0" ] [ "'0'" ]
                refused [ "mnist-adam"; "--threads"; "two" ] [ "'two'" ]
                refused [ "translate"; "--checkpoint"; "file" ] [ "airline"; "california"; "'translate'" ]
                refused [ "mnist-adam"; "--augment" ] [ "cifar-vgg"; "'mnist-adam'" ])

            testCase "what is not a number is null in the results" (fun () ->
                inFolder (fun folder ->
                    let epoch: Functional.Epoch =
                        {
                            Number = 1
                            Loss = nan
                            Metrics = [ "f1", -infinity ]
                            ValidationLoss = Some infinity
                            ValidationMetrics = [ "f1", nan ]
                            Seconds = 0.0
                            Steps = 0
                            Examples = 0
                        }

                    let outcome =
                        {
                            Data = "none"
                            Details = [ "rate", Number nan; "decay", Number 0.5 ]
                            Epochs = [ epoch ]
                            Test = [ "loss", infinity; "f1", 0.25 ]
                            Steps = 0
                            StepSeconds = 0.0
                            Ending = Functional.Finished
                        }

                    let experiment =
                        {
                            Name = "nothing"
                            About = "nothing"
                            Network = fun () -> Functional.Layers.relu
                            Run = fun _ -> outcome
                        }

                    let path = Path.Combine(folder, "run.json")

                    let settings =
                        {
                            Data = None
                            Epochs = None
                            Seed = 1L
                            Threads = 1
                            Small = false
                            Augment = false
                            Checkpoint = None
                            Json = Some path
                        }

                    let (), text, _ = captured (fun () -> Outcome.report experiment settings outcome)
                    Expect.stringContains text "test loss Infinity" "the lines for a reader"
                    use json = JsonDocument.Parse(File.ReadAllText path)
                    let root = json.RootElement

                    let values (element: JsonElement) =
                        [
                            for property in element.EnumerateObject() ->
                                $"{property.Name} {property.Value.GetRawText()}"
                        ]

                    Expect.equal (values (root.GetProperty "settings")) [ "rate null"; "decay 0.5" ] "settings"
                    Expect.equal (values (root.GetProperty "test")) [ "loss null"; "f1 0.25" ] "test"
                    Expect.contains (values root) "stepsPerSecond null" "no step in no time"

                    Expect.equal
                        (values ((root.GetProperty "epochs")[0]))
                        [
                            "loss null"
                            "f1 null"
                            "validationLoss null"
                            "validationF1 null"
                            "seconds 0"
                        ]
                        "epochs"))

            testCase "a damaged data file is refused in one sentence" (fun () ->
                inFolder (fun folder ->
                    let mnist = Directory.CreateDirectory(Path.Combine(folder, "mnist")).FullName
                    File.WriteAllBytes(Path.Combine(mnist, "train-images-idx3-ubyte"), [| 0uy; 0uy; 8uy; 3uy; 0uy |])
                    refused [ "mnist-adam"; "--data"; folder ] [ "train-images-idx3-ubyte" ]))

            testCase "dates are written in letters that are known, and the same key writes the same" (fun () ->
                let key = Functional.Key.OfSeed 3L
                let days = [| 0..37 .. WrittenDates.days - 1 |]
                let pairs = WrittenDates.pairs key days
                Expect.equal (WrittenDates.pairs key days) pairs "the same key"

                for text, iso in pairs do
                    Expect.isTrue
                        (text.Length <= WrittenDates.longest
                         && text |> Seq.forall WrittenDates.letters.Contains)
                        $"'{text}'"

                    Expect.equal iso.Length 10 $"'{iso}'"

                let date = DateTime(1997, 3, 3)
                let ways = [ for way in 40..80 -> WrittenDates.write way date ]

                for text in
                    [
                        "3 March 1997"
                        "Mar 3, 97"
                        "03/03/1997"
                        "Monday 3rd of March 1997"
                        "3.III.1997"
                    ] do
                    Expect.contains ways text "the ways to write it"

                Expect.equal (WrittenDates.iso date) "1997-03-03" "the ISO date")

            testCase "a translation shows where it looks and writes its results" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "run.json")
                    let code, text, complaint = run [ "translate"; "--small"; "--json"; path ]
                    Expect.equal code 0 $"exit code; {complaint}"
                    Expect.stringContains text "where the transformer looks" "the attention map"
                    use json = JsonDocument.Parse(File.ReadAllText path)
                    let test = json.RootElement.GetProperty "test"

                    for name in [ "gruExactMatch"; "transformerExactMatch"; "exactMatch" ] do
                        Expect.isTrue (test.GetProperty(name).GetDouble() >= 0.0) name))

            match Environment.GetEnvironmentVariable "FUNCTIONAL_DATA" with
            | null
            | "" -> ptestCase "a run writes its results ($FUNCTIONAL_DATA is not set)" ignore
            | _ ->
                testCase "a run in two sittings ends with the results of one" (fun () ->
                    inFolder (fun folder ->
                        let results name arguments =
                            let path = Path.Combine(folder, "run.json")
                            let code, _, complaint = run ([ name; "--json"; path ] @ arguments)
                            Expect.equal code 0 $"exit code; {complaint}"
                            use json = JsonDocument.Parse(File.ReadAllText path)
                            json.RootElement.GetProperty("test").GetRawText()

                        for name, first, second in
                            [
                                "airline", [ "--small" ], [ "--epochs"; "1" ]
                                "autoencoder", [ "--small"; "--epochs"; "1" ], [ "--small"; "--epochs"; "2" ]
                            ] do
                            let saved = [ "--checkpoint"; Path.Combine(folder, name) ]
                            let short = results name (first @ saved)
                            let whole = results name (second @ saved)
                            Expect.equal whole (results name second) $"{name}, in one sitting"
                            Expect.equal (results name (second @ saved)) whole $"{name}, with nothing left to do"
                            Expect.notEqual whole short $"{name}, of the first sitting alone"))

                testCase "a run writes its results" (fun () ->
                    inFolder (fun folder ->
                        let path = Path.Combine(folder, "run.json")

                        let code, text, complaint =
                            run [ "mnist-adam"; "--small"; "--epochs"; "1"; "--seed"; "5"; "--json"; path ]

                        Expect.equal code 0 $"exit code; {complaint}"
                        Expect.stringContains text "epoch 1/1" "the line of the epoch"
                        use json = JsonDocument.Parse(File.ReadAllText path)
                        let root = json.RootElement

                        Expect.equal
                            [ for property in root.EnumerateObject() -> property.Name ]
                            [
                                "name"
                                "data"
                                "seed"
                                "threads"
                                "settings"
                                "epochs"
                                "test"
                                "seconds"
                                "stepsPerSecond"
                                "peakMemoryMiB"
                            ]
                            "the keys"

                        let epoch = root.GetProperty("epochs").EnumerateArray() |> Seq.head

                        Expect.equal
                            [ for property in epoch.EnumerateObject() -> property.Name ]
                            [ "loss"; "accuracy"; "validationLoss"; "validationAccuracy"; "seconds" ]
                            "the keys of an epoch"

                        Expect.equal (string (root.GetProperty "data")) "mnist" "the data"

                        let accuracy = root.GetProperty("test").GetProperty("accuracy").GetDouble()
                        Expect.isGreaterThan accuracy 0.8 "a tenth of the data teaches this much"))
        ]
