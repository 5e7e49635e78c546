"""What each stage of a run took out and cost: one table, for the terminal, for programs and for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from materializers.artifacts import Artifacts, stage_of
from steps.contracts.reports import StageReport


@dataclass(frozen=True)
class Reason:
    """How many rows met with a verdict for one reason."""

    verdict: str
    reason: str
    rows: int


@dataclass(frozen=True)
class StageCost:
    """One stage of a run.

    Attributes:
        rows_out: rows that went on; rows_in + created = rows_out + dropped + quarantined.
        seconds, cpu_seconds: wall clock, and user + system with workers, of the stage's logic.
        rows_per_second: rows read per wall-clock second; None where no rows or no time were counted.
        cached: the stage was taken over from an earlier run, and the figures are that run's.
    """

    stage: str
    rows_in: int
    created: int
    rows_out: int
    dropped: int
    quarantined: int
    changed: int
    flagged: int
    undecided: int
    reasons: tuple[Reason, ...]
    seconds: float
    cpu_seconds: float
    rows_per_second: float | None
    cached: bool


def run_costs(store: Artifacts) -> list[StageCost]:
    """The stages of a run in its order, from its stored reports."""
    return [stage_cost(store.report(a), stage_of(a), a.cached) for a in store.run.of_type("stage_report")]


def stage_cost(report: StageReport, name: str | None = None, cached: bool = False) -> StageCost:
    """A stage's line. `name` stands for the report's own where a run has the stage more than once."""
    measured = bool(report.rows_in and report.seconds)
    return StageCost(
        stage=name or report.stage,
        rows_in=report.rows_in,
        created=report.created,
        rows_out=report.kept,
        dropped=report.dropped,
        quarantined=report.quarantined,
        changed=report.changed,
        flagged=report.flagged,
        undecided=report.undecided,
        reasons=reasons_of(report),
        seconds=report.seconds,
        cpu_seconds=report.cpu_seconds,
        rows_per_second=report.rows_per_second if measured else None,
        cached=cached,
    )


def reasons_of(report: StageReport) -> tuple[Reason, ...]:
    """Why rows were dropped, quarantined and flagged: in this order, the most frequent reason first."""
    parts = (("dropped", report.dropped_by), ("quarantined", report.quarantined_by), ("flagged", report.flagged_by))
    return tuple(
        Reason(verdict, reason, rows)
        for verdict, by in parts
        for reason, rows in sorted(by.items(), key=lambda item: (-item[1], item[0]))
    )


def in_words(reasons: Sequence[Reason]) -> str:
    """'dropped: near 30,434, exact 192; quarantined: slur 1'."""
    verdicts = dict.fromkeys(r.verdict for r in reasons)
    parts = (f"{v}: " + ", ".join(f"{r.reason} {r.rows:,}" for r in reasons if r.verdict == v) for v in verdicts)
    return "; ".join(parts)
