"""Runs of this state folder in ZenML's store: the locks of their launchers, and those whose process has died."""

import fcntl
import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from zenml.client import Client
from zenml.enums import ExecutionMode, ExecutionStatus, StackComponentType

from steps.contracts.locks import is_held
from steps.zenml_runtime.settling import archive_model, end_as_failed, is_driven, settle, unfinished_runs
from steps.zenml_runtime.state import ON_THIS_MACHINE, state_folder
from steps.zenml_runtime.tracker import end_tracked_runs

# In a run's `extra`: what its launcher holds a lock for while it lives. Run names aren't known before the start.
LAUNCH = "launch"


@dataclass(frozen=True)
class Launch:
    """A run as its launcher's lock file tells of it.

    Attributes:
        tracking: the MLflow URIs that it may leave a run in.
        host: whose locks the file is under; "" in files of older versions.
    """

    launch: str
    config_name: str
    tracking: tuple[str, ...] = ()
    host: str = ""


@contextmanager
def run_lock(launch: str, config_name: str = "", tracking: Sequence[str] = ()) -> Iterator[None]:
    """Held while a launcher lives; the system frees it when the process dies, however it dies.

    Taken, as dead runs are looked for, within `database.starting`.
    """
    path = _lock_file(launch)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        json.dump(asdict(Launch(launch, config_name, tuple(tracking), platform.node())), f)
        f.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock_file(launch: str) -> Path:
    return state_folder() / "locks" / f"{hashlib.sha256(launch.encode()).hexdigest()[:24]}.lock"


def launched_run(launch: str, config_name: str) -> Any:
    """The newest run (PipelineRunResponse) that was started with this `launch`; None when there is none."""
    client = Client()
    # Others may have started runs of the same config since.
    newest = client.list_pipeline_runs(
        tags=[f"config:{config_name}"], user=client.active_user.id, sort_by="desc:created", size=50
    ).items
    runs = (client.get_pipeline_run(listed.id) for listed in newest)
    return next((run for run in runs if run.config.extra.get(LAUNCH) == launch), None)


def execution_mode() -> ExecutionMode:
    """Stop at the first failure where the active stack's orchestrator can; else what every orchestrator does."""
    supported = Client().active_stack.orchestrator.supported_execution_modes
    return ExecutionMode.FAIL_FAST if ExecutionMode.FAIL_FAST in supported else ExecutionMode.CONTINUE_ON_FAILURE


def _dead() -> list[Launch]:
    """Launches of this state folder and machine whose process is gone, and that nobody has cleared up after yet.

    Nobody takes another machine's run for dead, also where the state folder is shared: whether its lock is held can't
    be trusted there.
    """
    found = (_read(path) for path in sorted((state_folder() / "locks").glob("*.lock")) if not is_held(path))
    return [launch for launch in found if launch is not None and launch.host in ("", platform.node())]


def _read(path: Path) -> Launch | None:
    """None for a launcher that died before it had written its file: it had started nothing yet."""
    try:
        written = json.loads(path.read_text())
        tracking = tuple(written["tracking"])
        return Launch(written["launch"], written["config_name"], tracking, written.get("host", ""))
    except (ValueError, KeyError):
        path.unlink(missing_ok=True)
        return None


def reap(record: Callable[[UUID], object]) -> list[str]:
    """Mark this user's runs that have died as failed (ZenML and MLflow call them running for ever), and `record` them,
    by their id. Returns what there is to say about them.

    Their finished steps stay in the cache. What is interrupted or fails here is done by the next one: the lock goes
    last.
    """
    lines: list[str] = []
    for dead in _dead():
        run = launched_run(dead.launch, dead.config_name)
        if run is not None:
            lines += _end_launched(run, dead)
            if why := _recorded(run, record):
                lines.append(why)
                continue
        _lock_file(dead.launch).unlink(missing_ok=True)
    for run in unfinished_runs():
        if why := settle(run):
            archive_model(run)
            lines.append(f"run {run.name} had died: {why}; its finished steps are reused")
            lines += filter(None, [_recorded(run, record)])
    return lines


def _end_launched(run: Any, dead: Launch) -> list[str]:
    """End what a dead launcher leaves. A run that goes on without it is left alone."""
    if not is_driven(run):
        return []
    lines = []
    if not run.status.is_finished:
        end_as_failed(run)
        lines.append(f"run {run.name} had died; its finished steps are reused")
    if run.status != ExecutionStatus.COMPLETED:
        archive_model(run)
    why = end_tracked_runs(run.name, dead.tracking) if dead.tracking else []
    return lines + [f"its MLflow run may still be called running: {one}" for one in why]


def _recorded(run: Any, record: Callable[[UUID], object]) -> str:
    """Why a run couldn't be recorded; "" when it was."""
    try:
        record(run.id)
    except Exception as e:  # noqa: BLE001 - a store that is gone by now keeps no other run from starting
        return f"its record can't be made yet: {type(e).__name__}: {str(e)[:200]}"
    return ""


def runs_here() -> bool:
    """Whether steps of the active stack run on this machine, in this checkout."""
    return bool(Client().active_stack.orchestrator.flavor in ON_THIS_MACHINE)


def runs_in_one_process(run: Any) -> bool:
    """Whether all steps of a run are executed by the process that started it."""
    orchestrators = run.stack.components[StackComponentType.ORCHESTRATOR] if run.stack else ()
    return any(o.flavor_name == "local" for o in orchestrators)
