"""ZenML's store on this machine: its database, and runs whose process has died."""

import fcntl
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.orchestrators.publish_utils import publish_failed_pipeline_run, publish_failed_step_run

from steps.zenml_runtime.state import state_folder


def use_wal(database: Path) -> None:
    """Put ZenML's SQLite file in write-ahead mode (it stays so): measured a third less time per step."""
    if database.is_file():
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def run_lock(run_name: str) -> Iterator[None]:
    """Held while a local run lives; the system frees it when the process dies, however it dies."""
    path = _lock_file(run_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock_file(run_name: str) -> Path:
    return state_folder() / "locks" / f"{hashlib.sha256(run_name.encode()).hexdigest()[:24]}.lock"


def _is_alive(run_name: str) -> bool:
    path = _lock_file(run_name)
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
            if not local or _is_alive(run.name):
                continue
            for one in run.steps.values():
                if not one.status.is_finished:
                    publish_failed_step_run(one.id)
            publish_failed_pipeline_run(run.id)
            _lock_file(run.name).unlink(missing_ok=True)
            reaped.append(run.name)
    return reaped


def _is_local(stack: Any) -> bool:
    return any(
        component.flavor_name == "local"
        for kind, components in stack.components.items()
        if str(kind) == "orchestrator"
        for component in components
    )
