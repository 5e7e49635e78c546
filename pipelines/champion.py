"""The champion that a candidate is compared with, found when a run starts."""

from pipelines.config import RunConfig
from steps.contracts.errors import InputNotFoundError
from steps.register.champion import present_champion
from steps.zenml_runtime.models import made_by
from steps.zenml_runtime.tracker import tracking_uri


def find_champion(config: RunConfig) -> dict[str, str]:
    """`version`, `weights` (their digest) and `run` (ZenML's id of the one that made them) of the present champion;
    empty where there is none yet, or the gate doesn't ask.

    Raises:
        InputNotFoundError: what it was registered from isn't in this ZenML store. ServiceError: the registry is down.
    """
    if config.registry is None or not config.compares_with_champion:
        return {}
    uri = config.registry.tracking_uri or tracking_uri()
    found = present_champion(uri, config.registry.name) if uri else None
    if found is None:
        return {}
    run = found.tags.get("zenml_run_id", "")
    # Now rather than after the training.
    if not run or found.weights not in made_by(run):
        raise InputNotFoundError(
            f"the champion, version {found.version}, was made by a run that isn't in this ZenML store",
            where="gate.min_gain_over_champion",
            hint="use the store that it was made with, or null, which compares with the reference alone",
        )
    return {"version": found.version, "weights": found.weights, "run": run}
