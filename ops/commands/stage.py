"""`assay stage`: one curation stage alone, on files, without ZenML."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.console import emit, heading, say, show_table
from pipelines.report.costs import reasons_of
from pipelines.stages import CURATION, Stage, imported
from steps.contracts.context import StageContext
from steps.contracts.dataset import NO_SPLIT, Dataset, DatasetWriter, SplitCodes
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.execution import Executor, Inline
from steps.contracts.locks import OwnFolder, remove_left
from steps.contracts.outcome import Outcome
from steps.contracts.records import COMMON_COLUMNS, SPLITS, current
from steps.contracts.reports import StageReport
from steps.contracts.storage import write_whole


def run_stage(
    name: str,
    inputs: list[str],
    out: Path,
    config_file: Path | None,
    overrides: list[str],
    json_output: bool,
    find_root: Callable[[], Path],
    workers: int | None = None,
) -> None:
    """Read the inputs, run the stage, write its results into `out` and say what happened.

    Raises:
        ConfigError: no such stage, or a setting is wrong.
        InputNotFoundError: an input doesn't exist.
    """
    stage = _curation_stage(name)
    missing = [i for i in inputs if "://" not in i and "*" not in i and not Path(i).exists()]
    if missing:
        raise InputNotFoundError("no such file or folder", where=", ".join(missing))
    config = _config(stage, config_file, overrides)
    out.mkdir(parents=True, exist_ok=True)
    with _scratch(out) as scratch:
        with _keeping_rejects(scratch, out):
            outcome = _run(stage, inputs, config, scratch, find_root, _executor(workers))
        written = _write(outcome, out)
    _tell(outcome.report, written, json_output)


def _curation_stage(name: str) -> Stage:
    found = next((s for s in CURATION if s.name == name), None)
    if found is None:
        raise ConfigError(f"no stage {name!r}", hint="one of " + ", ".join(s.name for s in CURATION))
    return found


def _config(stage: Stage, file: Path | None, overrides: list[str]) -> Any:
    """The stage's config; None for ingest without one (formats are then found out)."""
    from pipelines.load import load_model

    if stage.name == "ingest" and file is None:
        if overrides:
            raise ConfigError("ingest takes --set only together with --config", where="--set")
        return None
    if file is not None:
        return load_model(stage.settings, file, overrides)
    return from_overrides(stage.settings, overrides, f"{stage.name} config")


def from_overrides(model: type[Any], overrides: list[str], where: str) -> Any:
    """A config of defaults and `--set` values only."""
    from pipelines.load import load_model

    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "defaults.yaml"
        empty.write_text("")
        try:
            return load_model(model, empty, overrides)
        except ConfigError as e:
            # Said again without the name of a file that the user never wrote.
            raise ConfigError(e.what, where=where, hint=e.hint) from e


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside the results, so that finished files are moved and not copied; with the rows in it as they came,
    so what a killed process left there goes.
    """
    remove_left(out, ".stage-")
    with closing(OwnFolder(out, ".stage-")) as scratch:
        yield scratch.path


@contextmanager
def _keeping_rejects(scratch: Path, out: Path) -> Iterator[None]:
    """Rejected rows outlive a failed reading: they are in `out`."""
    from steps.ingest.rejects import REJECTS, keeping_rejects

    with keeping_rejects(scratch / "input", out / REJECTS), keeping_rejects(scratch / "version", out / REJECTS):
        yield


def _executor(workers: int | None) -> Executor:
    if workers in (None, 1):
        return Inline()
    from steps.engines.execution.config import ExecutorConfig

    return ExecutorConfig(kind="processes", workers=workers).executor()


def _run(
    stage: Stage, inputs: list[str], config: Any, scratch: Path, find_root: Callable[[], Path], executor: Executor
) -> Outcome:
    """The stage's outcome; with the rejects of the files that its rows were read from."""
    if stage.name == "ingest":
        if config is None:
            return _read(inputs, scratch / "input")
        return _call(stage, None, config, scratch, find_root, executor)
    read = _read(inputs, scratch / "input")
    done = _call(stage, read.rows, config, scratch, find_root, executor)
    return replace(done, artifacts={**read.artifacts, **done.artifacts})


