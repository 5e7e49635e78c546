"""Everywhere that the project writes: the state folder, artifact stores, durable state, MLflow's; file by file."""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from materializers.artifacts import is_remote
from ops.copies import copies_made
from ops.erasure.versions import fetch_version, is_version, old_versions, remove_versions
from ops.export.made import exports_made
from ops.lineage.catalogue import Catalogue
from ops.lineage.shards import MONITORING
from steps.contracts import removal, tombstones
from steps.contracts.digests import file_digest
from steps.contracts.errors import ServiceError
from steps.contracts.storage import STATE_URI
from steps.engines.state_store.store import StateStore
from steps.engines.tracking.database import database_file
from steps.zenml_runtime.state import state_folder

# Below the state folder: plans of erasures on their way, and of those that left something.
JOURNALS = "erasures"
PLAN, LEFT = "plan.json", "left.json"
# Below a place, or below the artifact store in it: what erasures leave, by the form of its name, so that nothing else
# is taken for it.
_OWN = re.compile(
    rf"(?:[^/]+/)?(?:{tombstones.FOLDER}|{removal.FOLDER})/(?:[0-9a-f]{{32}}|gc-[0-9A-Za-z-]+)\.json(?:\.sig)?"
    rf"|{JOURNALS}/[0-9a-f]{{32}}/(?:{PLAN}|{LEFT})"
)

# A file that a monitor published.
_CANDIDATES = re.compile(r"(?:^|/)candidates-[0-9a-f]{24}\.jsonl$")


@dataclass(frozen=True)
class Place:
    """A folder of this machine, or one that fsspec reads. `uri` without a "/" at its end."""

    uri: str
    what: str

    @property
    def folder(self) -> Path | None:
        """Its path; None where it is elsewhere."""
        return None if is_remote(self.uri) else Path(self.uri.removeprefix("file://"))

    def names(self) -> list[str]:
        """Names of all files below it, hidden ones too, but those that an erasure leaves.

        Raises:
            ServiceError: it can't be reached.
        """
        if self.folder is None:
            found = self._remote_names()
        elif self.folder.is_file():
            found = [""]
        else:
            found = sorted(p.relative_to(self.folder).as_posix() for p in _files(self.folder))
        return [n for n in found if not _OWN.fullmatch(n)]

    def _remote_names(self) -> list[str]:
        try:
            return [*StateStore(self.uri).names(), *old_versions(self.uri)[0]]
        except ServiceError as e:
            hint = "nothing is erased, and no certificate is true, while a place can't be searched"
            raise ServiceError(f"{self.what}: it can't be looked into: {e.what}", where=self.uri, hint=hint) from e

    def uri_of(self, name: str) -> str:
        """URI of a file."""
        return f"{self.uri}/{name}" if name else self.uri

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """The file on this machine, for as long as it is looked at.

        Raises:
            ServiceError: it can't be reached. InputNotFoundError: it is gone by now.
        """
        if self.folder is not None:
            yield self.folder / name if name else self.folder
            return
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / PurePosixPath(name).name
            if is_version(name):
                fetch_version(self.uri, name, path)
            else:
                StateStore(self.uri).fetch(name, path)
            yield path

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file of this machine; None of one elsewhere, or gone."""
        with suppress(OSError):
            return file_digest(self.folder / name) if self.folder is not None else None
        return None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there, with all versions of it, and the folders that are empty then."""
        if self.folder is None:
            if not is_version(name):
                StateStore(self.uri).remove(name)
            remove_versions(self.uri, name)
            return
        file = self.folder / name if name else self.folder
        file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            while name and file.parent != self.folder:
                file = file.parent
                file.rmdir()


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, also behind links to folders, which whoever needs room makes; each folder once."""
    seen: set[str] = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths = (Path(where, name) for name in names)
        yield from (p for p in paths if p.is_file() and not p.is_symlink())


def all_places(catalogue: Catalogue, also: Sequence[str] = ()) -> list[Place]:
    """Those of a catalogue's runs, exports and copies, and `also` folders that a person names; none lies in another."""
    state = state_folder(catalogue.root)
    found = [Place(str(state), "state folder")]
    if durable := os.environ.get(STATE_URI):
        found.append(_place(durable, "durable state"))
    found += [_place(s, "artifact store") for s in stores(catalogue)]
    for file in database_files(catalogue):
        found.append(Place(str(file), "MLflow's database"))
        found += [_place(root, "MLflow's artifacts") for root in _artifact_roots(file)]
    found += [_place(e.place, "export") for e in exports_made(catalogue.root)[0] if e.standing in ("there", "replaced")]
    found += [_place(c, "copy") for c in copies_made(catalogue.root)]
    # Not the folder: what else lies there is its owner's.
    found += [Place(str(f), "candidates") for d in _candidates(catalogue) for f in sorted(d.iterdir())
              if f.is_file() and is_candidates(str(f))]  # fmt: skip
    found += [_place(a, "named by hand") for a in also]
    return _outermost(found)


