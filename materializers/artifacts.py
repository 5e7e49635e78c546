"""Opening a run's artifacts from where they are stored, without ZenML: a local path, or any fsspec URL.

Remote files are fetched once into a cache folder; credentials are those that fsspec finds in the environment.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

import fsspec
import pyarrow.parquet as pq
from pydantic import ValidationError

from steps.contracts.dataset import Dataset, Manifest
from steps.contracts.digests import file_digest, short_id
from steps.contracts.errors import AssayError, InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.evaluation import Answers
from steps.contracts.ledger import Ledger
from steps.contracts.models import ModelInfo
from steps.contracts.reports import Frozen, StageReport
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.contracts.storage import writing

_PIECE_BYTES = 4 << 20
# From a URI to the open file.
Opener: TypeAlias = Callable[[str], AbstractContextManager[IO[bytes]]]
V = TypeVar("V", bound=Frozen)


@dataclass(frozen=True)
class FileCheck:
    """One file of a model against its record. `found` is None when the file is gone."""

    name: str
    recorded: str
    found: str | None

    @property
    def ok(self) -> bool:
        """Whether the stored bytes are the recorded ones."""
        return self.recorded == self.found


class Artifacts:
    """Reads the artifacts of one run. Remote files are read by `opener` (default: fsspec) and go into `cache`."""

    def __init__(self, run: RunRecord, cache: Path, opener: Opener | None = None) -> None:
        self.run = run
        self._cache = cache
        self._open = opener or _by_fsspec

    def dataset(self, artifact: ArtifactRecord) -> Dataset:
        """A dataset version; every remote shard is verified when it is fetched.

        Raises:
            InputNotFoundError: manifest or shard is gone. IntegrityError: the selection or a shard was changed.
        """
        manifest = self.manifest(artifact)
        if manifest.selection:
            self._fetch(f"{artifact.uri}/selection.parquet")
        folder = self._fetch(f"{artifact.uri}/manifest.json").parent
        return Dataset.open(folder, self._shard)

    def manifest(self, artifact: ArtifactRecord) -> Manifest:
        """What a dataset version is, without its rows."""
        return self._value(f"{artifact.uri}/manifest.json", Manifest)

    def ledger(self, artifact: ArtifactRecord) -> Ledger:
        """A stage's ledger."""
        path = self._fetch(f"{artifact.uri}/ledger.parquet")
        return Ledger(path, pq.read_metadata(path).num_rows)

    def report(self, artifact: ArtifactRecord) -> StageReport:
        """A stage's report."""
        return self._value(f"{artifact.uri}/report.json", StageReport)

    def value(self, artifact: ArtifactRecord, kind: type[V]) -> V:
        """An EvalReport, Comparison, Decision or Registration."""
        return self._value(f"{artifact.uri}/value.json", kind)

    def answers(self, artifact: ArtifactRecord) -> Answers:
        """Prompts and answers of one evaluation."""
        path = self._fetch(f"{artifact.uri}/answers.parquet")
        return Answers(path, pq.read_metadata(path).num_rows)

    def model(self, artifact: ArtifactRecord) -> ModelInfo:
        """What a model folder holds, without its weights."""
        return self._value(f"{artifact.uri}/model.json", ModelInfo)

    def file(self, artifact: ArtifactRecord, name: str) -> Path:
        """A file artifact."""
        return self._fetch(f"{artifact.uri}/{name}")

    def check_model(self, artifact: ArtifactRecord) -> list[FileCheck]:
        """Read every file of a model where it is stored and compare its SHA-256 with the record."""
        checks = []
        for name, recorded in self.model(artifact).files.items():
            uri = f"{artifact.uri}/files/{name}"
            checks.append(FileCheck(name, recorded, self._digest_of(uri)))
        return checks

    def _shard(self, sha256: str) -> Path:
        path = self._fetch(f"{self.run.artifact_store.rstrip('/')}/shards/{sha256}.parquet")
        if is_remote(self.run.artifact_store) and sha256 not in self._verified:
            if file_digest(path) != sha256:
                path.unlink()
                raise IntegrityError("a shard's bytes are not what its name says", where=self.run.artifact_store)
            self._verified.add(sha256)
        return path

    @cached_property
    def _verified(self) -> set[str]:
        return set()

    def _value(self, uri: str, kind: type[V]) -> V:
        try:
            return kind.model_validate_json(self._fetch(uri).read_bytes())
        except ValidationError as e:
            raise IntegrityError(f"not a readable {kind.__name__}: {e.errors()[0]['msg']}", where=uri) from e

    def _fetch(self, uri: str) -> Path:
        """The file on this machine: in place when it is local, else from the cache."""
        if not is_remote(uri):
            path = Path(uri.removeprefix("file://"))
            if not path.is_file():
                raise InputNotFoundError("an artifact's file is gone", where=str(path), hint="run the pipeline again")
            return path
        # One folder per artifact, so that manifest and selection lie side by side.
        parent, name = uri.rsplit("/", 1)
        path = self._cache / "opened" / short_id(parent) / name
        if not path.is_file():
            self._download(uri, path)
        return path

    def _download(self, uri: str, path: Path) -> None:
        partial = path.with_name(f".{path.name}.partial")
        with writing(path), _reachable(uri), self._open(uri) as source:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as out:
                while piece := source.read(_PIECE_BYTES):
                    out.write(piece)
            partial.replace(path)

    def _digest_of(self, uri: str) -> str | None:
        try:
            # Weights are read where they are and never cached: the question is what is stored there now.
            if not is_remote(uri):
                return file_digest(self._fetch(uri))
            return self._remote_digest(uri)
        except InputNotFoundError:
            return None

    def _remote_digest(self, uri: str) -> str:
        digest = hashlib.sha256()
        with _reachable(uri), self._open(uri) as source:
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()


def is_remote(uri: str) -> bool:
    """Whether a URI is anything but a path on this machine."""
    return "://" in uri and not uri.startswith("file://")


def _by_fsspec(uri: str) -> AbstractContextManager[IO[bytes]]:
    """A remote file by the credentials of the environment."""
    opened: AbstractContextManager[IO[bytes]] = fsspec.open(uri, "rb")
    return opened


@contextmanager
def _reachable(uri: str) -> Iterator[None]:
    """Turn what a remote file system raises into our errors."""
    try:
        yield
    except AssayError:
        raise
    except FileNotFoundError as e:
        raise InputNotFoundError("an artifact's file is gone", where=uri) from e
    except Exception as e:
        raise ServiceError(
            f"can't read from the artifact store: {type(e).__name__}: {e}",
            where=uri,
            hint="check the network and the credentials in the environment",
        ) from e


def stage_of(artifact: ArtifactRecord) -> str:
    """The stage's name: that of the step without the suffix."""
    return artifact.step.removesuffix("_step")


def is_quarantine(artifact: ArtifactRecord) -> bool:
    """Whether a dataset artifact holds rows set aside for a human."""
    return "quarantin" in artifact.name


def json_value(value: Any) -> Any:
    """A pydantic model as JSON-ready values; None stays None."""
    return None if value is None else value.model_dump(mode="json")
