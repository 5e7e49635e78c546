"""Rows that answer the same prompt differently."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from steps.dedup.fingerprints import Fingerprints


@dataclass(frozen=True)
class Contradictions:
    """Per row: number of different answers to its prompt (1: no contradiction), shape (n,); the first row, by
    canonical order, that answers the same prompt, shape (n,); and whether the row goes, shape (n,).

    prompts: number of prompts with more than one answer.
    """

    answers: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    dropped: npt.NDArray[np.bool_]
    prompts: int


def find_contradictions(
    prints: Fingerprints, order: npt.NDArray[np.int64], policy: Literal["flag", "keep_first", "drop_all"]
) -> Contradictions:
    """`order` is the rows' canonical order; it decides which answer is the first one."""
    n = len(order)
    if not n:
        return Contradictions(np.ones(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool), 0)
    _, claims = np.unique(np.char.add(prints.asked, prints.answered), return_inverse=True)
    _, prompt = np.unique(prints.asked, return_inverse=True)
    pairs = np.unique(np.stack([prompt, claims]), axis=1)
    per_prompt = np.bincount(pairs[0], minlength=int(prompt.max()) + 1)
    answers = np.where(prints.asked == b"", 1, per_prompt[prompt])
    _, at = np.unique(prompt[order], return_index=True)
    first = order[at][prompt]
    dropped = np.zeros(n, bool)
    if policy == "drop_all":
        dropped = answers > 1
    elif policy == "keep_first":
        dropped = (answers > 1) & (claims != claims[first])
    prompts = len(np.unique(prompt[answers > 1]))
    return Contradictions(answers, first, dropped, prompts)
