"""The first step of every run: what the run reads, as it is at this moment, and what leads back to it.

Nothing that a run needs is known to its launcher alone: a run that a schedule starts in a cluster sees today's bytes.
The step is never taken from the cache. What other steps read of it lies in artifacts of their own, one per reader,
whose content is in the reader's cache key; what decides no number (the commit, what may be reused) is noted with the
run and is in no key.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from zenml.client import Client

from pipelines.config import RunConfig
from pipelines.dataset import find_dataset
from pipelines.inputs import Inputs, read_inputs
from pipelines.reuse import reusable
from steps.contracts.digests import value_digest
from steps.scrub.row_codec import search_digest
from steps.zenml_runtime.commit import commit_of
from steps.zenml_runtime.context import REUSE, note, source_root
from steps.zenml_runtime.step import say, uncached_step


@dataclass(frozen=True)
class Started:
    """Handles of what the first step found; the fields of `Inputs`, and

    search: what scrub and review look for personal data with; "" when nothing is scrubbed.
    dataset: id of the dataset's artifact version, for fine-tuning alone; "" otherwise.
    """

    sources: Any
    benchmarks: Any
    decisions: Any
    models: Mapping[str, Any]
    base: Any
    controls: Any
    key_id: Any
    search: Any
    dataset: Any


@uncached_step
def start_step(
    config: RunConfig,
) -> tuple[
    Annotated[dict[str, str], "sources"],
    Annotated[dict[str, str], "benchmarks"],
    Annotated[dict[str, str], "decisions"],
    Annotated[dict[str, str], "screen_models"],
    Annotated[dict[str, str], "semantic_models"],
    Annotated[dict[str, str], "base_files"],
    Annotated[dict[str, str], "controls"],
    Annotated[str, "key_id"],
    Annotated[str, "search"],
    Annotated[str, "dataset_version"],
]:
    """Look at everything that the run reads from outside, and note where the run comes from."""
    root = source_root()
    inputs = read_inputs(root, config)
    search = search_digest(config.scrub, inputs.key_id) if config.scrub and inputs.key_id else ""
    dataset = find_dataset(config.dataset) if config.dataset else ""
    note(_facts(root, config, inputs, dataset))
    return (
        inputs.sources, inputs.benchmarks, inputs.decisions, inputs.models.get("screen", {}),
        inputs.models.get("semantic", {}), inputs.base, inputs.controls, inputs.key_id, search, dataset,
    )  # fmt: skip


def started(config: RunConfig) -> Started:
    """The first step of a pipeline."""
    sources, benchmarks, decisions, screen, semantic, base, controls, key_id, search, dataset = start_step(config)
    models = {"screen": screen, "semantic": semantic}
    return Started(sources, benchmarks, decisions, models, base, controls, key_id, search, dataset)


def _facts(root: Path, config: RunConfig, inputs: Inputs, dataset: str) -> dict[str, Any]:
    return {
        "config_name": config.name,
        "config_digest": value_digest(config.model_dump(mode="json")),
        "sources_digest": value_digest(inputs.sources),
        "commit": commit_of(root) or "",
        "tracking_uri": _tracking_uri() or "",
        "dataset": dataset,
        REUSE: _reuse(config),
    }


def _reuse(config: RunConfig) -> dict[str, str]:
    """Ids of the artifact versions that this run builds on, by artifact name; says which run they are of."""
    if config.reuse is None or not config.curates:
        return {}
    found = reusable(config, config.reuse)
    say(f"reuse: builds on run {found.run}" if found else f"reuse: no completed run of {config.name} yet")
    return found.artifacts if found else {}


def _tracking_uri() -> str | None:
    tracker = Client().active_stack.experiment_tracker
    found = tracker.get_tracking_uri() if tracker is not None and hasattr(tracker, "get_tracking_uri") else None
    return str(found) if found else os.environ.get("MLFLOW_TRACKING_URI")
