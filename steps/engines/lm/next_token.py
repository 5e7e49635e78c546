"""How probable a few next tokens are, after texts that begin alike and end alike: what they share is computed once.

A text is prefix + middle + tail. The prefix is the same for all (a rubric): its keys and values are computed once. The
middle is one's own (a row): one forward pass. The tails are the same for all middles (questions about the row): each
is a short pass behind the middle's keys and values, which stand there for all of them.

Middles are padded to few widths, and each width has one number of rows (`rows_at`), whatever there is to compute, so
that a number doesn't depend on its neighbours or on the order: a row of a matrix product has the same bits whatever
the other rows hold, as long as the shape is the same. What holds on one kind of processor with one number of threads
isn't said of another.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from steps.contracts.arrays import Vectors
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, core_of
from steps.engines.lm.shapes import filled_up

# Told the positions of some middles, and the probabilities of their choices: shape (middles, tails, choices), float32.
Done: TypeAlias = Callable[[Sequence[int], Vectors], None]

# Chosen: middles are padded to a multiple of so many tokens, 4 on average: 3 % of 128.
STEP = 8
# Chosen: middles of a forward pass on the CPU and on a GPU, in tokens: products of matrices are large enough there.
CPU_TOKENS, GPU_TOKENS = 1024, 16_384
# Chosen: keys and values of a batch are those of at most so many times the tokens of its middles.
_MOST_HELD = 16
_MOST_ROWS = 64
_WANTED = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


def shares_prefix(loaded: LoadedModel) -> bool:
    """Whether keys and values of a prefix can be computed once: a model of attention layers alone. Others read every
    text as a whole, with the same result.
    """
    return _layers(loaded) is not None


def _layers(loaded: LoadedModel) -> list[type] | None:
    core = core_of(loaded.model)
    if not isinstance(core, PreTrainedModel) or core.config.is_encoder_decoder:
        return None
    if not set(inspect.signature(core.forward).parameters) >= _WANTED:
        return None
    found = [type(layer) for layer in DynamicCache(config=core.config).layers]
    return found if set(found) <= {DynamicLayer, DynamicSlidingWindowLayer} else None


class NextToken:
    """A model that is asked about texts of one prefix.

    Args:
        tails: what follows every middle, each at least one token. choices: token ids, of each tail as many.
        batch_tokens: tokens of middles in one forward pass; None: as it suits the device.
        cached: False: every text is read as a whole, for comparison.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prefix: Sequence[int],
        tails: Sequence[Sequence[int]],
        choices: Sequence[Sequence[int]],
        *,
        batch_tokens: int | None = None,
        cached: bool = True,
    ) -> None:
        self._loaded, self._prefix, self._tails = loaded, list(prefix), [list(t) for t in tails]
        self._choices = torch.tensor(choices, device=loaded.device)
        self._tokens = batch_tokens or (CPU_TOKENS if loaded.device == "cpu" else GPU_TOKENS)
        kinds = _layers(loaded)
        self._cached = cached and kinds is not None and len(prefix) > 0
        # A window counts columns: with padding between middle and tail it would lie elsewhere.
        self._step = STEP if kinds is not None and set(kinds) == {DynamicLayer} else 1
        self._states: list[tuple[Tensor, Tensor]] = []

    def probabilities(self, middles: Sequence[Sequence[int]], done: Done) -> None:
        """Tell `done` of each middle once, batch by batch, narrow ones first. Of a text of its own choices only the
        probabilities count that the whole vocabulary gives them: they don't add up to 1.
        """
        groups: dict[int, list[int]] = {}
        for place in sorted(range(len(middles)), key=lambda i: list(middles[i])):
            width = -(-max(len(middles[place]), 1) // self._step) * self._step
            groups.setdefault(width, []).append(place)
        with without_gradients(self._loaded.model):
            for width, places in sorted(groups.items()):
                self._of_width(width, places, middles, done)

    def rows_at(self, width: int) -> int:
        """Middles of this width that are read together: a power of two."""
        whole = len(self._prefix) + width + max(map(len, self._tails))
        most = min(self._tokens // width, _MOST_HELD * self._tokens // whole, _MOST_ROWS)
        return 1 << max(most, 1).bit_length() - 1

    def _of_width(self, width: int, places: list[int], middles: Sequence[Sequence[int]], done: Done) -> None:
        size = self.rows_at(width)
        memory = self._memory(width, size) if self._cached else None
        full = filled_up(places, size)
        for start in range(0, len(full), size):
            batch = [list(middles[place]) for place in full[start : start + size]]
            found = self._whole(batch) if memory is None else self._shared(batch, width, memory)
            own = places[start : start + size]
            done(own, found.cpu().numpy().astype(np.float32)[: len(own)])

    def _memory(self, width: int, rows: int) -> "list[_Held]":
        """Room for the keys and values of so many texts, with those of the prefix in it."""
        if not self._states:
            cache = Cache(layers=[DynamicLayer() for _ in self._kinds()])
            self._forward([self._prefix], None, cache)
            self._states = [(layer.keys, layer.values) for layer in cache.layers]  # type: ignore[misc]
        room = len(self._prefix) + width + max(map(len, self._tails))
        return [_Held(keys, values, rows, room) for keys, values in self._states]

    def _kinds(self) -> list[type]:
        return _layers(self._loaded) or []

    def _shared(self, batch: list[list[int]], width: int, memory: "list[_Held]") -> Tensor:
        before, cache = len(self._prefix), Cache(layers=memory)
        lengths = [len(ids) for ids in batch]
        for layer in memory:
            layer.rewind(before)
        mask = torch.ones((len(batch), before + width), dtype=torch.long, device=self._loaded.device)
        for row, length in enumerate(lengths):
            mask[row, before + length :] = 0
        self._forward([ids + [0] * (width - len(ids)) for ids in batch], mask, cache, [before] * len(batch))
        found = []
        for tail, choices in zip(self._tails, self._choices, strict=True):
            for layer in memory:
                layer.rewind(before + width)
            seen = torch.cat([mask, mask.new_ones((len(batch), len(tail)))], 1)
            logits = self._forward([tail] * len(batch), seen, cache, [before + n for n in lengths])
            found.append(_of(logits, choices))
        return torch.stack(found, 1)

    def _whole(self, batch: list[list[int]]) -> Tensor:
        """Text by text, without anything shared or padded."""
        rows = [
            torch.stack([_of(self._forward([self._prefix + ids + tail], None, None), choices)[0]
                         for tail, choices in zip(self._tails, self._choices, strict=True)])
            for ids in batch
        ]  # fmt: skip
        return torch.stack(rows)

    def _forward(
        self, ids: list[list[int]], mask: Tensor | None, cache: Cache | None, starts: Sequence[int] = (0,)
    ) -> Tensor:
        """Scores of what follows the last token of each, shape (rows, vocabulary). `starts`: places of the first."""
        device = self._loaded.device
        given = torch.tensor(ids, device=device)
        if cache is None:
            return self._loaded.model(input_ids=given, use_cache=False).logits[:, -1]
        positions = torch.arange(given.shape[1], device=device)[None] + torch.tensor(starts, device=device)[:, None]
        out: Any = self._loaded.model(
            input_ids=given, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        logits: Tensor = out.logits[:, -1]
        return logits


def _of(logits: Tensor, choices: Tensor) -> Tensor:
    """Probabilities of these tokens among all, shape (rows, choices)."""
    return logits.float().log_softmax(-1)[:, choices].exp()


class _Held(DynamicLayer):
    """Keys and values of a layer, [rows, heads, columns, width of a head], in memory that is made once: the columns of
    the prefix stay, what follows is written over.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, rows: int, room: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._all = tuple(one.new_zeros((rows, one.shape[1], room, one.shape[3])) for one in (keys, values))
        for memory, prefix in zip(self._all, (keys, values), strict=True):
            memory[:, :, : prefix.shape[2]] = prefix
        self.rewind(keys.shape[2])

    def rewind(self, columns: int) -> None:
        """Let go of all but the first columns."""
        self.keys, self.values = (one[:, :, :columns] for one in self._all)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write those of new tokens behind the others; returns all."""
        before = self.keys.shape[2]
        after = before + key_states.shape[2]
        for memory, new in zip(self._all, (key_states, value_states), strict=True):
            memory[:, :, before:after] = new
        self.rewind(after)
        return self.keys, self.values
