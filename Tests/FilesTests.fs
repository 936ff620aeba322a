/// Files: what is written is read back, and whatever is damaged is refused in one sentence that names the file.
module Functional.Tests.FilesTests

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression
open System.Text
open Expecto
open Functional.Files

// ---- a folder of one's own ----

let private inFolder (run: string -> unit) =
    let folder = Directory.CreateTempSubdirectory "functional-files-"

    try
        run folder.FullName
    finally
        folder.Delete true

/// Writes bytes as a file, reads it and expects a refusal whose sentence names the file and holds the given words.
let private refusesFile name (bytes: byte[]) (read: string -> unit) (words: string list) =
    inFolder (fun folder ->
        let path = Path.Combine(folder, name)
        File.WriteAllBytes(path, bytes)

        let refused =
            try
                read path
                None
            with :? DataFormatException as error ->
                Some error

        let error = Expect.wantSome refused "it must be refused"
        Expect.stringStarts error.Message (path + ": ") "the sentence starts with the file"
        Expect.isTrue (error.Message.EndsWith '.') "it is a sentence"
        Expect.isFalse (error.Message.Contains '\n') "it is one line"

        for word in words do
            Expect.stringContains error.Message word "the sentence says what was expected and found")

let private refuses name what bytes read words =
    testCase what (fun () -> refusesFile name bytes read words)

let private gzip (bytes: byte[]) =
    use target = new MemoryStream()

    (use zip = new GZipStream(target, CompressionLevel.Fastest, true)
     zip.Write(bytes, 0, bytes.Length))

    target.ToArray()

/// A file with one bit changed.
let private flipped at (bytes: byte[]) =
    bytes |> Array.mapi (fun i b -> if i = at then b ^^^ 0x10uy else b)

let private bigEndian (value: int) =
    let bytes = Array.zeroCreate 4
    BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(), value)
    bytes

// ---- tables ----

let private table (text: string) (f: Csv -> unit) =
    inFolder (fun folder ->
        let path = Path.Combine(folder, "table.csv")
        File.WriteAllText(path, text)
        f (Csv.Read path))

let private tableTests =
    let refuses what (text: string) read words =
        refuses "table.csv" what (Encoding.UTF8.GetBytes text) (fun path -> read (Csv.Read path) |> ignore) words

    testList
        "csv"
        [
            testCase "quotes, separators, line ends and gaps" (fun () ->
                table "name,n\r\n\"a, \"\"b\"\"\",1.5\n\n\"two\nlines\",\n" (fun csv ->
                    Expect.equal csv.Columns [| "name"; "n" |] "columns"
                    Expect.equal (csv.Texts "name") [| "a, \"b\""; "two\nlines" |] "texts"
                    let numbers = csv.Numbers "n"
                    Expect.equal numbers[0] 1.5 "a number"
                    Expect.isTrue (Double.IsNaN numbers[1]) "a gap"
                    Expect.equal (csv.WithoutGaps().Rows.Length) 1 "rows without gaps"))
            refuses "a row of another width" "a,b\n1,2\n3\n" (fun csv -> csv.Rows) [ "line 3"; "2 fields"; "got 1" ]
            refuses "a word for a number" "a\n1\nx\n" _.Numbers("a") [ "line 3"; "column 'a'"; "'x'" ]
            refuses "infinity" "a\n1e999\n" _.Numbers("a") [ "line 2"; "finite" ]
            refuses "the word NaN" "a\nNaN\n" _.Numbers("a") [ "line 2"; "'NaN'" ]
            refuses "an open quote" "a\n\"1\n" (fun csv -> csv.Rows) [ "line 2"; "closed" ]
            refuses "text after a quote" "a\n\"1\"2\n" (fun csv -> csv.Rows) [ "line 2"; "'2'" ]
            refuses "nothing at all" "" (fun csv -> csv.Rows) [ "at least one row" ]
            refuses "a column that is not there" "a\n1\n" _.Texts("b") [ "'b'"; "columns a" ]
            testCase "bytes that are no UTF-8" (fun () ->
                refusesFile "table.csv" [| 97uy; 0xffuy; 10uy |] (fun path -> Csv.Read path |> ignore) [ "UTF-8" ])
        ]

