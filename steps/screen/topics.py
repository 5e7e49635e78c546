"""Rows kept or taken out by what they are about: near to examples, or in a cluster that has a name."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Mask, Vectors
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError, InputNotFoundError, ServiceError
from steps.contracts.reports import Table
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.embedder import Embedded, open_embedder
from steps.engines.embed.vectors import NoVector
from steps.engines.llm.egress import refuse_egress
from steps.engines.text.parts import part_of
from steps.engines.vector_store.clusters import clusters
from steps.screen.config import TopicConfig, TopicsConfig
from steps.screen.model_findings import ModelFinding, ModelReport, chosen_rows, histogram, tally

# Reason code and table entry of rows that are on no topic.
OTHER = "other"
_DECIMALS = 6


@dataclass(frozen=True)
class _Assigned:
    """Of n rows: their topic's name or OTHER, and the cosine with the nearest example or the cluster's centre."""

    names: list[str]
    cosines: npt.NDArray[np.float64]


class Topics:
    """An embedding model and the topics' examples as vectors."""

    name = "topics"

    def __init__(self, config: TopicsConfig, ctx: StageContext, cache: EmbeddingCache) -> None:
        servers = (config.embed.endpoint,)
        refuse_egress(servers, scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="screen.topics")
        self.config = config
        self.undecided = config.undecided
        examples = [(t.name, e) for t in config.topics for e in _examples(t, ctx)]
        self._embedder = open_embedder(config.embed, ctx.root, cache)
        try:
            self._seed_names = np.array([name for name, _ in examples], np.str_)
            self._seeds = _all_vectors(self._embedder.embed([e for _, e in examples]))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._counts: Counter[str] = Counter()
        self._topics: Counter[str] = Counter()
        self._cosines: list[float] = []
        self._tables: list[Table] = []
        self._failed: list[ModelFinding] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._embedder.__exit__(kind, error, tb)

    def find(self, dataset: Dataset, keep: Mask) -> Iterator[ModelFinding]:
        """Rows on an unwanted topic, and rows that could not be embedded.

        By examples one chunk of rows is held at a time. By clusters the vectors of all rows are: 4 bytes per row and
        dimension; and a row's cluster depends on the other rows.
        """
        if self.config.clusters is None:
            for numbers, ids, vectors in self._embedded(dataset, keep):
                yield from self._unwanted(numbers, ids, self._nearest(vectors))
        else:
            parts = [p for p in self._embedded(dataset, keep) if p[0]]
            numbers, ids = [n for p in parts for n in p[0]], [i for p in parts for i in p[1]]
            if numbers:
                yield from self._unwanted(numbers, ids, self._by_cluster(ids, np.concatenate([p[2] for p in parts])))
        yield from self._failed

    def _embedded(self, dataset: Dataset, keep: Mask) -> Iterator[tuple[list[int], list[str], Vectors]]:
        """Numbers, record ids and vectors of rows with a text; rows without a vector go to `_failed`."""
        for numbers, rows in chosen_rows(dataset, keep, self.config.splits, self.name):
            texts = [part_of(r, self.config.part) for r in rows]
            filled = [i for i, t in enumerate(texts) if t]
            self._counts["rows without a text to read"] += len(rows) - len(filled)
            found = self._embedder.embed([texts[i] for i in filled])
            self._counts["rows cut to what the model reads"] += int(found.cut.sum())
            self._failed += [
                _no_vector(numbers[filled[i]], rows[filled[i]]["record_id"], reason)
                for i, reason in found.failed.items()
            ]
            good = [i for at, i in enumerate(filled) if found.ok[at]]
            yield [numbers[i] for i in good], [rows[i]["record_id"] for i in good], found.vectors[found.ok]

    def _nearest(self, vectors: Vectors) -> _Assigned:
        """Each row's topic: that of its nearest example, if that is near enough."""
        if not len(vectors):
            return _Assigned([], np.empty(0))
        cosines = np.round(vectors.astype(np.float64) @ self._seeds.T.astype(np.float64), _DECIMALS)
        best = cosines.argmax(axis=1)
        nearest = cosines[np.arange(len(vectors)), best]
        names = np.where(nearest >= self.config.threshold, self._seed_names[best], OTHER)
        return _Assigned(names.tolist(), nearest)

    def _by_cluster(self, ids: list[str], vectors: Vectors) -> _Assigned:
        """Each row's cluster, under the name of the topic that its centre is on, or of its most central row."""
        order = np.argsort(ids)
        centres, assigned = clusters(vectors[order], self.config.clusters or 1, self.config.seed)
        cluster = np.empty(len(ids), np.int64)
        cluster[order] = assigned
        cosines = np.round((vectors.astype(np.float64) * centres[cluster]).sum(axis=1), _DECIMALS)
        names: dict[int, str] = {}
        lines: list[tuple[str, str, int, float]] = []
        topics = self._nearest(centres).names if len(self._seeds) else [OTHER] * len(centres)
        for number in range(len(centres)):
            members = np.flatnonzero(cluster == number)
            if not len(members):
                continue
            medoid = ids[min(members.tolist(), key=lambda m: (-cosines[m], ids[m]))]
            names[number] = topics[number] if topics[number] != OTHER else f"medoid:{medoid}"
            lines.append((names[number], medoid, len(members), round(float(cosines[members].mean()), 4)))
        self._tables.append(
            Table(
                title="Clusters", columns=("name", "most central row", "rows", "mean cosine with the centre"),
                rows=tuple(sorted(lines, key=lambda line: (-line[2], line[1]))),
            )
        )  # fmt: skip
        return _Assigned([names[c] for c in cluster.tolist()], cosines)

    def _unwanted(self, numbers: list[int], ids: list[str], assigned: _Assigned) -> Iterator[ModelFinding]:
        self._cosines += assigned.cosines.tolist()
        self._topics.update(assigned.names)
        for number, record_id, name, cosine in zip(numbers, ids, assigned.names, assigned.cosines, strict=True):
            unwanted = name in self.config.drop or (bool(self.config.keep) and name not in self.config.keep)
            if unwanted:
                topic = name.partition(":")[0]
                yield ModelFinding(
                    number, record_id, self.config.action, f"topic.{topic}", float(cosine), {"topic": name}
                )

    def report(self) -> ModelReport:
        """Counts, similarities, clusters, and what the names rest on."""
        named = sum(n for name, n in self._topics.items() if name.startswith("medoid:"))
        topics = {f"rows on {name}": n for name, n in self._topics.items() if not name.startswith("medoid:")}
        counts = Counter({**self._counts, **topics, "rows in clusters without a topic": named})
        what = "cluster's centre" if self.config.clusters else "nearest example"
        notes = ["Topics by clusters depend on all rows: a run over more data may divide them otherwise."]
        cosines = histogram(f"topics: cosine with the {what}", "cosine", self._cosines)
        return ModelReport(tally(counts), [cosines], self._tables, notes if self.config.clusters else [])


