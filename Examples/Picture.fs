/// Grey images as text, for a look in a terminal.
module Functional.Examples.Picture

open System.Text

let private shades = " .:-=+*#%@"

/// Images of height x width values in 0 … 1 side by side; a line of text is two lines of pixels, as characters are twice as high as wide.
let sideBySide height width (images: float[] list) =
    let text = StringBuilder()

    for row in 0..2 .. height - 1 do
        for image in images do
            for column in 0 .. width - 1 do
                let value (row: int) =
                    if row < height then image[row * width + column] else 0.0

                let shade = (value row + value (row + 1)) / 2.0 * float (shades.Length - 1)

                text.Append shades[int (max 0.0 (min (float (shades.Length - 1)) (shade + 0.5)))]
                |> ignore

            text.Append "  " |> ignore

        text.AppendLine() |> ignore

    text.ToString()
