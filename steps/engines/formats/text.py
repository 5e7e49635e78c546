"""Text (or content) as a document."""

import re

from steps.contracts.records import Row
from steps.engines.formats.bare import ALONE, is_message, speaks
from steps.engines.formats.columns import first, first_value
from steps.engines.formats.dialects.described import type_of
from steps.engines.formats.dialects.messages import text_of_column
from steps.engines.formats.format import Draft, Format, Parsed, Reading
from steps.engines.formats.rejected import RowRejected

_TEXTS = ("text", "content")
# Marks of ChatML, Llama 2 and 3, Gemma, Zephyr, Alpaca's template, Guanaco.
_RENDERED = re.compile(
    r"<\|im_start\|>|\[INST\]|<\|start_header_id\|>|<start_of_turn>|<\|(?:user|assistant|system)\|>"
    r"|^### ?(?:Instruction|Response|Human|Assistant|User)\b:?",
    re.MULTILINE,
)


def read(row: Row, how: Reading) -> Parsed:
    """text (or content) as a document."""
    column = ALONE if ALONE in row else first(row, _TEXTS) or "text"
    if not isinstance(row.get(column) or "", str):
        raise RowRejected("not_text", f"column {column!r} is {type_of(row[column])}, not text")
    return Parsed([Draft("document", text=text_of_column(row, column))], (column,))


def is_rendered_chat(row: Row) -> bool:
    """Whether the row's text looks like a conversation that a chat template has rendered."""
    text = first_value(row, _TEXTS)
    return isinstance(text, str) and _RENDERED.search(text) is not None


def _looks(row: Row) -> bool:
    """A text that nobody says: with a role beside it, it is one message of a conversation."""
    return isinstance(first_value(row, _TEXTS), str) and not (is_message(row) and speaks(row))


TEXT = Format(_looks, read)
