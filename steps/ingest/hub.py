"""Rows of a data set on the Hugging Face hub, at a pinned commit."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steps.contracts.errors import AssayError, InputError, InputNotFoundError, ServiceError
from steps.contracts.records import Row
from steps.ingest.config import SourceConfig

_ROWS = 1_000


def hub_rows(source: SourceConfig) -> Iterator[Row]:
    """Rows of one split. The files are downloaded once to the `datasets` cache and read memory-mapped.

    Raises:
        InputNotFoundError: no such data set, revision or split; or offline and not in the cache.
        InputError: gated, private, or built by a script.
        ServiceError: the hub doesn't answer.
    """
    import datasets

    token = os.environ.get(source.token_env) or None
    try:
        loaded = datasets.load_dataset(
            source.hub, source.subset, split=source.split, revision=source.revision, token=token
        )
    except Exception as e:
        raise hub_error(e, source) from e
    _check_revision(loaded, source)
    for batch in loaded.with_format("arrow").iter(batch_size=_ROWS):
        yield from batch.to_pylist()


def _check_revision(loaded: Any, source: SourceConfig) -> None:
    """`datasets` answers from another revision's cache when the hub is out of reach; its folder is named by commit."""
    files = [Path(f["filename"]) for f in loaded.cache_files]
    if not files or not all(source.revision in f.parts for f in files):
        raise InputNotFoundError(
            "the hub is out of reach, and the cache holds another revision only",
            where=_where(source),
            hint="connect once to download this revision, or pin the one that is in the cache",
        )


def _where(source: SourceConfig) -> str:
    return f"source {source.name}: {source.hub}@{(source.revision or '')[:12]}"


def hub_error(error: Exception, source: SourceConfig) -> AssayError:  # noqa: PLR0911 (one return per cause)
    """What the hub's or `datasets`' error means, and the way out. Looks at causes too, by class name."""
    where = _where(source)
    names = {type(e).__name__ for e in _causes(error)}
    if names & {"GatedRepoError"} or "gated dataset" in str(error):
        hint = f"ask for access on its page, then set {source.token_env} to a token of that account"
        return InputError("the data set is gated", where=where, hint=hint)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        hint = "unset HF_HUB_OFFLINE, or download the files and read them with `path`"
        return InputNotFoundError("offline (HF_HUB_OFFLINE), and not in the cache", where=where, hint=hint)
    if "RevisionNotFoundError" in names:
        return InputNotFoundError("no such revision", where=where, hint="take a commit hash from the data set's page")
    if names & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        hint = f"check the id; if it is private, set {source.token_env}"
        return InputNotFoundError("no such data set on the hub, or it is private", where=where, hint=hint)
    if names & {"ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout", "LocalEntryNotFoundError"}:
        hint = "check the connection, or download the files and read them with `path`"
        return ServiceError("the hub doesn't answer", where=where, hint=hint)
    if isinstance(error, ValueError):
        return InputNotFoundError(f"no such subset or split: {error}", where=where, hint="correct `subset` or `split`")
    hint = "download the files and read them with `path`"
    return InputError(f"can't be loaded: {type(error).__name__}: {error}", where=where, hint=hint)


def _causes(error: BaseException | None) -> Iterator[Any]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