// ---- CIFAR ----

let private cifar labels =
    Array.concat
        [
            for label in labels -> Array.append [| byte label |] (Array.init 3072 (fun i -> byte (i + label)))
        ]

let private cifarTests =
    let refuses what bytes words =
        refuses "batch.bin" what bytes (fun path -> Cifar.Read path |> ignore) words

    testList
        "cifar"
        [
            testCase "labels and planes, plain and gzip" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "batch.bin")
                    let bytes = cifar [ 3; 9 ]

                    for stored in [ bytes; gzip bytes ] do
                        File.WriteAllBytes(path, stored)
                        let read = Cifar.Read(path, 2)
                        Expect.equal read.Labels [| 3uy; 9uy |] "labels"
                        Expect.equal read.Images.Length 6144 "images"
                        Expect.equal read.Images[3072] 9uy "the second image"))
            refuses "a record cut short" (Array.truncate 4000 (cifar [ 1; 2 ])) [ "3073"; "4000" ]
            refuses "no record" [||] [ "3073" ]
            refuses "a label beyond the classes" (cifar [ 1; 10 ]) [ "0 … 9"; "10 in record 1" ]
            refuses
                "a gzip stream cut short"
                (let whole = gzip (cifar [ 1; 2 ]) in Array.truncate (whole.Length / 2) whole)
                [ "batch.bin" ]
        ]

// ---- idx ----

let private idx magic (extents: int list) (data: byte[]) =
    Array.concat [ yield bigEndian magic; yield! List.map bigEndian extents; yield data ]

let private threeImages = idx 0x803 [ 3; 2; 2 ] (Array.init 12 byte)
let private images path = Idx.ReadImages path |> ignore
let private labels path = Idx.ReadLabels path |> ignore

let private idxTests =
    let refuses = refuses "images"

    testList
        "idx"
        [
            testProperty "images read back, plain and gzip" (fun (count: byte) (rows: byte) (columns: byte) zipped ->
                let shape = [ int count % 5; int rows % 7; int columns % 7 ]
                let data = Array.init (List.fold (*) 1 shape) (fun i -> byte (i * 37))
                let bytes = idx 0x803 shape data

                inFolder (fun folder ->
                    let path = Path.Combine(folder, "x")
                    File.WriteAllBytes(path, (if zipped then gzip bytes else bytes))
                    let read = Idx.ReadImages path
                    Expect.equal (List.ofArray read.Shape) shape "extents"
                    Expect.equal read.Data data "bytes"))

            testCase "labels read back" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "x")
                    File.WriteAllBytes(path, idx 0x801 [ 4 ] [| 3uy; 1uy; 4uy; 1uy |])
                    let sum = Checksum.Sha256 path
                    Expect.equal (Idx.ReadLabels(path, 4, sum)) [| 3uy; 1uy; 4uy; 1uy |] "bytes"))

            refuses "empty" [||] images [ "header of 16 bytes"; "truncated after 0" ]
            refuses "header cut" threeImages[..9] images [ "header of 16 bytes"; "truncated after 10" ]
            refuses "labels for images" (idx 0x801 [ 3 ] [| 1uy; 2uy; 3uy |]) images [ "0x00000803"; "0x00000801" ]
            refuses "images for labels" threeImages labels [ "0x00000801"; "0x00000803" ]
            refuses "some other file" (Encoding.ASCII.GetBytes "<!doctype html>") images [ "0x00000803"; "0x3c21646f" ]
            refuses "truncated" threeImages[..26] images [ "[3, 2, 2] need 28 bytes"; "27 (truncated)" ]
            refuses "too long" (Array.append threeImages [| 0uy |]) images [ "28 bytes"; "29 (too long)" ]
            refuses "negative extent" (idx 0x803 [ -3; 2; 2 ] [||]) images [ "non-negative"; "[-3, 2, 2]" ]
            refuses "absurd extents" (idx 0x803 [ Int32.MaxValue; 28; 28 ] [||]) images [ "[2147483647, 28, 28]" ]
            refuses "large promise" (idx 0x803 [ 2000000; 28; 28 ] [||]) images [ "1568000016 bytes"; "truncated" ]
            refuses "large promise, gzip" (gzip (idx 0x803 [ 2000000; 28; 28 ] [||])) images [ "got 16 (truncated)" ]
            refuses "truncated before gzip" (gzip threeImages[..26]) images [ "28 bytes"; "27 (truncated)" ]
            refuses "too long before gzip" (gzip (Array.append threeImages [| 0uy; 0uy |])) images [ "too long" ]
            refuses "gzip cut" (let z = gzip threeImages in z[.. z.Length - 9]) images []
            refuses "gzip cut early" (Array.take 12 (gzip threeImages)) images []

            refuses
                "gzip damaged in its checksum"
                (let z = gzip threeImages in flipped (z.Length - 7) z)
                images
                [ "gzip"; "damaged" ]

            refuses
                "bytes behind the gzip"
                (Array.append (gzip threeImages) [| 1uy; 2uy; 3uy; 4uy |])
                images
                [ "trailer" ]
            refuses "wrong count" threeImages (fun path -> Idx.ReadImages(path, 4) |> ignore) [ "4 images"; "got 3" ]

            refuses
                "wrong checksum"
                threeImages
                (fun path -> Idx.ReadImages(path, 3, String('0', 64)) |> ignore)
                [ "SHA-256 checksum must be 0000"; "got " ]

            testCase "every cut and a changed bit in every byte of a gzip file is refused, or reads the same" (fun () ->
                let whole = gzip threeImages

                let cuts = [ for length in 0 .. whole.Length - 1 -> whole[.. length - 1] ]
                let changes = [ for at in 0 .. whole.Length - 1 -> flipped at whole ]

                inFolder (fun folder ->
                    let path = Path.Combine(folder, "x")

                    for bytes in cuts @ changes do
                        File.WriteAllBytes(path, bytes)

                        // The gzip header has bytes without meaning (time, system), which may change.
                        try
                            Expect.equal (Idx.ReadImages path).Data threeImages[16..] "the same bytes"
                        with :? DataFormatException ->
                            ()))
        ]

