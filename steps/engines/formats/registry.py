"""Every row format by name, in the order in which they are tried on a row: the first that fits wins."""

from collections import Counter
from collections.abc import Iterable, Mapping

from steps.contracts.errors import InputError
from steps.contracts.records import Row
from steps.engines.formats.alpaca import ALPACA
from steps.engines.formats.compared import COMPARED
from steps.engines.formats.dialects.described import listed
from steps.engines.formats.format import Format
from steps.engines.formats.openai import OPENAI
from steps.engines.formats.preference import PREFERENCE
from steps.engines.formats.prompt_completion import PROMPT_COMPLETION
from steps.engines.formats.ranked import RANKED
from steps.engines.formats.record import RECORD
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


def detect_most(rows: Iterable[Row], where: str) -> str:
    """The format that most of the rows look like.

    Raises:
        InputError: none of them looks like a known format; the message lists the columns found.
    """
    rows = list(rows)
    votes = Counter(f for f in map(detect, rows) if f is not None)
    if votes:
        return max(votes, key=lambda f: (votes[f], f))
    # As the file has them.
    found = list(dict.fromkeys(str(k) for row in rows for k in row))
    raise InputError(
        f"no known row format; the columns are {listed(found)}",
        where=where,
        hint="set `columns`, such as {prompt: <column>, completion: <column>} (assay stage: --columns"
        " prompt=<column>,completion=<column>), or rename the columns to one of:"
        " messages; conversations; instruction and output; prompt and completion; chosen and rejected; text",
    )
