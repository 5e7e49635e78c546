"""Batches of one rank: together the ranks see in each optimizer step the rows that one process would see."""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, DataLoader, Sampler
from transformers.trainer_pt_utils import BatchRebalanceSampler

from steps.engines.lm.loss import IGNORED


class RankBatches(BatchRebalanceSampler):
    """Every `world`-th batch of an order of rows that all ranks share, from the `rank`-th on.

    Where the last ones are too few for all, the others get an empty one (`with_blanks`): accelerate would take rows
    from the beginning a second time. Trainer leaves samplers of the class above as they are, which know of ranks.
    """

    # What accelerate reads of a sampler: batches of any size, none left out.
    batch_size, drop_last = None, False

    def __init__(self, order: Any, rows: int, rank: int, world: int) -> None:
        self.order, self.rows, self.rank, self.world = order, rows, rank, world

    def set_epoch(self, epoch: int) -> None:
        """Before each pass over the rows."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        batches = iter(BatchSampler(self.order, self.rows, drop_last=False))
        while group := list(islice(batches, self.world)):
            yield group[self.rank] if self.rank < len(group) else []

    def __len__(self) -> int:
        return math.ceil(len(self.order) / (self.rows * self.world))


def with_blanks(collate: Callable[[list[dict[str, Any]]], Any]) -> Callable[[list[dict[str, Any]]], Any]:
    """The same, but an empty batch becomes two tokens of which none is trained: they add 0 to loss and gradients."""
    blank = {"input_ids": [0, 0], "labels": [IGNORED] * 2, "seq_lengths": [2]}

    def collated(rows: list[dict[str, Any]]) -> Any:
        return collate(rows or [blank])

    return collated


def told_of_epochs(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A data loader of one of several ranks whose order follows the epochs when a run goes on in the midst of one.

    accelerate then reaches the sampler through two wrappers, the inner of which doesn't show it.
    """
    shard = loader.batch_sampler
    if isinstance(shard, BatchSamplerShard):
        inner = shard.batch_sampler
        order: Sampler[Any] | Any = inner if hasattr(inner, "set_epoch") else inner.sampler
        shard.sampler = order
    return loader
