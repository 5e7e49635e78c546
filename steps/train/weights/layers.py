"""Which of a model's decoder layers an option means."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from steps.contracts.errors import ConfigError

# "last 4", "middle 8", "first 2", or numbers from 0.
Layers: TypeAlias = (
    Annotated[str, Field(pattern=r"^(first|middle|last) [1-9][0-9]*$")] | tuple[Annotated[int, Field(ge=0)], ...]
)


def numbers_of(wanted: str | Sequence[int], total: int, key: str) -> Sequence[int]:
    """Numbers of layers, from 0; of a middle that can't be in the middle the earlier one.

    Raises:
        ConfigError: the model hasn't so many.
    """
    if isinstance(wanted, str):
        place, count = wanted.split()
        start = {"first": 0, "middle": (total - int(count)) // 2, "last": total - int(count)}[place]
        numbers: Sequence[int] = range(start, start + int(count))
    else:
        numbers = wanted
    if not numbers or min(numbers) < 0 or max(numbers) >= total:
        raise ConfigError(
            f"weights.{key} is {wanted!r}, the model has {total} layers", where="train.weights",
            hint=f"name layers from 0 to {total - 1}, or fewer of them",
        )  # fmt: skip
    return numbers


def decoder_layers(model: Any) -> tuple[str, Any]:
    """Name and list of a model's decoder layers.

    Raises:
        ConfigError: it has none that can be found.
    """
    import torch

    decoder, total = model.get_decoder(), model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == total and _within(module, decoder):
            return name, module
    raise ConfigError(
        f"the layers of {type(model).__name__} can't be found", where="train.weights",
        hint="name weights by pattern: weights: {kind: partial, trained: [...]}",
    )  # fmt: skip


def _within(module: Any, decoder: Any) -> bool:
    return any(child is module for child in decoder.modules())
