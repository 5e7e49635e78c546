"""The model that a phase of training starts from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from steps.contracts.models import ModelFolder
from steps.engines.lm.load import has_tokenizer


@dataclass(frozen=True)
class Start:
    """Full weights (`base`: the run's base, or what a phase made of it), or an adapter over them, which is merged.

    A phase never goes on with the adapter of another: its own lies over plain weights, so that the model without it
    is what it started from, whatever the two adapters' options.

    Attributes:
        asked: what the objective asks besides, by `ModelSource.key`.
    """

    base: ModelFolder
    adapter: ModelFolder | None = None
    asked: Mapping[str, "Start"] = field(default_factory=dict)

    @property
    def model(self) -> ModelFolder:
        """The model itself."""
        return self.adapter or self.base

    @property
    def tokenizer(self) -> ModelFolder:
        """The model whose tokenizer training uses: an adapter's own where it has one, as evaluation loads it."""
        if self.adapter is not None and has_tokenizer(self.adapter):
            return self.adapter
        return self.base
