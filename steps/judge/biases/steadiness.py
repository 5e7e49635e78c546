"""What is asked of a judge beside the rows: some of them once more, the probe rows, and rows that say nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.reports import StageReport, Table
from steps.engines.embed.cache import READ
from steps.engines.llm.account import new_id
from steps.engines.rubric.case import Case, Criterion, Score
from steps.judge.backend import Judge, RepeatableJudge
from steps.judge.biases.biases import models_of
from steps.judge.biases.drift import FEWEST, Shift, drift_table, drift_warnings, probed, shift
from steps.judge.biases.empty_rows import asked_about_nothing, empty_notes, empty_tables, empty_warnings
from steps.judge.biases.probe_log import FILE, ProbeLog
from steps.judge.biases.probe_rows import probe_cases
from steps.judge.biases.repeats import Repeats, Said, said_by
from steps.judge.config import JudgeConfig
from steps.judge.jury import Jury
from steps.judge.jury_config import FIRST
from steps.judge.sampled import sampled
from steps.judge.verdict import JudgeVerdict

_NOT_THE_MODEL = frozenset({"rule", "classifier"})
_AGAIN = "again"


@dataclass
class FirstVerdicts:
    """The verdicts on the rows that will be asked about once more, as they come."""

    cases: Mapping[str, Case] = field(default_factory=dict)
    found: dict[str, JudgeVerdict] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Dataset, config: JudgeConfig) -> "FirstVerdicts":
        """Waiting for as many rows as the settings want."""
        wanted = config.checks.repeats if config.endpoints else 0
        seed = config.cascade.seed if config.cascade is not None else 0
        return cls({case.content_id: case for case in sampled(rows, wanted, seed)} if wanted else {})

    def see(self, content_id: str, verdict: JudgeVerdict) -> None:
        """Keep a verdict that is wanted, and that a model gave."""
        if content_id in self.cases and verdict.backend not in _NOT_THE_MODEL:
            self.found.setdefault(content_id, verdict)


@dataclass(frozen=True)
class Steadiness:
    """What was found, for the report."""

    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def told(self, report: StageReport) -> StageReport:
        """The report with it."""
        return report.model_copy(
            update={
                "tables": (*report.tables, *self.tables),
                "warnings": (*report.warnings, *self.warnings),
                "notes": (*report.notes, *self.notes),
            }
        )


def steadiness(
    judge: Judge, config: JudgeConfig, first: FirstVerdicts, rows: Dataset,
    scores: Mapping[Criterion, Counter[Score]], ctx: StageContext,
) -> Steadiness:  # fmt: skip
    """Ask once more, ask about the probes and about rows that say nothing. `judge`: what the settings name, without a
    cascade; `scores`: the run's rows by criterion and score.

    Raises:
        ServiceError: the judge's server doesn't work.
    """
    repeats, shifts = _repeats(judge, config, first), list[Shift]()
    count = _wanted_probes(judge, config)
    notes: tuple[str, ...] = ()
    if count:
        shifts, notes = _probes(judge, config, count, ctx)
    judges = judge.alone if isinstance(judge, Jury) else {FIRST: judge}
    empty = asked_about_nothing(judges, models_of(config), config, rows)
    again = (repeats.tables(), repeats.warnings()) if repeats else ((), ())
    return Steadiness(
        (*again[0], *drift_table(shifts), *empty_tables(empty, scores)),
        (*again[1], *drift_warnings(shifts, config.checks.max_drift), *empty_warnings(empty)),
        (*notes, *empty_notes(empty)),
    )


def _wanted_probes(judge: Judge, config: JudgeConfig) -> int:
    """How many; by itself no model is loaded for them alone."""
    if config.backend not in ("llm", "local"):
        return 0
    if config.checks.probes is None and not any(by[READ] for by in judge.counts().values()):
        return 0
    return config.checks.probes_of(paid=bool(config.endpoints))


def _repeats(judge: Judge, config: JudgeConfig, first: FirstVerdicts) -> Repeats | None:
    """A local model says the same again, bit by bit, so that only those behind endpoints are compared."""
    if not first.found or not isinstance(judge, RepeatableJudge):
        return None
    models = models_of(config)
    asked = {name: models[name] for name, alone in config.of_jury().items() if alone.endpoint is not None}
    repeats = Repeats(config, asked)
    then = judge.asked_again([first.cases[c] for c in first.found], _AGAIN)
    for earlier, later in zip(first.found.values(), then, strict=True):
        repeats.add(said_by(earlier, list(models)), said_by(later, list(models)))
    return repeats


def _probes(judge: Judge, config: JudgeConfig, count: int, ctx: StageContext) -> tuple[list[Shift], tuple[str, ...]]:
    occasion = ctx.run or new_id()
    cases = probe_cases("conversation", count)
    verdicts = _asked(judge, cases, occasion)
    if all(v.error == "kind_not_rated" for v in verdicts):
        cases = probe_cases("document", count)
        verdicts = _asked(judge, cases, occasion)
    models = models_of(config)
    said: list[Mapping[str, Said]] = [said_by(v, list(models)) for v in verdicts]
    digests = judge.digests if isinstance(judge, Jury) else {FIRST: judge.digest}
    shifts, begun = [], False
    with ProbeLog((ctx.cache or ctx.folder) / FILE) as log:
        for name, alone in config.of_jury().items():
            now = probed(name, alone, occasion, digests[name], cases, said, judge.criteria)
            earlier = log.earlier(now)
            shifts += [s for before in earlier if (s := shift(now, before, alone)) is not None]
            if len(now.by_probe) >= FEWEST:
                begun |= not earlier
                log.keep(now)
    decided = sum(v.share is not None for v in verdicts)
    notes = [f"Of {count} probe rows {decided} have a verdict."] if decided < count else []
    if begun:
        notes.append("The probe rows were judged for the first time: the next run is compared with this one.")
    return shifts, tuple(notes)


def _asked(judge: Judge, cases: Sequence[Case], occasion: str) -> list[JudgeVerdict]:
    if isinstance(judge, RepeatableJudge):
        return judge.asked_again(cases, value_digest(["probe", occasion]))
    return judge.verdicts(cases)
