"""All runs that can be known here, with their artifacts and files: from the run index, and from the artifact stores.

The index is a copy for speed, and of this machine; the record that a run's last step keeps in the store is what it is a
copy of. Whatever asks where rows came from or went reads runs here, and names what it couldn't read.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import fsspec
from pydantic import ValidationError

from materializers import layout
from materializers.artifacts import Artifacts, going_on, is_remote, reachable
from materializers.integrity import main_file, named_files
from ops.lineage.known_digests import KnownDigests
from ops.removals import read_removals, removed_runs
from ops.run_index import MEND, artifacts_of, load_runs
from steps.contracts.digests import short_id
from steps.contracts.errors import AssayError, InputNotFoundError, ServiceError
from steps.contracts.removal import Removal
from steps.contracts.runs import ArtifactRecord, ArtifactType, RunRecord
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import state_folder

# Where a record says whose it is, whatever stands before.
_RUN_ID = re.compile(rb'"run_id":\s*"([^"]+)"')


@dataclass(frozen=True)
class Gap:
    """Something that an answer lacks: where it should be, why it can't be read, and what helps ("": nothing)."""

    where: str
    why: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True)
class Held:
    """An artifact, and the runs that have it, the oldest first: later ones took it from the cache."""

    artifact: ArtifactRecord
    runs: tuple[RunRecord, ...]


@dataclass(frozen=True)
class StoredFile:
    """A file of an artifact. `name`: within the artifact, of a shared one below the store's root.

    `sha256`: as recorded; None in records of older versions.
    """

    name: str
    uri: str
    sha256: str | None


@dataclass
class Catalogue:
    """Runs, newest first. `gaps` grows as more is found that can't be read; each is there once."""

    root: Path
    runs: tuple[RunRecord, ...]
    gaps: list[Gap] = field(default_factory=list)
    # SHA-256 by URI, of files that runs share; and what is open, by run.
    _digests: dict[str, str] = field(default_factory=dict)
    _stores: dict[tuple[str, str], Artifacts] = field(default_factory=dict)

    @cached_property
    def known(self) -> KnownDigests:
        """Digests of files that were read before."""
        return KnownDigests(state_folder(self.root) / "cache" / "digests.json")

    @cached_property
    def _removals(self) -> list[Removal]:
        """What was removed on purpose from the stores of the runs, and signed for."""
        found: list[Removal] = []
        for uri in dict.fromkeys(r.artifact_store for r in self.runs if r.artifact_store):
            with suppress(ServiceError):  # that store's runs are gaps of their own
                found += [r.removal for r in read_removals(uri) if r.key is not None]
        return found

    def miss(self, error: AssayError, where: str = "") -> None:
        """Note what an error says can't be read; what was removed on purpose is missed by nobody."""
        place = error.where or where
        if isinstance(error, InputNotFoundError) and any(r.covers(place) for r in self._removals):
            return
        gap = Gap(place, error.what, error.hint or "")
        if gap not in self.gaps:
            self.gaps.append(gap)

    def store(self, run: RunRecord) -> Artifacts:
        """The artifacts of a run, opened without ZenML."""
        key = (run.run_id, run.name)
        if key not in self._stores:
            self._stores[key] = artifacts_of(self.root, run, digests=self._digests, digest=self.known.of)
        return self._stores[key]

    def held(self, *kinds: ArtifactType) -> list[Held]:
        """Each artifact of these types (all without any) once, those of the oldest run first."""
        found: dict[str, tuple[ArtifactRecord, list[RunRecord]]] = {}
        for run in reversed(self.runs):
            for artifact in run.artifacts:
                if not kinds or artifact.type in kinds:
                    found.setdefault(artifact.uri, (artifact, []))[1].append(run)
        return [Held(artifact, tuple(runs)) for artifact, runs in found.values()]

    @cached_property
    def versions(self) -> dict[str, tuple[RunRecord, ArtifactRecord]]:
        """Dataset versions that rows go on in, by digest, with the oldest run that made them."""
        found: dict[str, tuple[RunRecord, ArtifactRecord]] = {}
        for run in reversed(self.runs):
            for artifact in going_on(run):
                if artifact.digest:
                    found.setdefault(artifact.digest, (run, artifact))
        return found

    def files(self, run: RunRecord, artifact: ArtifactRecord) -> Iterator[StoredFile]:
        """The artifact's main file, and all that it names.

        Raises:
            InputNotFoundError, IntegrityError: the main file is gone or damaged, after it was given itself.
            ServiceError: the store can't be reached.
        """
        store = self.store(run)
        main = main_file(store, artifact)
        yield StoredFile(main, f"{artifact.uri}/{main}", artifact.sha256)
        for name, uri, sha256 in named_files(store, artifact):
            yield StoredFile(name, uri, sha256)


def load_catalogue(root: Path, stores: Sequence[str] = ()) -> Catalogue:
    """Everything that the index knows, and the stores that its runs name, this machine's own one and `stores`.

    A record that can't be read, and a store that can't be reached, is a gap of the catalogue.
    """
    broken: list[tuple[Path, str]] = []
    runs = load_runs(root, on_broken=lambda file, why: broken.append((file, why)))
    found = Catalogue(root, ())
    own = str(state_folder(root) / "artifacts")
    for uri in dict.fromkeys([*(r.artifact_store for r in runs), own, *stores]):
        try:
            runs += _stored_records(root, uri, frozenset(r.run_id for r in runs), found)
        except ServiceError as e:
            found.miss(e, uri)
    names = {r.name for r in runs}
    # What the store still has is known all the same.
    found.gaps += [Gap(str(file), why, MEND) for file, why in broken if file.parent.name not in names]
    found.runs = tuple(sorted(runs, key=lambda r: (r.started, r.name), reverse=True))
    return found


def _stored_records(root: Path, uri: str, known: frozenset[str], catalogue: Catalogue) -> Iterator[RunRecord]:
    """The records that runs' last steps kept in a store, of those that aren't known."""
    if not uri or not (is_remote(uri) or Path(uri.removeprefix("file://")).is_dir()):
        return
    with reachable(uri):
        fs, path = fsspec.url_to_fs(uri)
        files = sorted(fs.glob(f"{path}/{layout.RECORDS}/*/*/{layout.VALUE}"))
    removed = removed_runs(uri)
    for file in files:
        text = _record_text(root, fs, file, kept=is_remote(uri))
        named = _RUN_ID.search(text)
        if named is not None and named[1].decode() in known:
            continue
        try:
            run = RunRecord.model_validate_json(text)
            if run.name not in removed:
                yield run
        except ValidationError as e:
            catalogue.gaps.append(Gap(fs.unstrip_protocol(file), f"not a run record: {e.errors()[0]['msg']}"))


def _record_text(root: Path, fs: fsspec.AbstractFileSystem, file: str, *, kept: bool) -> bytes:
    """A stored record; those of a remote store, which never change, are fetched once."""
    copy = state_folder(root) / "cache" / "records" / f"{short_id(fs.unstrip_protocol(file))}.json"
    if kept and copy.is_file():
        return copy.read_bytes()
    with reachable(file):
        text: bytes = fs.cat_file(file)
    if kept:
        write_whole(copy, text)
    return text
