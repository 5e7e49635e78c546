"""Which files a source means: a file, a folder, a glob or an fsspec URL; and how each of them is opened."""

import difflib
import glob
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from steps.contracts.digests import file_digest
from steps.contracts.errors import InputError, InputNotFoundError, MissingDependencyError, ServiceError
from steps.ingest.config import Container, SourceConfig
from steps.ingest.streams import PACKED, as_utf8, unpack

SUFFIXES: dict[str, Container] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html",
    ".pdf": "pdf", ".docx": "docx",
}  # fmt: skip
_KNOWN = "jsonl, ndjson, json, csv, tsv, parquet, txt, md, html, pdf or docx, each also with .gz or .zst"
_MAGIC = "*?["


@dataclass(frozen=True)
class InputFile:
    """One file. `relative` is its POSIX path below the folder or glob that named it, `size` in bytes as stored.

    `fs` is None for local files.
    """

    location: str
    relative: str
    container: Container
    packing: str | None
    size: int
    fs: Any = None

    def open_raw(self) -> IO[bytes]:
        """The file as it is stored."""
        if self.fs is None:
            return Path(self.location).open("rb")
        return cast("IO[bytes]", self.fs.open(self.location, "rb"))

    @contextmanager
    def open_text(self, encoding: str | None) -> Iterator[io.BufferedReader]:
        """The unpacked text in UTF-8 (see `as_utf8`)."""
        with self.open_raw() as raw:
            yield as_utf8(unpack(raw, self.packing), encoding)

    def sha256(self) -> str:
        """SHA-256 of the stored bytes."""
        if self.fs is None:
            return file_digest(Path(self.location))
        h = hashlib.sha256()
        with self.open_raw() as raw:
            while piece := raw.read(1 << 20):
                h.update(piece)
        return h.hexdigest()


@dataclass(frozen=True)
class Found:
    """Files of a source in the order of their relative paths, and what was passed over for its suffix."""

    files: tuple[InputFile, ...]
    skipped: tuple[str, ...] = ()


def find_files(source: SourceConfig, root: Path) -> Found:
    """The files that `source.path` means. Folders are searched in depth; names that start with "." or "_" are left out.

    Raises:
        InputNotFoundError: nothing is there.
        InputError: files are there, but none of a known type.
        MissingDependencyError: the URL's protocol needs a package that isn't installed.
    """
    path = source.path or ""
    entries = _remote(path) if "://" in path else _local(path, root)
    files, skipped = [], []
    for location, relative, size, fs in sorted(entries, key=lambda e: e[1]):
        container, packing = file_type(relative, source)
        if container is None:
            skipped.append(relative)
        else:
            files.append(InputFile(location, relative, container, packing, size, fs))
    if not files:
        names = ", ".join(skipped[:3])
        raise InputError(
            f"no file of a known type: {names}",
            where=f"source {source.name}",
            hint=f"convert to {_KNOWN}, or set `container`",
        )
    return Found(tuple(files), tuple(skipped))


def file_type(name: str, source: SourceConfig) -> tuple[Container | None, str | None]:
    """Container and packing by suffix; the source's `container` overrides the first."""
    path = PurePosixPath(name.lower())
    packing = PACKED.get(path.suffix)
    if packing:
        path = path.with_suffix("")
    container = SUFFIXES.get(path.suffix)
    return (container if source.container == "auto" else source.container), packing


_Entry = tuple[str, str, int, Any]


def _local(path: str, root: Path) -> list[_Entry]:
    full = root / Path(path).expanduser()
    if full.is_file():
        return [(str(full), full.name, full.stat().st_size, None)]
    if full.is_dir():
        base, found = full, sorted(full.rglob("*"))
    elif any(c in path for c in _MAGIC):
        base = Path(_glob_root(str(full)))
        found = [Path(p) for p in glob.glob(str(full), recursive=True)]  # noqa: PTH207 (absolute patterns)
    else:
        raise _not_found(full)
    entries: list[_Entry] = []
    for p in found:
        relative = p.relative_to(base)
        if p.is_file() and not any(part[0] in "._" for part in relative.parts):
            entries.append((str(p), relative.as_posix(), p.stat().st_size, None))
    if not entries:
        raise InputNotFoundError("no file there", where=str(full), hint="check the folder or the pattern")
    return entries


def _glob_root(pattern: str) -> str:
    parts = pattern.split("/")
    plain = next(i for i, part in enumerate(parts) if any(c in part for c in _MAGIC))
    return "/".join(parts[:plain]) or "/"


def _not_found(full: Path) -> InputNotFoundError:
    folder = full.parent
    if not folder.is_dir():
        return InputNotFoundError(
            "no such file, nor its folder", where=str(full), hint="check `path` and the root folder"
        )
    near = difflib.get_close_matches(full.name, [p.name for p in folder.iterdir()], n=1)
    hint = f"did you mean {near[0]}?" if near else "check `path`; it is relative to the root folder"
    return InputNotFoundError("no such file", where=str(full), hint=hint)


def _remote(url: str) -> list[_Entry]:
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as e:
        raise MissingDependencyError(
            f"can't open this kind of URL: {e}",
            where=url,
            hint="install the fsspec package for it (s3fs, gcsfs, adlfs ...)",
        ) from e
    try:
        return _remote_entries(fs, path, url)
    except FileNotFoundError as e:
        raise InputNotFoundError("no such file or folder", where=url, hint="check the URL") from e
    except PermissionError as e:
        raise InputError("not allowed to read", where=url, hint="check the credentials in the environment") from e
    except Exception as e:  # each store has errors of its own, many of them no OSError (botocore)
        what = f"the file store can't be read: {type(e).__name__}: {e}"
        raise ServiceError(what, where=url, hint="check the connection, the credentials and the URL") from e


def _remote_entries(fs: Any, path: str, url: str) -> list[_Entry]:
    if any(c in path for c in _MAGIC):
        base, found = _glob_root(path), fs.glob(path, detail=True)
    elif fs.isfile(path):
        return [(path, PurePosixPath(path).name, int(fs.size(path) or 0), fs)]
    else:
        base, found = path.rstrip("/"), fs.find(path, detail=True)
    entries: list[_Entry] = []
    for name, info in found.items():
        relative = PurePosixPath(name).relative_to(base).as_posix()
        if info["type"] == "file" and not any(part[0] in "._" for part in relative.split("/")):
            entries.append((name, relative, int(info.get("size") or 0), fs))
    if not entries:
        raise FileNotFoundError(url)
    return entries
