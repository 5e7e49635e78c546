"""The folder that `assay stage --out` names: whose files are in it, and how results get there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from steps.contracts.errors import ConfigError
from steps.contracts.outcome import Outcome
from steps.contracts.reports import StageReport
from steps.contracts.storage import write_whole, writing

KEPT, LEDGER, REPORT, PAGE, QUARANTINED = (
    "kept.parquet", "ledger.parquet", "report.json", "report.html", "quarantined.parquet",
)  # fmt: skip
# Only written when there are any.
_OPTIONAL = (QUARANTINED, "rejects.jsonl", "verdicts.parquet")
_NAMES = (KEPT, LEDGER, REPORT, PAGE, *_OPTIONAL)


def claim(out: Path, stage: str, inputs: Sequence[str]) -> None:
    """Make the folder, or refuse it where results of this stage would overwrite something else.

    Raises:
        ConfigError: it is a file, holds an input, or files that no earlier call of this stage wrote.
        StorageError: it can't be made.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError("this is a file; --out names a folder", where=str(out), hint="name another one")
    there = [out / n for n in _NAMES if (out / n).exists()]
    read = {p.resolve() for p in map(Path, inputs) if p.exists()}
    inside = next((p for p in there if p.resolve() in read), None)
    if inside is not None:
        raise ConfigError("the results would overwrite an input", where=str(inside), hint="name another --out folder")
    if there and _stage_of(out) != stage and not _left_by_a_failure(there):
        raise ConfigError(
            f"no results of an earlier `assay stage {stage}`, which would overwrite them: "
            + ", ".join(p.name for p in there),
            where=str(out),
            hint="name another --out folder, or move these files away",
        )
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)


def _left_by_a_failure(there: Sequence[Path]) -> bool:
    """Whether all there is are the rejects of a call that failed for them."""
    if [p.name for p in there] != ["rejects.jsonl"]:
        return False
    with there[0].open("rb") as file:
        return b'"raw_data": true' in file.readline(1 << 16)


def _stage_of(out: Path) -> str | None:
    """The stage whose results lie in a folder."""
    try:
        return StageReport.model_validate_json((out / REPORT).read_bytes()).stage
    except (ValidationError, OSError):
        return None


def put(outcome: Outcome, out: Path, scratch: Path) -> list[Path]:
    """Write all results aside and move them to their names, the report last; what an earlier call left goes.

    Returns the files of `out`.
    """
    made = scratch / "results"
    with writing(made):
        made.mkdir()
        _write(outcome, made)
        for name in _OPTIONAL:
            (out / name).unlink(missing_ok=True)
        written = [name for name in _NAMES if (made / name).exists()]
        for name in sorted(written, key=lambda n: n == REPORT):
            (made / name).replace(out / name)
    return [out / name for name in written]


def _write(outcome: Outcome, folder: Path) -> None:
    from pipelines.report.page import render_stage_page

    outcome.rows.export_parquet(folder / KEPT)
    shutil.copyfile(outcome.ledger.path, folder / LEDGER)
    write_whole(folder / REPORT, outcome.report.model_dump_json(indent=1))
    write_whole(folder / PAGE, render_stage_page(outcome.report))
    if outcome.quarantined is not None and outcome.quarantined.rows:
        outcome.quarantined.export_parquet(folder / QUARANTINED)
    for name in ("rejects", "verdicts"):
        file = outcome.artifacts.get(name)
        if file is not None and file.path.stat().st_size:
            shutil.copyfile(file.path, folder / file.path.name)
