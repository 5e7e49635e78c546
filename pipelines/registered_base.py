"""The registered model that a run starts from, found when it starts."""

from pipelines.config import RunConfig
from steps.contracts.errors import InputNotFoundError
from steps.register.champion import registered_version
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
    own = config.registry.tracking_uri if config.registry else None
    uri, name = own or tracking_uri(), str(wanted["name"])
    found = registered_version(uri, name, alias=wanted["alias"], version=wanted["version"]) if uri else None
    if found is None:
        raise InputNotFoundError(
            f"no such registered model: {config.base.model}", where="base.model",
            hint="its registry says which versions there are" if uri else "the stack has no MLflow",
        )  # fmt: skip
    run = found.tags.get("zenml_run_id", "")
    if not run or found.weights not in made_by(run):
        raise InputNotFoundError(
            f"{config.base.model}, version {found.version}, was made by a run that isn't in this ZenML store",
            where="base.model", hint="use the store that it was made with, or name the folder of its weights",
        )  # fmt: skip
    return {"name": name, "version": found.version, "weights": found.weights, "run": run}
