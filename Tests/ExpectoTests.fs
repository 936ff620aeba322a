/// The stand-in of Expecto tests itself: an error here would make every other test worthless.
module Functional.Tests.ExpectoTests

open System.IO
open Expecto

/// Runs tests apart from the running ones: exit code, passed and failed as the summary counts them, and the output.
let private run argv tests =
    let counts = ref (-1, -1)

    let remember =
        SummaryHandler(fun summary ->
            counts.Value <- (summary.passed.Length, summary.failed.Length + summary.errored.Length))

    use out = new StringWriter()

    let exitCode =
        runTestsTo out [ JoinWith "/"; Append_Summary_Handler remember ] argv tests

    exitCode, counts.Value, out.ToString()

let private small =
    testList
        "small"
        [
            testList "left" [ testCase "a" ignore; testCase "ab" ignore ]
            testList "right" [ testCase "b" ignore ]
        ]

let private mixed =
    testList
        "mixed"
        [
            testCase "good" ignore
            testCase "wrong" (fun () -> Expect.equal 1 2 "one is not two")
            testCase "raises" (fun () -> invalidOp "broken")
            testCase "skips" (fun () -> skiptest "not today")
            ptestCase "pending" (fun () -> failtest "must not run")
        ]

let private falsifiable =
    testList "p" [ testProperty "below 10" (fun (n: int) -> n < 10) ]

/// The value that follows a word in a text, up to the end of its line.
let private after (word: string) (text: string) =
    let start = text.IndexOf(word, System.StringComparison.Ordinal)
    Expect.isGreaterThanOrEqual start 0 (sprintf "\"%s\" in the output" word)
    let line = text.Substring(start + word.Length).Split '\n' |> Array.head
    line.Trim()

let private failing (expectation: unit -> unit) =
    Expect.throwsT<AssertException> expectation "the expectation must fail"

