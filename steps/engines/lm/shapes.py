"""Batches of few fixed shapes, so that what a model computes for a text doesn't depend on its neighbours.

A row of a matrix product has the same bits whatever the other rows hold, as long as the shape is the same; padding is
masked to exact zeros. With padding to the longest text of a batch the last bits change with the company.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

# Chosen: texts are padded to a multiple of so many tokens: few shapes, and at most 31 tokens wasted.
LENGTH_STEP = 32
# Chosen: tokens of a forward pass of a causal model, with padding: 16 rows of 1,024, or 2 of 8,192.
BATCH_TOKENS = 16_384

# Measured (make bench-evaluate): tokens of a pass of a causal model on a CPU. Of more the products leave its caches.
CPU_TOKENS = 2_048
# Chosen: float32 logits of at most so many bytes exist at once (of 523 positions at Llama 3's vocabulary), and twice as
# much for their cross entropy.
LOGITS_BYTES = 2**28


def by_width(lengths: Sequence[int], longest: int) -> dict[int, list[int]]:
    """Positions of texts by the width in tokens that they are padded (or cut) to, narrowest first."""
    groups: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        groups.setdefault(min(-(-max(length, 1) // LENGTH_STEP) * LENGTH_STEP, longest), []).append(position)
    return dict(sorted(groups.items()))


def eighths(length: int) -> int:
    """The least width that holds so many tokens, of few: multiples of 8, from 128 on of a sixteenth to an eighth of
    the width. Padding is 3 % of the width on average, and each doubling of the length adds 8 widths.
    """
    step = 1 << max(3, (length - 1).bit_length() - 4)
    return -(-length // step) * step


def filled_up(items: Sequence[T], size: int) -> list[T]:
    """The items and copies of the last one, so that their number is a multiple of `size`."""
    return [*items, *[items[-1]] * (-len(items) % size)]


def by_budget(order: Sequence[int], lengths: Sequence[int], *, rows: int, tokens: int) -> Iterator[list[int]]:
    """Positions in batches, in the order given (by length): at most `rows`, and at most `tokens` with the padding to
    the longest; what is longer is alone.
    """
    batch: list[int] = []
    longest = 0
    for position in order:
        longest = max(longest, lengths[position])
        if batch and (len(batch) == rows or (len(batch) + 1) * longest > tokens):
            yield batch
            batch, longest = [], lengths[position]
        batch.append(position)
    if batch:
        yield batch
