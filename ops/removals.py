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


def collected(files: Iterable[RemovedFile], runs: Iterable[str] = ()) -> Removal:
    """What a collection of garbage is about to remove. `runs`: names of those that are removed with it."""
    now = datetime.now(UTC)
    return Removal(
        id=f"gc-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}", by="gc", removed=now.isoformat(timespec="seconds"),
        host=socket.gethostname(), user=who(), files=tuple(files),
        runs=tuple(runs),
    )  # fmt: skip


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


def removed_runs(store: str) -> frozenset[str]:
    """Names of the runs that were removed from a store, whose records may have stayed for those who stand on them.

    Raises:
        ServiceError: the store can't be reached.
    """
    signed = (r.removal for r in read_removals(store) if r.key is not None)
    return frozenset(name for removal in signed if removal.by == "gc" for name in removal.runs)


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
