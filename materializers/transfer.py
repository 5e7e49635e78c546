"""Moving whole files between this machine and an artifact store, local or remote."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from zenml.artifact_stores.base_artifact_store import BaseArtifactStore

from materializers.layout import CHECKSUM, beside
from steps.contracts.digests import file_digest, text_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.reports import Frozen
from steps.contracts.storage import aside
from steps.zenml_runtime.state import state_folder

_PIECE_BYTES = 4 << 20
_AGAIN = "`assay run CONFIG --no-cache --set reuse=null`"
_ANEW = f"the artifact was changed or damaged after it was written; {_AGAIN} makes it anew"
V = TypeVar("V", bound=Frozen)


def is_local(uri: str) -> bool:
    """Whether a URI is a path on this machine."""
    return "://" not in uri


def put_file(source: Path, uri: str, store: BaseArtifactStore) -> None:
    """Store a file under `uri`: it appears there whole or not at all."""
    if is_local(uri):
        _put_local(source, Path(uri))
        return
    with source.open("rb") as reader, store.open(uri, "wb") as writer:
        while piece := reader.read(_PIECE_BYTES):
            writer.write(piece)


def put_once(source: Path, sha256: str, uri: str, store: BaseArtifactStore) -> None:
    """Store a file that never changes, unless the store has it. A copy that was damaged or cut off is replaced.

    On this machine the bytes that are there are compared, in a remote store their number only.
    """
    if not store.exists(uri) or not _is_there(source, sha256, uri, store):
        put_file(source, uri, store)


def _is_there(source: Path, sha256: str, uri: str, store: BaseArtifactStore) -> bool:
    if not is_local(uri):
        return store.size(uri) in (None, source.stat().st_size)
    return Path(uri).samefile(source) or file_digest(Path(uri)) == sha256


def _put_local(source: Path, target: Path) -> None:
    with aside(target) as partial:
        try:
            # A hard link costs nothing; the files are immutable.
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def put_text(text: str, uri: str, store: BaseArtifactStore) -> None:
    """Store text as UTF-8 under `uri`, whole or not at all."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", delete=False) as f:
        f.write(text)
    try:
        put_file(Path(f.name), uri, store)
    finally:
        Path(f.name).unlink(missing_ok=True)


def get_text(uri: str, store: BaseArtifactStore) -> str:
    """Read a small text file.

    Raises:
        InputNotFoundError: it is gone. IntegrityError: it isn't UTF-8. ServiceError: the store can't be read.
    """
    try:
        with store.open(uri, "rb") as f:
            raw: bytes = f.read()
    except FileNotFoundError as e:
        raise _gone(uri) from e
    except Exception as e:
        # Each service's library has errors of its own.
        what = (str(e).strip() or type(e).__name__).splitlines()[0]
        hint = "check the store's credentials, and that it can be reached"
        raise ServiceError(f"the artifact store can't be read: {what[:300]}", where=uri, hint=hint) from e
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise IntegrityError("stored text isn't UTF-8", where=uri, hint=_ANEW) from e


def as_json(data: Frozen) -> str:
    """A frozen model as it is stored."""
    return data.model_dump_json(indent=1)


def put_main(text: str, uri: str, store: BaseArtifactStore) -> None:
    """Store an artifact's main file, a text, then its SHA-256 beside it."""
    put_text(text, uri, store)
    put_text(text_digest(text), beside(uri, CHECKSUM), store)


def get_main(uri: str, store: BaseArtifactStore) -> str:
    """Read an artifact's main file, a text.

    Raises:
        InputNotFoundError: it is gone. IntegrityError: it isn't what was written.
    """
    text = get_text(uri, store)
    recorded = get_text(beside(uri, CHECKSUM), store)
    if (found := text_digest(text)) != recorded:
        raise _changed(found, recorded, uri)
    return text


def get_lines(uri: str, store: BaseArtifactStore, count: int) -> list[str]:
    """The lines of a small text file.

    Raises:
        IntegrityError: there are more or fewer than `count`.
    """
    lines = get_text(uri, store).split("\n")
    if len(lines) != count:
        raise IntegrityError(f"{len(lines)} lines, written were {count}", where=uri, hint=_ANEW)
    return lines


def parsed(text: str, kind: type[V], uri: str) -> V:
    """What a stored JSON text says.

    Raises:
        IntegrityError: it isn't of that kind.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as e:
        what = f"not a readable {kind.__name__}: {e.errors()[0]['msg']}"
        raise IntegrityError(what, where=uri, hint=_ANEW) from e


def get_value(uri: str, store: BaseArtifactStore, kind: type[V]) -> V:
    """What an artifact's main file, a JSON text, says. Raises as `get_main` and `parsed`."""
    return parsed(get_main(uri, store), kind, uri)


def get_file(uri: str, store: BaseArtifactStore, sha256: str, cache: str) -> Path:
    """The file on this machine: in place when the store is local, else in the cache folder `cache/<sha256>`.

    Raises:
        InputNotFoundError: it is gone. IntegrityError: its bytes don't have the recorded digest.
    """
    path = Path(uri)
    if is_local(uri):
        if not path.is_file():
            raise _gone(uri)
    else:
        path = state_folder() / "cache" / cache / sha256 / uri.rsplit("/", 1)[-1]
        # A copy here that isn't what it was when it was fetched is fetched again.
        if path.is_file() and file_digest(path) == sha256:
            return path
        _download(uri, store, path)
    if (found := file_digest(path)) != sha256:
        raise _changed(found, sha256, uri)
    return path


def _changed(found: str, recorded: str, uri: str) -> IntegrityError:
    return IntegrityError(f"stored bytes have SHA-256 {found}, recorded was {recorded}", where=uri, hint=_ANEW)


def _gone(uri: str) -> InputNotFoundError:
    return InputNotFoundError("a stored file is gone", where=uri, hint=f"{_AGAIN} makes it anew")


def _download(uri: str, store: BaseArtifactStore, path: Path) -> None:
    with aside(path) as partial, store.open(uri, "rb") as reader, partial.open("wb") as writer:
        shutil.copyfileobj(reader, writer, _PIECE_BYTES)
