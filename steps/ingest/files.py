"""Which files a source means: a file, a folder, a glob or an fsspec URL; what each of them is, and how it is opened."""

import difflib
import glob
import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from steps.contracts.digests import file_digest
from steps.contracts.errors import AssayError, InputError, InputNotFoundError
from steps.engines.remote.reach import reached
from steps.ingest.config import Container, SourceConfig
from steps.ingest.containers import Told, by_name, tell
from steps.ingest.dataset_info import Meaning
from steps.ingest.folders import MOST_CARD_BYTES, Choice, Entry, choose, plain_name, walk
from steps.ingest.streams import BOUNDS, Bounds, as_utf8, unpack

_KNOWN = (
    "jsonl, json, csv, tsv, parquet, arrow, xlsx, txt, md, html, pdf or docx, each also packed (gz, zst, bz2, xz, zip)"
)
_MAGIC = "*?["
_BINARY = ("parquet", "arrow", "xlsx", "pdf", "docx")


@dataclass(frozen=True)
class InputFile:
    """One file. `relative` is its POSIX path below the folder or glob that named it, `size` in bytes as stored.

    `fs` is None for local files. Container and packing are what its name says, until `told`.
    """

    location: str
    relative: str
    container: Container
    packing: str | None
    size: int
    fs: Any = None
    # What a description beside it says of its rows.
    meaning: Meaning | None = None

    def open_raw(self) -> IO[bytes]:
        """The file as it is stored."""
        if self.fs is None:
            return Path(self.location).open("rb")
        return cast("IO[bytes]", self.fs.open(self.location, "rb"))

    @contextmanager
    def open_text(self, encoding: str | None, bounds: Bounds = BOUNDS) -> Iterator[io.BufferedReader]:
        """The unpacked text in UTF-8 (see `as_utf8`)."""
        with self.open_raw() as raw:
            yield as_utf8(unpack(raw, self.packing, bounds.unpacked_bytes(self.size)), encoding)

    @contextmanager
    def open_seekable(self, bounds: Bounds) -> Iterator[IO[bytes]]:
        """The unpacked bytes, for readers that jump in them; what is packed waits in a temporary file."""
        with self.open_raw() as raw:
            if self.packing is None:
                yield raw
                return
            with tempfile.TemporaryFile() as whole:
                shutil.copyfileobj(unpack(raw, self.packing, bounds.unpacked_bytes(self.size)), whole, 1 << 20)
                whole.seek(0)
                yield whole

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
    """Files of a source in the order of their relative paths. notes: what was passed over and assumed.

    many: they were found in a folder or by a glob, and not named. descriptions: files that say what others mean.
    """

    files: tuple[InputFile, ...]
    notes: tuple[str, ...] = ()
    many: bool = False
    descriptions: tuple[InputFile, ...] = ()


def find_files(source: SourceConfig, root: Path) -> Found:
    """The files that `source.path` means (see `folders` for the rules in a folder).

    Raises:
        InputNotFoundError: nothing is there.
        InputError: files are there, but none of a known type, or none of the wanted split.
        MissingDependencyError: the URL's protocol needs a package that isn't installed.
    """
    path = source.path or ""
    entries, kind = _remote(path) if "://" in path else _local(path, root)
    entries.sort(key=lambda e: e.relative)
    choice = Choice(entries) if kind == "file" else choose(entries, source, _text_of, splits=kind == "folder")
    files = [f for e in choice.entries if (f := _file(e, source, choice, kind == "file")) is not None]
    if not files:
        raise InputError(_why_none(choice), where=f"source {source.name}", hint=f"give {_KNOWN}, or set `container`")
    notes = [f"{_files(len(n))} not read ({why}): {_first(n)}" for why, n in choice.passed.items()]
    said = tuple(InputFile(e.location, e.relative, "json", None, e.size, e.fs) for e in choice.descriptions)
    return Found(tuple(files), tuple(f"source {source.name}: {n}" for n in choice.notes + notes), kind != "file", said)


def _file(entry: Entry, source: SourceConfig, choice: Choice, named: bool) -> InputFile | None:
    """The file as its name says. What the name doesn't say, its content may, in a folder where that is sure."""
    container, packing = by_name(entry.relative)
    if source.container != "auto":
        container = source.container
    elif container is None:
        told = _told(entry, packing) if entry.fs is None or named else None
        if told is None or not (named or told.container in _BINARY or not PurePosixPath(entry.relative).suffix):
            choice.leave(entry.relative, "of an unknown type")
            return None
        container, packing = told.container, told.packing
    meaning = choice.meanings.get(entry.relative)
    return InputFile(entry.location, entry.relative, container, packing, entry.size, entry.fs, meaning)


