"""What an erasure would remove: every file that holds something of the rows, and what was made from them and can't be
looked into. Nothing is edited, so that what is there is what was recorded, and what is gone has a certificate.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from materializers import layout
from ops.erasure.needles import Needles
from ops.erasure.opened import contents, is_database, rows_of
from ops.erasure.places import Place, all_places, database_files, elsewhere, is_candidates, stores
from ops.erasure.rows import AffectedRows, Request, affected_rows, named_rows
from ops.lineage.catalogue import Catalogue
from ops.lineage.shards import row_set
from ops.lineage.trained import models_that_saw
from ops.lineage.ways import Lineage
from ops.lineage.where_used import NOT_SCRUBBED, pseudonyms
from steps.contracts.digests import text_digest
from steps.contracts.errors import AssayError, InputError
from steps.contracts.removal import StayingWeights
from steps.contracts.reports import Frozen
from steps.contracts.runs import RunRecord
from steps.contracts.tombstones import ValueDigest, value_of
from steps.engines.embed.config import CACHE as EMBEDDINGS
from steps.judge.config import CACHE as REPLIES
from steps.zenml_runtime.state import state_folder

# What a step left without a text in it: keys and results of rows, vectors, signatures.
_DERIVED = ("row_cache", "embeddings", "memory", "index")
_DERIVED_NAMES = re.compile(r"row_cache|embeddings|dedup_index")
# An artifact's folder below its store: step, output, id of the step's run, eight characters more.
_ARTIFACT = re.compile(r".*/[^/]+_step/[^/]+/[0-9a-f]{8}-[0-9a-f-]{27}/[^/]{8}(?=/)")
_SHARD = re.compile(r"/shards/([0-9a-f]{64})\.parquet$")
_PART = re.compile(r"/dedup_parts/([0-9a-f]{16,64})/")
# Below the state folder: made from rows of any run, and made again by the next one.
_CACHES = ("tokens/", "checkpoints/", f"{EMBEDDINGS}/", f"cache/{EMBEDDINGS}/", "measured/", "work/")
_SIDE_FILES = ("-wal", "-shm", "-journal")
_FOREIGN = ("/zenml.db", "/mlflow.db")
_DECISIONS = "decisions.jsonl"
# Stages whose rows are as they were read.
_READING = ("ingest", "logs")
_LINES = (".jsonl", ".lines")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")


class PlannedFile(Frozen):
    """A file to remove. `place`: URI of the place that it lies in; `name`: within it; `why`: what was found in it."""

    place: str
    name: str
    what: str
    why: str
    sha256: str | None = None


class Plan(Frozen):
    """What an erasure does, and what it needs to look for it again. It goes when that is done.

    Attributes:
        id: of the erasure.
        values: digests of the values that are asked for.
        folders: of artifacts that go whole.
        versions: digests of dataset versions that go; runs: ids of the runs that lose something, names beside.
        databases: files of SQLite whose free pages are cleared; own: those of them that lose rows in which something is
            found. Those of ZenML and MLflow aren't ours to change.
        lines: files of lines of which some go.
        salt: of the tombstone's digests.
        unread: files and places that can't be looked into; not_searched: where nothing of this machine can look.
    """

    id: str
    salt: str
    request: Request
    values: tuple[ValueDigest, ...]
    needles: Needles
    records: tuple[str, ...]
    copies: tuple[str, ...]
    rows: int
    files: tuple[PlannedFile, ...]
    folders: tuple[str, ...]
    lines: tuple[PlannedFile, ...]
    databases: tuple[str, ...]
    own: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    versions: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]
    stores: tuple[str, ...]
    weights: tuple[StayingWeights, ...]
    sources: tuple[str, ...]
    unread: tuple[str, ...]
    not_searched: tuple[str, ...]

    def kept(self) -> "Plan":
        """What may be written down: without a value, as it is or in the name of a file."""
        hidden = self.needles.masked
        return self._with_values((), tuple(f for f in self.files if hidden(f.name) == f.name))

    def resumed(self, values: Sequence[str]) -> "Plan":
        """A plan that was written down, with the values once more.

        Raises:
            InputError: they aren't those that were asked for.
        """
        asked = tuple(sorted(set(values)))
        try:
            given = {value_of(v, self.salt).digest for v in asked}
        except ValueError:
            given = {""}
        if given != {v.digest for v in self.values}:
            raise InputError(
                f"it was begun with {len(self.values)} values, and not with these", where="assay erase --continue",
                hint="a value is written down nowhere: give those again with --subject",
            )  # fmt: skip
        whole = self._with_values(asked, self.files)
        named = tuple(
            PlannedFile(place=p.uri, name=n, what="file", why="value", sha256=p.digest(n))
            for p in (Place(uri, what) for uri, what in self.places) if asked
            for n in p.names() if whole.needles.masked(n) != n
        )  # fmt: skip
        return whole.model_copy(update={"files": (*self.files, *named)})

    def _with_values(self, values: tuple[str, ...], files: tuple[PlannedFile, ...]) -> "Plan":
        request = self.request.model_copy(update={"values": values, "rows": ()})
        needles = self.needles.model_copy(update={"values": values})
        return self.model_copy(update={"request": request, "needles": Needles(**dict(needles)), "files": files})


@dataclass
class Search:
    """What was found in the files of all places, by URI; `unread`: what couldn't be looked into, and why."""

    places: Sequence[Place]
    needles: Needles
    found: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    @cached_property
    def files(self) -> dict[str, tuple[Place, str]]:
        """Every file, by its URI.

        Raises:
            ServiceError: a place can't be reached.
        """
        return {plain(p.uri_of(name)): (p, name) for p in self.places for name in p.names()}

    def run(self) -> "Search":
        """Look into every file."""
        for uri, (place, name) in self.files.items():
            try:
                with place.opened(name) as path:
                    why = found_in(path, name, self.needles)
            except (InputError, OSError) as e:
                if not isinstance(e, FileNotFoundError):
                    self.unread.append(f"{uri}: {e.what if isinstance(e, AssayError) else e.strerror}")
                continue
            if why:
                self.found[uri] = why
        return self


