"""Everything that a window is looked at for: tests against the training data, shares and times against limits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from steps.contracts.arrays import Numbers, Vectors
from steps.contracts.evaluation import Estimate
from steps.contracts.monitoring import Kind, MonitorCheck
from steps.engines.graders.degeneration import loops, says_nothing
from steps.engines.graders.extractors import compile_re2
from steps.engines.scoring.mcnemar import holm
from steps.engines.scoring.wilson import wilson
from steps.engines.text.languages import language_of
from steps.monitor.config import MonitorConfig
from steps.monitor.statistics import counted, fisher, mmd_test, psi_test, quantile_interval
from steps.monitor.texts import Counter, Said, has_personal_data, known_languages
from steps.monitor.training import Training
from steps.monitor.window import Window

PSI, MMD, CHANGE, LIMIT = "PSI", "MMD²", "change of the share", "limit"
ASKED, ANSWERED, TEXTS = "length of requests", "length of answers", "what requests say"
TOPICS, NEW = "topics", "requests on no known topic"
LANGUAGES, PERSONAL = "unknown languages", "personal data"
REFUSALS, DEGENERATE, INVALID = "refusals", "degenerate answers", "invalid answers"
ERRORS, CUT, JUDGED = "errors", "cut answers", "judged low"
P50, P95 = "latency, median", "latency, 95th percentile"
# Estimates and statistics in what is stored: further digits are noise.
_DIGITS = 6
# Answers are looked at for several checks, and many are equal: chosen, more than both sides have by default.
_ANSWERS = 16_384


@dataclass(frozen=True)
class Looks:
    """How texts are looked at, the same on both sides.

    Attributes:
        count: tokens of a text.
        mode: in which scrub replaces personal data; "": the training rows weren't scrubbed, so that nothing compares.
        valid: whether an answer is what the task wants; None: there is no form that it wants.
        judged: answers of the window that the judge scored, and those of them below its threshold; None: none were.
    """

    count: Counter
    mode: str
    valid: Callable[[str], bool] | None
    declines: Callable[[str], bool]
    judged: tuple[int, int] | None = None


def declining(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether an answer declines, by these patterns."""
    compiled = [compile_re2(p, ignore_case=True) for p in patterns]

    @lru_cache(_ANSWERS)
    def declines(answer: str) -> bool:
        return any(p.search(answer) for p in compiled)

    return declines


@lru_cache(_ANSWERS)
def is_degenerate(answer: str) -> bool:
    """Whether an answer says nothing or ends in a loop."""
    return says_nothing(answer) or loops(answer)


def checks_of(
    window: Window, vectors: Vectors, training: Training, config: MonitorConfig, looks: Looks
) -> tuple[MonitorCheck, ...]:
    """All checks, those of requests first; p-values are corrected for all tests together. `vectors`: of what requests
    of the window are about, shape (n, d).
    """
    tests = [*_drift(window, vectors, training, config, looks), *_answers(window, training, config, looks)]
    adjusted = holm([t.p or 0.0 for t in tests])
    corrected = [_decided(t, a, config) for t, a in zip(tests, adjusted, strict=True)]
    return (*corrected, *limits_of(window, config, looks))


def _decided(test: MonitorCheck, adjusted: float, config: MonitorConfig) -> MonitorCheck:
    enough = test.floor is None or abs(test.effect or 0.0) >= test.floor
    alarm = enough and adjusted <= config.alpha
    return test.model_copy(update={"adjusted": float(f"{adjusted:.3g}"), "alarm": alarm})


def _drift(
    window: Window, vectors: Vectors, training: Training, config: MonitorConfig, looks: Looks
) -> Iterator[MonitorCheck]:
    then, now = training.compared, window.said
    asked = [[looks.count(s.asked) for s in rows] for rows in (then, now)]
    yield _of_lengths(ASKED, "drift", asked, training.asked_edges, config)
    topics = training.topics
    yield _of_bins(TOPICS, topics.counts(training.vectors), topics.counts(vectors), config)
    new = [(topics.cosines(v) < topics.least).tolist() for v in (training.vectors, vectors)]
    yield _of_shares(NEW, "drift", new[0], new[1], config)
    yield _of_vectors(then, now, training.vectors, vectors, config)
    languages = [[language_of(s.about) for s in rows] for rows in (then, now)]
    known = known_languages(languages[0])
    unknown = [[x not in known for x in found] for found in languages]
    yield _of_shares(LANGUAGES, "drift", unknown[0], unknown[1], config)
    if looks.mode:
        marked = [[_is_marked(s, looks.mode) for s in rows] for rows in (then, now)]
        yield _of_shares(PERSONAL, "drift", marked[0], marked[1], config)


def _is_marked(said: Said, mode: str) -> bool:
    return bool(has_personal_data(f"{said.asked}\n{said.answered or ''}", mode))


