"""What is left of dead launchers: marked, recorded, and only then forgotten."""

from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from zenml.enums import ExecutionStatus

from steps.zenml_runtime import local_store
from steps.zenml_runtime.local_store import reap, run_lock


def test_lock_of_a_dead_run_stays_until_the_run_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path))
    run = SimpleNamespace(id=uuid4(), name="dead-1", status=ExecutionStatus.FAILED)
    monkeypatch.setattr(local_store, "launched_run", lambda launch, _config: run if launch == "dead" else None)
    monkeypatch.setattr(local_store, "archive_model", lambda run: None)
    recorded: list[UUID] = []

    def no_store(_run: UUID) -> None:
        raise OSError("no store")

    with run_lock("dead", "config"):
        (lock,) = (tmp_path / "locks").glob("*.lock")
        written = lock.read_text()
        assert reap(recorded.append) == [] and recorded == [], "it lives"
    lock.write_text(written)
    (said,) = reap(no_store)
    assert "record" in said and "no store" in said and lock.exists()
    assert reap(recorded.append) == []
    assert recorded == [run.id] and not lock.exists()