def plain(uri: str) -> str:
    """A URI as files are compared by: a path of this machine without links."""
    return uri if "://" in uri and not uri.startswith("file://") else str(Path(uri.removeprefix("file://")).resolve())


def found_in(path: Path, name: str, needles: Needles) -> str:
    """What stands in a file, or in its name; "": nothing."""
    if why := needles.found(name.encode("utf-8", "surrogatepass")):
        return why
    if (name or path.name).endswith(_LINES):
        with path.open("rb") as lines:
            return next((why for line in lines if (why := needles.found_line(line))), "")
    if needles.replies and name.startswith(f"{REPLIES}/") and is_database(path):
        return "reply" if any(needles.replied(row) for row in rows_of(path)) else ""
    return next((why for piece in contents(path) if (why := needles.found(piece))), "")


def make_plan(catalogue: Catalogue, request: Request, also: Sequence[str], erasure: str, salt: str) -> Plan:
    """Find the rows, then everything that has to do with them.

    Raises:
        InputNotFoundError: a row is nowhere. InputError: what is meant can't be told.
        ServiceError: a place can't be reached.
    """
    lineage = Lineage(catalogue)
    places = all_places(catalogue, also)
    # Before anything is read: a place that can't be reached would take minutes of attempts.
    for place in places:
        place.names()
    names, without = _pseudonyms(lineage, request.values)
    rows = _rows(lineage, places, request, names)
    needles = rows.needles(request, names)
    needles = needles.model_copy(update={"replies": _replies(catalogue, rows)})
    # Now: what was read of a remote store lies here as well.
    search = Search(places, needles).run()
    going = _Going(catalogue, search)
    going.add_all()
    databases, own = going.databases()
    runs = [r for r in catalogue.runs if any(plain(a.uri) in going.folders for a in (*r.artifacts, *r.around))]
    weights = _weights(lineage, rows)
    if weights:
        going.add_caches(("checkpoints/",), "checkpoints of training: weights that may have seen the rows")
    return Plan(
        id=erasure, salt=salt, request=request, values=tuple(value_of(v, salt) for v in request.values),
        needles=needles, records=tuple(sorted(rows.records)),
        copies=tuple(sorted(rows.copies)), rows=len(rows.stored), files=going.planned(),
        folders=tuple(sorted(going.folders)),
        lines=going.lines(), databases=databases, own=own, places=tuple((p.uri, p.what) for p in places),
        versions=_versions(runs, going.folders), runs=tuple((r.run_id, r.name) for r in runs),
        stores=stores(catalogue), weights=weights,
        sources=tuple(sorted(needles.masked(said) for said in _read_at(catalogue, rows))),
        unread=tuple(search.unread),
        not_searched=(*_too_many(rows), *without, *elsewhere(catalogue), *map(str, catalogue.gaps)),
    )  # fmt: skip


