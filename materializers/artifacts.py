"""Opening a run's artifacts from where they are stored, without ZenML: a local path, or any fsspec URL.

Remote files are fetched once into a cache folder; credentials are those that fsspec finds in the environment.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

import fsspec
import pyarrow.parquet as pq
from pydantic import ValidationError

from materializers import layout
from steps.contracts.dataset import Dataset, Manifest
from steps.contracts.digests import file_digest, short_id
from steps.contracts.errors import AssayError, InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.evaluation import Answers
from steps.contracts.ledger import Ledger
from steps.contracts.models import ModelFolder, ModelInfo
from steps.contracts.reports import Frozen, StageReport
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.contracts.storage import aside

_PIECE_BYTES = 4 << 20
# From a URI to the open file.
Opener: TypeAlias = Callable[[str], AbstractContextManager[IO[bytes]]]
# From a folder's URI to the names of all files below it; none where there is no such folder.
Lister: TypeAlias = Callable[[str], list[str]]
_ANEW = "the artifact was changed or damaged after it was written; `assay run CONFIG --no-cache` makes it anew"
V = TypeVar("V", bound=Frozen)


class Artifacts:
    """Reads the artifacts of one run, and verifies what it reads.

    Remote files are read by `opener` and listed by `lister` (default: fsspec), and go into `cache`. `digests`: SHA-256
    by URI of stored files, for readers of several runs, so that what these share is read once. `digest`: SHA-256 of a
    file on this machine.

    Every method raises:
        InputNotFoundError: a file is gone. IntegrityError: a file isn't the one that was recorded.
        ServiceError: the store can't be reached.
    """

    def __init__(
        self,
        run: RunRecord,
        cache: Path,
        opener: Opener | None = None,
        digests: dict[str, str] | None = None,
        digest: Callable[[Path], str] = file_digest,
        lister: Lister | None = None,
    ) -> None:
        self.run = run
        self._cache = cache
        self._open = opener or _by_fsspec
        self._list = lister or listed
        self._verified: set[tuple[str, str]] = set()
        self._digests = {} if digests is None else digests
        self._digest = digest

    def dataset(self, artifact: ArtifactRecord, *, verified: bool = True) -> Dataset:
        """A dataset version; every shard is verified, unless somebody says that another look does that."""
        self.selection(artifact)
        folder = self._main(artifact, layout.MANIFEST).parent
        return Dataset.open(folder, self.shard if verified else self._shard_as_it_is)

    def selection(self, artifact: ArtifactRecord) -> Path | None:
        """Which rows of its shards a dataset version has, and their splits; None: all, and none has a split."""
        sha256 = self.manifest(artifact).selection
        return self._fetch(f"{artifact.uri}/{layout.SELECTION}", sha256) if sha256 else None

    def shard(self, sha256: str) -> Path:
        """A shard that manifests of the store name."""
        return self._fetch(layout.shard(self.run.artifact_store, sha256), sha256)

    def manifest(self, artifact: ArtifactRecord) -> Manifest:
        """What a dataset version is, without its rows."""
        return self.main_value(artifact, layout.MANIFEST, Manifest)

    def ledger(self, artifact: ArtifactRecord) -> Ledger:
        """A stage's ledger."""
        path = self._main(artifact, layout.LEDGER)
        return Ledger(path, pq.read_metadata(path).num_rows)

    def report(self, artifact: ArtifactRecord) -> StageReport:
        """A stage's report."""
        return self.main_value(artifact, layout.REPORT, StageReport)

    def value(self, artifact: ArtifactRecord, kind: type[V]) -> V:
        """An EvalReport, Comparison, Decision or Registration."""
        return self.main_value(artifact, layout.VALUE, kind)

    def answers(self, artifact: ArtifactRecord) -> Answers:
        """Prompts and answers of one evaluation."""
        path = self._main(artifact, layout.ANSWERS)
        return Answers(path, pq.read_metadata(path).num_rows)

    def model(self, artifact: ArtifactRecord) -> ModelInfo:
        """What a model folder holds, without its weights."""
        return self.main_value(artifact, layout.MODEL, ModelInfo)

    def weights(self, artifact: ArtifactRecord) -> ModelFolder:
        """A model with its files, each verified; of one that is a reference only the reference."""
        info = self.model(artifact)
        files = {n: self._fetch(layout.model_file(artifact.uri, n), sha256) for n, sha256 in info.files.items()}
        if not files or not is_remote(artifact.uri):
            place = Path(layout.model_file(artifact.uri.removeprefix("file://"), ""))
            return ModelFolder(info, place if files else None)
        folder = self._cache / "models" / info.digest
        for name, found in files.items():
            if not (folder / name).is_file():
                with aside(folder / name) as partial:
                    partial.hardlink_to(found)
        return ModelFolder(info, folder)

    def file(self, artifact: ArtifactRecord, name: str) -> Path:
        """A file artifact."""
        return self._main(artifact, name)

    def digest_of(self, uri: str) -> str | None:
        """SHA-256 of a file where it is stored, read once; None when it is gone. What the cache holds is no answer.

        Raises:
            ServiceError: the store can't be reached.
        """
        if uri not in self._digests:
            try:
                self._digests[uri] = self._remote_digest(uri) if is_remote(uri) else self._digest(self._found(uri))
            except InputNotFoundError:
                return None
        return self._digests[uri]

    def names_in(self, uri: str) -> list[str]:
        """Names of all files below a folder of the store, as paths relative to it, sorted.

        Raises:
            ServiceError: the store can't be reached.
        """
        with reachable(uri):
            return sorted(self._list(uri))

    def text(self, uri: str) -> str | None:
        """A small text file where it is stored; None when it is gone. Bytes that are no text are replaced."""
        try:
            with reachable(uri), self._open(uri) as source:
                return source.read().decode("utf-8", "replace")
        except InputNotFoundError:
            return None

    def main_value(self, artifact: ArtifactRecord, name: str, kind: type[V]) -> V:
        """What an artifact's main file, a JSON text of that name, says."""
        try:
            return kind.model_validate_json(self._main(artifact, name).read_bytes())
        except ValidationError as e:
            where = f"{artifact.uri}/{name}"
            raise IntegrityError(f"not a readable {kind.__name__}: {e.errors()[0]['msg']}", where=where) from e

    def _shard_as_it_is(self, sha256: str) -> Path:
        return self._fetch(layout.shard(self.run.artifact_store, sha256), None)

    def _main(self, artifact: ArtifactRecord, name: str) -> Path:
        """The artifact's main file. Its bytes are those of the run's record, unless an older version wrote that."""
        return self._fetch(f"{artifact.uri}/{name}", artifact.sha256)

    def _fetch(self, uri: str, sha256: str | None) -> Path:
        """The file on this machine, verified once: in place when it is local, else from the cache.

        A copy in the cache that isn't what it should be is fetched again.
        """
        path = self._found(uri)
        if sha256 is None or (uri, sha256) in self._verified:
            return path
        found = self._digest(path) if is_remote(uri) else self.digest_of(uri)
        if found != sha256 and is_remote(uri):
            path.unlink()
            found = self._digest(self._found(uri))
        if found != sha256:
            if is_remote(uri):
                path.unlink()
            raise IntegrityError(f"stored bytes have SHA-256 {found}, recorded was {sha256}", where=uri, hint=_ANEW)
        self._verified.add((uri, sha256))
        return path

    def _found(self, uri: str) -> Path:
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
        with aside(path) as partial, reachable(uri), self._open(uri) as source, partial.open("wb") as out:
            while piece := source.read(_PIECE_BYTES):
                out.write(piece)

    def _remote_digest(self, uri: str) -> str:
        digest = hashlib.sha256()
        with reachable(uri), self._open(uri) as source:
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()


