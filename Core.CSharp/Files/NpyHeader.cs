using System.Globalization;

namespace Functional.Files;

/// <summary>The Python dictionary of an npy header: strings, booleans and tuples of integers, read strictly and nothing else.</summary>
internal sealed class NpyHeader(string text, string file)
{
    private int _at;

    /// <summary>descr, fortran_order and shape; each exactly once.</summary>
    public (string Descr, bool Fortran, int[] Shape) Parse()
    {
        string? descr = null;
        bool? fortran = null;
        int[]? shape = null;
        Take('{');
        while (!TryTake('}'))
        {
            string key = String();
            Take(':');
            switch (key)
            {
                case "descr" when descr is null:
                    descr = String();
                    break;
                case "fortran_order" when fortran is null:
                    fortran = Boolean();
                    break;
                case "shape" when shape is null:
                    shape = Tuple();
                    break;
                default:
                    throw Refused("the keys descr, fortran_order and shape, once each", $"'{key}'");
            }
            if (!TryTake(','))
            {
                Take('}');
                break;
            }
        }
        SkipSpace();
        if (_at != text.Length)
            throw Refused("spaces after the dictionary", Here());
        return (descr ?? throw Refused("a descr", "none"),
            fortran ?? throw Refused("a fortran_order", "none"),
            shape ?? throw Refused("a shape", "none"));
    }

    private string String()
    {
        SkipSpace();
        char quote = _at < text.Length ? text[_at] : '\0';
        int end = quote is '\'' or '"' ? text.IndexOf(quote, _at + 1) : -1;
        if (end < 0)
            throw Refused("a quoted string", Here());
        string value = text[(_at + 1)..end];
        _at = end + 1;
        return value;
    }

    private bool Boolean()
    {
        SkipSpace();
        foreach (bool value in (ReadOnlySpan<bool>)[true, false])
        {
            if (string.CompareOrdinal(text, _at, value.ToString(), 0, value.ToString().Length) == 0)
            {
                _at += value.ToString().Length;
                return value;
            }
        }
        throw Refused("True or False", Here());
    }

    private int[] Tuple()
    {
        var extents = new List<int>();
        Take('(');
        while (!TryTake(')'))
        {
            if (extents.Count == NamedArray.MaxRank)
                throw Refused($"at most {NamedArray.MaxRank} axes", "more");
            extents.Add(Integer());
            if (!TryTake(','))
            {
                Take(')');
                break;
            }
        }
        return [.. extents];
    }

    private int Integer()
    {
        SkipSpace();
        int end = _at;
        while (end < text.Length && (char.IsAsciiDigit(text[end]) || text[end] == '-'))
            end++;
        if (!int.TryParse(text.AsSpan(_at, end - _at), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value))
            throw Refused($"an extent of at most {int.MaxValue}", end > _at && end - _at < 40 ? text[_at..end] : Here());
        _at = end;
        return value;
    }

    private void Take(char expected)
    {
        if (!TryTake(expected))
            throw Refused($"'{expected}'", Here());
    }

    private bool TryTake(char expected)
    {
        SkipSpace();
        if (_at >= text.Length || text[_at] != expected)
            return false;
        _at++;
        return true;
    }

    private void SkipSpace()
    {
        while (_at < text.Length && text[_at] is ' ' or '\n' or '\t')
            _at++;
    }

    private string Here() => _at < text.Length ? $"'{text[_at]}' at character {_at}" : "the end";

    private DataFormatException Refused(string expected, string found) =>
        new(file, $"the npy header must have {expected}", found);
}
