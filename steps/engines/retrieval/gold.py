"""Whether what a question is answered by was looked up: recall@k of the passages, or the document, known for it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from steps.contracts.records import Row
from steps.engines.graders.values import normalise
from steps.engines.retrieval.passages import Passages
from steps.engines.retrieval.words import WordIndex, words_of

# In the `meta` of a row: what it is answered by.
META = "gold"
# How many passages from the first are looked at, besides as many as stand in the prompt.
RECALL_AT = (1, 3, 5, 10)
PASSAGES, DOCUMENT = "passage_recall_at", "document_recall_at"
# Behind a figure's name: of what the first stage found, before a second model put it in order.
BEFORE = "before_rerank"
# Chosen: texts that were cut otherwise share half of their runs of five words, and at least eight of them, where the
# shorter one is mostly part of the other.
_RUN, _SHARED, _LEAST_RUNS = 5, 0.5, 8
# Chosen: a passage is found by its own words among as many.
_OWN_WORDS = 5


@dataclass(frozen=True)
class Gold:
    """What a question is answered by. `passages`: words that stand in each of them; `document`: name of its file."""

    passages: tuple[str, ...] = ()
    document: str = ""

    @classmethod
    def of(cls, row: Row) -> Self:
        """As the row's `meta` says it; nothing where it says none."""
        said: dict[str, Any] = json.loads(row["meta"] or "{}").get(META) or {}
        return cls(tuple(said.get("passages") or ()), str(said.get("document") or ""))

    def __bool__(self) -> bool:
        return bool(self.passages or self.document)

    def recall(self, found: Sequence[int], among: Passages, at: Iterable[int], behind: str = "") -> dict[str, float]:
        """By figure, of the passages with these numbers, best first: the share of the gold passages that are among the
        first k, and whether one of the gold document is. `behind`: what the figures' names end in.
        """
        places = [self._first(gold, found, among) for gold in self.passages]
        files = _called(self.document, among) if self.document else set()
        of_document = next((n for n, i in enumerate(found) if files & set(among.documents[i])), None)
        figures: dict[str, float] = {}
        for k in sorted(set(at)):
            name = f"{k}{f'_{behind}' if behind else ''}"
            if places:
                figures[f"{PASSAGES}_{name}"] = sum(p is not None and p < k for p in places) / len(places)
            if self.document:
                figures[f"{DOCUMENT}_{name}"] = float(of_document is not None and of_document < k)
        return figures

    @staticmethod
    def _first(gold: str, found: Sequence[int], among: Passages) -> int | None:
        return next((n for n, i in enumerate(found) if same_passage(gold, among.texts[i])), None)


def nowhere(golds: Sequence[Gold], among: Passages) -> Mapping[str, tuple[int, int]]:
    """(those that stand nowhere in what is looked up, all) of gold passages and documents."""
    texts = list(dict.fromkeys(p for g in golds for p in g.passages))
    whole = "\0".join(normalise(t, ignore_case=True) for t in among.texts)
    left = [t for t in texts if normalise(t, ignore_case=True) not in whole]
    near = WordIndex(among.texts).nearest(left, _OWN_WORDS) if left else []
    lost = [t for t, few in zip(left, near, strict=True) if not any(same_passage(t, among.texts[i]) for i in few)]
    names = {g.document for g in golds if g.document}
    gone = [n for n in names if not _called(n, among)]
    return {"passages": (len(lost), len(texts)), "documents": (len(gone), len(names))}


def same_passage(gold: str, text: str) -> bool:
    """Whether the text holds the gold passage, in any case and spacing, or one of them half of the other's words' runs:
    where the gold passage was cut, each larger piece of it is found.
    """
    one, other = normalise(gold, ignore_case=True), normalise(text, ignore_case=True)
    if one in other or (other in one and 2 * len(other) >= len(one)):
        return True
    runs, others = _runs(gold), _runs(text)
    return len(runs & others) >= max(_LEAST_RUNS, _SHARED * min(len(runs), len(others)))


@lru_cache(maxsize=4096)
def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = words_of(text)
    return frozenset(tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1))


def _called(name: str, among: Passages) -> set[str]:
    """The files of that name: those whose paths end alike, and of these the ones that do so the longest."""
    ends = {k for k in among.files if k == name or k.endswith(f"/{name}") or name.endswith(f"/{k}")}
    alike = max((min(len(k), len(name)) for k in ends), default=0)
    return {k for k in ends if min(len(k), len(name)) == alike}


def depths(top_k: int, most: int | None) -> Iterator[int]:
    """The k that are told. `most`: as many passages as a second model reads; None: there is none."""
    yield from (k for k in {*RECALL_AT, top_k} if k and (most is None or k <= most))
