"""Content digests. Every digest in the project is made here, so that equal content has one name everywhere."""

import hashlib
import json
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

# With the mark of its end and its length, a string of so many bytes is one block of SHA-256.
MOST_EVEN = 55
_CHUNK_BYTES = 1 << 20
# Chosen: more than a tick of any file system's clock (FAT counts in steps of two seconds).
_SETTLED_NS = 3_000_000_000
# One encoder for all calls: json.dumps would make one per call.
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space: equal values give equal text."""
    return _ENCODER.encode(value)


def bytes_digest(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex characters."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of UTF-8 text, 64 hex characters. Lone surrogates are kept distinct (surrogatepass)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def value_digest(value: Any) -> str:
    """SHA-256 of a JSON-like value in canonical form, 64 hex characters."""
    return text_digest(canonical_json(value))


def short_id(*parts: str | bytes) -> str:
    """128-bit id of an ordered tuple of parts, 32 hex characters (BLAKE2b, length-prefixed parts)."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        h.update(len(raw).to_bytes(8, "little"))
        h.update(raw)
    return h.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex characters, read in 1 MiB pieces."""
    h = hashlib.sha256()
    with path.open("rb") as f:
        while piece := f.read(_CHUNK_BYTES):
            h.update(piece)
    return h.hexdigest()


def unchanged_file_digest(path: Path) -> str:
    """As `file_digest`, but a file is read once per process as long as its place and all its times stay.

    Whoever changes a byte changes the time of the last change of the inode (ctime), which no program can set back. A
    file that was just written is read each time: within one tick of the clock a second change would not be seen.
    """
    s = path.stat()
    if time.time_ns() - max(s.st_mtime_ns, s.st_ctime_ns) < _SETTLED_NS:
        return file_digest(path)
    return _digest_at(path, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


@lru_cache(maxsize=4096)
def _digest_at(path: Path, *_seen: int) -> str:
    return file_digest(path)


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 per file below a folder, keyed by POSIX path relative to it, sorted by name."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): unchanged_file_digest(p) for p in files}


class MultisetDigest:
    """Order-independent digest of a multiset of strings: sum of SHA-256 values modulo 2**256, with the count.

    Adding the same strings in any order, in any sharding, gives the same digest (AdHash, Bellare and
    Micciancio 1997). It detects change; it is not meant to resist an adversary who picks the rows.
    """

    def __init__(self) -> None:
        self._sum = 0
        self._count = 0

    def add(self, item: str) -> None:
        """Add one string."""
        self.update((item,))

    def update(self, items: Iterable[str]) -> None:
        """Add many strings."""
        # Every row of every dataset version passes here: names looked up once save a third of the time.
        sha256, number, total, count = hashlib.sha256, int.from_bytes, self._sum, self._count
        for item in items:
            total += number(sha256(item.encode()).digest(), "little")
            count += 1
        self._sum, self._count = total, count

    def update_even(self, data: Bytes, width: int, end: str) -> None:
        """Add the strings of `width` bytes each that stand one after another in `data`, each followed by `end`.

        Compiled, and ten times as fast as `update`, for all together of MOST_EVEN bytes at most.
        """
        # Where there are few rows, nobody waits for compiled code to load.
        from steps.contracts.sha256 import add_digests

        sums = np.zeros(8, np.uint64)
        add_digests(data, width, np.frombuffer(end.encode(), np.uint8), sums)
        self._sum += sum(word << (32 * k) for k, word in enumerate(sums.tolist()))
        self._count += len(data) // width

    def hexdigest(self) -> str:
        """64 hex characters; depends on the multiset only."""
        total = self._sum % (1 << 256)
        return hashlib.sha256(total.to_bytes(32, "little") + self._count.to_bytes(8, "little")).hexdigest()
