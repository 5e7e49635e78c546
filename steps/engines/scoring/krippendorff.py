"""Krippendorff's alpha: how far many annotators agree, some of whom rated some rows only."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from steps.contracts.evaluation import Estimate
from steps.engines.scoring.bootstrap import Floats, draws, estimate_of

Level: TypeAlias = Literal["nominal", "ordinal", "interval"]


def alpha(ratings: Floats, level: Level) -> float:
    """Alpha of ratings of shape (rows, annotators), NaN where one is missing (Krippendorff 2011).

    Rows with less than two ratings say nothing. NaN: nothing was rated twice, or all ratings are the same.
    """
    values, by_row = _coincidences(ratings)
    return float(_alpha(by_row.sum(0), values, level)) if len(values) else math.nan


def alpha_estimate(ratings: Floats, level: Level) -> Estimate | None:
    """Alpha with its 95 % interval by a bootstrap over the rows that were rated twice; None where it isn't defined."""
    values, by_row = _coincidences(ratings)
    if not len(values) or math.isnan(whole := float(_alpha(by_row.sum(0), values, level))):
        return None
    n, size = len(by_row), len(values)
    flat = by_row.reshape(n, size * size)
    drawn = []
    for rows in draws(n):
        times = np.stack([np.bincount(r, minlength=n) for r in rows]).astype(np.float64)
        drawn.append(_alpha((times @ flat).reshape(-1, size, size), values, level))
    found = np.concatenate(drawn)
    # A resample without two different ratings has no disagreement by chance, and none that was seen.
    return estimate_of(np.float64(whole), np.where(np.isnan(found), 1.0, found), n)


def by_annotator(ratings: Sequence[Mapping[str, float]]) -> tuple[tuple[str, ...], Floats]:
    """The annotators, and ratings by row and annotator, NaN where one is missing; of each row's by annotator."""
    who = tuple(sorted({name for row in ratings for name in row}))
    table = np.full((len(ratings), len(who)), np.nan)
    for number, row in enumerate(ratings):
        for name, value in row.items():
            table[number, who.index(name)] = value
    return who, table


def _coincidences(ratings: Floats) -> tuple[Floats, Floats]:
    """The values that occur, ascending, and of each row with two ratings and more how often each two of them stand
    together, shape (rows, values, values): a row of m ratings counts m.
    """
    ratings = ratings[(~np.isnan(ratings)).sum(1) > 1]
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(1).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :]
    each = np.arange(len(values))
    pairs[:, each, each] -= counts
    return values, pairs / (counts.sum(1) - 1)[:, None, None] if len(pairs) else pairs


def _alpha(together: Floats, values: Floats, level: Level) -> Floats:
    """1 - disagreement seen / by chance, of coincidences of shape (..., values, values)."""
    times = together.sum(-1)
    apart = _apart(times, values, level)
    n = times.sum(-1)
    seen = (together * apart).sum((-2, -1))
    chance = (times[..., :, None] * times[..., None, :] * apart).sum((-2, -1))
    found: Floats = 1.0 - np.divide((n - 1) * seen, chance, out=np.full(np.shape(chance), np.nan), where=chance > 0)
    return found


def _apart(times: Floats, values: Floats, level: Level) -> Floats:
    """The squared distance of each two values; an ordinal one is the number of ratings between them."""
    if level == "nominal":
        other: Floats = (values[:, None] != values[None, :]).astype(np.float64)
        return other
    if level == "interval":
        squared: Floats = (values[:, None] - values[None, :]) ** 2
        return squared
    # The sum from one value to the other, each end by half.
    middle = np.cumsum(times, -1) - times / 2
    distance: Floats = (middle[..., :, None] - middle[..., None, :]) ** 2
    return distance