def _answers(window: Window, training: Training, config: MonitorConfig, looks: Looks) -> Iterator[MonitorCheck]:
    """Answers beside those that were trained; of shares only more is worse."""
    then, now = [s.answered or "" for s in training.compared], window.answers
    if now:
        lengths = [[looks.count(a) for a in answers] for answers in (then, now)]
        yield _of_lengths(ANSWERED, "answers", lengths, training.answered_edges, config)
    valid = looks.valid
    kinds: list[tuple[str, Callable[[str], bool]]] = [(REFUSALS, looks.declines), (DEGENERATE, is_degenerate)]
    if valid is not None:
        kinds.append((INVALID, lambda answer: not valid(answer) and not looks.declines(answer)))
    for name, has in kinds if now else ():
        yield _of_shares(name, "answers", [has(a) for a in then], [has(a) for a in now], config)


def _of_lengths(
    name: str, kind: Kind, lengths: Sequence[Sequence[int]], edges: Sequence[float], config: MonitorConfig
) -> MonitorCheck:
    then, now = (counted(of_side, edges) for of_side in lengths)
    return _of_bins(name, then, now, config, kind)


def _of_bins(name: str, then: Numbers, now: Numbers, config: MonitorConfig, kind: Kind = "drift") -> MonitorCheck:
    effect, p = psi_test(then, now, config.permutations, config.seed)
    return MonitorCheck(name=name, kind=kind, measure=PSI, effect=round(effect, _DIGITS), floor=config.min_psi, p=p)


def _of_vectors(
    then: Sequence[Said], now: Sequence[Said], then_vectors: Vectors, now_vectors: Vectors, config: MonitorConfig
) -> MonitorCheck:
    """On so many rows of each side, those with the smallest ids: hashes, in which no row is preferred."""
    x, y = (
        vectors[sorted(range(len(rows)), key=lambda i: rows[i].record_id)[: config.mmd_rows]].astype(np.float64)
        for rows, vectors in ((then, then_vectors), (now, now_vectors))
    )
    effect, p = mmd_test(x, y, config.permutations, config.seed)
    return MonitorCheck(name=TEXTS, kind="drift", measure=MMD, effect=round(effect, _DIGITS), p=p)


def _of_shares(name: str, kind: Kind, then: Sequence[bool], now: Sequence[bool], config: MonitorConfig) -> MonitorCheck:
    p = fisher((sum(then), len(then)), (sum(now), len(now)), more=True)
    before, after = wilson(sum(then), len(then)), wilson(sum(now), len(now))
    assert before is not None and after is not None
    return MonitorCheck.model_validate({
        "name": name, "kind": kind, "measure": CHANGE, "window": rounded(after), "training": rounded(before),
        "effect": round(after.value - before.value, _DIGITS), "floor": config.min_change, "p": float(f"{p:.3g}"),
    })  # fmt: skip


def limits_of(window: Window, config: MonitorConfig, looks: Looks) -> Iterator[MonitorCheck]:
    """Shares and times of the window beside the limits that there are; what there is none of is left out."""
    answers, limits = window.answers, config.limits
    answered = [r for r in window.requests if not r.failed]
    shares: list[tuple[str, int, int, float | None]] = [
        (ERRORS, len(window.requests) - len(answered), len(window.requests), limits.errors),
        (CUT, sum(r.cut for r in answered), len(answered), limits.cut),
        (REFUSALS, sum(map(looks.declines, answers)), len(answers), limits.refusals),
        (DEGENERATE, sum(map(is_degenerate, answers)), len(answers), limits.degenerate),
    ]
    if (valid := looks.valid) is not None:
        wrong = sum(not valid(a) and not looks.declines(a) for a in answers)
        shares.append((INVALID, wrong, len(answers), limits.invalid))
    if looks.judged is not None:
        n, low = looks.judged
        shares.append((JUDGED, low, n, limits.judged_low))
    for name, count, n, limit in shares:
        if (found := wilson(count, n)) is not None:
            yield _of_limit(name, found, limit, "")
    for name, quantile, limit in ((P50, 0.5, limits.latency_p50), (P95, 0.95, limits.latency_p95)):
        if times := window.latencies:
            value, low_end, high = quantile_interval(times, quantile)
            yield _of_limit(name, Estimate(value=value, low=low_end, high=high, n=len(times)), limit, "s")


def _of_limit(name: str, found: Estimate, limit: float | None, unit: str) -> MonitorCheck:
    alarm = limit is not None and found.low > limit
    return MonitorCheck(
        name=name, kind="limit", measure=LIMIT, window=rounded(found), unit=unit, floor=limit, alarm=alarm
    )


def rounded(e: Estimate) -> Estimate:
    """With as many digits as say something."""
    return Estimate(value=round(e.value, _DIGITS), low=round(e.low, _DIGITS), high=round(e.high, _DIGITS), n=e.n)
