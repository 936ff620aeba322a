/// Digits that the program draws itself, for machines without data: strokes of the ten digits in several hands, under
/// random affine maps, wobble, width, pressure, gaps, stray marks and noise.
module Functional.Examples.DrawnDigits

open System
open System.Threading.Tasks

/// Pixels along one side of an image.
[<Literal>]
let Side = 28

/// Bytes of one image.
[<Literal>]
let Pixels = 784

// ---- random numbers ----

/// SplitMix64: the state counts up in steps of an odd constant and each count is mixed into 64 bits. Everything below
/// uses additions, multiplications, divisions and square roots alone, so a seed draws the same bits on every machine.
type private Draws(seed: uint64) =
    let mutable state = seed

    member _.Bits() =
        state <- state + 0x9E3779B97F4A7C15UL
        let z = (state ^^^ (state >>> 30)) * 0xBF58476D1CE4E5B9UL
        let z = (z ^^^ (z >>> 27)) * 0x94D049BB133111EBUL
        z ^^^ (z >>> 31)

    /// Uniform in [0, 1).
    member draws.Unit() =
        float (draws.Bits() >>> 11) * (1.0 / 9007199254740992.0)

    /// Uniform in [low, high).
    member draws.Between(low, high) = low + (high - low) * draws.Unit()

    /// Bell-shaped with mean 0 and deviation 1: the sum of four uniform numbers.
    member draws.Bell() =
        (draws.Unit() + draws.Unit() + draws.Unit() + draws.Unit() - 2.0)
        * 1.7320508075688772

    /// Uniform in 0 … n-1.
    member draws.Below(n: int) = int (draws.Unit() * float n)

// ---- the ten digits ----

/// A pen stroke: points of a unit box (y grows downwards), joined by straight lines or by a smooth curve.
[<Struct>]
type private Stroke =
    | Line of line: (float * float)[]
    | Curve of curve: (float * float)[]

let private line points = Line(Array.ofList points)
let private curve points = Curve(Array.ofList points)

