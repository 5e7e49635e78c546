"""How far the judge agrees with people, on rows that people labelled."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from steps.contracts.evaluation import Estimate
from steps.contracts.records import Row
from steps.contracts.reports import Frozen
from steps.engines.rubric.case import Case, case_of
from steps.engines.rubric.pairs import Compared as Both
from steps.engines.scoring import agreement
from steps.engines.scoring.cutoff import clopper_pearson, cutoff_for
from steps.engines.scoring.krippendorff import alpha_estimate, by_annotator
from steps.engines.scoring.wilson import wilson
from steps.judge.backend import Judge
from steps.judge.config import JudgeConfig
from steps.judge.deciding import decide
from steps.judge.gold import Gold, GoldRow
from steps.judge.verdict import MAX_SCORE, JudgeVerdict

# Chosen: of 50 rows the 95 % interval of a share is up to 28 points wide; of fewer nothing can be said.
FEW_ROWS = 50
# Chosen: with fewer rows of one kind AUROC, kappa and a threshold hang on single rows.
FEW_OF_A_KIND = 10
_OVERALL, _DECISION = "overall", "decision"
_HALF, _WHOLE = 0.5, 1.0
BOTH_ORDERS = "pairs, asked in both orders"


class Figure(Frozen):
    """One figure; None where it isn't defined on these rows (a rating that is always the same)."""

    name: str
    estimate: Estimate | None


class Compared(Frozen):
    """The judge and people on one thing: the scale as a whole, a criterion, keep or drop, pairs.

    Attributes:
        what: overall, decision, pairs, or a criterion.
        rows: labelled ones on which the judge has a verdict.
        values: that both gave: points of the scale, drop and keep, or the better answer. counts: how often people said
            the first and the judge the second.
    """

    what: str
    rows: int
    figures: tuple[Figure, ...]
    values: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()

    def figure(self, name: str) -> Estimate | None:
        """A figure by its name."""
        return next((f.estimate for f in self.figures if f.name == name), None)


class Threshold(Frozen):
    """The lowest `judge.threshold` that keeps rows of which the wanted share is good. exact: precision with the
    interval of Clopper and Pearson, which is never too narrow. sure: the interval's lower end reaches what is wanted.
    """

    threshold: float
    precision: Estimate
    exact: Estimate
    recall: Estimate
    sure: bool


class Calibration(Frozen):
    """What was found.

    Attributes:
        rows: that are labelled. undecided: of them without a verdict, by reason. missing: labels whose rows weren't
            found, or are other ones now. split: rows on which people are of two minds in equal parts, left out where
            the decision is compared.
        annotators: labelled rows of each.
        alpha: Krippendorff's alpha between annotators, by what was labelled.
        wanted: precision that a threshold was looked for with. lucky: the threshold by the figure itself. safe: that
            whose interval reaches it.
        judge: digest of the judge; current: its settings' threshold.
    """

    rows: int
    undecided: Mapping[str, int]
    missing: int = 0
    split: int = 0
    annotators: Mapping[str, int]
    alpha: tuple[Figure, ...] = ()
    compared: tuple[Compared, ...] = ()
    wanted: float = Field(ge=0, le=1)
    lucky: Threshold | None = None
    safe: Threshold | None = None
    judge: str = ""
    backend: str = ""
    current: float = 0.0
    warnings: tuple[str, ...] = ()

    def of(self, what: str) -> Compared | None:
        """What was found of one thing."""
        return next((c for c in self.compared if c.what == what), None)


