"""Keys and values of rows that are read together, and of what they all begin with, which is read once."""

import inspect
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.generation.utils import GenerationMixin

from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, core_of

# Chosen: columns of keys and values that are made room for at once.
SPARE = 64
# Chosen: tokens that all texts begin with from which on computing them once is worth a pass of its own.
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
    """The tokens that all of several texts begin with, of each at least one left; empty: too few to be worth it."""
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), most)
    return first[: min(length, most)] if len(prompts) > 1 and min(length, most) >= SHORTEST_PREFIX else []


class Layer(DynamicLayer):
    """Keys and values of a layer, [rows, heads, tokens, width of a head], in memory that is larger than they are."""

    keys: Tensor
    values: Tensor
    _all: tuple[Tensor, Tensor]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write those of new tokens behind the others; returns all."""
        if not self.is_initialized:
            self.hold((key_states[:, :, :0], value_states[:, :, :0]), key_states.shape[-2] + SPARE)
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        if after > self._all[0].shape[-2]:
            self.hold(self.states, after + SPARE)
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

    def rewind(self, columns: int) -> None:
        """Let go of all but the first columns; what follows is written over."""
        self.keys, self.values = (one[:, :, :columns] for one in self._all)

    def move(self, to: Tensor, source: Tensor) -> None:
        """Write the rows at `source` over those at `to`."""
        with torch.inference_mode():
            for one in self.states:
                one[to] = one[source]

    def of(self, rows: slice) -> Self:
        """These rows, in the same memory unless that is twice as large as they are."""
        length, new = self.keys.shape[-2], type(self)()
        new.dtype, new.device, new.is_initialized = self.dtype, self.device, True
        new._all = _unburdened(self._all[0][rows]), _unburdened(self._all[1][rows])
        new.keys, new.values = (one[:, :, :length] for one in new._all)
        return new

    def at(self, columns: Tensor) -> Self:
        """Of each row these columns, [rows, columns]."""
        new = type(self)()
        keys, values = (
            s.gather(2, columns[:, None, :, None].expand(-1, s.shape[1], -1, s.shape[3])) for s in self.states
        )
        new.hold((keys, values), columns.shape[1] + SPARE)
        return new

    @classmethod
    def together(cls, states: Sequence[tuple[Tensor, Tensor]], width: int) -> Self:
        """Of all rows of several, the last columns in one."""
        new = cls()
        both = [_gathered(parts, width + SPARE, width) for parts in zip(*states, strict=True)]
        new.dtype, new.device, new.is_initialized = both[0].dtype, both[0].device, True
        new._all = both[0], both[1]
        new.keys, new.values = (one[:, :, :width] for one in new._all)
        return new


def _gathered(parts: Sequence[Tensor], room: int, width: int) -> Tensor:
    """These below each other, [rows, heads, tokens, width of a head], in memory for `room` tokens, of which the first
    `width` end with theirs.
    """
    first = parts[0]
    new = first.new_empty((sum(map(len, parts)), first.shape[1], room, first.shape[3]))
    row = 0
    for part in parts:
        # What is masked is multiplied by zero, and must be a number.
        new[row : row + len(part), :, : width - part.shape[2]] = 0
        new[row : row + len(part), :, width - part.shape[2] : width] = part
        row += len(part)
    return new


def _unburdened(part: Tensor) -> Tensor:
    """The same, copied where it holds twice its memory or more."""
    return part.clone() if 2 * part.nbytes <= part.untyped_storage().nbytes() else part


def _copied(states: Tensor, room: int, rows: int) -> Tensor:
    new = states.new_empty((rows, states.shape[1], room, states.shape[3]))
    new[:, :, : states.shape[-2]] = states
    return new


def new_layers(loaded: LoadedModel) -> list[Layer]:
    """One for each of a model's, empty."""
    return [Layer() for _ in DynamicCache(config=core_of(loaded.model).config).layers]


def read_prefix(loaded: LoadedModel, prefix: Sequence[int]) -> list[Layer]:
    """The keys and values of these tokens, in one row."""
    layers = new_layers(loaded)
    with without_gradients(loaded.model):
        loaded.model(
            input_ids=torch.tensor([list(prefix)], device=loaded.device), past_key_values=Cache(layers=layers),
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
    return layers


def spread(prefix: Sequence[Layer], rows: int, room: int) -> list[Layer]:
    """The keys and values of a prefix before each of so many rows, in memory for `room` tokens."""
    layers = [Layer() for _ in prefix]
    for layer, there in zip(layers, prefix, strict=True):
        layer.hold(there.states, room, rows)
    return layers
