"""Prompt and completion, each text or a list of messages."""

from steps.contracts.records import Row
from steps.engines.formats.columns import COMPLETIONS, PROMPTS, first, prompt_turns, reply_turns, system_turn
from steps.engines.formats.format import Draft, Format, Parsed
from steps.engines.formats.messages import checked, tools_text


def read(row: Row) -> Parsed:
    """prompt and completion, or their aliases (PROMPTS, COMPLETIONS); each text or a list of messages."""
    prompt, completion = _pair(row) or ("prompt", "completion")
    messages = [*system_turn(row), *prompt_turns(row, prompt), *reply_turns(row, completion)]
    draft = Draft("conversation", messages=checked(messages), tools=tools_text(row))
    return Parsed([draft], (prompt, completion, "system", "tools", "functions"))


def _pair(row: Row) -> tuple[str, str] | None:
    prompt, completion = first(row, PROMPTS), first(row, COMPLETIONS)
    return (prompt, completion) if prompt and completion else None


PROMPT_COMPLETION = Format(lambda row: _pair(row) is not None, read)
