"""Pairs of answers as a subject is given them: the same tokens as in training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from steps.contracts.records import Row
from steps.engines.template.answers import judged_answers
from steps.engines.template.labelled import Labelled
from steps.engines.template.lint import Judge
from steps.engines.template.render import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Chosen and rejected answer, each behind the prompt; None: the row is no pair, or none that could be trained on.
Pair: TypeAlias = tuple[Labelled, Labelled] | None


def encoded_pairs(
    rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", template: ChatTemplate, window: int
) -> tuple[list[Pair], tuple[str, ...]]:
    """Both answers of each preference, and notes on those that are left out: refused by the template, or longer than
    `window` tokens.
    """
    found: list[Pair] = [None] * len(rows)
    due = [i for i, row in enumerate(rows) if row["kind"] == "preference"]
    judge = Judge(tokenizer, template, check_control_tokens=False)
    for i, linted in zip(due, judged_answers(judge, [rows[i] for i in due]), strict=True):
        if linted.sequences and all(len(s.input_ids) <= window for s in linted.sequences):
            chosen, rejected = linted.sequences
            found[i] = (chosen, rejected)
    lost = sum(found[i] is None for i in due)
    note = f"{lost} of {len(due)} pairs are left out: too long, equal, or the template can't write them"
    return found, (note,) if lost else ()


def preferred(chosen: float, rejected: float) -> float:
    """1 where the chosen answer has the larger number, 0.5 where both have the same."""
    return 0.5 if chosen == rejected else float(chosen > rejected)