def calibrate(gold: Gold, backend: Judge, config: JudgeConfig, wanted: float = 0.9) -> Calibration:
    """Judge the labelled rows and compare. Rows whose replies are cached cost nothing.

    Raises:
        ServiceError: the judge's server doesn't work.
    """
    cases = [case for row in gold.rows for case in _cases(row)]
    verdicts = iter(backend.verdicts(cases))
    judged = [(row, [next(verdicts) for _ in _cases(row)]) for row in gold.rows]
    undecided = Counter(v.error or "" for _, of in judged for v in of if v.share is None)
    decided = [(row, of) for row, of in judged if all(v.share is not None for v in of)]
    rated = [(row, of[0]) for row, of in decided if not _is_pair(row)]
    keeps = [(_keeps(row, config), verdict, row.row) for row, verdict in rated]
    clear = [(keep, verdict, row) for keep, verdict, row in keeps if keep is not None]
    compared = [*_scales(rated), *_decisions(clear, config), *_pairs(decided)]
    good, shares = [keep for keep, _, _ in clear], [v.share or 0.0 for _, v, _ in clear]
    lucky, safe = (_threshold(good, shares, wanted, sure=sure) for sure in (False, True))
    return Calibration(
        rows=len(gold.rows),
        undecided=dict(undecided),
        missing=len(gold.missing),
        split=sum(keep is None for keep, _, _ in keeps),
        annotators=dict(Counter(by for row in gold.rows for by in row.said)),
        alpha=_alphas(gold.rows),
        compared=tuple(compared),
        wanted=wanted,
        lucky=lucky,
        safe=safe,
        judge=backend.digest,
        backend=config.backend,
        current=config.threshold,
        warnings=tuple(_warnings(compared, good, safe, wanted)),
    )


def _is_pair(row: GoldRow) -> bool:
    return any(said.better is not None for said in row.said.values())


def _cases(row: GoldRow) -> list[Case]:
    """What is judged of a row; of a pair both answers, the chosen one first."""
    if not _is_pair(row):
        return [case_of(row.row)]
    return [case_of({**row.row, "chosen": row.row[side]}) for side in ("chosen", "rejected")]


