"""Rows whose answers speak against each other: nearly equal prompts, and labels that nearest neighbours don't share."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steps.contracts.arrays import Numbers, Vectors
from steps.contracts.data_report import Figure
from steps.contracts.reports import Example
from steps.data_report.intervals import share
from steps.data_report.looks import Look
from steps.engines.text.normalise import words

_BY = "data_report"
_BLOCK = 512
# Chosen: what a person reads; a report's example has 300 characters.
_EXAMPLES, _CHARACTERS = 5, 96
_FEWEST = 2
# Below any cosine: no pair.
_NONE = -2
# Chosen: answers of a few words, each of which several rows give, are labels.
_LABEL_WORDS, _LABELS, _ROWS_PER_LABEL = 5, 50, 8
# Edited nearest neighbours (D. Wilson 1972) take three; of five, four must agree on another label, so that a row at the
# border of two labels isn't called wrong.
_NEIGHBOURS, _AGREE = 5, 4


@dataclass(frozen=True)
class _Asked:
    """Rows that ask and answer something.

    Attributes:
        codes: the set of each; prompts, labels: equal numbers where what is asked, or answered, is equal in all its
            words. Shape (n,) each.
    """

    rows: tuple[Look, ...]
    codes: Numbers
    prompts: Numbers
    labels: Numbers

    @classmethod
    def of(cls, rows: Sequence[Look]) -> "_Asked":
        """The rows with what they say as numbers."""
        codes = np.array([r.code for r in rows], np.int64)
        return cls(tuple(rows), codes, _numbered([r.asked for r in rows]), _numbered([r.answered for r in rows]))

    def counts(self, found: Sequence[int], sets: Sequence[int]) -> list[tuple[int, int]]:
        """Per set how many of its rows are among those found."""
        return [(int((self.codes[list(found)] == code).sum()), int((self.codes == code).sum())) for code in sets]


def _numbered(texts: Sequence[str]) -> Numbers:
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(" ".join(words(t)), len(seen)) for t in texts], np.int64)


def tell_noise(
    looks: Sequence[Look], by_words: Vectors, by_meaning: Vectors, sets: int, near: float, *, shown: bool
) -> tuple[list[Figure], list[Example], list[str]]:
    """Figures, examples (with text where it may be `shown`), and what wasn't looked at.

    Args:
        by_words: of what each row asks, shape (n, d): nearly equal prompts are told by their words, since a model of
            embeddings may read the beginning alone; by_meaning: the same, for the neighbours of rows with labels.
        near: cosine from which two prompts count as nearly equal.
    """
    places = [i for i, look in enumerate(looks) if look.answered and look.asked and look.wanted and look.whole]
    asked = _Asked.of([looks[i] for i in places])
    if len(places) < _FEWEST:
        return [], [], ["Label noise between rows: fewer than two rows ask and answer something."]
    pairs = _unlike_answers(asked, by_words[places], near)
    said = f"prompt like another (cosine {near:g}), other answer"
    figures = [share("label noise", said, asked.counts(list(pairs), range(sets)), _BY, higher=False)]
    examples = [
        _example(asked, row, other, "near prompt, other answer", {"cosine": cosine}, shown=shown)
        for row, (other, cosine) in _first(pairs, asked)
    ]
    labelled = [code for code in range(sets) if _are_labels([r.answered for r in asked.rows if r.code == code])]
    if not labelled:
        return figures, examples, ["Labels against neighbours: answers aren't labels (few words, few kinds)."]
    odd = _against_neighbours(asked, by_meaning[places], labelled)
    counts = asked.counts(list(odd), range(sets))
    # A set without labels has nothing to contradict.
    counts = [count if code in labelled else (0, 0) for code, count in enumerate(counts)]
    figures.append(share("label noise", "label that 4 of 5 neighbours contradict", counts, _BY, higher=False))
    examples += [
        _example(asked, row, other, "label unlike its neighbours'", {"neighbours that agree": agree}, shown=shown)
        for row, (other, agree) in _first(odd, asked)
    ]
    return figures, examples, []


def _first(found: Mapping[int, tuple[int, float]], asked: _Asked) -> list[tuple[int, tuple[int, float]]]:
    """The surest ones."""
    return sorted(found.items(), key=lambda item: (-item[1][1], asked.rows[item[0]].record_id))[:_EXAMPLES]


def _unlike_answers(asked: _Asked, vectors: Vectors, near: float) -> dict[int, tuple[int, float]]:
    """Rows that have a nearly equal prompt in another row of their set with an answer that differs in a word: the
    nearest such row, and the cosine. Equal prompts are dedup's to find.
    """
    found: dict[int, tuple[int, float]] = {}
    for start, cosines in _cosines(vectors):
        here = slice(start, start + len(cosines))
        for numbers, wanted in ((asked.codes, True), (asked.prompts, False), (asked.labels, False)):
            cosines[(numbers[here, None] == numbers[None]) != wanted] = _NONE
        best = cosines.argmax(axis=1)
        for i in np.flatnonzero(cosines.max(axis=1) >= near).tolist():
            found[start + i] = (int(best[i]), round(float(cosines[i, best[i]]), 3))
    return found


def _cosines(vectors: Vectors) -> Iterator[tuple[int, Vectors]]:
    """All pairs, some rows at a time: the first row's place, and their cosines with all rows."""
    for start in range(0, len(vectors), _BLOCK):
        yield start, np.round(vectors[start : start + _BLOCK] @ vectors.T, 6)


def _are_labels(answers: Sequence[str]) -> bool:
    kinds = Counter(" ".join(words(a)) for a in answers)
    short = all(len(label.split()) <= _LABEL_WORDS for label in kinds)
    return short and 2 <= len(kinds) <= _LABELS and len(answers) >= _ROWS_PER_LABEL * len(kinds)


def _against_neighbours(asked: _Asked, vectors: Vectors, labelled: Sequence[int]) -> dict[int, tuple[int, float]]:
    """Rows of these sets whose nearest rows of their set agree on another label: the nearest of these, and how many
    do.
    """
    found: dict[int, tuple[int, float]] = {}
    for start, cosines in _cosines(vectors):
        cosines[asked.codes[start : start + len(cosines), None] != asked.codes[None]] = _NONE
        for i, line in enumerate(cosines):
            row = start + i
            line[row] = _NONE
            nearest = np.argsort(-line, kind="stable")[:_NEIGHBOURS]
            if asked.codes[row] not in labelled or (line[nearest] <= _NONE).any() or len(nearest) < _NEIGHBOURS:
                continue
            (label, count), *_ = Counter(asked.labels[nearest].tolist()).most_common(1)
            if label != asked.labels[row] and count >= _AGREE:
                found[row] = (int(nearest[asked.labels[nearest] == label][0]), count)
    return found


def _example(
    asked: _Asked, place: int, beside: int, reason: str, evidence: dict[str, float], *, shown: bool
) -> Example:
    """A row with the end of what it asks, and its answer beside the other one."""
    row, other = asked.rows[place], asked.rows[beside]
    parts = (row.asked[-_CHARACTERS:], f"→ {row.answered[:_CHARACTERS]}", f"↔ {other.answered[:_CHARACTERS]}")
    return Example(
        record_id=row.record_id, reason=reason, text="\n".join(parts) if shown else "",
        evidence={**evidence, "beside": other.record_id},
    )  # fmt: skip
