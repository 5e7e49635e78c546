"""Functions that make a base model, named by import path."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

from pydantic import ValidationError

from steps.base.config import BaseConfig
from steps.contracts.code import function_digest
from steps.contracts.errors import ConfigError
from steps.contracts.reports import Frozen

# From its own options, seed, torch threads and an empty folder, which it fills with safetensors, tokenizer and chat
# template, to sentences that a reader of the model's card must know. Equal arguments give equal bytes on one kind of
# processor.
Builder: TypeAlias = Callable[[Any, int, int, Path], Sequence[str]]


def load_builder(config: BaseConfig) -> tuple[Builder, Frozen]:
    """The function that `model` names, and `options` as the type of its first parameter has them.

    Raises:
        ConfigError: there is no such function, or it has no such options.
    """
    module, _, name = config.model.partition(":")
    try:
        found: Builder = getattr(import_module(module), name)
    except (ImportError, AttributeError) as e:
        raise ConfigError(
            f"no such function ({e})", where=f"base.model: {config.model}",
            hint="name it as package.module:function, of a module in the checkout or of an installed package",
        ) from e  # fmt: skip
    kind = next(iter(get_type_hints(found).values()), None) if callable(found) else None
    if not (isinstance(kind, type) and issubclass(kind, Frozen)):
        raise ConfigError(
            "not a function whose first parameter is a Frozen model of its options", where=f"base.model: {config.model}"
        )
    try:
        return found, kind.model_validate(config.options)
    except ValidationError as e:
        first = e.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise ConfigError(first["msg"], where=f"base.options.{at}" if at else "base.options") from e


def builder_digest(config: BaseConfig) -> str:
    """Digest of the function's code: what it imports of this checkout, or its file where it is installed."""
    load_builder(config)
    return function_digest(config.model)