// ---- safetensors ----

let private safetensors (header: string) (data: byte[]) =
    let text = Encoding.UTF8.GetBytes header
    let prefix = Array.zeroCreate 8
    BinaryPrimitives.WriteInt64LittleEndian(prefix.AsSpan(), int64 text.Length)
    Array.concat [ prefix; text; data ]

let private readSafetensors (path: string) = Safetensors.Read path |> ignore

let private entry name dtype shape (first: int64) (last: int64) =
    $"\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{first},{last}]}}"

let private header entries = "{" + String.concat "," entries + "}"

let private same (a: NamedArray) (b: NamedArray) =
    Expect.equal (a.Name, a.DType, List.ofArray a.Shape) (b.Name, b.DType, List.ofArray b.Shape) "name, type, shape"
    Expect.isTrue (a.Data.Span.SequenceEqual b.Data.Span) "bytes"

/// Arrays of all types and ranks 0 to 3, extents 0 to 4, from a list of numbers.
let private arraysOf (numbers: (byte * byte)[]) =
    numbers
    |> Array.mapi (fun i (kind, extents) ->
        let shape = Array.init (int kind % 4) (fun axis -> (int extents >>> (2 * axis)) % 5)
        let count = Array.fold (*) 1 shape
        let name = $"{i}/ø.weight \" {kind}"

        match int kind / 4 % 6 with
        | 0 -> NamedArray.Of<float32>(name, Array.init count (fun k -> float32 (k + i) / 3.0f), shape)
        | 1 -> NamedArray.Of<float>(name, Array.init count (fun k -> Math.Sqrt(float (k - i))), shape)
        | 2 -> NamedArray.Of<int>(name, Array.init count (fun k -> Int32.MinValue + k), shape)
        | 3 -> NamedArray.Of<int64>(name, Array.init count (fun k -> int64 k <<< 40), shape)
        | 4 -> NamedArray.Of<bool>(name, Array.init count (fun k -> k % 3 = 0), shape)
        | _ -> NamedArray.Of<byte>(name, Array.init count byte, shape))

