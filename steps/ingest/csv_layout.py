"""How a CSV file is laid out, by its first lines: what separates cells, how they are quoted, where the names stand.

What is sure is read, and said; what isn't is refused in one line that names it, since each of its rows would be
rejected or, worse, read under a wrong name.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.errors import InputError
from steps.contracts.records import Row
from steps.engines.formats.dialects.described import listed
from steps.engines.formats.names import fold, is_known, standard
from steps.engines.formats.registry import detect

_USUAL = ",;\t|"
# Chosen: what databases and people take where these stand in texts.
_OTHERS = "~^\x1f\x01\x1e\xa6\xa7#:"
_CALLED = {"\t": "tab", "\x1f": "\\x1f", "\x01": "\\x01", "\x1e": "\\x1e"}
# Chosen: so many records show how many cells a record has; so many lines of notes may stand in front of the names.
_RECORDS, _FEWEST, _FRONT = 50, 3, 10
# Chosen: names of columns are words, not sentences.
_LONGEST_NAME, _MOST_WORDS = 60, 6
# A short name may end so ("Nr.", "Solved?"), a sentence has some words before.
_SAID = re.compile(
    r"\w\W+\w+\W+\w.*[.!?]['\"]?\s*$|[\u3002\uff1f\uff01]['\"]?\s*$|^\s*-?\d+(?:[.,]\d+)?\s*$|@|https?://"
)
_NUMBERS = {"id", "index", "idx", "no", "nr", "number", "row", "rowid", "key"}
_DOUBLED = re.compile(r'\w""|""\w')
_HEADER = "give the names of all columns by `header` (--ingest 'sources.0.header=[prompt, completion]')"


@dataclass(frozen=True)
class Layout:
    """How to read a file.

    Attributes:
        skip: lines up to the first record.
        names: of the columns; "" of one without a name.
        dialect: what csv.reader is told.
        notes: what was assumed.
    """

    skip: int
    names: list[str]
    dialect: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def layout(head: str, delimiter: str | None, given: Sequence[str], where: str) -> Layout:
    """The layout of a file that begins with `head`. `delimiter` and `given` (names): what the source says of it.

    Raises:
        InputError: the names can't be read, aren't there, or aren't those of the records.
    """
    lines = head.split("\n")
    lines = lines if len(lines) == 1 else lines[:-1]
    front = next((i for i, line in enumerate(lines) if line.strip("\r\ufeff")), len(lines))
    if front == len(lines):
        return Layout(front, [], {"delimiter": delimiter or ","})
    notes: list[str] = []
    if given:
        dialect = _dialect(lines[front:], delimiter, len(given))
        first = next(csv.reader([lines[front]], **dialect), [])
        again = [c.strip() for c in first] == list(given)
        return _checked(front + again, list(given), dialect, lines, notes, where)
    front += _notes_in_front(lines[front : front + _FRONT + 1], delimiter, notes)
    dialect = _dialect(lines[front:], delimiter)
    names, count = _names(lines[front:], dialect, notes, where)
    if not _is_row(names) and _is_data(names):
        raise InputError(
            f"the first line looks like a row, not like the names of its {len(names)} columns", where=where,
            hint=f"add a header line, or {_HEADER}",
        )  # fmt: skip
    return _checked(front + count, names, dialect, lines, notes, where)


def _is_row(names: Sequence[str]) -> bool:
    """Whether a format is known that has these columns."""
    row: Row = {name.strip(): "x" for name in names}
    return detect(standard(row, strict=False)) is not None


def _is_data(names: Sequence[str]) -> bool:
    """Whether one of the cells is nothing that a column is called."""
    return any(len(n) > _LONGEST_NAME or len(n.split()) > _MOST_WORDS or _SAID.search(n) for n in names)


def _cells(line: str, delimiter: str, quote: str = '"') -> list[str]:
    """The cells of a line; quotes that don't fit are no quotes."""
    try:
        return next(csv.reader([line], delimiter=delimiter, quotechar=quote, strict=True), [])
    except csv.Error:
        return line.replace(quote, "").split(delimiter)


def _dialect(lines: Sequence[str], delimiter: str | None, columns: int | None = None) -> dict[str, Any]:
    """What separates and quotes cells; `columns`: how many there are, where the first line has no names."""
    first = lines[0]
    quote = "'" if re.fullmatch(r"\s*'[^']*'(?:\s*[,;\t|]\s*'[^']*')*\s*", first) else '"'
    if delimiter is None:
        wanted = {d: _cells(first, d, quote) for d in _USUAL}
        delimiter = max(_USUAL, key=lambda d: _fit(wanted[d], columns))
        if columns is None and len(wanted[delimiter]) == 1:
            split = {d: _cells(first, d) for d in _OTHERS if d in first}
            delimiter = next((d for d, names in split.items() if _is_row(names)), delimiter)
    dialect: dict[str, Any] = {"delimiter": delimiter}
    if quote != '"':
        dialect["quotechar"] = quote
    cells = first.split(delimiter)
    if len(cells) > 1 and delimiter != "\t" and all(c.startswith(" ") for c in cells[1:]):
        dialect["skipinitialspace"] = True
    if _escapes(lines, dialect):
        return {**dialect, "escapechar": "\\", "doublequote": False}
    return dialect


