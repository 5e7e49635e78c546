"""How the memory of a training step grows with its tokens: counted on a small model of the same architecture.

Families differ in what they keep for backward (attention written out or fused, capped logits, experts, adapters, copies
in another precision). So a step of theirs is run: by the same code, with every width divided by one number and few
layers, and every storage is counted. What is counted grows with the widths (activations), with their square (copies of
weights), or with the square of the length (attention written out); three lengths and two depths tell them apart.
"""

import copy
import json
import warnings
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from steps.engines.lm.load import core_of
from steps.engines.lm.threads import torch_threads
from steps.train.weights.lora import AdapterOptions
from steps.train.weights.registry import WeightsOptions, weights_of

# Chosen: a step takes some tens of milliseconds, and rounded widths are within a percent.
_HIDDEN = 128
# Chosen: a head isn't narrower than this.
_HEAD = 4
# Three lengths tell apart what is constant in tokens, linear and quadratic.
_LENGTHS = (64, 128, 192)
# Widths of transformers' configs that are divided like the hidden one, where a model has them.
_WIDTHS = ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "vocab_size")


@dataclass(frozen=True)
class Growth:
    """How the live bytes of one pass grow with its batch, after each of its operations.

    Attributes:
        powers: shape (3, operations): bytes that are constant, per token, and per row and squared token of it.
    """

    powers: np.ndarray[Any, np.dtype[np.float64]]

    def peak(self, rows: int, length: int) -> float:
        """Bytes at the peak over a batch of `rows` with `length` tokens each."""
        return float((np.array([1, rows * length, rows * length**2]) @ self.powers).max())


@dataclass(frozen=True)
class Passes:
    """What passes take besides weights, gradients and optimizer.

    Attributes:
        steps: a forward and a backward pass, by the number of layers.
        end: its end, when nearly all gradients are there.
        forward: a forward pass that keeps nothing, to the last hidden states.
        layers: of the model.
    """

    steps: Mapping[int, Growth]
    end: Growth
    forward: Growth
    layers: int

    def step(self, rows: int, length: int, layers: int | None = None) -> int:
        """Bytes at the peak of a step over a batch: every further layer takes as much as the one before it. `layers`:
        that keep activations; None: all.
        """
        found = {depth: growth.peak(rows, length) for depth, growth in self.steps.items()}
        deepest = max(found)
        if deepest == min(found):
            return int(found[deepest])
        each = (found[deepest] - found[min(found)]) / (deepest - min(found))
        return int(found[deepest] + ((layers or self.layers) - deepest) * each)


@dataclass(frozen=True)
class How:
    """How a step is computed, as far as it decides over memory. `plain`: the loss is of the model's own logits."""

    dtype: str
    bf16: bool
    gradient_checkpointing: bool
    plain: bool


def passes(described: PretrainedConfig, weights: WeightsOptions, how: How) -> Passes:
    """What a model of this config keeps. Of one that can't be made small: what a Llama of its widths keeps."""
    text = described.get_text_config()
    try:
        return _passes(text.to_json_string(use_diff=False), weights, how)
    except Exception:  # noqa: BLE001 - a config may have conditions of its own on its numbers, in any form
        if isinstance(weights, AdapterOptions):
            weights = weights.model_copy(update={"target_modules": "all-linear", "target_parameters": None})
        return _passes(_llama(text).to_json_string(use_diff=False), weights, how)


def _llama(text: PretrainedConfig) -> LlamaConfig:
    heads = getattr(text, "num_attention_heads", None) or 1
    return LlamaConfig(
        hidden_size=text.hidden_size,
        intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        num_hidden_layers=text.num_hidden_layers,
        num_attention_heads=heads if text.hidden_size % heads == 0 else 1,
        vocab_size=text.vocab_size,
    )


@dataclass(frozen=True)
class Answering:
    """What generating takes besides weights.

    Attributes:
        prompt: a pass over the prompts, which fills the cache, by the number of layers.
        layers: of each the bytes per token of its keys and values, and how many tokens it keeps of them at most (None:
            all).
        logits: bytes of a row's at the choice of a token, copies included.
    """

    prompt: Mapping[int, Growth]
    layers: tuple[tuple[float, int | None], ...]
    logits: int

    def peak(self, rows: int, prompt: int, answer: int) -> int:
        """Bytes at the peak of answering `rows` prompts of so many tokens, in so many tokens each."""
        cached = [rows * size * min(prompt + answer, window or prompt + answer) for size, window in self.layers]
        # Keys a token longer are made beside those that were there, layer by layer, and values likewise.
        growing = max(cached, default=0.0) / 2
        found = {depth: growth.peak(rows, prompt) for depth, growth in self.prompt.items()}
        deepest, shallowest = max(found), min(found)
        each = (found[deepest] - found[shallowest]) / max(deepest - shallowest, 1)
        asked = found[deepest] + (len(self.layers) - deepest) * each
        return int(max(asked, sum(cached) + growing + rows * self.logits))