def _no_vector(number: int, record_id: str, reason: NoVector) -> ModelFinding:
    return ModelFinding(number, record_id, None, f"undecided:topics.{reason}", undecided=reason)


def _all_vectors(found: Embedded) -> Vectors:
    """The examples' vectors, of which none may be missing."""
    if found.failed:
        reasons = ", ".join(sorted(set(found.failed.values())))
        raise ServiceError(
            f"{len(found.failed)} examples of topics could not be embedded ({reasons})", where="screen.topics",
            hint="mend the model or server and run again",
        )  # fmt: skip
    return found.vectors


def _examples(topic: TopicConfig, ctx: StageContext) -> list[str]:
    """A topic's examples, those of its file included; white space around them is removed."""
    lines = list(topic.examples)
    if topic.file is not None:
        file = ctx.root / topic.file
        if not file.is_file():
            raise InputNotFoundError("no such file", where=topic.file, hint=f"paths in a config start from {ctx.root}")
        try:
            lines += file.read_text("utf-8-sig").splitlines()
        except UnicodeDecodeError as e:
            raise InputError("examples of a topic must be UTF-8 text, one per line", where=topic.file) from e
    found = [text for line in lines if (text := line.strip())]
    if not found:
        raise InputError(f"no examples for topic {topic.name!r}", where=topic.file or "screen.topics")
    return found