/// Every digit in the hands that write it; a hand is a list of strokes.
let private hands: Stroke[][][] =
    [| // 0
        [
            [
                curve
                    [
                        0.5, 0.
                        0.15, 0.15
                        0.05, 0.5
                        0.15, 0.85
                        0.5, 1.
                        0.85, 0.85
                        0.95, 0.5
                        0.85, 0.15
                        0.5, 0.
                    ]
            ]
            [
                curve
                    [
                        0.62, 0.02
                        0.3, 0.1
                        0.12, 0.5
                        0.25, 0.92
                        0.55, 0.98
                        0.82, 0.75
                        0.85, 0.35
                        0.65, 0.05
                        0.45, 0.08
                    ]
            ]
            [
                curve
                    [
                        0.3, 0.08
                        0.08, 0.4
                        0.2, 0.85
                        0.6, 1.
                        0.95, 0.7
                        0.85, 0.25
                        0.5, 0.
                        0.25, 0.12
                        0.2, 0.25
                    ]
            ]
            [
                curve [ 0.5, 0.; 0.2, 0.2; 0.2, 0.8; 0.5, 1.; 0.8, 0.8; 0.8, 0.2; 0.5, 0. ]
                line [ 0.78, 0.12; 0.22, 0.9 ]
            ]
        ]
        // 1
        [
            [ line [ 0.5, 0.; 0.5, 1. ] ]
            [ line [ 0.25, 0.25; 0.55, 0.; 0.55, 1. ] ]
            [ line [ 0.25, 0.22; 0.5, 0.; 0.5, 1. ]; line [ 0.22, 1.; 0.8, 1. ] ]
            [ curve [ 0.58, 0.; 0.53, 0.35; 0.47, 0.65; 0.42, 1. ] ]
            [ line [ 0.1, 0.45; 0.6, 0.; 0.58, 1. ] ]
        ]
        // 2
        [
            [
                curve [ 0.1, 0.25; 0.25, 0.05; 0.6, 0.; 0.85, 0.2; 0.75, 0.5; 0.4, 0.78; 0.08, 1. ]
                line [ 0.08, 1.; 0.95, 0.98 ]
            ]
            [
                curve
                    [
                        0.12, 0.22
                        0.35, 0.0
                        0.75, 0.08
                        0.82, 0.35
                        0.55, 0.7
                        0.2, 0.95
                        0.12, 0.85
                        0.3, 0.78
                        0.6, 0.95
                        0.95, 0.9
                    ]
            ]
            [
                line [ 0.08, 0.1; 0.7, 0.05 ]
                curve [ 0.7, 0.05; 0.85, 0.25; 0.6, 0.6; 0.1, 0.98 ]
                line [ 0.1, 0.98; 0.9, 0.95 ]
            ]
            [
                curve [ 0.2, 0.3; 0.2, 0.1; 0.5, 0.; 0.78, 0.15; 0.72, 0.42; 0.2, 1. ]
                curve [ 0.2, 1.; 0.5, 0.9; 0.75, 1.; 0.95, 0.88 ]
            ]
        ]
        // 3
        [
            [
                curve [ 0.12, 0.12; 0.45, 0.; 0.8, 0.12; 0.75, 0.38; 0.4, 0.48 ]
                curve [ 0.4, 0.48; 0.82, 0.58; 0.85, 0.85; 0.5, 1.; 0.1, 0.88 ]
            ]
            [
                line [ 0.1, 0.02; 0.85, 0.02; 0.42, 0.42 ]
                curve [ 0.42, 0.42; 0.8, 0.5; 0.88, 0.8; 0.5, 1.; 0.1, 0.88 ]
            ]
            [
                curve
                    [
                        0.18, 0.18
                        0.4, 0.0
                        0.78, 0.08
                        0.72, 0.36
                        0.48, 0.46
                        0.8, 0.58
                        0.85, 0.85
                        0.45, 1.
                        0.12, 0.85
                    ]
            ]
            [
                curve
                    [
                        0.15, 0.1
                        0.6, 0.0
                        0.72, 0.25
                        0.35, 0.47
                        0.48, 0.5
                        0.78, 0.7
                        0.6, 0.95
                        0.1, 1.
                    ]
            ]
        ]
        // 4
        [
            [ line [ 0.6, 0.; 0.08, 0.65; 0.95, 0.65 ]; line [ 0.68, 0.3; 0.68, 1. ] ]
            [ line [ 0.15, 0.; 0.1, 0.5; 0.85, 0.5 ]; line [ 0.82, 0.02; 0.8, 1. ] ]
            [ line [ 0.7, 1.; 0.7, 0.; 0.05, 0.68; 0.95, 0.68 ] ]
            [
                curve [ 0.22, 0.02; 0.12, 0.35; 0.25, 0.52; 0.55, 0.5; 0.82, 0.4 ]
                line [ 0.85, 0.05; 0.72, 1. ]
            ]
        ]
        // 5
        [
            [
                line [ 0.85, 0.; 0.22, 0.; 0.18, 0.42 ]
                curve [ 0.18, 0.42; 0.5, 0.36; 0.85, 0.5; 0.85, 0.82; 0.5, 1.; 0.1, 0.9 ]
            ]
            [
                line [ 0.25, 0.02; 0.2, 0.45 ]
                curve [ 0.2, 0.45; 0.6, 0.38; 0.88, 0.65; 0.65, 0.95; 0.12, 0.95 ]
                line [ 0.25, 0.02; 0.9, 0.04 ]
            ]
            [
                curve
                    [
                        0.9, 0.05
                        0.5, 0.02
                        0.28, 0.1
                        0.22, 0.4
                        0.55, 0.45
                        0.8, 0.62
                        0.7, 0.92
                        0.35, 1.
                        0.08, 0.85
                    ]
            ]
            [
                line [ 0.8, 0.02; 0.25, 0.05; 0.2, 0.5; 0.55, 0.45 ]
                curve [ 0.55, 0.45; 0.8, 0.55; 0.75, 0.85; 0.4, 1.; 0.12, 0.98 ]
            ]
        ]
        // 6
        [
            [
                curve
                    [
                        0.75, 0.02
                        0.4, 0.2
                        0.15, 0.6
                        0.25, 0.92
                        0.55, 1.
                        0.82, 0.82
                        0.72, 0.58
                        0.42, 0.55
                        0.18, 0.75
                    ]
            ]
            [
                curve
                    [
                        0.6, 0.
                        0.25, 0.35
                        0.15, 0.75
                        0.4, 1.
                        0.75, 0.9
                        0.8, 0.65
                        0.55, 0.52
                        0.2, 0.68
                    ]
            ]
            [
                curve
                    [
                        0.42, 0.
                        0.2, 0.4
                        0.2, 0.85
                        0.5, 1.
                        0.8, 0.85
                        0.75, 0.6
                        0.45, 0.58
                        0.22, 0.78
                    ]
            ]
            [
                curve
                    [
                        0.85, 0.1
                        0.6, 0.0
                        0.25, 0.25
                        0.12, 0.65
                        0.3, 0.97
                        0.65, 0.98
                        0.85, 0.75
                        0.65, 0.5
                        0.35, 0.55
                        0.15, 0.7
                    ]
            ]
        ]
        // 7
        [
            [ line [ 0.08, 0.02; 0.9, 0.02; 0.38, 1. ] ]
            [
                line [ 0.1, 0.05; 0.88, 0.02 ]
                curve [ 0.88, 0.02; 0.6, 0.4; 0.48, 0.7; 0.45, 1. ]
            ]
            [ line [ 0.08, 0.04; 0.9, 0.02; 0.4, 1. ]; line [ 0.3, 0.5; 0.85, 0.48 ] ]
            [
                line [ 0.12, 0.2; 0.14, 0.04; 0.85, 0.04 ]
                curve [ 0.85, 0.04; 0.75, 0.35; 0.55, 0.65; 0.5, 1. ]
            ]
            [
                curve [ 0.1, 0.12; 0.3, 0.02; 0.55, 0.08; 0.88, 0.02 ]
                line [ 0.88, 0.02; 0.3, 1. ]
            ]
        ]
        // 8
        [
            [
                curve
                    [
                        0.5, 0.48
                        0.2, 0.3
                        0.25, 0.06
                        0.5, 0.
                        0.78, 0.08
                        0.78, 0.32
                        0.5, 0.48
                        0.15, 0.7
                        0.2, 0.94
                        0.5, 1.
                        0.82, 0.92
                        0.85, 0.68
                        0.5, 0.48
                    ]
            ]
            [
                curve
                    [
                        0.82, 0.15
                        0.5, 0.
                        0.2, 0.15
                        0.3, 0.4
                        0.7, 0.6
                        0.85, 0.85
                        0.5, 1.
                        0.18, 0.85
                        0.3, 0.6
                        0.68, 0.4
                        0.85, 0.18
                    ]
            ]
            [
                curve [ 0.5, 0.; 0.22, 0.12; 0.25, 0.38; 0.5, 0.46; 0.76, 0.36; 0.78, 0.12; 0.5, 0. ]
                curve [ 0.5, 0.46; 0.15, 0.58; 0.15, 0.9; 0.5, 1.; 0.86, 0.9; 0.85, 0.6; 0.5, 0.46 ]
            ]
        ]
        // 9
        [
            [
                curve [ 0.82, 0.2; 0.5, 0.0; 0.18, 0.18; 0.25, 0.45; 0.6, 0.48; 0.82, 0.22 ]
                curve [ 0.82, 0.2; 0.8, 0.55; 0.7, 1. ]
            ]
            [
                curve [ 0.78, 0.25; 0.6, 0.02; 0.25, 0.1; 0.18, 0.38; 0.45, 0.52; 0.75, 0.3 ]
                line [ 0.8, 0.1; 0.75, 1. ]
            ]
            [
                curve
                    [
                        0.75, 0.28
                        0.55, 0.
                        0.22, 0.1
                        0.2, 0.4
                        0.5, 0.5
                        0.78, 0.28
                        0.8, 0.6
                        0.6, 0.92
                        0.2, 0.98
                    ]
            ]
            [
                curve
                    [
                        0.8, 0.12
                        0.45, 0.0
                        0.15, 0.2
                        0.3, 0.48
                        0.65, 0.4
                        0.8, 0.12
                        0.72, 0.5
                        0.5, 1.
                    ]
            ]
        ]
    |]
    |> Array.map (List.map Array.ofList >> Array.ofList)

