"""Versions of a registered model: one per weights and decision, however often its registration was interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from steps.contracts.locks import locked
from steps.engines.tracking.database import database_file

# Tag of a version: digest of what was registered, of the gate's word and of the settings.
KEY = "registration"
# The version that was champion before, and how many people must approve before one is made champion by hand.
BEFORE, APPROVALS = "previous_champion", "approvals_required"
CANDIDATE, CHAMPION = "candidate", "champion"
_ALIASES: dict[str, tuple[str, ...]] = {"rejected": (), CANDIDATE: (CANDIDATE,), CHAMPION: (CANDIDATE, CHAMPION)}


@contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Held while a model is registered in a database file. A server has no locks: `create` settles who was first."""
    file = database_file(uri)
    if file is None:
        yield
    else:
        with locked(file.with_name(f".{file.name}.register.lock")):
            yield


def find(name: str, key: str) -> Any:
    """The oldest version with this key; None when there is none. Younger ones, left by a race, are removed."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    same = [v for v in client.search_model_versions(f"name='{name}'") if v.tags.get(KEY) == key]
    same.sort(key=lambda v: int(v.version))
    for younger in same[1:]:
        try:
            client.delete_model_version(name, younger.version)
        except MlflowException as e:
            # By the other process of the race, which sees the same.
            if e.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return same[0] if same else None


def create(name: str, source: str, tags: dict[str, str]) -> Any:
    """A version of the model at `source`; the older one when another process had the same to register."""
    import mlflow

    mlflow.register_model(source, name, tags=tags)
    return find(name, tags[KEY])


def describe(name: str, text: str) -> None:
    """Describe the registered model, unless it is described already: a person's words stay."""
    from mlflow import MlflowClient

    client = MlflowClient()
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, description=text)


def complete(name: str, number: str, status: str, description: str, approvals: int = 0) -> tuple[str, ...]:
    """Description and aliases of a version; the version that was champion before is named in a tag. The aliases move
    last, so that a version that was interrupted is never champion. Doing it again changes nothing.
    """
    from mlflow import MlflowClient

    client = MlflowClient()
    client.update_model_version(name, number, description=description)
    if approvals:
        client.set_model_version_tag(name, number, APPROVALS, str(approvals))
    aliases = _ALIASES[status]
    before = client.get_registered_model(name).aliases.get(CHAMPION)
    if before is not None and str(before) != number and CHAMPION in aliases:
        client.set_model_version_tag(name, number, BEFORE, str(before))
    for alias in aliases:
        client.set_registered_model_alias(name, alias, number)
    return aliases