def read_bytes(uri: str) -> bytes | None:
    """A small file of a store, by the credentials of the environment; None when it is gone.

    Raises:
        ServiceError: the store can't be reached.
    """
    try:
        with reachable(uri), _by_fsspec(uri) as source:
            return source.read()
    except InputNotFoundError:
        return None


def is_remote(uri: str) -> bool:
    """Whether a URI is anything but a path on this machine."""
    return "://" in uri and not uri.startswith("file://")


def listed(uri: str) -> list[str]:
    """Names of all files below a folder, by the credentials of the environment; none where there is no such folder."""
    if not is_remote(uri):
        folder = Path(uri.removeprefix("file://"))
        return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    fs, path = fsspec.url_to_fs(uri)
    # What others have written meanwhile must be seen.
    fs.invalidate_cache()
    return [name.removeprefix(path.rstrip("/") + "/") for name in fs.find(path)]


def _by_fsspec(uri: str) -> AbstractContextManager[IO[bytes]]:
    """A remote file by the credentials of the environment."""
    opened: AbstractContextManager[IO[bytes]] = fsspec.open(uri, "rb")
    return opened


@contextmanager
def reachable(uri: str) -> Iterator[None]:
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


def going_on(run: RunRecord) -> list[ArtifactRecord]:
    """The run's dataset versions in order, without those of rows set aside."""
    return [a for a in run.of_type("dataset") if not is_quarantine(a)]


def json_value(value: Any) -> Any:
    """A pydantic model as JSON-ready values; None stays None."""
    return None if value is None else value.model_dump(mode="json")
