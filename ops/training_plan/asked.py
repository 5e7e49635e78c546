"""The models that an objective asks besides, as far as this machine knows them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops.training_plan.described import found_at
from steps.base.config import BaseConfig
from steps.base.inputs import on_this_machine
from steps.engines.lm.references import local_folder
from steps.train.asked import ModelSource
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of


def asked_weights(root: Path, phase: TrainConfig, own: int, count: Callable[[dict[str, Any]], int]) -> tuple[int, str]:
    """Weights of all of them, and a sentence about those that nothing here describes ("": there is none).

    Args:
        own: weights of the run's base, which those of an earlier phase have too.
        count: the weights of a model with such a config.json.

    Raises:
        InputNotFoundError: one is named by a path where nothing is.
    """
    total, unknown = 0, list[str]()
    for source in objective_of(phase.objective).asks():
        values = _values(root, source)
        if source.phase is not None:
            total += own
        elif values is None:
            unknown.append(source.key)
        else:
            total += count(values)
    return total, f"the memory of {', '.join(unknown)} isn't counted: no description of it is here" if unknown else ""


def _values(root: Path, source: ModelSource) -> dict[str, Any] | None:
    if source.model is None or source.registered:
        return None
    config = BaseConfig(model=source.model, revision=source.revision)
    local_folder(source.model, root, others=", or models:/NAME/3")
    place = on_this_machine(root, config)
    return found_at(place, config).values() if place is not None else None
