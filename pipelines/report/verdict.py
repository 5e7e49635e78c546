"""Was training worth it, and what got worse: in plain sentences, each with its figure."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pipelines.report.candidates import decisive_metric
from pipelines.report.costs import StageCost
from pipelines.report.ownership import asked_better, repaid
from steps.contracts.evaluation import Comparison, Difference, EvalReport
from steps.contracts.models import BASE
from steps.contracts.runs import RunRecord
from steps.engines.graders.classes import PARTIALLY, TOTALLY, WRONG
from steps.engines.scoring.metrics import HELD_OUT, LOWER_IS_BETTER, NEUTRAL

# Chosen: who gets fewer right, at the upper end of the interval, can't do the task at all.
_CANNOT = 0.05
# What is told by another metric of the same rows.
_TOLD_ELSEWHERE = frozenset(
    {"loss", "empty", "looping", "one_answer", "non_finite", "unparsed", "exact_match", TOTALLY, PARTIALLY, WRONG}
)


def verdict_of(record: RunRecord, comparison: Comparison, candidate: str | None) -> tuple[str, ...]:
    """The sentences of a run; none of one that says of no candidate, and of those of an earlier version."""
    settings: Any = record.config.get("evaluate") or {}
    # A tuned model that is asked better is no rival of training.
    asked = {str(s["name"]) for s in settings.get("subjects", ()) if s["model"] == BASE or s.get("endpoint")}
    known = candidate is not None and comparison.of(candidate) and asked <= comparison.over.keys()
    return verdict(comparison, candidate, asked) if known and candidate else ()


def judged(
    record: RunRecord,
    comparison: Comparison,
    candidate: str | None,
    evals: Sequence[EvalReport],
    costs: Sequence[StageCost],
) -> tuple[str, ...]:
    """The sentences of a run, with what training costs beside models asked better."""
    said = verdict_of(record, comparison, candidate)
    able = _of_metric(comparison, TOTALLY)
    # Who can't do the task at all isn't a cheaper way to do it.
    rivals = [
        name for name, settings in asked_better(record).items()
        if settings["model"] == BASE and (name not in able or able[name].candidate.high >= _CANNOT)
    ]  # fmt: skip
    return (*said, *(repaid(record, evals, costs, candidate, rivals) if said and candidate else ()))


def verdict(comparison: Comparison, candidate: str, asked: Collection[str]) -> tuple[str, ...]:
    """Sentences about the candidate. `asked`: subjects that are untrained models asked better.

    Whether training was worth it is withheld where no untrained model can do the task at all: a prompt that nobody
    could follow is no opponent.
    """
    metric = decisive_metric(comparison, [candidate])
    if metric is None:
        return tuple(_worse(comparison, candidate))
    held_out = _of_metric(comparison, metric)
    own = held_out[candidate]
    words = metric.replace("_", " ")
    able = _of_metric(comparison, TOTALLY) or held_out
    untrained = [able[candidate].reference.high, *(able[name].candidate.high for name in asked if name in able)]
    if len(untrained) == 1:
        first = _beside(own, comparison.reference.name, words) + (
            " No prompt and no retrieval was measured beside it, so that nobody knows whether they would have done."
        )
    elif metric not in LOWER_IS_BETTER and max(untrained) < _CANNOT:
        first = (
            f"Whether training was worth it is not said: without it at most {max(untrained):.3f} of the questions that"
            " have an answer are answered rightly, however the model is asked. Such a model can't follow a prompt or"
            " use a passage: what this shows is the mechanics."
        )
    else:
        best = max((n for n in asked if n in held_out), key=lambda n: _goodness(held_out[n]))
        if _goodness(held_out[best]) <= _goodness(held_out[candidate], of_reference=True):
            first = _beside(own, comparison.reference.name, words)
        else:
            over = next(d for d in comparison.over[best] if d.task == HELD_OUT and d.metric == metric)
            first = _beside(over, f"{best}, the best without training", words)
    return (first, *_worse(comparison, candidate))


def _of_metric(comparison: Comparison, metric: str) -> dict[str, Difference]:
    return {d.subject: d for d in comparison.differences if d.task == HELD_OUT and d.metric == metric}


def _goodness(d: Difference, *, of_reference: bool = False) -> float:
    value = d.reference.value if of_reference else d.candidate.value
    return -value if d.metric in LOWER_IS_BETTER else value


def _beside(d: Difference, other: str, words: str) -> str:
    better, worse = (d.change.low > 0, d.change.high < 0)
    if d.metric in LOWER_IS_BETTER:
        better, worse = worse, better
    says = "was worth it" if better else "made it worse" if worse else "brought nothing that is clear"
    change = f"{d.change.value:+.3f} [{d.change.low:+.3f}, {d.change.high:+.3f}]"
    return (
        f"Training {says}: {words} of {d.subject} is {d.candidate.value:.3f}, of {other}, {d.reference.value:.3f};"
        f" {change} on {d.change.n:,} rows."
    )


def _worse(comparison: Comparison, candidate: str) -> Iterator[str]:
    told = []
    for d in comparison.of(candidate):
        none, lower = (1.0 if d.is_ratio else 0.0), d.metric in LOWER_IS_BETTER
        if d.metric not in _TOLD_ELSEWHERE | NEUTRAL and (d.change.low > none if lower else d.change.high < none):
            sign = "×" if d.is_ratio else "+" if d.change.value >= 0 else ""
            where = "" if d.task == HELD_OUT else f" ({d.task})"
            change = f"{sign}{d.change.value:.3f} [{d.change.low:.3f}, {d.change.high:.3f}]"
            told.append(f"{d.metric.replace('_', ' ')}{where} {change}")
    if told:
        yield f"What got worse against {comparison.reference.name}: {'; '.join(told)}."
    else:
        yield f"Nothing that was measured got clearly worse than {comparison.reference.name}."
