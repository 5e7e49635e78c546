"""The compared texts on disk, so that memory doesn't grow with them."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from steps.contracts.storage import writing

_SCHEMA = pa.schema([("text", pa.large_string())])


class TextSpill:
    """Texts by row number, in an Arrow file that is removed at the end. A context manager.

    Add them in order, call `freeze`, then get any of them.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._writer: pa.ipc.RecordBatchFileWriter | None = pa.ipc.new_file(file, _SCHEMA)
        self._reader: pa.ipc.RecordBatchFileReader | None = None
        self._starts: list[int] = []
        self._rows = 0

    def append(self, texts: Sequence[str]) -> None:
        """Add texts of the next rows."""
        assert self._writer is not None, "frozen"
        with writing(self.file):
            self._writer.write_batch(pa.record_batch([pa.array(texts, pa.large_string())], schema=_SCHEMA))
        self._starts.append(self._rows)
        self._rows += len(texts)

    def freeze(self) -> None:
        """End of writing."""
        assert self._writer is not None, "frozen"
        with writing(self.file):
            self._writer.close()
        self._writer = None
        self._reader = pa.ipc.open_file(pa.memory_map(str(self.file)))

    def get(self, row: int) -> str:
        """The text of one row."""
        assert self._reader is not None, "not frozen"
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return str(self._reader.get_batch(part).column(0)[row - self._starts[part]].as_py())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = None
        self.file.unlink(missing_ok=True)