def answering(described: PretrainedConfig, dtype: str) -> Answering:
    """How generating with a model of this config takes memory. Of one that can't be made small: with a Llama of its
    widths.
    """
    text = described.get_text_config()
    try:
        return _answering(text.to_json_string(use_diff=False), dtype)
    except Exception:  # noqa: BLE001 - as in `passes`
        return _answering(_llama(text).to_json_string(use_diff=False), dtype)


@lru_cache(maxsize=16)
def _answering(config: str, dtype: str) -> Answering:
    values = json.loads(config)
    text = AutoConfig.for_model(values.pop("model_type"), **values)
    types = getattr(text, "layer_types", None) or [""] * text.num_hidden_layers
    kinds = len(set(types))
    depths = (2 * kinds, 3 * kinds) if text.num_hidden_layers > 3 * kinds else (text.num_hidden_layers,)
    found = {depth: _prompted(text, depth, dtype) for depth in depths}
    by_type = dict(zip(_types(text, depths[-1]), found[depths[-1]][1], strict=True))
    return Answering(
        prompt={depth: growth for depth, (growth, _) in found.items()},
        layers=tuple(by_type[kind] for kind in types),
        # In float32, and what capping them makes on the way.
        logits=4 * text.vocab_size * (4 if getattr(text, "final_logit_softcapping", None) else 2),
    )


def _prompted(text: PretrainedConfig, depth: int, dtype: str) -> tuple[Growth, list[tuple[float, int | None]]]:
    """Of a pass over prompts, and of every layer the bytes per token that it caches, and its window."""
    small, scale = small_config(text, depth)
    with torch.random.fork_rng(devices=[]), torch_threads(1):
        model = AutoModelForCausalLM.from_config(small, dtype=getattr(torch, dtype)).eval()
        seen = []
        layers: list[tuple[float, int | None]] = []
        for length in _LENGTHS:
            given = _batch(model, length)
            counter = LiveBytes([*model.parameters(), *model.buffers(), *given.values()])
            with counter, torch.inference_mode():
                out = model(**given, use_cache=True, logits_to_keep=1)
            seen.append(counter.history)
            cached = out.past_key_values.layers
            layers = [(scale * _bytes_of(one) / length, getattr(one, "sliding_window", None)) for one in cached]
    return _solved(seen, scale), layers


