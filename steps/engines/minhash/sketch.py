"""One pass over texts: what is needed to find near duplicates later, without the texts."""

from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers
from steps.contracts.storage import writing
from steps.engines.minhash.signatures import BandHashes, Scheme, Sets, band_hashes, signatures
from steps.engines.text.columns import Scratch, Texts, words_of

# Chosen: the buffers of so many rows of instruction length (1 MB or so) stay in a core's own cache.
_BLOCK_ROWS = 1_024


@dataclass(frozen=True)
class Job:
    """Some rows to sketch. ngrams: words per shingle, per row. salts: rows with different salts never look alike.

    tokens: what each row is cut into (`Tokens`), uint8, shape (n,).
    """

    texts: Texts
    ngrams: Numbers
    salts: Numbers
    tokens: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, first: int, last: int) -> "Job":
        """Rows first to last - 1 (or to the end)."""
        last = min(last, len(self))
        here = slice(first, last)
        return Job(self.texts.rows(first, last), self.ngrams[here], self.salts[here], self.tokens[here])


@dataclass(frozen=True)
class Sketch:
    """n rows. digests: 128 bits over each row's tokens, uint64, shape (n, 2). bands: uint32, shape (n, bands).

    sets: distinct 32-bit shingle hashes of all rows one after another; sizes: how many each row has, shape (n,).
    leads: how many of them, the first ones, lie wholly before the row's answer, shape (n,).
    plain, signs, symbolic: as of `Words`.
    """

    digests: npt.NDArray[np.uint64]
    bands: BandHashes
    sets: Sets
    sizes: Numbers
    leads: Numbers
    plain: npt.NDArray[np.uint64]
    signs: npt.NDArray[np.uint64]
    symbolic: npt.NDArray[np.bool_]


class SetFile:
    """Shingle sets in a temporary file, appended once and then read by row; 4 bytes per shingle.

    Two different shingles have the same 32 bits once in 2**32, so that an exact Jaccard is off by less than
    (row's shingles) / 2**32. A context manager: the file is gone afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
        self._size = 0

    def append(self, sets: Sets) -> None:
        """Add the sets of the next rows."""
        with writing(self.path):
            self._file.write(sets.data)
        self._size += len(sets)

    def values(self) -> Sets:
        """All sets one after another, mapped from the file; nothing can be appended any more."""
        with writing(self.path):
            self._file.close()
        if not self._size:
            return np.empty(0, np.uint32)
        # A plain view: slicing a memmap itself costs several microseconds.
        return np.memmap(self.path, np.uint32, "r", shape=(self._size,)).view(np.ndarray)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def sketch(job: Job, scheme: Scheme | None, *, scratch: Scratch | None = None) -> Sketch:
    """Sketch of the job's rows. Without a scheme there are no bands and sets."""
    scratch = scratch or Scratch()
    parts = [_block(job.rows(a, a + _BLOCK_ROWS), scheme, scratch) for a in range(0, len(job), _BLOCK_ROWS)]
    if not parts:
        parts = [_block(job, scheme, scratch)]
    return Sketch(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Sketch)))


def _block(job: Job, scheme: Scheme | None, scratch: Scratch) -> Sketch:
    from steps.engines.minhash import kernel
    from steps.engines.text.kernel import shingle_hashes

    words = words_of(job.texts, job.tokens, scratch=scratch)
    # The salt enters the digests as well: a document never equals a conversation.
    salt = job.salts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    digests, plain = words.digests ^ salt[:, None], words.plain ^ salt
    n = len(job.texts)
    if scheme is None:
        nothing = np.zeros(n, np.int64)
        bands, sets = np.empty((n, 0), np.uint32), np.empty(0, np.uint32)
        return Sketch(digests, bands, sets, nothing, nothing, plain, words.signs, words.symbolic)
    shingles = scratch.array("shingles", np.uint64, len(words.values))
    offsets = shingle_hashes(words.values, words.offsets, job.ngrams, job.salts, shingles)
    distinct = scratch.array("sets", np.uint32, int(offsets[-1]))
    leads = np.maximum(words.leads - job.ngrams + 1, 0)
    offsets = kernel.distinct_sets(shingles, offsets, leads, distinct)
    sets = distinct[: offsets[-1]].copy()
    bands = band_hashes(signatures(sets, offsets, scheme), scheme)
    return Sketch(digests, bands, sets, np.diff(offsets), leads, plain, words.signs, words.symbolic)
