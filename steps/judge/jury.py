"""Several judges of the same rows as one: their scores combined, and how far they agree."""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import combinations
from types import TracebackType
from typing import Any, Self

from steps.contracts.digests import value_digest
from steps.contracts.reports import Table
from steps.engines.rubric.case import Case, Criterion, Score
from steps.judge.backend import AskingJudge, Judge, RepeatableJudge
from steps.judge.jury_config import JuryConfig
from steps.judge.verdict import JudgeVerdict

JURY = "jury"
# Chosen: scores are compared in steps of a twentieth of the share, as whole scores of four criteria have them.
_STEPS = 20


class Jury:
    """Judges that are asked about every row; a context manager that opens and closes them."""

    def __init__(self, config: JuryConfig, judges: Mapping[str, Judge]) -> None:
        self.config, self._judges = config, dict(judges)
        first = next(iter(judges.values()))
        self.criteria, self.rated = first.criteria, False
        self.digest = value_digest([JURY, config.by, config.least, *([n, j.digest] for n, j in judges.items())])
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for judge in self._judges.values():
                opened.enter_context(judge)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.__exit__(kind, error, tb)

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order."""
        return self.begin(cases)()

    def begin(self, cases: Sequence[Case]) -> Callable[[], list[JudgeVerdict]]:
        """The same, without waiting for those that wait for answers: all of them are asked at once."""
        waits = {
            name: judge.begin(cases) if isinstance(judge, AskingJudge) else partial(judge.verdicts, cases)
            for name, judge in self._judges.items()
        }
        return lambda: self._combined({name: wait() for name, wait in waits.items()}, len(cases))

    def asked_again(self, cases: Sequence[Case], occasion: str) -> list[JudgeVerdict]:
        """By those that may say something else then, and the others."""
        said = {
            name: judge.asked_again(cases, occasion) if isinstance(judge, RepeatableJudge) else judge.verdicts(cases)
            for name, judge in self._judges.items()
        }
        return self._combined(said, len(cases))

    @property
    def alone(self) -> Mapping[str, Judge]:
        """Each judge, by its name."""
        return self._judges

    @property
    def digests(self) -> dict[str, str]:
        """Of each judge."""
        return {name: judge.digest for name, judge in self._judges.items()}

    def _combined(self, said: Mapping[str, Sequence[JudgeVerdict]], cases: int) -> list[JudgeVerdict]:
        return [
            combined({name: verdicts[i] for name, verdicts in said.items()}, self.config, self.digest)
            for i in range(cases)
        ]

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """Of each case, whether all know it."""
        return [all(known) for known in zip(*(j.known(cases) for j in self._judges.values()), strict=True)]

    def share_of(self, case: Case, shares: int) -> int | None:
        """There are no shares."""
        return None

    def pass_over(self, rows: int) -> None:
        """Rows whose verdict is known."""
        for judge in self._judges.values():
            judge.pass_over(rows)

    def counts(self) -> dict[str, Counter[str]]:
        """What each counted."""
        return {f"{n}: {what}": by for n, judge in self._judges.items() for what, by in judge.counts().items()}

    def tables(self) -> tuple[Table, ...]:
        """What each shows."""
        return tuple(
            table.model_copy(update={"title": f"{table.title} ({name})"})
            for name, judge in self._judges.items()
            for table in judge.tables()
        )

    def notes(self) -> tuple[str, ...]:
        """How scores are combined, and who judged."""
        how = {"mean": "the mean", "median": "the median", "veto": "the lowest score"}[self.config.by]
        least, of = self.config.least, len(self._judges)
        said = f"A jury of {of}: per criterion {how} of those that decide, at least {least} of them."
        return (said, *(f"{name}: {note}" for name, judge in self._judges.items() for note in judge.notes()))

    def warnings(self) -> tuple[str, ...]:
        """What each warns of."""
        return tuple(f"{name}: {w}" for name, judge in self._judges.items() for w in judge.warnings())


def combined(said: Mapping[str, JudgeVerdict], config: JuryConfig, digest: str) -> JudgeVerdict:
    """The verdict that several come to. A row that needs no judge has the verdict that all of them give it."""
    first = next(iter(said.values()))
    if all(v.backend == "rule" for v in said.values()):
        return first
    decided = {name: v for name, v in said.items() if v.share is not None}
    members: dict[str, Any] = {n: dict(v.scores) if v.share is not None else str(v.error) for n, v in said.items()}
    known: dict[str, Any] = {
        "backend": JURY, "prompt_digest": digest, "members": members,
        "model": ", ".join(str(v.model) for v in said.values()),
        "prompt_tokens": _sum(v.prompt_tokens for v in said.values()),
        "completion_tokens": _sum(v.completion_tokens for v in said.values()),
        "cached": all(v.cached for v in said.values()),
        "raw_reply": next((v.raw_reply for v in said.values() if v.error and v.raw_reply), None),
    }  # fmt: skip
    if len(decided) < config.least:
        why = ", ".join(f"{n}: {v.error}" for n, v in said.items() if v.share is None)
        return JudgeVerdict(**known, error="no_quorum", error_detail=f"{len(decided)} of {len(said)} decided; {why}")
    scores: dict[Criterion, Score] = {
        c: round(_combined([float(v.scores[c]) for v in decided.values()], config.by), 4)
        for c in next(iter(decided.values())).scores
    }
    reasons = {c: " | ".join(f"{n}: {v.reasons[c]}" for n, v in decided.items() if v.reasons.get(c)) for c in scores}
    return JudgeVerdict(**known, scores=scores, reasons={c: r for c, r in reasons.items() if r})


def _combined(scores: list[float], by: str) -> float:
    if by == "veto":
        return min(scores)
    return statistics.fmean(scores) if by == "mean" else statistics.median(scores)


def _sum(counts: Any) -> int | None:
    there = [c for c in counts if c is not None]
    return sum(there) if there else None


class JurorsTally:
    """How far judges agree, counted row by row; memory is bounded."""

    def __init__(self, bar: Callable[[Mapping[Criterion, Score]], bool]) -> None:
        """bar: whether a judge alone would keep a row with these scores."""
        self._keeps = bar
        self._shares: dict[tuple[str, str], Counter[tuple[int, int]]] = {}
        self._same: Counter[tuple[str, str]] = Counter()
        self._of: dict[str, Counter[str]] = {}

    def add(self, members: Mapping[str, Mapping[Criterion, Score] | str]) -> None:
        """Count a row's judges."""
        decided = {name: scores for name, scores in members.items() if not isinstance(scores, str)}
        for name in members:
            what = "undecided" if name not in decided else "keeps" if self._keeps(decided[name]) else "drops"
            self._of.setdefault(name, Counter())[what] += 1
        for pair in combinations(decided, 2):
            one, other = (decided[name] for name in pair)
            self._shares.setdefault(pair, Counter())[_step(one), _step(other)] += 1
            self._same[pair] += self._keeps(one) == self._keeps(other)

    def tables(self) -> tuple[Table, ...]:
        """What each judge alone would do, and how far two of them agree; none where there was no jury."""
        if not self._of:
            return ()
        alone = [(n, by["keeps"], by["drops"], by["undecided"]) for n, by in self._of.items()]
        between = [
            (f"{a}, {b}", by.total(), round(self._same[a, b] / by.total(), 4), *_agreement(by))
            for (a, b), by in self._shares.items()
        ]
        columns = ("judges", "rows", "same decision", "weighted kappa", "rank correlation", "mean difference of shares")
        return (
            Table(title="Judges alone", columns=("judge", "keeps", "drops", "undecided"), rows=tuple(alone)),
            Table(title="Agreement of judges", columns=columns, rows=tuple(between)),
        )


def _step(scores: Mapping[Criterion, Score]) -> int:
    return round(sum(scores.values()) / len(scores) / 5 * _STEPS)


def _agreement(by: Counter[tuple[int, int]]) -> tuple[float | None, float | None, float]:
    """Quadratically weighted kappa, Spearman's rank correlation, mean difference of the shares (first less second)."""
    import numpy as np

    from steps.engines.scoring.agreement import Crossed, kappa, spearman

    first, second = (np.repeat([pair[i] for pair in by], list(by.values())) for i in (0, 1))
    scale = np.arange(_STEPS // 5, _STEPS + 1)
    table = Crossed.of(first, second, scale)
    found = [float(kappa("quadratic", table.first)(table.counts)), float(spearman(table.counts))]
    weighted, ranks = (None if np.isnan(f) else round(f, 4) for f in found)
    return weighted, ranks, round(float((first - second).mean()) / _STEPS, 4)
