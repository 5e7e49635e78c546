"""The stored rows of all runs: every shard is looked through once, whatever the number of versions that share it."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ops.lineage.catalogue import Catalogue, Held
from ops.lineage.labels import ABSENT, Labels
from ops.lineage.ledgers import among
from steps.contracts.dataset import NO_SPLIT, Manifest, SplitCodes
from steps.contracts.errors import AssayError
from steps.contracts.monitoring import CANDIDATE
from steps.contracts.records import SPLITS, Row, current
from steps.zenml_runtime.state import state_folder

# Leaves of the row's schema that hold what it says, by column.
_TEXTS = {"text": "text", **{c: f"{c}.list.element.content" for c in ("messages", "chosen", "rejected")}}
MONITORING = "monitor"
# Hex digits of the candidate that a row was read of, as canonical JSON has it.
CANDIDATE_IN_META = rf'"{CANDIDATE}":"([0-9a-f]{{32}})"'
# Measured: with two cores decompressing is what takes the time; more threads than row groups in work bring nothing.
_THREADS = 4

Rows = npt.NDArray[np.int64]
# Row numbers by shard, ascending.
RowSet = Mapping[str, Rows]


class Place(NamedTuple):
    """Where a copy of a row stands: the shard's SHA-256, and its number there (0-based)."""

    shard: str
    row: int


@dataclass(frozen=True)
class VersionRows:
    """A dataset version: which rows of which shards it has, and their split labels.

    Attributes:
        codes: of every row of its shards, one after the other: its split's code, or ABSENT; None: it has all of them,
            without labels.
    """

    held: Held
    manifest: Manifest
    codes: SplitCodes | None

    def among(self, rows: RowSet) -> Iterator[tuple[str, Rows, SplitCodes]]:
        """Those of these rows that the version has: shard, row numbers and split codes."""
        start = 0
        for entry in self.manifest.shards:
            wanted = rows.get(entry.sha256)
            if wanted is not None and len(wanted):
                codes = np.full(len(wanted), NO_SPLIT, np.int8) if self.codes is None else self.codes[start + wanted]
                there = codes != ABSENT
                if there.any():
                    yield entry.sha256, wanted[there], codes[there]
            start += entry.rows

    def count(self, rows: RowSet) -> int:
        """How many of these rows the version has."""
        return sum(len(here) for _, here, _ in self.among(rows))

    def places(self, rows: RowSet) -> dict[Place, str | None]:
        """The same one by one, each with its split; for few rows."""
        return {
            Place(sha, int(n)): None if code == NO_SPLIT else SPLITS[code]
            for sha, here, codes in self.among(rows)
            for n, code in zip(here, codes, strict=True)
        }


