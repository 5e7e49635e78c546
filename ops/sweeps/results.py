"""What came of a sweep's trials: one line each in a file, so that a sweep that is interrupted goes on after them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from materializers.artifacts import stage_of
from ops.run_index import artifacts_of, find_run, known_runs
from ops.sweeps.statistics import Rows
from ops.sweeps.trials import Trial
from ops.watch.watched import watch_folder
from steps.contracts.errors import IntegrityError
from steps.contracts.reports import Frozen
from steps.contracts.storage import writing
from steps.train.watching.journal import SUFFIX, Watched, read_journal

_AFTER = "validation loss after"


class Result(Frozen):
    """A trial that is done. `loss`: its validation loss; None: it failed, and `error` says why.

    Attributes:
        key: of its values, by which it is known again.
        losses: nats and trained tokens of each validation row; () where the objective doesn't say them. rows: a digest
            of which rows these are; ids: what each is known by.
        trained_in: the run that trained, an earlier one where the cache answered.
        epochs: how often it has seen them; None: not known.
        trained: rows that it was trained on. seconds, cpu_seconds: of training.
    """

    key: str
    label: str
    values: dict[str, JsonValue]
    run: str | None = None
    loss: float | None = None
    losses: tuple[tuple[float, int], ...] = ()
    rows: str = ""
    ids: tuple[str, ...] = ()
    epochs: float | None = None
    trained_in: str = ""
    trained: int = 0
    steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""

    @property
    def per_row(self) -> Rows | None:
        """The losses row by row; None where there are none."""
        return Rows.of(self.losses, self.rows, self.ids) if self.losses else None


@dataclass(frozen=True)
class Log:
    """The file of a sweep's results."""

    path: Path

    def read(self) -> dict[str, Result]:
        """By key; of several of one trial the last. A line that was cut off by a kill is none."""
        found: dict[str, Result] = {}
        if self.path.is_file():
            for line in self.path.read_bytes().split(b"\n")[:-1]:
                result = Result.model_validate_json(line)
                found[result.key] = result
        return found

    def add(self, result: Result) -> None:
        """Behind the others, also where the last line is cut off."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            whole = not self.path.is_file() or self.path.read_bytes()[-1:] in (b"", b"\n")
            if not whole:
                self.path.write_bytes(self.path.read_bytes().rpartition(b"\n")[0] + b"\n")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(result.model_dump_json() + "\n")


def failed(trial: Trial, error: str) -> Result:
    """Of a trial without a loss."""
    return Result(key=trial.key, label=trial.label, values=dict(trial.values), error=error)


def result_of(root: Path, trial: Trial, run_name: str) -> Result:
    """What a run that is done says of a trial: by its last phase's report, row by row by its journal.

    Raises:
        IntegrityError: there is no validation loss in its report.
    """
    run = find_run(root, run_name)
    artifact = [a for a in run.of_type("stage_report") if stage_of(a).startswith("train")][-1]
    report = artifacts_of(root, run).report(artifact)
    outcome = {row[0]: row[1] for table in report.tables if table.title == "Outcome" for row in table.rows}
    loss = outcome.get(_AFTER)
    if not isinstance(loss, int | float):
        raise IntegrityError(
            "the run has no validation loss", where=run.name, hint="give the split stage a validation share"
        )
    trained_in = next((r.name for r in known_runs(root) if r.run_id == artifact.made_by), run.name)
    seen = _seen(root, trained_in, stage_of(artifact))
    validated = (seen.validated if seen else None) or {}
    epochs = [m["epoch"] for m in seen.metrics.values() if "epoch" in m] if seen else []
    return Result(
        key=trial.key, label=trial.label, values=dict(trial.values), run=run.name, loss=float(loss),
        losses=tuple((float(nats), int(n)) for nats, n in validated.get("losses", ())), rows=validated.get("rows", ""),
        ids=tuple(validated.get("ids", ())), epochs=max(epochs, default=None),
        trained_in=trained_in, trained=report.kept, steps=report.counts["training"]["optimizer steps"],
        seconds=report.seconds, cpu_seconds=report.cpu_seconds,
    )  # fmt: skip


def _seen(root: Path, trained_in: str, stage: str) -> Watched | None:
    """The journal of the run that trained; None: there is none here."""
    file = watch_folder(root) / trained_in / f"{stage}{SUFFIX}"
    return read_journal(file) if file.is_file() else None


def as_json(result: Result) -> dict[str, Any]:
    """Without the single rows."""
    found: dict[str, Any] = json.loads(result.model_dump_json(exclude={"losses", "ids"}))
    return found
