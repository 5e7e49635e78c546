"""A run at one glance: what went in, what came out, what was decided, and what a person has to do now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from materializers import wording
from pipelines.report.costs import StageCost, rows_through
from steps.contracts.evaluation import Decision, Registration
from steps.contracts.runs import RunRecord

# Chosen: failed checks that are named; the others are counted.
_NAMED = 3


@dataclass(frozen=True)
class Todo:
    """Something that waits for a person; `command`: what to type."""

    what: str
    command: str = ""


@dataclass(frozen=True)
class Glance:
    """Sentences for the head of the page; empty ones are left out.

    `decision` is (style class, words).
    """

    went_in: str
    came_out: str
    lost: str
    decision: tuple[str, str]
    because: str
    todo: tuple[Todo, ...]


def glance(
    record: RunRecord,
    costs: Sequence[StageCost],
    decision: Decision | None,
    registration: Registration | None,
    rows: int | None,
    sources: int,
) -> Glance:
    """`rows`: of the last dataset version, `sources`: that rows came from; None and 0 where there is none."""
    read, created = rows_through(costs)
    came_from = f" from {sources:,} source{'s' if sources > 1 else ''}" if sources else ""
    made = f", of which {created:,} were created" if created else ""
    return Glance(
        went_in=f"{read:,} rows{came_from}{made}" if costs else "",
        came_out="" if rows is None else f"{rows:,} rows",
        lost=_lost(costs),
        decision=_decision(decision, registration),
        because=_because(decision),
        todo=tuple(_todo(record, costs, decision)),
    )


def _lost(costs: Sequence[StageCost]) -> str:
    curation = [c for c in costs if not c.stage.startswith("train")]
    sums = {name: sum(getattr(c, name) for c in curation) for name in ("dropped", "quarantined", "changed", "flagged")}
    said = {"quarantined": "set aside"}
    return ", ".join(f"{n:,} {said.get(name, name)}" for name, n in sums.items() if n)


def _decision(decision: Decision | None, registration: Registration | None) -> tuple[str, str]:
    if decision is None:
        return "", ""
    name = "" if registration is None else f": {registration.name} version {registration.version}"
    return ("good", f"promoted{name}") if decision.promote else ("bad", f"not promoted{name}")


def _because(decision: Decision | None) -> str:
    if decision is None:
        return ""
    failed = [wording.in_words(r.check) for r in decision.reasons if not r.passed]
    if not failed:
        return f"all {len(decision.reasons)} checks passed"
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f"failed: {'; '.join(failed[:_NAMED])}{more}"


def _todo(record: RunRecord, costs: Sequence[StageCost], decision: Decision | None) -> Iterator[Todo]:
    aside = sum(c.quarantined for c in costs)
    undecided = sum(c.undecided for c in costs)
    if record.error or record.status in ("failed", "stopped", "interrupted"):
        yield Todo("see why the run stopped, below; what was done stays in the cache", "assay run CONFIG")
    if aside:
        yield Todo(f"decide on {aside:,} rows that were set aside", f"assay review {record.name}")
    if undecided:
        stages = ", ".join(c.stage for c in costs if c.undecided)
        yield Todo(f"look at {undecided:,} rows that nobody decided on ({stages})")
    if decision is not None and not decision.promote:
        yield Todo("read the checks that failed before this model is used")
