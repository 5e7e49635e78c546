"""Two answers side by side, and which of them is better: PKU's `better_response_id`, the arena's `winner`."""

from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.format import Format, Parsed, Reading
from steps.engines.formats.preference import read as read_preference
from steps.engines.formats.rejected import RowRejected

# Names of the two answers, the first and the second.
PAIRS = (
    ("response_0", "response_1"), ("response_a", "response_b"), ("response_1", "response_2"), ("answer_a", "answer_b"),
    ("completion_a", "completion_b"), ("output_1", "output_2"), ("conversation_a", "conversation_b"),
)  # fmt: skip
_COLUMNS = frozenset(name for pair in PAIRS for name in pair)
_WINNERS = ("better_response_id", "winner", "preference", "preferred", "better", "chosen", "label")
_FIRST = {"a", "model_a", "response_a", "answer_a", "first", "left"}
_SECOND = {"b", "model_b", "response_b", "answer_b", "second", "right"}


def _pair(row: Row) -> tuple[str, str] | None:
    return next((p for p in PAIRS if row.get(p[0]) is not None and row.get(p[1]) is not None), None)


def _winner(row: Row) -> str | None:
    return next((c for c in _WINNERS if isinstance(row.get(c), (str, int))), None)


def read(row: Row, how: Reading) -> Parsed:
    """The better answer is the chosen one.

    Raises:
        RowRejected: no_pair: neither is better; bad_ranks: what says which one is better isn't understood.
    """
    pair, winner = _pair(row), _winner(row)
    if pair is None or winner is None:
        raise RowRejected("missing_column", "two answers need a column 'winner'")
    better = _place(row[winner], pair)
    if better is None:
        hint = f"`{winner}` must name the better of `{pair[0]}` and `{pair[1]}`: one of them, a or b, or its number"
        raise RowRejected("bad_ranks", hint)
    if better < 0:
        raise RowRejected("no_pair", "neither of the two answers is the better one")
    rest = {k: v for k, v in row.items() if k not in (*pair, winner)}
    parsed = read_preference({**rest, "chosen": row[pair[better]], "rejected": row[pair[1 - better]]}, how)
    return Parsed(parsed.drafts, (*parsed.used, *pair, winner), parsed.notes)


def _place(value: Any, pair: tuple[str, str]) -> int | None:
    """0 or 1; -1 where neither is better; None for what isn't understood."""
    name = str(value).strip().lower()
    if name.startswith("tie") or name in ("both", "neither", "none", "equal"):
        return -1
    numbers = [p.rpartition("_")[2] for p in pair]
    for place, names in enumerate((_FIRST, _SECOND)):
        if name in names or name == pair[place] or (numbers[place].isdigit() and name == numbers[place]):
            return place
    return None


def _looks(row: Row) -> bool:
    return not _COLUMNS.isdisjoint(row) and _pair(row) is not None and _winner(row) is not None


COMPARED = Format(_looks, read)
