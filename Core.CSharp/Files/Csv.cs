using System.Globalization;
using System.Text;

namespace Functional.Files;

/// <summary>A table of text: the rows of a CSV file (RFC 4180), columns by name or number. Quoted fields may hold separators, quotes ("") and line ends;
/// empty lines are skipped; every row must have as many fields as the first.</summary>
public sealed class Csv
{
    // A field of a damaged file – a quote that is never closed – must not take the rest of a large file.
    private const int MaxFieldLength = 1 << 20;

    private readonly string _file;
    private readonly int[] _lines;

    private Csv(string file, string[] columns, string[][] rows, int[] lines) => (_file, Columns, Rows, _lines) = (file, columns, rows, lines);

    /// <summary>The columns' names; "1", "2", … where the file has no header.</summary>
    public string[] Columns { get; }

    /// <summary>The fields, row by row.</summary>
    public string[][] Rows { get; }

    /// <summary>Reads a file in UTF-8.</summary>
    /// <param name="path">the file</param>
    /// <param name="header">whether the first row names the columns</param>
    /// <param name="separator">what stands between fields</param>
    public static Csv Read(string path, bool header = true, char separator = ',')
    {
        string text;
        try
        {
            text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(File.ReadAllBytes(path));
        }
        catch (DecoderFallbackException error)
        {
            throw new DataFormatException(path, "the text must be UTF-8", $"an invalid byte at {error.Index}", error);
        }
        return Parse(path, text.TrimStart('\uFEFF'), header, separator);
    }

    private static Csv Parse(string path, string text, bool header, char separator)
    {
        List<string[]> rows = [];
        List<int> lines = [];
        var (at, line) = (0, 1);
        while (at < text.Length)
        {
            var start = line;
            if (text[at] is '\n' or '\r')
            {
                Advance();
                continue;
            }
            List<string> fields = [];
            while (true)
            {
                fields.Add(Field());
                if (at >= text.Length || text[at] != separator) break;
                at++;
            }
            if (at < text.Length) Advance();
            if (rows.Count > 0 && fields.Count != rows[0].Length)
                throw new DataFormatException(path, $"line {start} must have {rows[0].Length} fields", $"{fields.Count}");
            rows.Add([.. fields]);
            lines.Add(start);
        }
        if (rows.Count == 0) throw new DataFormatException(path, "a CSV file must hold at least one row", "an empty file");
        var columns = header ? rows[0] : [.. Enumerable.Range(1, rows[0].Length).Select(i => i.ToString(CultureInfo.InvariantCulture))];
        return new Csv(path, columns, [.. rows.Skip(header ? 1 : 0)], [.. lines.Skip(header ? 1 : 0)]);

        // Over one line end.
        void Advance()
        {
            if (text[at] == '\r' && at + 1 < text.Length && text[at + 1] == '\n') at++;
            at++;
            line++;
        }

        string Field()
        {
            if (at >= text.Length || text[at] != '"')
            {
                var from = at;
                while (at < text.Length && text[at] != separator && text[at] is not ('\n' or '\r')) at++;
                return text[from..at];
            }
            var (opened, value) = (line, new StringBuilder());
            for (at++; ; at++)
            {
                if (at >= text.Length || value.Length > MaxFieldLength)
                    throw new DataFormatException(path, $"the quote opened on line {opened} must be closed", at >= text.Length ? "the end of the file" : $"{value.Length} characters");
                if (text[at] == '"')
                {
                    if (at + 1 >= text.Length || text[at + 1] != '"') break;
                    at++;
                }
                else if (text[at] == '\n') line++;
                value.Append(text[at]);
            }
            at++;
            if (at < text.Length && text[at] != separator && text[at] is not ('\n' or '\r'))
                throw new DataFormatException(path, $"a quoted field on line {line} must end at a separator or a line end", $"'{text[at]}'");
            return value.ToString();
        }
    }

    /// <summary>The number of a column.</summary>
    public int Column(string name)
    {
        var column = Array.IndexOf(Columns, name);
        return column >= 0 ? column
            : throw new DataFormatException(_file, $"a column '{name}' is needed", $"the columns {string.Join(", ", Columns)}");
    }

    /// <summary>The fields of a column.</summary>
    public string[] Texts(string column)
    {
        var index = Column(column);
        return [.. Rows.Select(row => row[index])];
    }

    /// <summary>The numbers of a column; an empty field is NaN. Infinities and the word NaN are refused: a missing value is an empty field.</summary>
    public double[] Numbers(string column)
    {
        var index = Column(column);
        var numbers = new double[Rows.Length];
        for (var i = 0; i < numbers.Length; i++)
        {
            var field = Rows[i][index].Trim();
            if (field.Length == 0) numbers[i] = double.NaN;
            else if (!double.TryParse(field, NumberStyles.Float, CultureInfo.InvariantCulture, out numbers[i]) || !double.IsFinite(numbers[i]))
                throw new DataFormatException(_file, $"line {_lines[i]}, column '{column}' must be a finite number or empty", $"'{field}'");
        }
        return numbers;
    }

    /// <summary>The table without the rows in which any field is empty.</summary>
    public Csv WithoutGaps()
    {
        var whole = Enumerable.Range(0, Rows.Length).Where(i => !Array.Exists(Rows[i], field => field.Trim().Length == 0)).ToArray();
        return new Csv(_file, Columns, [.. whole.Select(i => Rows[i])], [.. whole.Select(i => _lines[i])]);
    }
}
