"""How well the detectors find what people labelled: precision, recall, F1 and F2 per entity, and what went wrong."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from steps.contracts.evaluation import Estimate
from steps.engines.scoring.bootstrap import Ratio, estimate_ratio
from steps.engines.scoring.wilson import wilson
from steps.scrub.config import ScrubConfig
from steps.scrub.detectors import Detectors
from steps.scrub.evaluation.labelled import IGNORED, EntitySpan, Labelled
from steps.scrub.findings import Finding
from steps.scrub.redactor import Redactor

# The usual bound for "the same span" in detection (PASCAL VOC, Everingham et al. 2010, section 4.2).
SAME_SPAN = 0.5
ALL = "all entities"
LOOKED_FOR = "entities looked for"
SUMS = (ALL, LOOKED_FOR)
# Pseudonyms are compared with nothing here, so any key will do.
_NO_KEY = b"evaluation"

MistakeKind = Literal["missed", "wrong", "partial"]
Counts = npt.NDArray[np.int64]
Spans = Sequence[EntitySpan]


@dataclass(frozen=True)
class Mistake:
    """`wrong`: found, not labelled. `missed`: labelled, not found. `partial`: both, overlapping by IoU under 0.5.

    `other` is the entity that stands in the same place on the other side, if any; `value` is raw text.
    """

    kind: MistakeKind
    entity: str
    where: str
    value: str
    other: str | None = None


@dataclass(frozen=True)
class EntityScores:
    """Scores of one entity (or of several together) under one rule of matching; None where nothing was counted.

    Precision and recall have Wilson intervals over spans, F1 and F2 bootstrap intervals over templates (over texts
    where the file names no templates): texts of one template succeed and fail together.
    """

    labelled: int
    found: int
    right: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    f2: Estimate | None


@dataclass(frozen=True)
class PiiEvaluation:
    """`overlap`: spans match at IoU >= 0.5; `exact`: at equal offsets. Keys: entities, then ALL and LOOKED_FOR.

    `undecided` texts, on which a detector failed, count as texts in which nothing was found. `covered` is the share
    of labelled characters that some finding covers, whatever its entity: what would not have leaked.
    """

    texts: int
    templates: int | None
    undecided: int
    looked_for: frozenset[str]
    overlap: dict[str, EntityScores]
    exact: dict[str, EntityScores]
    covered: dict[str, float]
    mistakes: tuple[Mistake, ...]


def looked_for(config: ScrubConfig, names: Mapping[str, str]) -> frozenset[str]:
    """The entities that the config's detectors look for, under the names that are compared."""
    ner = config.ner.entities if config.ner else ()
    entities = {names.get(e, e) for e in (*config.entities, *config.deny, *config.patterns, *ner)}
    return frozenset(entities - {IGNORED})


def evaluate(rows: Sequence[Labelled], config: ScrubConfig, names: Mapping[str, str]) -> PiiEvaluation:
    """Search all texts as the stage would, and compare with their labels. `names` maps entities before comparing."""
    with Detectors(config) as detectors:
        found_by_text = Redactor(config, _NO_KEY).find((row.text for row in rows), detectors)
        raw = detectors.find(row.text for row in rows)
    found = [_named(found_by_text[row.text], names) for row in rows]
    within = [
        [r for r in _named(raw[row.text], names) if any(f.start <= r.start and r.end <= f.end for f in spans)]
        for row, spans in zip(rows, found, strict=True)
    ]
    return score(rows, found, looked_for(config, names), within, sum(found_by_text[row.text] is None for row in rows))


def _named(found: Sequence[Finding] | None, names: Mapping[str, str]) -> list[EntitySpan]:
    spans = [EntitySpan(f.start, f.end, names.get(f.entity, f.entity)) for f in found or ()]
    return sorted({s for s in spans if s.entity != IGNORED})


