"""Answers to one prompt, each encoded as it is generated: the pair of a preference, the last turn of a labelled answer.

What stands before an answer is context only, also what the assistant said there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from steps.contracts.records import Row
from steps.engines.template.labelled import Labelled
from steps.engines.template.lint import Judge, Linted
from steps.engines.template.render import IGNORED

_PAIR = ("chosen", "rejected")


def judged_answers(judge: Judge, rows: Sequence[Row]) -> list[Linted]:
    """Of a preference the sequences of chosen and rejected, of any other row that of its last answer; or why not.

    A sequence ends with the last token of its answer. A pair whose answers are one and the same can't be used.
    """
    asked = [_asked(row) for row in rows]
    found = iter(judge([a for answers in asked for a in answers]))
    return [_together(row, [next(found) for _ in answers]) for row, answers in zip(rows, asked, strict=True)]


def _asked(row: Row) -> list[Row]:
    """Conversations that end with one answer each; none where nothing is asked."""
    if row["kind"] == "preference":
        prompt, answers = row["messages"], [row[name] for name in _PAIR]
    else:
        last = max((n for n, m in enumerate(row["messages"]) if m["role"] == "assistant"), default=0)
        prompt, answers = row["messages"][:last], [row["messages"][last : last + 1]]
    if all(m["role"] == "system" for m in prompt):
        return []
    context = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in prompt]
    return [{**row, "kind": "conversation", "messages": context, "chosen": a, "rejected": []} for a in answers]


def _together(row: Row, found: Sequence[Linted]) -> Linted:
    if not found:
        return Linted(reason="nothing_asked")
    for name, linted in zip(_PAIR, found, strict=False):
        where = f"{name} answer" if row["kind"] == "preference" else ""
        if not linted.sequences:
            return Linted(reason=linted.reason, detail=", ".join(filter(None, (where, linted.detail))))
        if len(linted.sequences) > 1:
            return Linted(reason="several_texts", detail=where)
    sequences = tuple(_to_its_end(linted.sequences[0]) for linted in found)
    if len(sequences) > 1 and same(*sequences):
        return Linted(reason="equal_answers")
    left_out = sum((linted.left_out for linted in found), start=type(found[0].left_out)())
    ends = frozenset[int]().union(*(linted.ends for linted in found))
    merged = any(linted.boundary_merged for linted in found)
    return Linted(sequences, None, "", merged, left_out, ends)


def same(one: Labelled, other: Labelled) -> bool:
    """Whether two sequences are of the same tokens, the same of them trained."""
    return np.array_equal(one.input_ids, other.input_ids) and np.array_equal(one.labels, other.labels)


def prompt_length(sequence: Labelled) -> int:
    """Tokens before the answer."""
    return int(_trained(sequence)[0])


def _to_its_end(sequence: Labelled) -> Labelled:
    return sequence.cut(int(_trained(sequence)[-1]) + 1)


def _trained(sequence: Labelled) -> Any:
    return np.flatnonzero(sequence.labels != IGNORED)
