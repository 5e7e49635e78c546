"""What a file is, by its first bytes; its name is a hint, where they don't say."""

import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from steps.contracts.errors import InputError
from steps.engines.formats.names import is_known
from steps.ingest.config import Container
from steps.ingest.streams import PACKED, as_utf8, members, unpack

SUFFIXES: dict[str, Container] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonlines": "jsonl", ".jl": "jsonl", ".json": "json", ".csv": "csv",
    ".tsv": "csv", ".tab": "csv", ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet", ".arrow": "arrow",
    ".feather": "arrow", ".ipc": "arrow", ".xlsx": "xlsx", ".xlsm": "xlsx", ".txt": "text", ".text": "text",
    ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html",
    ".pdf": "pdf", ".docx": "docx",
}  # fmt: skip
HEAD = 1 << 16
_UNPACK = "unpack it, and name the files in it"
_TABLE = "export it as CSV, JSON Lines or Parquet"
_MEDIA = "rows are text: name the file that holds their text"
# Packings and containers that begin with bytes of their own.
_PACKINGS = (
    (b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"),
)  # fmt: skip
_CONTAINERS: tuple[tuple[bytes, Container], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1\0\0", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"%PDF", "pdf"),
)
# What can't be read: where the bytes stand, the bytes, what the file is, and the way out.
_OTHERS = (
    (0, b"version https://git-lfs.github.com/", "a pointer of Git LFS, not the file itself",
     "run `git lfs pull` in the clone"),
    (0, b"PARE", "an encrypted Parquet file", "decrypt it first"),
    (0, b"FEA1", "a Feather file of version 1", "write it again with pyarrow.feather.write_feather"),
    (0, b"SQLite format 3\0", "an SQLite database",
     "export its table: sqlite3 -json FILE 'select * from TABLE' > rows.json"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Office file (xls, doc, ppt)", "save it as .xlsx, .csv or text"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK), (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK), (0, b"\x04\x22\x4d\x18", "an LZ4 archive", _UNPACK),
    (0, b"\xff\x06\x00\x00sNaPpY", "a Snappy archive", _UNPACK), (0, b"\x1f\x9d", "a compress (.Z) archive", _UNPACK),
    (0, b"MSCF", "a cabinet archive", _UNPACK), (0, b"Obj\x01", "an Avro file", _TABLE),
    (0, b"ORC", "an ORC file", _TABLE), (0, b"\x89HDF", "an HDF5 file", _TABLE),
    (0, b"\x93NUMPY", "a NumPy array", _TABLE), (0, b"GGUF", "the weights of a model (GGUF)", _MEDIA),
    (0, b"RDX", "an R data file", _TABLE), (0, b"MATLAB 5.0", "a MATLAB file", _TABLE),
    (0, b"\x89PNG", "a picture (PNG)", _MEDIA), (0, b"\xff\xd8\xff", "a picture (JPEG)", _MEDIA),
    (0, b"GIF8", "a picture (GIF)", _MEDIA), (0, b"II*\0", "a picture (TIFF)", _MEDIA),
    (0, b"MM\0*", "a picture (TIFF)", _MEDIA), (8, b"WEBP", "a picture (WebP)", _MEDIA),
    (8, b"WAVE", "a sound file (WAV)", _MEDIA), (0, b"ID3", "a sound file (MP3)", _MEDIA),
    (0, b"fLaC", "a sound file (FLAC)", _MEDIA), (0, b"OggS", "a sound file (Ogg)", _MEDIA),
    (4, b"ftyp", "a film or sound file (MP4)", _MEDIA), (0, b"\x1aE\xdf\xa3", "a film (Matroska)", _MEDIA),
    (0, b"\x7fELF", "a program", _MEDIA), (0, b"MZ\x90", "a program", _MEDIA), (0, b"{\\rtf", "an RTF document",
     "save it as text"),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\x02-\x05][\x95}\](c\x8a\x8c\x58q]")
_MARKUP = re.compile(rb"\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_BLANK = b" \t\r\n\xef\xbb\xbf"
# What members of a zip file tell of it.
_OFFICE: tuple[tuple[str, str, str], ...] = (
    ("ppt/", "a PowerPoint file", "save it as text first"),
    ("content.xml", "an OpenDocument file", "save it as .xlsx, .csv or text"),
    ("META-INF/container.xml", "an EPUB book", "save it as text or HTML first"),
)
_OFFICE_ROWS: tuple[tuple[str, Container], ...] = (("xl/", "xlsx"), ("word/", "docx"))
_CONTROL = bytes(b for b in range(32) if b not in b"\t\n\v\f\r\x1b\0")
_NOT_TEXT: tuple[Container, ...] = ("parquet", "arrow", "xlsx", "pdf", "docx")
_JSON: tuple[Container, ...] = ("jsonl", "json")
_STARTS_ROW = re.compile(rb"(?:^|\n|\r|\xef\xbb\xbf)[ \t]*[{\[]")
# A JSON text alone on a line.
_TEXT_LINE = re.compile(rb'"(?:[^"\\\n]|\\.)*"[ \t]*,?[ \t\r]*(?:\n|$)')
_STARTS_ARRAY = re.compile(rb'\[\s*\{\s*"')
_STARTS_PRETTY = re.compile(rb'\{\s*\n\s*"')


@dataclass(frozen=True)
class Told:
    """What a file is: its container and packing. note: what was assumed against its name; None where nothing was."""

    container: Container
    packing: str | None = None
    note: str | None = None


class NoRows(InputError):
    """A file is of a kind that has no rows that can be read."""


def by_name(name: str) -> tuple[Container | None, str | None]:
    """Container and packing as a name's suffixes say; None for what they don't."""
    path = PurePosixPath(name.lower())
    packing = PACKED.get(path.suffix)
    if packing:
        path = path.with_suffix("")
    return SUFFIXES.get(path.suffix), packing


def tell(raw: IO[bytes], named: Container | None, packed: str | None, where: str, *, sure: bool = False) -> Told | None:
    """What an open file is. `named` and `packed` are what its name says; None from a name without a known suffix.

    sure: the user says what the text is. None: nothing tells what it is.

    Raises:
        NoRows: it is of another kind, which is named.
        InputError: it is called packed and isn't, or is damaged.
    """
    head = _head(raw)
    packing = next((name for mark, name in _PACKINGS if head.startswith(mark)), None)
    if named == "docx" and not packed:
        # Its reader names what is wrong with it.
        return Told("docx")
    if packing == "zip":
        container, packing, member = _in_zip(raw, where)
        named = named or by_name(member)[0]
        if container is not None:
            return Told(container, None, None if named == container else f"read as {container}, by its content")
    elif packing is None and packed == "xz" and head.startswith(b"\x5d\0\0"):
        packing = "xz"
    if packing is not None:
        raw.seek(0)
        head = _unpacked_head(raw, packing)
        if named in ("docx", "xlsx") and head.startswith(b"PK"):
            return Told(named, packing)
        if any(head.startswith(mark) for mark, _ in _PACKINGS):
            raise NoRows("packed twice", where=where, hint="unpack it once")
    if packed and not packing and head and not _is_plain(head):
        hint = "copy or download it again"
        raise InputError(f"not packed by {packed}, or damaged at its start", where=where, hint=hint)
    container = _by_content(head, named, where, sure or not head)
    if container is None:
        return None
    parts = []
    if packing != packed:
        parts.append(f"unpacked by {packing}" if packing else f"not packed by {packed}")
    if (named is not None and container != named and {container, named} != set(_JSON)) or named is None:
        parts.append(f"read as {container}")
    return Told(container, packing, " and ".join(parts) + ", by its content" if parts else None)


def _head(raw: IO[bytes]) -> bytes:
    head = b""
    while len(head) < HEAD and (more := raw.read(HEAD - len(head))):
        head += more
    return head


def _unpacked_head(raw: IO[bytes], packing: str) -> bytes:
    """The start of what is packed; what could be unpacked of it where it is damaged, which its reading will name."""
    stream = unpack(raw, packing)
    head = b""
    try:
        while len(head) < HEAD and (more := stream.read1(HEAD - len(head))):
            head += more
    except (EOFError, OSError, ValueError, zipfile.BadZipFile) as e:
        if isinstance(e, InputError):
            raise
    except Exception:  # noqa: BLE001 (each library has errors of its own)
        pass
    return head


def _in_zip(raw: IO[bytes], where: str) -> tuple[Container | None, str | None, str]:
    """The container that a zip file is; or the packing "zip", and the file's name, where it holds one file."""
    try:
        names = members(zipfile.ZipFile(raw))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as e:
        raise InputError(f"a damaged zip file ({e})", where=where, hint="copy or download it again") from e
    office = next((c for start, c in _OFFICE_ROWS if any(n.startswith(start) for n in names)), None)
    if office is not None:
        return office, None, ""
    for start, what, hint in _OFFICE:
        if any(n.startswith(start) for n in names):
            raise NoRows(f"{what}, which holds no rows", where=where, hint=hint)
    if any(n.endswith("data.pkl") for n in names):
        raise NoRows("a pickle of PyTorch, which is never opened", where=where, hint=_TABLE)
    if len(names) == 1:
        return None, "zip", names[0]
    listed = ", ".join(repr(n)[:80] for n in names[:5]) + (", ..." if len(names) > 5 else "")
    raise NoRows(f"a zip archive of {len(names)} files: {listed}", where=where, hint="unpack it, and name its folder")


def _by_content(head: bytes, named: Container | None, where: str, sure: bool) -> Container | None:
    binary = next((c for mark, c in _CONTAINERS if head.startswith(mark)), None)
    if binary is not None:
        return binary
    if sure and named not in _NOT_TEXT:
        return named
    _refuse_others(head, named, where)
    text = _as_text(head)
    if text is not None and named in _JSON:
        return _named_json(text, named, where)
    if text is not None and named not in ("markdown", "html") and _is_json(text):
        return "json" if text[:1] == b"[" else "jsonl"
    table = text and (named in (None, *_NOT_TEXT) or (named == "text" and _has_names(text))) and _is_table(text)
    return "csv" if table else named


def _named_json(text: bytes, named: Container | None, where: str) -> Container | None:
    """What a file is that calls itself JSON. Its first line may be broken."""
    if _STARTS_ROW.search(text) or _TEXT_LINE.match(text):
        return named
    if _is_table(text):
        return "csv"
    raise NoRows("text in which no JSON object begins", where=where, hint="set `container: csv` or `container: text`")


def _refuse_others(head: bytes, named: Container | None, where: str) -> None:
    for start, mark, what, hint in _OTHERS:
        if head[start : start + len(mark)] == mark:
            raise NoRows(f"{what}, which holds no rows", where=where, hint=hint)
    if _PICKLE.match(head) and named not in ("text", "markdown", "html"):
        raise NoRows("a pickle, which is never opened: it may run any program", where=where, hint=_TABLE)
    if len(head) > 10 and head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 27:
        raise NoRows("the weights of a model (safetensors), which hold no rows", where=where, hint=_MEDIA)
    if named not in ("html", "markdown", "text", None) and _MARKUP.match(head):
        what = "a web page, not rows: a login page, or an error, in place of the download?"
        raise NoRows(what, where=where, hint="download it again, or set `container: html`")
    sample = (_as_text(head) or head)[:4096]
    if sample and len(sample.translate(None, _CONTROL)) < 0.9 * len(sample):
        raise NoRows(f"binary data of an unknown kind, {_bytes(head)}", where=where, hint=_TABLE)


def _bytes(head: bytes) -> str:
    return f"beginning with the bytes {head[:4].hex(' ')}"


def _as_text(head: bytes) -> bytes | None:
    """The start of a text in UTF-8, without a mark; None for what holds NUL characters or nothing at all."""
    try:
        text = as_utf8(io.BufferedReader(io.BytesIO(head)), None).read()  # type: ignore[arg-type]
    except UnicodeError:
        return None
    text = text.lstrip(_BLANK)
    return text if text and b"\0" not in text[:1024] else None


def _is_plain(head: bytes) -> bool:
    """Whether a file that is called packed is plain, for sure."""
    return any(head.startswith(mark) for mark, _ in _CONTAINERS) or _is_json(head) or _is_table(head)


def _is_json(text: bytes) -> bool:
    """Whether a text is JSON for sure: an array of objects, or its first lines are objects, or one that goes on."""
    if _STARTS_ARRAY.match(text) or _STARTS_PRETTY.match(text):
        return True
    whole = text.rpartition(b"\n")[0] or text
    lines = [line for line in whole.split(b"\n", 3)[:3] if line.strip()]
    try:
        return all(isinstance(json.loads(line.strip().rstrip(b",")), dict) for line in lines)
    except (ValueError, RecursionError):
        return False


def _has_names(text: bytes) -> bool:
    """Whether the first line holds names of columns that make a row, and nothing else."""
    first = text.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    cells = [re.split(mark, first) for mark in ("\t", ",", ";", r"\|")]
    return any(len(c) > 1 and all(is_known(n) for n in c) for c in cells)


def _is_table(text: bytes) -> bool:
    """Whether the first lines have the same number of the same separator."""
    lines = [line for line in text.split(b"\n")[:6] if line.strip()]
    if len(lines) < 2 or any(line.lstrip()[:1] in (b"{", b"[") for line in lines):
        return False
    # The last one may be cut off.
    counts = [[line.count(mark) for line in lines[:-1]] for mark in (b",", b"\t", b";", b"|")]
    return any(min(c) == max(c) > 0 for c in counts)
