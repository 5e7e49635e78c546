"""The answers to a suite's questions graded by their kind, each grade with its evidence."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from steps.contracts.evaluation import Confusion
from steps.engines.graders.classes import TOTALLY, WRONG
from steps.engines.graders.evidence import explained
from steps.engines.graders.facts import Fact, recall
from steps.engines.graders.graded import DECLINED, Graded
from steps.engines.graders.graders import GRADERS, Grading
from steps.engines.graders.labels import FOUND, NO_LABEL, WANTED, classified, label_of
from steps.engines.graders.leaks import CANARY_LEAKED, LEAKED, leak
from steps.engines.graders.pairs import MEMBER, pair_scores
from steps.engines.graders.refusals import refusal
from steps.engines.graders.rules import kept
from steps.engines.scoring.answers import Answered
from steps.evaluate.suites.items import Asked, BiasItem, CanaryItem, Item, LabelItem, RecallItem, SafetyItem
from steps.evaluate.suites.settings import SuiteTask
from steps.evaluate.suites.tasks import Part

# (answer, item, the task's settings, what graders know) -> grade
_Grade: TypeAlias = Callable[[str, Any, SuiteTask, Grading], Graded]


def graded(part: Part, rows: Sequence[Answered], by: Grading) -> list[Answered]:
    """The rows of a suite's task, in its order, with the scores of its kind beside those of its graders, and what these
    go by. Rows that have no prompt stay as they are.
    """
    one_by_one = [
        _graded(part, asked, row, by) if asked_of(row) else row for asked, row in zip(part.asked, rows, strict=True)
    ]
    if part.settings.kind == "canary":
        return _by_canary(part.asked, one_by_one)
    return _in_pairs(part, one_by_one) if part.settings.kind == "bias" else one_by_one


def asked_of(row: Answered) -> bool:
    """Whether something was asked of it: documents have losses only, and some rows can't be put to a subject."""
    return row.reference is not None


def confusion_of(part: Part, rows: Sequence[Answered]) -> Confusion | None:
    """Wanted and found labels, of a classification."""
    if part.settings.kind != "classification":
        return None
    labels = part.settings.labels
    pairs = Counter((int(r.scores[WANTED] or 0), int(r.scores[FOUND] or 0)) for r in rows if WANTED in r.scores)
    places = (*range(len(labels)), NO_LABEL)
    return Confusion(labels=labels, counts=tuple(tuple(pairs[w, f] for f in places) for w in range(len(labels))))


def _graded(part: Part, asked: Asked, row: Answered, by: Grading) -> Answered:
    answer, item = row.answer or "", asked.item
    grade = _KINDS.get(part.settings.kind)
    own = grade(answer, item, part.settings, by) if grade else _generic(row.scores)
    told = {n: explained(n, answer, row.reference or "", by) for n in row.scores if n in GRADERS}
    evidence = {**{n: what for n, what in told.items() if what}, **own.evidence}
    if own.outcome:
        evidence["outcome"] = own.outcome
    wanted = item.wanted if isinstance(item, Item) else None
    return replace(row, scores={**row.scores, **own.scores, **own.classes}, evidence=evidence, reference=wanted or "")


def _generic(scores: Mapping[str, float | None]) -> Graded:
    """What became of an answer that graders have looked at, by their scores."""
    if scores.get("declined") is not None:
        return Graded({}, "", {"outcome": DECLINED if scores["declined"] else WRONG})
    if scores.get("over_declined"):
        return Graded({}, "", {"outcome": DECLINED})
    outcome = next((n for n in (TOTALLY, "partially_correct", WRONG) if scores.get(n)), None)
    return Graded({}, "", {"outcome": outcome} if outcome else {})


def _recall(answer: str, item: RecallItem, task: SuiteTask, by: Grading) -> Graded:
    texts = item.facts or (item.answer,)
    facts = [Fact(texts[0], item.forms, item.near)] if len(texts) == 1 else [Fact(t) for t in texts]
    return recall(answer, facts, by)


def _label(answer: str, item: LabelItem, task: SuiteTask, by: Grading) -> Graded:
    return classified(answer, item.label, task.labels, by)


def _style(answer: str, item: Item, task: SuiteTask, by: Grading) -> Graded:
    assert task.rules is not None
    return kept(answer, task.rules.given, by, due=True)


def _safety(answer: str, item: SafetyItem, task: SuiteTask, by: Grading) -> Graded:
    return refusal(answer, by, harmful=item.harmful)


def _canary(answer: str, item: CanaryItem, task: SuiteTask, by: Grading) -> Graded:
    found = leak(answer, item.secret, item.way, by)
    return Graded(found.scores, "", {**found.evidence, "canary": item.canary, "outcome": found.outcome})


def _member(answer: str, item: BiasItem, task: SuiteTask, by: Grading) -> Graded:
    """A member's own score: whether the label is the favourable one, or the answer right; none where none is asked."""
    if task.favourable is not None:
        place = label_of(answer, task.labels)
        said = None if place == NO_LABEL else task.labels[place]
        return Graded({MEMBER: float(said == task.favourable)}, "", {"said": said})
    if item.answer is not None:
        right = GRADERS["contains"].grade(answer, item.answer, by)
        return Graded({MEMBER: right}, "", explained("contains", answer, item.answer, by))
    return Graded({}, "", {})


_KINDS: Mapping[str, _Grade] = {
    "recall": _recall,
    "classification": _label,
    "style": _style,
    "safety": _safety,
    "canary": _canary,
    "bias": _member,
}


def _by_canary(asked: Sequence[Asked], rows: Sequence[Answered]) -> list[Answered]:
    """On each canary's first probe whether any of its probes gave it away: one score per canary."""
    probes: dict[str, list[int]] = {}
    for i, one in enumerate(asked):
        if isinstance(one.item, CanaryItem) and LEAKED in rows[i].scores:
            probes.setdefault(one.item.canary, []).append(i)
    found = list(rows)
    for places in probes.values():
        leaked = float(any(rows[i].scores[LEAKED] for i in places))
        first = rows[places[0]]
        found[places[0]] = replace(first, scores={**first.scores, CANARY_LEAKED: leaked})
    return found


def _in_pairs(part: Part, rows: Sequence[Answered]) -> list[Answered]:
    """On each pair's first row what its two answers differ in."""
    found = list(rows)
    places = {one.row_id: i for i, one in enumerate(part.asked)}
    for i, one in enumerate(part.asked):
        other = places[f"{one.row_id.removesuffix(':0')}:1"] if one.member == 0 else None
        if other is None or rows[i].evidence is None or rows[other].evidence is None:
            continue
        assert isinstance(one.item, BiasItem)
        answers = (rows[i].answer or "", rows[other].answer or "")
        members = (rows[i].scores.get(MEMBER), rows[other].scores.get(MEMBER))
        scores, evidence = pair_scores(answers, one.item.names, members)
        first = rows[i]
        found[i] = replace(
            first, scores={**first.scores, **scores}, evidence={**(first.evidence or {}), "pair": evidence}
        )
    return found
