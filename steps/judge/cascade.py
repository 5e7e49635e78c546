"""The judge decides about a sample; a small classifier, trained on its verdicts, about the rows that it is sure of.

What lies between goes to the judge as well.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError
from steps.contracts.reports import Table
from steps.engines.llm.egress import refuse_egress
from steps.engines.rubric.case import Case
from steps.judge.backend import AskingJudge, Judge
from steps.judge.cascade_config import CascadeConfig
from steps.judge.config import JudgeConfig
from steps.judge.deciding import decide
from steps.judge.sampled import sampled
from steps.judge.small_classifier import Embedded, Features, Learned, Ngrams, learn
from steps.judge.verdict import MAX_SCORE, JudgeVerdict

ESTIMATE = "estimate"
CLASSIFIER = "classifier"
# Chosen: with fewer kept or dropped rows in the sample there is nothing to learn.
_LEAST_OF_A_KIND = 20
_MIDDLE = 0.5
# As many as a share is compared with.
_DIGITS = 9
# Lowest score, as a share of the highest.
_LOWEST = 1 / MAX_SCORE


class CascadeJudge:
    """A judge and what was learned from it; a context manager that closes what it opened, and not the judge.

    A row of the sample has the judge's verdict, whatever the classifier makes of it.
    """

    def __init__(
        self,
        judge: Judge,
        config: JudgeConfig,
        learned: Learned,
        features: Features,
        judged: Mapping[str, bool],
        kinds: frozenset[str],
        opened: ExitStack,
    ) -> None:
        """judged: of rows of the sample, content id -> whether the judge keeps it; kinds: of rows that were among them,
        which alone the classifier decides about.
        """
        self._judge, self._config, self._learned, self._features = judge, config, learned, features
        self._sample, self._kinds, self._opened = judged, kinds, opened
        self._decided: Counter[str] = Counter()
        self.criteria, self.rated = (*judge.criteria, ESTIMATE), judge.rated
        assert config.cascade is not None
        band = [learned.band.drop, learned.band.keep]
        settings = config.cascade.model_dump(mode="json")
        self.digest = value_digest([CLASSIFIER, judge.digest, settings, band, self._bar, sorted(judged.items())])

    @property
    def _bar(self) -> float:
        """The share from which a row is kept, whatever the rule that it has to reach."""
        return max(self._config.threshold, self._config.min_criterion_score / MAX_SCORE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.close()

    def verdicts(self, cases: Sequence[Case]) -> list[JudgeVerdict]:
        """One verdict per case, in order."""
        return self.begin(cases)()

    def begin(self, cases: Sequence[Case]) -> Callable[[], list[JudgeVerdict]]:
        """The same, without waiting for the judge's answers where it is one that waits."""
        asked = [c.has_answer and c.kind in self._kinds and c.content_id not in self._sample for c in cases]
        p = np.full(len(cases), _MIDDLE)
        texts = [text_of_case(case) for case, ask in zip(cases, asked, strict=True) if ask]
        p[asked] = self._learned.probabilities(self._features, texts)
        sure = self._learned.band.decides(p) & np.array(asked, bool)
        rest = [case for case, s in zip(cases, sure, strict=True) if not s]
        judge = self._judge
        wait = judge.begin(rest) if isinstance(judge, AskingJudge) else partial(judge.verdicts, rest)

        def found() -> list[JudgeVerdict]:
            theirs = iter(wait())
            judge.pass_over(int(sure.sum()))
            verdicts = [self._estimated(float(p[i])) if s else next(theirs) for i, s in enumerate(sure)]
            self._decided.update(verdict.backend for verdict in verdicts)
            return verdicts

        return found

    def _estimated(self, p: float) -> JudgeVerdict:
        """A score in place of a probability: the threshold stands where both are equally likely."""
        bar = self._bar
        share = _LOWEST + (bar - _LOWEST) * p / _MIDDLE if p < _MIDDLE else bar + (1 - bar) * (p - _MIDDLE) / _MIDDLE
        reason = f"kept with a probability of {p:.3f}, as learned from the judge's verdicts"
        score = round(share * MAX_SCORE, _DIGITS)
        return JudgeVerdict(CLASSIFIER, self.digest, {ESTIMATE: score}, {ESTIMATE: reason}, model=self.digest[:12])

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """As the judge knows; there are no shares."""
        return self._judge.known(cases)

    def share_of(self, case: Case, shares: int) -> int | None:
        """As the judge says."""
        return self._judge.share_of(case, shares)

    def pass_over(self, rows: int) -> None:
        """Rows whose verdict is known."""
        self._judge.pass_over(rows)

    def counts(self) -> dict[str, Counter[str]]:
        """As the judge counts, and who decided about rows that were new in this run."""
        return {**self._judge.counts(), "decided by": self._decided}

    def tables(self) -> tuple[Table, ...]:
        """As the judge's, and what the classifier is worth."""
        return (*self._judge.tables(), cascade_table(self._learned, len(self._sample)))

    def notes(self) -> tuple[str, ...]:
        """As the judge's."""
        return self._judge.notes()

    def warnings(self) -> tuple[str, ...]:
        """As the judge's."""
        return self._judge.warnings()


