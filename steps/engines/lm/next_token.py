"""How probable a few next tokens are, after texts that begin alike and end alike: what they share is computed once.

A text is prefix + middle + tail. The prefix is the same for all (a rubric): its keys and values are computed once. The
middle is one's own (a row). The tails are the same for all middles (questions about the row). Middle and tails are one
forward pass, in which the tails stand first, each where its place in the text is told beside it: each tail sees the
texts before it, and none sees another one. A pass for each tail would read all weights for a few tokens, and cost as
much as many rows do; models with sliding windows, which count columns, need it.

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
from steps.engines.lm.shapes import eighths, filled_up
from steps.engines.lm.states import Layer, read_prefix, spread

# Told the positions of some middles, and the probabilities of their choices: shape (middles, tails, choices), float32.
Done: TypeAlias = Callable[[Sequence[int], Vectors], None]

# Tokens of a forward pass, those of the prefix apart. Chosen on a GPU: products of matrices are large enough there.
# Measured on a CPU, by bytes of a number (a Llama of 91 million weights): of more the products leave its caches.
CPU_TOKENS, GPU_TOKENS = {4: 1024, 2: 640}, 16_384
# Chosen: keys and values of a batch are those of at most so many times the tokens of its middles.
_MOST_HELD = 16
_MOST_ROWS = 64
_WANTED = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}


def _suiting(loaded: LoadedModel) -> int:
    """Tokens of a forward pass that suit the device."""
    size = core_of(loaded.model).dtype.itemsize
    return CPU_TOKENS.get(size, CPU_TOKENS[4]) if loaded.device == "cpu" else GPU_TOKENS


def shares_prefix(loaded: LoadedModel) -> bool:
    """Whether keys and values of a prefix can be computed once: a model of attention layers alone. Others read every
    text as a whole, with the same result.
    """
    return _layers(loaded) is not None


def _layers(loaded: LoadedModel) -> list[type] | None:
    core = core_of(loaded.model)
    if not isinstance(core, PreTrainedModel) or core.config.is_encoder_decoder:
        return None
    # ALiBi counts columns, and where it is told by a mask of one row it knows of no tails.
    if getattr(core.config, "alibi", False):
        return None
    if not set(inspect.signature(core.forward).parameters) >= _WANTED:
        return None
    found = [type(layer) for layer in DynamicCache(config=core.config).layers]
    return found if set(found) <= {DynamicLayer, DynamicSlidingWindowLayer} else None


class NextToken:
    """A model that is asked about texts of one prefix.

    Args:
        tails: what follows every middle, each at least one token. choices: token ids, of each tail as many.
        batch_tokens: tokens of middles and tails in one forward pass; None: as it suits the device.
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
        self._tokens = batch_tokens or _suiting(loaded)
        kinds = _layers(loaded)
        self._cached = cached and kinds is not None and len(prefix) > 0
        # A window counts columns: with padding between middle and tail, or other tails there, it would lie elsewhere.
        self._whole_view = kinds is not None and set(kinds) == {DynamicLayer}
        self._before: list[Layer] = []

    def probabilities(self, middles: Sequence[Sequence[int]], done: Done) -> None:
        """Tell `done` of each middle once, batch by batch, narrow ones first. Of a text of its own choices only the
        probabilities count that the whole vocabulary gives them: they don't add up to 1.
        """
        groups: dict[int, list[int]] = {}
        for place in sorted(range(len(middles)), key=lambda i: list(middles[i])):
            groups.setdefault(self._width(len(middles[place])), []).append(place)
        with without_gradients(self._loaded.model):
            for width, places in sorted(groups.items()):
                self._of_width(width, places, middles, done)

    def _width(self, length: int) -> int:
        """Columns of a middle of so many tokens, with its padding."""
        return eighths(max(length, 1) + self._behind) - self._behind if self._whole_view else max(length, 1)

    @property
    def _behind(self) -> int:
        """Columns that tails take at once."""
        lengths = [len(tail) for tail in self._tails]
        return sum(lengths) if self._whole_view else max(lengths)

    def rows_at(self, width: int) -> int:
        """Middles of this width that are read together."""
        own = width + self._behind
        return max(1, min(self._tokens // own, _MOST_HELD * self._tokens // (len(self._prefix) + own), _MOST_ROWS))

    def _of_width(self, width: int, places: list[int], middles: Sequence[Sequence[int]], done: Done) -> None:
        size = self.rows_at(width)
        memory = self._memory(width, size) if self._cached else None
        full = filled_up(places, size)
        for start in range(0, len(full), size):
            batch = [list(middles[place]) for place in full[start : start + size]]
            found = self._whole(batch) if memory is None else self._shared(batch, width, memory)
            own = places[start : start + size]
            done(own, found.cpu().numpy().astype(np.float32)[: len(own)])

    def _memory(self, width: int, rows: int) -> list[Layer]:
        """Room for the keys and values of so many texts, with those of the prefix in it."""
        self._before = self._before or read_prefix(self._loaded, self._prefix)
        return spread(self._before, rows, len(self._prefix) + width + self._behind)

    def _shared(self, batch: list[list[int]], width: int, memory: list[Layer]) -> Tensor:
        before, cache = len(self._prefix), Cache(layers=memory)
        lengths = [len(ids) for ids in batch]
        for layer in memory:
            layer.rewind(before)
        mask = torch.ones((len(batch), before + width), dtype=torch.long, device=self._loaded.device)
        for row, length in enumerate(lengths):
            mask[row, before + length :] = 0
        padded = [ids + [0] * (width - len(ids)) for ids in batch]
        if self._whole_view:
            return self._at_once(padded, mask, cache, [before + n for n in lengths])
        self._forward(padded, mask, cache, _places(before, width, len(batch), mask))
        found = []
        for tail, choices in zip(self._tails, self._choices, strict=True):
            for layer in memory:
                layer.rewind(before + width)
            seen = torch.cat([mask, mask.new_ones((len(batch), len(tail)))], 1)
            places = torch.cat([_places(before + n, len(tail), 1, mask) for n in lengths])
            found.append(_of(self._forward([tail] * len(batch), seen, cache, places)[:, -1], choices))
        return torch.stack(found, 1)

    def _at_once(self, padded: list[list[int]], mask: Tensor, cache: Cache, starts: Sequence[int]) -> Tensor:
        """Middles and all tails in one pass: each token sees the text before it (`mask`), in a tail its own tail."""
        rows, width, before = len(padded), len(padded[0]), len(self._prefix)
        sizes = [*map(len, self._tails), width]
        behind = sum(sizes) - width
        own = torch.block_diag(*(torch.ones(n, n, device=mask.device).tril() for n in sizes)).bool()
        seen = torch.cat([own.new_ones((rows, len(own), before)), own.expand(rows, -1, -1)], 2)
        seen[:, :behind, before + behind :] = mask.bool()[:, None, before:]
        hidden = torch.zeros(seen.shape, dtype=self._before[0].keys.dtype, device=mask.device)
        hidden.masked_fill_(~seen, torch.finfo(hidden.dtype).min)
        places = torch.cat(
            [*(torch.cat([_places(start, n, 1, mask) for start in starts]) for n in sizes[:-1]),
             _places(before, width, rows, mask)], 1
        )  # fmt: skip
        ids = [[*(token for tail in self._tails for token in tail), *own_ids] for own_ids in padded]
        ends = torch.tensor(sizes[:-1], device=mask.device).cumsum(0) - 1
        logits = self._forward(ids, hidden[:, None], cache, places, ends)
        return torch.stack([_of(logits[:, i], choices) for i, choices in enumerate(self._choices)], 1)

    def _whole(self, batch: list[list[int]]) -> Tensor:
        """Text by text, without anything shared or padded."""
        rows = [
            torch.stack([_of(self._forward([self._prefix + ids + tail], None, None, None)[:, -1], choices)[0]
                         for tail, choices in zip(self._tails, self._choices, strict=True)])
            for ids in batch
        ]  # fmt: skip
        return torch.stack(rows)

    def _forward(
        self, ids: list[list[int]], mask: Tensor | None, cache: Cache | None, places: Tensor | None, kept: Any = 1
    ) -> Tensor:
        """Scores of what follows, shape (rows, kept, vocabulary): of the tokens at these places, by default the last.

        `places`: of each token in its text; None: one after the other.
        """
        given = torch.tensor(ids, device=self._loaded.device)
        if cache is None:
            whole: Tensor = self._loaded.model(input_ids=given, use_cache=False).logits
            return whole[:, -1:]
        out: Any = self._loaded.model(
            input_ids=given, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True,
            logits_to_keep=kept,
        )  # fmt: skip
        logits: Tensor = out.logits
        return logits


def _places(first: int, tokens: int, rows: int, like: Tensor) -> Tensor:
    """So many places from the first one on, shape (rows, tokens)."""
    return torch.arange(first, first + tokens, device=like.device).expand(rows, -1)


def _of(logits: Tensor, choices: Tensor) -> Tensor:
    """Probabilities of these tokens among all, shape (rows, choices)."""
    return logits.float().log_softmax(-1)[:, choices].exp()
