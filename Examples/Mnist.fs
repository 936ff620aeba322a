/// MNIST from a folder, from the user's cache or from the network, and drawn digits where there is none of the three.
module Functional.Examples.MnistData

open System
open System.IO
open System.Net.Http
open System.Threading
open Functional.Files

/// Digits as bytes: 784 per image, one per label.
type Digits =
    {
        /// "mnist" or "drawn digits"
        Source: string
        TrainImages: byte[]
        TrainLabels: byte[]
        TestImages: byte[]
        TestLabels: byte[]
    }

/// One of the four files: its name, how many items it holds, and the SHA-256 sums of its gzip and of its plain form.
type private DataFile =
    {
        Name: string
        Count: int
        Gzip: string
        Plain: string
    }

let private trainImages =
    {
        Name = "train-images-idx3-ubyte"
        Count = 60_000
        Gzip = "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        Plain = "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    }

let private trainLabels =
    {
        Name = "train-labels-idx1-ubyte"
        Count = 60_000
        Gzip = "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        Plain = "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    }

let private testImages =
    {
        Name = "t10k-images-idx3-ubyte"
        Count = 10_000
        Gzip = "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        Plain = "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    }

let private testLabels =
    {
        Name = "t10k-labels-idx1-ubyte"
        Count = 10_000
        Gzip = "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        Plain = "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    }

let private files = [ trainImages; trainLabels; testImages; testLabels ]

// ---- folders ----

/// The user's cache: $XDG_CACHE_HOME or ~/.cache, on Windows the local application data.
let private cache =
    let folder =
        if OperatingSystem.IsWindows() then
            Environment.GetFolderPath Environment.SpecialFolder.LocalApplicationData
        else
            match Environment.GetEnvironmentVariable "XDG_CACHE_HOME" with
            | null
            | "" -> Path.Combine(Environment.GetFolderPath Environment.SpecialFolder.UserProfile, ".cache")
            | folder -> folder

    Path.Combine(folder, "functional")

/// The path of a file in a folder that holds it, gzip or plain.
let private find folder file =
    [ file.Name + ".gz"; file.Name ]
    |> List.map (fun name -> Path.Combine(folder, "mnist", name))
    |> List.tryFind File.Exists