def cascade_table(learned: Learned, sample: int) -> Table:
    """What the classifier is worth, by held-out rows."""
    e = learned.agreement
    rows: list[tuple[str | int | float | None, ...]] = [
        ("rows of the sample", sample, None, None),
        ("held-out rows it was sure of", learned.sure, None, None),
        ("of all held-out rows", round(learned.sure / max(learned.held_out, 1), 4), None, None),
        ("agreement with the judge on these", *((round(v, 4) for v in (e.value, e.low, e.high)) if e else (None,) * 3)),
        ("keeps from a probability of", learned.band.keep if learned.band.keep <= 1 else None, None, None),
        ("drops up to a probability of", learned.band.drop if learned.band.drop >= 0 else None, None, None),
    ]
    return Table(
        title="A small classifier in the judge's place", columns=("", "value", "low", "high"), rows=tuple(rows)
    )


def cascaded(rows: Dataset, judge: Judge, config: JudgeConfig, ctx: StageContext) -> CascadeJudge | None:
    """The judge with a classifier that learned from its verdicts on a sample; None where the settings want none, or the
    data isn't larger than the sample.

    Raises:
        ConfigError: the classifier doesn't decide as the judge does, or there is nothing to learn.
        ServiceError: the judge's server doesn't work.
    """
    wanted = config.cascade
    if wanted is None or rows.rows <= wanted.sample:
        return None
    endpoint = wanted.embed.endpoint if wanted.embed is not None else None
    refuse_egress((endpoint,), scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="judge.cascade.embed")
    sample = [case for case in sampled(rows, wanted.sample, wanted.seed) if case.has_answer]
    verdicts = judge.verdicts(sample)
    judged = [(c, decide("train", v, config)[0] == "kept") for c, v in zip(sample, verdicts, strict=True) if v.scores]
    kept = sum(keeps for _, keeps in judged)
    if min(kept, len(judged) - kept) < _LEAST_OF_A_KIND:
        raise ConfigError(
            f"of {len(judged)} judged rows of the sample {kept} are kept: nothing to learn from fewer than"
            f" {_LEAST_OF_A_KIND} of a kind", where="judge.cascade",
            hint="raise judge.cascade.sample, or leave judge.cascade out; what was judged isn't paid again",
        )  # fmt: skip
    opened = ExitStack()
    try:
        features: Features = Ngrams() if wanted.embed is None else Embedded(wanted.embed, ctx, opened)
        learned = learn(features, [text_of_case(c) for c, _ in judged], [k for _, k in judged], wanted.agreement)
        _require_floor(learned, wanted)
    except BaseException:
        opened.close()
        raise
    kinds = frozenset(case.kind for case, _ in judged)
    return CascadeJudge(judge, config, learned, features, {c.content_id: k for c, k in judged}, kinds, opened)


def _require_floor(learned: Learned, wanted: CascadeConfig) -> None:
    found = learned.agreement
    if found is not None and found.low >= wanted.floor:
        return
    shown = (
        "it is sure of none" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] of {found.n}"
    )
    raise ConfigError(
        f"the classifier doesn't decide as the judge does: held-out agreement {shown} rows; floor is {wanted.floor}",
        where="judge.cascade",
        hint="raise judge.cascade.sample or .agreement, name an embedding model in .embed, or leave judge.cascade out;"
        " what was judged isn't paid again",
    )


def text_of_case(case: Case) -> str:
    """What the classifier reads of a row: all that is said, with who says it."""
    if case.text is not None:
        return case.text
    return "\n".join(f"{m['role']}: {m['content']}" for m in case.messages)
