"""Batches of few fixed shapes, so that what a model computes for a text doesn't depend on its neighbours.

A row of a matrix product has the same bits whatever the other rows hold, as long as the shape is the same; padding is
masked to exact zeros. With padding to the longest text of a batch the last bits change with the company.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Chosen: texts are padded to a multiple of so many tokens: few shapes, and at most 31 tokens wasted.
LENGTH_STEP = 32


def by_width(lengths: Sequence[int], longest: int) -> dict[int, list[int]]:
    """Positions of texts by the width in tokens that they are padded (or cut) to, narrowest first."""
    groups: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        groups.setdefault(min(-(-max(length, 1) // LENGTH_STEP) * LENGTH_STEP, longest), []).append(position)
    return dict(sorted(groups.items()))


def filled_up(items: Sequence[T], size: int) -> list[T]:
    """The items and copies of the last one, so that their number is a multiple of `size`."""
    return [*items, *[items[-1]] * (-len(items) % size)]
