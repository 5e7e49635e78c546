"""Processes that outlive the command that started them, found again by a mark in their environment.

A process's number alone may be another one's by now, and who starts a process can die before noting it; the mark is
there from the first instant. Children have it as well, unless their parent takes it out of its own environment (the
system goes on to show it there).
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from steps.contracts.storage import writing

# An environment variable: FOLDER:ID of the deployment.
MARK = "ASSAY_DEPLOYMENT"


def start(folder: Path, id_: str, command: Sequence[str], root: Path, environment: Mapping[str, str]) -> int:
    """Start a process in a session of its own; returns its number. What it says goes to ID.log in `folder`.

    Raises:
        StorageError: the log can't be written.
    """
    with writing(folder), _log(folder, id_).open("ab") as log:
        process = subprocess.Popen(
            list(command), cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **environment, MARK: _mark(folder, id_)},
        )  # fmt: skip
    return process.pid


def said(folder: Path, id_: str, most: int = 4_000) -> str:
    """The last characters that it said."""
    try:
        return _log(folder, id_).read_text("utf-8", "replace").strip()[-most:]
    except OSError:
        return ""


def running(folder: Path, id_: str | None = None) -> list[psutil.Process]:
    """Living processes of a deployment; `id_`: of this server or front only."""
    wanted = _mark(folder, id_) if id_ is not None else None
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            mark = process.environ().get(MARK, "")
            is_ours = mark == wanted if wanted is not None else mark.startswith(_mark(folder, ""))
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Tell them to end, and kill what is left after so long."""
    for number in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with suppress(psutil.Error):
                number(process)
        _, processes = _wait(processes, seconds if number is psutil.Process.terminate else 10)


def _wait(processes: Sequence[psutil.Process], seconds: float) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Those that have ended, and the others. A zombie has ended: whoever started it may never look."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(psutil.Error):
            psutil.wait_procs(list(processes), timeout=0)
        living = [p for p in processes if _lives(p)]
        if not living or time.monotonic() > deadline:
            return [p for p in processes if p not in living], living
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _mark(folder: Path, id_: str) -> str:
    return f"{folder.resolve()}:{id_}"


def _log(folder: Path, id_: str) -> Path:
    return folder / f"{id_}.log"
