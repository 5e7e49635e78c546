"""One attempt: `assay run CONFIG --slot T` in a process of its own, which outlives a scheduler that is killed.

An attempt has a folder, and what lies in it says what became of it, to whoever looks, at any time:

    lock      locked while any process of it lives; the system frees it, however they end
    started   the process group, once it has begun
    out, log  what the command wrote: its JSON, its messages
    status    its exit status, once it has ended
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ops.run_index import known_runs
from ops.schedule.schedule import Schedule
from ops.schedule.slots import Result, Slot
from ops.schedule.table import schedules_folder
from pipelines.cron import in_zone
from steps.contracts.errors import ConfigError, IntegrityError, MissingDependencyError, UnsafeSerializationError
from steps.contracts.locks import is_held, locked
from steps.contracts.runs import RunRecord
from steps.contracts.storage import writing

# The command of this installation.
ASSAY = (sys.executable, "-m", "ops.main")
# A shell that keeps the exit status, also of a command that is killed; signals are the command's to answer.
_SHELL = (
    'trap : TERM INT HUP; echo $$ >"$0/started"; "$@" >"$0/out" 2>"$0/log"; s=$?;'
    ' echo $s >"$0/status.new" && mv "$0/status.new" "$0/status"'
)
# Another attempt can't mend a wrong config, a missing package or damaged bytes.
STAYS = {e.exit_code for e in (ConfigError, MissingDependencyError, IntegrityError, UnsafeSerializationError)}
# Chosen: so much of a message is kept in the table.
_SAID_CHARS = 500
# Chosen: of each schedule so many attempts keep their output.
_KEPT = 200


def folder_of(root: Path, slot: Slot) -> Path:
    """Where the newest attempt of a slot lies."""
    return schedules_folder(root) / "attempts" / slot.schedule / f"{slot.at:%Y%m%dT%H%M%SZ}-{slot.attempts}"


def start(root: Path, schedule: Schedule, slot: Slot) -> subprocess.Popen[bytes]:
    """Start the attempt that was claimed, in a session of its own."""
    folder = folder_of(root, slot)
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The child holds the lock with this file; that it is open there is all that is needed.
        return subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, str(folder), *command(root, schedule, slot)],
            cwd=root,
            env={**os.environ, "ASSAY_ROOT": str(root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )


def command(root: Path, schedule: Schedule, slot: Slot) -> list[str]:
    """What is started for a slot."""
    told = [str(root / schedule.config), "--slot", in_zone(slot.at, schedule.tz), "--schedule", schedule.name, "--json"]
    for option, value in (("--infra", schedule.infra), ("--stack", schedule.stack)):
        told += [option, value] if value else []
    for override in schedule.overrides:
        told += ["--set", override]
    if schedule.if_changed and slot.origin not in ("manual", "backfill"):
        told.append("--if-changed")
    return [*ASSAY, "run", *told]


def lives(folder: Path) -> bool:
    """Whether a process of the attempt is there."""
    return (folder / "lock").is_file() and is_held(folder / "lock")


def wait(folder: Path) -> None:
    """Until no process of the attempt is there."""
    with suppress(FileNotFoundError), locked(folder / "lock"):
        pass


def tell(folder: Path, number: signal.Signals, process: subprocess.Popen[bytes] | None = None) -> None:
    """Send a signal to all processes of an attempt, if it lives. `process`: where this one started it."""
    with suppress(OSError, ValueError):
        group = process.pid if process is not None else int((folder / "started").read_text())
        if lives(folder):
            os.killpg(group, number)


def reap(root: Path) -> None:
    """Let the index of runs know what became of runs whose processes died."""
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([*ASSAY, "runs", "--limit", "1"], cwd=root, capture_output=True, timeout=300, check=False)


def result_of(root: Path, schedule: Schedule, slot: Slot) -> Result:
    """What came of an attempt that has ended, by its folder and the run index."""
    folder = folder_of(root, slot)
    if not (folder / "started").is_file():
        return Result("never", "it was never begun: the scheduler died before")
    status = _read(folder / "status").strip()
    said = _said(folder)
    if status == "0" and said.get("status") == "skipped":
        return Result("unchanged", str(said.get("reason", "")))
    run = _run_of(root, schedule, slot)
    if status == "0":
        return _completed(said, run)
    if not status and run is not None and run.status == "completed":
        return Result("completed", "", run.name, _gate(run.model_dump(mode="json")))
    name = run.name if run is not None else None
    if not status.isdigit():
        return Result("failed", "its processes ended without a word: killed, or the machine went down", name)
    code = int(status)
    return Result("failed", _message(folder, code), name, may_pass=code not in STAYS)


def _completed(said: dict[str, object], run: RunRecord | None) -> Result:
    name = str(said.get("name") or "") or (run.name if run is not None else None)
    if said.get("status") not in ("completed", None):
        return Result(
            "completed", f"the stack goes on with it ({said['status']}); assay runs --sync tells its end", name
        )
    return Result("completed", "", name, _gate(said))


def _gate(record: dict[str, object]) -> str | None:
    monitored = record.get("monitored")
    if isinstance(monitored, dict):
        return str(monitored.get("verdict"))
    registration = record.get("registration")
    if not isinstance(registration, dict):
        return None
    return "rejected" if registration.get("status") == "rejected" else "promoted"


def _run_of(root: Path, schedule: Schedule, slot: Slot) -> RunRecord | None:
    """The newest run of a slot since its attempt began, as the run index knows it."""
    since = slot.started.isoformat() if slot.started is not None else ""
    mine = (r for r in known_runs(root) if r.schedule == schedule.name and r.slot and r.started >= since)
    # The zone that it was written in may be another one by now.
    return next((r for r in mine if datetime.fromisoformat(r.slot or "") == slot.at), None)


def _said(folder: Path) -> dict[str, object]:
    """The command's JSON: the last line that is an object."""
    for line in reversed(_read(folder / "out").splitlines()):
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}


def _message(folder: Path, code: int) -> str:
    """The command's own error, in one line; without one how it ended."""
    lines = _read(folder / "log").splitlines()
    first = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].startswith("error: ")), None)
    if first is not None:
        return " ".join(line.strip() for line in lines[first:]).removeprefix("error: ")[:_SAID_CHARS]
    if code == 128 + signal.SIGKILL:
        return "it was killed (signal 9), as the system does where memory runs out"
    return f"it was ended by signal {code - 128}" if code > 128 else f"it ended with status {code}"


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def tidy(root: Path, name: str) -> None:
    """Remove what old attempts of a schedule wrote."""
    folders = sorted((schedules_folder(root) / "attempts" / name).glob("*/"), key=lambda f: f.stat().st_mtime)
    for folder in folders[:-_KEPT]:
        if not lives(folder):
            shutil.rmtree(folder, ignore_errors=True)
