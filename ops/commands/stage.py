"""`assay stage`: one curation stage alone, on files, without ZenML."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ops.console import emit, heading, say, show_table
from ops.reading import AS_IT_IS, Reading, from_overrides
from ops.rejected_rows import say_rejected
from ops.stage_results import claim, put
from pipelines.report.costs import reasons_of
from pipelines.stages import CURATION, Stage, imported
from steps.contracts.context import StageContext
from steps.contracts.dataset import NO_SPLIT, Dataset, DatasetWriter, SplitCodes
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.execution import Executor, Inline
from steps.contracts.locks import OwnFolder, remove_left
from steps.contracts.outcome import Outcome
from steps.contracts.records import COMMON_COLUMNS, SPLITS, current
from steps.contracts.reports import StageReport, rows_of


def run_stage(
    name: str,
    inputs: list[str],
    out: Path,
    config_file: Path | None,
    overrides: list[str],
    json_output: bool,
    find_root: Callable[[], Path],
    workers: int | None = None,
    reading: Reading = AS_IT_IS,
) -> None:
    """Read the inputs, run the stage, write its results into `out` and say what happened.

    Raises:
        ConfigError: no such stage, or a setting is wrong, or `reading` reaches no file that is ingested.
        InputNotFoundError: an input doesn't exist.
    """
    stage = _curation_stage(name)
    missing = [i for i in inputs if "://" not in i and "*" not in i and not Path(i).exists()]
    if missing:
        raise InputNotFoundError("no such file or folder", where=", ".join(missing))
    if stage.name == "ingest":
        overrides = [*overrides, *reading.keys]
        reading = replace(reading, keys=overrides)
    config = _config(stage, config_file, overrides)
    if stage.name == "ingest" and config is not None:
        _check_sources(config, inputs, reading)
    read = partial(_read, inputs, reading)
    claim(out, stage.name, inputs)
    with scratch_beside(out) as scratch:
        with _keeping_rejects(scratch, out):
            outcome, was_read = _run(stage, read, config, scratch, find_root, _executor(workers))
        written = put(outcome, out, scratch)
    _tell(outcome.report, was_read, written, json_output)


def _check_sources(config: Any, inputs: list[str], reading: Reading) -> None:
    """What --config reads is what its sources say: nothing on the command line may be passed over in silence."""
    if reading.source:
        raise ConfigError("the sources of --config say themselves how they are read", where=reading.options)
    named = [s.path for s in config.sources]
    others = [i for i in inputs if i not in named]
    if others:
        raise ConfigError(
            "none of the sources of --config, which alone are read", where=", ".join(others),
            hint=f"add it to `sources`, or name those: {', '.join(str(n) for n in named[:8])}; without --config every"
            " INPUT is a source",
        )  # fmt: skip


def _curation_stage(name: str) -> Stage:
    found = next((s for s in CURATION if s.name == name), None)
    if found is None:
        raise ConfigError(f"no stage {name!r}", hint="one of " + ", ".join(s.name for s in CURATION))
    return found


def _config(stage: Stage, file: Path | None, overrides: list[str]) -> Any:
    """The stage's config; None for ingest without a file (the inputs are then its sources)."""
    from pipelines.load import load_model

    if file is not None:
        return load_model(stage.settings, file, overrides)
    if stage.name == "ingest":
        return None
    return from_overrides(stage.settings, overrides, f"{stage.name} config")


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
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
    stage: Stage,
    read_inputs: Callable[[Path], Outcome],
    config: Any,
    scratch: Path,
    find_root: Callable[[], Path],
    executor: Executor,
) -> tuple[Outcome, StageReport]:
    """The stage's outcome, with the rejects of the files that its rows were read from; and the report of reading."""
    if stage.name == "ingest" and config is not None:
        done = _call(stage, None, config, scratch, find_root, executor)
        return done, done.report
    read = read_inputs(scratch / "input")
    if stage.name == "ingest":
        return read, read.report
    done = _call(stage, read.rows, config, scratch, find_root, executor)
    return replace(done, artifacts={**read.artifacts, **done.artifacts}), read.report


def _call(
    stage: Stage,
    rows: Dataset | None,
    config: Any,
    scratch: Path,
    find_root: Callable[[], Path],
    executor: Executor,
) -> Outcome:
    # Whether files were scrubbed can't be known: a config that sends them elsewhere must say allow_raw_egress.
    ctx = replace(context_for(stage, config, scratch / "version", find_root()), executor=executor)
    outcome: Outcome = imported(stage.logic)(rows, config, ctx)
    return outcome


def context_for(stage: Stage, config: Any, folder: Path, root: Path) -> StageContext:
    """What a stage with these settings is given where there is no ZenML."""
    from steps.contracts.storage import STATE_URI
    from steps.zenml_runtime.state import use_state
    from steps.zenml_runtime.tombstones import own_tombstones
    from steps.zenml_runtime.urls import with_urls

    state = use_state(os.environ.get(STATE_URI, ""), root)
    cache = state / stage.cache if stage.cache else None
    return StageContext(
        folder, with_urls(stage.named(config), root), cache, one_shard=True, tombstones=own_tombstones()
    )


def _read(inputs: list[str], reading: Reading, folder: Path) -> Outcome:
    """A dataset version or an earlier stage's Parquet file keeps its ids and splits; the rest is ingested.

    Relative paths of inputs start at the working folder.
    """
    if (read := open_version(inputs, reading, folder)) is not None:
        return read
    from steps.ingest.ingest import ingest
    from steps.zenml_runtime.tombstones import own_tombstones

    ctx = StageContext(folder, Path.cwd(), one_shard=True, tombstones=own_tombstones())
    return ingest(None, reading.config(inputs), ctx)


def open_version(inputs: list[str], reading: Reading, folder: Path) -> Outcome | None:
    """The rows of the only input, where that is a dataset version or a stage's Parquet file; None where it isn't.

    Raises:
        ConfigError: `reading` says something, which reaches no such rows.
    """
    one = Path(inputs[0]) if len(inputs) == 1 else None
    if one is None or not ((one / "manifest.json").is_file() or _is_ours(one)):
        return None
    if reading.options:
        what = "rows that a stage has written are taken as they are, so that no key of ingest reaches them"
        hint = f"leave {reading.options} out, or name the files that they came from"
        raise ConfigError(what, where=str(one), hint=hint)
    return _as_read(Dataset.open(one) if one.is_dir() else _open_rows(one, folder), folder)


def _is_ours(path: Path) -> bool:
    if path.suffix != ".parquet" or not path.is_file():
        return False
    # One that can't be read is ingest's to name.
    with suppress(pa.ArrowException, OSError):
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


def _tell(report: StageReport, was_read: StageReport, written: list[Path], json_output: bool) -> None:
    if json_output:
        emit({"report": json.loads(report.model_dump_json()), "files": [str(p) for p in written]})
        return
    heading(f"{report.stage}: {rows_of(report)}")
    rows: list[list[object]] = [[r.verdict, r.reason, r.rows] for r in reasons_of(report)]
    if report.changed:
        rows.append(["changed", "", report.changed])
    if report.undecided:
        rows.append(["undecided", "", report.undecided])
    if rows:
        show_table(["outcome", "reason", "rows"], rows, numeric=[2])
    say_rejected(was_read)
    for warning in report.warnings:
        say(f"warning: {warning}")
    for note in dict.fromkeys((*was_read.notes, *report.notes)):
        say(f"note: {note}")
    speed = f", {report.rows_per_second:,.0f} rows/s" if report.rows_in else ""
    say(f"{report.seconds:.1f} s{speed}")
    for path in written:
        say(str(path))
