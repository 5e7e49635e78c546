"""Which rows of its shards a version has, as one byte per row: looked up where they stand, without reading the rest.

Made from a version's selection, and kept below the state folder under the selection's SHA-256 and its own: a file that
isn't what its name says is made anew, and all of them can be removed at any time. No text is in them.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from ops.lineage.known_digests import KnownDigests
from steps.contracts.dataset import ShardEntry, SplitCodes
from steps.contracts.digests import file_digest
from steps.contracts.errors import StorageError
from steps.contracts.storage import aside

# Of a row that isn't in the version; the others have their split's code.
ABSENT = -2
# Characters of a digest in a name.
_SHORT = 32


class Labels:
    """Split codes by the SHA-256 of selections, kept in a folder."""

    def __init__(self, folder: Path, known: KnownDigests) -> None:
        self._folder = folder
        self._known = known
        self._files = {path.name[:_SHORT]: path for path in sorted(folder.glob(f"{'?' * _SHORT}-*.npy"))}

    def of(self, sha256: str, selection: Path, shards: Sequence[ShardEntry]) -> SplitCodes:
        """Code of every row of these shards, one after the other, in a version with that selection. Shape (rows,)."""
        file = self._files.get(sha256[:_SHORT])
        if file is not None and self._known.of(file)[:_SHORT] == file.stem[_SHORT + 1 :]:
            codes: SplitCodes = np.load(file, mmap_mode="r")
            return codes
        codes = _made(selection, shards)
        # Where nothing can be written they are made for each question.
        with suppress(StorageError):
            self._keep(sha256, codes)
        return codes

    def _keep(self, sha256: str, codes: npt.NDArray[np.int8]) -> None:
        whole = self._folder / f"{sha256[:_SHORT]}.new.npy"
        with aside(whole) as partial, partial.open("wb") as out:
            np.save(out, codes)
        whole.replace(self._folder / f"{sha256[:_SHORT]}-{file_digest(whole)[:_SHORT]}.npy")


def _made(selection: Path, shards: Sequence[ShardEntry]) -> SplitCodes:
    # Not `read_table`, which takes seven times as long.
    table = pq.ParquetFile(selection).read(use_threads=False)
    shard, row, split = (table[c].to_numpy() for c in ("shard", "row", "split"))
    starts = np.concatenate([[0], np.cumsum([entry.rows for entry in shards])])
    codes = np.full(int(starts[-1]), ABSENT, np.int8)
    codes[starts[shard] + row] = split
    return codes