def score(
    rows: Sequence[Labelled],
    found: Sequence[Spans],
    wanted: frozenset[str],
    within: Sequence[Spans] = (),
    undecided: int = 0,
) -> PiiEvaluation:
    """Compare found spans with labelled ones; the sequences are parallel, and spans of `found` don't overlap.

    `within` are findings that went into longer ones. One that is a label by itself is right; none is wrong.
    """
    entities = sorted({s.entity for spans in (*(r.spans for r in rows), *found) for s in spans} | wanted)
    units = _units(rows)
    overlap, exact = (_Counts.empty(max(units, default=-1) + 1, entities) for _ in range(2))
    mistakes: list[Mistake] = []
    for row, found_here, inside, unit in zip(rows, found, within or [()] * len(rows), units, strict=True):
        outer, inner = outermost(row.spans)
        labelled, spans = joined(outer, row.text), joined(found_here, row.text)
        spans += _labels_within(inside, labelled, spans)
        pairs = matched(labelled, spans, lambda iou: iou >= SAME_SPAN)
        overlap.add(unit, labelled, _counted(spans, pairs, inner), pairs)
        exact_pairs = matched(labelled, spans, lambda iou: iou == 1)
        exact.add(unit, labelled, _counted(spans, exact_pairs, inner), exact_pairs)
        mistakes += _mistakes(row, labelled, _counted(spans, pairs, inner), pairs)
    templates = len(set(units)) if rows and rows[0].template is not None else None
    return PiiEvaluation(
        texts=len(rows),
        templates=templates,
        undecided=undecided,
        looked_for=wanted,
        overlap=overlap.scores(wanted),
        exact=exact.scores(wanted),
        covered=_covered(rows, found, entities),
        mistakes=tuple(mistakes),
    )


def _units(rows: Sequence[Labelled]) -> list[int]:
    """What the bootstrap draws: the number of each row's template, or of the row when any row lacks one."""
    if any(row.template is None for row in rows):
        return list(range(len(rows)))
    numbers = {t: n for n, t in enumerate(sorted({row.template for row in rows if row.template is not None}))}
    return [numbers[row.template] for row in rows if row.template is not None]


def outermost(spans: Spans) -> tuple[list[EntitySpan], list[EntitySpan]]:
    """(spans that lie in no other one, the rest): a label inside another is no second value to be found."""
    ordered = sorted(spans, key=lambda s: (s.start - s.end, s.start, s.entity))
    outer: list[EntitySpan] = []
    inner: list[EntitySpan] = []
    for span in ordered:
        inside = any(o.start <= span.start and span.end <= o.end for o in outer)
        (inner if inside else outer).append(span)
    return sorted(outer), sorted(inner)


def joined(spans: Spans, text: str) -> list[EntitySpan]:
    """Spans of one entity with only white space between them as one: a value may be labelled, or found, in pieces."""
    whole: list[EntitySpan] = []
    for span in sorted(spans):
        last = whole[-1] if whole else None
        if last and last.entity == span.entity and last.end <= span.start and not text[last.end : span.start].strip():
            whole[-1] = last._replace(end=span.end)
        else:
            whole.append(span)
    return whole


def iou(a: EntitySpan, b: EntitySpan) -> float:
    """Characters in both spans / characters in either, 0 to 1."""
    both = min(a.end, b.end) - max(a.start, b.start)
    return 0.0 if both <= 0 else both / (max(a.end, b.end) - min(a.start, b.start))


def matched(labelled: Spans, found: Spans, same: Callable[[float], bool]) -> dict[EntitySpan, EntitySpan]:
    """found -> labelled, one to one, of equal entity; the best overlap first, then the earlier ones."""
    candidates = [
        (-iou(label, f), label, f)
        for label in labelled
        for f in found
        if label.entity == f.entity and same(iou(label, f))
    ]
    pairs: dict[EntitySpan, EntitySpan] = {}
    taken: set[EntitySpan] = set()
    for _, label, finding in sorted(candidates):
        if finding not in pairs and label not in taken:
            pairs[finding] = label
            taken.add(label)
    return pairs


def _labels_within(inside: Spans, labelled: Spans, found: Spans) -> list[EntitySpan]:
    """Those of `inside` that match a label which no span of `found` matches."""
    taken = set(matched(labelled, found, lambda value: value >= SAME_SPAN).values())
    return list(matched([x for x in labelled if x not in taken], inside, lambda value: value >= SAME_SPAN))


