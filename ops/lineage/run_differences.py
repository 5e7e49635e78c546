"""Two runs side by side, their rows aside: config, code, libraries, metrics and cost."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from materializers.artifacts import Artifacts, stage_of
from ops.run_index import artifacts_of, run_config
from steps.contracts.evaluation import Estimate, EvalReport
from steps.contracts.runs import RunRecord


@dataclass(frozen=True)
class Pair:
    """A value in both runs; None: absent there."""

    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class MetricPair:
    """A metric of a subject in both runs, each with its interval; None: not measured there.

    Attributes:
        alike: whether both are of the same rows, scored the same way.
    """

    subject: str
    task: str
    metric: str
    a: Estimate | None
    b: Estimate | None
    alike: bool


@dataclass(frozen=True)
class StagePair:
    """What a stage left and cost in both runs: rows that went on and CPU seconds; None: it isn't in that run.

    A stage that was taken from the cache has the cost of the run that made it.
    """

    stage: str
    rows_a: int | None
    rows_b: int | None
    cpu_a: float | None
    cpu_b: float | None


@dataclass(frozen=True)
class RunDifferences:
    """What differs between two runs.

    Attributes:
        config: settings by dotted path; only those that differ.
        commit: of the code, and `files`: Python files that differ between the commits, None where that isn't known.
        packages: versions; only those that differ, and none where a record doesn't say them.
        metrics: every one that was measured in either run.
        stages: every one of either run. cost: of the whole runs: seconds, CPU seconds, peak memory in MB.
    """

    config: list[Pair]
    commit: Pair
    files: list[str] | None
    packages: list[Pair]
    metrics: list[MetricPair]
    stages: list[StagePair]
    cost: list[Pair]


def differences_of(root: Path, a: RunRecord, b: RunRecord) -> RunDifferences:
    """What differs from run a to run b.

    Raises:
        InputNotFoundError, IntegrityError: a report or a config is gone or damaged. ServiceError: a store is down.
    """
    stores = artifacts_of(root, a), artifacts_of(root, b)
    return RunDifferences(
        config=list(_pairs(flat(a.config or run_config(root, a)), flat(b.config or run_config(root, b)))),
        commit=Pair("commit", a.commit, b.commit),
        files=_changed_files(root, a.commit, b.commit),
        packages=list(_pairs(a.packages, b.packages)) if a.packages and b.packages else [],
        metrics=_metrics(*stores),
        stages=_stages(*stores),
        cost=[Pair(name, getattr(a, name), getattr(b, name)) for name in ("seconds", "cpu_seconds", "peak_mb")],
    )


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted path; an empty group below another one is a value."""
    if not isinstance(value, Mapping | list | tuple) or not value:
        return {prefix: value} if prefix else {}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    return {k: v for name, one in items for k, v in flat(one, f"{prefix}.{name}" if prefix else str(name)).items()}


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Pair]:
    for name in sorted({*a, *b}):
        if a.get(name) != b.get(name):
            yield Pair(name, a.get(name), b.get(name))


def _changed_files(root: Path, a: str | None, b: str | None) -> list[str] | None:
    """Of two commits that this checkout has; what wasn't committed is in neither."""
    if a is None or b is None:
        return None
    commits = [c.removesuffix("+changes") for c in (a, b)]
    command = ["git", "-C", str(root), "diff", "--name-only", *commits, "--", "*.py"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def _metrics(a: Artifacts, b: Artifacts) -> list[MetricPair]:
    sides = [{key: found for r in _evaluations(s) for key, found in _estimates(r)} for s in (a, b)]
    pairs = []
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        of_a, of_b = (side.get(key) for side in sides)
        alike = of_a is not None and of_b is not None and of_a[1:] == of_b[1:]
        pairs.append(MetricPair(*key, of_a[0] if of_a else None, of_b[0] if of_b else None, alike))
    return pairs


def _evaluations(store: Artifacts) -> list[EvalReport]:
    return [store.value(a, EvalReport) for a in store.run.of_type("eval_report")]


def _estimates(report: EvalReport) -> Iterator[tuple[tuple[str, str, str], tuple[Estimate, str, str]]]:
    """By subject, task and metric: the estimate, and of what rows and which way of scoring it is."""
    for task in report.tasks:
        for metric in task.metrics:
            yield (report.subject, task.task, metric.name), (metric.estimate, task.data_digest, task.version)


def _stages(a: Artifacts, b: Artifacts) -> list[StagePair]:
    sides = [{stage_of(one): s.report(one) for one in s.run.of_type("stage_report")} for s in (a, b)]
    pairs = []
    for stage in dict.fromkeys([*sides[0], *sides[1]]):
        of_a, of_b = (side.get(stage) for side in sides)
        pairs.append(
            StagePair(
                stage,
                of_a.kept if of_a else None,
                of_b.kept if of_b else None,
                of_a.cpu_seconds if of_a else None,
                of_b.cpu_seconds if of_b else None,
            )
        )
    return pairs
