"""Rows whose answers speak against each other: nearly equal prompts, and labels that nearest neighbours don't share."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from steps.contracts.arrays import Vectors
from steps.contracts.data_report import Figure
from steps.contracts.reports import Example
from steps.data_report.intervals import share
from steps.data_report.looks import Look
from steps.engines.text.normalise import words

_BY = "data_report"
_BLOCK = 512
_EXAMPLES, _CHARACTERS = 5, 300
# Chosen: answers of a few words, each of which several rows give, are labels.
_LABEL_WORDS, _LABELS, _ROWS_PER_LABEL = 5, 50, 8
# Edited nearest neighbours (D. Wilson 1972) take three; of five, four must agree on another label, so that a row at the
# border of two labels isn't called wrong.
_NEIGHBOURS, _AGREE = 5, 4


def tell_noise(
    looks: Sequence[Look], vectors: Vectors, sets: int, near: float, *, shown: bool
) -> tuple[list[Figure], list[Example], list[str]]:
    """Figures, examples (with text where it may be `shown`), and what wasn't looked at.

    Args:
        vectors: of what each row asks, shape (n, d). near: cosine from which two prompts count as nearly equal.
    """
    asked = [i for i, look in enumerate(looks) if look.answered and look.asked and look.wanted]
    rows, here = [looks[i] for i in asked], vectors[asked]
    if len(rows) < 2:
        return [], [], ["Label noise: fewer than two rows ask and answer something."]
    totals = [sum(r.code == code for r in rows) for code in range(sets)]
    pairs = _unlike_answers(rows, here, near)
    counts = [(sum(rows[i].code == code for i in pairs), totals[code]) for code in range(sets)]
    figures = [share("label noise", f"prompt like another (cosine {near:g}), other answer", counts, _BY, higher=False)]
    nearest = sorted(pairs.items(), key=lambda item: (-item[1][1], rows[item[0]].record_id))[:_EXAMPLES]
    examples = [
        _example(rows[i], rows[j], "near prompt, other answer", {"cosine": round(c, 3)}, shown=shown)
        for i, (j, c) in nearest
    ]
    labels = [" ".join(words(r.answered)) for r in rows]
    if not _are_labels(labels):
        return figures, examples, ["Labels against neighbours: answers aren't labels (few words, few kinds)."]
    odd = _against_neighbours(rows, labels, here)
    counts = [(sum(rows[i].code == code for i in odd), totals[code]) for code in range(sets)]
    figures.append(share("label noise", "label that 4 of 5 neighbours contradict", counts, _BY, higher=False))
    ranked = sorted(odd.items(), key=lambda item: (-item[1][1], rows[item[0]].record_id))
    examples += [
        _example(rows[i], rows[j], "label unlike its neighbours'", {"its label": labels[i] if shown else "",
                 "theirs": labels[j] if shown else "", "neighbours that agree": n}, shown=shown)
        for i, (j, n) in ranked[:_EXAMPLES]
    ]  # fmt: skip
    return figures, examples, []


def _unlike_answers(rows: Sequence[Look], vectors: Vectors, near: float) -> dict[int, tuple[int, float]]:
    """Rows that have a nearly equal prompt in another row of their set with an answer that differs in a word: the
    nearest such row, and the cosine. Equal prompts are dedup's to find.
    """
    said = [tuple(words(r.answered)) for r in rows]
    prompts = [tuple(words(r.asked)) for r in rows]
    codes = np.array([r.code for r in rows])
    found: dict[int, tuple[int, float]] = {}
    for start in range(0, len(rows), _BLOCK):
        cosines = np.round(vectors[start : start + _BLOCK] @ vectors.T, 6)
        for i, j in zip(*np.nonzero(cosines >= near), strict=True):
            row, cosine = start + int(i), float(cosines[i, j])
            unlike = said[row] != said[j] and prompts[row] != prompts[j] and codes[row] == codes[j]
            if unlike and (row not in found or (cosine, -int(j)) > (found[row][1], -found[row][0])):
                found[row] = (int(j), cosine)
    return found


def _are_labels(labels: Sequence[str]) -> bool:
    kinds = Counter(labels)
    short = all(len(label.split()) <= _LABEL_WORDS for label in kinds)
    return short and 2 <= len(kinds) <= _LABELS and len(labels) >= _ROWS_PER_LABEL * len(kinds)


def _against_neighbours(rows: Sequence[Look], labels: Sequence[str], vectors: Vectors) -> dict[int, tuple[int, int]]:
    """Rows whose nearest rows of their set agree on another label: one of these, and how many do."""
    codes = np.array([r.code for r in rows])
    found: dict[int, tuple[int, int]] = {}
    for start in range(0, len(rows), _BLOCK):
        cosines = np.round(vectors[start : start + _BLOCK] @ vectors.T, 6)
        for i, line in enumerate(cosines):
            row = start + i
            line[(codes != codes[row])] = -2
            line[row] = -2
            nearest = [int(j) for j in np.argsort(-line, kind="stable")[:_NEIGHBOURS] if line[j] > -2]
            if len(nearest) == _NEIGHBOURS:
                (label, count), *_ = Counter(labels[j] for j in nearest).most_common(1)
                if label != labels[row] and count >= _AGREE:
                    found[row] = (next(j for j in nearest if labels[j] == label), count)
    return found


def _example(row: Look, other: Look, reason: str, evidence: dict[str, object], *, shown: bool) -> Example:
    text = f"{row.asked[-_CHARACTERS // 2 :]}\n→ {row.answered[: _CHARACTERS // 2]}" if shown else ""
    return Example(
        record_id=row.record_id, reason=reason, text=text[:_CHARACTERS],
        evidence={**evidence, "beside": other.record_id},
    )  # fmt: skip
