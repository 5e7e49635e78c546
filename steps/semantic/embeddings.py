"""One pass over the rows: a unit vector for each, and what decides the order."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Mask, Numbers, Vectors
from steps.contracts.dataset import Dataset, SplitCodes
from steps.contracts.records import SPLITS, Row, comparison_class
from steps.engines.embed.embedder import Embedder
from steps.engines.embed.vectors import NoVector
from steps.engines.progress.progress import Progress
from steps.engines.text.parts import part_of
from steps.semantic.config import SemanticConfig
from steps.semantic.spill import TextSpill

Ids = npt.NDArray[np.bytes_]

COLUMNS = ["record_id", "content_id", "kind", "batch", "messages", "tools", "chosen", "rejected", "text", "label"]
_HELD_OUT = tuple(SPLITS.index(s) for s in ("validation", "test"))
# Rows whose texts are held at once.
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Embeddings:
    """Of n rows: ids as bytes, kind as a comparison class, arrival batch, whether validation or test, unit vectors
    (n, d), whether the row is compared, whether the model read only its beginning, whether it has no text; shape (n,)
    all but the vectors. failed: why there is no vector, by row.
    """

    record_ids: Ids
    content_ids: Ids
    kinds: npt.NDArray[np.int8]
    batches: Numbers
    held_out: Mask
    vectors: Vectors
    compared: Mask
    cut: Mask
    empty: Mask
    failed: dict[int, NoVector] = field(default_factory=dict)

    def order(self) -> Numbers:
        """Row numbers, the row that wins first: held-out rows, then by (batch, content id), then by record id."""
        return np.lexsort((self.record_ids, self.content_ids, self.batches, ~self.held_out))


def read_embeddings(dataset: Dataset, config: SemanticConfig, embedder: Embedder, spill: TextSpill) -> Embeddings:
    """Embed every row once; its text goes to `spill`, in the dataset's order.

    Needs 4 bytes of memory per row and dimension: 1.5 kB per row with 384 dimensions.
    """
    reader = _Reader(dataset.rows, dataset.split_codes(), config, embedder, spill)
    with Progress("semantic: embedding", dataset.rows) as progress:
        for chunk in dataset.chunks(COLUMNS):
            for batch in chunk.table.to_batches(max_chunksize=_ROWS_AT_ONCE):
                reader.take(batch.to_pylist())
                progress.advance(batch.num_rows)
    return reader.finish()


class _Reader:
    def __init__(
        self, rows: int, splits: SplitCodes, config: SemanticConfig, embedder: Embedder, spill: TextSpill
    ) -> None:
        self.config, self.embedder, self.spill = config, embedder, spill
        self._at = 0
        self._ids: list[tuple[bytes, bytes]] = []
        self._kinds, self._batches = np.zeros(rows, np.int8), np.zeros(rows, np.int64)
        self._held_out = np.isin(splits, _HELD_OUT)
        self._vectors: Vectors | None = None
        self._compared, self._cut, self._empty = (np.zeros(rows, bool) for _ in range(3))
        self._failed: dict[int, NoVector] = {}

    def take(self, rows: list[Row]) -> None:
        """Add consecutive rows."""
        here = np.arange(self._at, self._at + len(rows))
        self._at += len(rows)
        self._ids += [(r["record_id"].encode(), r["content_id"].encode()) for r in rows]
        self._kinds[here] = [comparison_class(r) for r in rows]
        self._batches[here] = [r["batch"] for r in rows]
        texts = [part_of(r, self.config.compare) for r in rows]
        self.spill.append(texts)
        filled = [i for i, t in enumerate(texts) if t]
        self._empty[here] = [not t for t in texts]
        if filled:
            self._embed(here[filled], [texts[i] for i in filled])

    def _embed(self, rows: Numbers, texts: list[str]) -> None:
        found = self.embedder.embed(texts)
        if found.ok.any():
            if self._vectors is None:
                self._vectors = np.zeros((len(self._kinds), found.vectors.shape[1]), np.float32)
            self._vectors[rows[found.ok]] = found.vectors[found.ok]
        self._cut[rows] = found.cut
        self._compared[rows] = found.ok & (~found.cut if self.config.cut_texts == "keep" else True)
        self._failed.update((int(rows[i]), reason) for i, reason in found.failed.items())

    def finish(self) -> Embeddings:
        """All that was read, in the dataset's order."""
        self.spill.freeze()
        record_ids, content_ids = (np.array([pair[i] for pair in self._ids], np.bytes_) for i in (0, 1))
        vectors = np.zeros((len(self._kinds), 1), np.float32) if self._vectors is None else self._vectors
        return Embeddings(
            record_ids, content_ids, self._kinds, self._batches, self._held_out, vectors, self._compared, self._cut,
            self._empty, self._failed,
        )  # fmt: skip
