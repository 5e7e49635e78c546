"""From any format that ingest reads to a JSON Lines file of chat rows."""

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from steps.contracts.context import StageContext
from steps.contracts.digests import canonical_json
from steps.contracts.errors import ConfigError
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.storage import writing
from steps.engines.formats.registry import FORMATS
from steps.engines.formats.rejected import RowRejected
from steps.ingest.ingest import ingest
from steps.ingest.quick import quick_config
from steps.ingest.rejects import Reject, RejectWriter, keeping_rejects


@dataclass(frozen=True)
class ConvertResult:
    """Rows written to `out`, and the rows that weren't, by reason; `rejects` lists those with their text (raw data)."""

    out: Path
    rejects: Path
    rows_in: int
    rows: int
    rejected_by: dict[str, int]
    # where the first of each reason stand and why, without their text
    first: dict[str, list[str]]


def convert(inputs: list[str], to: str, out: Path) -> ConvertResult:
    """Write the rows of `inputs` to `out` in another format; rejects go to `<out>.rejects.jsonl` beside it.

    Message trees become one row for their best path. `rejected_by` counts rows that couldn't be read and records that
    the format can't express. Columns that belong to no field are copied.

    Raises:
        InputError: an input is missing, empty, or of no known format.
        ConfigError: the format is only read.
    """
    rejects_path = out.with_name(f"{out.name}.rejects.jsonl")
    partial = out.with_name(f"{out.name}.partial")
    write = FORMATS[to].write
    if write is None:
        raise ConfigError(f"{to} is a format that is only read", where=str(out))
    with writing(out), tempfile.TemporaryDirectory() as scratch:
        out.parent.mkdir(parents=True, exist_ok=True)
        read = _read(inputs, Path(scratch), rejects_path)
        reasons: Counter[str] = Counter(read.report.counts.get("rows rejected per reason", {}))
        rows = 0
        with partial.open("w", encoding="utf-8") as file, RejectWriter(rejects_path) as rejects:
            rejects.copy(read.artifacts["rejects"].path)
            for row in read.rows.iter_rows():
                try:
                    file.write(json.dumps(write(row), ensure_ascii=False) + "\n")
                    rows += 1
                except RowRejected as e:
                    reasons[e.reason] += 1
                    rejects.add(_reject(row, e), _raw(row))
        partial.replace(out)
    first = {reason: [str(r) for r in found] for reason, found in rejects.first.items()}
    return ConvertResult(out, rejects_path, read.report.rows_in, rows, dict(reasons.most_common()), first)


def _read(inputs: list[str], scratch: Path, rejects: Path) -> Outcome:
    with keeping_rejects(scratch, rejects):
        return ingest(None, quick_config(inputs, max_reject_share=1.0), StageContext(scratch, Path.cwd()))


def _reject(row: Row, error: RowRejected) -> Reject:
    kind, _, number = row["locator"].partition(":")
    line = int(number) if kind == "line" else None
    return Reject(row["source"], row["locator"], line, error.reason, error.hint or "")


def _raw(row: Row) -> bytes:
    content = {k: row[k] for k in ("messages", "chosen", "rejected", "text") if row[k]}
    return canonical_json(content).encode("utf-8", "surrogatepass")