def _too_many(rows: AffectedRows) -> list[str]:
    said = f"what {len(rows.stored):,} rows say: too many texts; their ids were looked for"
    return [said] if rows.too_many else []


def _rows(lineage: Lineage, places: Sequence[Place], request: Request, pseudonyms: Sequence[str]) -> AffectedRows:
    """The rows that are meant, and all that were made from them, as shards and ledgers say."""
    shards = _shards(lineage, places)
    raw = {p for sha, p in shards.items() if sha in _raw(lineage)}
    known = named_rows(lineage, request) | set(lineage.ledgers.with_evidence(pseudonyms))
    while True:
        rows = affected_rows(sorted(shards.values()), raw, known, request, pseudonyms)
        known = rows.records | lineage.descendants(rows.records)
        if known == rows.records:
            return rows


def _pseudonyms(lineage: Lineage, values: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands for the values in all runs; and in which runs that can't be known, and why. Where nothing was
    scrubbed the values themselves are found.
    """
    found: set[str] = set()
    without: dict[str, str] = {}
    for run in lineage.catalogue.runs if values else ():
        names, why = pseudonyms(lineage, run, values)
        found |= set(names)
        if why and why != NOT_SCRUBBED:
            without.setdefault(why, f"pseudonyms of run {run.name}, and others like it: {why}")
    return sorted(found), list(without.values())


def _weights(lineage: Lineage, rows: AffectedRows) -> tuple[StayingWeights, ...]:
    if not rows.records:
        return ()
    places = [p for ps in lineage.shards.with_ids(rows.records).values() for p in ps]
    return tuple(
        StayingWeights(
            model=s.model, run=s.run, registered=tuple(filter(None, s.registered.split(", "))), sure=s.sure
        )
        for s in models_that_saw(lineage, row_set(places))
    )  # fmt: skip


def _versions(runs: Sequence[RunRecord], folders: Collection[str]) -> tuple[str, ...]:
    """Digests of the dataset versions among artifacts that go."""
    found = {a.digest for r in runs for a in r.of_type("dataset") if plain(a.uri) in folders}
    return tuple(sorted(d for d in found if d))


def _shards(lineage: Lineage, places: Sequence[Place]) -> dict[str, Path]:
    """Every shard that can be read, of a version or of none, by its SHA-256."""
    found = dict(lineage.shards.files)
    for place in places:
        if place.folder is not None and place.folder.is_dir():
            found |= {
                p.stem: p for p in place.folder.rglob("shards/*.parquet") if re.fullmatch(r"[0-9a-f]{64}", p.stem)
            }
    return found


def _raw(lineage: Lineage) -> set[str]:
    """Shards of versions as they were read."""
    return {s.sha256 for _, m in lineage.shards.manifests.values() if m.stage in _READING for s in m.shards}


def _read_at(catalogue: Catalogue, rows: AffectedRows) -> set[str]:
    """Where the rows were read, for whoever removes them there; of a log's line also in which file it stood then."""
    logged = _tables(catalogue, "log_facts", ["record_id", "file", "line", "sha256"], rows)
    lines = {f"{n['file']} line:{n['line']} sha256:{n['sha256']}" for table in logged for n in table.to_pylist()}
    return lines | {f"{source} {at}" for source, at in rows.places}


def _replies(catalogue: Catalogue, rows: AffectedRows) -> frozenset[str]:
    """Digests of what a judge answered about the rows, as runs have it."""
    tables = _tables(catalogue, "verdicts", ["record_id", "raw_reply"], rows)
    return frozenset(text_digest(r) for table in tables for r in table["raw_reply"].to_pylist() if r)


def _tables(catalogue: Catalogue, name: str, columns: list[str], rows: AffectedRows) -> Iterator[pa.Table]:
    """What runs noted of the rows beside them, in files of this name."""
    ids = pa.array(sorted(rows.records), pa.string())
    for held in catalogue.held("file"):
        if held.artifact.name == name:
            try:
                file = catalogue.store(held.runs[0]).file(held.artifact, f"{name}.parquet")
            except AssayError as e:
                catalogue.miss(e, held.artifact.uri)
                continue
            table = pq.read_table(file, columns=columns)
            yield table.filter(pc.is_in(table["record_id"], value_set=ids))


class _Going:
    """What goes, gathered until nothing else follows from it."""

    def __init__(self, catalogue: Catalogue, search: Search) -> None:
        self._catalogue, self._search = catalogue, search
        self._state = str(state_folder(catalogue.root))
        self._artifacts = {plain(a.uri): a for r in catalogue.runs for a in (*r.artifacts, *r.around)}
        self._by_folder = self._folders()
        self._why: dict[str, tuple[str, str]] = {}
        self.folders: set[str] = set()

    def add_all(self) -> None:
        """What was found, then what names it or was made with it."""
        for uri, why in self._search.found.items():
            self._add_file(uri, why)
        shards = {m[1] for uri in self._why if (m := _SHARD.search(uri))}
        self._add_naming(shards, "dataset version: it names a shard that goes")
        if not self.folders and not self._why:
            return
        self._add_derived()
        self.add_caches(_CACHES[:1] + _CACHES[2:], "cache, made from rows of any run")

    def _in_state(self, uri: str) -> str:
        """Name of a file in the state folder, through links; "" of one that isn't there."""
        place, name = self._search.files[uri]
        whole, start = place.uri_of(name), f"{self._state}/"
        return whole.removeprefix(start) if whole.startswith(start) else ""

    def add_caches(self, below: Sequence[str], what: str) -> None:
        """All files of these folders of the state folder."""
        for uri in self._search.files:
            if self._in_state(uri).startswith(tuple(below)):
                self._why.setdefault(uri, (what, "made from rows"))

    def planned(self) -> tuple[PlannedFile, ...]:
        """The files that go, with their digests."""
        return tuple(
            PlannedFile(place=place.uri, name=name, what=what, why=why, sha256=place.digest(name))
            for uri, (what, why) in sorted(self._why.items())
            for place, name in [self._search.files[uri]]
        )

    def lines(self) -> tuple[PlannedFile, ...]:
        """Files of people's decisions, and of candidates: of them only lines go."""
        return tuple(
            PlannedFile(place=place.uri, name=name, what=what, why=self._search.found[uri])
            for uri in sorted(self._search.found)
            for place, name in [self._search.files[uri]]
            if (what := self._of_lines(uri))
        )

    def databases(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """All databases of the state folder, and MLflow's: what goes from them leaves free pages; and those that are
        ours.
        """
        trackers = {str(file) for file in database_files(self._catalogue)}
        found = [uri for uri in sorted(self._search.files) if not uri.endswith(_SIDE_FILES) and _is_database(uri)]
        cleared = [uri for uri in found if self._in_state(uri) or uri in trackers]
        foreign = trackers | {uri for uri in cleared if uri.endswith(_FOREIGN)}
        return tuple(cleared), tuple(uri for uri in cleared if uri not in foreign)

    def _add_file(self, uri: str, why: str) -> None:
        if uri.endswith(_SIDE_FILES) or self._of_lines(uri) or _is_database(uri):
            return
        folder = self._folder_of(uri)
        kind = self._kind(folder)
        if folder is None or kind == "model":
            if not uri.endswith(_WEIGHTS):
                self._why.setdefault(uri, (self._what(uri), why))
            return
        self._add_folder(folder, f"artifact: {self._name(folder)}", why)

    def _of_lines(self, uri: str) -> str:
        """What a file is of which only lines go; "" of any other."""
        if uri.endswith(f"/{_DECISIONS}") and self._in_state(uri).startswith("runs/"):
            return "decisions of people: lines"
        return "candidates of a monitor: lines" if is_candidates(uri) else ""

    def _what(self, uri: str) -> str:
        if _SHARD.search(uri):
            return "shard of rows"
        below = self._in_state(uri)
        return f"file below {below.split('/')[0]}" if below else "file"

    def _add_folder(self, folder: str, what: str, why: str) -> None:
        if folder not in self.folders:
            self.folders.add(folder)
            for uri in self._by_folder.get(folder, ()):
                self._why.setdefault(uri, (what, why))

    def _add_naming(self, names: set[str], what: str) -> None:
        for folder in self._by_folder:
            if folder not in self.folders and names & self._named(folder):
                self._add_folder(folder, what, "names it")

    def _add_derived(self) -> None:
        """Of the runs that lose something, and of artifacts that no run names: what holds rows without their text."""
        touched = {r.run_id for r in self._catalogue.runs if any(plain(a.uri) in self.folders for a in r.artifacts)}
        of_runs = {
            plain(a.uri) for r in self._catalogue.runs if r.run_id in touched for a in r.artifacts if a.type in _DERIVED
        }
        nobodys = {f for f in self._by_folder if f not in self._artifacts and _DERIVED_NAMES.search(self._name(f))}
        for folder in sorted(of_runs | nobodys):
            self._add_folder(folder, f"artifact: {self._name(folder)}", "made from rows")
        parts: set[str] = set()
        while more := {n for f in self.folders for n in self._named(f) if len(n) < 64} - parts:
            parts |= more
            self._add_naming(more, "dedup index: it names a part that goes")
        for uri in self._search.files:
            if (m := _PART.search(uri)) and m[1] in parts:
                self._why.setdefault(uri, ("part of a dedup index", "made from rows"))

    def _named(self, folder: str) -> frozenset[str]:
        """Shards and parts of dedup indexes that an artifact's manifest names."""
        if folder not in self._names:
            self._names[folder] = frozenset(self._read_names(f"{folder}/{layout.MANIFEST}"))
        return self._names[folder]

    @cached_property
    def _names(self) -> dict[str, frozenset[str]]:
        return {}

    def _read_names(self, uri: str) -> Iterator[str]:
        if uri not in self._search.files:
            return
        place, name = self._search.files[uri]
        with place.opened(name) as path:
            said = json.loads(path.read_bytes())
        for entry in said.get("shards", ()):
            yield entry["sha256"]
        if "last_batch" in said:
            yield from (part["name"] for part in said["parts"])

    def _folders(self) -> dict[str, list[str]]:
        """The files of every artifact, by its folder."""
        found: dict[str, list[str]] = {}
        for uri in self._search.files:
            folder = self._folder_of(uri)
            if folder is not None:
                found.setdefault(folder, []).append(uri)
        return found

    def _folder_of(self, uri: str) -> str | None:
        m = _ARTIFACT.match(uri)
        if m is not None:
            return m[0]
        parents = (uri.rsplit("/", n)[0] for n in range(1, 6))
        return next((p for p in parents if p in self._artifacts), None)

    def _kind(self, folder: str | None) -> str:
        known = self._artifacts.get(folder or "")
        return known.type if known is not None else ""

    def _name(self, folder: str) -> str:
        known = self._artifacts.get(folder)
        return known.name if known is not None else folder.rsplit("/", 3)[-3]


def _is_database(uri: str) -> bool:
    file = Path(uri)
    return "://" not in uri and file.is_file() and is_database(file)
