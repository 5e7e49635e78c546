"""Runs a command for as long as its own input is open, with all that the command starts: COMMAND...

Where it is killed itself, Linux kills the command.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def _main(command: list[str]) -> int:
    alone: Any = {"start_new_session": True, "preexec_fn": _bound}  # no thread runs yet
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, **alone) as process:

        def end() -> None:
            sys.stdin.read()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

        threading.Thread(target=end, daemon=True).start()
        status = process.wait()
        # Whatever it started and left.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return status


def _bound() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    found = _main(sys.argv[1:])
    os._exit(found if found >= 0 else 128 - found)
