"""Files that are there whole or not at all; a full disk is told by what is at the bottom of an error."""

import errno
import itertools
import mmap
import os
import sqlite3
from pathlib import Path

import pytest

from steps.contracts.errors import IntegrityError, ServiceError, StorageError
from steps.contracts.storage import aside, full_disk, write_whole, writing


def raised(*layers: BaseException) -> BaseException:
    """The last error, raised from the one before it, and so on."""
    for inner, outer in itertools.pairwise(layers):
        outer.__cause__ = inner
    return layers[-1]


FULL = OSError(errno.ENOSPC, "No space left on device", "/data/x")


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        raised(OSError(errno.EDQUOT, "Disk quota exceeded"), RuntimeError("step failed")),
        raised(sqlite3.OperationalError("database or disk is full"), RuntimeError("(sqlite3.OperationalError)")),
        raised(sqlite3.OperationalError("database or disk is full"), IntegrityError("the reply cache can't be read")),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ExceptionGroup("two tasks", [ValueError("x"), FULL]),
    ],
    ids=lambda e: type(e).__name__,
)
def test_full_disk_is_seen_through_every_wrapping(error: BaseException) -> None:
    found = full_disk(error)
    assert found is not None
    assert (found.exit_code, found.what) == (6, "no space left to write")


def test_error_of_ours_keeps_its_place() -> None:
    with pytest.raises(StorageError) as caught, writing(Path("/data/model")):
        raise FULL
    assert full_disk(raised(caught.value, RuntimeError("step failed"))) is caught.value


class Answer(Exception):
    """What an HTTP client raises for a server's error."""

    __module__ = "aiohttp"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        OSError(errno.EACCES, "Permission denied"),
        raised(Answer("500: No space left on device"), ServiceError("the judge refuses")),
    ],
)
def test_other_errors_are_no_full_disk(error: BaseException) -> None:
    assert full_disk(error) is None


def test_error_that_goes_in_circles_ends() -> None:
    one, two = ValueError("a"), ValueError("b")
    one.__context__, two.__context__ = two, one
    assert full_disk(one) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_real_full_device_is_a_storage_error() -> None:
    with (
        pytest.raises(StorageError, match="no space left"),
        writing(Path("/dev/full")),
        Path("/dev/full").open("w") as f,
    ):
        f.write("x")
        f.flush()


def test_what_a_full_disk_says() -> None:
    way_out = "no space left to write\n  way out: free disk space and run again: finished steps are kept"
    assert str(full_disk(FULL)) == f"/data/x: {way_out}"
    assert str(full_disk(RuntimeError("database or disk is full"))) == f"this machine: {way_out}"
    with pytest.raises(StorageError) as caught, writing(Path("/data/model")):
        raise OSError(errno.EFBIG, "File too large")
    assert str(caught.value) == f"/data/model: {way_out}"


def test_the_last_of_several_causes_is_found_behind_one_that_was_seen() -> None:
    # a -> (b, c), b -> c, c -> (b, full): b comes up again before the disk does.
    a, b, c = (ValueError(x) for x in "abc")
    a.__context__, a.__cause__ = b, c
    b.__context__ = c
    c.__context__, c.__cause__ = FULL, b
    assert full_disk(a) is not None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_refusal_names_the_place_and_two_ways_out(number: int) -> None:
    with pytest.raises(StorageError) as caught, writing(Path("/data/model")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == (
        "/data/model: not allowed to write here\n  way out: choose another folder, or change its permissions"
    )


def test_other_errors_pass_as_they_are() -> None:
    for error in (FileNotFoundError(errno.ENOENT, "gone"), ValueError("x")):
        with pytest.raises(type(error)) as caught, writing(Path("/data/model")):
            raise error
        assert caught.value is error


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "not" / "there" / "x"
    write_whole(file, "é")
    assert file.read_bytes() == b"\xc3\xa9"
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.extend(p.read_bytes() for p in file.parent.glob(".x.*.partial")))
    write_whole(file, b"\x00\x01")
    assert (file.read_bytes(), synced) == (b"\x00\x01", [b"\x00\x01"])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=f"^{file}: no space"):
        write_whole(file, "new")
    assert [p.name for p in file.parent.iterdir()] == ["x"] and file.read_bytes() == b"\x00\x01"


def test_mapped_file_stays_whole_while_another_takes_its_name(tmp_path: Path) -> None:
    """Cut off in place, it would end its reader by SIGBUS."""
    file = tmp_path / "tokens"
    write_whole(file, b"old" * 10_000)
    with file.open("rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        write_whole(file, b"new")
        assert mapped[:] == b"old" * 10_000
    assert file.read_bytes() == b"new"


def test_two_that_write_the_same_file_use_two_names(tmp_path: Path) -> None:
    """Also two processes with one number, in two containers that share a folder."""
    with aside(tmp_path / "a") as one, aside(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "one")]


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half"), aside(tmp_path / "a") as partial:
        partial.write_text("ha")
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []
