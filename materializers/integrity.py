"""Every file that an artifact is made of, read where it is stored and held against the run's record."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import fsspec
from pydantic import ValidationError

from materializers import layout
from materializers.artifacts import Artifacts, is_remote, reachable, read_bytes
from steps.contracts.dataset import Manifest
from steps.contracts.dedup_index import IndexManifest
from steps.contracts.digests import bytes_digest, text_digest
from steps.contracts.embeddings import EmbeddingsManifest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.exports import ExportsManifest
from steps.contracts.models import ModelInfo
from steps.contracts.row_cache import RowCacheManifest
from steps.contracts.runs import ArtifactRecord, RunRecord


@dataclass(frozen=True)
class FileCheck:
    """One stored file against its record.

    Attributes:
        artifact: its name.
        name: of the file within the artifact; of a shared one, below the store's root.
        recorded: SHA-256, "" for a file that no record names.
        found: SHA-256 of the bytes that are stored now, None when the file is gone.
        uri: where it is stored.
    """

    artifact: str
    name: str
    recorded: str
    found: str | None
    uri: str = ""

    @property
    def ok(self) -> bool:
        """Whether the stored bytes are the recorded ones."""
        return self.recorded == self.found

    def __str__(self) -> str:
        return f"{self.artifact}/{self.name} {self.said}"

    @property
    def said(self) -> str:
        """What became of it, in words."""
        if self.ok:
            return "holds"
        if self.found is None:
            return "is gone"
        return "was changed" if self.recorded else "was put there later"


def beside(store: Artifacts, artifact: ArtifactRecord) -> dict[str, str]:
    """SHA-256 by name of all files in the artifact's folder that its main file doesn't name: what the record keeps.

    Raises:
        ServiceError: the store can't be reached. IntegrityError, InputNotFoundError: the main file is damaged or gone.
    """
    main = {f"{artifact.uri}/{main_file(store, artifact)}"} if artifact.sha256 is not None else set()
    named = {uri for _, uri, _ in named_files(store, artifact)} | main
    uris = {name: f"{artifact.uri}/{name}" for name in store.names_in(artifact.uri)}
    found = {name: store.digest_of(uri) for name, uri in uris.items() if uri not in named}
    return {name: sha256 for name, sha256 in found.items() if sha256 is not None}


def stored_uris(store: Artifacts, artifact: ArtifactRecord) -> list[str]:
    """URIs of all files that an artifact is made of, as far as they can be known where its main file is damaged.

    Raises:
        ServiceError: the store can't be reached.
    """
    own = [f"{artifact.uri}/{name}" for name in store.names_in(artifact.uri)]
    try:
        return [*own, *(uri for _, uri, _ in named_files(store, artifact))]
    except (IntegrityError, InputNotFoundError):
        return own


def check_artifact(store: Artifacts, artifact: ArtifactRecord) -> list[FileCheck]:
    """The main file, the note of its digest, and all that it names, unless it was changed itself; where the record
    names what lies beside it, that too, and files that no record names.

    Nothing for an artifact in the record of an older version, which has no SHA-256.

    Raises:
        ServiceError: the store can't be reached.
    """
    others = _beside(store, artifact)
    if artifact.sha256 is None:
        return others
    if not others:
        others = [_note(store, artifact)]
    about = next((c for c in others if c.name == layout.ABOUT), None)
    if artifact.type == "file" and about is not None and not about.ok:
        return others
    main = main_file(store, artifact)
    first = _check(store, artifact, main, f"{artifact.uri}/{main}", artifact.sha256)
    named = named_files(store, artifact) if first.ok else ()
    return [*others, first, *(_check(store, artifact, *one) for one in named)]


def _beside(store: Artifacts, artifact: ArtifactRecord) -> list[FileCheck]:
    """The files that the record keeps of the artifact's folder, and those that neither it nor the main file names."""
    if not artifact.beside:
        return []
    uris = {name: f"{artifact.uri}/{name}" for name in artifact.beside}
    kept = [_check(store, artifact, name, uri, artifact.beside[name]) for name, uri in uris.items()]
    try:
        there = beside(store, artifact)
    except (IntegrityError, InputNotFoundError):
        # Its main file is damaged, which is said of that one.
        return kept
    return [*kept, *(FileCheck(artifact.name, n, "", there[n]) for n in there if n not in artifact.beside)]


def main_file(store: Artifacts, artifact: ArtifactRecord) -> str:
    """Name of the artifact's main file; of a file artifact what its description says, "" where that is gone."""
    return _lines(store, artifact)[0] if artifact.type == "file" else layout.MAIN.get(artifact.type, layout.VALUE)


