"""Every file that an artifact is made of, read where it is stored and held against the run's record."""

from collections.abc import Iterator
from dataclasses import dataclass

import fsspec
from pydantic import ValidationError

from materializers import layout
from materializers.artifacts import Artifacts, reachable
from steps.contracts.dataset import Manifest
from steps.contracts.dedup_index import IndexManifest
from steps.contracts.digests import text_digest
from steps.contracts.embeddings import EmbeddingsManifest
from steps.contracts.models import ModelInfo
from steps.contracts.row_cache import RowCacheManifest
from steps.contracts.runs import ArtifactRecord, RunRecord


@dataclass(frozen=True)
class FileCheck:
    """One stored file against its record.

    Attributes:
        artifact: its name.
        name: of the file within the artifact; of a shared one, below the store's root.
        found: SHA-256 of the bytes that are stored now, None when the file is gone.
    """

    artifact: str
    name: str
    recorded: str
    found: str | None

    @property
    def ok(self) -> bool:
        """Whether the stored bytes are the recorded ones."""
        return self.recorded == self.found

    def __str__(self) -> str:
        said = "holds" if self.ok else "is gone" if self.found is None else "was changed"
        return f"{self.artifact}/{self.name} {said}"


def check_artifact(store: Artifacts, artifact: ArtifactRecord) -> list[FileCheck]:
    """The main file, the note of its digest, and all that it names, unless it was changed itself.

    Nothing for an artifact in the record of an older version, which has no SHA-256.

    Raises:
        ServiceError: the store can't be reached.
    """
    if artifact.sha256 is None:
        return []
    note = _note(store, artifact)
    if artifact.type == "file" and not note.ok:
        return [note]
    main = main_file(store, artifact)
    first = _check(store, artifact, main, f"{artifact.uri}/{main}", artifact.sha256)
    named = named_files(store, artifact) if first.ok else ()
    return [note, first, *(_check(store, artifact, *one) for one in named)]


def main_file(store: Artifacts, artifact: ArtifactRecord) -> str:
    """Name of the artifact's main file; of a file artifact what its description says, "" where that is gone."""
    return _lines(store, artifact)[0] if artifact.type == "file" else layout.MAIN.get(artifact.type, layout.VALUE)


def _check(store: Artifacts, artifact: ArtifactRecord, name: str, uri: str, sha256: str) -> FileCheck:
    return FileCheck(artifact.name, name, sha256, store.digest_of(uri))


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
        case "model":
            for name, sha256 in store.main_value(artifact, layout.MODEL, ModelInfo).files.items():
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


def _below(root: str, uri: str) -> str:
    return uri.removeprefix(root.rstrip("/") + "/")


def stored_record(run: RunRecord) -> RunRecord | None:
    """The record that the run's last step kept in the artifact store; None when there is none that can be read.

    Raises:
        ServiceError: the store can't be reached.
    """
    with reachable(run.artifact_store):
        fs, root = fsspec.url_to_fs(run.artifact_store)
        for path in fs.glob(f"{root}/{layout.RECORDS}/*/*/{layout.VALUE}"):
            text = fs.cat_file(path)
            if run.run_id.encode() not in text:
                continue
            try:
                found = RunRecord.model_validate_json(text)
            except ValidationError:
                continue
            if found.run_id == run.run_id:
                return found
    return None
