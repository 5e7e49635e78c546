"""From any format that ingest reads to a file of chat rows."""

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from ops.reading import AS_IT_IS, Reading
from ops.row_files import Spool, type_by_name, write_rows
from steps.contracts.context import StageContext
from steps.contracts.digests import canonical_json
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.storage import aside
from steps.engines.formats.registry import FORMATS
from steps.engines.formats.rejected import RowRejected
from steps.ingest.ingest import ingest
from steps.ingest.rejects import REJECTS, Reject, RejectWriter, keeping_rejects

# Of what can't be read, all is told here and nothing stops the rest: the last word has who named another share.
_ANY_SHARE = "max_reject_share=1.0"
# In every line of a reject file.
_RAW_MARK = '"raw_data": true'


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
    # what was assumed of the inputs
    notes: tuple[str, ...] = ()


def convert(
    inputs: list[str], to: str, out: Path, reading: Reading = AS_IT_IS, *, overwrite: bool = False
) -> ConvertResult:
    """Write the rows of `inputs` to `out` in another format; rejects go to `<out>.rejects.jsonl` beside it.

    `out` is of the type that its suffix says. Message trees become one row for their best path. `rejected_by` counts
    rows that couldn't be read and records that the format can't express. Columns that belong to no field are copied.

    Raises:
        InputError: an input is missing, empty, or of no known format; or no row of it can be written.
        ConfigError: the format is only read, the suffix says no type, or a file is there and `overwrite` isn't said.
    """
    write = FORMATS[to].write
    if write is None:
        raise ConfigError(f"{to} is a format that is only read", where=str(out))
    rejects_path = out.with_name(f"{out.name}.rejects.jsonl")
    _check_free(out, rejects_path, overwrite)
    kind = type_by_name(out)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        read = _read(inputs, reading, scratch / "read", rejects_path)
        reasons: Counter[str] = Counter(read.report.counts.get("rows rejected per reason", {}))
        spool = Spool(scratch / "rows.jsonl")
        with spool.filling() as add, RejectWriter(scratch / REJECTS) as rejects:
            rejects.copy(read.artifacts["rejects"].path)
            for row in read.rows.iter_rows():
                try:
                    add(write(row))
                except RowRejected as e:
                    reasons[e.reason] += 1
                    rejects.add(_reject(row, e), _raw(row))
        _put_rejects(scratch / REJECTS, rejects_path)
        first = {reason: [str(r) for r in found] for reason, found in rejects.first.items()}
        result = ConvertResult(
            out, rejects_path, read.report.rows_in, spool.rows, dict(reasons.most_common()), first, read.report.notes
        )
        if not spool.rows:
            raise _nothing(result, to)
        with aside(out) as partial:
            write_rows(spool, kind, partial)
    return result


def _check_free(out: Path, rejects: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise ConfigError("this is a folder; OUT names a file", where=str(out), hint="name a file in it")
    if out.exists() and not overwrite:
        raise ConfigError("this file is there already", where=str(out), hint="name another one, or say --overwrite")
    if rejects.exists() and not overwrite and not _is_reject_file(rejects):
        hint = "rejected rows are listed there: name another output, or say --overwrite"
        raise ConfigError("this file is there already, and no list of rejected rows", where=str(rejects), hint=hint)


def _is_reject_file(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(1 << 16)
    return not first or _RAW_MARK in first


def _put_rejects(made: Path, target: Path) -> None:
    """Rejects to their place; an earlier list goes where there are none."""
    if not made.stat().st_size:
        target.unlink(missing_ok=True)
        return
    with aside(target) as partial, made.open("rb") as source, partial.open("wb") as out:
        out.writelines(source)


def _nothing(result: ConvertResult, to: str) -> InputError:
    said = ", ".join(f"{reason} {rows:,}" for reason, rows in result.rejected_by.items())
    places = "".join(f"\n  {place}" for places in result.first.values() for place in places)
    what = f"none of {result.rows_in:,} rows can be written as {to} ({said or 'no rows'}). The first:{places}"
    hint = f"the rejected rows (raw data): {result.rejects}"
    return InputError(what, where=str(result.out), hint=hint)


def _read(inputs: list[str], reading: Reading, scratch: Path, rejects: Path) -> Outcome:
    config = replace(reading, keys=(_ANY_SHARE, *reading.keys)).config(inputs)
    with keeping_rejects(scratch, rejects):
        return ingest(None, config, StageContext(scratch, Path.cwd()))


def _reject(row: Row, error: RowRejected) -> Reject:
    kind, _, number = row["locator"].partition(":")
    line = int(number) if kind == "line" else None
    return Reject(row["source"], row["locator"], line, error.reason, error.hint or "")


def _raw(row: Row) -> bytes:
    content = {k: row[k] for k in ("messages", "chosen", "rejected", "text") if row[k]}
    return canonical_json(content).encode("utf-8", "surrogatepass")
