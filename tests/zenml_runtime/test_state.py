"""Where the state folder lies, and that nobody else's is taken for ours."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from steps.contracts.errors import StorageError
from steps.contracts.locks import OwnFolder
from steps.engines.state_store.store import store_of
from steps.zenml_runtime import state
from steps.zenml_runtime.state import state_folder


def test_named_by_the_environment_else_in_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "named"))
    assert state_folder(tmp_path / "root") == tmp_path / "named"
    monkeypatch.delenv("ASSAY_STATE")
    assert state_folder(tmp_path / "root") == tmp_path / "root" / ".zenml" / "state"
    monkeypatch.setattr(state, "_HOME", tmp_path / "checkout")
    assert state_folder() == tmp_path / "checkout" / ".zenml" / "state"
    assert state_folder().stat().st_mode & 0o777 == 0o700


def test_folder_that_was_open_to_others_is_closed_with_all_that_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "state" / "rejects" / "run.jsonl"
    raw.parent.mkdir(parents=True)
    raw.write_text("a raw row")
    program = raw.with_name("program")
    program.write_text("also raw")
    for place, mode in ((raw, 0o644), (program, 0o777), (raw.parent, 0o755), (tmp_path / "state", 0o755)):
        place.chmod(mode)
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    state_folder()
    modes = [p.stat().st_mode & 0o777 for p in (tmp_path / "state", raw.parent, raw, program)]
    assert modes == [0o700, 0o700, 0o600, 0o600]
    raw.chmod(0o644)
    state_folder()
    assert raw.stat().st_mode & 0o777 == 0o644, "nothing below a closed folder is looked at"


@pytest.mark.parametrize("named", ["file", "file/state", "dangling", "dangling/state", "loop", "x" * 300])
def test_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / named))
    with pytest.raises(StorageError, match="choose another folder"):
        state_folder()


@pytest.fixture
def nothing_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ASSAY_STATE")
    monkeypatch.setattr(state, "_is_writable", lambda folder: False)
    monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"assay-state-{os.getuid()}"


def test_fallback_is_readable_by_its_owner_only(nothing_writable: Path) -> None:
    assert state_folder() == state_folder() == nothing_writable
    assert nothing_writable.stat().st_mode & 0o777 == 0o700


def test_fallback_that_somebody_else_laid_there_is_refused(nothing_writable: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    nothing_writable.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="somebody else"):
        state_folder()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_fallback_of_another_user_is_refused(nothing_writable: Path) -> None:
    nothing_writable.mkdir()
    os.chown(nothing_writable, 12345, 12345)
    with pytest.raises(StorageError, match="somebody else"):
        state_folder()


def test_work_of_the_living_stays_and_that_of_the_dead_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their numbers are: a container sees no process of another."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path))
    left = tmp_path / "work" / str(os.getpid())
    left.mkdir(parents=True)
    (left / "rows").write_text("raw")
    mine = state.workspace("scrub")
    with closing(OwnFolder(tmp_path / "work")) as living:
        state.clear_workspaces()
        assert list((tmp_path / "work").iterdir()) == [living.path]
    assert not mine.exists()
    again = state.workspace("scrub")
    assert again.is_dir() and again.parent.stat().st_mode & 0o777 == 0o700


def test_finding_it_imports_no_zenml() -> None:
    code = "import sys, steps.zenml_runtime.state; assert 'zenml' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_process_that_was_told_nothing_finds_the_durable_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a step in a container: no variable is set, the checkout is where the code was unpacked."""
    monkeypatch.setenv("ASSAY_STATE", "to be taken away, and put back after the test")
    monkeypatch.setenv("ASSAY_STATE_URI", "")
    monkeypatch.delenv("ASSAY_STATE")
    monkeypatch.setattr(state, "_HOME", tmp_path)
    folder = state.use_state("s3://bucket/state")
    found = store_of(state_folder() / "judge")
    assert folder == tmp_path / ".zenml" / "state"
    assert found is not None and found.uri == "s3://bucket/state/judge"
