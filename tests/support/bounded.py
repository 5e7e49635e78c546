"""`assay` commands one by one, in processes of bounded memory and time."""

import json
import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MOST_BYTES = 4 << 30
MOST_SECONDS = 30
# Forked from a server that has no threads, as the process of the tests may have, and imports once for all.
_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = ["ops.main", "ops.commands.config", "ops.commands.stage", "pipelines.config", "pipelines.report.page",
             "steps.ingest.ingest", "steps.ingest.quick", "openpyxl"]  # fmt: skip


class Ended(NamedTuple):
    """How a process ended. status: its exit status, or minus the signal; seconds of CPU; peak memory in bytes.

    seconds and peak are 0 where a signal ended it; that of too many seconds is -9 or -24.
    """

    status: int
    seconds: float
    peak: int
    said: str


def bounded(arguments: Sequence[str], folder: Path) -> Ended:
    """Run `assay` with arguments; what it says and what it cost lie in the folder."""
    output, cost = folder / "said.txt", folder / "cost.json"
    cost.unlink(missing_ok=True)
    _FORKS.set_forkserver_preload(_IMPORTED)
    process = _FORKS.Process(target=_command, args=(tuple(arguments), output, cost))
    process.start()
    # Of the clock: other work on the machine isn't the command's fault.
    process.join(10 * MOST_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    seconds, peak = json.loads(cost.read_text()) if cost.exists() else (0.0, 0)
    assert process.exitcode is not None
    return Ended(process.exitcode, seconds, peak, output.read_text("utf-8", "replace"))


def _command(arguments: tuple[str, ...], output: Path, cost: Path) -> None:
    status = 1
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        from ops.main import main

        sys.argv = ["assay", *arguments]
        main()
        status = 0
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else 1
    except BaseException as e:  # noqa: BLE001 (the parent reads what it was)
        sys.stderr.write(f"{type(e).__name__}: {e}\n")
    finally:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cost.write_text(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss << 10]))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
