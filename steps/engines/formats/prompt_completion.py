"""Prompt and completion, each text or a list of messages."""

from steps.contracts.records import Row
from steps.engines.formats.chat import conversation
from steps.engines.formats.columns import COMPLETIONS, OUTPUTS, PROMPTS, first
from steps.engines.formats.format import Format, Parsed, Reading
from steps.engines.formats.preference import PREFERENCE
from steps.engines.formats.preference import read as read_preference
from steps.engines.formats.prompts import RowTexts


def read(row: Row, how: Reading) -> Parsed:
    """prompt and completion, or their aliases (PROMPTS, COMPLETIONS); with a rejected answer beside it a preference."""
    if PREFERENCE.looks(row):
        return read_preference(row, how)
    texts = RowTexts(row, how)
    names = COMPLETIONS if row.get("instruction") is None else OUTPUTS
    column = first(row, names) or names[0]
    asked = texts.asked()
    return conversation(texts, asked.turns + texts.answered(column), (*asked.used, column), asked.meta)


PROMPT_COMPLETION = Format(lambda row: first(row, PROMPTS) is not None and first(row, COMPLETIONS) is not None, read)
