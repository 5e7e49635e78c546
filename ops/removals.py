"""What was removed on purpose: signed and stored below the artifact stores that it was removed from, and read there."""

import getpass
import json
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from materializers import layout
from materializers.artifacts import listed, reachable, read_bytes
from steps.contracts import removal
from steps.contracts.removal import Removal, RemovedFile
from steps.engines.signing.keys import Signature, holds, sign, signing_key
from steps.engines.state_store.store import StateStore
from steps.zenml_runtime.state import state_folder


@dataclass(frozen=True)
class SignedRemoval:
    """A stored removal, and the key that its signature holds for; None where it isn't signed, or by another's word."""

    removal: Removal
    key: str | None

    @property
    def name(self) -> str:
        """What removed it."""
        return f"{'erased by' if self.removal.by == 'erase' else 'removed by gc'} {self.removal.id}"

    def __str__(self) -> str:
        who = f" by {self.removal.user} on {self.removal.host}" if self.removal.user or self.removal.host else ""
        return f"{self.name}, {self.removal.removed}{who}"


def collected(paths: Iterable[tuple[Path, str]]) -> Removal:
    """What a collection of garbage is about to remove: (file or folder, its kind in words)."""
    now = datetime.now(UTC)
    files = tuple(f for path, what in paths for f in _files_of(path, what))
    return Removal(
        id=f"gc-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}", by="gc", removed=now.isoformat(timespec="seconds"),
        host=socket.gethostname(), user=who(), files=files,
    )  # fmt: skip


def _files_of(path: Path, what: str) -> Iterable[RemovedFile]:
    """A shard is named by its SHA-256; an artifact's folder has that of its main file noted beside it."""
    stem = path.name.split(".")[0]
    is_named = path.is_file() and len(stem) == 64
    yield RemovedFile(uri=str(path), what=what, sha256=stem if is_named else None)
    note = path / layout.CHECKSUM
    if note.is_file():
        main = next((n for n in (*layout.MAIN.values(), layout.VALUE) if (path / n).is_file()), layout.VALUE)
        yield RemovedFile(uri=str(path / main), what=what, sha256=note.read_text("utf-8")[:64])


def keep_removal(root: Path, done: Removal, places: Iterable[str]) -> None:
    """Sign it and store it below each of these artifact stores, or folders of this machine.

    Raises:
        StorageError: it can't be written. ServiceError: a store can't be reached.
    """
    text = done.model_dump_json(indent=1)
    key = signing_key(state_folder(root))
    for place in places:
        store = StateStore(f"{place.removeprefix('file://').rstrip('/')}/{removal.FOLDER}")
        name = f"{done.id}.json"
        if key is not None:
            signature = sign(key, removal.PURPOSE, text).model_dump_json()
            store.put(f"{name}{removal.SIGNATURE}", signature.encode())
        store.put(name, text.encode())


def read_removals(store: str) -> list[SignedRemoval]:
    """Every removal from the artifact store at this URI; one that can't be read vouches for nothing.

    Raises:
        ServiceError: the store can't be reached.
    """
    folder = f"{store.rstrip('/')}/{removal.FOLDER}"
    with reachable(folder):
        names = [name for name in listed(folder) if name.endswith(".json")]
    found = (_read(f"{folder}/{name}") for name in sorted(names))
    return [one for one in found if one is not None]


def _read(uri: str) -> SignedRemoval | None:
    text = (read_bytes(uri) or b"").decode("utf-8", "replace")
    signature = read_bytes(uri + removal.SIGNATURE)
    try:
        done = Removal.model_validate_json(text)
        signed = Signature.model_validate(json.loads(signature)) if signature else None
    except (ValidationError, ValueError):
        return None
    return SignedRemoval(done, signed.key if signed and holds(signed, removal.PURPOSE, text) else None)


def who() -> str:
    """Who does it; "" where the system doesn't know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
