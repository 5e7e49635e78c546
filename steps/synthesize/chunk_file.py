"""The file that says of every chunk what was asked of it, and what came of it."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from steps.contracts.digests import canonical_json
from steps.contracts.storage import writing
from steps.synthesize.candidates import Asked

CHUNK_SCHEMA = pa.schema(
    [
        # record_id and name of the document.
        pa.field("document", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        # JSON list of {start, end, headings, page, url}: one chunk, or the two of a question over both.
        pa.field("chunks", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        # pairs, none (there was nothing to ask), or the reason why there was no reply of use.
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("written", pa.int32(), nullable=False),
        pa.field("kept", pa.int32(), nullable=False),
        # JSON object: reason code -> pairs.
        pa.field("dropped", pa.string(), nullable=False),
        # The model's words where they were of no use; null otherwise, and where personal data may be in them.
        pa.field("reply", pa.string()),
    ]
)
_GROUP = 5_000


class ChunkWriter:
    """Writes the file; a context manager. It appears when the writer is closed without an error. `texts`: whether
    replies may stand in it.
    """

    def __init__(self, path: Path, *, texts: bool) -> None:
        self.path, self._texts = path, texts
        self._partial = path.with_name(path.name + ".partial")
        self._lines: list[dict[str, Any]] = []
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._partial, CHUNK_SCHEMA, compression="zstd")

    def add(self, asked: Asked) -> None:
        """Add what came of one request."""
        first = asked.task.passages[0]
        dropped: dict[str, int] = {}
        for reason in (p.dropped for p in asked.pairs if p.dropped):
            dropped[reason] = dropped.get(reason, 0) + 1
        self._lines.append(
            {
                "document": first.document, "source": first.source, "split": first.split,
                "chunks": canonical_json([p.place(texts=self._texts) for p in asked.task.passages]),
                "kind": asked.task.kind, "outcome": asked.outcome, "written": len(asked.pairs),
                "kept": len(asked.pairs) - sum(dropped.values()), "dropped": canonical_json(dropped),
                "reply": asked.reply if self._texts and asked.outcome not in ("pairs", "none") else None,
            }
        )  # fmt: skip
        if len(self._lines) >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        with writing(self.path):
            self._writer.write_table(pa.Table.from_pylist(self._lines, schema=CHUNK_SCHEMA))
        self._lines = []

    def close(self) -> None:
        """Finish the file and name it."""
        if self._lines:
            self._flush()
        self._writer.close()
        self._partial.replace(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.close()
            self._partial.unlink(missing_ok=True)
