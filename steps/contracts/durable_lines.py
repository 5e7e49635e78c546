"""Files of lines that are only ever added to, by one person or several at once.

A line is on disk when `append_line` returns. What a crash left of a line that was being written is none: the next
`append_line` removes it.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steps.contracts.storage import writing


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Add an object as a line of JSON; it is on disk when this returns. The file is for its owner only.

    Raises:
        StorageError: the file can't be written.
    """
    # ASCII with JSON's own escapes, so that no byte of a text is a line end to any reader.
    line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            end = _whole_bytes(descriptor)
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _whole_bytes(descriptor: int) -> int:
    """Size of the file up to the end of its last whole line."""
    size = os.fstat(descriptor).st_size
    while size:
        start = max(size - 65_536, 0)
        at = os.pread(descriptor, size - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        size = start
    return 0
