"""Runs that really lie on disk, over one growing archive."""

from pathlib import Path

import pytest
from support.growing_runs import ROOT, Growing


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Growing:
    folder = tmp_path_factory.mktemp("growing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_STATE", str(folder / "state"))
        return Growing(folder / "state").make(folder / "scratch")


@pytest.fixture
def growing(made: Growing, monkeypatch: pytest.MonkeyPatch) -> Growing:
    """Shared by all tests: who damages a file puts it back."""
    monkeypatch.setenv("ASSAY_STATE", str(made.state))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return made


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Growing:
    """One test's, for what changes the index."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    return Growing(tmp_path / "state").make(tmp_path / "scratch")
