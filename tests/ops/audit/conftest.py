"""A run whose artifacts were made by hand, in a state folder of its own."""

from pathlib import Path

import pytest
from support import stored_run
from support.stored_run import StoredRun

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredRun:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return stored_run.build(ROOT, tmp_path / "work")
