"""Rows that answer the same prompt differently."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers
from steps.dedup.fingerprints import Fingerprints
from steps.engines.minhash.resolve import first_of_equals


@dataclass(frozen=True)
class Contradictions:
    """Per row: number of different answers to its prompt (1: no contradiction), shape (n,); the first row, by
    canonical order, that answers the same prompt, shape (n,); and whether the row goes, shape (n,).

    prompts: number of prompts with more than one answer.
    """

    answers: Numbers
    first: Numbers
    dropped: npt.NDArray[np.bool_]
    prompts: int


def find_contradictions(prints: Fingerprints, policy: Literal["flag", "keep_first", "drop_all"]) -> Contradictions:
    """The canonical order decides which answer is the first one."""
    n = len(prints)
    first = np.arange(n, dtype=np.int64)
    rows = prints.in_order(np.flatnonzero(prints.claims))
    if not len(rows):
        # One value seen n times: documents claim nothing, and there may be millions of them.
        return Contradictions(np.broadcast_to(np.int64(1), n), first, np.broadcast_to(np.False_, n), 0)
    answers = np.ones(n, np.int64)
    asked = rows[first_of_equals(prints.asked, rows)]
    # One number for prompt and answer together; 128 bits of each went in.
    claim = prints.asked * np.uint64(0x9E3779B97F4A7C15) + prints.answered
    pair = rows[first_of_equals(claim, rows)]
    different = np.bincount(asked[pair == rows], minlength=n)
    answers[rows], first[rows] = different[asked], asked
    dropped = np.zeros(n, bool)
    if policy == "drop_all":
        dropped = answers > 1
    elif policy == "keep_first":
        dropped[rows] = (answers[rows] > 1) & (prints.answered[rows] != prints.answered[asked]).any(axis=1)
    return Contradictions(answers, first, dropped, int((different > 1).sum()))