def _bytes_of(layer: Any) -> int:
    tensors = [v for v in vars(layer).values() if isinstance(v, torch.Tensor)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@lru_cache(maxsize=64)
def _passes(config: str, weights: WeightsOptions, how: How) -> Passes:
    values = json.loads(config)
    text = AutoConfig.for_model(values.pop("model_type"), **values)
    kinds = len(set(getattr(text, "layer_types", None) or [0]))
    # The first layer differs from the second in what lies before it.
    depths = (2 * kinds, 3 * kinds) if text.num_hidden_layers > 3 * kinds else (text.num_hidden_layers,)
    found = {depth: _growths(text, weights, depth, how) for depth in depths}
    _, end, forward = found[depths[-1]]
    return Passes({depth: step for depth, (step, _, _) in found.items()}, end, forward, text.num_hidden_layers)


def _growths(text: PretrainedConfig, weights: WeightsOptions, depth: int, how: How) -> list[Growth]:
    """Of a model of some layers: by its step, the end of that, and a forward pass."""
    small, scale = small_config(text, depth)
    with torch.random.fork_rng(devices=[]), torch_threads(1):
        model = AutoModelForCausalLM.from_config(small, dtype=getattr(torch, how.dtype))
        model = weights_of(weights).smaller(scale).attached(model)
        seen = [(*_step(model, n, how), _forward(model, n, how)) for n in _LENGTHS]
    return [_solved(list(one), scale) for one in zip(*seen, strict=True)]


def _solved(histories: list[list[int]], scale: float) -> Growth:
    """From what was live after each operation, by length, at widths that are smaller by `scale`."""
    if len({len(h) for h in histories}) > 1:  # operations that depend on the data: the peaks stand for all of them
        histories = [[max(h)] for h in histories]
    lengths = np.vander(_LENGTHS, 3, increasing=True).astype(float)
    powers = np.linalg.solve(lengths, np.array(histories, float))
    return Growth(powers * np.array([[scale**2], [scale], [1.0]]))


def small_config(text: PretrainedConfig, depth: int) -> tuple[PretrainedConfig, float]:
    """A config of `depth` layers, and by how much its widths are smaller; the number of heads stays."""
    small = copy.deepcopy(text)
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = text.num_attention_heads
    # Some configs want a hidden size that the number of heads divides.
    hidden = heads * max(1, round(max(_HIDDEN, text.hidden_size * _HEAD / width) / heads))
    scale = max(1.0, text.hidden_size / hidden)
    small.num_hidden_layers = depth
    types = getattr(text, "layer_types", None)
    if types:
        small.layer_types = _types(text, depth)
    if scale > 1:
        small.hidden_size = hidden
        if hasattr(text, "rope_parameters"):  # else the width of a head follows from the hidden one
            small.head_dim = 2 * round(width / scale / 2)
            small.rope_parameters = _plain_rope(text.rope_parameters)
        for name in _WIDTHS:
            if isinstance(getattr(text, name, None), int):
                setattr(small, name, max(8, round(getattr(text, name) / scale)))
        small.pad_token_id = small.bos_token_id = small.eos_token_id = None
    # What begins otherwise than it goes on is taken to be all alike.
    if getattr(small, "first_k_dense_replace", 0):
        small.first_k_dense_replace = 0
    return small, scale


def _types(text: PretrainedConfig, depth: int) -> list[str]:
    """Types of the layers of a model that is `depth` deep: every type as often as others."""
    types = getattr(text, "layer_types", None) or [""] * text.num_hidden_layers
    kinds = list(dict.fromkeys(types))
    return list(types) if depth == len(types) else [kinds[i % len(kinds)] for i in range(depth)]


def _plain_rope(found: Any) -> Any:
    """Rotary settings without factors, which are lists by the width of a head."""
    if isinstance(found, dict) and any(isinstance(v, dict) for v in found.values()):
        return {name: _plain_rope(v) for name, v in found.items()}
    return {"rope_type": "default", "rope_theta": 10_000.0}


def _batch(model: Any, length: int) -> dict[str, torch.Tensor]:
    """One row, of which the last token is padding, as in most batches."""
    ids = torch.arange(length).remainder(core_of(model).config.vocab_size - 1)[None] + 1
    mask = torch.ones_like(ids)
    mask[0, -1] = 0
    return {"input_ids": ids.remainder(core_of(model).config.vocab_size), "attention_mask": mask}


def _step(model: Any, length: int, how: How) -> tuple[list[int], list[int]]:
    """Live bytes after each operation of a forward and backward pass, without weights and their gradients, and the part
    of them after which nearly all gradients are there.
    """
    model.train()
    if how.gradient_checkpointing:
        with warnings.catch_warnings():
            # transformers 5 warns of this name, which its own trainer uses.
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if hasattr(model, "peft_config"):
            model.enable_input_require_grads()
    given = _batch(model, length)
    counter = LiveBytes([*model.parameters(), *model.buffers(), *given.values()])
    trained = [p for p in model.parameters() if p.requires_grad]
    made: list[int] = []

    def note(weight: torch.Tensor) -> None:
        counter.forget(weight.grad)
        made.append(len(counter.history))

    hooks = [p.register_post_accumulate_grad_hook(note) for p in trained]
    with counter:
        with torch.autocast("cpu", torch.bfloat16, enabled=how.bf16):
            loss = _own_loss(model, given, how) if how.plain else _body(model, given).float().sum()
        loss.backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    # Of the last layer of many that the backward pass comes to.
    last = made[len(made) - 1 - len(made) // core_of(model).config.num_hidden_layers]
    return counter.history, counter.history[last:]


def _own_loss(model: Any, given: dict[str, torch.Tensor], how: How) -> torch.Tensor:
    out = model(**given, labels=given["input_ids"], use_cache=False)
    if how.bf16:
        out.logits.float()  # accelerate gives outputs back in float32
    loss: torch.Tensor = out.loss
    return loss


def _body(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    hidden: torch.Tensor = core_of(model).base_model(**given, use_cache=False).last_hidden_state
    return hidden


def _forward(model: Any, length: int, how: How) -> list[int]:
    """Live bytes after each operation."""
    model.eval()
    given = _batch(model, length)
    counter = LiveBytes([*model.parameters(), *model.buffers(), *given.values()])
    with counter, torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=how.bf16):
        _body(model, given)
    return counter.history


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, until they are gone.

    Args:
        without: tensors that are there already.

    Attributes:
        history: live bytes after each operation.
    """

    def __init__(self, without: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.history: list[int] = []
        self._live = 0
        # By storage: its bytes, and how many operations there had been when it was made.
        self._known = {t.untyped_storage()._cdata: (0, 0) for t in without}

    @property
    def peak(self) -> int:
        """The most bytes that were live after an operation."""
        return max(self.history, default=0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it made."""
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, torch.Tensor):
                self._count(one.untyped_storage())
        self.history.append(self._live)
        return out

    def forget(self, tensor: torch.Tensor) -> None:
        """This one never counted."""
        key = tensor.untyped_storage()._cdata
        size, since = self._known.get(key, (0, 0))
        self._known[key] = (0, 0)
        self._live -= size
        self.history[since:] = [live - size for live in self.history[since:]]

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = (storage.nbytes(), len(self.history))
        self._live += storage.nbytes()
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self._live -= self._known.pop(key, (0, 0))[0]