def _call(
    stage: Stage,
    rows: Dataset | None,
    config: Any,
    scratch: Path,
    find_root: Callable[[], Path],
    executor: Executor,
) -> Outcome:
    from steps.contracts.storage import STATE_URI
    from steps.zenml_runtime.state import use_state
    from steps.zenml_runtime.urls import with_urls

    root = find_root()
    state = use_state(os.environ.get(STATE_URI, ""), root)
    # Whether files were scrubbed can't be known: a config that sends them elsewhere must say allow_raw_egress.
    cache = state / stage.cache if stage.cache else None
    ctx = StageContext(scratch / "version", with_urls(stage.named(config), root), cache, executor=executor)
    outcome: Outcome = imported(stage.logic)(rows, config, ctx)
    return outcome


def _read(inputs: list[str], folder: Path) -> Outcome:
    """A dataset version or an earlier stage's Parquet file keeps its ids and splits; the rest is ingested."""
    if len(inputs) == 1 and (Path(inputs[0]) / "manifest.json").is_file():
        return _as_read(Dataset.open(Path(inputs[0])), folder)
    if len(inputs) == 1 and _is_ours(Path(inputs[0])):
        return _as_read(_open_rows(Path(inputs[0]), folder), folder)
    outcome: Outcome = import_module("steps.ingest.quick").read_any(inputs, folder)
    return outcome


def _is_ours(path: Path) -> bool:
    if path.suffix != ".parquet" or not path.is_file():
        return False
    # One that can't be read is ingest's to name.
    with suppress(pa.ArrowInvalid):
        return set(COMMON_COLUMNS) <= set(pq.read_schema(path).names)
    return False


def _open_rows(path: Path, folder: Path) -> Dataset:
    writer = DatasetWriter(folder / "rows", "read")
    splits: list[SplitCodes] = []
    for batch in pq.ParquetFile(path).iter_batches():
        table = current(pa.Table.from_batches([batch]))
        splits.append(np.array([SPLITS.index(s) if s else NO_SPLIT for s in table["split"].to_pylist()], np.int8))
        writer.write(table)
    dataset = writer.close()
    codes = np.concatenate(splits) if splits else np.empty(0, np.int8)
    return dataset.select(np.ones(dataset.rows, bool), folder / "labelled", "read", codes)


def _as_read(dataset: Dataset, folder: Path) -> Outcome:
    from steps.contracts.ledger import LedgerWriter

    with LedgerWriter(folder / "ledger.parquet", "read") as writer:
        ledger = writer.close()
    report = StageReport(
        stage="read", rows_in=dataset.rows, kept=dataset.rows, config_digest="", seconds=0, cpu_seconds=0
    )
    return Outcome(dataset, ledger, report)


def _write(outcome: Outcome, out: Path) -> list[Path]:
    """Put the results under their names; what an earlier run left under an optional name is removed."""
    from pipelines.report.page import render_stage_page

    for optional in ("quarantined.parquet", "rejects.jsonl", "verdicts.parquet"):
        (out / optional).unlink(missing_ok=True)
    outcome.rows.export_parquet(out / "kept.parquet")
    shutil.copyfile(outcome.ledger.path, out / "ledger.parquet")
    write_whole(out / "report.json", outcome.report.model_dump_json(indent=1))
    write_whole(out / "report.html", render_stage_page(outcome.report))
    written = [out / n for n in ("kept.parquet", "ledger.parquet", "report.json", "report.html")]
    if outcome.quarantined is not None and outcome.quarantined.rows:
        outcome.quarantined.export_parquet(out / "quarantined.parquet")
        written.append(out / "quarantined.parquet")
    for name in ("rejects", "verdicts"):
        file = outcome.artifacts.get(name)
        if file is not None and file.path.stat().st_size:
            written.append(Path(shutil.copyfile(file.path, out / file.path.name)))
    return written


def _tell(report: StageReport, written: list[Path], json_output: bool) -> None:
    if json_output:
        emit({"report": json.loads(report.model_dump_json()), "files": [str(p) for p in written]})
        return
    heading(f"{report.stage}: {report.rows_in + report.created:,} rows in, {report.kept:,} kept")
    rows: list[list[object]] = [[r.verdict, r.reason, r.rows] for r in reasons_of(report)]
    if report.changed:
        rows.append(["changed", "", report.changed])
    if report.undecided:
        rows.append(["undecided", "", report.undecided])
    if rows:
        show_table(["outcome", "reason", "rows"], rows, numeric=[2])
    for note in report.notes:
        say(f"note: {note}")
    speed = f", {report.rows_per_second:,.0f} rows/s" if report.rows_in else ""
    say(f"{report.seconds:.1f} s{speed}")
    for path in written:
        say(str(path))
