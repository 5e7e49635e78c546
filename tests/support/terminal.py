"""The command line on a pseudo-terminal."""

import contextlib
import os
import pty
import select
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Terminal:
    """`assay` on a pseudo-terminal of 80 columns, as a person has it."""

    def __init__(self, *arguments, **environment):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ.update({"TERM": "xterm", "COLUMNS": "80", "LINES": "30", **environment})
            os.chdir(ROOT)
            os.execv(sys.executable, [sys.executable, "-m", "ops.main", *arguments])
        self.seen = b""

    def until(self, text, seconds=60):
        """Everything shown up to this text; fails when it doesn't come."""
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{text!r} didn't come; the terminal shows:\n{self.seen.decode(errors='replace')}"
            try:
                piece = os.read(self.fd, 65_536)
            except OSError:
                piece = b""
            assert piece, f"ended before {text!r} came:\n{self.seen.decode(errors='replace')}"
            self.seen += piece
        shown, self.seen = self.seen.split(text.encode(), 1)
        return shown.decode(errors="replace")

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def wait(self, seconds=60):
        """Its exit status; it is killed when it doesn't end in time."""
        end = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while (left := end - time.monotonic()) > 0 and select.select([self.fd], [], [], left)[0]:
                if not os.read(self.fd, 65_536):
                    break
        if time.monotonic() > end:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal():
    """Starts terminals, and ends them with the test."""
    opened = []

    def start(*arguments, **environment):
        opened.append(Terminal(*arguments, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
