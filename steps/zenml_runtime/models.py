"""Models that earlier runs made."""

from typing import Any

from zenml.client import Client

from steps.contracts.errors import InputNotFoundError
from steps.contracts.models import ModelFolder


def made_by(run: str) -> dict[str, Any]:
    """Artifact versions of the models that a run made or took from the cache, by digest, the base first; none where
    the store doesn't know the run.
    """
    try:
        found = Client().get_pipeline_run(run, allow_name_prefix_match=False)
    except KeyError:
        return {}
    outputs = (version for step in found.steps.values() for versions in step.outputs.values() for version in versions)
    models = [v for v in outputs if v.data_type.attribute == ModelFolder.__name__]
    models.sort(key=lambda v: v.name != "base")
    return {str(v.run_metadata.get("digest")): v for v in models}


def load_models(run: str, weights: str) -> tuple[ModelFolder, ModelFolder]:
    """The model with these weights that a run made, behind the whole model that it lies over (for a whole one: the
    run's base).

    Raises:
        InputNotFoundError: the store has them no more. IntegrityError: they are damaged.
    """
    known = made_by(run)
    if weights not in known:
        raise InputNotFoundError(f"run {run} and its model {weights[:12]} are gone from ZenML's store")
    model: ModelFolder = known[weights].load()
    over = known.get(model.info.over or "") or next(iter(known.values()))
    return over.load(), model