// ---- one image ----

/// Steps of a curve between two of its points.
[<Literal>]
let private CurveSteps = 6

/// Pixels are drawn from 0 (background) to 1 (ink).
let private clamp low high (x: float) = Math.Max(low, Math.Min(high, x))

/// Catmull-Rom: the cubic from b to c whose slopes at its ends are (c - a)/2 and (d - b)/2.
let private catmullRom (a: float) b c d t =
    b
    + 0.5
      * t
      * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))

/// The points of a stroke after a shake of its control points; curves are subdivided.
let private trace (draws: Draws) (shake: float) stroke =
    let shaken points =
        points
        |> Array.map (fun (x, y) -> struct (x + shake * draws.Bell(), y + shake * draws.Bell()))

    match stroke with
    | Line points -> shaken points
    | Curve points ->
        let p = shaken points
        let last = p.Length - 1

        Array.init (last * CurveSteps + 1) (fun i ->
            let k = min (i / CurveSteps) (last - 1)
            let t = float (i - k * CurveSteps) / float CurveSteps
            let struct (ax, ay) = p[max 0 (k - 1)]
            let struct (bx, by) = p[k]
            let struct (cx, cy) = p[k + 1]
            let struct (dx, dy) = p[min last (k + 2)]
            struct (catmullRom ax bx cx dx t, catmullRom ay by cy dy t))

