"""The rows that a request means among all that are stored, with those that say the same or were made from them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ops.erasure.needles import EXCERPT_CHARS, MOST_TEXTS, Needles, beginnings, place_digest
from ops.erasure.opened import said_in
from ops.lineage.shards import CANDIDATE_IN_META
from ops.lineage.ways import Lineage, find_rows
from ops.references import is_id
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.records import Row, current
from steps.contracts.reports import Frozen
from steps.contracts.tombstones import is_of, texts

# Chosen: fewer are in every file.
_LETTERS = 3
_SIDES = ("messages", "chosen", "rejected")
_LIGHT = ["record_id", "content_id", "source", "parents", "meta"]


class Request(Frozen):
    """What a person asks to have erased: rows, whole sources, and rows that hold a value.

    Attributes:
        rows: beginnings of record ids, or words that stand in a row; `records`: whole record ids.
    """

    rows: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def checked(self) -> "Request":
        """The same, in one form.

        Raises:
            InputError: it asks for nothing, or what it asks for is too short to tell anybody.
        """
        if not (self.rows or self.records or self.sources or self.values):
            raise InputError("nothing is asked for", where="assay erase", hint="name a row, --source or --subject")
        for one in (*self.rows, *self.values):
            if sum(c.isalnum() for c in one) < _LETTERS:
                raise InputError(
                    f"a text of fewer than {_LETTERS} letters or digits would be found everywhere",
                    where="assay erase",
                )
        given = self.model_dump()
        return Request(**{name: tuple(sorted(set(said))) for name, said in given.items()})


def named_rows(lineage: Lineage, request: Request) -> set[str]:
    """Record ids of the rows that a request names one by one.

    Raises:
        InputNotFoundError: one is nowhere. InputError: an id begins as several do.
    """
    found = set(request.records)
    for n, asked in enumerate(request.rows, 1):
        rows = find_rows(lineage, asked)
        if not rows:
            # What was asked for is a person's: it is never said again.
            raise InputNotFoundError(
                "no stored row has that id or text", where=f"assay erase, row {n}", hint="assay explain finds rows"
            )
        if is_id(asked) and len(rows) > 1 and all(i.startswith(asked.lower()) for i in rows):
            raise InputError(f"{len(rows)} record ids begin so", where=f"assay erase, row {n}", hint="add characters")
        found |= rows.keys()
    return found


@dataclass
class AffectedRows:
    """Rows that a request means.

    Attributes:
        contents: ids of what they say, before and after scrub; copies: those of before, which others may say as well.
        shards: files that hold one of them, by path.
        places: where they were read, as (source, locator).
        texts: what they say.
        stored: ids of those that stand in a shard.
    """

    records: set[str] = field(default_factory=set)
    contents: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    shards: set[Path] = field(default_factory=set)
    places: set[tuple[str, str]] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)

    @property
    def too_many(self) -> bool:
        """Whether what they say is too much to look for; their ids are looked for all the same."""
        return len(self.texts) > MOST_TEXTS

    def needles(self, request: Request, pseudonyms: Sequence[str]) -> Needles:
        """What of them can be found again."""
        values = Needles(values=request.values)
        texts = () if self.too_many else beginnings(self.texts)
        return Needles(
            ids=frozenset(self.records | self.contents),
            texts=tuple(sorted({piece for text in texts for piece in values.without(text)})),
            values=request.values,
            pseudonyms=tuple(pseudonyms),
            places=frozenset(place_digest(*place) for place in self.places),
            sources=request.sources,
        )


def affected_rows(
    shards: Sequence[Path], raw: Collection[Path], records: Collection[str], request: Request, pseudonyms: Sequence[str]
) -> AffectedRows:
    """Look through all shards (Parquet, SCHEMA) until no more rows are found that belong to the request.

    `records`: ids of rows that do. `raw`: those of versions as they were read. Only there do equal contents mean copies
    of a row: once values are masked, rows of different people can say the same.
    """
    found = AffectedRows(records=set(records))
    named = Needles(values=request.values, pseudonyms=tuple(pseudonyms))
    for shard in shards:
        for table in _groups(shard, None if request.values else _LIGHT):
            _take(found, table, _meant(table, request, named), shard in raw)
    before = -1
    while before != len(found.records) + len(found.copies):
        before = len(found.records) + len(found.copies)
        for shard in shards:
            for table in _groups(shard, _LIGHT):
                _take(found, table, _known(table, found), shard in raw)
    for shard in shards:
        _read_texts(found, shard)
    _only_theirs(found, shards)
    return found


def _groups(shard: Path, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    file = pq.ParquetFile(shard, pre_buffer=False)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=list(columns) if columns else None)
        yield table if columns else current(table)


def _meant(table: pa.Table, request: Request, named: Needles) -> list[int]:
    """Numbers of the rows that the request names itself."""
    sources = table["source"].combine_chunks().dictionary_encode()
    wanted = [any(is_of(s, n) for n in request.sources) for s in sources.dictionary.to_pylist()]
    numbers = {i for i, code in enumerate(sources.indices.to_pylist()) if wanted[code]} if any(wanted) else set()
    # Measured: turning rows into objects takes most of the time, and few groups hold what is looked for.
    if request.values and any(named.found(piece) for piece in said_in(table)):
        numbers |= {i for i, row in enumerate(table.to_pylist()) if named.found(_bytes(row))}
    return sorted(numbers)


def _bytes(row: Row) -> bytes:
    return "\n".join(texts(row)).encode("utf-8", "surrogatepass")


def _known(table: pa.Table, found: AffectedRows) -> list[int]:
    """Numbers of the rows that are among those found, say the same as one of them, or were made from one."""
    ids, contents = pa.array(sorted(found.records), pa.string()), pa.array(sorted(found.copies), pa.string())
    mine = pc.or_(pc.is_in(table["record_id"], value_set=ids), pc.is_in(table["content_id"], value_set=contents))
    numbers = set(pc.indices_nonzero(mine).to_pylist())
    parents = table["parents"].combine_chunks()
    if len(pc.list_flatten(parents)):
        made = pc.is_in(pc.list_flatten(parents), value_set=ids)
        numbers |= set(pc.list_parent_indices(parents).filter(made).to_pylist())
    # Read of a candidate that a monitor had published.
    read_of = pc.extract_regex(table["meta"].combine_chunks(), CANDIDATE_IN_META.replace("(", "(?P<id>", 1))
    numbers |= set(pc.indices_nonzero(pc.is_in(read_of.field("id"), value_set=ids)).to_pylist())
    return sorted(numbers)


def _take(found: AffectedRows, table: pa.Table, numbers: Iterable[int], raw: bool) -> None:
    taken = table.select(["record_id", "content_id"]).take(pa.array(list(numbers), pa.int64()))
    found.records.update(taken["record_id"].to_pylist())
    contents = taken["content_id"].to_pylist()
    found.contents.update(contents)
    if raw:
        found.copies.update(contents)


def _read_texts(found: AffectedRows, shard: Path) -> None:
    """What the rows found say, and where they were read."""
    for group, light in enumerate(_groups(shard, _LIGHT)):
        numbers = _known(light, found)
        if not numbers:
            continue
        found.shards.add(shard)
        table = current(pq.ParquetFile(shard, pre_buffer=False).read_row_group(group))
        for row in table.take(pa.array(numbers, pa.int64())).to_pylist():
            found.stored.add(row["record_id"])
            found.places.add((row["source"], row["locator"]))
            found.texts.update(_said(row))


def _said(row: Row) -> list[str]:
    messages = [m["content"] for side in _SIDES for m in row[side]]
    return [t for t in (*messages, row["text"]) if t]


def _only_theirs(found: AffectedRows, shards: Sequence[Path]) -> None:
    """Leave out texts that begin as one of another row does: a prompt that many have tells nobody."""
    mine = set(beginnings(found.texts))
    wanted = pa.array(sorted(mine), pa.string())
    for table in (t for s in shards for t in _groups(s, None)) if mine else ():
        known = pa.array(_known(table, found), pa.int64())
        for rows, said in _columns(table):
            begins = pc.utf8_slice_codeunits(said, 0, EXCERPT_CHARS)
            theirs = pc.and_(pc.is_in(begins, value_set=wanted), pc.invert(pc.is_in(rows, value_set=known)))
            mine -= set(begins.filter(theirs).to_pylist())
    found.texts = {t for t in found.texts if set(beginnings([t])) & mine}


def _columns(table: pa.Table) -> Iterator[tuple[pa.Array, pa.Array]]:
    """What the rows say, as `_said`, column by column: numbers of rows, and texts of equal length."""
    yield pa.array(range(len(table)), pa.int64()), table["text"].combine_chunks()
    for side in _SIDES:
        column = table[side].combine_chunks()
        yield pc.list_parent_indices(column).cast(pa.int64()), pc.list_flatten(column).field("content")
