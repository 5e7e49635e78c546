"""Every row format by name, in the order in which they are tried on a row: the first that fits wins."""

from collections import Counter
from collections.abc import Iterable, Mapping

from steps.contracts.errors import InputError
from steps.contracts.records import Row
from steps.engines.formats.alpaca import ALPACA
from steps.engines.formats.bare import ALONE, BARE_TEXT, SINGLE_MESSAGE, is_message
from steps.engines.formats.compared import COMPARED
from steps.engines.formats.dialects.described import listed
from steps.engines.formats.format import Format, Parsed, Reading
from steps.engines.formats.marks import SPEAKING, says
from steps.engines.formats.names import standard
from steps.engines.formats.openai import OPENAI
from steps.engines.formats.preference import PREFERENCE
from steps.engines.formats.prompt_completion import PROMPT_COMPLETION
from steps.engines.formats.ranked import RANKED
from steps.engines.formats.record import RECORD
from steps.engines.formats.rejected import RowRejected
from steps.engines.formats.sharegpt import SHAREGPT
from steps.engines.formats.text import TEXT
from steps.engines.formats.trees import OASST, OASST_ROWS

FORMATS: Mapping[str, Format] = {
    "record": RECORD,
    "compared": COMPARED,
    "preference": PREFERENCE,
    "ranked": RANKED,
    "openai": OPENAI,
    "sharegpt": SHAREGPT,
    "oasst_rows": OASST_ROWS,
    "oasst": OASST,
    "alpaca": ALPACA,
    "prompt_completion": PROMPT_COMPLETION,
    "text": TEXT,
}
# Those that `assay convert` writes.
WRITTEN = tuple(name for name, row_format in FORMATS.items() if row_format.write is not None)


def detect(row: Row) -> str | None:
    """The format that a row looks like; None for none."""
    return next((name for name, row_format in FORMATS.items() if row_format.looks(row)), None)


def unwrapped(row: Row) -> Row:
    """The row that stands in a column of a row which is none itself, such as {"id": 1, "data": {"prompt": ...}}, beside
    its other columns; the row as it is where that isn't sure.
    """
    inner = [k for k, v in row.items() if isinstance(v, dict) and v]
    if len(inner) != 1 or detect(row) is not None:
        return row
    found = standard(row[inner[0]], strict=False)
    rest = {k: v for k, v in row.items() if k != inner[0]}
    return {**rest, **found} if detect(found) is not None and found.keys().isdisjoint(rest) else row


def read_row(row: Row, usual: str, how: Reading, *, strict: bool = False) -> tuple[str, Parsed | None]:
    """The format of a row in a file whose rows are mostly of the format `usual`, and what it says under it.

    A row that looks like another one is of that one, where this leaves nothing unread that is said in the row; with
    `strict` it never is. None: a part of a message tree.

    Raises:
        RowRejected: it can't be read.
    """
    own = usual if strict else detect(row) or usual
    if own == usual:
        return usual, _parsed(row, usual, how)
    if FORMATS[usual].looks(row):
        try:
            parsed = _parsed(row, usual, how)
        except RowRejected:
            parsed = None
        if parsed is not None and _all_read(row, parsed):
            return usual, parsed
    parsed = _parsed(row, own, how)
    if parsed is None or _all_read(row, parsed):
        return own, parsed
    return usual, _parsed(row, usual, how)


def _parsed(row: Row, name: str, how: Reading) -> Parsed | None:
    read = FORMATS[name].read
    return read(row, how) if read is not None else None


def _all_read(row: Row, parsed: Parsed) -> bool:
    return not any(says(row[k]) for k in SPEAKING & row.keys() - set(parsed.used))


def detect_most(rows: Iterable[Row], where: str) -> str:
    """The format that most of the rows look like.

    Raises:
        InputError: none of them looks like a known format; the message lists the columns found.
    """
    rows = list(rows)
    votes = Counter(f for f in map(detect, rows) if f is not None)
    if votes:
        return max(votes, key=lambda f: (votes[f], f))
    if rows and all(ALONE in row for row in rows):
        raise InputError("no known row format", where=where, hint=BARE_TEXT)
    if rows and all(is_message(row) for row in rows):
        raise InputError("no known row format", where=where, hint=SINGLE_MESSAGE)
    # As the file has them.
    found = list(dict.fromkeys(str(k) for row in rows for k in row))
    raise InputError(
        f"no known row format; the columns are {listed(found)}",
        where=where,
        hint="set `columns`, such as {prompt: <column>, completion: <column>} (assay stage: --columns"
        " prompt=<column>,completion=<column>), or rename the columns to one of:"
        " messages; conversations; instruction and output; prompt and completion; chosen and rejected; text",
    )
