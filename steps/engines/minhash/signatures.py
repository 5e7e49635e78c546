"""MinHash signatures of shingle sets, and the bands by which similar ones meet.

Broder 1997 ("On the resemblance and containment of documents"); banding: Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", section 3.4. The permutations h -> a * h + b mod 2**32 are those of datasketch's
`affine32`, so that both backends give the same signatures; datasketch is the slower one and the oracle of the tests.
"""

import functools
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from steps.contracts.arrays import Numbers

Backend: TypeAlias = Literal["numba", "datasketch"]
Sets = npt.NDArray[np.uint32]
BandHashes = npt.NDArray[np.uint32]

# Chosen: 8,192 shingles x 125 permutations x 4 bytes = 4 MB at a time, whatever a row's length.
_PIECE_SHINGLES = 8_192
_LANES = 16


@dataclass(frozen=True)
class Scheme:
    """How sets become band hashes. Equal schemes give equal hashes on every machine."""

    bands: int
    rows: int
    seed: int
    backend: Backend = "numba"

    @property
    def permutations(self) -> int:
        """Values per signature."""
        return self.bands * self.rows


@functools.lru_cache(maxsize=8)
def permutations(count: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Factors a (odd) and summands b, padded to a multiple of 16; drawn as datasketch draws them."""
    generator = np.random.RandomState(seed)
    padded = -(-count // _LANES) * _LANES
    a, b = np.ones(padded, np.uint32), np.zeros(padded, np.uint32)
    a[:count] = generator.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b[:count] = generator.randint(0, 1 << 32, count, dtype=np.uint32)
    return a, b


def signatures(sets: Sets, offsets: Numbers, scheme: Scheme) -> npt.NDArray[np.uint32]:
    """One signature per set sets[offsets[i]:offsets[i + 1]], shape (n, at least scheme.permutations).

    An empty set gives the largest value everywhere; columns past scheme.permutations mean nothing.
    """
    if scheme.backend == "datasketch":
        return _by_datasketch(sets, offsets, scheme)
    from steps.engines.minhash import kernel

    a, b = permutations(scheme.permutations, scheme.seed)
    out = np.empty((len(offsets) - 1, len(a)), np.uint32)
    kernel.signatures(sets, offsets, a, b, out)
    return out


def band_hashes(signature: npt.NDArray[np.uint32], scheme: Scheme) -> BandHashes:
    """One 32-bit hash per band, shape (n, bands). Equal values give equal hashes; others meet once in 2**32."""
    from steps.engines.minhash import kernel

    out = np.empty((len(signature), scheme.bands), np.uint32)
    kernel.band_hashes(signature, scheme.bands, scheme.rows, out)
    return out


def _by_datasketch(sets: Sets, offsets: Numbers, scheme: Scheme) -> npt.NDArray[np.uint32]:
    """What MinHash.generator does (one shared set of permutations), with long rows taken in pieces."""
    from datasketch import MinHash

    first = MinHash(num_perm=scheme.permutations, seed=scheme.seed, hashfunc=int, scheme="affine32")
    out = np.empty((len(offsets) - 1, scheme.permutations), np.uint32)
    for i in range(len(offsets) - 1):
        sketch = first.copy()
        values = sets[offsets[i] : offsets[i + 1]]
        for at in range(0, len(values), _PIECE_SHINGLES):
            sketch.update_batch(values[at : at + _PIECE_SHINGLES].tolist())
        out[i] = sketch.hashvalues
    return out
