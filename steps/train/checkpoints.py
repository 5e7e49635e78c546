"""Checkpoints that are whole or not there.

Trainer writes a checkpoint file by file under its final name. A checkpoint counts only when its marker, written
last and at once, names the SHA-256 of every file; anything else was interrupted and is removed before training.
"""

import json
import shutil
from pathlib import Path

from steps.contracts.digests import file_digest, folder_digests
from steps.contracts.storage import write_whole, writing

MARKER = "complete.json"
_PREFIX = "checkpoint-"


def mark_complete(checkpoint: Path) -> None:
    """Name every file's digest in the marker."""
    with writing(checkpoint):
        digests = folder_digests(checkpoint)
        digests.pop(MARKER, None)
        write_whole(checkpoint / MARKER, json.dumps(digests, indent=1, sort_keys=True))


def is_whole(checkpoint: Path) -> bool:
    """Whether the marker is there and every file it names has its digest."""
    marker = checkpoint / MARKER
    if not marker.is_file():
        return False
    try:
        digests = json.loads(marker.read_text())
    except ValueError:
        return False
    files = {name: checkpoint / name for name in digests}
    return bool(files) and all(f.is_file() and file_digest(f) == digests[name] for name, f in files.items())


def newest_whole(folder: Path) -> Path | None:
    """The whole checkpoint with the highest step; interrupted ones are removed. None: start from the base."""
    found: Path | None = None
    for checkpoint in sorted(_checkpoints(folder), key=step_of, reverse=True):
        if is_whole(checkpoint):
            found = found or checkpoint
        else:
            shutil.rmtree(checkpoint)
    return found


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the `count` newest checkpoints; called after the newest one is marked."""
    for checkpoint in sorted(_checkpoints(folder), key=step_of)[:-count]:
        # Without its marker a half-removed checkpoint is never taken for a whole one.
        (checkpoint / MARKER).unlink(missing_ok=True)
        shutil.rmtree(checkpoint)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done at a checkpoint."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _checkpoints(folder: Path) -> list[Path]:
    return [p for p in folder.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdigit()]
