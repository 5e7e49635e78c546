"""The ledger: one line for each row that a stage dropped, changed, quarantined, created, flagged or left undecided.

A ledger is one Parquet file. Rows that pass a stage untouched have no line.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from steps.contracts.digests import canonical_json

Verdict: TypeAlias = Literal["dropped", "changed", "quarantined", "created", "flagged", "undecided", "kept"]
VERDICTS: tuple[Verdict, ...] = ("dropped", "changed", "quarantined", "created", "flagged", "undecided", "kept")

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        # Meaning depends on the stage (Jaccard, judge score ...); null when there is none.
        pa.field("score", pa.float64()),
        # JSON object: witness, spans, matched pattern names, content ids before and after ...
        pa.field("evidence", pa.string(), nullable=False),
        # record_ids that a created row was made from, or the witness that a duplicate gave way to.
        pa.field("parents", pa.list_(pa.string()), nullable=False),
    ]
)
_FLUSH_ROWS = 20_000


@dataclass(frozen=True)
class Ledger:
    """A finished ledger file. `rows` counts its lines."""

    path: Path
    rows: int

    def read(self) -> pa.Table:
        """The whole ledger as an Arrow table (LEDGER_SCHEMA)."""
        return pq.read_table(self.path)


class LedgerWriter:
    """Writes a ledger in pieces; a context manager. `counts[verdict][reason]` counts lines as they are written.

    The file appears under its name only when the writer is closed without an error.
    """

    def __init__(self, path: Path, stage: str) -> None:
        self.path = path
        self.stage = stage
        self.counts: dict[str, Counter[str]] = {v: Counter() for v in VERDICTS}
        self._partial = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._partial, LEDGER_SCHEMA, compression="zstd")
        self._lines: list[dict[str, Any]] = []
        self._rows = 0

    def add(
        self,
        record_id: str,
        verdict: Verdict,
        reason: str,
        *,
        score: float | None = None,
        evidence: dict[str, Any] | None = None,
        parents: list[str] | None = None,
    ) -> None:
        """Add one line."""
        self.counts[verdict][reason] += 1
        self._lines.append(
            {
                "record_id": record_id,
                "stage": self.stage,
                "verdict": verdict,
                "reason": reason,
                "score": score,
                "evidence": canonical_json(evidence or {}),
                "parents": parents or [],
            }
        )
        if len(self._lines) >= _FLUSH_ROWS:
            self._flush()

    def add_table(self, lines: pa.Table) -> None:
        """Add many lines at once (columns of LEDGER_SCHEMA, `stage` left out), for stages that decide in arrays."""
        if not lines.num_rows:
            return
        self._flush()
        for verdict, reason, count in _counted(lines):
            self.counts[verdict][reason] += count
        table = lines.append_column("stage", pa.array([self.stage] * lines.num_rows, pa.string()))
        self._writer.write_table(table.select(LEDGER_SCHEMA.names).cast(LEDGER_SCHEMA))
        self._rows += lines.num_rows

    @property
    def rows(self) -> int:
        """Lines added so far."""
        return self._rows + len(self._lines)

    def total(self, verdict: Verdict) -> int:
        """Lines written so far with this verdict."""
        return sum(self.counts[verdict].values())

    def _flush(self) -> None:
        if self._lines:
            self._writer.write_table(pa.Table.from_pylist(self._lines, schema=LEDGER_SCHEMA))
            self._rows += len(self._lines)
            self._lines = []

    def close(self) -> Ledger:
        """Finish the file and name it. Returns the finished ledger."""
        self._flush()
        self._writer.close()
        self._partial.replace(self.path)
        return Ledger(self.path, self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            if self._writer.is_open:
                self.close()
        else:
            self._writer.close()
            self._partial.unlink(missing_ok=True)


def _counted(lines: pa.Table) -> list[tuple[str, str, int]]:
    groups = lines.group_by(["verdict", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return [(g["verdict"], g["reason"], g["count_all"]) for g in groups]