def _told(entry: Entry, packing: str | None) -> Told | None:
    file = InputFile(entry.location, entry.relative, "text", packing, entry.size, entry.fs)
    try:
        with file.open_raw() as raw:
            return tell(raw, None, packing, entry.relative)
    except InputError:
        # Its reader names it.
        return Told("text", packing)
    except OSError:
        return None


def told(file: InputFile, source: SourceConfig) -> tuple[InputFile, str | None]:
    """The file as its content tells what it is, and what was assumed against its name.

    Raises:
        NoRows: it is of a kind that holds no rows.
        InputError: it is a damaged archive.
    """
    where = f"{source.name}/{file.relative}"
    named, packed = by_name(file.relative)
    sure = source.container != "auto" or source.encoding is not None
    try:
        with file.open_raw() as raw:
            found = tell(raw, named if source.container == "auto" else source.container, packed, where, sure=sure)
    except AssayError:
        raise
    except Exception:  # noqa: BLE001 (reading it will say so)
        return file, None
    if found is None:
        return file, None
    return replace(file, container=found.container, packing=found.packing), found.note


def _why_none(choice: Choice) -> str:
    if not choice.passed:
        return "no file there"
    return "no file of a known type: " + "; ".join(f"{_first(n)} ({why})" for why, n in choice.passed.items())


def _files(count: int) -> str:
    return f"{count:,} file{'s' if count > 1 else ''}"


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _text_of(entry: Entry) -> str:
    """A small text file; "" where it can't be read or is too long."""
    file = InputFile(entry.location, entry.relative, "text", None, entry.size, entry.fs)
    try:
        with file.open_raw() as raw:
            return raw.read(MOST_CARD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _local(path: str, root: Path) -> tuple[list[Entry], str]:
    """The entries, and whether they come from a "file", a "folder" or a "glob"."""
    given = Path(path).expanduser()
    full = root / given
    if full.is_file():
        return [Entry(str(full), plain_name(full.name), full.stat().st_size)], "file"
    if full.is_dir():
        base, found, kind = full, list(walk(full)), "folder"
    elif any(c in path for c in _MAGIC):
        names = glob.glob(str(given), root_dir=root, recursive=True)  # noqa: PTH207 (absolute patterns)
        base, found, kind = root / _glob_root(str(given)), [root / name for name in names], "glob"
    else:
        raise _not_found(full)
    entries = []
    for p in found:
        relative = p.relative_to(base)
        if p.is_file() and not any(part.startswith(".") for part in relative.parts):
            entries.append(Entry(str(p), plain_name(relative.as_posix()), p.stat().st_size))
    if not entries:
        raise InputNotFoundError("no file there", where=str(full), hint="check the folder or the pattern")
    return entries, kind


def _glob_root(pattern: str) -> str:
    parts = pattern.split("/")
    plain = next(i for i, part in enumerate(parts) if any(c in part for c in _MAGIC))
    return "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else "")


def _not_found(full: Path) -> InputNotFoundError:
    folder = full.parent
    if full.exists():
        hint = "write what comes out of it to a file first, such as `cat PIPE > rows.jsonl`"
        return InputNotFoundError(
            "neither a file nor a folder, but a pipe, a socket or a device", where=str(full), hint=hint
        )
    if not folder.is_dir():
        return InputNotFoundError(
            "no such file, nor its folder", where=str(full), hint="check `path` and the root folder"
        )
    near = difflib.get_close_matches(full.name, [p.name for p in folder.iterdir()], n=1)
    hint = f"did you mean {near[0]}?" if near else "check `path`; it is relative to the root folder"
    return InputNotFoundError("no such file", where=str(full), hint=hint)


def _remote(url: str) -> tuple[list[Entry], str]:
    with reached(url) as (fs, path):
        return _remote_entries(fs, path, url)


def _remote_entries(fs: Any, path: str, url: str) -> tuple[list[Entry], str]:
    if any(c in path for c in _MAGIC):
        base, found, kind = _glob_root(path), fs.glob(path, detail=True), "glob"
    elif fs.isfile(path):
        return [Entry(path, plain_name(PurePosixPath(path).name), int(fs.size(path) or 0), fs)], "file"
    else:
        base, found, kind = path.rstrip("/"), fs.find(path, detail=True), "folder"
    entries: list[Entry] = []
    for name, info in found.items():
        relative = PurePosixPath(name).relative_to(base).as_posix()
        if info["type"] == "file" and not any(part.startswith(".") for part in relative.split("/")):
            entries.append(Entry(name, plain_name(relative), int(info.get("size") or 0), fs))
    if not entries:
        raise FileNotFoundError(url)
    return entries, kind
