"""What runs made, copied to another store: every file whole or not there, read back and held against its digest.

A copy has the layout of the store it is from. Of an artifact the main file, which names all others, comes last, and of
a run the record, which names its artifacts: what a reader finds is all there. What is there with the right bytes
isn't sent again, so that a copy that was cut off goes on; what is there with others stays, and is an error.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import fsspec
from pydantic import ValidationError

from materializers import layout
from materializers.artifacts import Artifacts, is_remote, reachable
from materializers.integrity import check_artifact, main_file, named_files, stored_uris
from ops.run_index import artifacts_of
from steps.contracts.digests import short_id
from steps.contracts.errors import (
    AssayError,
    InputError,
    InputNotFoundError,
    IntegrityError,
    ServiceError,
    StorageError,
)
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.contracts.storage import aside, full_disk, write_whole
from steps.zenml_runtime.state import state_folder

_PIECE_BYTES = 4 << 20
# A file is seen there when its upload is complete, never before; elsewhere it is written aside, then renamed.
_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
# What stores say when credentials don't allow something.
_REFUSED = (401, 403)


@dataclass(frozen=True)
class Copied:
    """What became of a copy.

    Attributes:
        record: URI of the run's record there.
        sent, there: files that were written, and that were there already; sent_bytes: of the former.
    """

    run: str
    target: str
    record: str
    artifacts: tuple[str, ...]
    sent: int
    there: int
    sent_bytes: int


def copy_artifacts(
    root: Path, run: RunRecord, wanted: Sequence[ArtifactRecord], target: str
) -> tuple[Copied, RunRecord]:
    """Copy artifacts of a run; returns what was done, and the run's record as it is there.

    Raises:
        IntegrityError: the source isn't what was recorded, other bytes are at the target, or it doesn't keep them.
        InputNotFoundError: a file of the source is gone, or there is no such bucket.
        StorageError: nothing may be written there, or there is no room. ServiceError: a store can't be reached.
    """
    place = _Place(target)
    store = artifacts_of(root, run)
    sent = there = sent_bytes = 0
    seen = set[str]()
    with tempfile.TemporaryDirectory() as scratch:
        for artifact in wanted:
            for uri, sha256 in _files(store, artifact).items():
                name = _below(run.artifact_store, uri)
                # Dataset versions share shards.
                if name in seen:
                    continue
                seen.add(name)
                if place.holds(name, sha256):
                    there += 1
                    continue
                file = _here(uri, sha256, Path(scratch) / "file")
                place.put(file, name, sha256)
                sent, sent_bytes = sent + 1, sent_bytes + file.stat().st_size
    record = place.keep(rebased(run.model_copy(update={"artifacts": tuple(wanted)}), place.uri))
    names = tuple(a.name for a in wanted)
    return Copied(run.name, place.uri, place.at(_record(run)), names, sent, there, sent_bytes), record


def records_in(uri: str) -> list[RunRecord]:
    """The records that lie in a store, or a copy of one, as if it had always been there; oldest first.

    Raises:
        InputNotFoundError: there is none. IntegrityError: one can't be read. ServiceError: the store can't be reached.
    """
    place = _Place(uri)
    found = []
    for file, text in place.records():
        try:
            found.append(rebased(RunRecord.model_validate_json(text), place.uri))
        except ValidationError as e:
            raise IntegrityError(f"not a run record: {e.errors()[0]['msg']}", where=file) from e
    if not found:
        hint = "name what `assay copy` has written, or an artifact store of runs"
        raise InputNotFoundError("no run's record lies there", where=uri, hint=hint)
    return sorted(found, key=lambda r: r.started)


def rebased(run: RunRecord, store: str) -> RunRecord:
    """The record of a run whose store lies elsewhere."""
    moved = [a.model_copy(update={"uri": f"{store}/{_below(run.artifact_store, a.uri)}"}) for a in run.artifacts]
    return run.model_copy(update={"artifact_store": store, "artifacts": tuple(moved)})


def _below(root: str, uri: str) -> str:
    name = uri.removeprefix(root.rstrip("/") + "/")
    if name == uri:
        raise InputError("this artifact doesn't lie in its run's store", where=uri, hint=f"the store is {root}")
    return name


def _files(store: Artifacts, artifact: ArtifactRecord) -> dict[str, str]:
    """SHA-256 by URI of all files that the artifact is made of, its main file last; all are what was recorded."""
    checks = check_artifact(store, artifact)
    for wrong in (c for c in checks if not c.ok):
        hint = "a damaged artifact isn't copied; `assay run CONFIG --no-cache` makes it anew"
        raise IntegrityError(f"{wrong}", where=wrong.uri or artifact.uri, hint=hint)
    known = {c.uri: c.recorded for c in checks if c.uri} | {uri: sha for _, uri, sha in named_files(store, artifact)}
    for uri in stored_uris(store, artifact):
        if uri not in known and (sha256 := store.digest_of(uri)) is not None:
            known[uri] = sha256
    main = f"{artifact.uri}/{main_file(store, artifact)}"
    if main not in known:
        raise InputNotFoundError("an artifact's file is gone", where=main, hint="run the pipeline again")
    return {**{uri: sha for uri, sha in known.items() if uri != main}, main: known[main]}


def _here(uri: str, sha256: str, scratch: Path) -> Path:
    """The file on this machine, with the bytes that were recorded."""
    if is_remote(uri):
        with reachable(uri), fsspec.open(uri, "rb") as source, scratch.open("wb") as out:
            shutil.copyfileobj(source, out, _PIECE_BYTES)
    file = scratch if is_remote(uri) else Path(uri.removeprefix("file://"))
    with file.open("rb") as source:
        found = _sha256(source)
    if found != sha256:
        raise IntegrityError(f"stored bytes have SHA-256 {found}, recorded was {sha256}", where=uri)
    return file


def _sha256(source: Any) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _record(run: RunRecord) -> str:
    """Where a copy keeps the run's record: readers of stores look for them there."""
    return f"{layout.RECORDS}/{run.run_id}/copy/{layout.VALUE}"