/// Coverage of the pixels near one segment whose radius goes from r0 to r1; a pixel keeps the most it has seen.
let private paint
    (canvas: float[])
    (softness: float)
    (ink: float)
    (struct (x0: float, y0: float))
    (r0: float)
    (struct (x1: float, y1: float))
    (r1: float)
    =
    let reach = Math.Max(r0, r1) + softness
    let low (a: float) b = max 0 (int (Math.Min(a, b) - reach))

    let high (a: float) b =
        min (Side - 1) (int (Math.Max(a, b) + reach))

    let dx, dy = x1 - x0, y1 - y0
    let scale = 1.0 / Math.Max(dx * dx + dy * dy, 1e-12)

    for row in low y0 y1 .. high y0 y1 do
        let py = float row + 0.5 - y0

        for column in low x0 x1 .. high x0 x1 do
            let px = float column + 0.5 - x0
            let along = clamp 0.0 1.0 ((px * dx + py * dy) * scale)
            let ex, ey = px - along * dx, py - along * dy
            let distance = Math.Sqrt(ex * ex + ey * ey)
            let radius = r0 + along * (r1 - r0)
            let cover = ink * clamp 0.0 1.0 ((radius - distance) / softness + 0.5)
            let at = row * Side + column

            if cover > canvas[at] then
                canvas[at] <- cover

/// A smooth displacement of the plane: a 4 x 4 grid of random offsets, blended by quadratic weights.
type private Wobble(draws: Draws, amount: float) =
    let offsets = Array.init 32 (fun _ -> amount * draws.Bell())

    /// The displacement at a point of the unit box.
    member _.At(x: float, y: float) =
        let cell v =
            let v = clamp 0.0 0.999999 v * 2.0
            let k = int v
            let t = v - float k
            // Quadratic B-spline weights: smooth across cells, no transcendental function.
            struct (k, 0.5 * (1.0 - t) * (1.0 - t), 0.5 + t * (1.0 - t), 0.5 * t * t)

        let struct (kx, x0, x1, x2) = cell x
        let struct (ky, y0, y1, y2) = cell y

        let blend first =
            let row r =
                let at = first + 4 * (ky + r) + kx
                x0 * offsets[at] + x1 * offsets[at + 1] + x2 * offsets[at + 2]

            y0 * row 0 + y1 * row 1 + y2 * row 2

        struct (blend 0, blend 16)

