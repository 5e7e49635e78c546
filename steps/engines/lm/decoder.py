"""Rows that are answered together, token by token: a row leaves when its answer has ended, others may join meanwhile.

Keys and values lie in memory that has room for the tokens to come, where transformers' cache copies all of them for
each new token; rows that have ended are computed no more; what all prompts begin with is computed once. The tokens are
those of transformers' greedy `generate`.
"""

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.generation.utils import GenerationMixin

from steps.engines.lm.asked import Asked
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, core_of
from steps.engines.lm.probable import most_probable
from steps.engines.lm.shapes import by_budget

# Chosen: columns of keys and values that are made room for at once.
_SPARE = 64
# Chosen: rows leave when no more than such a share goes on: to leave is to copy the keys and values of the others.
_GOING = 0.875
_ENDED = -1
# Measured (a Llama of 20 million weights): prompts that are read in one pass on a CPU, in tokens. Of more the products
# leave its caches.
CPU_TOKENS = 2_048
# Chosen: tokens that all prompts begin with from which on computing them once is worth a pass of its own.
SHORTEST_PREFIX = 32


def decodable(loaded: LoadedModel, decoding: DecodingConfig) -> bool:
    """Whether its rows can be answered here: greedily, by a model all of whose layers keep all keys and values, and
    whose prompts need no preparation of its own. Others are left to transformers' `generate`.
    """
    core = core_of(loaded.model)
    if not isinstance(core, PreTrainedModel):
        return False
    taken = inspect.signature(core.forward).parameters
    return (
        decoding == DecodingConfig()
        and type(core).prepare_inputs_for_generation is GenerationMixin.prepare_inputs_for_generation
        and not core.config.is_encoder_decoder
        and {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"} <= set(taken)
        and {type(layer) for layer in DynamicCache(config=core.config).layers} == {DynamicLayer}
    )


def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all of several prompts begin with, of each at least one left; empty: too few to be worth it."""
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), most)
    return first[: min(length, most)] if len(prompts) > 1 and min(length, most) >= SHORTEST_PREFIX else []


class Decoder:
    """Answers that are under way.

    Args:
        ends: tokens that end an answer.
        prefix: tokens that all prompts begin with.
    """

    def __init__(self, loaded: LoadedModel, ends: Sequence[int], prefix: Sequence[int] = ()) -> None:
        self._loaded, self._ends = loaded, frozenset(ends)
        self._under_way: _Rows | None = None
        self._prefix: _Rows | None = None
        if prefix:
            self._prefix = self._begun([list(prefix)])[0]

    @property
    def rows(self) -> int:
        """How many are under way."""
        return 0 if self._under_way is None else len(self._under_way.going)

    def join(self, asked: Sequence[Asked]) -> None:
        """Begin to answer these beside those under way: their first tokens are said."""
        held = [one for one in asked if one.begun is not None and one.begun.states]
        read = [one for one in asked if one.begun is None or not one.begun.states]
        parts = [self._under_way, self._gone_on(held) if held else None, *map(self._read, self._pieces(read))]
        self._under_way = _Rows.together([part for part in parts if part is not None])

    def _pieces(self, asked: Sequence[Asked]) -> Iterator[list[Asked]]:
        """As many as are read in one pass."""
        tokens = CPU_TOKENS if self._loaded.device == "cpu" else sys.maxsize
        lengths = [len(_said_before(one)) for one in asked]
        order = sorted(range(len(asked)), key=lengths.__getitem__)
        for piece in by_budget(order, lengths, rows=len(asked), tokens=tokens):
            yield [asked[i] for i in piece]

    def _read(self, asked: list[Asked]) -> "_Rows | None":
        """Those that go on after their first tokens."""
        skipped = 0 if self._prefix is None else self._prefix.width
        rows, logits = self._begun([_said_before(one)[skipped:] for one in asked], self._prefix)
        rows.asked, rows.said = asked, [len(one.begun.tokens) if one.begun else 0 for one in asked]
        return self._heard(rows, logits)

    def _gone_on(self, asked: Sequence[Asked]) -> "_Rows":
        """Rows whose prompts and first tokens were read elsewhere."""
        begun = [one.begun for one in asked if one.begun is not None]
        lengths = [one.states[0][0].shape[1] for one in begun]
        layers = [
            _Layer.together([(keys[None], values[None]) for keys, values in of_rows], max(lengths))
            for of_rows in zip(*(one.states for one in begun), strict=True)
        ]
        device = self._loaded.device
        mask = torch.tensor([[0] * (max(lengths) - n) + [1] * n for n in lengths], device=device)
        tokens = torch.tensor([[one.tokens[-1]] for one in begun], device=device)
        positions = torch.tensor([[n] for n in lengths], device=device)
        return _Rows(layers, mask, positions, tokens, list(asked), [len(one.tokens) for one in begun])

    def step(self) -> None:
        """One more token of each that is under way."""
        rows = self._under_way
        if rows is None:
            return
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones((len(rows.asked), 1))], 1)
        logits = self._forward(rows.tokens, rows.mask, rows.positions, rows.layers)
        # Of those that have ended they stay: a model has only so many.
        rows.positions = rows.positions + torch.tensor([[int(n != _ENDED)] for n in rows.said], device=logits.device)
        self._under_way = self._heard(rows, logits)

    def answer(self, asked: Sequence[Asked]) -> None:
        """Answer these together, to the end of each."""
        self.join(asked)
        while self.rows:
            self.step()

    def _begun(self, prompts: Sequence[list[int]], prefix: "_Rows | None" = None) -> "tuple[_Rows, Tensor]":
        """Left-padded rows whose prompts have been read, and the scores of their first tokens. [rows, vocabulary]"""
        device, width = self._loaded.device, max(map(len, prompts))
        # Which token pads is of no matter: it is masked, and every vocabulary has the first one.
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
        own = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        layers = [_Layer() for _ in DynamicCache(config=core_of(self._loaded.model).config).layers]
        mask, before = own, 0
        if prefix is not None:
            before = prefix.width
            mask = torch.cat([own.new_ones((len(prompts), before)), own], 1)
            for layer, there in zip(layers, prefix.layers, strict=True):
                layer.hold(there.states, before + width + _SPARE, len(prompts))
        positions = (own.cumsum(1) - 1).clamp(min=0) + before
        logits = self._forward(ids, mask, positions, layers)
        return _Rows(layers, mask, positions[:, -1:] + 1), logits

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, layers: "list[_Layer]") -> Tensor:
        """Scores of the next token, [rows, vocabulary], of `ids` [rows, tokens] after what the layers hold."""
        model = self._loaded.model
        with without_gradients(model):
            out = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=Cache(layers=layers),
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        logits: Tensor = out.logits[:, -1]
        return logits

    def _heard(self, rows: "_Rows", logits: Tensor) -> "_Rows | None":
        """The rows that go on, after each has been told of its next token."""
        tokens = most_probable(logits)
        for i in rows.going:
            one = rows.asked[i]
            token = one.choose(logits[i]) if one.choose else tokens[i]
            tokens[i] = token
            done = token in self._ends
            if not done:
                rows.said[i] += 1
                done = one.hear(token) or rows.said[i] >= one.room
            if done:
                rows.said[i] = _ENDED
                one.end()
        rows.tokens = torch.tensor([[token] for token in tokens], device=logits.device)
        going = rows.going
        if not going:
            return None
        return rows if len(going) > _GOING * len(rows.asked) else rows.of(going)


def _said_before(one: Asked) -> list[int]:
    """What is read before the first token that is asked for."""
    return [*one.ids, *one.begun.tokens] if one.begun else one.ids


class _Layer(DynamicLayer):
    """Keys and values of a layer, [rows, heads, tokens, width of a head], in memory that is larger than they are."""

    keys: Tensor
    values: Tensor
    _all: tuple[Tensor, Tensor]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write those of new tokens behind the others; returns all."""
        if not self.is_initialized:
            self.hold((key_states[:, :, :0], value_states[:, :, :0]), key_states.shape[-2] + _SPARE)
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        if after > self._all[0].shape[-2]:
            self.hold(self.states, after + _SPARE)
        keys, values = self._all
        keys[:, :, before:after], values[:, :, before:after] = key_states, value_states
        self.keys, self.values = keys[:, :, :after], values[:, :, :after]
        return self.states

    @property
    def states(self) -> tuple[Tensor, Tensor]:
        """Keys and values."""
        return self.keys, self.values

    def hold(self, states: tuple[Tensor, Tensor], room: int, rows: int | None = None) -> None:
        """These keys and values from now on, copied to memory for `room` tokens; of one row for each of `rows`."""
        keys, values = states
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._all = _copied(keys, room, rows or len(keys)), _copied(values, room, rows or len(keys))
        self.keys, self.values = (one[:, :, : keys.shape[-2]] for one in self._all)

    def of(self, rows: Tensor) -> None:
        """Keep these rows."""
        length = self.keys.shape[-2]
        self._all = self._all[0][rows], self._all[1][rows]
        self.keys, self.values = (one[:, :, :length] for one in self._all)

    @classmethod
    def together(cls, states: Sequence[tuple[Tensor, Tensor]], width: int) -> Self:
        """Of all rows of several, the last columns in one."""
        new = cls()
        both = [_gathered(parts, width + _SPARE, width) for parts in zip(*states, strict=True)]
        new.dtype, new.device, new.is_initialized = both[0].dtype, both[0].device, True
        new._all = both[0], both[1]
        new.keys, new.values = (one[:, :, :width] for one in new._all)
        return new


def _gathered(parts: Sequence[Tensor], room: int, width: int) -> Tensor:
    """These below each other, [rows, heads, tokens, width of a head], in memory for `room` tokens, of which the first
    `width` end with theirs.
    """
    first = parts[0]
    new = first.new_zeros((sum(map(len, parts)), first.shape[1], room, first.shape[3]))
    row = 0
    for part in parts:
        new[row : row + len(part), :, width - part.shape[2] : width] = part
        row += len(part)
    return new


def _copied(states: Tensor, room: int, rows: int) -> Tensor:
    new = states.new_empty((rows, states.shape[1], room, states.shape[3]))
    new[:, :, : states.shape[-2]] = states
    return new


@dataclass(eq=False)
class _Rows:
    """Rows that have been read up to the last column.

    Attributes:
        mask: [rows, columns], 1 where there is a token.
        positions: [rows, 1], of the next token.
        tokens: [rows, 1], the next ones.
        said: tokens of each answer so far; _ENDED: it has ended.
    """

    layers: list[_Layer]
    mask: Tensor
    positions: Tensor
    tokens: Tensor = field(default_factory=lambda: torch.empty(0))
    asked: list[Asked] = field(default_factory=list)
    said: list[int] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.mask.shape[1])

    @property
    def going(self) -> list[int]:
        """Places of those that haven't ended."""
        return [i for i, said in enumerate(self.said) if said != _ENDED]

    def of(self, kept: list[int]) -> Self:
        """Only these rows."""
        rows = torch.tensor(kept, device=self.mask.device)
        for layer in self.layers:
            layer.of(rows)
        self.mask, self.positions, self.tokens = self.mask[rows], self.positions[rows], self.tokens[rows]
        self.asked, self.said = [self.asked[i] for i in kept], [self.said[i] for i in kept]
        return self

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self | None:
        """The rows of all; columns that none of them needs any more are dropped. None: there are none."""
        if len(parts) < 2:
            return parts[0] if parts else None
        own = [slice(int(part.mask.argmax(1).min()), None) for part in parts]
        masks = [part.mask[:, one] for part, one in zip(parts, own, strict=True)]
        width = max(mask.shape[1] for mask in masks)
        layers = [
            _Layer.together(
                [(layer.keys[:, :, one], layer.values[:, :, one]) for layer, one in zip(same, own, strict=True)], width
            )
            for same in zip(*(part.layers for part in parts), strict=True)
        ]
        return cls(
            layers,
            torch.cat([torch.nn.functional.pad(mask, (width - mask.shape[1], 0)) for mask in masks]),
            torch.cat([part.positions for part in parts]),
            torch.cat([part.tokens for part in parts]),
            [one for part in parts for one in part.asked],
            [said for part in parts for said in part.said],
        )
