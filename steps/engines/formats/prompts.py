"""What is asked in a row, and what is answered: columns of text or of messages as the turns of a conversation."""

import re
from typing import Any

from steps.contracts.records import Row, message
from steps.engines.formats.columns import COMPLETIONS, LISTS, PROMPTS, RESPONSES, first
from steps.engines.formats.dialects.calls import tools_text
from steps.engines.formats.dialects.content import content_of, is_part
from steps.engines.formats.dialects.messages import Turns, as_turns, is_blank, read_messages, text_of_column
from steps.engines.formats.dialects.parsing import parsed
from steps.engines.formats.dialects.roles import by_speakers, has_role
from steps.engines.formats.format import AS_USUAL, Reading
from steps.engines.formats.rejected import RowRejected

_INPUTS = ("input", "context")
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_LIST = re.compile(r"\s*\[\s*[{\]]")
_LISTED = re.compile(r"""\s*\[\s*\{\s*["'](?:role|from|content|value)["']""")
# Columns in which something is said, so that a list of messages under another name may be anything.
_ELSEWHERE = frozenset((*LISTS, *PROMPTS, *COMPLETIONS, *RESPONSES, "instruction", "history", "chosen", "rejected"))
# The meta of a row in which an input follows an instruction: where it starts.
INPUT_AT = "alpaca_input_at"


class Side:
    """Turns and the columns that they came from."""

    def __init__(self, turns: Turns, used: tuple[str, ...], meta: Row | None = None) -> None:
        self.turns, self.used, self.meta = turns, used, meta or {}


class RowTexts:
    """One row under a reading. `tools` is the row's list of tools as JSON text."""

    def __init__(self, row: Row, how: Reading) -> None:
        self.row, self.how = row, how
        self.tools = tools_text(row)

    def turns(self, column: str) -> Turns:
        """A column's list of messages."""
        return read_messages(self.row[column], column, self.how.roles, self.tools)

    def system(self) -> Turns:
        """The column `system`; nothing where it is missing or blank."""
        value = self.row.get("system", self.row.get("systemInstruction"))
        text = value if isinstance(value, str) else "" if value is None else content_of(value).text
        return Turns([message("system", text)] if text.strip() else [])

    def begun(self, turns: Turns) -> Turns:
        """The turns behind the row's system text, which they may begin with themselves."""
        system = self.system()
        again = turns.messages[:1] == system.messages
        return turns if again else system + turns

    def asked(self) -> Side:
        """System text, history and prompt: a list of messages, an instruction with its input, or a prompt column.

        Raises:
            RowRejected: none of them is there.
        """
        column = listed(self.row)
        if column is not None:
            return Side(self.begun(self.turns(column)), (column,))
        prompt = self._instructed() if self.row.get("instruction") is not None else self._prompted()
        used = (*prompt.used, "history")
        return Side(self.system() + self._history() + prompt.turns, used, prompt.meta)

    def _instructed(self) -> Side:
        """The instruction, and behind a blank line its input; either may be empty, not both."""
        column = first(self.row, _INPUTS) or "input"
        text, more = text_of_column(self.row, "instruction", blank=True), text_of_column(self.row, column, blank=True)
        if is_blank(text):
            text = more if not is_blank(more) else text_of_column(self.row, "instruction")
            return Side(_user(text), ("instruction", column))
        if is_blank(more):
            return Side(_user(text), ("instruction", column))
        return Side(_user(f"{text}\n\n{more}"), ("instruction", column), {INPUT_AT: len(text) + 2})

    def _prompted(self) -> Side:
        column = first(self.row, PROMPTS)
        if column is None:
            raise RowRejected("missing_column", "column 'prompt' is missing")
        if _is_messages(self.row[column], self.how):
            return Side(self.turns(column), (column,))
        if isinstance(self.row[column], dict) and has_role(self.row[column], self.how.roles):
            return Side(read_messages([self.row[column]], column, self.how.roles, self.tools), (column,))
        text = text_of_column(self.row, column)
        if is_transcript(text) and (turns := transcript(text))[-1]["role"] == "assistant" and not turns[-1]["content"]:
            return Side(Turns(turns[:-1]), (column,))
        context = self._context() if column != "context" else ""
        if context:
            return Side(_user(f"{context}\n\n{text}"), (column, "context"))
        return Side(_user(text), (column,))

    def _context(self) -> str:
        """What a question is about; "" where that isn't text."""
        value = self.row.get("context")
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            value = "\n\n".join(value)
        return value if isinstance(value, str) and not is_blank(value) else ""

    def _history(self) -> Turns:
        """The column `history`: [[user text, assistant text], ...], or a list of messages."""
        turns = Turns()
        pairs = parsed(self.row.get("history"), "history") or []
        if isinstance(pairs, list) and _is_spoken_or_messages(pairs, self.how):
            return read_messages(pairs, "history", self.how.roles, self.tools)
        for pair in pairs:
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
                raise RowRejected("bad_history", "history must be a list of [user text, assistant text]")
            turns = turns + _user(pair[0]) + answer_of(pair[1])
        return turns

    def answered(self, column: str) -> Turns:
        """An answer: a list of messages, one, text, or another value as its JSON text."""
        if self.row.get(column) is not None:
            return self.answer(self.row[column], column)
        return answer_of(text_of_column(self.row, column))

    def answer(self, value: Any, column: str) -> Turns:
        """The same of a value, which isn't None."""
        if isinstance(value, dict) and has_role(value, self.how.roles):
            value = [value]
        if _is_messages(value, self.how):
            return read_messages(value, column, self.how.roles, self.tools)
        if isinstance(value, list) and value and all(is_part(v) for v in value):
            return read_messages([{"role": "assistant", "content": value}], column, None, self.tools)
        return answer_of(text_of_column({column: value}, column))