/// A sound structure is asked for first because its sentences say more than a checksum can.
let private read folder =
    let path file =
        match find folder file with
        | Some path -> path
        | None ->
            raise (
                DataFormatException(
                    Path.Combine(folder, "mnist", file.Name + ".gz"),
                    "the folder must hold all four files of MNIST",
                    files
                    |> List.filter (fun file -> (find folder file).IsSome)
                    |> List.map _.Name
                    |> String.concat ", "
                    |> sprintf "only %s"
                )
            )

    let verified file (load: string -> 'T) =
        let path = path file
        let value = load path
        Checksum.Verify(path, (if path.EndsWith ".gz" then file.Gzip else file.Plain))
        value

    let images file =
        verified file (fun path -> Idx.ReadImages(path, file.Count).Data)

    let labels file =
        verified file (fun path -> Idx.ReadLabels(path, file.Count))

    {
        Source = "mnist"
        TrainImages = images trainImages
        TrainLabels = labels trainLabels
        TestImages = images testImages
        TestLabels = labels testLabels
    }

// ---- the network ----

let private mirrors =
    [
        "https://storage.googleapis.com/cvdf-datasets/mnist/"
        "https://ossci-datasets.s3.amazonaws.com/mnist/"
    ]

/// A connection, an answer and every next piece of the data must each come within this time.
let private patience = TimeSpan.FromSeconds 5.0

/// No file of MNIST is larger; a server that sends more sends something else.
[<Literal>]
let private MaxDownload = 16_777_216L

let private report (name: string) (received: int64) (total: int64) =
    if not Console.IsErrorRedirected then
        let share =
            if total > 0L then
                $"%3d{100L * received / total} %%"
            else
                $"%d{received / 1024L} KiB"

        eprintf $"\r%s{name}: %s{share} "

/// Fetches one file from one mirror into the cache; it appears there whole and checked, or not at all.
let private fetchFrom (client: HttpClient) (mirror: string) (file: DataFile) =
    let name = file.Name + ".gz"
    use timeout = new CancellationTokenSource(patience)

    use answer =
        client.GetAsync(mirror + name, HttpCompletionOption.ResponseHeadersRead, timeout.Token).GetAwaiter().GetResult()

    answer.EnsureSuccessStatusCode() |> ignore
    let total = answer.Content.Headers.ContentLength.GetValueOrDefault(-1L)
    use body = answer.Content.ReadAsStream timeout.Token
    use content = new MemoryStream()
    let buffer = Array.zeroCreate 65536

    let rec copy () =
        timeout.CancelAfter patience

        match body.ReadAsync(buffer.AsMemory(), timeout.Token).AsTask().GetAwaiter().GetResult() with
        | 0 -> ()
        | read when content.Length + int64 read > MaxDownload ->
            raise (DataFormatException(mirror + name, $"the file must have at most {MaxDownload} bytes", "more"))
        | read ->
            content.Write(buffer, 0, read)
            report name content.Length total
            copy ()

    copy ()

    if not Console.IsErrorRedirected then
        eprintfn ""

    let bytes = content.ToArray()

    let sum =
        Convert.ToHexStringLower(Security.Cryptography.SHA256.HashData(ReadOnlySpan bytes))

    if sum <> file.Gzip then
        raise (DataFormatException(mirror + name, $"the SHA-256 checksum must be {file.Gzip}", sum))

    AtomicFile.Write(Path.Combine(cache, "mnist", name), fun stream -> stream.Write(bytes, 0, bytes.Length))

/// Failures that leave the next mirror, or drawn digits, as the way out.
let private (|Unreachable|_|) (error: exn) =
    match error with
    | :? HttpRequestException -> Some $"no network: {error.GetBaseException().Message.TrimEnd '.'}"
    | :? OperationCanceledException -> Some $"no network: nothing came for {patience.TotalSeconds} s"
    | :? UnauthorizedAccessException
    | :? IOException -> Some(error.Message.TrimEnd '.')
    | _ -> None

/// Fetches what the cache lacks: the reason in words where no mirror could give a file.
let private fetch () =
    use handler = new SocketsHttpHandler(ConnectTimeout = patience)
    use client = new HttpClient(handler, Timeout = Timeout.InfiniteTimeSpan)

    let fetchOne file =
        let rec attempt reason mirrors =
            match mirrors with
            | [] -> Error reason
            | mirror :: rest ->
                try
                    fetchFrom client mirror file
                    Ok()
                with Unreachable reason ->
                    attempt reason rest

        attempt "" mirrors

    try
        Directory.CreateDirectory(Path.Combine(cache, "mnist")) |> ignore

        files
        |> List.filter (fun file -> (find cache file).IsNone)
        |> List.fold (fun state file -> Result.bind (fun () -> fetchOne file) state) (Ok())
    with Unreachable reason ->
        Error reason

// ---- the whole way ----

/// Drawn digits in the numbers of MNIST: 60,000 and 10,000, from two seeds of their own.
let drawn () =
    let trainImages, trainLabels = DrawnDigits.draw 1UL 60_000
    let testImages, testLabels = DrawnDigits.draw 2UL 10_000

    {
        Source = "drawn digits"
        TrainImages = trainImages
        TrainLabels = trainLabels
        TestImages = testImages
        TestLabels = testLabels
    }

/// MNIST from the first of: the given folder, $FUNCTIONAL_DATA, ./data, the user's cache (each holding a folder mnist),
/// the network; else drawn digits, said in one line. A damaged or incomplete folder is a DataFormatException.
let load (folder: string option) =
    let folders = DataFolder.candidates folder

    let holdsAny folder =
        files |> List.exists (fun file -> (find folder file).IsSome)

    match List.tryFind holdsAny folders with
    | Some folder -> read folder
    | None ->
        match fetch () with
        | Ok() -> read cache
        | Error reason ->
            let places = String.concat ", " (folders @ [ cache ])
            printfn $"mnist: not in %s{places}; %s{reason}; using digits drawn by the program instead."
            drawn ()
