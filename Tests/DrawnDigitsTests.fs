/// The digits that the examples draw where there is no data.
module Functional.Tests.DrawnDigitsTests

open System
open Expecto
open Functional.Examples

[<Tests>]
let tests =
    testList
        "drawn digits"
        [
            testCase "every ten labels are the ten digits" (fun () ->
                let images, labels = DrawnDigits.draw 3UL 1234
                Expect.equal images.Length (1234 * 784) "bytes of images"
                Expect.equal labels.Length 1234 "labels"

                for ten in Array.chunkBySize 10 labels |> Array.filter (fun ten -> ten.Length = 10) do
                    Expect.equal (Array.sort ten) (Array.init 10 byte) "a permutation"

                Expect.notEqual labels[..9] labels[10..19] "in changing order")

            testCase "a seed gives the same bits, a longer run the same start" (fun () ->
                let images, labels = DrawnDigits.draw 5UL 1000
                let again, labelsAgain = DrawnDigits.draw 5UL 1000
                Expect.isTrue (images.AsSpan().SequenceEqual(ReadOnlySpan again)) "images"
                Expect.equal labels labelsAgain "labels"
                let few, fewLabels = DrawnDigits.draw 5UL 37
                Expect.isTrue (few.AsSpan().SequenceEqual(images.AsSpan(0, few.Length))) "the start"
                Expect.equal fewLabels labels[..36] "its labels"
                let other, _ = DrawnDigits.draw 6UL 37
                Expect.isFalse (few.AsSpan().SequenceEqual(ReadOnlySpan other)) "another seed, other images")

            testCase "every image has ink and paper, and all differ" (fun () ->
                let images, _ = DrawnDigits.draw 9UL 500
                let each = Array.chunkBySize 784 images

                for image in each do
                    let ink = image |> Array.filter (fun pixel -> pixel > 127uy) |> Array.length
                    Expect.isGreaterThan ink 10 "ink"
                    Expect.isLessThan ink 450 "paper"

                Expect.hasLength (Array.distinct each) 500 "all differ")

            testCase "none and fewer" (fun () ->
                Expect.equal (DrawnDigits.draw 1UL 0) ([||], [||]) "none"
                Expect.throwsT<ArgumentException> (fun () -> DrawnDigits.draw 1UL -1 |> ignore) "fewer")
        ]