/// One digit into 784 bytes.
let private drawOne (draws: Draws) (digit: int) (canvas: float[]) (image: Span<byte>) =
    Array.Clear canvas
    let hand = hands[digit][draws.Below hands[digit].Length]
    let wobble = Wobble(draws, 0.075)
    let shake = draws.Between(0.01, 0.04)

    let strokes =
        hand
        |> Array.map (fun stroke ->
            trace draws shake stroke
            |> Array.map (fun (struct (x, y)) ->
                let struct (wx, wy) = wobble.At(x, y)
                struct (x + wx, y + wy)))

    // The affine map: extents, slant and a turn by the rational rotation ((1-t²), 2t)/(1+t²).
    let height = draws.Between(13.0, 21.5)
    let width = height * draws.Between(0.45, 0.95)
    let slant = 0.24 * draws.Bell() - 0.08
    let turn = clamp -0.2 0.2 (0.075 * draws.Bell())
    let cosine = (1.0 - turn * turn) / (1.0 + turn * turn)
    let sine = 2.0 * turn / (1.0 + turn * turn)

    let mapped =
        strokes
        |> Array.map (
            Array.map (fun (struct (x, y)) ->
                let v = (y - 0.5) * height
                let u = (x - 0.5) * width - slant * v
                struct (cosine * u - sine * v, sine * u + cosine * v))
        )

    // The middle of the ink lies near the middle of the image and never leaves it.
    let bounds pick =
        let values = mapped |> Array.collect (Array.map pick)
        struct (Array.min values, Array.max values)

    let place (struct (low: float, high: float)) =
        let room = Math.Max(0.0, (float Side - 3.0 - (high - low)) / 2.0)
        float Side / 2.0 - (low + high) / 2.0 + clamp -room room (1.3 * draws.Bell())

    let shiftX = place (bounds (fun (struct (x, _)) -> x))
    let shiftY = place (bounds (fun (struct (_, y)) -> y))

    // The pen: radius, how its pressure drifts along a stroke, the softness of its edge, and rarely a gap.
    let radius = draws.Between(0.65, 1.75)
    let softness = draws.Between(0.9, 1.7)
    let ink = draws.Between(0.75, 1.0)
    let gaps = if draws.Unit() < 0.15 then 0.06 else 0.0

    for stroke in mapped do
        let drift = 0.3 * draws.Bell()

        let pressure i =
            let along = float i / float (stroke.Length - 1) - 0.5
            Math.Max(0.5, radius * (1.0 + drift * along))

        for i in 0 .. stroke.Length - 2 do
            if draws.Unit() >= gaps then
                let struct (x0, y0) = stroke[i]
                let struct (x1, y1) = stroke[i + 1]

                paint
                    canvas
                    softness
                    ink
                    (struct (x0 + shiftX, y0 + shiftY))
                    (pressure i)
                    (struct (x1 + shiftX, y1 + shiftY))
                    (pressure (i + 1))

    // Stray marks: short faint strokes of another pen.
    if draws.Unit() < 0.25 then
        for _ in 0 .. draws.Below 2 do
            let x, y = draws.Between(2.0, 26.0), draws.Between(2.0, 26.0)
            let dx, dy = 2.0 * draws.Bell(), 2.0 * draws.Bell()
            let thin = draws.Between(0.3, 0.8)
            paint canvas softness (draws.Between(0.3, 0.9)) (struct (x, y)) thin (struct (x + dx, y + dy)) thin

    // Noise: a grain everywhere, and a few pixels that say nothing at all.
    let grain = if draws.Unit() < 0.5 then 0.0 else draws.Between(0.0, 0.12)
    let dead = if draws.Unit() < 0.7 then 0.0 else draws.Between(0.0, 0.03)

    for i in 0 .. Pixels - 1 do
        let value =
            if dead > 0.0 && draws.Unit() < dead then draws.Unit()
            elif grain > 0.0 then canvas[i] + grain * draws.Bell()
            else canvas[i]

        image[i] <- byte (255.0 * clamp 0.0 1.0 value + 0.5)

// ---- many ----

/// Images per unit of parallel work.
[<Literal>]
let private BlockSize = 100

/// Draws count images: images holds count·784 bytes, labels count bytes. Every run of ten labels, counted from the
/// start, is a permutation of the ten digits. The same seed gives the same bits on any number of threads: each image
/// has its own random numbers, found from the seed and its index alone.
let draw (seed: uint64) (count: int) =
    if count < 0 then
        invalidArg (nameof count) $"draw: the count must not be negative; got {count}."

    let images = Array.zeroCreate<byte>(count * Pixels)
    let labels = Array.zeroCreate<byte> count

    let source (stream: uint64) (index: int) =
        Draws(Draws(seed ^^^ (stream <<< 56)).Bits() + Draws(uint64 index).Bits())

    let block b =
        let canvas = Array.zeroCreate Pixels
        let last = min count ((b + 1) * BlockSize) - 1

        for i in b * BlockSize .. last do
            let ten = Array.init 10 byte
            let order = source 1UL (i / 10)

            for k in 9..-1..1 do
                let other = order.Below(k + 1)
                let kept = ten[k]
                ten[k] <- ten[other]
                ten[other] <- kept

            labels[i] <- ten[i % 10]
            drawOne (source 2UL i) (int labels[i]) canvas (images.AsSpan(i * Pixels, Pixels))

    Parallel.For(0, (count + BlockSize - 1) / BlockSize, block) |> ignore
    images, labels
