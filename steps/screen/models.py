"""A second look by models at the rows that rules and patterns leave: a classifier or topics, one after the other."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.errors import ServiceError
from steps.contracts.ledger import LedgerWriter, Verdict
from steps.contracts.records import SPLITS, Row, Split
from steps.contracts.reports import Histogram, StageReport, Table
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.progress.progress import Progress
from steps.screen.config import ModelAction, ScreenConfig

Mask = npt.NDArray[np.bool_]

_COLUMNS = ["record_id", "content_id", "kind", "messages", "tools", "chosen", "rejected", "text"]
# Rows whose texts are held at once; the models cut them into batches.
_ROWS_AT_ONCE = 1024
_VERDICTS: dict[ModelAction, Verdict] = {"drop": "dropped", "quarantine": "quarantined", "flag": "flagged"}


@dataclass(frozen=True)
class Place:
    """Where things lie. root: what relative folders and files start from; cache: what models said about texts, kept
    between runs (None: not kept); scrubbed: whether personal data was removed from the rows. earlier: what an earlier
    run kept of what models said; keep: whether this run keeps it for a later one.
    """

    root: Path = Path()
    cache: Path | None = None
    scrubbed: bool = True
    earlier: CachedEmbeddings | None = None
    keep: bool = False


@dataclass(frozen=True)
class Said:
    """What a model says about the row at `number` of the dataset. `undecided`: why there is no answer, else None."""

    number: int
    record_id: str
    action: ModelAction | None
    reason: str
    score: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    undecided: str | None = None


class RowModel(AbstractContextManager["RowModel"], Protocol):
    """A model that says something about some rows."""

    @property
    def name(self) -> str:
        """As it stands in the report."""

    @property
    def undecided(self) -> str:
        """The config's policy: keep, drop, quarantine or fail."""

    def look(self, dataset: Dataset, keep: Mask) -> Iterator[Said]:
        """What it says about rows where `keep` is true, shape (rows,)."""

    def told(self) -> tuple[dict[str, int], Sequence[Histogram], Sequence[Table], Sequence[str]]:
        """For the report, after `look`: counts, distributions, tables, notes."""


class SecondLook:
    """Runs the configured models one after the other, and keeps what the report needs."""

    def __init__(self, config: ScreenConfig, place: Place, folder: Path) -> None:
        self._config, self._place = config, place
        self._cache = EmbeddingCache(place.cache, place.earlier, folder if place.keep else None)
        self.embeddings = CachedEmbeddings()
        self._counts: dict[str, dict[str, int]] = {}
        self._histograms: list[Histogram] = []
        self._tables: list[Table] = []
        self._notes: list[str] = []
        self._undecided = 0
        # Rows that have a flag already: flagged again, or taken out after all.
        self._not_flagged_anew = 0

    def run(self, dataset: Dataset, keep: Mask, aside: Mask, flagged: Mask, lines: LedgerWriter) -> None:
        """Change these masks (shape (rows,)) by what each model says, and write it to the ledger.

        Raises:
            ServiceError: a row is undecided, and the config says fail; or a server doesn't work.
        """
        with self._cache:
            for model in self._models():
                with model:
                    for said in model.look(dataset, keep.copy()):
                        self._enter(said, model, keep, aside, flagged, lines)
                    counts, histograms, tables, notes = model.told()
                self._counts[model.name] = counts
                self._histograms += histograms
                self._tables += tables
                self._notes += notes
            self.embeddings = self._cache.write()
        if self._counts:
            self._notes += self._cache.notes()

    def _enter(
        self, said: Said, model: RowModel, keep: Mask, aside: Mask, flagged: Mask, lines: LedgerWriter
    ) -> None:  # fmt: skip
        verdict = self._verdict(said, model)
        lines.add(said.record_id, verdict, said.reason, score=said.score, evidence=said.evidence)
        keep[said.number] = verdict in ("flagged", "undecided")
        aside[said.number] = verdict == "quarantined"
        self._not_flagged_anew += bool(flagged[said.number]) and verdict != "undecided"
        flagged[said.number] = verdict == "flagged" or (flagged[said.number] and verdict == "undecided")

    def _models(self) -> Iterator[RowModel]:
        if self._config.classifiers:
            from steps.screen.classifiers import Classifier

            yield from (Classifier(c, self._place, self._cache) for c in self._config.classifiers)
        if self._config.topics is not None:
            from steps.screen.topics import Topics

            yield Topics(self._config.topics, self._place, self._cache)

    def _verdict(self, said: Said, model: RowModel) -> Verdict:
        if said.undecided is None:
            assert said.action is not None
            return _VERDICTS[said.action]
        if model.undecided == "fail":
            raise ServiceError(
                f"no answer on row {said.record_id}: {said.undecided}", where=f"screen: {model.name}",
                hint="set its `undecided` to keep, drop or quarantine",
            )  # fmt: skip
        self._undecided += 1
        policies: dict[str, Verdict] = {"drop": "dropped", "quarantine": "quarantined"}
        return policies.get(model.undecided, "undecided")

    def in_report(self, report: StageReport) -> StageReport:
        """The stage's report with what the models told."""
        if not self._counts:
            return report
        return report.model_copy(
            update={
                "undecided": report.undecided + self._undecided,
                "flagged": report.flagged - self._not_flagged_anew,
                "counts": {**report.counts, **self._counts},
                "histograms": (*report.histograms, *self._histograms),
                "tables": (*report.tables, *self._tables),
                "notes": (*report.notes, *self._notes),
            }
        )


def chosen_rows(
    dataset: Dataset, keep: Mask, splits: Sequence[Split], what: str
) -> Iterator[tuple[list[int], list[Row]]]:
    """Rows where `keep` is true and the split is one of `splits` (none counts as train), with their numbers."""
    codes = np.where(dataset.split_codes() < 0, SPLITS.index("train"), dataset.split_codes())
    wanted = keep & np.isin(codes, [SPLITS.index(s) for s in splits])
    with Progress(f"screen: {what}", int(wanted.sum())) as progress:
        for chunk in dataset.chunks(_COLUMNS):
            start = chunk.start
            for batch in chunk.table.to_batches(max_chunksize=_ROWS_AT_ONCE):
                here = np.flatnonzero(wanted[start : start + batch.num_rows])
                if len(here):
                    yield (here + start).tolist(), batch.take(here).to_pylist()
                    progress.advance(len(here))
                start += batch.num_rows


def histogram(title: str, unit: str, scores: Sequence[float]) -> Histogram:
    """Twenty bins from the lowest to the highest score; empty for no scores."""
    values = np.array(scores) if scores else np.zeros(0)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    counts, edges = np.histogram(values, bins=20, range=(low, high if high > low else low + 1.0))
    return Histogram(title=title, unit=unit, edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def tally(counts: Counter[str]) -> dict[str, int]:
    """Counts for a report, by name."""
    return dict(sorted(counts.items()))
