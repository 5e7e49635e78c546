"""The moments at which a run tells of itself: it began, it ended well, it failed. Nothing of it changes the run.

Where a run's events go stands in its `extra`, so that steps in pods and runs of schedules tell as well; that is in no
cache key. A server that doesn't answer is named once for a run.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec

from zenml import log_metadata
from zenml.client import Client

from materializers.artifacts import Artifacts, going_on
from pipelines.config import RunConfig
from pipelines.openlineage.config import Endpoint
from pipelines.openlineage.send import send
from pipelines.openlineage.work import StepWork, Work, config_or_none, steps_of
from steps.contracts.dataset import Manifest
from steps.contracts.errors import AssayError
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.context import noted, source_root

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

    from pipelines.openlineage.events import Events

P = ParamSpec("P")

# In a run's `extra`: an `Endpoint`; absent where nobody is told. In its metadata: what was told, and what wasn't.
OPENLINEAGE = "openlineage"
_SILENT, _FAILED = "not reached", "failure told"
# ZenML's words for a run that came to nothing.
UNHAPPY = ("failed", "stopped", "cancelled")


def told_at(run: Any) -> Endpoint | None:
    """Where a run (ZenML's PipelineRunResponse) tells of itself; None: nowhere."""
    said = run.config.extra.get(OPENLINEAGE)
    return Endpoint.model_validate(said) if said else None


def _harmless(tell: Callable[P, None]) -> Callable[P, None]:
    """The same, which never ends a run: what goes wrong is said."""

    @functools.wraps(tell)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            tell(*args, **kwargs)
        except Exception as e:  # noqa: BLE001 - a run goes on whatever becomes of its events
            _complain(f"no events of this run: {type(e).__name__}: {str(e)[:200]}")

    return told


@_harmless
def tell_start(run: Any, config: RunConfig, inputs: Mapping[str, Mapping[str, str]], dataset: str) -> None:
    """Tell that a run began. `inputs`: digests of what it reads; `dataset`: as `pipelines.start` notes it."""
    if told_at(run) is not None:
        from pipelines.record import record_of

        work = Work(record_of(run), config, inputs, trained_on=_trained_on(dataset))
        _tell(run, work, lambda events: [events.started()])


@_harmless
def tell_completed(run: Any, record: RunRecord, store: Artifacts) -> None:
    """Tell that a run ended well. `store`: its artifacts."""
    if told_at(run) is not None:
        _tell(run, _work(run, record, store), lambda events: events.completed())


@_harmless
def tell_failed(run: Any, record: RunRecord, store: Callable[[], Artifacts]) -> None:
    """Tell that a run came to nothing, once, whoever finds out first."""
    if told_at(run) is None or record.status not in UNHAPPY or _FAILED in _told(run):
        return
    begun = any(s.name == "start_step" and s.status.value == "completed" for s in run.steps.values())
    work = _work(run, record, store())
    if _tell(run, work, lambda events: [*(() if begun else (events.started(),)), *events.failed()]):
        _note(run, _FAILED)


def _tell(run: Any, work: Work, which: Callable[["Events"], Iterable["RunEvent"]]) -> bool:
    where = told_at(run)
    assert where is not None

    def make() -> Iterable["RunEvent"]:
        from pipelines.openlineage.events import Events

        return which(Events(work, where.namespace))

    why = send(make, where, source_root())
    if why and _SILENT not in _told(run):
        _complain(f"{where.url} didn't take this run's events ({why}); the run goes on without")
        _note(run, _SILENT)
    return not why


def _work(run: Any, record: RunRecord, store: Artifacts) -> Work:
    from pipelines.record import config_of, digests_of_run

    config, steps = config_or_none(config_of(run)), steps_of(run)
    trained_on = _trained_on(noted(run).get("dataset", ""))
    return Work(record, config, digests_of_run(run), steps, _manifests(record, steps, store), trained_on)


def _manifests(record: RunRecord, steps: tuple[StepWork, ...], store: Artifacts) -> dict[str, Manifest]:
    """Those of the versions that its steps read and made, and of its last one."""
    last = [a.uri for a in going_on(record)[-1:]]
    told = {*last, *(uri for step in steps for uri in (*step.inputs, *step.outputs))}
    found = {}
    for artifact in record.of_type("dataset"):
        if artifact.uri in told:
            try:
                found[artifact.uri] = store.manifest(artifact)
            except AssayError:
                continue
    return found


def _trained_on(dataset: str) -> tuple[str, str, str] | None:
    if not dataset:
        return None
    version = Client().get_artifact_version(dataset)
    maker = version.producer_pipeline_run_id
    name = Client().get_pipeline_run(maker).config.parameters["config"]["name"] if maker else version.artifact.name
    return name, version.artifact.name, str(version.run_metadata.get("digest") or "")


def _complain(why: str) -> None:
    """No progress, which may be switched off."""
    sys.stderr.write(f"OpenLineage: {why}\n")
    sys.stderr.flush()


def _told(run: Any) -> tuple[str, ...]:
    return tuple(run.run_metadata.get(OPENLINEAGE, ()))


def _note(run: Any, what: str) -> None:
    log_metadata({OPENLINEAGE: sorted({*_told(run), what})}, run_id_name_or_prefix=run.id)
