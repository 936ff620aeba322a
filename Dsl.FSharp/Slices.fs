namespace Functional

open System

/// F#'s slices: `x[1..2, 0]`, `x[*, 1..]`. Ends belong to the slice, as everywhere in F#; a place drops its axis, and −1 is the last.
[<AutoOpen>]
module TensorSlices =
    let private part (start: int option) (stop: int option) =
        let place (i: int) =
            if i < 0 then Index(-i, true) else Index i

        let last (i: int) =
            if i = -1 then Index.End
            elif i < 0 then Index(-i - 1, true)
            else Index(i + 1)

        AxisSelection.op_Implicit (
            Range(
                start |> Option.map place |> Option.defaultValue Index.Start,
                stop |> Option.map last |> Option.defaultValue Index.End
            )
        )

    let private at (place: int) = AxisSelection.op_Implicit place

    type Tensor with

        member x.GetSlice(start0: int option, stop0: int option) = x[[| part start0 stop0 |]]

        member x.GetSlice(start0: int option, stop0: int option, start1: int option, stop1: int option) =
            x[[| part start0 stop0; part start1 stop1 |]]

        member x.GetSlice(start0: int option, stop0: int option, place1: int) = x[[| part start0 stop0; at place1 |]]

        member x.GetSlice(place0: int, start1: int option, stop1: int option) = x[[| at place0; part start1 stop1 |]]

        member x.GetSlice
            (
                start0: int option,
                stop0: int option,
                start1: int option,
                stop1: int option,
                start2: int option,
                stop2: int option
            ) =
            x[[| part start0 stop0; part start1 stop1; part start2 stop2 |]]

        member x.GetSlice(start0: int option, stop0: int option, start1: int option, stop1: int option, place2: int) =
            x[[| part start0 stop0; part start1 stop1; at place2 |]]

        member x.GetSlice(start0: int option, stop0: int option, place1: int, start2: int option, stop2: int option) =
            x[[| part start0 stop0; at place1; part start2 stop2 |]]

        member x.GetSlice(start0: int option, stop0: int option, place1: int, place2: int) =
            x[[| part start0 stop0; at place1; at place2 |]]

        member x.GetSlice(place0: int, start1: int option, stop1: int option, start2: int option, stop2: int option) =
            x[[| at place0; part start1 stop1; part start2 stop2 |]]

        member x.GetSlice(place0: int, start1: int option, stop1: int option, place2: int) =
            x[[| at place0; part start1 stop1; at place2 |]]

        member x.GetSlice(place0: int, place1: int, start2: int option, stop2: int option) =
            x[[| at place0; at place1; part start2 stop2 |]]

        member x.GetSlice
            (
                start0: int option,
                stop0: int option,
                start1: int option,
                stop1: int option,
                start2: int option,
                stop2: int option,
                start3: int option,
                stop3: int option
            ) =
            x[[| part start0 stop0; part start1 stop1; part start2 stop2; part start3 stop3 |]]

        member x.GetSlice
            (
                start0: int option,
                stop0: int option,
                start1: int option,
                stop1: int option,
                start2: int option,
                stop2: int option,
                place3: int
            ) =
            x[[| part start0 stop0; part start1 stop1; part start2 stop2; at place3 |]]

        member x.GetSlice
            (
                start0: int option,
                stop0: int option,
                start1: int option,
                stop1: int option,
                place2: int,
                start3: int option,
                stop3: int option
            ) =
            x[[| part start0 stop0; part start1 stop1; at place2; part start3 stop3 |]]

        member x.GetSlice
            (start0: int option, stop0: int option, start1: int option, stop1: int option, place2: int, place3: int)
            =
            x[[| part start0 stop0; part start1 stop1; at place2; at place3 |]]

        member x.GetSlice
            (
                start0: int option,
                stop0: int option,
                place1: int,
                start2: int option,
                stop2: int option,
                start3: int option,
                stop3: int option
            ) =
            x[[| part start0 stop0; at place1; part start2 stop2; part start3 stop3 |]]

        member x.GetSlice
            (start0: int option, stop0: int option, place1: int, start2: int option, stop2: int option, place3: int)
            =
            x[[| part start0 stop0; at place1; part start2 stop2; at place3 |]]

        member x.GetSlice
            (start0: int option, stop0: int option, place1: int, place2: int, start3: int option, stop3: int option)
            =
            x[[| part start0 stop0; at place1; at place2; part start3 stop3 |]]

        member x.GetSlice(start0: int option, stop0: int option, place1: int, place2: int, place3: int) =
            x[[| part start0 stop0; at place1; at place2; at place3 |]]

        member x.GetSlice
            (
                place0: int,
                start1: int option,
                stop1: int option,
                start2: int option,
                stop2: int option,
                start3: int option,
                stop3: int option
            ) =
            x[[| at place0; part start1 stop1; part start2 stop2; part start3 stop3 |]]

        member x.GetSlice
            (place0: int, start1: int option, stop1: int option, start2: int option, stop2: int option, place3: int)
            =
            x[[| at place0; part start1 stop1; part start2 stop2; at place3 |]]

        member x.GetSlice
            (place0: int, start1: int option, stop1: int option, place2: int, start3: int option, stop3: int option)
            =
            x[[| at place0; part start1 stop1; at place2; part start3 stop3 |]]

        member x.GetSlice(place0: int, start1: int option, stop1: int option, place2: int, place3: int) =
            x[[| at place0; part start1 stop1; at place2; at place3 |]]

        member x.GetSlice
            (place0: int, place1: int, start2: int option, stop2: int option, start3: int option, stop3: int option)
            =
            x[[| at place0; at place1; part start2 stop2; part start3 stop3 |]]

        member x.GetSlice(place0: int, place1: int, start2: int option, stop2: int option, place3: int) =
            x[[| at place0; at place1; part start2 stop2; at place3 |]]

        member x.GetSlice(place0: int, place1: int, place2: int, start3: int option, stop3: int option) =
            x[[| at place0; at place1; at place2; part start3 stop3 |]]