[<Tests>]
let tests =
    testList
        "expecto stand-in"
        [
            test "counts and exit codes" {
                let exitCode, counts, output = run [||] mixed
                Expect.equal (exitCode, counts) (1, (1, 2)) "one passes, two fail, two are skipped"
                Expect.stringContains output "mixed/wrong failed" "the failure has its path"
                Expect.stringContains output "one is not two" "and its message"
                Expect.stringContains output "broken" "an exception has its message"
                let exitCode, counts, _ = run [||] small
                Expect.equal (exitCode, counts) (0, (3, 0)) "all pass"
            }

            test "filters" {
                let paths argv =
                    let exitCode, _, output = run (Array.append argv [| "--list-tests" |]) small
                    Expect.equal exitCode 0 "listing succeeds"
                    output.Split('\n', System.StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

                Expect.equal (paths [||]) [ "small/left/a"; "small/left/ab"; "small/right/b" ] "all"
                Expect.equal (paths [| "--filter"; "small/left" |]) [ "small/left/a"; "small/left/ab" ] "path"
                Expect.equal (paths [| "--filter-test-list"; "igh" |]) [ "small/right/b" ] "list"
                Expect.equal (paths [| "--filter-test-case"; "b" |]) [ "small/left/ab"; "small/right/b" ] "case"
                Expect.equal (paths [| "--run"; "small/left/a" |]) [ "small/left/a" ] "exact"

                Expect.equal
                    (paths [| "--filter"; "small/left"; "--filter-test-case"; "b" |])
                    [ "small/left/ab" ]
                    "filters add up"
            }

            test "wrong command lines" {
                for argv in [ [| "--flter"; "a" |]; [| "--filter" |]; [| "--fscheck-max-tests"; "many" |] ] do
                    let exitCode, counts, output = run argv small
                    Expect.equal (exitCode, counts) (2, (-1, -1)) "nothing runs"
                    Expect.stringContains output "--filter-test-list" "the options are listed"
            }

            test "equal paths are refused" {
                let exitCode, _, output =
                    run [||] (testList "t" [ testCase "a" ignore; testCase "a" ignore ])

                Expect.equal exitCode 2 "exit code"
                Expect.stringContains output "t/a" "the path is named"
            }

            test "a falsified property is shrunk and can be replayed" {
                let exitCode, counts, output = run [||] falsifiable
                Expect.equal (exitCode, counts) (1, (0, 1)) "it fails"
                Expect.equal (after "Case:" output) "10" "the smallest case"
                let command = after "Again: dotnet run -c Release --project Tests -- " output
                Expect.stringStarts command "--run \"p/below 10\"" "the command names the test"

                let argv =
                    [|
                        "--run"
                        "p/below 10"
                        "--fscheck-replay"
                        (after "--fscheck-replay" command)
                    |]

                let _, _, again = run argv falsifiable
                Expect.stringContains again "Falsified after 1 tests" "the first case of the replay fails"
                Expect.equal (after "Case:" again) "10" "and shrinks to the same"
            }

            test "the number of cases" {
                let count = ref 0

                let counted =
                    testProperty "counted" (fun (_: int) ->
                        count.Value <- count.Value + 1
                        true)

                let own =
                    testPropertyWithConfig
                        { FsCheckConfig.defaultConfig with
                            maxTest = 7
                        }
                        "own"
                        (fun (_: int) -> count.Value <- count.Value + 1)

                run [||] counted |> ignore
                Expect.equal count.Value 100 "the default"
                run [| "--fscheck-max-tests"; "13" |] counted |> ignore
                Expect.equal count.Value 113 "the command line's"
                run [| "--fscheck-max-tests"; "13" |] own |> ignore
                Expect.equal count.Value 120 "the property's own"
            }

            test "focus and pending" {
                let _, counts, _ =
                    run [||] (testList "t" [ ftestCase "a" ignore; testCase "b" (fun () -> failtest "must not run") ])

                Expect.equal counts (1, 0) "only the focused one"
            }

            test "expectations fail" {
                failing (fun () -> Expect.equal "abc" "abd" "")
                failing (fun () -> Expect.notEqual 1 1 "")
                failing (fun () -> Expect.isTrue false "")
                failing (fun () -> Expect.isFalse true "")
                failing (fun () -> Expect.isSome None "")
                failing (fun () -> Expect.isNone (Some 1) "")
                failing (fun () -> Expect.isOk (Error 1) "")
                failing (fun () -> Expect.isError (Ok 1) "")
                failing (fun () -> Expect.throws ignore "")
                failing (fun () -> Expect.throwsT<System.ArgumentException> (fun () -> invalidOp "x") "")
                failing (fun () -> Expect.throwsC ignore ignore)
                failing (fun () -> Expect.floatClose Accuracy.low 1.0 1.01 "")
                failing (fun () -> Expect.floatClose Accuracy.low nan nan "")
                failing (fun () -> Expect.floatClose Accuracy.low infinity infinity "")
                failing (fun () -> Expect.sequenceEqual [ 1; 2 ] [ 1 ] "")
                failing (fun () -> Expect.sequenceEqual [ 1; 2 ] [ 1; 3 ] "")
                failing (fun () -> Expect.stringContains "abc" "d" "")
                failing (fun () -> Expect.isEmpty [ 1 ] "")
                failing (fun () -> Expect.isNonEmpty [] "")
                failing (fun () -> Expect.hasLength [ 1 ] 2 "")
                failing (fun () -> Expect.contains [ 1 ] 2 "")
                failing (fun () -> Expect.containsAll [ 1 ] [ 1; 2 ] "")
                failing (fun () -> Expect.all [ 1; 2 ] (fun n -> n = 1) "")
                failing (fun () -> Expect.exists [ 1; 2 ] (fun n -> n = 3) "")
                failing (fun () -> Expect.isLessThan 1 1 "")
                failing (fun () -> Expect.isLessThanOrEqual 2 1 "")
                failing (fun () -> Expect.isGreaterThan 1 1 "")
                failing (fun () -> Expect.isGreaterThanOrEqual 1 2 "")
                failing (fun () -> Expect.isLessThan nan 1.0 "")
                failing (fun () -> Expect.isAscending [ 2; 1 ] "")
            }

            test "expectations hold" {
                Expect.equal [ 1; 2 ] [ 1; 2 ] ""
                Expect.floatClose Accuracy.high 1.0 (1.0 + 1e-9) ""
                Expect.sequenceEqual [ 1; 2 ] [ 1; 2 ] ""
                Expect.throwsT<System.InvalidOperationException> (fun () -> invalidOp "x") ""
                Expect.throwsC (fun () -> invalidOp "x") (fun e -> Expect.equal e.Message "x" "")
                Expect.isAscending [ 1; 1; 2 ] ""
                Expect.equal (Expect.wantSome (Some 1) "") 1 ""
            }
        ]