class Shards:
    """The shards of all versions of a catalogue. What can't be read is a gap of the catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._versions: dict[str, VersionRows | None] = {}

    @cached_property
    def manifests(self) -> dict[str, tuple[Held, Manifest]]:
        """Every dataset version that can be read, by the URI of its artifact."""
        found = {}
        for held in self._catalogue.held("dataset"):
            try:
                found[held.artifact.uri] = held, self._catalogue.store(held.runs[0]).manifest(held.artifact)
            except AssayError as e:
                self._catalogue.miss(e, held.artifact.uri)
        return found

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every shard that can be read, by its SHA-256."""
        found: dict[str, Path] = {}
        for held, manifest in self.manifests.values():
            for entry in manifest.shards:
                if entry.sha256 not in found:
                    try:
                        found[entry.sha256] = self._catalogue.store(held.runs[0]).shard(entry.sha256)
                    except AssayError as e:
                        self._catalogue.miss(e, entry.sha256)
        return found

    def version(self, uri: str) -> VersionRows | None:
        """The rows of one version; None where it can't be read."""
        if uri not in self._versions:
            self._versions[uri] = self._version(uri)
        return self._versions[uri]

    def _version(self, uri: str) -> VersionRows | None:
        if uri not in self.manifests:
            return None
        held, manifest = self.manifests[uri]
        try:
            path = self._catalogue.store(held.runs[0]).selection(held.artifact)
        except AssayError as e:
            self._catalogue.miss(e, uri)
            return None
        codes = None
        if path is not None:
            codes = self._labels.of(manifest.selection or "", path, manifest.shards)
        return VersionRows(held, manifest, codes)

    @cached_property
    def _labels(self) -> Labels:
        return Labels(state_folder(self._catalogue.root) / "cache" / "labels", self._catalogue.known)

    def with_prefix(self, prefix: str) -> dict[str, list[Place]]:
        """Rows whose record id begins so, each with all its places."""
        return self._found("starts_with(record_id, $wanted)", prefix)

    def with_ids(self, record_ids: Collection[str]) -> dict[str, list[Place]]:
        """The rows with these record ids, each with all its places; those that stand nowhere are left out."""
        return self._found(among(record_ids), list(record_ids)) if record_ids else {}

    def read_of(self, candidates: Collection[str]) -> dict[str, list[str]]:
        """Record ids of the rows that ingest read of candidates which a monitor published, by candidate."""
        if not candidates or not self.files or all(r.pipeline != MONITORING for r in self._catalogue.runs):
            return {}
        said = f"regexp_extract(meta, '{CANDIDATE_IN_META}', 1)"
        query = (
            f"SELECT DISTINCT {said} AS candidate, record_id FROM read_parquet($files, union_by_name = true)"
            f" WHERE contains(meta, '\"{CANDIDATE}\"') AND list_contains($wanted, {said}) ORDER BY ALL"
        )
        found: dict[str, list[str]] = defaultdict(list)
        for candidate, record_id in self._answer(query, wanted=list(candidates)):
            found[candidate].append(record_id)
        return dict(found)

    def of_source(self, source: str) -> RowSet:
        """The rows of a source, by its name in the config, or that and the path below it."""
        found = {}
        for sha, path in self.files.items():
            # As a dictionary: each of the few names is compared once.
            names = pq.ParquetFile(path, read_dictionary=["source"], pre_buffer=False).read(["source"])["source"]
            here = [_of_source(chunk.dictionary, source).take(chunk.indices) for chunk in names.chunks]
            rows = (
                np.flatnonzero(np.concatenate([np.asarray(part) for part in here])) if here else np.zeros(0, np.int64)
            )
            if len(rows):
                found[sha] = rows.astype(np.int64)
        return found

    def records_of_source(self, source: str) -> int:
        """How many rows the source has, whatever the number of their copies."""
        query = (
            "SELECT count(DISTINCT record_id) FROM read_parquet($files, union_by_name = true)"
            " WHERE source = $source OR starts_with(source, $source || '/')"
        )
        return int(self._answer(query, source=source)[0][0])

    def sources(self) -> list[str]:
        """The names of all sources."""
        query = "SELECT DISTINCT split_part(source, '/', 1) FROM read_parquet($files, union_by_name = true) ORDER BY 1"
        return [row[0] for row in self._answer(query)] if self.files else []

    def _answer(self, query: str, **given: object) -> list[tuple[Any, ...]]:
        """All rows of an answer from `$files`. DuckDB is imported when something is asked."""
        import duckdb

        files = {"files": list(map(str, self.files.values()))}
        found: list[tuple[Any, ...]] = duckdb.execute(query, {**files, **given}).fetchall()
        return found

    def _found(self, where: str, wanted: object) -> dict[str, list[Place]]:
        found: dict[str, list[Place]] = defaultdict(list)
        for record_id, shard, row in self._asked(where, wanted):
            found[record_id].append(Place(shard, row))
        return {record_id: sorted(places) for record_id, places in sorted(found.items())}

    def _asked(self, where: str, wanted: object) -> list[tuple[str, str, int]]:
        """Record id, shard and row number of the rows that a condition holds for."""
        if not self.files:
            return []
        shards = {str(path): sha for sha, path in self.files.items()}
        query = (
            "SELECT record_id, filename, file_row_number"
            " FROM read_parquet($files, filename = true, file_row_number = true, union_by_name = true)"
            f" WHERE {where}"
        )
        return [(record_id, shards[file], row) for record_id, file, row in self._answer(query, wanted=wanted)]

    def with_text(self, text: str, without: Collection[str] = ()) -> dict[str, list[Place]]:
        """Rows of which a text holds these words, case ignored, each with its places.

        `without`: shards whose rows stand in others as well, and hold the words there.
        """
        groups = [
            (sha, path, g, first)
            for sha, path in self.files.items()
            if sha not in without
            for g, first in enumerate(_first_rows(path))
        ]  # fmt: skip
        found: dict[str, list[Place]] = defaultdict(list)
        with ThreadPoolExecutor(_THREADS) as threads:
            for (sha, _, _, first), hits in zip(
                groups, threads.map(lambda g: _matching(g[1], g[2], text), groups), strict=True
            ):
                for row, record_id in hits:
                    found[record_id].append(Place(sha, first + row))
        if without:
            return self.with_ids(found.keys())
        return {record_id: sorted(places) for record_id, places in sorted(found.items())}

    def rows(self, places: Sequence[Place]) -> dict[Place, Row]:
        """The rows that stand there, without split labels; only the row groups that hold them are read."""
        found: dict[Place, Row] = {}
        for shard in {p.shard for p in places} & self.files.keys():
            path = self.files[shard]
            starts = np.array(_first_rows(path))
            file = pq.ParquetFile(path, pre_buffer=False)
            wanted = sorted(p.row for p in places if p.shard == shard)
            for group in sorted(set((np.searchsorted(starts, wanted, "right") - 1).tolist())):
                table = file.read_row_group(group)
                here = [n for n in wanted if starts[group] <= n < starts[group] + len(table)]
                taken = current(table.take(pa.array([n - int(starts[group]) for n in here]))).to_pylist()
                found |= {Place(shard, n): row for n, row in zip(here, taken, strict=True)}
        return found


