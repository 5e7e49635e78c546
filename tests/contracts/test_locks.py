"""One process makes a file, whole or not at all."""

import fcntl
from pathlib import Path

import pytest

from steps.contracts.errors import StorageError
from steps.contracts.locks import is_held, locked, make_once


def writes(text: str):
    def make(path: Path) -> None:
        made.append(path)
        path.write_text(text)

    made: list[Path] = []
    return make, made


def test_a_file_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "not there yet" / "x.db"
    make, made = writes("one")
    assert make_once(file, make) is True
    assert make_once(file, make) is False
    assert (file.read_text(), made) == ("one", [file.with_name(".x.db.making")])
    assert sorted(p.name for p in file.parent.iterdir()) == [".x.db.lock", "x.db"]


def test_what_may_not_stay_is_replaced_with_all_that_lies_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    for name in ("x.db", "x.db-journal", "x.db-wal", "x.db-shm", ".x.db.making", ".x.db.making-wal", "x.db-other"):
        (tmp_path / name).write_text("old")
    make, _ = writes("new")
    assert make_once(file, make, lambda f: f.read_text() == "new") is True
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "x.db": "new", "x.db-other": "old", ".x.db.lock": ""
    }  # fmt: skip
    assert make_once(file, make, lambda f: f.read_text() == "new") is False


def test_a_failure_leaves_nothing_that_could_be_taken_for_it(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_once(tmp_path / "x.db", fails)
    assert [p.name for p in tmp_path.iterdir()] == [".x.db.lock"]
    with pytest.raises(FileNotFoundError):
        make_once(tmp_path / "x.db", lambda path: None)


def test_one_that_another_made_while_we_waited_is_left(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    looked: list[bool] = []

    def whole(f: Path) -> bool:
        looked.append(f.is_file())
        return len(looked) > 1

    file.write_text("theirs")
    make, made = writes("ours")
    assert make_once(file, make, whole) is False
    assert (file.read_text(), made, looked) == ("theirs", [], [True, True])


def test_a_lock_is_held_by_one_and_freed_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "below" / "lock"
    with locked(file), file.open("a") as other, pytest.raises(BlockingIOError):
        assert is_held(file)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not is_held(file)
    with file.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    missing = Path("/proc/none/lock")
    with pytest.raises((StorageError, OSError)) as e, locked(missing):
        pass
    assert str(missing.parent) in str(e.value)
