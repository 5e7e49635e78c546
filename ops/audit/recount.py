"""What can be computed again from what a run left: counts from ledgers, scores from answers, the gate's word."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow.parquet as pq
from pydantic import ValidationError

from materializers.artifacts import Artifacts, is_quarantine, stage_of
from ops.audit.findings import Finding, held
from ops.audit.trail import Trail, intact
from steps.contracts.digests import value_digest
from steps.contracts.errors import AssayError
from steps.contracts.evaluation import Comparison, Decision, EvalReport, Evaluation, TaskResult
from steps.contracts.ledger import Ledger
from steps.contracts.reports import StageReport
from steps.contracts.runs import RunRecord

if TYPE_CHECKING:
    # It computes by numpy, which an audit that isn't verified doesn't load.
    from steps.engines.scoring.answers import Answered

# verdict -> reason -> lines
Lines: TypeAlias = dict[str, dict[str, int]]
# Counts of a report that are the ledger's lines of that verdict. Which rows are undecided not every ledger says.
COUNTED = ("created", "dropped", "quarantined", "changed", "flagged")
_BY_REASON = ("dropped", "quarantined", "flagged")
# Relative: the same numbers summed in the same order.
_SAME = 1e-9


@dataclass(frozen=True)
class StageCount:
    """A stage: what it reported, and what its ledger says; None: it has none, or it is damaged."""

    stage: str
    report: StageReport
    lines: Lines | None

    @property
    def differences(self) -> list[str]:
        """Where the report says something else, in words."""
        if self.lines is None:
            return []
        said = []
        for verdict in COUNTED:
            reported, lines = getattr(self.report, verdict), sum(self.lines.get(verdict, {}).values())
            if reported != lines:
                said.append(f"{verdict}: reported {reported:,}, the ledger has {lines:,}")
        for verdict in _BY_REASON:
            by = getattr(self.report, f"{verdict}_by")
            said += [f"{verdict} by {r}: {by.get(r, 0):,}, {n:,}" for r, n in _unlike(by, self.lines.get(verdict, {}))]
        return said


def _unlike(reported: Mapping[str, int], lines: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    reasons = sorted(reported.keys() | lines.keys())
    return ((r, lines.get(r, 0)) for r in reasons if reported.get(r, 0) != lines.get(r, 0))


def stage_counts(store: Artifacts) -> list[StageCount]:
    """Every stage of a run, in order."""
    ledgers = {a.step: count_lines(ledger) for a, ledger in intact(store.ledger, store.run.of_type("ledger"))}
    reports = intact(store.report, store.run.of_type("stage_report"))
    return [StageCount(stage_of(a), report, ledgers.get(a.step)) for a, report in reports]


def count_lines(ledger: Ledger) -> Lines:
    """Lines of a ledger by verdict and reason."""
    table = pq.read_table(ledger.path, columns=["verdict", "reason"])
    found: Lines = {}
    for group in table.group_by(["verdict", "reason"]).aggregate([([], "count_all")]).to_pylist():
        found.setdefault(group["verdict"], {})[group["reason"]] = group["count_all"]
    return found


def check_counts(store: Artifacts) -> Iterator[Finding]:
    """Reports against ledgers, and against the rows of the versions that the stages made."""
    name = store.run.name
    counts = stage_counts(store)
    if not counts and store.run.of_type("stage_report"):
        yield Finding(f"reports of {name} count what the ledgers say", "not checked", "no report can be read")
        return
    wrong = [f"{c.stage}: {', '.join(c.differences)}" for c in counts if c.differences]
    known = [c for c in counts if c.lines is not None]
    yield held(f"reports of {name} count what the ledgers say", not wrong, "; ".join(wrong) or f"{len(known)} stages")
    unbalanced = [c.stage for c in counts if not _balances(c.report)]
    yield held(
        f"every row of {name} is accounted for", not unbalanced, ", ".join(unbalanced) or f"{len(counts)} stages"
    )
    rows = list(_row_differences(store, counts))
    yield held(f"versions of {name} have the rows that the reports say", not rows, "; ".join(rows) or "all")


def _balances(report: StageReport) -> bool:
    try:
        report.balanced()
    except AssertionError:
        return False
    return True


def _row_differences(store: Artifacts, counts: list[StageCount]) -> Iterator[str]:
    reports = {c.stage: c.report for c in counts}
    for artifact, manifest in intact(store.manifest, store.run.of_type("dataset")):
        report = reports.get(stage_of(artifact))
        if report is None:
            continue
        said = report.quarantined if is_quarantine(artifact) else report.kept
        if said != manifest.rows:
            yield f"{artifact.name}: reported {said:,}, it has {manifest.rows:,}"


def evaluations_of(trail: Trail) -> list[Evaluation]:
    """Reports with the answers that they were made from, of the subjects that have both whole."""
    answers = {a.step: found for a, found in intact(trail.store.answers, trail.run.of_type("answers"))}
    return [Evaluation(report, answers[a.step]) for a, report in trail.evaluations() if a.step in answers]


def check_scores(trail: Trail) -> Iterator[Finding]:
    """Every figure of an evaluation computed anew from the scores of its answers."""
    from steps.engines.scoring.answers import read_answers

    for evaluation in evaluations_of(trail):
        what = f"scores of {evaluation.report.subject} are those of its answers"
        rows = read_answers(evaluation.answers)
        wrong = [w for task in evaluation.report.tasks for w in _task_differences(task, rows.get(task.task, []))]
        figures = sum(len(t.metrics) for t in evaluation.report.tasks)
        yield held(what, not wrong, "; ".join(wrong) or f"{figures} figures, {evaluation.answers.rows:,} answers")


def check_grades(trail: Trail, root: Path) -> Iterator[Finding]:
    """The stored answers graded anew, by the recorded settings."""
    from steps.engines.scoring.answers import read_answers
    from steps.evaluate.config import EvaluateConfig
    from steps.evaluate.regrade import regraded

    if "evaluate" not in trail.run.config:
        return
    for evaluation in evaluations_of(trail):
        what = f"answers of {evaluation.report.subject} have the scores that their graders give"
        rows = read_answers(evaluation.answers)
        try:
            config = EvaluateConfig.model_validate(trail.run.config["evaluate"])
            found = [regraded(t, rows.get(t.task, []), config, root) for t in evaluation.report.tasks]
        except (AssayError, ValidationError) as e:
            yield Finding(what, "not checked", str(e).splitlines()[0])
            continue
        wrong = [w for one in found for w in one or ()]
        if not wrong and None in found:
            yield Finding(what, "not checked", "graded by another version of the graders")
        else:
            yield held(what, not wrong, "; ".join(wrong[:5]) or f"{evaluation.answers.rows:,} answers")


def _task_differences(task: TaskResult, rows: "Sequence[Answered]") -> Iterator[str]:
    from steps.engines.scoring.metrics import estimate

    if len(rows) != task.n:
        yield f"{task.task}: {len(rows):,} answers, {task.n:,} were reported"
        return
    scores = [row.scores for row in rows]
    for metric in task.metrics:
        found, said = estimate(metric.name, scores), metric.estimate
        same = found is not None and found.n == said.n and math.isclose(found.value, said.value, rel_tol=_SAME)
        if not same:
            yield f"{task.task} {metric.name}: reported {said.value:g}, computed {found.value if found else None}"


def check_gate(trail: Trail) -> Iterator[Finding]:
    """The comparison and the decision computed anew from the evaluations, under the recorded settings."""
    from steps.gate.config import GateConfig
    from steps.gate.gate import gate

    what = "the gate's word follows from the evaluations"
    decision = trail.decision
    if decision is None:
        return
    if "gate" not in trail.run.config:
        yield Finding(what, "unrecorded", "the record is of an older version and has no config")
        return
    evaluations = evaluations_of(trail)
    if len(evaluations) < len(trail.run.of_type("eval_report")):
        # Of each file that is gone or damaged that is said itself.
        yield Finding(what, "not checked", "an evaluation or its answers can't be read")
        return
    recorded = [c for _, c in intact(lambda a: trail.store.value(a, Comparison), trail.run.of_type("comparison"))]
    try:
        config = GateConfig.model_validate(trail.run.config["gate"])
        comparison, again = gate(_as_compared(evaluations, recorded), config, trail.run.sources)
    except (AssayError, ValidationError) as e:
        yield Finding(what, "differs", f"it can't be computed: {str(e).splitlines()[0]}")
        return
    wrong = [
        *(["the comparison"] if recorded and recorded[-1] != _of_its_time(comparison, recorded[-1]) else []),
        *_decision_differences(decision, again),
        # Of the recorded settings as they are: a later version knows more of them.
        *(["its settings"] if value_digest(trail.run.config["gate"]) != decision.config_digest else []),
    ]
    yield held(what, not wrong, ", ".join(wrong) or f"{len(again.reasons)} checks")


def _of_its_time(comparison: Comparison, recorded: Comparison) -> Comparison:
    """Without what the version that recorded the other one didn't write down yet."""
    if any(d.discordant is not None for d in recorded.differences):
        return comparison
    plain = tuple(d.model_copy(update={"discordant": None}) for d in comparison.differences)
    over = tuple(d.model_copy(update={"discordant": None}) for d in comparison.over_champion)
    return comparison.model_copy(update={"differences": plain, "over_champion": over, "over": {}})


