"""Registered models that a run starts from or asks, found when it starts."""

from collections.abc import Mapping

from pipelines.config import RunConfig
from steps.contracts.errors import InputNotFoundError
from steps.register.champion import registered_version
from steps.train.objectives.registry import objective_of
from steps.zenml_runtime.models import made_by
from steps.zenml_runtime.tracker import tracking_uri


def find_registered_base(config: RunConfig) -> dict[str, str]:
    """`name`, `version`, `weights` (their digest) and `run` (ZenML's id of the one that made them) of the registered
    model that base.model names; empty where it names none.

    Raises:
        InputNotFoundError: there is no such version, or what it was registered from isn't in this ZenML store.
        ServiceError: the registry is down.
    """
    wanted = config.base.registered if config.base is not None and config.tunes else None
    if wanted is None or config.base is None:
        return {}
    return _found(config, config.base.model, wanted, "base.model")


def find_asked_models(config: RunConfig) -> dict[str, dict[str, str]]:
    """The same of the registered models that objectives ask, by the name that the config gives them."""
    sources = (source for phase in config.phases for source in objective_of(phase.objective).asks())
    return {s.key: _found(config, s.key, s.registered, "train.objective") for s in sources if s.registered}


def _found(config: RunConfig, named: str, wanted: Mapping[str, str | None], where: str) -> dict[str, str]:
    own = config.registry.tracking_uri if config.registry else None
    uri, name = own or tracking_uri(), str(wanted["name"])
    found = registered_version(uri, name, alias=wanted["alias"], version=wanted["version"]) if uri else None
    if found is None:
        raise InputNotFoundError(
            f"no such registered model: {named}", where=where,
            hint="its registry says which versions there are" if uri else "the stack has no MLflow",
        )  # fmt: skip
    run = found.tags.get("zenml_run_id", "")
    if not run or found.weights not in made_by(run):
        raise InputNotFoundError(
            f"{named}, version {found.version}, was made by a run that isn't in this ZenML store", where=where,
            hint="use the store that it was made with, or name the folder of its weights",
        )  # fmt: skip
    return {"name": name, "version": found.version, "weights": found.weights, "run": run}
