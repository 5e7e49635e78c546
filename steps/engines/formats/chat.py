"""Lists of messages: where a row has them, and the conversation that they make."""

from steps.contracts.records import Row
from steps.engines.formats.columns import system_turn
from steps.engines.formats.format import Draft, Parsed
from steps.engines.formats.messages import checked, parsed, tools_text
from steps.engines.formats.rejected import RowRejected

LISTS = ("messages", "conversations", "conversation")


def first_turn(row: Row) -> Row | None:
    """The first message of a row's message list; {} of an empty list's; None when there is no list."""
    for column in LISTS:
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = parsed(value, column)
            except RowRejected:
                continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return value[0]
    return None


def conversation(row: Row, messages: list[Row], extra: Row, column: str) -> Parsed:
    """The messages of `column` with the row's system text and tools; `extra`: what a record has no field for."""
    draft = Draft("conversation", messages=[*system_turn(row), *checked(messages)], tools=tools_text(row))
    if extra:
        draft.meta["message_fields"] = extra
    return Parsed([draft], (column, "tools", "functions", "system"))
