"""ZenML secrets of this user's own: private, so that nobody else's credentials take their place."""

from collections.abc import Mapping
from typing import Any


def _found(name: str) -> Any:
    from zenml.client import Client

    try:
        return Client().get_secret_by_name_and_private_status(name, private=True)
    except KeyError:
        return None


def stored_secret(name: str) -> dict[str, str]:
    """Its values by key; nothing where there is none."""
    found = _found(name)
    return dict(found.secret_values) if found is not None else {}


def stale_keys(name: str, wanted: Mapping[str, str]) -> dict[str, str | None]:
    """What to write so that a secret has these values; None takes a key away."""
    has = stored_secret(name)
    return {k: wanted.get(k) for k in has.keys() | wanted.keys() if has.get(k) != wanted.get(k)}


def write_secret(name: str, values: Mapping[str, str | None]) -> None:
    """Make it, or change these keys of it; None takes a key away."""
    from zenml.client import Client

    new = {k: v for k, v in values.items() if v is not None}
    if _found(name) is None:
        Client().create_secret(name, new, private=True)
        return
    gone = [k for k, v in values.items() if v is None]
    Client().update_secret(name, private=True, add_or_update_values=new, remove_values=gone)


def remove_secret(name: str) -> None:
    """Delete it, if it is there."""
    from zenml.client import Client

    if (found := _found(name)) is not None:
        Client().zen_store.delete_secret(found.id)
