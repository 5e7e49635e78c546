"""The report of the monitor: its checks, the course over the windows, and requests unlike all that was trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steps.contracts.arrays import Vectors
from steps.contracts.digests import value_digest
from steps.contracts.evaluation import Estimate
from steps.contracts.ledger import LedgerWriter
from steps.contracts.monitoring import MonitorCheck, Monitored
from steps.contracts.reports import Example, Series, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.engines.scoring.wilson import wilson
from steps.monitor.candidates import counts_of
from steps.monitor.config import MonitorConfig
from steps.monitor.statistics import counted, psi, quantile_interval
from steps.monitor.texts import Counter
from steps.monitor.training import Training
from steps.monitor.window import Window

# Chosen: what a person reads.
_EXAMPLES, _CHARACTERS = 5, 300


@dataclass(frozen=True)
class Seen:
    """All that was looked at. `training`, `vectors` (of each window): None and () where there was too little."""

    decision: Monitored
    windows: tuple[Window, ...]
    training: Training | None
    vectors: tuple[Vectors, ...]
    count: Counter


def report(
    seen: Seen, rows: int, created: int, lines: LedgerWriter, config: MonitorConfig, watch: Stopwatch
) -> StageReport:
    """Its counts: `rows` of the log, `created` candidates."""
    decision = seen.decision
    course = list(_course(seen))
    return StageReport(
        stage="monitor",
        rows_in=rows,
        created=created,
        kept=rows + created,
        flagged=lines.total("flagged"),
        flagged_by=dict(sorted(lines.counts["flagged"].items())),
        counts={
            "what people said of answers": counts_of(lines),
            "requests in the newest window": {
                "answered by this model": decision.requests,
                "answered by other weights": seen.windows[0].others if seen.windows else 0,
            },
        },
        series=tuple(_series(course)),
        tables=tuple(_tables(course)),
        examples=tuple(_unlike(seen)),
        warnings=tuple(f"{decision.verdict}: {said(c)}" for c in decision.alarms),
        notes=decision.notes,
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def said(check: MonitorCheck) -> str:
    """An alarm in a sentence."""
    if check.kind == "limit" and check.window is not None:
        return f"{check.name} {_share(check.window, check.unit)}, over the limit {check.floor:g}{check.unit}"
    where = ""
    if check.window is not None and check.training is not None:
        where = f", {_share(check.window)} beside {_share(check.training)} in training"
    return f"{check.name}: {check.measure} {check.effect:.3g}{where}, corrected p {check.adjusted:.2g}"


def _share(e: Estimate, unit: str = "") -> str:
    if unit:
        return f"{e.value:.3g} {unit} ({e.low:.3g} to {e.high:.3g})"
    return f"{e.value:.1%} ({e.low:.1%} to {e.high:.1%})"


@dataclass(frozen=True)
class _Point:
    """A window in the course."""

    window: Window
    lengths: float | None
    topics: float | None


def _course(seen: Seen) -> Iterator[_Point]:
    """The windows, the oldest first."""
    pairs = zip(seen.windows, seen.vectors or [None] * len(seen.windows), strict=True)
    for window, vectors in reversed(list(pairs)):
        training = seen.training
        if training is None or vectors is None or not window.said:
            yield _Point(window, None, None)
            continue
        then, now = (counted([seen.count(s.asked) for s in rows], training.asked_edges) for rows in
                     (training.compared, window.said))  # fmt: skip
        before, after = (training.topics.counts(v) for v in (training.vectors, vectors))
        yield _Point(window, psi(then, now), psi(before, after))


def _series(course: Sequence[_Point]) -> Iterator[Series]:
    for title, values in (
        ("length of requests", [(-p.window.number, p.lengths) for p in course]),
        ("topics", [(-p.window.number, p.topics) for p in course]),
    ):
        known = [(x, y) for x, y in values if y is not None]
        if len(known) > 1:
            yield Series(
                title=title, x_label="window, 0 the newest", y_label="PSI against the training data",
                x=tuple(float(x) for x, _ in known), y=tuple(round(y, 6) for _, y in known),
            )  # fmt: skip


def _tables(course: Sequence[_Point]) -> Iterator[Table]:
    rows: list[tuple[str | int | float | None, ...]] = []
    for point in reversed(course):
        w = point.window
        failed, answered = sum(r.failed for r in w.requests), sum(not r.failed for r in w.requests)
        shares = [(failed, len(w.requests)), (sum(r.cut for r in w.requests), answered)]
        p95 = quantile_interval(w.latencies, 0.95) if w.latencies else None
        rows.append((
            w.number, len(w.requests), w.others,
            *(None if v is None else round(v, 3) for v in (point.lengths, point.topics)),
            *("–" if (e := wilson(*s)) is None else _share(e) for s in shares),
            "–" if p95 is None else f"{p95[0]:.3g} s ({p95[1]:.3g} to {p95[2]:.3g})",
        ))  # fmt: skip
    columns = ("window", "requests", "by others", "PSI of lengths", "PSI of topics", "errors", "cut",
               "latency, 95th percentile")  # fmt: skip
    yield Table(title="Windows, the newest first", columns=columns, rows=tuple(rows))


def _unlike(seen: Seen) -> Iterator[Example]:
    """The requests of the newest window that are farthest from every topic of the training data; scrubbed."""
    if seen.training is None or not seen.vectors:
        return
    cosines = seen.training.topics.cosines(seen.vectors[0])
    rows = seen.windows[0].said
    order = sorted(range(len(rows)), key=lambda i: (float(cosines[i]), rows[i].record_id))
    for i in order[:_EXAMPLES]:
        text, evidence = rows[i].about[:_CHARACTERS], {"cosine with the nearest topic": round(float(cosines[i]), 3)}
        yield Example(record_id=rows[i].record_id, reason="unlike training", text=text, evidence=evidence)
