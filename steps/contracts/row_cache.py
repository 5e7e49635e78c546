"""Results of a row-wise stage, cached between runs: a row that was decided once costs its key only.

On disk a row cache is a folder with `manifest.json` and `results.parquet`: `key` (16 bytes), sorted, and `result` (a
string that only the stage can read; "" when there is nothing to say about the row). A key is a digest of everything
in a row that the stage's result depends on. A result holds spans, types and scores, never text of the row.
Undecided rows are not kept: the next run tries them again.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from steps.contracts.arrays import Mask, Numbers, one_array
from steps.contracts.digests import file_digest, short_id, value_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.reports import Frozen
from steps.contracts.storage import write_whole, writing

FORMAT = 1
RESULTS = "results.parquet"
_SCHEMA = pa.schema([("key", pa.binary(16)), ("result", pa.string())])
_HEX_CHARS = 32
_WITHOUT = "run once with `reuse: null`: every row is computed and kept anew"

# Shape (rows, 2): the two halves of a 128-bit key, more significant half first.
Keys: TypeAlias = npt.NDArray[np.uint64]


class Origin(Frozen):
    """What decides a result besides the row; results of another origin are not used.

    Attributes:
        config: digest of the settings that a result depends on.
        code: digest of the code and the libraries; "" where the caller doesn't know it.
        key_id: fingerprint of the pseudonym key and of files that the settings name, for the stage that has them.
    """

    stage: str
    config: str
    code: str = ""
    key_id: str = ""


class RowCacheManifest(Frozen):
    """What a row cache is. `files` maps a file's name to its SHA-256."""

    format: int = FORMAT
    origin: Origin
    rows: int
    files: dict[str, str]


@dataclass(frozen=True)
class RowCache:
    """A finished row cache on this machine."""

    folder: Path
    manifest: RowCacheManifest

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a row cache and check its bytes.

        Raises:
            InputNotFoundError: a file is missing.
            IntegrityError: the files aren't those that the manifest names, or of another format.
        """
        file = folder / "manifest.json"
        if not file.is_file():
            raise InputNotFoundError("no manifest.json: not the row cache of a stage", where=str(folder), hint=_WITHOUT)
        try:
            manifest = RowCacheManifest.model_validate_json(file.read_bytes())
        except ValidationError as e:
            raise IntegrityError(f"not readable: {e.errors()[0]['msg']}", where=str(file), hint=_WITHOUT) from e
        if manifest.format != FORMAT:
            raise IntegrityError(
                f"format {manifest.format}, this version reads {FORMAT}", where=str(file), hint=_WITHOUT
            )
        for name, sha256 in manifest.files.items():
            path = folder / name
            if not path.is_file():
                raise InputNotFoundError("a file of this row cache is missing", where=str(path), hint=_WITHOUT)
            if file_digest(path) != sha256:
                raise IntegrityError("not the bytes that the manifest names", where=str(path), hint=_WITHOUT)
        return cls(folder, manifest)

    @property
    def digest(self) -> str:
        """Digest of origin and results."""
        return value_digest(self.manifest.model_dump(mode="json"))


@dataclass(frozen=True)
class Lookup:
    """What is cached about the rows of one chunk.

    Attributes:
        cached: whether a row's result was kept, shape (rows,).
        results: the result of cached rows about which there is something to say, by row number in the chunk.
        shared: those of them that another step of this run has computed.
    """

    cached: Mask
    results: Mapping[int, str]
    shared: Set[int] = frozenset()

    @property
    def new(self) -> Numbers:
        """Numbers of the rows to compute, ascending."""
        return np.flatnonzero(~self.cached)

    @property
    def silent(self) -> Mask:
        """Cached rows about which there is nothing to say, shape (rows,)."""
        mask = self.cached.copy()
        mask[list(self.results)] = False
        return mask

    def filled_by(self, other: "Lookup") -> "Lookup":
        """The same, with what another one has of the rows that aren't cached here."""
        further = {n: result for n, result in other.results.items() if not self.cached[n]}
        return Lookup(self.cached | other.cached, {**self.results, **further}, self.shared | further.keys())


