"""The list of what was erased, as a run on this stack finds it: in its artifact store, and in the state folder."""

from pathlib import Path

from pydantic import ValidationError

from steps.contracts.errors import IntegrityError
from steps.contracts.tombstones import FOLDER, Tombstone, Tombstones
from steps.engines.state_store.store import StateStore, store_of
from steps.zenml_runtime.state import state_folder, state_location


def known_tombstones() -> Tombstones:
    """Those of the active stack's artifact store and of the state folder, each once.

    Raises:
        IntegrityError: one can't be read: then what it names could come back. ServiceError: a store can't be reached.
    """
    # Here: who only looks at the state folder doesn't open ZenML.
    from zenml.client import Client

    found = {t.erasure: t for t in _in_folder()}
    store = Client().active_stack.artifact_store
    folder = f"{store.path.rstrip('/')}/{FOLDER}"
    if store.isdir(folder):
        for name in sorted(str(n) for n in store.listdir(folder)):
            if name.endswith(".json"):
                with store.open(f"{folder}/{name}", "rb") as f:
                    one = _tombstone(f.read(), f"{folder}/{name}")
                found[one.erasure] = one
    return Tombstones(tuple(found[e] for e in sorted(found)))


def own_tombstones() -> Tombstones:
    """Those of the state folder alone, for those who only look: nothing is made, and ZenML isn't opened."""
    return Tombstones(tuple(sorted(_in_folder(), key=lambda t: t.erasure)))


def tombstone_stores(stores: tuple[str, ...]) -> list[StateStore]:
    """Where an erasure leaves its tombstone: in the state folder, where that lasts, and in these artifact stores."""
    own = state_folder() / FOLDER
    lasting = store_of(own)
    return [StateStore(str(own)), *([lasting] if lasting else []), *(StateStore(f"{s}/{FOLDER}") for s in stores)]


def _in_folder() -> list[Tombstone]:
    own = state_location() / FOLDER
    stores = [StateStore(str(own))] if own.is_dir() else []
    if (lasting := store_of(own)) is not None:
        stores.append(lasting)
    return [
        _tombstone(store.get(name), f"{store.uri}/{name}")
        for store in stores
        for name in store.names()
        if Path(name).suffix == ".json"
    ]


def _tombstone(text: bytes, where: str) -> Tombstone:
    try:
        return Tombstone.model_validate_json(text)
    except ValidationError as e:
        hint = "put back the copy that lies in another artifact store or state folder; nothing is read without it"
        raise IntegrityError("the list of what was erased is damaged", where=where, hint=hint) from e
