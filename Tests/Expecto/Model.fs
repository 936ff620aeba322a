namespace Expecto

open System
open System.Threading

/// What FsCheck counted while it tried a property.
type FsCheckTestData =
    {
        NumberOfTests: int
        NumberOfShrinks: int
        Stamps: seq<int * string list>
        Labels: Set<string>
    }

/// How FsCheck tries a property: how often, how large, from which seed, with which generators.
type FsCheckConfig =
    {
        maxTest: int
        startSize: int
        endSize: int
        /// Seed, gamma and, where only the one failing case is wanted, its size.
        replay: (uint64 * uint64 * int option) option
        arbitrary: Type list
        receivedArgs: FsCheckConfig -> string -> int -> obj list -> Async<unit>
        successfulShrink: FsCheckConfig -> string -> obj list -> Async<unit>
        finishedTest: FsCheckConfig -> string -> FsCheckTestData -> Async<unit>
        quietOnSuccess: bool
        maxRejected: int
    }

    static member defaultConfig =
        {
            maxTest = 200
            startSize = 1
            endSize = 100
            replay = None
            arbitrary = []
            receivedArgs = fun _ _ _ _ -> async.Return()
            successfulShrink = fun _ _ _ -> async.Return()
            finishedTest = fun _ _ _ -> async.Return()
            quietOnSuccess = true
            maxRejected = 1000
        }

/// The code of a test. A property takes its configuration from the runner unless it brings its own.
type TestCode =
    | Sync of stest: (unit -> unit)
    | SyncWithCancel of stest: (CancellationToken -> unit)
    | Async of atest: Async<unit>
    | AsyncFsCheck of
        testConfig: FsCheckConfig option *
        stressConfig: FsCheckConfig option *
        test: (FsCheckConfig -> Async<unit>)

/// Pending tests are skipped; where any test is focused, only the focused ones run.
type FocusState =
    | Normal
    | Pending
    | Focused

type SequenceMethod =
    | Synchronous
    | SynchronousGroup of string
    | InParallel

/// Tests are values: a tree of cases, lists and labels.
type Test =
    | TestCase of code: TestCode * state: FocusState
    | TestList of tests: Test list * state: FocusState
    | TestLabel of label: string * test: Test * state: FocusState
    | Sequenced of SequenceMethod * Test

/// One case of the tree with the labels on the way to it.
type FlatTest =
    {
        name: string list
        test: TestCode
        state: FocusState
        focusOn: bool
        sequenced: SequenceMethod
    }

type ExpectoException(msg: string) =
    inherit Exception(msg)

/// An expectation that did not hold.
type AssertException(msg: string) =
    inherit ExpectoException(msg)

/// A failure whose stack trace says nothing, such as a falsified property.
type FailedException(msg: string) =
    inherit ExpectoException(msg)

/// A test that skips itself.
type IgnoreException(msg: string) =
    inherit ExpectoException(msg)

/// Marks a value as tests of this assembly.
[<AttributeUsage(AttributeTargets.Method ||| AttributeTargets.Property ||| AttributeTargets.Field)>]
type TestsAttribute() =
    inherit Attribute()

/// Marks a value as tests that are pending.
[<AttributeUsage(AttributeTargets.Method ||| AttributeTargets.Property ||| AttributeTargets.Field)>]
type PTestsAttribute() =
    inherit Attribute()

/// Marks a value as tests that are focused.
[<AttributeUsage(AttributeTargets.Method ||| AttributeTargets.Property ||| AttributeTargets.Field)>]
type FTestsAttribute() =
    inherit Attribute()

/// How close two floats must be: |a − b| ≤ absolute + relative · max(|a|, |b|).
type Accuracy = { absolute: float; relative: float }

[<RequireQualifiedAccess>]
module Accuracy =
    let areCloseLhs a b = abs (a - b)

    let areCloseRhs accuracy a b =
        accuracy.absolute + accuracy.relative * max (abs a) (abs b)

    let areClose accuracy a b =
        areCloseLhs a b <= areCloseRhs accuracy a b

    let low = { absolute = 1e-6; relative = 1e-3 }

    let medium = { absolute = 1e-8; relative = 1e-5 }

    let high = { absolute = 1e-10; relative = 1e-7 }

    let veryHigh = { absolute = 1e-12; relative = 1e-9 }

[<RequireQualifiedAccess>]
module Test =
    /// A pending parent stops everything below it, a focused one lends its focus.
    let private combine parent child =
        match parent, child with
        | Pending, _
        | _, Pending -> Pending
        | Focused, _
        | _, Focused -> Focused
        | Normal, Normal -> Normal

    /// The cases of the tree from left to right.
    let toTestCodeList test =
        let rec walk labels state sequenced test =
            match test with
            | TestCase(code, own) ->
                [
                    {
                        name = List.rev labels
                        test = code
                        state = combine state own
                        focusOn = false
                        sequenced = sequenced
                    }
                ]
            | TestList(tests, own) -> tests |> List.collect (walk labels (combine state own) sequenced)
            | TestLabel(label, inner, own) -> walk (label :: labels) (combine state own) sequenced inner
            | Sequenced(how, inner) -> walk labels state how inner

        let flat = walk [] Normal InParallel test
        let anyFocused = flat |> List.exists (fun t -> t.state = Focused)

        flat |> List.map (fun t -> { t with focusOn = anyFocused })