let private safetensorsTests =
    let refuses what header data words =
        refuses "w.safetensors" what (safetensors header data) readSafetensors words

    let four: byte[] = Array.zeroCreate 4

    testList
        "safetensors"
        [
            testProperty "what is written is read back" (fun numbers ->
                let arrays = arraysOf numbers

                inFolder (fun folder ->
                    let path = Path.Combine(folder, "w.safetensors")
                    let metadata = dict [ "format", "test"; "ключ", "line\n\"quoted\"" ]
                    Safetensors.Write(path, arrays, Collections.Generic.Dictionary metadata)
                    let read = Safetensors.Read path
                    Expect.equal read.Arrays.Count arrays.Length "as many"
                    Seq.iter2 same read.Arrays arrays

                    Expect.equal
                        (read.Metadata |> Seq.map (|KeyValue|) |> List.ofSeq)
                        (metadata |> Seq.map (|KeyValue|) |> List.ofSeq)
                        "metadata"

                    Expect.equal (Directory.GetFiles folder) [| path |] "no other file is left"))

            testCase "data is aligned to its elements" (fun () ->
                use stream = new MemoryStream()

                Safetensors.Write(
                    stream,
                    [
                        NamedArray.Of<bool>("b", [| true |], 1)
                        NamedArray.Of<float>("d", [| 0.5 |])
                    ]
                )

                Expect.equal (BinaryPrimitives.ReadInt64LittleEndian(stream.ToArray().AsSpan()) % 8L) 0L "header"
                Expect.equal (BitConverter.ToDouble(stream.ToArray(), int stream.Length - 9)) 0.5 "the double first"
                let read = Safetensors.Read(stream, "stream").Arrays
                Expect.equal [ for array in read -> array.Name ] [ "b"; "d" ] "the caller's order"
                Expect.equal (read[1].To<float>()) [| 0.5 |] "value")

            testCase "a failed write keeps the old file" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "w.safetensors")
                    File.WriteAllText(path, "old")
                    let twice = [ NamedArray.Of<int>("a", [| 1 |]); NamedArray.Of<int>("a", [| 2 |]) ]
                    Expect.throwsT<ArgumentException> (fun () -> Safetensors.Write(path, twice)) "names differ"

                    Expect.throwsT<InvalidOperationException>
                        (fun () ->
                            AtomicFile.Write(
                                path,
                                fun stream ->
                                    stream.WriteByte 1uy
                                    invalidOp "halfway"
                            ))
                        "the writer's own failure"

                    Expect.equal (File.ReadAllText path) "old" "the old file"
                    Expect.equal (Directory.GetFiles folder) [| path |] "and nothing else"))

            testCase "no header length" (fun () ->
                refusesFile "w" [| 1uy; 2uy |] readSafetensors [ "8 bytes"; "2 bytes (truncated)" ])

            testCase "absurd header length" (fun () ->
                refusesFile "w" (Array.create 16 0xFFuy) readSafetensors [ "100000000"; "18446744073709551615" ])

            testCase "header longer than the file" (fun () ->
                refusesFile
                    "w"
                    (Array.take 9 (safetensors "{}" [||]))
                    readSafetensors
                    [ "header must have 2 bytes"; "got 1" ])

            testCase "header that is not UTF-8" (fun () ->
                refusesFile
                    "w"
                    [| 2uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0xFFuy; 0xFEuy |]
                    readSafetensors
                    [ "UTF-8" ])

            refuses "not JSON" "{a}" [||] [ "JSON" ]
            refuses "not an object" "[]" [||] [ "header must be a JSON object"; "array" ]
            refuses "text behind the object" "{} x" [||] [ "JSON" ]
            refuses "unfinished object" "{\"a\":" [||] [ "JSON" ]
            refuses "entry that is no object" "{\"a\":1}" [||] [ "'a' must be a JSON object"; "number" ]
            refuses "half surrogate" "{\"\\ud800\":{}}" [||] [ "JSON" ]
            refuses "deep nesting" ("{\"a\":{\"x\":" + String('[', 100_000)) [||] [ "JSON" ]
            refuses
                "duplicate names"
                (header [ entry "a" "F32" "[1]" 0 4; entry "a" "F32" "[1]" 0 4 ])
                four
                [ "'a' twice" ]

            refuses
                "duplicate keys"
                "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
                four
                [ "'dtype' twice" ]

            refuses "no dtype" "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}" four [ "'a'"; "no dtype" ]
            refuses "no shape" "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}" four [ "'a'"; "no shape" ]
            refuses "one offset" "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}" four [ "1 offsets" ]

            refuses
                "three offsets"
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}"
                four
                [ "at most 2 numbers" ]

            refuses "unknown dtype" (header [ entry "a" "F31" "[1]" 0 4 ]) four [ "'F31'" ]
            refuses "fraction in a shape" (header [ entry "a" "F32" "[1.5]" 0 4 ]) four [ "integers" ]
            refuses "negative extent" (header [ entry "a" "F32" "[-1]" 0 4 ]) four [ "F32[-1]" ]
            refuses "overflowing shape" (header [ entry "a" "F32" "[2147483647,2147483647,3]" 0 4 ]) four [ "at most" ]
            refuses "huge extent" (header [ entry "a" "F32" "[4294967297]" 0 4 ]) four [ "F32[4294967297]" ]
            refuses
                "too many axes"
                (header [ entry "a" "F32" ("[" + String.replicate 99 "1," + "1]") 0 4 ])
                four
                [ "64" ]
            refuses "shape and bytes differ" (header [ entry "a" "F32" "[2]" 0 4 ]) four [ "needs 8 bytes"; "[0, 4]" ]
            refuses "offsets reversed" (header [ entry "a" "F32" "[0]" 4 0 ]) four [ "[4, 0]" ]
            refuses "negative offset" (header [ entry "a" "F32" "[1]" -4 0 ]) four [ "[-4, 0]" ]
            refuses
                "truncated"
                (header [ entry "a" "F32" "[1]" 0 4 ])
                four[..2]
                [ "byte 4"; "3 bytes of data (truncated)" ]

            refuses
                "large promise"
                (header [ entry "a" "F32" "[500000000]" 0 2000000000 ])
                four
                [ "2000000000"; "got 4" ]

            refuses "too long" (header [ entry "a" "F32" "[0]" 0 0 ]) four [ "0 bytes"; "4 (too long)" ]
            refuses
                "overlap"
                (header [ entry "a" "U8" "[3]" 0 3; entry "b" "U8" "[2]" 2 4 ])
                four
                [ "'b'"; "'a'"; "overlap" ]
            refuses "hole" (header [ entry "a" "U8" "[1]" 0 1; entry "b" "U8" "[1]" 3 4 ]) four [ "'b'"; "'a'"; "hole" ]
            refuses "bool that is neither" (header [ entry "a" "BOOL" "[1]" 0 1 ]) [| 2uy |] [ "'a' is BOOL"; "got 2" ]
            refuses "metadata that is no object" "{\"__metadata__\":[]}" [||] [ "__metadata__"; "object" ]
            refuses "metadata value that is no string" "{\"__metadata__\":{\"a\":1}}" [||] [ "'a'"; "string" ]
            refuses "metadata key twice" "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}" [||] [ "'a' twice" ]

            testCase "a hostile file costs no memory" (fun () ->
                let hostile =
                    safetensors (header [ entry "a" "F32" "[500000000]" 0 2000000000 ]) four

                use stream = new MemoryStream(hostile)
                let before = GC.GetAllocatedBytesForCurrentThread()

                Expect.throwsT<DataFormatException>
                    (fun () -> Safetensors.Read(stream, "hostile") |> ignore)
                    "it is refused"

                Expect.isLessThan (GC.GetAllocatedBytesForCurrentThread() - before) 1_000_000L "bytes")
        ]

