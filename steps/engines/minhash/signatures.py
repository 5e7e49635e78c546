"""MinHash signatures of shingle sets, and the bands by which similar ones meet.

Broder 1997 ("On the resemblance and containment of documents"); banding: Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", section 3.4.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from steps.engines.text.shingles import Hashes

Backend: TypeAlias = Literal["datasketch"]
Signatures = npt.NDArray[np.uint32]
BandHashes = npt.NDArray[np.uint64]

# Chosen: 8,192 shingles x 125 permutations x 4 bytes = 4 MB at a time, whatever a row's length.
_PIECE_SHINGLES = 8_192
# Odd multiplier (2**64 / golden ratio) that folds the values of one band into one hash.
_FOLD = np.uint64(0x9E3779B97F4A7C15)


def signatures(sets: Iterable[Hashes], permutations: int, seed: int, backend: Backend) -> Signatures:
    """One signature per shingle set, shape (n, permutations). An empty set gives the largest value everywhere."""
    return {"datasketch": _by_datasketch}[backend](sets, permutations, seed)


def _by_datasketch(sets: Iterable[Hashes], permutations: int, seed: int) -> Signatures:
    """What MinHash.generator does (one shared set of permutations), with long rows taken in pieces.

    The low 32 bits of our shingle hashes are the hash values; datasketch mixes them once more (its `affine32`).
    """
    from datasketch import MinHash

    first = MinHash(num_perm=permutations, seed=seed, hashfunc=int, scheme="affine32")
    rows = []
    for shingle_set in sets:
        sketch = first.copy()
        values = shingle_set.astype(np.uint32)
        for at in range(0, len(values), _PIECE_SHINGLES):
            sketch.update_batch(values[at : at + _PIECE_SHINGLES].tolist())
        rows.append(sketch.hashvalues)
    return np.array(rows, np.uint32).reshape(len(rows), permutations)


def band_hashes(signature: Signatures, bands: int, rows: int) -> BandHashes:
    """One 64-bit hash per band of `rows` signature values, shape (n, bands). Equal values give equal hashes."""
    parts = signature[:, : bands * rows].reshape(len(signature), bands, rows).astype(np.uint64)
    out = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), parts.shape[:2]) * _FOLD
    for j in range(rows):
        out = (out ^ parts[:, :, j]) * _FOLD
        out ^= out >> np.uint64(32)
    return out


def buckets(bands: BandHashes) -> npt.NDArray[np.int32]:
    """Bucket number of each row in each band, shape (n, bands); -1 where the row is alone. Numbers are global."""
    out = np.full(bands.shape, -1, np.int32)
    first = 0
    for b in range(bands.shape[1]):
        _, inverse, counts = np.unique(bands[:, b], return_inverse=True, return_counts=True)
        shared = counts > 1
        number = np.where(shared, np.cumsum(shared) - 1 + first, -1)
        out[:, b] = number[inverse]
        first += int(shared.sum())
    return out
