namespace Expecto

open System
open System.Threading.Tasks

/// The words tests are written in.
[<AutoOpen>]
module Tests =
    let failtest (msg: string) = raise (AssertException msg)
    let failtestf fmt = Printf.ksprintf failtest fmt
    let failtestNoStack (msg: string) = raise (FailedException msg)
    let failtestNoStackf fmt = Printf.ksprintf failtestNoStack fmt
    let skiptest (msg: string) = raise (IgnoreException msg)
    let skiptestf fmt = Printf.ksprintf skiptest fmt

    let testLabel name test = TestLabel(name, test, Normal)

    let testList name tests =
        TestLabel(name, TestList(tests, Normal), Normal)

    let ptestList name tests =
        TestLabel(name, TestList(tests, Pending), Pending)

    let ftestList name tests =
        TestLabel(name, TestList(tests, Focused), Focused)

    let private case state name code =
        TestLabel(name, TestCase(code, state), state)

    let testCase name test = case Normal name (Sync test)
    let ptestCase name test = case Pending name (Sync test)
    let ftestCase name test = case Focused name (Sync test)
    let testCaseAsync name test = case Normal name (Async test)
    let ptestCaseAsync name test = case Pending name (Async test)
    let ftestCaseAsync name test = case Focused name (Async test)

    let testCaseWithCancel name test = case Normal name (SyncWithCancel test)

    let testCaseTask name (test: unit -> Task<unit>) =
        testCaseAsync name (async { do! test () |> Async.AwaitTask })

    let testSequenced test = Sequenced(Synchronous, test)

    let testSequencedGroup name test = Sequenced(SynchronousGroup name, test)

    /// One case per pair of a name and the argument of `setup`.
    let testFixture setup cases =
        cases |> Seq.map (fun (name, body) -> testCase name (setup body))

    /// One case per pair of a name and a function of `value`.
    let testParam value cases =
        cases |> Seq.map (fun (name, body) -> testCase name (body value))

    /// One case per value, named by the value.
    let testTheory name cases (test: 'a -> 'b) =
        let label (value: 'a) =
            match box value with
            | null -> "null"
            | :? string as text -> "\"" + text + "\""
            | other -> string other

        cases
        |> Seq.map (fun value -> testCase (label value) (fun () -> test value |> ignore))
        |> List.ofSeq
        |> testList name

    type TestCaseBuilder(name: string, state: FocusState) =
        member _.Zero() = ()
        member _.Delay(body: unit -> unit) = body

        member _.Combine(first: unit, next: unit -> unit) =
            first
            next ()

        member _.For(items: seq<'a>, body: 'a -> unit) =
            for item in items do
                body item

        member _.While(goOn: unit -> bool, body: unit -> unit) =
            while goOn () do
                body ()

        member _.Using(resource: #IDisposable, body) = using resource body

        member _.TryWith(body: unit -> unit, handler: exn -> unit) =
            try
                body ()
            with e ->
                handler e

        member _.TryFinally(body: unit -> unit, after: unit -> unit) =
            try
                body ()
            finally
                after ()

        member _.Run(body: unit -> unit) =
            TestLabel(name, TestCase(Sync body, state), state)

    let test name = TestCaseBuilder(name, Normal)
    let ptest name = TestCaseBuilder(name, Pending)
    let ftest name = TestCaseBuilder(name, Focused)

    type TestAsyncBuilder(name: string, state: FocusState) =
        member _.Zero() = async.Zero()
        member _.Delay body = async.Delay body
        member _.Return value = async.Return value
        member _.ReturnFrom(value: Async<unit>) = async.ReturnFrom value
        member _.Bind(value, body) = async.Bind(value, body)
        member _.Using(resource, body) = async.Using(resource, body)
        member _.While(goOn, body) = async.While(goOn, body)
        member _.For(items, body) = async.For(items, body)
        member _.Combine(first, next) = async.Combine(first, next)
        member _.TryFinally(body, after) = async.TryFinally(body, after)
        member _.TryWith(body, handler) = async.TryWith(body, handler)

        member _.Run(body: Async<unit>) =
            TestLabel(name, TestCase(Async body, state), state)

    let testAsync name = TestAsyncBuilder(name, Normal)
    let ptestAsync name = TestAsyncBuilder(name, Pending)
    let ftestAsync name = TestAsyncBuilder(name, Focused)
