"""Whether the judge may judge: it is held against labelled rows first, and where it doesn't agree that is all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, InputError
from steps.contracts.evaluation import Estimate
from steps.contracts.reports import StageReport, Table
from steps.engines.llm.egress import refuse_egress
from steps.engines.rows.by_id import rows_of
from steps.engines.rubric.case import Case, Criterion
from steps.judge.backend import Judge
from steps.judge.calibration import Calibration, Compared, calibrate
from steps.judge.calibration_config import CalibrationConfig
from steps.judge.config import JudgeConfig
from steps.judge.gold import read_gold
from steps.judge.verdict import JudgeVerdict

NOT_TRUSTED = "judge_not_trusted"
_RULE = "rule"


@dataclass(frozen=True)
class Trust:
    """How a run goes on: its judge and settings, what the test found, and what it lacks."""

    judge: Judge
    config: JudgeConfig
    found: Calibration | None = None
    lacking: tuple[str, ...] = ()

    def told(self, report: StageReport) -> StageReport:
        """The report with what was found."""
        return with_calibration(report, self.found, self.lacking) if self.found else report


def tested(rows: Dataset, config: JudgeConfig, judge: Judge, ctx: StageContext) -> Trust:
    """The judge after its test, if the settings want one; one that isn't trusted decides nothing.

    Raises:
        ConfigError: it agrees too little with people, and the settings say to refuse; or as `held_against`.
    """
    wanted = config.calibration
    if wanted is None:
        return Trust(judge, config)
    found, lacking = held_against(rows, config, wanted, judge, ctx)
    if not lacking:
        return Trust(judge, config, found)
    if wanted.below == "refuse":
        raise refusal(lacking, wanted)
    apart = config.model_copy(update={"undecided": "quarantine", "max_undecided_share": 1.0})
    return Trust(UntrustedJudge(judge), apart, found, lacking)


def held_against(
    rows: Dataset, config: JudgeConfig, wanted: CalibrationConfig, backend: Judge, ctx: StageContext
) -> tuple[Calibration, tuple[str, ...]]:
    """The calibration on the labelled rows, and what it lacks: a sentence for each figure below its minimum.

    Raises:
        InputError: the file of labels can't be used, or too few of its rows are there. ConfigError: its rows would
            leave the machine.
        ServiceError: the judge's server doesn't work.
    """
    gold = read_gold(ctx.root / wanted.gold, lambda ids: rows_of(rows, ids), scrubbed=ctx.scrubbed)
    refuse_egress(config.endpoints, scrubbed=gold.scrubbed, allowed=config.allow_raw_egress, where="judge.calibration")
    found = calibrate(gold, backend, config)
    judged = max((c.rows for c in found.compared), default=0)
    if judged < wanted.min_rows:
        lost = ", ".join(f"{n} {what}" for what, n in (("not found", found.missing), *found.undecided.items()) if n)
        raise InputError(
            f"{judged} labelled rows have a verdict, min_rows is {wanted.min_rows}{f' ({lost})' if lost else ''}",
            where=f"judge.calibration: {wanted.gold}", hint="label more rows: assay judge label",
        )  # fmt: skip
    return found, tuple(_lacking(found, wanted))


def refusal(lacking: Sequence[str], wanted: CalibrationConfig) -> ConfigError:
    """The error that ends the run."""
    return ConfigError(
        f"the judge doesn't agree with people as it must: {'; '.join(lacking)}; no other row was judged",
        where=f"judge.calibration: {wanted.gold}",
        hint="assay judge calibrate shows where it differs: change the rubric, the instructions or the model, or set"
        " judge.calibration.below: quarantine",
    )


def _lacking(found: Calibration, wanted: CalibrationConfig) -> list[str]:
    overall, decision = found.of("overall"), found.of("decision")
    scores = "quadratic kappa" if overall else "kappa"
    said = []
    for name, least, of, figure in (
        ("min_kappa", wanted.min_kappa, overall or decision, scores),
        ("min_agreement", wanted.min_agreement, decision, "agreement"),
        ("min_rank_correlation", wanted.min_rank_correlation, overall, "Spearman's ρ"),
        ("min_auroc", wanted.min_auroc, decision, "AUROC"),
    ):
        if least is None:
            continue
        estimate = of.figure(figure) if of else None
        reached = estimate is not None and (estimate.value if wanted.by == "figure" else estimate.low) >= least
        if not reached:
            said.append(f"{figure} {_shown(of, estimate)}, {name} is {least}")
    return said


def _shown(of: Compared | None, e: Estimate | None) -> str:
    if of is None or e is None:
        return "isn't defined on these labels"
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}] of {of.rows} rows"


def with_calibration(report: StageReport, found: Calibration, lacking: Sequence[str]) -> StageReport:
    """The report with what was found."""
    columns = ("compared", "rows", "figure", "value", "low", "high")
    lines = tuple(
        (c.what, c.rows, f.name, *(round(v, 4) for v in (f.estimate.value, f.estimate.low, f.estimate.high)))
        for c in found.compared
        for f in c.figures
        if f.estimate is not None
    )
    table = Table(title="The judge beside people's labels", columns=columns, rows=lines, chapter="agreement")
    said = tuple(f"The judge wasn't trusted, so that no row was judged: {why}." for why in lacking)
    warnings = (*report.warnings, *said, *(f"{w[:1].upper()}{w[1:]}." for w in found.warnings))
    return report.model_copy(update={"tables": (*report.tables, table), "warnings": warnings})


class UntrustedJudge:
    """In place of a judge that isn't trusted: every row is undecided, and nobody is asked."""

    rated = False

    def __init__(self, judge: Judge) -> None:
        self.criteria: tuple[Criterion, ...] = judge.criteria
        # Another one: what is known of rows from earlier runs counts for nothing either.
        self.digest = value_digest([NOT_TRUSTED, judge.digest])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """No verdict."""
        return [JudgeVerdict(_RULE, self.digest, error=NOT_TRUSTED) for _ in cases]

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """Nothing is."""
        return [True for _ in cases]

    def share_of(self, case: Case, shares: int) -> int | None:
        """Any may."""
        return None

    def pass_over(self, rows: int) -> None:
        """Nothing is shown."""

    def counts(self) -> dict[str, Counter[str]]:
        """Nothing."""
        return {}

    def tables(self) -> tuple[Table, ...]:
        """None."""
        return ()

    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def warnings(self) -> tuple[str, ...]:
        """None."""
        return ()
