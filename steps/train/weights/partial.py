"""Some weights are trained, named by layer or by pattern; the rest is frozen."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from steps.contracts.errors import ConfigError
from steps.contracts.reports import Frozen
from steps.train.weights.full import OwnWeights
from steps.train.weights.kind import Draw, WeightsKind
from steps.train.weights.layers import Layers, decoder_layers, numbers_of

_MOST_NAMED = 8


class PartialOptions(Frozen):
    """Some of a model's own weights: layers, or what patterns name."""

    kind: Literal["partial"] = Field("partial", description="Train some of the weights, and freeze the rest.")
    layers: Literal["all"] | Layers = Field(
        (),
        description='Decoder layers that are trained: "last 4", "middle 8", "first 2", "all", or their numbers from 0.',
    )
    trained: tuple[str, ...] = Field(
        (), description="Names of further weights that are trained, such as model.norm.weight; * stands for anything."
    )
    frozen: tuple[str, ...] = Field(
        (), description='Names of weights that are frozen all the same, such as "*.mlp.*"; * stands for anything.'
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.layers and not self.trained:
            raise ValueError('nothing would be trained: name layers ("last 4") or trained ("*norm*")')
        return self


class Partial(OwnWeights):
    """Weights of some layers, or of some names."""

    def __init__(self, options: PartialOptions) -> None:
        self.options = options

    @property
    def names_parts(self) -> bool:
        """All that is trained is named."""
        return True

    def prepare(self, model: Any, draw: Draw) -> None:
        """Freeze what isn't named.

        Raises:
            ConfigError: there are no such layers or weights, or nothing is left to train.
        """
        options, named = self.options, dict(model.named_parameters())
        chosen = self._of_layers(model) | self._matched("trained", options.trained, list(named))
        chosen -= self._matched("frozen", options.frozen, list(named))
        if not chosen:
            raise ConfigError(
                "nothing would be trained: weights.frozen names all that the other keys name", where="train.weights",
                hint="leave something out of frozen",
            )  # fmt: skip
        for name, weight in named.items():
            weight.requires_grad_(name in chosen)

    def smaller(self, scale: float) -> WeightsKind:
        """All layers; how many of them count, `keeping` says."""
        return Partial(self.options.model_copy(update={"layers": "all", "trained": (), "frozen": ()}))

    def keeping(self, layers: int) -> int:
        """From the first that is named; all, where weights are named that may lie anywhere."""
        wanted = self.options.layers
        if not wanted or wanted == "all" or self.options.trained:
            return layers
        return layers - min(numbers_of(wanted, layers, "layers"))

    def _of_layers(self, model: Any) -> set[str]:
        """Names of the weights of the layers that are trained."""
        wanted = self.options.layers
        if not wanted:
            return set()
        at, layers = decoder_layers(model)
        numbers = range(len(layers)) if wanted == "all" else numbers_of(wanted, len(layers), "layers")
        return {f"{at}.{i}.{n}" for i in numbers for n, _ in layers[i].named_parameters()}

    def _matched(self, key: str, patterns: Sequence[str], names: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            matched = {n for n in names if fnmatchcase(n, pattern)}
            if not matched:
                shown = sorted({re.sub(r"\.\d+\.", ".*.", n) for n in names})
                more = ", ..." if len(shown) > _MOST_NAMED else ""
                raise ConfigError(
                    f"weights.{key}: no weight of the model is called {pattern!r}", where="train.weights",
                    hint=f"it has {', '.join(shown[:_MOST_NAMED])}{more}",
                )  # fmt: skip
            found |= matched
        return found