// ---- npy and npz ----

let private npyBytes (major: int) (dictionary: string) (data: byte[]) =
    let text = Encoding.Latin1.GetBytes(dictionary + "\n")

    let length =
        if major = 1 then
            BitConverter.GetBytes(uint16 text.Length)
        else
            BitConverter.GetBytes(uint32 text.Length)

    Array.concat
        [
            [| 0x93uy |]
            Encoding.ASCII.GetBytes "NUMPY"
            [| byte major; 0uy |]
            length
            text
            data
        ]

let private dictionary descr fortran shape =
    $"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"

let private sixFloats = Array.init 6 float32 |> Array.collect BitConverter.GetBytes
let private readNpy (path: string) = Npy.Read path |> ignore
let private readNpz (path: string) = Npz.Read path |> ignore

let private npyTests =
    let refuses what bytes words =
        refuses "x.npy" what bytes readNpy words

    let good = npyBytes 1 (dictionary "<f4" "False" "(2, 3)") sixFloats

    testList
        "npy"
        [
            testProperty "what is written is read back" (fun numbers ->
                inFolder (fun folder ->
                    for array in arraysOf numbers do
                        let path = Path.Combine(folder, "x.npy")
                        let named = NamedArray("x", array.DType, array.Shape, array.Data)
                        Npy.Write(path, named)
                        same (Npy.Read path) named
                        let bytes = File.ReadAllBytes path
                        Expect.equal ((bytes.Length - array.Data.Length) % 64) 0 "the data is aligned"))

            testCase "versions, Fortran order and spellings" (fun () ->
                inFolder (fun folder ->
                    let path = Path.Combine(folder, "x.npy")

                    let read (bytes: byte[]) =
                        File.WriteAllBytes(path, bytes)
                        let array = Npy.Read path
                        List.ofArray array.Shape, List.ofArray (array.To<float32>())

                    let plain = [ 2; 3 ], [ 0f; 1f; 2f; 3f; 4f; 5f ]
                    Expect.equal (read good) plain "version 1"
                    Expect.equal (read (npyBytes 2 (dictionary "<f4" "False" "(2, 3)") sixFloats)) plain "version 2"

                    Expect.equal
                        (read (npyBytes 1 "{\"shape\":(2,3,),\"fortran_order\":False,\"descr\":\"<f4\"}" sixFloats))
                        plain
                        "another spelling"

                    Expect.equal
                        (read (npyBytes 1 (dictionary "<f4" "True" "(2, 3)") sixFloats))
                        ([ 2; 3 ], [ 0f; 2f; 4f; 1f; 3f; 5f ])
                        "columns first"))

            refuses "empty" [||] [ "10 bytes"; "0 (truncated)" ]
            refuses "wrong magic" (flipped 3 good) [ "NUMPY"; "got bytes 934E55" ]
            refuses "prefix cut" good[..7] [ "10 bytes"; "8 (truncated)" ]
            refuses "unknown version" (npyBytes 9 "" [||]) [ "version"; "got 9" ]
            refuses "header cut" good[..30] [ "header must have"; "truncated" ]
            refuses "header too long" (flipped 11 (npyBytes 2 "{}" [||])) [ "header must have at most 65536" ]
            refuses "data cut" good[.. good.Length - 2] [ "F32[2, 3] needs 24 bytes"; "23 (truncated)" ]
            refuses "data too long" (Array.append good [| 0uy |]) [ "24 bytes"; "25 (too long)" ]
            refuses "big-endian" (npyBytes 1 (dictionary ">f4" "False" "(2, 3)") sixFloats) [ "descr"; "'>f4'" ]
            refuses "objects" (npyBytes 1 (dictionary "|O" "False" "(1,)") [||]) [ "descr"; "'|O'" ]
            refuses "structures" (npyBytes 1 "{'descr': [('a', '<f4')], }" [||]) [ "quoted string"; "'['" ]
            refuses "no shape" (npyBytes 1 "{'descr': '<f4', 'fortran_order': False}" [||]) [ "a shape"; "none" ]
            refuses "key twice" (npyBytes 1 "{'descr': '<f4', 'descr': '<f4'}" [||]) [ "once each"; "'descr'" ]
            refuses "unknown key" (npyBytes 1 "{'order': 'C'}" [||]) [ "'order'" ]
            refuses "unfinished" (npyBytes 1 "{'descr': '<f4'" [||]) [ "the end" ]
            refuses "code" (npyBytes 1 "{'descr': __import__('os')}" [||]) [ "quoted string" ]
            refuses "negative extent" (npyBytes 1 (dictionary "<f4" "False" "(-2, 3)") sixFloats) [ "F32[-2, 3]" ]
            refuses "huge extent" (npyBytes 1 (dictionary "<f4" "False" "(99999999999,)") sixFloats) [ "99999999999" ]
            refuses "overflowing" (npyBytes 1 (dictionary "<f8" "False" "(99999999, 99999999)") sixFloats) [ "at most" ]
            refuses "large promise" (npyBytes 1 (dictionary "<f4" "False" "(500000000,)") sixFloats) [ "got 24" ]
            refuses "bool that is neither" (npyBytes 1 (dictionary "|b1" "False" "()") [| 7uy |]) [ "BOOL"; "got 7" ]
        ]

