"""Commands run one by one in forked processes of bounded memory and time."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 4 << 30
MOST_SECONDS = 30


class Ended(NamedTuple):
    """How a process ended. status: its exit status, or minus the signal; seconds of CPU; peak memory in bytes."""

    status: int
    seconds: float
    peak: int
    said: str


def bounded(do: Callable[[], None], output: Path) -> Ended:
    """Do something in a fork, with its output in a file. It is killed when it takes too long."""
    child = os.fork()
    if child == 0:
        _child(do, output)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    # Of the clock: other work on the machine isn't the command's fault.
    signal.alarm(10 * MOST_SECONDS)
    _, code, used = os.wait4(child, 0)
    signal.alarm(0)
    said = output.read_text("utf-8", "replace")
    return Ended(os.waitstatus_to_exitcode(code), used.ru_utime + used.ru_stime, used.ru_maxrss << 10, said)


def _child(do: Callable[[], None], output: Path) -> None:
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        do()
        status = 0
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 1
    except BaseException as e:  # noqa: BLE001 (the parent reads what it was)
        sys.stderr.write(f"{type(e).__name__}: {e}\n")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
