"""Runs that really lie on disk, of which rows are erased; ZenML's part is left out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.growing_runs import ROOT, Growing

from ops.erasure import erase as erasing
from ops.erasure.plan import Plan
from ops.garbage.stores import Store


@pytest.fixture
def nobody_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of its own, and no ZenML that would have to be asked."""

    @contextmanager
    def quiet(root: Path, store: Store) -> Iterator[None]:
        yield

    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(erasing, "quiet", quiet)
    monkeypatch.setattr(erasing, "_forget", lambda run_ids: None)
    monkeypatch.setattr(erasing, "_refuse_others", lambda plan: None)


@pytest.fixture(scope="session")
def refuse_others() -> Callable[[Plan], None]:
    """What the tests of this folder go without."""
    return erasing._refuse_others


@pytest.fixture
def grown(tmp_path: Path, nobody_runs: None) -> Growing:
    """400 rows in two runs: run00 has the first 200, run01 all."""
    return Growing(tmp_path / "state", rows=400).make(tmp_path / "scratch")