let private zipOf (entries: (string * byte[]) list) =
    use target = new MemoryStream()

    (use archive = new ZipArchive(target, ZipArchiveMode.Create, true)

     for name, bytes in entries do
         use stream = archive.CreateEntry(name, CompressionLevel.NoCompression).Open()
         stream.Write(bytes, 0, bytes.Length))

    target.ToArray()

let private npzTests =
    let refuses what (bytes: byte[]) words =
        testCase what (fun () ->
            inFolder (fun folder ->
                let path = Path.Combine(folder, "x.npz")
                File.WriteAllBytes(path, bytes)

                let refused =
                    try
                        readNpz path
                        None
                    with :? DataFormatException as error ->
                        Some error.Message

                let message = Expect.wantSome refused "it must be refused"
                Expect.stringStarts message path "the sentence starts with the file"

                for word in words do
                    Expect.stringContains message word "the sentence"))

    let array = npyBytes 1 (dictionary "<f4" "False" "(2, 3)") sixFloats
    let good = zipOf [ "a.npy", array ]

    testList
        "npz"
        [
            testProperty "what is written is read back" (fun numbers compress ->
                let arrays = arraysOf numbers

                inFolder (fun folder ->
                    let path = Path.Combine(folder, "x.npz")
                    Npz.Write(path, arrays, compress)
                    let read = Npz.Read path
                    Expect.equal read.Count arrays.Length "as many"
                    Seq.iter2 same read arrays))

            refuses "not a zip archive" sixFloats [ "zip archive" ]
            refuses "truncated" good[.. good.Length - 5] [ "zip archive" ]
            refuses "damaged data" (flipped 125 good) [ "x.npz/a.npy"; "CRC-32" ]
            refuses "damaged array" (zipOf [ "a.npy", array[.. array.Length - 2] ]) [ "x.npz/a.npy"; "23 (truncated)" ]
            refuses "other entries" (zipOf [ "a.npy", array; "b.txt", array ]) [ "'b.txt'" ]
            refuses "duplicate entries" (zipOf [ "a.npy", array; "a.npy", array ]) [ "'a' twice" ]
        ]

