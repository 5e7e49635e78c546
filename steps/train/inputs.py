"""What the train stage reads besides its rows and the model that it starts from, by digest."""

from pathlib import Path

from steps.contracts.code import function_digest
from steps.train.asked import input_digests as digests_of_models
from steps.train.config import TrainPhases, phases_of
from steps.train.objectives.registry import objective_of


def input_digests(train: TrainPhases, root: Path) -> dict[str, str]:
    """Models that objectives ask: folders by their files, those of the hub by their commit; functions by their code.

    Raises:
        ConfigError: there is no such function.
        InputNotFoundError: there is no such folder or hub model. ServiceError: the hub can't be reached.
    """
    from steps.train.rewards import imported

    found: dict[str, str] = {}
    for objective in (objective_of(phase.objective) for phase in phases_of(train)):
        found |= digests_of_models(objective.asks(), root)
        for place in objective.functions():
            imported(place)
            found[place] = function_digest(place)
    return found


def folders(train: TrainPhases) -> tuple[str, ...]:
    """Models that may be folders."""
    asked = (source for phase in phases_of(train) for source in objective_of(phase.objective).asks())
    return tuple(s.model for s in asked if s.model is not None and not s.registered)