def _check(store: Artifacts, artifact: ArtifactRecord, name: str, uri: str, sha256: str) -> FileCheck:
    return FileCheck(artifact.name, name, sha256, store.digest_of(uri), uri)


def _note(store: Artifacts, artifact: ArtifactRecord) -> FileCheck:
    """The file beside the main one that says its SHA-256; of a file artifact, its name and the raw mark too."""
    sha256 = artifact.sha256 or ""
    if artifact.type != "file":
        return _check(store, artifact, layout.CHECKSUM, f"{artifact.uri}/{layout.CHECKSUM}", text_digest(sha256))
    name, *_, mark = _lines(store, artifact)
    said = text_digest(f"{name}\n{sha256}\n{mark if mark == 'raw' else 'clean'}")
    return _check(store, artifact, layout.ABOUT, f"{artifact.uri}/{layout.ABOUT}", said)


def _lines(store: Artifacts, artifact: ArtifactRecord) -> list[str]:
    """Of a file artifact's description; empty ones when it is gone."""
    return (store.text(f"{artifact.uri}/{layout.ABOUT}") or "\n\n").split("\n")


def named_files(store: Artifacts, artifact: ArtifactRecord) -> Iterator[tuple[str, str, str]]:
    """(name, URI, SHA-256) of the files that an artifact's main file names.

    Raises:
        InputNotFoundError, IntegrityError: the main file is gone or damaged. ServiceError: the store can't be reached.
    """
    root, uri = store.run.artifact_store, artifact.uri
    match artifact.type:
        case "dataset":
            manifest = store.main_value(artifact, layout.MANIFEST, Manifest)
            if manifest.selection:
                yield layout.SELECTION, f"{uri}/{layout.SELECTION}", manifest.selection
            for shard in manifest.shards:
                where = layout.shard(root, shard.sha256)
                yield _below(root, where), where, shard.sha256
        case "model" | "exports":
            for name, sha256 in _files_of(store, artifact).items():
                yield f"files/{name}", layout.model_file(uri, name), sha256
        case "row_cache":
            for name, sha256 in store.main_value(artifact, layout.MANIFEST, RowCacheManifest).files.items():
                yield name, f"{uri}/{name}", sha256
        case "embeddings":
            for part in store.main_value(artifact, layout.MANIFEST, EmbeddingsManifest).parts:
                yield part.name, f"{uri}/{part.name}", part.sha256
        case "index":
            for entry in store.main_value(artifact, layout.MANIFEST, IndexManifest).parts:
                for name, (_, sha256) in entry.files.items():
                    where = layout.dedup_part(root, entry.name, name)
                    yield _below(root, where), where, sha256


def _files_of(store: Artifacts, artifact: ArtifactRecord) -> dict[str, str]:
    """SHA-256 of the files of a model or of its exports, by name."""
    if artifact.type == "model":
        return store.main_value(artifact, layout.MODEL, ModelInfo).files
    return store.main_value(artifact, layout.MANIFEST, ExportsManifest).files


def _below(root: str, uri: str) -> str:
    return uri.removeprefix(root.rstrip("/") + "/")


class StoredRecord(NamedTuple):
    """A run's record as its last step stored it: where, the SHA-256 of its bytes, and what they say; None where it is
    gone, or says nothing that can be read. `noted`: the SHA-256 that the note beside it says.
    """

    uri: str
    sha256: str | None
    record: RunRecord | None
    noted: str | None = None


def read_stored(uri: str) -> StoredRecord:
    """The stored record at a URI.

    Raises:
        ServiceError: the store can't be reached.
    """
    data = read_bytes(uri)
    if data is None:
        return StoredRecord(uri, None, None)
    note = read_bytes(layout.beside(uri, layout.CHECKSUM))
    noted = note.decode("utf-8", "replace") if note is not None else None
    try:
        return StoredRecord(uri, bytes_digest(data), RunRecord.model_validate_json(data), noted)
    except ValidationError:
        return StoredRecord(uri, bytes_digest(data), None, noted)


def find_stored(run: RunRecord) -> StoredRecord | None:
    """The record that a run's last step stored, looked for in its artifact store; None when none can be read.

    Raises:
        ServiceError: the store can't be reached.
    """
    with reachable(run.artifact_store):
        fs, root = fsspec.url_to_fs(run.artifact_store)
        for path in fs.glob(f"{root}/{layout.RECORDS}/*/*/{layout.VALUE}"):
            if run.run_id.encode() in fs.cat_file(path):
                found = read_stored(fs.unstrip_protocol(path) if is_remote(run.artifact_store) else path)
                if found.record is not None and found.record.run_id == run.run_id:
                    return found
    return None