// ---- the real files ----

/// The files of $FUNCTIONAL_DATA and $FUNCTIONAL_GOLDEN, where these name folders.
let private realTests =
    let folder variable =
        match Environment.GetEnvironmentVariable variable with
        | null
        | "" -> skiptest $"${variable} is not set"
        | folder -> folder

    testList
        "real files"
        [
            testCase "MNIST" (fun () ->
                let path name =
                    Path.Combine(folder "FUNCTIONAL_DATA", "mnist", name)

                let images = Idx.ReadImages(path "train-images-idx3-ubyte.gz", 60_000)
                Expect.equal images.Shape [| 60_000; 28; 28 |] "extents"
                Expect.floatClose Accuracy.medium (Array.averageBy float images.Data / 255.0) 0.1306605 "mean"

                let labels =
                    Idx.ReadLabels(
                        path "t10k-labels-idx1-ubyte.gz",
                        10_000,
                        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
                    )

                Expect.equal labels[..4] [| 7uy; 2uy; 1uy; 0uy; 4uy |] "the first labels")

            testCase "safetensors" (fun () ->
                let files = Directory.GetFiles(folder "FUNCTIONAL_GOLDEN", "*.safetensors")
                Expect.isNonEmpty files "there are files"

                for file in files do
                    let content = Safetensors.Read file
                    Expect.equal content.Metadata["op"] (string (Path.GetFileNameWithoutExtension file)) "name"
                    use copy = new MemoryStream()
                    Safetensors.Write(copy, content.Arrays, content.Metadata)
                    Seq.iter2 same (Safetensors.Read(copy, file).Arrays) content.Arrays)
        ]

[<Tests>]
let tests =
    testList
        "files"
        [
            tableTests
            cifarTests
            idxTests
            safetensorsTests
            npyTests
            npzTests
            realTests
        ]
