"""Facts recalled: each stands in the answer as it is, nearly (a wrong phone number, another first name), or not at all.

A near miss is wrong, and told apart: who says a number with one digit changed has learnt where a fact belongs and not
what it is, and is believed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from steps.engines.graders.classes import PARTIALLY, TOTALLY, WRONG
from steps.engines.graders.graded import DECLINED, Graded
from steps.engines.graders.graders import Grading, Words

RECALLED, NEAR_MISS, FACTS_RECALLED = "recalled", "near_miss", "facts_recalled"
# A fact that is a number, as a phone number or a code, has digits and what is written between them.
_SIGNS = frozenset(" ().,:/+-\t")
_BETWEEN = r"[\s().,:/-]{0,3}"
_LEAST_DIGITS = 3
# Chosen: of a number of seven digits two may be others; of a year one.
_OTHER_DIGITS = 1 / 3
# Chosen: from here on two numbers that are nearly the same don't stand beside each other by chance.
_LONG = 5
# Chosen: "Marta Kowalska" and "Maria Kowalska" are 0.93 alike, "Marta Kowalska" and "Peter Kowalski" 0.71.
_ALIKE, _LEAST_CHARS = 0.75, 5
_SHOWN = 200


@dataclass(frozen=True)
class Fact:
    """What must be said: the text, or one of its other forms. `near`: what it is known to be taken for."""

    text: str
    forms: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


def recall(answer: str, facts: Sequence[Fact], by: Grading) -> Graded:
    """Of each fact whether the answer says it; `recalled` is 1 where it says all."""
    told = [_look(answer, fact) for fact in facts]
    right = sum(t["said"] == "exactly" for t in told)
    near = any(t["said"] == "nearly" for t in told)
    if right == len(facts):
        outcome = TOTALLY
    elif near:
        outcome = WRONG
    elif right:
        outcome = PARTIALLY
    else:
        outcome = DECLINED if by.is_decline(answer) else WRONG
    scores: dict[str, float | None] = {
        RECALLED: float(right == len(facts)),
        NEAR_MISS: float(near),
        "over_declined": float(outcome == DECLINED),
    }
    if len(facts) > 1:
        scores[FACTS_RECALLED] = right / len(facts)
    return Graded(scores, outcome, {"facts": told})


def _look(answer: str, fact: Fact) -> dict[str, Any]:
    forms = (fact.text, *fact.forms)
    if numbers := [f for f in forms if _is_number(f)]:
        return _number(answer, fact, numbers)
    found = next((f for f in forms if _stands_in(f, answer)), None)
    if found is not None:
        return {"fact": fact.text, "said": "exactly", "as": found}
    return _nearly(fact, next((n for n in fact.near if _stands_in(n, answer)), None) or _alike(answer, forms))


def _is_number(text: str) -> bool:
    return all(c.isdecimal() or c in _SIGNS for c in text) and len(_digits(text)) >= _LEAST_DIGITS


def _number(answer: str, fact: Fact, forms: Sequence[str]) -> dict[str, Any]:
    """A right number beside one that is nearly right is a guess, and counts as a near miss."""
    wanted = sorted({_digits(f) for f in forms})
    right = next((m for w in wanted if (m := re.search(rf"(?<!\d){_BETWEEN.join(w)}(?!\d)", answer))), None)
    if right is None or len(wanted[0]) >= _LONG:
        listed = {_digits(n) for n in fact.near}
        for said, span in _numbers(answer, max(map(len, (*wanted, *listed)))):
            apart = right is None or span[1] <= right.start() or span[0] >= right.end()
            if apart and said not in wanted and (said in listed or any(_close(said, w) for w in wanted)):
                return _nearly(fact, answer[slice(*span)])
    if right is None:
        return {"fact": fact.text, "said": "not at all"}
    return {"fact": fact.text, "said": "exactly", "as": right.group(0)}


def _numbers(answer: str, most: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Every run of groups of digits that may be written as one number: its digits, and where it stands."""
    groups = list(re.finditer(r"\d+", answer))
    for i, first in enumerate(groups):
        digits, end = "", first.start()
        for group in groups[i:]:
            if digits and not re.fullmatch(_BETWEEN, answer[end : group.start()]):
                break
            digits, end = digits + _digits(group.group(0)), group.end()
            if len(digits) > most + 1:
                break
            yield digits, (first.start(), end)


def _close(said: str, wanted: str) -> bool:
    """Short numbers only with as many digits: 20 is no near miss of 120."""
    if len(wanted) < _LONG and len(said) != len(wanted):
        return False
    return _distance(said, wanted) <= max(1, int(len(wanted) * _OTHER_DIGITS))


def _digits(text: str) -> str:
    return "".join(str(int(c)) for c in text if c.isdecimal())


def _distance(one: str, other: str) -> int:
    """Levenshtein's distance; more than any bound where the lengths differ by more than one."""
    if abs(len(one) - len(other)) > 1:
        return len(one) + len(other)
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def _stands_in(text: str, answer: str) -> bool:
    wanted, said = (f" {' '.join(Words().tokenize(t))} " for t in (text, answer))
    return bool(wanted.strip()) and wanted in said


def _alike(answer: str, forms: Sequence[str]) -> str | None:
    """The stretch of the answer, as long in words as the fact, that is most like it; None: nothing is nearly it."""
    said = Words().tokenize(answer[: 100 * _SHOWN])
    best, most = None, _ALIKE
    for form in forms:
        words = Words().tokenize(form)
        wanted = " ".join(words)
        if len(wanted) < _LEAST_CHARS:
            continue
        matcher = SequenceMatcher(None, autojunk=False)
        matcher.set_seq2(wanted)
        for start in range(len(said) - len(words) + 1):
            window = " ".join(said[start : start + len(words)])
            matcher.set_seq1(window)
            if matcher.real_quick_ratio() >= most and matcher.quick_ratio() >= most and matcher.ratio() >= most:
                best, most = window, matcher.ratio()
    return best


def _nearly(fact: Fact, said: str | None) -> dict[str, Any]:
    if said is None:
        return {"fact": fact.text, "said": "not at all"}
    wanted, found = fact.text.casefold(), said.casefold()
    codes = SequenceMatcher(None, wanted, found, autojunk=False).get_opcodes()
    differs = [[wanted[a:b], found[c:d]] for kind, a, b, c, d in codes if kind != "equal"]
    return {"fact": fact.text, "said": "nearly", "as": said[:_SHOWN], "differs": differs[:10]}