def row_set(places: Collection[Place]) -> RowSet:
    """Places as row numbers by shard."""
    found: dict[str, list[int]] = defaultdict(list)
    for shard, row in places:
        found[shard].append(row)
    return {shard: np.unique(np.array(rows, np.int64)) for shard, rows in found.items()}


def joined(*sets: RowSet) -> RowSet:
    """The rows of all sets."""
    shards = {shard for s in sets for shard in s}
    return {sha: np.unique(np.concatenate([s[sha] for s in sets if sha in s])) for sha in shards}


def _of_source(names: pa.StringArray, source: str) -> pa.BooleanArray:
    return pc.or_(pc.equal(names, source), pc.starts_with(names, f"{source}/"))


def _first_rows(path: Path) -> list[int]:
    """Number of the first row of each row group."""
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    return [0, *np.cumsum(sizes).tolist()][: len(sizes)]


def _matching(path: Path, group: int, text: str) -> list[tuple[int, str]]:
    """Row number within the row group and record id of the rows that hold the text."""
    file = pq.ParquetFile(path, pre_buffer=False)
    names = set(file.schema_arrow.names)
    table = file.read_row_group(group, [leaf for c, leaf in _TEXTS.items() if c in names], use_threads=False)
    hits: set[int] = set()
    for column in table.column_names:
        first = 0
        for chunk in table[column].chunks:
            hits.update(first + n for n in _hits(chunk, text))
            first += len(chunk)
    if not hits:
        return []
    ids = file.read_row_group(group, ["record_id"], use_threads=False)["record_id"]
    return [(n, ids[n].as_py()) for n in sorted(hits)]


def _hits(chunk: Any, text: str) -> list[int]:
    """Numbers of the rows of which a text, or that of one of its messages, holds the words."""
    is_list = pa.types.is_list(chunk.type)
    texts = chunk.flatten().field(0) if is_list else chunk
    if texts.null_count == len(texts):
        return []
    at = pc.indices_nonzero(pc.fill_null(pc.match_substring(texts, text, ignore_case=True), False))
    if not is_list:
        return [int(n) for n in at.to_pylist()]
    return [int(n) for n in chunk.value_parent_indices().take(at).to_pylist()]
