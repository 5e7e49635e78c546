"""ZenML's store on this machine: its database, and runs whose process has died."""

import fcntl
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.enums import ExecutionMode, ExecutionStatus
from zenml.orchestrators.publish_utils import publish_failed_pipeline_run, publish_step_run_status_update

from steps.zenml_runtime.state import state_folder

# In a run's `extra`: what its launcher holds a lock for while it lives. Run names aren't known before the start.
LAUNCH = "launch"


def use_wal(database: Path) -> None:
    """Put ZenML's SQLite file in write-ahead mode (it stays so): measured a third less time per step."""
    if database.is_file():
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def run_lock(launch: str) -> Iterator[None]:
    """Held while a launcher and its local run live; the system frees it when the process dies, however it dies."""
    path = _lock_file(launch)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock_file(launch: str) -> Path:
    return state_folder() / "locks" / f"{hashlib.sha256(launch.encode()).hexdigest()[:24]}.lock"


def _launch_of(run: Any) -> str:
    return str(run.config.extra.get(LAUNCH) or run.name)


def launched_run(launch: str, config_name: str) -> Any:
    """The newest run (PipelineRunResponse) that was started with this `launch`; None when there is none."""
    client = Client()
    # Others may have started runs of the same config since.
    newest = client.list_pipeline_runs(tags=[f"config:{config_name}"], sort_by="desc:created", size=50).items
    runs = (client.get_pipeline_run(listed.id) for listed in newest)
    return next((run for run in runs if run.config.extra.get(LAUNCH) == launch), None)


def end_as_failed(run: Any) -> None:
    """Say that a run and its unfinished steps failed, where ZenML's store still calls them running."""
    for one in run.steps.values():
        if not one.status.is_finished:
            # Not `publish_failed_step_run`: it adds the exception of whichever step failed last in this process.
            publish_step_run_status_update(one.id, ExecutionStatus.FAILED)
    publish_failed_pipeline_run(run.id)


def execution_mode() -> ExecutionMode:
    """Stop at the first failure where the active stack's orchestrator can; else what every orchestrator does."""
    supported = Client().active_stack.orchestrator.supported_execution_modes
    return ExecutionMode.FAIL_FAST if ExecutionMode.FAIL_FAST in supported else ExecutionMode.CONTINUE_ON_FAILURE


def _is_alive(launch: str) -> bool:
    path = _lock_file(launch)
    if not path.is_file():
        return False
    with path.open() as f:
        try:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def reap() -> list[str]:
    """Mark local runs whose process has died as failed (ZenML leaves them running for ever). Returns their names.

    Their finished steps stay in the cache.
    """
    client = Client()
    reaped = []
    for status in (ExecutionStatus.RUNNING, ExecutionStatus.INITIALIZING, ExecutionStatus.PROVISIONING):
        for listed in client.list_pipeline_runs(status=status, size=100).items:
            run = client.get_pipeline_run(listed.id)
            local = run.stack is None or _is_local(run.stack)
            if not local or _is_alive(_launch_of(run)):
                continue
            end_as_failed(run)
            _lock_file(_launch_of(run)).unlink(missing_ok=True)
            reaped.append(run.name)
    return reaped


def runs_in_one_process(run: Any) -> bool:
    """Whether all steps of a run are executed by the process that started it."""
    return run.stack is not None and _is_local(run.stack)


def _is_local(stack: Any) -> bool:
    return any(
        component.flavor_name == "local"
        for kind, components in stack.components.items()
        if str(kind) == "orchestrator"
        for component in components
    )
