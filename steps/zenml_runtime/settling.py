"""Runs that ZenML calls running for ever: ended as what their process, their orchestrator or their silence says.

Only runs of the same user, and in this order:
- a run that its launcher drives (steps in its process, in processes or containers that it starts one after another) has
  died when that process is known to be gone. On another machine it has when its steps were silent for half an hour;
- of a run elsewhere the orchestrator is asked: what it calls failed has failed, and so has a step whose job it calls
  failed. A step that was silent for half an hour has lost its process.
What ZenML was told by the steps themselves always counts first.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from zenml.client import Client
from zenml.enums import ExecutionStatus, ModelStages, StackComponentType
from zenml.models import ExceptionInfo
from zenml.orchestrators import BaseOrchestrator
from zenml.orchestrators.publish_utils import publish_failed_pipeline_run, publish_step_run_status_update
from zenml.stack import StackComponent

from steps.contracts.errors import WorkerDiedError
from steps.zenml_runtime.heartbeat import SILENCE, in_utc, last_sign, time_of_store
from steps.zenml_runtime.owner import is_gone, is_mine, owner_of
from steps.zenml_runtime.state import DRIVEN

UNFINISHED = tuple(status.value for status in ExecutionStatus if not status.is_finished)
# Chosen: so long after the orchestrator has called a run completed its steps have told ZenML so, if ever.
_SETTLED = timedelta(minutes=10)
_HINT = "the system kills what takes too much memory: more of it (`resources` in the infra file), or smaller batches"


@dataclass(frozen=True)
class _Word:
    """What an orchestrator says of a run and of its steps; None and nothing where it can't."""

    run: ExecutionStatus | None
    steps: Mapping[str, ExecutionStatus]


def unfinished_runs() -> Iterator[Any]:
    """This user's runs that ZenML calls neither ended nor failed, oldest first."""
    client = Client()
    found = client.list_pipeline_runs(
        tags=["startswith:config:"], user=client.active_user.id, status=f"oneof:{json.dumps(UNFINISHED)}",
        sort_by="asc:created", size=200,
    )  # fmt: skip
    runs = (client.get_pipeline_run(listed.id) for listed in found.items)
    return (run for run in runs if is_mine(run))


def is_driven(run: Any) -> bool:
    """Whether nothing of a run goes on without the process that launched it."""
    owner = owner_of(run)
    if owner is not None:
        return owner.drives
    found = run.stack.components.get(StackComponentType.ORCHESTRATOR, []) if run.stack else []
    return any(o.flavor_name in DRIVEN for o in found)


def settle(run: Any) -> str:
    """End a run of this user's that has died, or the steps of it that have. Returns why; "" where it goes on."""
    if run.status.is_finished or not is_mine(run):
        return ""
    return _settle_driven(run) if is_driven(run) else _settle_elsewhere(run)


def _settle_driven(run: Any) -> str:
    owner = owner_of(run)
    if owner is None:
        # Of an older version, which gave no signs: its lock alone tells.
        return ""
    if is_gone(owner):
        end_as_failed(run)
        return "its process is gone"
    signs = [in_utc(run.start_time or run.created), *(last_sign(step) for step in run.steps.values())]
    # Where its process can be seen it lives, however silent.
    if owner.is_here or not _is_silent(max(signs)):
        return ""
    why = f"no sign of life of {owner.host} since {_said(max(signs))}"
    end_as_failed(run, why)
    return why


def _settle_elsewhere(run: Any) -> str:
    word = _word(run)
    lost = {step.name: why for step in run.steps.values() if (why := _why_lost(step, word))}
    for step in run.steps.values():
        if step.name in lost:
            _end_step(step, lost[step.name])
    if word.run is not None and word.run.is_finished and not word.run.is_successful:
        why = next(iter(lost.values()), f"its orchestrator calls it {word.run.value}")
        end_as_failed(run, why, lost)
        return why
    working = [s for s in run.steps.values() if not s.status.is_finished and s.name not in lost]
    if lost and not working:
        end_as_failed(run, ended=lost)
        return next(iter(lost.values()))
    if word.run is not None and word.run.is_successful and not working:
        return _settle_finished(run)
    return ""


def _settle_finished(run: Any) -> str:
    """A run that its orchestrator calls completed, while ZenML waits for steps that never told anything."""
    signs = [in_utc(run.start_time or run.created), *(last_sign(step) for step in run.steps.values())]
    if not _is_silent(max(signs), _SETTLED):
        return ""
    why = "its orchestrator calls it completed, but not all of its steps told ZenML that they ran"
    end_as_failed(run, why)
    return why


def _word(run: Any) -> _Word:
    try:
        component = run.stack.components[StackComponentType.ORCHESTRATOR][0]
        orchestrator = StackComponent.from_model(component_model=component)
        assert isinstance(orchestrator, BaseOrchestrator)
        status, steps = orchestrator.fetch_status(run, include_steps=True)
    except Exception:  # noqa: BLE001 - it has no such call, or its library, account or job isn't here: then signs of life tell
        return _Word(None, {})
    return _Word(status, steps or {})


def _why_lost(step: Any, word: _Word) -> str:
    """Why a step that ZenML calls running has lost its process; "" where it may live."""
    if step.status.is_finished or step.status == ExecutionStatus.RETRYING:
        return ""
    said = word.steps.get(step.name)
    if said is not None and said.is_finished and not said.is_successful:
        return f"its orchestrator calls its job {said.value}, and the step said nothing: it was killed, or lost"
    gives_signs = step.heartbeat_threshold is not None
    if gives_signs and _is_silent(last_sign(step)):
        return f"no sign of life since {_said(last_sign(step))}: it was killed, or its machine is gone"
    return ""


def _is_silent(sign: datetime, limit: timedelta = SILENCE) -> bool:
    return time_of_store() - sign > limit


def _said(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def end_as_failed(run: Any, why: str = "", ended: Collection[str] = ()) -> None:
    """Say that a run and its unfinished steps failed, where ZenML's store still calls them running. `why`: what the
    steps and the run didn't say themselves; `ended`: steps of which it was said already.
    """
    for one in run.steps.values():
        if not one.status.is_finished and one.name not in ended:
            _end_step(one, why)
    if Client().get_pipeline_run(run.id, hydrate=False).status.is_finished:
        return
    publish_failed_pipeline_run(run.id, exception_info=_info(why) if why else None)


def _end_step(step: Any, why: str = "") -> None:
    # Not `publish_failed_step_run`: it adds the exception of whichever step failed last in this process.
    publish_step_run_status_update(step.id, ExecutionStatus.FAILED, exception_info=_info(why) if why else None)


def _info(why: str) -> ExceptionInfo:
    kind = f"{WorkerDiedError.__module__}.{WorkerDiedError.__qualname__}"
    return ExceptionInfo(traceback=why, source=kind, message=f"{why}; {_HINT}")


def archive_model(run: Any) -> None:
    """Say of the version that ZenML makes of its own model for every run, that this run's came to nothing."""
    version = run.model_version
    if version is not None:
        Client().update_model_version(version.model.id, version.id, stage=ModelStages.ARCHIVED, force=True)
