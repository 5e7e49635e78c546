"""Text (or content) as a document."""

from steps.contracts.records import Row
from steps.engines.formats.columns import first, first_value
from steps.engines.formats.format import Draft, Format, Parsed
from steps.engines.formats.messages import text_of_column

_TEXTS = ("text", "content")


def read(row: Row) -> Parsed:
    """text (or content) as a document."""
    column = first(row, _TEXTS) or "text"
    return Parsed([Draft("document", text=text_of_column(row, column))], (column,))


TEXT = Format(lambda row: isinstance(first_value(row, _TEXTS), str), read)
