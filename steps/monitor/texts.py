"""What is asked and answered in rows, and what can be counted of it, the same for logged requests and training rows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from steps.contracts.records import Row
from steps.engines.text.languages import UNDECIDED
from steps.engines.text.pseudonyms import PSEUDONYM
from steps.engines.text.sides import answers, asked_and_answered, opening

# Number of tokens of a text.
Counter: TypeAlias = Callable[[str], int]
_WORD = re.compile(r"\w+|[^\w\s]")
# What tells that scrub replaced a value, in its modes.
_REPLACED = {"pseudonymise": PSEUDONYM, "redact": re.compile(r"<[A-Z][A-Z_]{2,}>")}


@dataclass(frozen=True)
class Said:
    """One request. `answered`: None where it failed; `about`: what tells its topic: the user's words before the first
    answer, without the system's.
    """

    record_id: str
    asked: str
    answered: str | None
    about: str


def logged(row: Row, *, failed: bool) -> Said:
    """A request of a log; of a corrected one the answer that was given."""
    if row["kind"] == "preference":
        asked, answer = asked_and_answered(row)[0], answers(row)[1]
    elif failed:
        asked, answer = "\n\n".join(m["content"] for m in row["messages"] if m["content"]), None
    else:
        asked, answer = asked_and_answered(row)
    return Said(row["record_id"], asked, answer, opening(row) or asked)


def trained(row: Row) -> Said:
    """A training row; of a preference the chosen answer."""
    asked, answer = asked_and_answered(row)
    return Said(
        row["record_id"], asked, answers(row)[0] if row["kind"] == "preference" else answer, opening(row) or asked
    )


def words(text: str) -> int:
    """Words and signs, where there is no tokenizer."""
    return len(_WORD.findall(text))


def has_personal_data(text: str, mode: str) -> bool | None:
    """Whether scrub replaced something in the text; None where its mode leaves no trace."""
    pattern = _REPLACED.get(mode)
    return None if pattern is None else pattern.search(text) is not None


def known_languages(found: Sequence[str], least: float = 0.01) -> frozenset[str]:
    """Languages that at least so large a share of these rows is in; UNDECIDED is always among them."""
    shares = {language: found.count(language) / len(found) for language in set(found)}
    return frozenset({UNDECIDED, *(language for language, share in shares.items() if share >= least)})
