"""A run that goes on elsewhere, followed to its end through restarts of the server that tells of it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from requests import RequestException
from sqlalchemy.exc import OperationalError
from zenml.client import Client

from steps.contracts.errors import ServiceError
from steps.engines.progress.progress import say
from steps.zenml_runtime.settling import settle
from steps.zenml_runtime.state import DRIVEN

# Seconds between two looks: soon at first, then rarely. Chosen: a step takes seconds to hours.
_SOON, _RARELY, _SLOWER = 1.0, 15.0, 1.3
# Chosen: a server that is moved to another machine is back by then, in seconds.
PATIENCE = 900.0
_AWAY = (RequestException, OperationalError, ConnectionError)


def returning_early(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A pipeline's settings, with the active stack's orchestrator told to return when it has taken the run: its own
    waiting ends with the first connection that is cut off, and says less.
    """
    orchestrator = Client().active_stack.orchestrator
    known = orchestrator.settings_class.model_fields if orchestrator.settings_class else {}
    if orchestrator.flavor in DRIVEN or "synchronous" not in known:
        return dict(settings)
    own = f"orchestrator.{orchestrator.flavor}"
    key = own if own in settings else "orchestrator"
    return {**settings, key: {**settings.get(key, {}), "synchronous": False}}


def followed(run_id: UUID, patience: float = PATIENCE) -> Any:
    """The run (PipelineRunResponse), once it has ended. What its steps come to is said meanwhile.

    Raises:
        ServiceError: ZenML's store hasn't answered for so many seconds; the run goes on.
        KeyboardInterrupt: nobody wants to wait any longer; the run goes on, and how to find it again is said.
    """
    told: dict[str, str] = {}
    with _going_on(run_id):
        away: float | None = None
        pause = _SOON
        while True:
            try:
                run = _looked_at(run_id, told)
                if run.status.is_finished:
                    return run
                away = None
            except _AWAY as e:
                away = _still_away(e, away, patience)
            time.sleep(pause)
            pause = min(pause * _SLOWER, _RARELY)


def _looked_at(run_id: UUID, told: dict[str, str]) -> Any:
    run = Client().get_pipeline_run(run_id)
    if not run.status.is_finished and settle(run):
        run = Client().get_pipeline_run(run_id)
    for step in run.steps.values():
        if told.get(step.name) != step.status.value:
            told[step.name] = step.status.value
            say(f"{step.name.removesuffix('_step')}: {step.status.value}")
    return run


def _still_away(error: Exception, since: float | None, patience: float) -> float:
    """Since when, by the monotonic clock.

    Raises:
        ServiceError: for too long.
    """
    now = time.monotonic()
    if since is None:
        say(f"ZenML's store doesn't answer ({type(error).__name__}); the run goes on, and it is asked again")
        return now
    if now - since > patience:
        raise ServiceError(
            f"ZenML's store hasn't answered for {patience:.0f} s: {type(error).__name__}",
            where="waiting for the run's end",
            hint="the run goes on; `assay runs --sync` says how it ended, once the store is back",
        ) from error
    return since


@contextmanager
def _going_on(run_id: UUID) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(how_to_follow(str(run_id)))
        raise


def how_to_follow(name: str) -> str:
    """What a person does about a run that goes on without this process."""
    return (
        f"run {name} goes on: `assay runs {name}` says how far it is and how it ended,"
        f" `assay zenml pipeline runs stop {name}` stops it where the orchestrator can"
    )