def _as_compared(evaluations: list[Evaluation], recorded: list[Comparison]) -> list[Evaluation]:
    """In the order that the gate had them in, which is the config's: steps that wait for nobody may run in another."""
    names = [c.name for c in recorded[-1].candidates] if recorded else []
    order = {name: i for i, name in enumerate(names)}
    return sorted(evaluations, key=lambda e: order.get(e.report.subject, -1))


def _decision_differences(recorded: Decision, again: Decision) -> Iterator[str]:
    if recorded.promote != again.promote:
        yield f"promote is {recorded.promote}, computed {again.promote}"
    now = {r.check: r for r in again.reasons}
    yield from (r.check for r in recorded.reasons if now.get(r.check) != r)
    yield from (f"{check} isn't among its reasons" for check in now.keys() - {r.check for r in recorded.reasons})


def config_holds(run: RunRecord) -> Finding:
    """The resolved config in the record against its digest."""
    what = f"the recorded config of {run.name} has the recorded digest"
    if not run.config:
        return Finding(what, "unrecorded", "the record is of an older version")
    return held(what, value_digest(run.config) == run.config_digest, run.config_digest)


def evaluated_model(trail: Trail) -> Iterator[EvalReport]:
    """The evaluation of the subject that the gate judged; decisions of earlier versions name none: of the last one."""
    evals = [e for _, e in trail.evaluations()]
    name = trail.decision.candidate if trail.decision else ""
    yield from [e for e in evals if e.subject == name] or evals[-1:]
