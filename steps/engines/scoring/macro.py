"""Macro-F1 over rows with labels, and its bootstrap interval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steps.contracts.evaluation import Estimate
from steps.engines.scoring.bootstrap import Floats, draws, estimate_of


@dataclass(frozen=True)
class Labelled:
    """Per row the place of the wanted label and of the found one (-1: none), both of shape (n,)."""

    wanted: Floats
    found: Floats

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.wanted)


def macro_estimate(rows: Labelled) -> Estimate:
    """The mean of the F1 of each label that is wanted in some row, with its 95 % interval over rows.

    In a resample a label takes no part that is neither wanted nor found in it.
    """
    drawn = np.concatenate([_macro_f1(rows, block) for block in draws(rows.n)])
    return estimate_of(_macro_f1(rows, np.arange(rows.n)[None])[0], drawn, rows.n)


def macro_difference(reference: Labelled, candidate: Labelled) -> Estimate:
    """Candidate minus reference, resampling the same rows for both.

    Raises:
        ValueError: the two sides aren't labelled alike.
    """
    if not np.array_equal(reference.wanted, candidate.wanted):
        raise ValueError("reference and candidate don't want the same labels")
    drawn = np.concatenate([_macro_f1(candidate, b) - _macro_f1(reference, b) for b in draws(reference.n)])
    whole = np.arange(reference.n)[None]
    change = _macro_f1(candidate, whole)[0] - _macro_f1(reference, whole)[0]
    return estimate_of(change, drawn, reference.n)


def _macro_f1(rows: Labelled, drawn: npt.NDArray[np.int64]) -> Floats:
    """One value per resample; `drawn`: row numbers, shape (k, n)."""
    per_label = []
    for label in np.unique(rows.wanted):
        wanted, found = rows.wanted == label, rows.found == label
        both, either = (wanted & found)[drawn].sum(1), wanted[drawn].sum(1) + found[drawn].sum(1)
        with np.errstate(invalid="ignore"):
            per_label.append(np.where(either > 0, 2 * both / np.maximum(either, 1), np.nan))
    mean: Floats = np.nanmean(np.stack(per_label), axis=0)
    return mean
