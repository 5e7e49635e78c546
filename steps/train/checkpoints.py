"""Checkpoints that are whole or not there.

Trainer writes a checkpoint file by file under its final name. A checkpoint counts only when its marker, written
last and at once, names the SHA-256 of every file; anything else was interrupted and is removed before training.

Where durable state lies elsewhere (`engines/state_store`), a whole checkpoint is copied there: its files under their
SHA-256, then the marker, which only the first of two machines writes. Training starts from the newest one of both
places.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from steps.contracts.digests import file_digest, folder_digests
from steps.contracts.errors import InputNotFoundError
from steps.contracts.locks import locked
from steps.contracts.storage import write_whole, writing
from steps.engines.progress.progress import say
from steps.engines.state_store.store import StateStore, store_of

MARKER = "complete.json"
_PREFIX = "checkpoint-"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Held while a process of this machine reads and writes these checkpoints. Another that trains the same waits, and
    then takes the last one: two would write over each other's files, and each remove what the other hasn't marked yet.
    """
    with locked(folder / ".lock", lambda: say("train waits for another run, which trains the same")):
        yield


def mark_complete(checkpoint: Path) -> None:
    """Name every file's digest in the marker."""
    with writing(checkpoint):
        digests = folder_digests(checkpoint)
        digests.pop(MARKER, None)
        write_whole(checkpoint / MARKER, json.dumps(digests, indent=1, sort_keys=True))
    store = store_of(checkpoint)
    if store is not None:
        _send(checkpoint, digests, store)


def _send(checkpoint: Path, digests: Mapping[str, str], store: StateStore) -> None:
    for name, sha256 in digests.items():
        store.put(sha256, checkpoint / name)
    store.put_new(MARKER, (checkpoint / MARKER).read_bytes())


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
    """The whole checkpoint with the highest step, here or in the durable state; interrupted ones are removed. None:
    start from the base.
    """
    _fetch_newest(folder)
    found: Path | None = None
    for checkpoint in sorted(_checkpoints(folder), key=step_of, reverse=True):
        if is_whole(checkpoint):
            found = found or checkpoint
        else:
            shutil.rmtree(checkpoint)
    return found


def at_step(folder: Path, step: int) -> Path | None:
    """The whole checkpoint of a step, here or in the durable state; None: it is nowhere."""
    checkpoint, store = folder / f"{_PREFIX}{step}", store_of(folder)
    if is_whole(checkpoint) or (store is not None and _fetch(store, checkpoint.name, checkpoint)):
        return checkpoint
    return None


def keep_newest(folder: Path, count: int, keep: int | None = None) -> None:
    """Remove all but the `count` newest checkpoints and that of step `keep`; called after the newest one is marked."""
    for checkpoint in sorted(_checkpoints(folder), key=step_of)[:-count]:
        if step_of(checkpoint) == keep:
            continue
        # Without its marker a half-removed checkpoint is never taken for a whole one.
        (checkpoint / MARKER).unlink(missing_ok=True)
        shutil.rmtree(checkpoint)
    store = store_of(folder)
    if store is not None:
        _forget_all_but(store, count, keep)


def _fetch_newest(folder: Path) -> None:
    """Copy the newest checkpoint of the durable state here, unless there is one as far on."""
    store = store_of(folder)
    if store is None:
        return
    here = max((step_of(c) for c in _checkpoints(folder) if is_whole(c)), default=0)
    for name in reversed(_marked(store)):
        if step_of(Path(name)) <= here or _fetch(store, name, folder / name):
            return


def _fetch(store: StateStore, name: str, checkpoint: Path) -> bool:
    """Whether it could be had whole: one that another machine is removing just now can't."""
    shutil.rmtree(checkpoint, ignore_errors=True)
    try:
        marker = store.get(f"{name}/{MARKER}")
        for file, sha256 in json.loads(marker).items():
            store.fetch(f"{name}/{sha256}", checkpoint / file)
    except InputNotFoundError:
        return False
    write_whole(checkpoint / MARKER, marker)
    return is_whole(checkpoint)


def _forget_all_but(store: StateStore, count: int, keep: int | None) -> None:
    """Remove older checkpoints from the durable state, their markers first."""
    names = store.names()
    for checkpoint in _marked(store, names)[:-count]:
        if step_of(Path(checkpoint)) == keep:
            continue
        store.remove(f"{checkpoint}/{MARKER}")
        for name in names:
            if name.startswith(f"{checkpoint}/"):
                store.remove(name)


def _marked(store: StateStore, names: Sequence[str] | None = None) -> list[str]:
    """Names of the checkpoints with a marker in the durable state, by step."""
    found = [n.partition("/")[0] for n in (store.names() if names is None else names) if n.endswith(f"/{MARKER}")]
    return sorted((n for n in found if _is_name(n)), key=lambda n: step_of(Path(n)))


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done at a checkpoint."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _checkpoints(folder: Path) -> list[Path]:
    return [p for p in folder.glob(f"{_PREFIX}*") if _is_name(p.name)]


def _is_name(name: str) -> bool:
    return name.startswith(_PREFIX) and name.removeprefix(_PREFIX).isdigit()
