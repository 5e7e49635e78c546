"""What is left of dead launchers: marked, recorded, and only then forgotten; and what isn't theirs is left alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from zenml.enums import ExecutionStatus

from steps.zenml_runtime import local_store
from steps.zenml_runtime.local_store import reap, run_lock
from steps.zenml_runtime.owner import OWNER, Owner


def run_of(drives: bool = True, status: ExecutionStatus = ExecutionStatus.FAILED) -> SimpleNamespace:
    owner = Owner(drives, "ann", "here", "", 1, "")
    config = SimpleNamespace(extra={OWNER: owner.said()})
    return SimpleNamespace(id=uuid4(), name="dead-1", status=status, config=config, steps={})


def left_lock(state: Path, **changed: str) -> Path:
    """The lock of a launcher that was killed."""
    with run_lock("dead", "config"):
        (lock,) = (state / "locks").glob("*.lock")
        written = json.loads(lock.read_text())
    lock.write_text(json.dumps({**written, **changed}))
    return lock


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path))
    monkeypatch.setattr(local_store, "unfinished_runs", lambda: iter(()))
    monkeypatch.setattr(local_store, "archive_model", lambda run: None)
    return tmp_path


def test_lock_of_a_dead_run_stays_until_the_run_is_recorded(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of()
    monkeypatch.setattr(local_store, "launched_run", lambda launch, _config: run if launch == "dead" else None)
    recorded: list[UUID] = []

    def no_store(_run: UUID) -> None:
        raise OSError("no store")

    with run_lock("dead", "config"):
        (lock,) = (state / "locks").glob("*.lock")
        written = lock.read_text()
        assert reap(recorded.append) == [] and recorded == [], "it lives"
    lock.write_text(written)
    (said,) = reap(no_store)
    assert "record" in said and "no store" in said and lock.exists()
    assert reap(recorded.append) == []
    assert recorded == [run.id] and not lock.exists()


def test_run_that_goes_on_without_its_launcher_is_not_ended(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(drives=False, status=ExecutionStatus.RUNNING)
    monkeypatch.setattr(local_store, "launched_run", lambda _launch, _config: run)
    monkeypatch.setattr(local_store, "end_as_failed", lambda _run: pytest.fail("it was ended"))
    lock, recorded = left_lock(state), list[UUID]()
    assert reap(recorded.append) == []
    assert recorded == [run.id] and not lock.exists()


def test_lock_of_another_machine_is_left_alone(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_store, "launched_run", lambda _launch, _config: pytest.fail("its run was looked for"))
    lock = left_lock(state, host="another machine")
    assert reap(lambda _run: None) == [] and lock.exists()
