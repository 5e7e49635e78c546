"""Conversations: where a row has a list of messages, and the record that turns and the row's other columns make."""

from steps.contracts.records import Row
from steps.engines.formats.columns import LISTS
from steps.engines.formats.dialects.content import refuse_media
from steps.engines.formats.dialects.messages import Turns, as_turns, checked
from steps.engines.formats.dialects.parsing import parsed
from steps.engines.formats.dialects.roles import by_speakers
from steps.engines.formats.format import Draft, Parsed
from steps.engines.formats.marks import MARKS, label_of, reasoning_of
from steps.engines.formats.prompts import RowTexts, listed_elsewhere
from steps.engines.formats.rejected import RowRejected

ALWAYS = ("tools", "functions", "system", "systemInstruction")


def first_turn(row: Row) -> Row | None:
    """The first message of a row's message list; {} of an empty list's; None when there is no list."""
    for column in _lists(row):
        value = as_turns(row[column])
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = parsed(value, column)
            except RowRejected:
                continue
        if isinstance(value, list) and value:
            spoken = by_speakers(value[0]) or value
            if isinstance(spoken[0], dict):
                return spoken[0]
    return None


def _lists(row: Row) -> list[str]:
    """Columns that may hold the row's messages."""
    found = [c for c in LISTS if c in row]
    elsewhere = listed_elsewhere(row) if not found else None
    return found if elsewhere is None else [elsewhere]


def conversation(texts: RowTexts, turns: Turns, used: tuple[str, ...], meta: Row | None = None) -> Parsed:
    """The record of one conversation: an unpaired preference where the row says if its answer is wanted."""
    checked(turns.messages)
    label, marked = _marked(texts.row, turns.messages)
    draft = Draft(
        "conversation" if label is None else "unpaired_preference",
        messages=turns.messages, tools=texts.tools, label=label, meta={**turns.meta(), **(meta or {})},
    )  # fmt: skip
    return Parsed([draft], (*used, *ALWAYS, *marked), tuple(turns.notes))


def _marked(row: Row, messages: list[Row]) -> tuple[bool | None, tuple[str, ...]]:
    """The row's label, and the columns that gave it and the last answer's reasoning."""
    if row.keys().isdisjoint(MARKS):
        return None, ()
    refuse_media(row, "the row")
    thought, thought_in = reasoning_of(row)
    if thought is not None and not _think(messages, thought):
        thought_in = ()
    label, label_in = label_of(row)
    return label, (*thought_in, *label_in)


def _think(messages: list[Row], thought: str) -> bool:
    """Give the last turn of the assistant this reasoning, unless it has its own."""
    last = next(m for m in reversed(messages) if m["role"] == "assistant")
    if last["reasoning"] not in (None, thought):
        return False
    last["reasoning"] = thought
    return True
