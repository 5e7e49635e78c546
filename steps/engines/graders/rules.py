"""Rules of style that need no model: lengths, patterns that must and mustn't be found."""

import re
from typing import Any

from steps.engines.graders.classes import PARTIALLY, TOTALLY, WRONG
from steps.engines.graders.degeneration import says_nothing
from steps.engines.graders.extractors import compile_re2
from steps.engines.graders.graded import DECLINED, Graded
from steps.engines.graders.graders import Grading, Words

STYLE = "style"
_SENTENCE_END = re.compile(r"[.!?…。！？](?=\s|$)|[。！？]")
_SHOWN = 100


def kept(answer: str, rules: dict[str, Any], by: Grading, *, due: bool) -> Graded:
    """The share of the rules that an answer keeps; one that says nothing keeps none.

    Args:
        rules: min_words, max_words, max_sentences, max_chars -> number; must, must_not -> RE2 patterns.
        due: whether the question has an answer, so that a decline is one too many.
    """
    told = [_rule(answer, name, value) for name, value in rules.items() if name not in ("must", "must_not")]
    told += [_pattern(answer, p, wanted=True) for p in rules.get("must", ())]
    told += [_pattern(answer, p, wanted=False) for p in rules.get("must_not", ())]
    share = 0.0 if says_nothing(answer) else sum(t["kept"] for t in told) / len(told)
    declines = due and by.is_decline(answer)
    outcome = DECLINED if declines else TOTALLY if share == 1 else PARTIALLY if share else WRONG
    scores: dict[str, float | None] = {STYLE: share, "over_declined": float(declines)}
    return Graded(scores, outcome, {"rules": told})


def _rule(answer: str, name: str, bound: int) -> dict[str, Any]:
    found = {
        "words": lambda: len(Words().tokenize(answer)),
        "sentences": lambda: len(_SENTENCE_END.findall(answer.strip())) or 1,
        "chars": lambda: len(answer.strip()),
    }[name.partition("_")[2]]()
    fits = found >= bound if name.startswith("min_") else found <= bound
    return {"rule": f"{name}: {bound}", "kept": fits, "found": found}


def _pattern(answer: str, pattern: str, *, wanted: bool) -> dict[str, Any]:
    match = compile_re2(pattern, ignore_case=True).search(answer)
    found = match.group(0)[:_SHOWN] if match else None
    return {"rule": f"{'must' if wanted else 'must_not'}: {pattern}", "kept": (match is not None) == wanted,
            "found": found}  # fmt: skip