def _escapes(lines: Sequence[str], dialect: dict[str, Any]) -> bool:
    """Whether quotes in cells are written as `\\"`, and none is doubled."""
    text = "\n".join(lines)
    if text.count('\\"') < 2 or _DOUBLED.search(text) or _records(lines, dialect):
        return False
    records = _records(lines, {**dialect, "escapechar": "\\", "doublequote": False})
    return len({len(r) for r in records}) == 1


def _fit(names: list[str], columns: int | None) -> tuple[int, int]:
    if columns is not None:
        return (len(names) == columns, len(names))
    return (sum(map(is_known, names)), len(names))


def _notes_in_front(lines: Sequence[str], delimiter: str | None, notes: list[str]) -> int:
    """How many lines of titles or comments stand before the names; 0 where that isn't sure."""
    if len(lines) < 2 or _is_row(_cells(lines[0], _dialect(lines, delimiter)["delimiter"])):
        return 0
    for number, line in enumerate(lines[1:], 1):
        if lines[number - 1].count('"') % 2:
            return 0
        names = _cells(line, _dialect([line], delimiter)["delimiter"])
        if len(names) > 1 and _is_row(names) and all(map(str.strip, names)) and not _is_data(names):
            notes.append(f"{number} line{'s' if number > 1 else ''} in front of the names of the columns passed over")
            return number
    return 0


def _names(lines: Sequence[str], dialect: dict[str, Any], notes: list[str], where: str) -> tuple[list[str], int]:
    """The names, and how many lines they take."""
    try:
        return next(csv.reader([lines[0]], strict=True, **dialect)), 1
    except csv.Error:
        pass
    plain = next(csv.reader([lines[0].replace(dialect.get("quotechar", '"'), "")], **dialect))
    if not _is_row(plain):
        for count in range(2, min(len(lines), _FRONT) + 1):
            try:
                [names] = csv.reader([line + "\n" for line in lines[:count]], strict=True, **dialect)
            except (csv.Error, ValueError):
                continue
            return [" ".join(name.split()) for name in names], count
        raise InputError(
            "the header line has a quote that doesn't fit", where=where,
            hint=f"mend the quotes in the first line, or take it out and {_HEADER}",
        )  # fmt: skip
    notes.append(f"a stray quote in the header line; the columns are {listed([n.strip() for n in plain])}")
    return plain, 1


def _checked(
    skip: int, names: list[str], dialect: dict[str, Any], lines: Sequence[str], notes: list[str], where: str
) -> Layout:
    """The layout, if the records have as many cells as there are names, or it is sure what the others are."""
    if dialect["delimiter"] not in _USUAL:
        notes.append(f"cells are separated by {dialect['delimiter']!r}")
    if "escapechar" in dialect:
        notes.append('quotes are written as \\"')
    records = _records(lines[skip:], dialect)
    sizes = {len(r) for r in records}
    if len(records) < _FEWEST or len(sizes) > 1 or len(names) in sizes:
        return Layout(skip, names, dialect, notes)
    [cells] = sizes
    if cells == len(names) + 1 and all(not r[-1].strip() for r in records):
        notes.append("each row ends with a delimiter that the header hasn't")
        return Layout(skip, [*names, ""], dialect, notes)
    if cells == len(names) - 1 and not names[-1].strip():
        notes.append("the header line ends with a delimiter that the rows haven't")
        return Layout(skip, names[:-1], dialect, notes)
    if cells == len(names) + 1 and fold(names[0]) not in _NUMBERS and _are_numbers([r[0] for r in records]):
        notes.append("the rows are numbered in a first column without a name")
        return Layout(skip, ["", *names], dialect, notes)
    called = _CALLED.get(dialect["delimiter"], dialect["delimiter"])
    raise InputError(
        f"{len(names)} name{'s' if len(names) != 1 else ''} in the header, but {cells} cells in every row"
        f" (separated by {called})",
        where=where,
        hint=f"is a name missing in the header line, or another `delimiter` meant? Else {_HEADER}",
    )


def _records(lines: Sequence[str], dialect: dict[str, Any]) -> list[list[str]]:
    """The first records; none where their quotes don't fit."""
    out: list[list[str]] = []
    try:
        for cells in csv.reader((line + "\n" for line in lines), strict=True, **dialect):
            if cells:
                out.append(cells)
            if len(out) == _RECORDS:
                break
    except csv.Error as e:
        return out if "unexpected end of data" in str(e) else []
    return out


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether the cells count up by one."""
    numbers = [int(c) for c in cells if c.strip().isascii() and c.strip().isdecimal() and len(c) < 19]
    return len(numbers) == len(cells) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
