"""Which base model a run starts from."""

import re
from typing import Any, Self

from pydantic import Field, model_validator

from steps.contracts.models import registered_model
from steps.contracts.reports import Frozen

_BUILDER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class BaseConfig(Frozen):
    """`model` is a hub id (owner/name), a local folder with safetensors, a function that makes a model, or a registered
    model.

    A local folder wins over a hub id of the same spelling. A function is named as package.module:function, a registered
    model as models:/NAME@champion (any alias) or models:/NAME/3.
    """

    model: str = Field(
        min_length=1,
        description="Hub id (owner/name), local folder, package.module:function that makes the model, as"
        " examples.toy_base.build:build does, or a registered model: models:/NAME@champion, models:/NAME/3.",
    )
    revision: str | None = Field(None, description="hub only: commit hash; a branch or tag is resolved with a warning")
    licence: str | None = Field(None, description="licence of the base, as an audit shows it; null: not stated")
    options: dict[str, Any] = Field(
        default_factory=dict, description="function only: its own settings, checked by the type of its first parameter"
    )
    seed: int = Field(0, ge=0, description="function only: of all that it draws")
    # Threads change the order of floating-point sums, so they are part of what makes the model (measured: 1 and 2
    # threads give other weights).
    num_threads: int = Field(2, ge=1, description="function only: torch threads")

    @property
    def is_built(self) -> bool:
        """Whether `model` names a function."""
        return _BUILDER.fullmatch(self.model) is not None

    @property
    def registered(self) -> dict[str, str | None] | None:
        """Name and version or alias of the registered model that is meant; None: it is none."""
        return registered_model(self.model)

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.registered is not None and self.revision is not None:
            raise ValueError(f"revision is set, but {self.model} says which version: drop revision")
        return self

    @model_validator(mode="after")
    def _each_has_its_own(self) -> Self:
        if self.is_built and self.revision is not None:
            raise ValueError(f"revision is set, but {self.model} makes the model: name a hub model, or drop revision")
        if self.options and not self.is_built:
            raise ValueError(f"options are set, but {self.model} is no package.module:function that would take them")
        return self