def _counted(found: Spans, pairs: Mapping[EntitySpan, EntitySpan], inner: Spans) -> list[EntitySpan]:
    """Found spans that are right or wrong: one that is a label inside a longer label is neither."""
    return [f for f in found if f in pairs or not any(f.entity == i.entity and iou(f, i) >= SAME_SPAN for i in inner)]


@dataclass(frozen=True)
class _Counts:
    """Counts of shape (units, entities) each."""

    entities: dict[str, int]
    labelled: Counts
    found: Counts
    right: Counts

    @classmethod
    def empty(cls, units: int, entities: Sequence[str]) -> "_Counts":
        labelled, found, right = (np.zeros((units, len(entities)), np.int64) for _ in range(3))
        return cls({e: n for n, e in enumerate(entities)}, labelled, found, right)

    def add(
        self, unit: int, labelled: Iterable[EntitySpan], found: Iterable[EntitySpan], right: Iterable[EntitySpan]
    ) -> None:
        for counts, spans in ((self.labelled, labelled), (self.found, found), (self.right, right)):
            for span in spans:
                counts[unit, self.entities[span.entity]] += 1

    def scores(self, wanted: frozenset[str]) -> dict[str, EntityScores]:
        groups = {e: [n] for e, n in self.entities.items()}
        groups[ALL] = list(self.entities.values())
        groups[LOOKED_FOR] = [n for e, n in self.entities.items() if e in wanted]
        return {name: self._scores(columns) for name, columns in groups.items()}

    def _scores(self, columns: list[int]) -> EntityScores:
        labelled, found, right = (c[:, columns].sum(1).astype(float) for c in (self.labelled, self.found, self.right))
        sums = [int(c.sum()) for c in (labelled, found, right)]
        return EntityScores(
            labelled=sums[0],
            found=sums[1],
            right=sums[2],
            precision=wilson(sums[2], sums[1]),
            recall=wilson(sums[2], sums[0]),
            # F_b = (1 + b^2) right / (b^2 labelled + found) (van Rijsbergen 1979, chapter 7)
            f1=estimate_ratio(Ratio(2 * right, labelled + found)),
            f2=estimate_ratio(Ratio(5 * right, 4 * labelled + found)),
        )


def _mistakes(
    row: Labelled,
    labelled: Spans,
    found: Spans,
    pairs: Mapping[EntitySpan, EntitySpan],
) -> list[Mistake]:
    def mistake(kind: MistakeKind, span: EntitySpan, other: EntitySpan | None) -> Mistake:
        return Mistake(kind, span.entity, row.where, row.text[span.start : span.end], other.entity if other else None)

    mistakes: list[Mistake] = []
    right = set(pairs.values())
    for label in labelled:
        if label not in right:
            rival = _nearest(label, found)
            same = rival is not None and rival.entity == label.entity
            mistakes.append(mistake("partial" if same else "missed", label, rival))
    for finding in found:
        if finding not in pairs:
            rival = _nearest(finding, labelled)
            # The labelled side of a partial match is one already.
            if rival is None or rival.entity != finding.entity:
                mistakes.append(mistake("wrong", finding, rival))
    return mistakes


def _nearest(span: EntitySpan, others: Spans) -> EntitySpan | None:
    """The overlapping span that says most: of the same entity, then of the largest overlap."""
    overlapping = [o for o in others if iou(span, o) > 0]
    return min(overlapping, key=lambda o: (o.entity != span.entity, -iou(span, o), o), default=None)


def _covered(rows: Sequence[Labelled], found: Sequence[Spans], entities: Sequence[str]) -> dict[str, float]:
    total = dict.fromkeys([*entities, ALL], 0)
    seen = dict.fromkeys([*entities, ALL], 0)
    for row, spans in zip(rows, found, strict=True):
        for label in outermost(row.spans)[0]:
            inside = sum(max(0, min(label.end, f.end) - max(label.start, f.start)) for f in spans)
            for name in (label.entity, ALL):
                total[name] += label.end - label.start
                seen[name] += inside
    return {name: seen[name] / total[name] for name in total if total[name]}
