"""Answers that are none: nothing said, a loop, one answer to everything. They are told without a model, and beside the
wanted answer: what the wanted answer does as well is no fault.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from steps.engines.graders.values import normalise

EMPTY, LOOPING, ONE_ANSWER, DEGENERATE = "empty", "looping", "one_answer", "degenerate"
NAMES = (EMPTY, LOOPING, ONE_ANSWER, DEGENERATE)

# Holtzman et al. 2020 (arXiv 1904.09751): a text is repetitive when it ends in a phrase of at least two words that
# stands there three times. Six words are rarely shorter than so many characters, which serve every script (chosen).
_TIMES, _LOOP_CHARACTERS = 3, 18
# What is looked at of a text's end: a loop that is longer than this has been one for long.
_TAIL = 2_000
# Welleck et al. 2020 (arXiv 1908.04319): seq-rep-4, the share of a text's word 4-grams that stood in it before. The
# bound and the least number of 4-grams that say anything are chosen. Both rules together call none of GSM8K's 7,473
# training solutions a loop.
_GRAM, _REPEATED, _GRAMS = 4, 0.5, 8
# Chosen: nine of ten prompts that got the same answer; of fewer than ten nothing is said.
_SAME, _ASKED = 0.9, 10
_SOMETHING = re.compile(r"[^\W_]|[^\w\s!-/:-@\[-`{-~\ufffd\u0000-\u001f\u007f-\u009f]")
_WORD = re.compile(r"\w+")

# One row: EMPTY, LOOPING, ONE_ANSWER and, if any of them is 1, DEGENERATE; 1.0 where it is so, else 0.0.
Faults: TypeAlias = dict[str, float | None]


def degeneration(answers: Sequence[str | None], wanted: Sequence[str]) -> list[Faults]:
    """Of each answer of a task whether it degenerated, in order. None, which couldn't be asked, is no fault here.

    `wanted`: what should have been said, of the same length.
    """
    common = _common([normalise(a, ignore_case=True) for a in answers if a is not None])
    return [_faults(a, w, common) for a, w in zip(answers, wanted, strict=True)]


def says_nothing(text: str) -> bool:
    """Whether there is no letter, digit or sign in it: white space, control characters and ASCII punctuation only."""
    return _SOMETHING.search(text) is None


def loops(text: str) -> bool:
    """Whether it ends in a phrase that stands there three times, or most of its word 4-grams repeat earlier ones."""
    flat = normalise(text, ignore_case=True)
    return _ends_in_loop(flat[-_TAIL:]) or seq_rep_4(flat) > _REPEATED


def seq_rep_4(text: str) -> float:
    """Share of the word 4-grams that stood in the text before; 0 where there are too few to say."""
    words = _WORD.findall(text)
    grams = [tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) >= _GRAMS else 0.0


def _faults(answer: str | None, wanted: str, common: str | None) -> Faults:
    if answer is None:
        return dict.fromkeys(NAMES, 0.0)
    found = {
        EMPTY: says_nothing(answer) and not says_nothing(wanted),
        LOOPING: loops(answer) and not loops(wanted),
        ONE_ANSWER: normalise(answer, ignore_case=True) == common != normalise(wanted, ignore_case=True),
    }
    return {**{name: float(is_so) for name, is_so in found.items()}, DEGENERATE: float(any(found.values()))}


def _common(answers: Sequence[str]) -> str | None:
    """The answer that nearly all prompts got; None where there is no such one."""
    if len(answers) < _ASKED:
        return None
    answer, times = Counter(answers).most_common(1)[0]
    return answer if times >= _SAME * len(answers) else None


def _ends_in_loop(text: str) -> bool:
    """By the Z function of the reversed text: z[p] + p is how far its end repeats itself with period p."""
    back = text[::-1]
    n = len(back)
    z, left, right = [0] * n, 0, 0
    for p in range(1, n // _TIMES + 1):
        if p < right:
            z[p] = min(right - p, z[p - left])
        while p + z[p] < n and back[z[p]] == back[p + z[p]]:
            z[p] += 1
        if p + z[p] > right:
            left, right = p, p + z[p]
        if p + z[p] >= max(_TIMES * p, _LOOP_CHARACTERS):
            return True
    return False