def listed(row: Row) -> str | None:
    """The column with a list of messages, or its text; None without one."""
    for column in LISTS:
        value = as_turns(row.get(column))
        if isinstance(value, list) and (_is_spoken(value) or (column == "messages" and first(row, PROMPTS) is None)):
            return column
        if isinstance(value, str) and _LIST.match(value):
            return column
    return listed_elsewhere(row)


def _is_spoken(value: list[Any]) -> bool:
    return bool(value) and (isinstance(value[0], dict) or by_speakers(value[0]) is not None)


def _is_spoken_or_messages(value: Any, how: Reading) -> bool:
    whole = isinstance(value, list) and bool(value) and all(by_speakers(v) for v in value)
    return whole or _is_messages(value, how)


def listed_elsewhere(row: Row) -> str | None:
    """The only column with a list of messages, whatever its name, of a row in which nothing else is said."""
    if not _ELSEWHERE.isdisjoint(row):
        return None
    found = [c for c, v in row.items() if isinstance(v, (list, str)) and v and _is_messages(v, AS_USUAL)]
    return found[0] if len(found) == 1 else None


def answer_of(text: str) -> Turns:
    """Text as one assistant turn."""
    if text.lstrip()[:1] != "<":  # no think tags
        return Turns([message("assistant", text)])
    return read_messages([{"role": "assistant", "content": text}])


def _user(text: str) -> Turns:
    return Turns([message("user", text)])


def _is_messages(value: Any, how: Reading) -> bool:
    """Whether a value is a list of messages; text only where its first key is one of a message's."""
    if isinstance(value, str):
        if not _LISTED.match(value):
            return False
        try:
            value = parsed(value, "")
        except RowRejected:
            return False
    return (
        isinstance(value, list) and bool(value) and all(isinstance(v, dict) and has_role(v, how.roles) for v in value)
    )


def is_transcript(text: str) -> bool:
    """Whether text looks like hh-rlhf's `\\n\\nHuman: ...\\n\\nAssistant: ...`."""
    return text.lstrip().startswith("Human:")


def transcript(text: str) -> list[Row]:
    """Messages of hh-rlhf's transcript form; a turn's text is stripped. Only the last turn may be blank."""
    pieces = _TURN.split(text.lstrip("\n"))
    if pieces[0].strip():
        raise RowRejected("bad_transcript", "a transcript must start with 'Human:'")
    turns = [
        message("user" if who == "Human" else "assistant", said.strip())
        for who, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if any(not t["content"] for t in turns[:-1]):
        raise RowRejected("empty_text", "a turn of the transcript is blank")
    return turns
