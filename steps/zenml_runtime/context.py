"""What a step sees of its run: facts, inputs, what an earlier run kept, the experiment tracker."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from zenml import log_metadata
from zenml.client import Client
from zenml.steps import get_step_context
from zenml.utils import source_utils

from steps.contracts.context import Clean, StageContext
from steps.contracts.errors import InputNotFoundError
from steps.contracts.execution import Executor
from steps.contracts.row_cache import RowCache
from steps.engines.tracking.trackers import Tracker, tracker_of
from steps.zenml_runtime.inputs import INPUTS, laid_out
from steps.zenml_runtime.state import state_folder, workspace

# A run's metadata of this name is what its first step found out, and what later steps ask for. It is in no cache key.
NOTED = "start"
# Its entry for the artifacts of an earlier run that may be reused: artifact version ids by artifact name.
REUSE = "reuse"
# Its entries for the sources that the rows came from, as declared, and for the run that made the dataset which
# fine-tuning alone starts from.
SOURCES, DATASET_RUN = "sources", "dataset_run"
# Where the launcher writes, in a run's `extra`, where row-wise work runs.
EXECUTOR = "executor"
# And by how many steps it is done; absent where it is the stage's own.
FAN_OUT = "fan_out"
# Its entries that a registered model is tagged with.
LINEAGE = ("config_name", "config_digest", "sources_digest", "commit")
# In a run's `extra`: the URI of its durable state; "" where that is the state folder of the machine.
STATE = "state"
# In a run's `extra`: the slot that it stands for, and the schedule that wanted it; absent where there is none.
SLOT, SCHEDULE = "slot", "schedule"
# In the `extra` of a run that a service's clock starts from what it recorded: cron and zone, which tell its slot.
TIMES = "times"
# In a run's `extra`: what its run in the tracker is tagged with.
TAGS = "tags"
# Folder of the state folder with what is seen of runs while they train.
WATCHED = "watch"
# Then this variable of the first step's process says another slot.
SLOT_VARIABLE = "ASSAY_SLOT"
# The first step's entry for the paths of sources in which it filled the slot in.
PATHS = "paths"

# In a step's `extra`: its time limit, in seconds; which processes train together.
TIMEOUT, TRAINING = "timeout", "training"
# How many steps of the run still train with other machines after it.
TO_COME = "to_come"


def time_limit() -> float | None:
    """Seconds that the running step may take; None: as many as it wants."""
    limit = get_step_context().step_run.config.extra.get(TIMEOUT)
    return float(limit) if limit else None


def training_ranks() -> dict[str, Any]:
    """Which processes train together, as the infra file says it of the running step; empty: this one."""
    return dict(get_step_context().step_run.config.extra.get(TRAINING) or {})


def phases_to_come() -> int:
    """How many of the run's steps train with other machines after the running one."""
    return int(get_step_context().step_run.config.extra.get(TO_COME) or 0)


def durable_state() -> str:
    """The URI under which the run's checkpoints, paid replies and embeddings outlive this machine; "" without one."""
    return str(get_step_context().pipeline_run.config.extra.get(STATE) or "")


def source_root() -> Path:
    """The folder that relative paths in a config start from."""
    return Path(source_utils.get_source_root())


def input_root(stage: str) -> Path:
    """The folder that relative paths in this stage's settings start from."""
    brought = noted_of_this_run().get(INPUTS, {}).get(stage)
    return laid_out(brought, source_root()) if brought else source_root()


def stage_context(stage: str, code: str, *, cache: str = "", **given: Any) -> StageContext:
    """What a stage that runs as a step may use. `code`: the step's cache key; `cache`: folder below the state folder
    for its durable files; `given`: further fields of the context.
    """
    durable = state_folder() / cache if cache else None
    left = EarlierArtifacts()
    return StageContext(workspace(stage), input_root(stage), durable, left, code, executor=executor(), **given)


def cleaner(scrub: str) -> Clean | None:
    """How a stage scrubs what models write. `scrub`: the run's settings of scrub, as JSON; "": there are none.

    Raises:
        As `steps.scrub.written.cleaner`.
    """
    # By name: no stage imports another one. Rows that scrub left otherwise are other rows, so its code is in no key.
    found: Clean | None = import_module("steps.scrub.written").cleaner(scrub, input_root("scrub")) if scrub else None
    return found


def run_id() -> str:
    """The id of the run that this step is of; each attempt at a step is of the same run."""
    return str(get_step_context().pipeline_run.id)


def shares_of_run(stage: str) -> tuple[RowCache, ...]:
    """What steps of this run have computed of the stage's rows, each a share; none where it isn't fanned out.

    Read from the run, like what an earlier run kept, and no input of the step that asks: who computed what is in no
    cache key.
    """
    run = get_step_context().pipeline_run
    if FAN_OUT not in run.config.extra:
        return ()
    steps = Client().get_pipeline_run(run.id).steps
    made = (step.outputs.get(f"{stage}_share_row_cache", ()) for _, step in sorted(steps.items()))
    return tuple(version.load() for versions in made for version in versions)


def executor() -> Executor:
    """Where row-wise work runs, as the infra file says it."""
    settings = get_step_context().pipeline_run.config.extra.get(EXECUTOR) or {}
    # Imported by name: it decides no number, so it is in the cache key of no step that doesn't use it.
    chosen: Executor = import_module("steps.engines.execution.config").ExecutorConfig(**settings).executor()
    return chosen


