"""A server of a test: a process group of its own in a given folder, waited for, and killed at the end."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[3]
Found = TypeVar("Found")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def until(what: Callable[[], Found], seconds: float = 600) -> Found:
    """What `what()` gives, as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"nothing within {seconds:g} s"
        time.sleep(0.5)
    return found


def needs(program: str | Path, how: str) -> str:
    """Its path; where it isn't there the test is skipped, and says how to have it."""
    found = shutil.which(str(program))
    if found is None:
        pytest.skip(f"NOT TESTED: {program} isn't here; {how}")
    return found


def answers(url: str) -> bool:
    """Whether a server gives any reply at all."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def started(
    command: Sequence[str | Path],
    folder: Path,
    is_up: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    patience: float = 180,
) -> subprocess.Popen[bytes]:
    """The process, once `is_up`; its log is `NAME.log` in `folder`."""
    log = folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(c) for c in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={**os.environ, **(environment or {})}, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + patience
    while not is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            end(process)
            raise RuntimeError(f"{command[0]} didn't start:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.2)
    return process


def end(process: subprocess.Popen[bytes], sign: int = signal.SIGTERM) -> None:
    """Tell the whole group to end; kill what is left."""
    for number, seconds in ((sign, 20), (signal.SIGKILL, 20)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def serving(
    command: Sequence[str | Path],
    folder: Path,
    is_up: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """`started`, and ended whatever happens."""
    process = started(command, folder, is_up, environment)
    try:
        yield process
    finally:
        end(process)
