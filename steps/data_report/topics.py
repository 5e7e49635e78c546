"""Clusters of rows, named by the words that tell them apart."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Vectors
from steps.contracts.data_report import Topic
from steps.data_report.looks import Look
from steps.engines.scoring.wilson import newcombe, wilson
from steps.engines.text.terms import terms
from steps.engines.vector_store.clusters import clusters

# Chosen: a cluster of fewer rows is no topic.
_ROWS_PER_TOPIC = 10
# A word that so few rows of a topic have may be somebody's name that scrub didn't know.
_FEWEST_ROWS = 3
# A word tells a topic where the topic's rows have it so many times as often as the others (chosen).
_LIFT = 2.0
_WORDS = 6
_SHORTEST = 3


def topics_of(looks: Sequence[Look], vectors: Vectors, most: int, sets: int, seed: int, *, named: bool) -> list[Topic]:
    """Topics, the largest first. `vectors`: of what each row is about, shape (n, d); `named`: whether words of rows may
    be shown. () where there are too few rows.
    """
    number = min(most, len(looks) // _ROWS_PER_TOPIC)
    if number < 2:
        return []
    _, nearest = clusters(vectors, number, seed)
    codes = np.array([look.code for look in looks])
    totals = np.bincount(codes, minlength=sets)
    names = name_topics([look.about for look in looks], nearest, number) if named else [()] * number
    found = []
    for topic in range(number):
        counts = np.bincount(codes[nearest == topic], minlength=sets)
        if counts.sum():
            shares = tuple(wilson(int(k), int(n)) for k, n in zip(counts, totals, strict=True))
            difference = newcombe(*shares) if sets == 2 else None
            found.append((int(counts.sum()), Topic(words=names[topic], shares=shares, difference=difference)))
    return [topic for _, topic in sorted(found, key=lambda f: (-f[0], f[1].words))]


def name_topics(texts: Sequence[str], nearest: npt.NDArray[np.int64], number: int) -> list[tuple[str, ...]]:
    """The words of each cluster with the highest c-TF-IDF (Grootendorst 2022, BERTopic, arXiv 2203.05794):
    tf in the cluster * ln(1 + mean words per cluster / tf in all), most telling first; of words that its rows have more
    often than the others.
    """
    per_topic = [Counter[str]() for _ in range(number)]
    rows_with = [Counter[str]() for _ in range(number)]
    for text, topic in zip(texts, nearest.tolist(), strict=True):
        found = [t for t in terms(text) if _tells(t)]
        per_topic[topic].update(found)
        rows_with[topic].update(set(found))
    total: Counter[str] = sum(per_topic, Counter())
    everywhere: Counter[str] = sum(rows_with, Counter())
    mean = total.total() / number
    sizes = np.bincount(nearest, minlength=number)

    def weight(topic: int, term: str) -> float:
        return per_topic[topic][term] / max(per_topic[topic].total(), 1) * math.log(1 + mean / total[term])

    named = []
    for topic in range(number):
        others = len(texts) - sizes[topic]
        telling = [
            term for term, rows in rows_with[topic].items()
            if rows >= _FEWEST_ROWS and rows * others >= _LIFT * (everywhere[term] - rows) * sizes[topic]
        ]  # fmt: skip
        best = sorted(telling, key=lambda term: (-weight(topic, term), term))
        named.append(tuple(best[:_WORDS]))
    return named


def _tells(term: str) -> bool:
    return (len(term) >= _SHORTEST or not term.isascii()) and not term.isdigit()
