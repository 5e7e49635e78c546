"""Locks and own folders: the living keep them, the dead don't, whoever can see whose process."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from steps.contracts import locks
from steps.contracts.locks import OwnFolder, locked, remove_left

OWNER = """
import sys
from pathlib import Path
from steps.contracts.locks import OwnFolder
own = OwnFolder(Path(sys.argv[1]))
(own.path / "rows").write_text("raw")
print(own.path, flush=True)
sys.stdin.read()
"""


def owner(parent: Path, *before: str) -> subprocess.Popen[str]:
    """A process that has a folder of its own below `parent` until it is ended."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", OWNER, str(parent)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def folder_of(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_folder_goes_when_its_process_was_killed_and_not_before(tmp_path: Path) -> None:
    process = owner(tmp_path)
    folder = folder_of(process)
    remove_left(tmp_path)
    assert (folder / "rows").read_text() == "raw"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    remove_left(tmp_path)
    assert list(tmp_path.iterdir()) == []


def can_unshare() -> bool:
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not can_unshare(), reason="needs process namespaces, as containers have them")
def test_folder_of_another_container_stays_while_that_lives(tmp_path: Path) -> None:
    """Its process is number 1 there, and none of those that this one sees has its number."""
    process = owner(tmp_path, "unshare", "--pid", "--fork", "--kill-child")
    folder = folder_of(process)
    remove_left(tmp_path)
    assert (folder / "rows").exists()
    process.kill()
    process.communicate()
    remove_left(tmp_path)
    assert not folder.exists()


def test_folder_of_this_process_stays_until_it_is_closed(tmp_path: Path) -> None:
    with closing(OwnFolder(tmp_path / "work", "a-")) as own:
        remove_left(tmp_path / "work")
        assert own.path.is_dir() and own.path.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "work").iterdir()) == []


def test_it_is_named_after_its_prefix_in_a_parent_that_is_closed_to_others(tmp_path: Path) -> None:
    umask = os.umask(0)  # or the mode could be the mask's work
    try:
        made = OwnFolder(tmp_path / "not" / "there", "a-")
    finally:
        os.umask(umask)
    with closing(made) as own:
        assert own.path.parent == tmp_path / "not" / "there" and own.path.name.startswith("a-")
        assert own.path.parent.stat().st_mode & 0o777 == 0o700
        # What is gone already is no error.
        shutil.rmtree(own.path)
    with closing(OwnFolder(tmp_path)) as own:
        assert len(own.path.name) == 8


def test_only_folders_with_the_prefix_go(tmp_path: Path) -> None:
    for name in ("a-left", "b-left"):
        (tmp_path / name).mkdir()
    (tmp_path / "a-file").write_text("")
    remove_left(tmp_path, "a-")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-file", "b-left"]
    remove_left(tmp_path / "nowhere")


def test_folder_that_is_removed_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process looks for what dead ones left in the moment in which it has no lock yet."""
    make, made = locks.tempfile.mkdtemp, []

    def made_and_taken(**given: object) -> str:
        made.append(make(**given))
        if len(made) == 1:
            remove_left(tmp_path)
        return str(made[-1])

    monkeypatch.setattr(locks.tempfile, "mkdtemp", made_and_taken)
    own = OwnFolder(tmp_path)
    assert len(made) == 2 and own.path == Path(made[1]) and own.path.is_dir()


def test_folder_that_is_removed_while_it_is_locked_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    file = tmp_path / "x" / ".owned"
    with file.open("a") as other:
        assert locks._is_free(other)
        found: list[object] = []
        waiting = threading.Thread(target=lambda: found.append(locks._taken(tmp_path / "x")))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        shutil.rmtree(tmp_path / "x")
    waiting.join()
    assert found == [None]


def test_who_waits_is_told_and_who_does_not_is_not(tmp_path: Path) -> None:
    told: list[str] = []
    with locked(tmp_path / "lock", lambda: told.append("first")):

        def wait() -> None:
            with locked(tmp_path / "lock", lambda: told.append("second")):
                told.append("had it")

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        assert told == ["second"]
    waiting.join()
    assert told == ["second", "had it"]