def elsewhere(catalogue: Catalogue) -> list[str]:
    """Where runs and exports wrote what no file of these places holds: only the keepers of those can search there."""
    tracking = [uri for uri in _trackers(catalogue) if database_file(uri) is None]
    hubs = [e.place for e in exports_made(catalogue.root)[0] if e.standing == "not asked"]
    versions = (old_versions(uri)[1] for uri in stores(catalogue))
    servers = [f"MLflow's server {uri}" for uri in tracking]
    servers += [f"candidates in {d}: no such folder here" for d in _candidate_folders(catalogue) if not d.is_dir()]
    return [*servers, *(f"export {place}" for place in hubs), *filter(None, versions)]


def is_candidates(uri: str) -> bool:
    """Whether a file holds candidates that a monitor published, by the form of its name."""
    return _CANDIDATES.search(uri) is not None


def _candidates(catalogue: Catalogue) -> list[Path]:
    return [d for d in _candidate_folders(catalogue) if d.is_dir()]


def _candidate_folders(catalogue: Catalogue) -> list[Path]:
    """Folders to which monitors have added candidates."""
    said: list[Any] = [(r.config or {}).get("monitor") for r in catalogue.runs if r.pipeline == MONITORING]
    named = {(monitor.get("candidates") or {}).get("folder") for monitor in said if monitor}
    return [(catalogue.root / Path(n).expanduser()).resolve() for n in sorted(n for n in named if n)]


def stores(catalogue: Catalogue) -> tuple[str, ...]:
    """Artifact stores of the runs."""
    return tuple(dict.fromkeys(r.artifact_store for r in catalogue.runs if r.artifact_store))


def database_files(catalogue: Catalogue) -> list[Path]:
    """MLflow's databases that are files."""
    files = filter(None, map(database_file, _trackers(catalogue)))
    return [file for file in files if file.is_file()]


def _trackers(catalogue: Catalogue) -> list[str]:
    """Where the runs tracked and registered."""
    registered = {r.registration.tracking_uri for r in catalogue.runs if r.registration is not None}
    return sorted(registered | {r.tracking_uri for r in catalogue.runs if r.tracking_uri})


def _place(said: str, what: str) -> Place:
    plain = said.removeprefix("file://")
    return Place(said.rstrip("/") if is_remote(said) else str(Path(plain).expanduser().resolve()), what)


def _artifact_roots(database: Path) -> list[str]:
    """Where the experiments of MLflow's database file have their artifacts."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as db:
            found = [row[0] for row in db.execute("SELECT DISTINCT artifact_location FROM experiments")]
    except sqlite3.DatabaseError:
        return []
    return sorted(uri for uri in found if uri and not uri.startswith("mlflow-artifacts:"))


def _outermost(found: Sequence[Place]) -> list[Place]:
    kept: list[Place] = []
    for place in found:
        inside = any(_within(place, other) for other in kept)
        if not inside:
            kept = [k for k in kept if not _within(k, place)] + [place]
    return kept


def _within(place: Place, other: Place) -> bool:
    if place.folder is not None and other.folder is not None:
        return place.folder.resolve().is_relative_to(other.folder.resolve())
    return place.uri == other.uri or place.uri.startswith(f"{other.uri}/")