class _Place:
    """A store, or a folder, that is written to."""

    def __init__(self, uri: str) -> None:
        local = uri.removeprefix("file://")
        self.uri = uri.rstrip("/") if is_remote(uri) else str(Path(local).expanduser().absolute())
        self._local = not is_remote(uri)
        with reachable(self.uri):
            self._fs, self._path = fsspec.url_to_fs(self.uri)

    def at(self, name: str) -> str:
        """URI of a file there."""
        return f"{self.uri}/{name}"

    def holds(self, name: str, sha256: str) -> bool:
        """Whether the file is there, with these bytes.

        Raises:
            IntegrityError: others are there.
        """
        found = self._digest(name)
        if found not in (None, sha256):
            hint = "nothing was overwritten: remove it there, or copy to another place"
            raise IntegrityError(f"there is another file of this name, SHA-256 {found}", where=self.at(name), hint=hint)
        return found is not None

    def put(self, file: Path, name: str, sha256: str) -> None:
        """Write a file whole, and read it back.

        Raises:
            IntegrityError: what is there then isn't what was written; it is removed.
        """
        with _allowed(self.at(name)):
            if self._local:
                with aside(Path(self.at(name))) as partial:
                    shutil.copyfile(file, partial)
            elif self.uri.partition(":")[0] in _WHOLE:
                self._fs.put_file(str(file), f"{self._path}/{name}")
            else:
                self._put_aside(file, f"{self._path}/{name}")
        found = self._digest(name)
        if found != sha256:
            with _allowed(self.at(name)):
                self._fs.rm_file(f"{self._path}/{name}")
            raise IntegrityError(f"SHA-256 {sha256} was written, {found} is read back", where=self.at(name))

    def keep(self, run: RunRecord) -> RunRecord:
        """Write the run's record; artifacts that were copied there before stay in it. Returns it."""
        name = _record(run)
        with reachable(self.at(name)):
            text = self._fs.cat_file(f"{self._path}/{name}") if self._fs.isfile(f"{self._path}/{name}") else None
        if text is not None:
            before = rebased(RunRecord.model_validate_json(text), self.uri).artifacts
            uris = {a.uri for a in run.artifacts}
            run = run.model_copy(update={"artifacts": (*(a for a in before if a.uri not in uris), *run.artifacts)})
        data = run.model_dump_json(indent=1).encode()
        with _allowed(self.at(name)):
            if self._local:
                write_whole(Path(self.at(name)), data)
            else:
                self._fs.pipe_file(f"{self._path}/{name}", data)
        return run

    def records(self) -> Iterator[tuple[str, bytes]]:
        """URIs and texts of all records there."""
        with reachable(self.uri):
            for file in sorted(self._fs.glob(f"{self._path}/{layout.RECORDS}/*/*/{layout.VALUE}")):
                yield self._fs.unstrip_protocol(file), self._fs.cat_file(file)

    def _digest(self, name: str) -> str | None:
        path = f"{self._path}/{name}"
        with _allowed(self.at(name)):
            # What a listing said before isn't what is there now.
            self._fs.invalidate_cache()
            if not self._fs.isfile(path):
                return None
            with self._fs.open(path, "rb") as source:
                return _sha256(source)

    def _put_aside(self, file: Path, path: str) -> None:
        parent, _, name = path.rpartition("/")
        partial = f"{parent}/.{name}.{token_hex(8)}.partial"
        self._fs.makedirs(parent, exist_ok=True)
        try:
            self._fs.put_file(str(file), partial)
            self._fs.mv(partial, path)
        finally:
            if self._fs.exists(partial):
                self._fs.rm_file(partial)


@contextmanager
def _allowed(uri: str) -> Iterator[None]:
    """Turn what a store raises when it is written to into our errors."""
    try:
        yield
    except AssayError:
        raise
    except FileNotFoundError as e:
        hint = "make the bucket, container or folder first"
        raise InputNotFoundError("nothing can be written there: it doesn't exist", where=uri, hint=hint) from e
    except Exception as e:
        if isinstance(e, PermissionError) or _refused(e):
            hint = "check what these credentials may do there: list, read and write"
            raise StorageError("not allowed to write or read there", where=uri, hint=hint) from e
        if full := full_disk(e):
            raise full from e
        raise ServiceError(
            f"can't write to the store: {type(e).__name__}: {e}",
            where=uri,
            hint="check the network and the credentials in the environment; what is there already isn't sent again",
        ) from e


def _refused(error: Exception) -> bool:
    return any(getattr(error, name, None) in _REFUSED for name in ("status_code", "code"))


def note_copy(root: Path, target: str) -> None:
    """Note on this machine that something was copied to a place: what is erased is erased there as well."""
    write_whole(state_folder(root) / "copies" / short_id(target), target)


def copies_made(root: Path) -> list[str]:
    """Places that something was copied to."""
    return sorted(f.read_text("utf-8") for f in (state_folder(root) / "copies").glob("[!.]*"))
