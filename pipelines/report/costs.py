"""What each stage of a run took out and cost: one table, for the terminal, for programs and for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from materializers.artifacts import Artifacts, going_on, stage_of
from steps.contracts.dataset import Manifest
from steps.contracts.evaluation import EvalReport
from steps.contracts.models import BASE, ModelInfo
from steps.contracts.reports import StageReport
from steps.contracts.runs import ArtifactRecord

NOT_READ = "not read"
_TRAIN = "train"


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
        rows_in: rows that were read, without the ones that the stage created of them (chunks of documents).
        rows_out: rows that went on; rows_in + created = rows_out + dropped + quarantined.
        reasons: also, of training, why rows of the version before were not read.
        seconds, cpu_seconds: wall clock, and user + system with workers, of the stage's logic.
        rows_per_second: rows read per wall-clock second; None where no rows or no time were counted.
        cached: the stage was taken over from an earlier run, and the figures are that run's.
        warnings: what the stage's report says that a person should look at.
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
    warnings: tuple[str, ...] = ()


def run_costs(store: Artifacts) -> list[StageCost]:
    """The stages of a run in its order, from its stored reports; a base that was made here comes before training."""
    versions = [store.manifest(a) for a in going_on(store.run)[-1:]]
    costs = [_of_stage(store, a, versions) for a in store.run.of_type("stage_report")]
    bases = [a for a in store.run.of_type("model") if stage_of(a) == BASE]
    made = [model_cost(store.model(a), a.cached) for a in bases]
    trained = [c for c in costs if c.stage.startswith(_TRAIN)]
    return [*costs[: len(costs) - len(trained)], *(c for c in made if c.seconds), *trained]


def evaluation_costs(store: Artifacts) -> list[StageCost]:
    """The evaluations of a run, one line per subject."""
    return [evaluation_cost(store.value(a, EvalReport), a.cached) for a in store.run.of_type("eval_report")]


def _of_stage(store: Artifacts, artifact: ArtifactRecord, versions: Sequence[Manifest]) -> StageCost:
    report, name = store.report(artifact), stage_of(artifact)
    cost = stage_cost(report, name, artifact.cached)
    if not name.startswith(_TRAIN):
        return cost
    return replace(cost, reasons=(*not_read(report, [v.splits for v in versions]), *cost.reasons))


def not_read(report: StageReport, splits: Sequence[Mapping[str, int]]) -> tuple[Reason, ...]:
    """Why training read fewer rows than the last version has: those of other splits, and what its phase leaves out.

    `splits`: rows per split of that version; empty where the run didn't make it.
    """
    if not splits or _TRAIN not in splits[0]:
        return ()
    found = [Reason(NOT_READ, f"{s or 'no'} split", n) for s, n in splits[0].items() if s != _TRAIN and n]
    others = splits[0][_TRAIN] - report.rows_in
    return (*found, *([Reason(NOT_READ, "other sources or kinds than the phase takes", others)] if others > 0 else []))


def evaluation_cost(report: EvalReport, cached: bool = False) -> StageCost:
    """A subject's line: rows of all tasks, controls included."""
    rows = sum(t.n for t in report.tasks)
    return _reading(f"evaluate {report.subject}", rows, report.seconds, report.cpu_seconds, cached)


def model_cost(base: ModelInfo, cached: bool = False) -> StageCost:
    """The line of a base model that was made here: it reads no rows of the run."""
    return _reading(BASE, 0, base.seconds, base.cpu_seconds, cached)


def _reading(stage: str, rows: int, seconds: float, cpu_seconds: float, cached: bool) -> StageCost:
    """The line of what reads rows and takes none out."""
    return StageCost(
        stage=stage,
        rows_in=rows,
        created=0,
        rows_out=rows,
        dropped=0,
        quarantined=0,
        changed=0,
        flagged=0,
        undecided=0,
        reasons=(),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        rows_per_second=rows / seconds if rows and seconds else None,
        cached=cached,
    )


def together(costs: Sequence[StageCost]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of what this run computed itself."""
    own = [c for c in costs if not c.cached]
    return sum(c.seconds for c in own), sum(c.cpu_seconds for c in own)


def rows_through(costs: Sequence[StageCost]) -> tuple[int, int]:
    """(rows read from the sources, rows created of them) of a run that begins with its sources."""
    curation = [c for c in costs if not c.stage.startswith((_TRAIN, "evaluate "))]
    return (curation[0].rows_in if curation else 0), sum(c.created for c in curation)


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
        warnings=report.warnings,
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
    """'dropped: near 30,434, exact 192; quarantined: slur 1; not read: test split 476'."""
    verdicts = dict.fromkeys(r.verdict for r in reasons)
    parts = (f"{v}: " + ", ".join(f"{r.reason} {r.rows:,}" for r in reasons if r.verdict == v) for v in verdicts)
    return "; ".join(parts)
