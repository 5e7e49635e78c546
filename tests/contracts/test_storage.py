"""A full disk is told by what is at the bottom of an error, whatever wraps it."""

import errno
import itertools
import sqlite3
from pathlib import Path

import pytest

from steps.contracts.errors import IntegrityError, ServiceError, StorageError
from steps.contracts.storage import full_disk, writing


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

    __module__ = "openai"


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
