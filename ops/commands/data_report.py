"""`assay data-report`: what is to be known of files before anybody trains on them, without ZenML."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from materializers.views import as_html
from ops.commands.stage import context_for, open_version, scratch_beside
from ops.console import emit, heading, say, show_table
from ops.reading import Reading, from_overrides
from pipelines.config import RunConfig
from pipelines.load import load_model
from pipelines.stages import imported, stage_named
from steps.contracts.context import StageContext
from steps.contracts.data_report import FEWEST, DataReport, Figure
from steps.contracts.dataset import Dataset
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.evaluation import Estimate
from steps.contracts.humanize import number
from steps.contracts.outcome import Outcome
from steps.contracts.storage import write_whole, writing

PAGE, VALUES = "data_report.html", "data_report.json"
# The stages that look at rows, in their order; each sees all of them.
_ON_ROWS, _ON_TEXTS = ("dedup", "scrub"), ("screen", "semantic", "judge", "leakcheck")


def run_data_report(
    inputs: list[str],
    against: list[str],
    out: Path,
    config_file: Path | None,
    overrides: list[str],
    json_output: bool,
    find_root: Callable[[], Path],
    reading: Reading,
) -> None:
    """Read the files, have every stage look at all rows, write page and values into `out`, and say the main things.

    Raises:
        ConfigError: a setting is wrong, or `out` holds something else. InputNotFoundError: an input doesn't exist.
    """
    missing = [i for i in (*inputs, *against) if "://" not in i and "*" not in i and not Path(i).exists()]
    if missing:
        raise InputNotFoundError("no such file or folder", where=", ".join(missing))
    config = _config(inputs, against, config_file, overrides, reading)
    _claim(out)
    with scratch_beside(out) as scratch:
        report = _look(inputs if not against else [], config, reading, scratch, find_root())
    with writing(out):
        write_whole(out / VALUES, report.model_dump_json(indent=1))
        write_whole(out / PAGE, as_html(report))
    _tell(report, out, json_output)


def _config(
    inputs: list[str], against: list[str], file: Path | None, overrides: list[str], reading: Reading
) -> RunConfig:
    """A run's settings, of which the sources are the inputs."""
    # Rows that can't be read are what the report tells; nothing is trained on what is left.
    ingest = Reading(reading.source, ["max_reject_share=1", *reading.keys]).config([*inputs, *against])
    second = tuple(s.name for s in ingest.sources[len(inputs) :])
    start: dict[str, Any] = {"name": "data-report", "pipeline": "data_report", "ingest": ingest, "scrub": {}}
    if file is not None:
        found: RunConfig = load_model(RunConfig, file, overrides)
        if not found.describes:
            raise ConfigError(f"pipeline: {found.pipeline} is no data_report", where=str(file))
        found = found.model_copy(update={"ingest": ingest, "dataset": None})
    else:
        found = from_overrides(RunConfig, overrides, "--set", RunConfig.model_validate(start))
    settings = found.data_report.model_copy(update={"against": second})
    return found.model_copy(update={"data_report": settings})


def _claim(out: Path) -> None:
    """Make the folder, or refuse it where a report would overwrite something else."""
    if out.exists() and not out.is_dir():
        raise ConfigError("this is a file; --out names a folder", where=str(out), hint="name another one")
    if (out / VALUES).exists() or (out / PAGE).exists():
        try:
            DataReport.model_validate_json((out / VALUES).read_bytes())
        except (ValidationError, OSError) as e:
            raise ConfigError(
                f"{VALUES} or {PAGE} here is no earlier report, which would be overwritten", where=str(out),
                hint="name another --out folder, or move these files away",
            ) from e  # fmt: skip
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)


def _look(inputs: list[str], config: RunConfig, reading: Reading, scratch: Path, root: Path) -> DataReport:
    """Every stage that the config asks for over all rows, and the report. `inputs`: () where they can only be files."""
    from steps.data_report.data_report import data_report
    from steps.data_report.found import Found

    scrubbed, done = config.runs("scrub"), dict[str, Outcome]()

    def context(name: str) -> StageContext:
        made = context_for(stage_named(name), getattr(config, name), scratch / name, root)
        return replace(made, scrubbed=scrubbed)

    def look(name: str, rows: Dataset | None) -> None:
        if config.runs(name):
            done[name] = imported(stage_named(name).logic)(rows, getattr(config, name), context(name))

    read = open_version(inputs, reading, scratch / "input") if inputs else None
    if read is None and config.ingest is not None:
        from steps.ingest.ingest import ingest

        # Paths of inputs start where the command is called.
        read = done["ingest"] = ingest(None, config.ingest, replace(context("ingest"), root=Path.cwd()))
    assert read is not None
    if config.scrub is not None:
        # A key that nobody keeps: the report shows no pseudonym, so that none need be the same again.
        os.environ.setdefault(config.scrub.key_env, secrets.token_hex(32))
    for name in _ON_ROWS:
        look(name, read.rows)
    texts = done["scrub"].rows if "scrub" in done else read.rows
    for name in _ON_TEXTS:
        look(name, texts)
    found = Found(
        {name: outcome.ledger for name, outcome in done.items()},
        done["judge"].artifacts["verdicts"].path if "judge" in done else None,
        done["ingest"].artifacts["rejects"].path if "ingest" in done else None,
    )
    made = data_report(read.rows, config.data_report, context("data_report"), texts=texts, found=found)
    report: DataReport = made.artifacts["data_report"]
    # Files that weren't read have no row to be counted by.
    unread = done["ingest"].report.notes if "ingest" in done else ()
    return report.model_copy(update={"notes": (*report.notes, *unread)})


def _tell(report: DataReport, out: Path, json_output: bool) -> None:
    """The figures in a table, and whether the rows are enough."""
    files = [str(out / PAGE), str(out / VALUES)]
    if json_output:
        emit({"report": json.loads(report.model_dump_json()), "files": files})
        return
    heading("; ".join(f"{name}: {rows:,} rows" for name, rows in zip(report.sets, report.rows, strict=True)))
    two = len(report.sets) == 2
    columns = ["", *(report.sets if two else ["value"]), *(["difference"] if two else [])]
    rows = [
        [f"{f.chapter}: {f.name}", *(_value(f, v) for v in f.values), *([_difference(f)] if two else [])]
        for f in report.figures
    ]
    show_table(columns, rows)
    for table in report.tables.get("format", ()):
        heading(table.title)
        show_table(table.columns, table.rows)
    asked = [g for g in report.goals if g.asked] or report.goals
    for goal in asked:
        each = ", ".join(f"{rows:,} rows: {verdict}" for rows, verdict in zip(goal.rows, goal.verdicts, strict=True))
        say(f"{goal.teaches}: {each} (the rule: {goal.rule})")
    for why in report.left_out:
        say(f"not looked at: {why}")
    for note in report.notes:
        say(f"note: {note}")
    for file in files:
        say(file)


def _value(figure: Figure, value: Estimate | None) -> str:
    if value is None:
        return "–"
    one, low, high = (_shown(figure, v) for v in (value.value, value.low, value.high))
    interval = f" ({low} to {high})" if figure.kind == "share" or value.n >= FEWEST else ""
    return f"{one}{interval}{f' {figure.unit}' if figure.unit else ''}"


def _difference(figure: Figure) -> str:
    d = figure.difference
    return "–" if d is None else f"{_shown(figure, d.value)} ({_shown(figure, d.low)} to {_shown(figure, d.high)})"


def _shown(figure: Figure, value: float) -> str:
    return f"{100 * value:.1f} %" if figure.kind == "share" else number(value)
