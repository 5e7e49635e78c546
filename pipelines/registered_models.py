"""Registered models that a run starts from or asks, found when it starts."""

from collections.abc import Mapping

from pipelines.config import RunConfig
from steps.base.registered import looked_at
from steps.contracts.errors import InputNotFoundError
from steps.engines.tracking.registered_files import RegisteredFiles
from steps.engines.tracking.secrets import without_secret
from steps.register.champion import Champion, registered_version
from steps.train.objectives.registry import objective_of
from steps.zenml_runtime.models import made_by
from steps.zenml_runtime.tracker import tracking_uri, use_tracker


def find_registered_base(config: RunConfig) -> dict[str, str]:
    """`name`, `version`, `weights` (their digest) and `run` (ZenML's id of the one that made them) of the registered
    model that base.model names; empty where it names none. Of one that others registered `weights` and `run` are empty;
    it has `registry`, `source` and `made` (ms since 1970), so that it is another one to the cache when it is made anew.

    Raises:
        InputNotFoundError: there is no such version, or what it was registered from isn't in this ZenML store; no model
            in what others registered. ConfigError: theirs is no causal language model.
        ServiceError: the registry is down.
    """
    wanted = config.base.registered if config.base is not None and config.tunes else None
    if wanted is None or config.base is None:
        return {}
    uri, found = version_named(config, config.base.model, wanted, "base.model")
    if found.is_ours:
        return _ours(config.base.model, wanted, found, "base.model")
    name = str(wanted["name"])
    # Now rather than after the curation.
    looked_at(RegisteredFiles(uri, name, found.version))
    place = {"registry": without_secret(uri), "source": without_secret(found.source), "made": str(found.made)}
    return {"name": name, "version": found.version, "weights": "", "run": "", **place}


def find_asked_models(config: RunConfig) -> dict[str, dict[str, str]]:
    """The same of the registered models that objectives and the judge ask, by the name that the config gives them."""
    sources = (source for phase in config.phases for source in objective_of(phase.objective).asks())
    found = {s.key: _asked(config, s.key, s.registered, "train.objective") for s in sources if s.registered}
    local, wanted = config.judge.local, config.judge.registered
    if local is not None and wanted is not None and config.runs("judge"):
        found[local.model] = _asked(config, local.model, wanted, "judge.local")
    return found


def _asked(config: RunConfig, named: str, wanted: Mapping[str, str | None], where: str) -> dict[str, str]:
    _, found = version_named(config, named, wanted, where)
    if not found.is_ours:
        raise InputNotFoundError(
            f"{named}, version {found.version}, was registered by others", where=where,
            hint="download its artifacts and name the folder of its weights",
        )  # fmt: skip
    return _ours(named, wanted, found, where)


def version_named(config: RunConfig, named: str, wanted: Mapping[str, str | None], where: str) -> tuple[str, Champion]:
    """The registry's URI and the version that a config names.

    Raises:
        InputNotFoundError: there is none. ServiceError: the registry is down.
    """
    own = config.registry.tracking_uri if config.registry else None
    uri = own or tracking_uri()
    use_tracker()
    found = (
        registered_version(uri, str(wanted["name"]), alias=wanted["alias"], version=wanted["version"]) if uri else None
    )
    if uri is None or found is None:
        raise InputNotFoundError(
            f"no such registered model: {named}", where=where,
            hint="its registry says which versions there are" if uri else "the stack has no MLflow",
        )  # fmt: skip
    return uri, found


def _ours(named: str, wanted: Mapping[str, str | None], found: Champion, where: str) -> dict[str, str]:
    run = found.tags.get("zenml_run_id", "")
    if not run or found.weights not in made_by(run):
        raise InputNotFoundError(
            f"{named}, version {found.version}, was made by a run that isn't in this ZenML store", where=where,
            hint="use the store that it was made with, or name the folder of its weights",
        )  # fmt: skip
    return {"name": str(wanted["name"]), "version": found.version, "weights": found.weights, "run": run}
