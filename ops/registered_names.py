"""Names of registered versions: where runs registered in several registries, "smoke/1" alone says too little."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from steps.contracts.evaluation import Registration
from steps.contracts.runs import RunRecord
from steps.engines.tracking.database import database_file


def registries(runs: Iterable[RunRecord]) -> frozenset[str]:
    """Where these runs registered models."""
    return frozenset(r.registration.tracking_uri for r in runs if r.registration is not None)


def version_name(registration: Registration, known: frozenset[str] = frozenset()) -> str:
    """`smoke/1`; `smoke/1 in mlflow.example.org` where more registries than one are `known`."""
    name = f"{registration.name}/{registration.version}"
    return f"{name} in {_place(registration.tracking_uri)}" if len(known) > 1 else name


def _place(uri: str) -> str:
    """A server's host and port, a database's file."""
    file = database_file(uri)
    return str(file) if file is not None else urlsplit(uri).netloc or uri