class CachedRows:
    """A stage's use of its row cache during one run: looks rows up in the earlier one, gathers the next one.

    Holds 16 bytes per row of both in RAM, and the distinct results.
    """

    def __init__(self, origin: Origin, row_cache: RowCache | None, shares: Sequence[RowCache] = ()) -> None:
        """One of another stage is an error; one of other settings, code or key is left aside, and a note says so.

        `shares`: what other steps of this run have computed; it counts as computed.

        Raises:
            IntegrityError: the row cache is another stage's, or damaged.
        """
        self.origin = origin
        self.reused = 0
        self.computed = 0
        self.refusal = _difference(row_cache.manifest.origin, origin) if row_cache else None
        self._earlier = _Earlier(row_cache) if row_cache and self.refusal is None else None
        self._shares = [_Earlier(s) for s in shares if _difference(s.manifest.origin, origin) is None]
        self._asked = row_cache is not None
        self._keys: list[Keys] = []
        self._codes: list[npt.NDArray[np.int32]] = []
        self._results: dict[str, int] = {"": 0}

    def look_up(self, keys: Keys) -> Lookup:
        """What is cached about these rows."""
        lookup = self._earlier.find(keys) if self._earlier else Lookup(np.zeros(len(keys), bool), {})
        reused = int(lookup.cached.sum())
        self.reused += reused
        self.computed += len(keys) - reused
        for share in self._shares:
            lookup = lookup.filled_by(share.find(keys))
        return lookup

    def keep(self, keys: Keys, results: Mapping[int, str], undecided: Collection[int] = ()) -> None:
        """Keep the results of one chunk's rows; rows that `results` doesn't name have nothing to say."""
        codes = np.zeros(len(keys), np.int32)
        for row, result in results.items():
            codes[row] = self._results.setdefault(result, len(self._results))
        if undecided:
            decided = np.ones(len(keys), bool)
            decided[list(undecided)] = False
            keys, codes = keys[decided], codes[decided]
        self._keys.append(keys)
        self._codes.append(codes)

    def notes(self) -> tuple[str, ...]:
        """Sentences for the report; none when there was no earlier row cache."""
        if self.refusal is not None:
            return (f"{self.computed:,} rows recomputed because {self.refusal} since the earlier run",)
        if not self._asked:
            return ()
        return (f"{self.reused:,} rows taken from the earlier run, {self.computed:,} computed",)

    def close(self, folder: Path) -> RowCache:
        """Write the row cache of this run to `folder`: every decided row of it, known before or not."""
        keys = np.concatenate(self._keys) if self._keys else np.empty((0, 2), np.uint64)
        codes = np.concatenate(self._codes) if self._codes else np.empty(0, np.int32)
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        keys, codes = keys[order], codes[order]
        first = np.ones(len(keys), bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        return _write(folder, self.origin, keys[first], codes[first], list(self._results))


def row_keys(table: pa.Table, columns: Sequence[str] = ()) -> Keys:
    """A key per row from `content_id` and the named columns (strings), shape (rows, 2).

    The digests of the parts are added bit by bit (XOR): what a row says, and each further value under its column's
    name. Only distinct values are hashed, so that a column with few of them costs little.
    """
    keys = _content_keys(one_array(table["content_id"]))
    for name in columns:
        encoded = one_array(table[name]).dictionary_encode()
        salts = _salts(name, encoded.dictionary.cast(pa.binary()).to_pylist())
        keys = keys ^ salts[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1]
    return keys


def _salts(column: str, values: Sequence[bytes]) -> Keys:
    """A digest per value of a column, after that of the missing value; shape (values + 1, 2)."""
    # No UTF-8 text is this byte.
    digests = (blake2b(v, digest_size=16, person=column.encode()).digest() for v in (b"\xff", *values))
    return np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)


def _content_keys(ids: pa.Array) -> Keys:
    """Content ids as numbers; ids that aren't 32 hex characters (a foreign file's) are hashed."""
    lengths = pc.binary_length(ids).to_numpy(zero_copy_only=False)
    if len(ids) and (lengths == _HEX_CHARS).all():
        start = int(np.frombuffer(ids.buffers()[1], np.int32)[ids.offset])
        text = np.frombuffer(ids.buffers()[2], np.uint8)[start : start + _HEX_CHARS * len(ids)]
        digits = _hex_values()[text].reshape(-1, _HEX_CHARS)
        if (digits < 16).all():
            raw = (digits[:, 0::2] << 4 | digits[:, 1::2]).astype(np.uint8)
            return np.ascontiguousarray(raw).view(">u8").astype(np.uint64)
    hashed = b"".join(bytes.fromhex(short_id(i)) for i in ids.to_pylist())
    return np.frombuffer(hashed, ">u8").reshape(-1, 2).astype(np.uint64)