def _median(values: Sequence[float]) -> float:
    """The lower of the two in the middle, so that it is on the scale."""
    return sorted(values)[(len(values) - 1) // 2]


def _keeps(row: GoldRow, config: JudgeConfig) -> bool | None:
    """What most people want to become of a row: their keep or drop, else whether their score reaches the threshold;
    None where as many want the one as the other, or nobody said.
    """
    votes = [_keep(said.keep, said.score, config) for said in row.said.values()]
    for_it, against = votes.count(True), votes.count(False)
    return None if for_it == against else for_it > against


def _keep(keep: bool | None, score: float | None, config: JudgeConfig) -> bool | None:
    if keep is not None or score is None:
        return keep
    return round(score / MAX_SCORE, 9) >= config.threshold


def _scales(rated: Sequence[tuple[GoldRow, JudgeVerdict]]) -> list[Compared]:
    """The judge's scores beside the median of people's, as a whole and by criterion."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for row, verdict in rated:
        overall = [s.score for s in row.said.values() if s.score is not None]
        if overall:
            pairs.setdefault(_OVERALL, []).append((_median(overall), (verdict.share or 0.0) * MAX_SCORE))
        for name in dict.fromkeys(c for s in row.said.values() for c in s.criteria):
            if name in verdict.scores:
                theirs = [s.criteria[name] for s in row.said.values() if name in s.criteria]
                pairs.setdefault(name, []).append((_median(theirs), float(verdict.scores[name])))
    return [_scale(name, of) for name, of in pairs.items()]


def _scale(name: str, pairs: Sequence[tuple[float, float]]) -> Compared:
    people, judge = (np.array(side) for side in zip(*pairs, strict=True))
    step = _HALF if np.any(people % 1) else _WHOLE
    # A half goes up; 1e-9 is what floating point leaves of a sum of scores.
    rounded = np.clip(np.floor(judge / step + 0.5 + 1e-9) * step, 1, MAX_SCORE)
    values = np.arange(1, MAX_SCORE + step / 2, step)
    square = agreement.Crossed.of(people, rounded, values)
    close = np.abs(values[:, None] - values[None, :]) <= 1
    within = wilson(round(float(square.counts[close].sum())), len(pairs))
    same = wilson(round(float(np.trace(square.counts))), len(pairs))
    exact = agreement.Crossed.of(people, np.round(judge, 9))
    ranks = [("Spearman's ρ", agreement.spearman), ("Kendall's τ-b", agreement.kendall)]
    figures = [
        Figure(name="agreement", estimate=same),
        Figure(name="within one point", estimate=within),
        *(Figure(name=f"{w} kappa", estimate=square.estimate(agreement.kappa(w, values), -1.0)) for w in _WEIGHTS),
        *(Figure(name=label, estimate=exact.estimate(of, -1.0)) for label, of in ranks),
    ]
    return Compared(
        what=name, rows=len(pairs), figures=tuple(figures), values=tuple(f"{v:g}" for v in values),
        counts=_counts(square),
    )  # fmt: skip


_WEIGHTS: tuple[Literal["linear", "quadratic"], ...] = ("linear", "quadratic")


def _decisions(clear: Sequence[tuple[bool, JudgeVerdict, Row]], config: JudgeConfig) -> list[Compared]:
    """Keep or drop, as the stage would decide of a train row."""
    if not clear:
        return []
    people = [float(keep) for keep, _, _ in clear]
    judge = [float(decide("train", verdict, config)[0] == "kept") for _, verdict, _ in clear]
    table = agreement.Crossed.of(people, judge, (0, 1))
    shares = agreement.Crossed.of(people, [round(v.share or 0.0, 9) for _, v, _ in clear])
    kept = [keep for (keep, _, _), said in zip(clear, judge, strict=True) if said]
    two = len(set(people)) == 2
    figures = (
        Figure(name="agreement", estimate=wilson(round(float(np.trace(table.counts))), len(clear))),
        Figure(name="kappa", estimate=table.estimate(agreement.kappa("none", np.array([0.0, 1.0])), -1.0)),
        Figure(name="AUROC", estimate=shares.estimate(agreement.auroc, 0.0) if two else None),
        Figure(name="precision", estimate=wilson(sum(kept), len(kept))),
        Figure(name="recall", estimate=wilson(sum(kept), round(sum(people)))),
    )
    values = ("drop", "keep")
    return [Compared(what=_DECISION, rows=len(clear), figures=figures, values=values, counts=_counts(table))]


def _pairs(decided: Sequence[tuple[GoldRow, list[JudgeVerdict]]]) -> list[Compared]:
    """Which of two answers is better: the share of pairs that the judge orders as people do, equal scores a tie."""
    people, judge = [], []
    for row, of in decided:
        better = _better(row)
        if better is None or len(of) != 2:
            continue
        people.append(better)
        judge.append(float(np.sign(round((of[0].share or 0.0) - (of[1].share or 0.0), 9))))
    return [_ordered("pairs", people, judge, ())] if people else []


def _better(row: GoldRow) -> float | None:
    """What most people say of a pair: 1 chosen, -1 rejected, 0 a tie; None: as many say one as another, or nobody."""
    votes = Counter(s.better for s in row.said.values() if s.better is not None)
    if not votes:
        return None
    (best, times), *others = votes.most_common()
    return None if others and others[0][1] == times else {"chosen": 1.0, "tie": 0.0, "rejected": -1.0}[best]


def labelled_pairs(gold: Gold) -> list[GoldRow]:
    """The pairs on which people are of one mind, or most of them."""
    return [row for row in gold.rows if _is_pair(row) and _better(row) is not None]


def with_both_orders(found: Calibration, rows: Sequence[GoldRow], said: Sequence[Both]) -> Calibration:
    """The calibration with what came of asking about pairs in both orders (`labelled_pairs`)."""
    both = [(row, one) for row, one in zip(rows, said, strict=True) if one.winner is not None]
    lost = Counter(f"{BOTH_ORDERS}: {one.error}" for one in said if one.winner is None)
    if not both:
        return found.model_copy(update={"undecided": {**found.undecided, **lost}})
    people = [_better(row) or 0.0 for row, _ in both]
    judge = [{"first": 1.0, "second": -1.0}.get(one.winner or "", 0.0) for _, one in both]
    flips = [one for _, one in both if one.how == "flip"]
    more = (
        Figure(name="flips: the same place in both orders", estimate=wilson(len(flips), len(both))),
        Figure(name="flips to the first place", estimate=wilson(sum(f.said[0] == "A" for f in flips), len(flips))),
    )
    compared = _ordered(BOTH_ORDERS, people, judge, more)
    return found.model_copy(
        update={
            "compared": (*found.compared, compared),
            "undecided": {**found.undecided, **lost},
            "warnings": (*found.warnings, *_warnings([compared], [], None, found.wanted)),
        }
    )


def _ordered(what: str, people: Sequence[float], judge: Sequence[float], more: Sequence[Figure]) -> Compared:
    """The better answer by people and by the judge: 1 chosen, 0 a tie, -1 rejected."""
    table = agreement.Crossed.of(people, judge, (-1, 0, 1))
    apart = [(p, j) for p, j in zip(people, judge, strict=True) if p]
    figures = (
        Figure(name="agreement", estimate=wilson(round(float(np.trace(table.counts))), len(people))),
        Figure(name="kappa", estimate=table.estimate(agreement.kappa("none", table.first), -1.0)),
        Figure(name="agreement without people's ties", estimate=wilson(sum(p == j for p, j in apart), len(apart))),
        Figure(name="judge's ties", estimate=wilson(sum(j == 0.0 for j in judge), len(judge))),
        *more,
    )
    values = ("rejected", "tie", "chosen")
    return Compared(what=what, rows=len(people), figures=figures, values=values, counts=_counts(table))


def _counts(table: agreement.Crossed) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(n) for n in row) for row in table.counts)


def _alphas(rows: Sequence[GoldRow]) -> tuple[Figure, ...]:
    """Between annotators; nothing where one person labelled."""
    overall = [{by: s.score for by, s in r.said.items() if s.score is not None} for r in rows]
    keeps = [{by: float(s.keep) for by, s in r.said.items() if s.keep is not None} for r in rows]
    better = [{by: float(_ORDER[s.better]) for by, s in r.said.items() if s.better is not None} for r in rows]
    names = sorted({c for r in rows for s in r.said.values() for c in s.criteria})
    scales = {_OVERALL: overall} | {n: [{b: s.criteria[n] for b, s in r.said.items() if n in s.criteria} for r in rows]
                                    for n in names}  # fmt: skip
    figures = []
    for what, level, ratings in (
        *((w, "ordinal", r) for w, r in scales.items()),
        (_DECISION, "nominal", keeps),
        ("pairs", "nominal", better),
    ):
        _, table = by_annotator(ratings)
        found = alpha_estimate(table, level) if table.shape[1] > 1 else None  # type: ignore[arg-type]
        if found is not None:
            figures.append(Figure(name=what, estimate=found))
    return tuple(figures)


_ORDER = {"chosen": 0, "rejected": 1, "tie": 2}


def _threshold(good: Sequence[bool], shares: Sequence[float], wanted: float, *, sure: bool) -> Threshold | None:
    found = cutoff_for(good, [round(s, 9) for s in shares], wanted, sure=sure)
    if found is None:
        return None
    hits = round(found.precision.value * found.precision.n)
    exact = clopper_pearson(hits, found.precision.n)
    return Threshold(
        threshold=found.threshold, precision=found.precision, exact=exact or found.precision, recall=found.recall,
        sure=found.sure,
    )  # fmt: skip


def _warnings(compared: Sequence[Compared], good: Sequence[bool], safe: Threshold | None, wanted: float) -> list[str]:
    said = [
        f"{c.what}: {c.rows} rows are too few to tell much (below {FEW_ROWS}); look at the intervals"
        for c in compared
        if c.rows < FEW_ROWS
    ]
    kept, dropped = sum(good), len(good) - sum(good)
    if good and min(kept, dropped) < FEW_OF_A_KIND:
        said.append(
            f"people keep {kept} and drop {dropped} rows: kappa, AUROC and the threshold hang on single rows below"
            f" {FEW_OF_A_KIND} of a kind"
        )
    if good and safe is None:
        said.append(
            f"no threshold is sure to keep rows of which {wanted:.0%} are good: label more rows, or ask for less"
        )
    return said
