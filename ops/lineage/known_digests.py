"""SHA-256 of files that were read before and haven't been touched since: what spares a question the reading of all."""

import json
import time
from contextlib import suppress
from pathlib import Path

from steps.contracts.digests import file_digest
from steps.contracts.errors import StorageError
from steps.contracts.storage import write_whole

# Chosen: more than a tick of any file system's clock. What was touched later could be touched again unseen.
_SETTLED_NS = 3_000_000_000


class KnownDigests:
    """Digests by place, inode, size and times of a file, kept in `file`; what can't be read there is made anew.

    Whoever changes a byte changes the time of the last change of the inode, which no program can set back. Bytes that
    a disk loses by itself are found by who reads all of them: `assay audit --verify`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _read(file)
        self._new = False

    def of(self, path: Path) -> str:
        """SHA-256 of a file's bytes, 64 hex characters."""
        s = path.stat()
        seen = [s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]
        known = self._known.get(str(path))
        if known is not None and known[:-1] == seen:
            return str(known[-1])
        digest = file_digest(path)
        if time.time_ns() - max(s.st_mtime_ns, s.st_ctime_ns) > _SETTLED_NS:
            self._known[str(path)] = [*seen, digest]
            self._new = True
        return digest

    def save(self) -> None:
        """Keep what was found out; where nothing can be written, the next question reads again."""
        if self._new:
            with suppress(StorageError):
                write_whole(self._file, json.dumps(self._known))


def _read(file: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and all(isinstance(v, list) and len(v) == 6 for v in known.values()) else {}