def _hex_values() -> npt.NDArray[np.uint8]:
    """Value of each lower-case hex digit by its byte; 255 for other bytes."""
    values = np.full(256, 255, np.uint8)
    values[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
    return values


def _difference(earlier: Origin, now: Origin) -> str | None:
    """What changed since the row cache was made; None when its results hold.

    Raises:
        ValueError: it is another stage's.
    """
    if earlier.stage != now.stage:
        raise ValueError(f"stage {now.stage} was given a row cache of stage {earlier.stage}")
    if earlier.config != now.config:
        return f"the {now.stage} settings changed"
    if earlier.key_id != now.key_id:
        return "the pseudonym key, or a file that the settings name, changed"
    if earlier.code != now.code:
        return f"the code of {now.stage} or one of its libraries changed"
    return None


class _Earlier:
    """The results of an earlier run, found by key."""

    def __init__(self, row_cache: RowCache) -> None:
        path = row_cache.folder / RESULTS
        try:
            table = pq.read_table(path, read_dictionary=["result"])
            raw = one_array(table["key"]).cast(_SCHEMA.field("key").type)
            results = one_array(table["result"].unify_dictionaries())
        except (pa.ArrowException, KeyError, OSError) as e:
            raise IntegrityError(f"not a table of results: {type(e).__name__}", where=str(path), hint=_WITHOUT) from e
        size = 16 * len(raw)
        start = 16 * raw.offset
        buffer = np.frombuffer(raw.buffers()[1], np.uint8)[start : start + size] if size else np.empty(0, np.uint8)
        keys = np.ascontiguousarray(buffer).view(">u8").reshape(-1, 2).astype(np.uint64)
        self._high, self._low = np.ascontiguousarray(keys[:, 0]), np.ascontiguousarray(keys[:, 1])
        if len(keys) != row_cache.manifest.rows or (self._high[1:] < self._high[:-1]).any() or raw.null_count:
            raise IntegrityError("the results are not sorted or not complete", where=str(path), hint=_WITHOUT)
        self._texts: list[str] = results.dictionary.to_pylist()
        self._codes = results.indices.to_numpy(zero_copy_only=False)
        self._nothing = self._texts.index("") if "" in self._texts else -1

    def find(self, keys: Keys) -> Lookup:
        """Rows with the same 128 bits."""
        high, low = keys[:, 0], keys[:, 1]
        at = np.searchsorted(self._high, high)
        cached = np.zeros(len(keys), bool)
        # Keys that share their first half (never by chance) are looked through one by one.
        open_rows = np.flatnonzero(at < len(self._high))
        while len(open_rows):
            open_rows = open_rows[self._high[at[open_rows]] == high[open_rows]]
            found = self._low[at[open_rows]] == low[open_rows]
            cached[open_rows[found]] = True
            open_rows = open_rows[~found]
            at[open_rows] += 1
            open_rows = open_rows[at[open_rows] < len(self._high)]
        rows = np.flatnonzero(cached)
        codes = self._codes[at[rows]]
        saying = codes != self._nothing
        pairs = zip(rows[saying].tolist(), codes[saying].tolist(), strict=True)
        return Lookup(cached, {row: self._texts[code] for row, code in pairs})


def _write(folder: Path, origin: Origin, keys: Keys, codes: npt.NDArray[np.int32], texts: list[str]) -> RowCache:
    raw = pa.py_buffer(np.ascontiguousarray(keys.astype(">u8")).tobytes())
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, raw])
    table = pa.table([column, pa.array(texts, pa.string()).take(pa.array(codes))], schema=_SCHEMA)
    path = folder / RESULTS
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        pq.write_table(table, partial, compression="zstd", use_dictionary=["result"])
        partial.replace(path)
    manifest = RowCacheManifest(origin=origin, rows=len(keys), files={RESULTS: file_digest(path)})
    write_whole(folder / "manifest.json", manifest.model_dump_json(indent=1))
    return RowCache(folder, manifest)
