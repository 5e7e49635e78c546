"""Names of columns as people write them (`Question`, `System Prompt`, `MESSAGES `), and those that the formats know.

Case, blanks, hyphens, underscores and punctuation make no difference. Where two columns of a row would get the same
name and say different things, nobody can know which one is meant.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from steps.contracts.records import Row
from steps.engines.formats import compared, preference, ranking
from steps.engines.formats.columns import COMPLETIONS, LISTS, OUTPUTS, PROMPTS, RESPONSES
from steps.engines.formats.dialects.content import MEDIA_COLUMNS
from steps.engines.formats.dialects.described import listed
from steps.engines.formats.marks import LABELS, REASONING, says
from steps.engines.formats.rejected import RowRejected

_NAMES = (
    *PROMPTS, *COMPLETIONS, *OUTPUTS, *RESPONSES, *LISTS, *LABELS, *REASONING, *preference.CHOSEN, *preference.REJECTED,
    *(name for pair in compared.PAIRS for name in pair), "better_response_id", "winner", *ranking.PLURAL,
    *MEDIA_COLUMNS, "instruction", "history", "system", "systemInstruction", "tools", "functions", "text", "content",
    "message_id", "parent_id", "message_tree_id", "deleted",
)  # fmt: skip
KNOWN = frozenset(_NAMES)
# OpenOrca and others.
_ALSO = {"system_prompt": "system", "system_message": "system", "sys_prompt": "system"}
_SPEAKERS = (
    (
        {"human", "user", "userprompt", "usermessage", "userinput", "userquery", "inputtext"},
        {"assistant", "ai", "bot", "gpt", "chatgpt", "chatbot", "assistantresponse", "assistantmessage", "botmessage",
         "botresponse", "modelresponse", "modeloutput", "airesponse", "aimessage", "expectedoutput", "outputtext"},
    ),
    ({"q"}, {"a"}),
)  # fmt: skip
# Columns in which something is asked or answered, so that none called after a speaker is.
_SAID = frozenset((*PROMPTS, *COMPLETIONS, *OUTPUTS, *RESPONSES, *LISTS, "instruction", "text", "chosen", "rejected"))
_NOT_SAID = re.compile(r"[\W_]+")


def fold(name: str) -> str:
    """A name without what people write differently."""
    return _NOT_SAID.sub("", name).casefold()


_STANDARD = {**{fold(n): n for n in reversed(_NAMES)}, **{fold(n): standard for n, standard in _ALSO.items()}}


def standard_name(name: str) -> str | None:
    """The standard name that a column of another name has; None where it has none, or is called by it already."""
    return None if name in KNOWN else _STANDARD.get(fold(name))


def is_known(name: str) -> bool:
    """Whether a format has a column of this name, however it is written."""
    return name.strip() in KNOWN or standard_name(name) is not None


@lru_cache(maxsize=1024)
def renames(names: tuple[str, ...]) -> dict[str, str]:
    """The columns that get another name, and which: also the two that are called after who speaks."""
    found = {name: standard for name in names if (standard := standard_name(str(name))) is not None}
    return found if not _SAID.isdisjoint((*names, *found.values())) else {**found, **_speakers(names)}


def _speakers(names: tuple[str, ...]) -> dict[str, str]:
    """A column of what the user says and one of the answer, where there is one of each."""
    for asks, answers in _SPEAKERS:
        pair = [[n for n in names if fold(str(n)) in wanted] for wanted in (asks, answers)]
        if [len(p) for p in pair] == [1, 1]:
            return {pair[0][0]: "prompt", pair[1][0]: "completion"}
    return {}


def standard(row: Row, fixed: Iterable[str] = (), *, strict: bool = True) -> Row:
    """The row under the names that the formats know. `fixed` are standard names that no further column may get.

    Raises:
        RowRejected: ambiguous_columns: two columns would get the same name and say different things. With `strict`
            off the first one gets it.
    """
    found = renames(tuple(row))
    if not found:
        return row
    out = {k: v for k, v in row.items() if k not in found}
    for name, wanted in found.items():
        if wanted in fixed:
            out[name] = row[name]
        elif not says(out.get(wanted)):
            out[wanted] = row[name]
        elif strict and says(row[name]) and row[name] != out[wanted]:
            both = listed([n for n in row if n == wanted or found.get(n) == wanted])
            hint = (
                f"columns {both} would all be read as {wanted!r}: say which by `columns`, or name others in `as_meta`"
            )
            raise RowRejected("ambiguous_columns", hint)
    return out
