"""The rows without a verdict, with what the model said: a file beside the replies, where a failed run leaves it too."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from steps.contracts.records import Row
from steps.contracts.storage import writing
from steps.engines.state_store.store import store_of
from steps.judge.verdict import JudgeVerdict


class UndecidedRows:
    """Writes a JSON object per row to `path`; a context manager. Without such a row there is no file.

    The file appears when the writer is closed, in an error too, in place of the one of an earlier run over the same
    rows; where durable state lies elsewhere, it is there as well. Keys: record_id, source, locator, error, detail,
    reply (null: none came), model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._partial = path.with_name(path.name + ".partial")
        self._file: TextIO | None = None

    @property
    def location(self) -> str:
        """Where the file lasts: its path, or its address in the durable state."""
        store = store_of(self.path.parent)
        return str(self.path) if store is None else f"{store.uri}/{self.path.name}"

    def add(self, row: Row, verdict: JudgeVerdict) -> None:
        """Add a row; of it are read record_id, source and locator."""
        line: dict[str, Any] = {k: row[k] for k in ("record_id", "source", "locator")}
        line |= {"error": verdict.error, "detail": verdict.error_detail, "reply": verdict.raw_reply,
                 "model": verdict.model}  # fmt: skip
        with writing(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._partial.open("w", encoding="utf-8")
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.rows += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with writing(self.path):
            if self._file is None:
                self.path.unlink(missing_ok=True)
                return
            self._file.close()
            self._partial.replace(self.path)
        store = store_of(self.path.parent)
        if store is not None:
            store.put(self.path.name, self.path)