class EarlierArtifacts(Mapping[str, Any]):
    """The artifacts of the run that this one builds on, each read when it is asked for."""

    def __init__(self) -> None:
        self._versions: Mapping[str, str] = _noted(get_step_context().pipeline_run.id).get(REUSE, {})

    def __getitem__(self, name: str) -> Any:
        if name not in self._versions:
            raise KeyError(name)
        return earlier(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)


def is_tracked() -> bool:
    """Whether the running step is bound to an experiment tracker (configs/infra does that, never code)."""
    return bool(get_step_context().step_run.config.experiment_tracker)


def _tracker() -> Tracker | None:
    """The tracker that the running step records in; None: it is bound to none, or to one that nothing is known of."""
    return _tracker_of(get_step_context().step_run.id) if is_tracked() else None


@lru_cache(maxsize=1)
def _tracker_of(step_run: UUID) -> Tracker | None:
    found = Client().active_stack.experiment_tracker
    tracker = tracker_of(found.flavor) if found is not None else None
    tags = get_step_context().pipeline_run.config.extra.get(TAGS)
    if tracker is not None and tags:
        tracker.tags(tags)
    return tracker


@contextmanager
def own_tracker_run(name: str) -> Iterator[None]:
    """A tracker run below that of the pipeline run, where several of its steps record values of the same names."""
    tracker = _tracker()
    with tracker.below(name) if tracker is not None else nullcontext():
        yield


def track_params(params: dict[str, Any]) -> None:
    """Record parameters with the step's experiment tracker, if it has one. Nested values become JSON text."""
    if (tracker := _tracker()) is not None:
        tracker.params(params)


def track_tags(tags: dict[str, str]) -> None:
    """Tag the run of the step's experiment tracker, if it has one."""
    if (tracker := _tracker()) is not None:
        tracker.tags(tags)


def track_metrics(step: int, metrics: dict[str, float]) -> None:
    """Record metrics at an optimizer step with the step's experiment tracker, if it has one."""
    if (tracker := _tracker()) is not None:
        tracker.metrics(step, metrics)


def watch_file(stage: str) -> Path:
    """Where the running step writes what is seen of a phase while it trains."""
    run: str = get_step_context().pipeline_run.name
    return state_folder() / WATCHED / run / f"{stage}.jsonl"


def input_uri(name: str) -> str:
    """URI of an input artifact's folder in the artifact store."""
    found = get_step_context().inputs[name]
    return str(found[0].uri if isinstance(found, list) else found.uri)


def note(facts: Mapping[str, Any]) -> None:
    """Keep with the run what its first step found out."""
    run = get_step_context().pipeline_run
    log_metadata({NOTED: dict(facts)}, run_id_name_or_prefix=run.id)


def noted_of_this_run() -> Mapping[str, Any]:
    """What the first step of the running step's run noted."""
    return _noted(get_step_context().pipeline_run.id)


@lru_cache(maxsize=1)
def _noted(run_id: UUID) -> Mapping[str, Any]:
    """What the run's first step noted; it says so once, before any other step starts."""
    return noted(Client().get_pipeline_run(run_id))


def noted(run: Any) -> dict[str, Any]:
    """What the first step of a run (ZenML's PipelineRunResponse) noted; empty when it didn't get so far."""
    return dict(run.run_metadata.get(NOTED, {}))


def told_of_slot() -> dict[str, Any]:
    """What the run of the running step was told of its slot: its time, or by which clock it is started, and when that
    was (UTC).
    """
    run = get_step_context().pipeline_run
    extra = run.config.extra
    started = run.start_time or run.created
    return {
        "slot": os.environ.get(SLOT_VARIABLE) if TIMES in extra else extra.get(SLOT),
        "times": extra.get(TIMES),
        "started": started.replace(tzinfo=UTC) if started.tzinfo is None else started,
    }


def filled_paths() -> Mapping[str, str]:
    """Paths of sources, by the sources' names, in which the first step filled the slot in."""
    found: Mapping[str, str] = noted_of_this_run().get(PATHS, {})
    return found


def run_facts() -> dict[str, str]:
    """Names that lead from a registered model back to its run: ZenML run id and name, pipeline, stack, commit, digests
    of config and sources. None of it is in a cache key.
    """
    context = get_step_context()
    run = context.pipeline_run
    facts = _noted(run.id)
    return {
        "zenml_run_id": str(run.id),
        "zenml_run": run.name,
        "pipeline": context.pipeline.name,
        "stack": run.stack.name if run.stack else "",
        **{name: str(facts.get(name) or "") for name in LINEAGE},
    }


def earlier(name: str) -> Any:
    """The artifact of that name from the run that this one builds on (config key `reuse`); None without one.

    The run's first step noted its id, which is in no cache key: what is kept between runs decides what a run costs,
    never what it finds, so that an identical run is served from the cache whatever it could have reused.

    Raises:
        InputNotFoundError: its files are gone. IntegrityError: they are damaged.
    """
    version = _noted(get_step_context().pipeline_run.id).get(REUSE, {}).get(name)
    if not version:
        return None
    artifact = Client().get_artifact_version(version)
    try:
        return artifact.load()
    except FileNotFoundError as e:
        raise InputNotFoundError(
            f"what an earlier run kept is gone ({name})",
            where=artifact.uri,
            hint="run once with `--set reuse=null`: everything is computed and kept anew",
        ) from e
